//! Where the reads of a unit go: the plain form of the answer that OFREP gives to OpenFeature.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::StatusCode,
};
use serde::Serialize;

use super::{Page, fault::Fault, parameters::Parameters};
use crate::reads::{Side, Why};

/// The answer.
#[derive(Serialize)]
pub(super) struct Read {
    unit: String,
    /// The database to read.
    reads: Side,
    #[serde(flatten)]
    reason: Reason,
    /// Grows with every change of the unit.
    epoch: i64,
}

/// Why the reads go there.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Reason {
    /// `share`, `not_cut_over`, `key_missing`, `tripped` or `unknown`.
    why: &'static str,
    /// The part of the proof that broke, or the reason why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl From<Why> for Reason {
    fn from(why: Why) -> Self {
        let (why, detail) = match why {
            Why::Share => ("share", None),
            Why::NotCutOver => ("not_cut_over", None),
            Why::KeyMissing => ("key_missing", None),
            Why::Tripped(reason) => ("tripped", Some(reason)),
            Why::Unknown(reason) => ("unknown", Some(reason)),
        };
        Self { why, detail }
    }
}

/// Answers for a unit and the key that makes the answer sticky.
pub(super) async fn reads(
    State(page): State<Page>,
    Path(unit): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Read>, Fault> {
    let parameters = Parameters::read(query.as_deref(), &["key"])?;
    let Some(answer) = page.reads.answer(&unit, parameters.get("key")) else {
        let known: Vec<&str> = page.reads.names().collect();
        return Err(Fault::new(
            StatusCode::NOT_FOUND,
            format!("there is no unit `{unit}`; there are {}", known.join(", ")),
        ));
    };
    Ok(Json(Read { unit, reads: answer.side, reason: answer.why.into(), epoch: answer.epoch }))
}

//! The journal of the units of reads: who changed what, when, why, and what was proven then.

use serde::Serialize;
use tokio_postgres::Row;

use super::Share;
use crate::{
    model::ClusterTime,
    postgres::{Error, Session, identity::OURS, session::field},
    sink::checkpoint,
};

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// An operator gave the unit a share.
    Share,
    /// An operator took all its reads back.
    Back,
    /// A process took its reads back, because the proof broke.
    Trip,
    /// A process let it go on, because the proof held again for long enough.
    Recover,
}

impl Action {
    /// Returns the word that is stored and shown.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Back => "back",
            Self::Trip => "trip",
            Self::Recover => "recover",
        }
    }
}

/// A change of a unit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Change {
    /// The unit.
    pub(crate) unit: String,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// The operator or the process.
    pub(crate) who: String,
    /// The kind of change: `share`, `back`, `trip` or `recover`.
    pub(crate) action: String,
    /// The share as wished after it.
    pub(crate) share: Share,
    /// Why.
    pub(crate) why: Option<String>,
    /// Whether the share was given although the gate was not ready.
    pub(crate) forced: bool,
    /// V of the unit then.
    pub(crate) verified: Option<ClusterTime>,
    /// The epoch of the unit's row after it.
    pub(crate) epoch: i64,
}

/// Reads the last changes of a unit, or of all, newest first.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn history(session: &Session, unit: Option<&str>, limit: u32) -> Result<Vec<Change>, Error> {
    let act = "read the journal of reads";
    let sql = format!(
        "SELECT unit, (extract(epoch FROM at) * 1000)::int8, who, action, (share * 100)::int4, why, forced, \
                verified_t, verified_i, epoch \
           FROM driftless.read_change WHERE {OURS} AND unit = coalesce($2, unit) ORDER BY id DESC LIMIT $3"
    );
    let rows = session.query(act, &sql, &[&session.prefix(), &unit, &i64::from(limit)]).await?;
    rows.iter().map(|row| change(row, act)).collect()
}

fn change(row: &Row, act: &str) -> Result<Change, Error> {
    Ok(Change {
        unit: field(row, 0, act)?,
        at_ms: field(row, 1, act)?,
        who: field(row, 2, act)?,
        action: field(row, 3, act)?,
        share: Share::of_hundredths(field(row, 4, act)?),
        why: field(row, 5, act)?,
        forced: field(row, 6, act)?,
        verified: checkpoint::cluster_time(field(row, 7, act)?, field(row, 8, act)?),
        epoch: field(row, 9, act)?,
    })
}

//! The report of a pass: the numbers, and the documents that drift. Pure.

use serde::Serialize;

use super::{examine::Examined, judgement::Judgement, proof::Proof, tally::Tally};
use crate::{
    control::findings::{Found, Kind, Subject},
    log::ejson,
    model::ClusterTime,
    target::ExtraRow,
};

/// The rows that belong to no document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtraRows {
    /// Number of all.
    pub(crate) count: u64,
    /// The first ones.
    pub(crate) first: Vec<ExtraRow>,
    /// Rows that may belong to documents whose `_id` is unknown.
    pub(crate) undecided: u64,
}

/// One document that drifts, or a row that belongs to no document. It contains only the `_id`, or the row's key, and names: other
/// values never leave the databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The document's `_id`, as Extended JSON; `None` for a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// The table of the row, `schema.table`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<String>,
    /// The key of the row: {column: text}.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) row: Option<serde_json::Value>,
    /// The kind of drift.
    pub(crate) kind: Kind,
    /// The columns that differ; a table for child rows that are missing or not expected.
    pub(crate) columns: Vec<String>,
    /// The id of the dead letter that waits for the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) letter: Option<i64>,
    /// The reason why PostgreSQL refuses even to compare the values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
}

impl Finding {
    /// Creates the finding of a row that belongs to no document.
    fn row(ExtraRow { table, row_key }: ExtraRow) -> Self {
        Self {
            key: None,
            table: Some(table),
            row: Some(row_key),
            kind: Kind::Extra,
            columns: Vec::new(),
            letter: None,
            refused: None,
        }
    }

    /// Returns what drifts, in words: the `_id` of the document, or the row with its table and key.
    pub(crate) fn subject(&self) -> String {
        let (Some(table), Some(serde_json::Value::Object(columns))) = (&self.table, &self.row) else {
            return self.key.clone().unwrap_or_default();
        };
        let columns = columns.iter().map(|(name, text)| format!("{name}={}", text.as_str().unwrap_or_default()));
        format!("row {table} ({})", columns.collect::<Vec<_>>().join(", "))
    }
}

impl From<Found> for Finding {
    fn from(found: Found) -> Self {
        let Found { subject, kind, columns, letter, refused, .. } = found;
        match subject {
            Subject::Document(document) => {
                let key = Some(ejson::id_text(&document.key));
                Self { key, table: None, row: None, kind, columns, letter, refused }
            }
            Subject::Row { table, row_key } => Self::row(ExtraRow { table, row_key }),
        }
    }
}

/// The result of a pass.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The collection.
    pub(crate) collection: String,
    /// The numbers.
    #[serde(flatten)]
    pub(crate) proof: Proof,
    /// Cluster time of the newest read.
    pub(crate) as_of: ClusterTime,
    /// The first findings, up to a bound.
    pub(crate) findings: Vec<Finding>,
    /// Number of findings beyond the bound.
    pub(crate) findings_left_out: u64,
}

impl Report {
    /// Lists the first findings of a walk, whose numbers are in `proof`.
    pub(super) fn of_walk(collection: String, proof: Proof, as_of: ClusterTime, listed: Vec<Found>) -> Self {
        let findings_left_out = proof.drift() - listed.len() as u64;
        let findings = listed.into_iter().map(Finding::from).collect();
        Self { collection, proof, as_of, findings, findings_left_out }
    }

    /// Sums up a pass. `proof` states the coverage and has no numbers yet; at most `most` findings are listed.
    pub(super) fn new(collection: String, mut proof: Proof, tally: Tally, extra_rows: ExtraRows, most: usize) -> Self {
        let all = extra_rows.count + tally.drifting.len() as u64;
        proof.extra = extra_rows.count;
        let mut findings: Vec<Finding> = extra_rows.first.into_iter().map(Finding::row).collect();
        for (key, Examined { judgement, letter, refused, .. }) in tally.drifting {
            let Some((kind, columns)) = kind_of(judgement) else { continue };
            *match kind {
                Kind::Missing => &mut proof.missing,
                Kind::Extra => &mut proof.extra,
                Kind::Different | Kind::Version => &mut proof.different,
            } += 1;
            if findings.len() < most {
                let key = Some(ejson::id_text(&key));
                findings.push(Finding { key, table: None, row: None, kind, columns, letter, refused });
            }
        }
        proof.undecided = tally.undecided.len() as u64 + extra_rows.undecided;
        proof.documents = tally.matched + proof.drift() + proof.undecided;
        let findings_left_out = all - findings.len() as u64;
        Self { collection, proof, as_of: tally.as_of, findings, findings_left_out }
    }
}

/// Returns the kind of drift and the columns that differ; `None` if the document does not drift.
fn kind_of(judgement: Judgement) -> Option<(Kind, Vec<String>)> {
    match judgement {
        Judgement::Missing => Some((Kind::Missing, Vec::new())),
        Judgement::Extra => Some((Kind::Extra, Vec::new())),
        Judgement::Different(columns) => Some((Kind::Different, columns)),
        Judgement::Version => Some((Kind::Different, Vec::new())),
        Judgement::Match | Judgement::Absent | Judgement::Undecided => None,
    }
}

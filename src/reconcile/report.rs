//! The report of a pass: the numbers, and the documents that drift. Pure.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;

use super::{examine::Examined, judgement::Judgement, proof::Proof, tally::Tally};
use crate::{
    control::findings::Kind,
    log::ejson,
    model::{ClusterTime, Key, Version},
};

/// One document that drifts, or a table with rows that belong to no document. It contains only the `_id` and names: other
/// values never leave the databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The document's `_id`, as Extended JSON; empty for a table.
    pub(crate) key: String,
    /// The kind of drift.
    pub(crate) kind: Kind,
    /// The columns that differ; for a table, its name.
    pub(crate) columns: Vec<String>,
    /// The id of the dead letter that waits for the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) letter: Option<i64>,
    /// The reason why PostgreSQL refuses even to compare the values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
}

impl Finding {
    /// Creates the finding of a table with rows that belong to no document.
    fn table(name: String) -> Self {
        Self { key: String::new(), kind: Kind::Extra, columns: vec![name], letter: None, refused: None }
    }
}

/// The state of a document that drifts when it was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drifting {
    /// Version and transaction of its ledger entry; `None` if it has none.
    pub(crate) entry: Option<(Version, i64)>,
    /// Whether the document was refused, so that its rows were not judged.
    pub(crate) refused: bool,
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
    /// How long the pass took.
    #[serde(skip)]
    pub(crate) took: Duration,
    /// The first findings, up to a bound.
    pub(crate) findings: Vec<Finding>,
    /// Number of findings beyond the bound.
    pub(crate) findings_left_out: u64,
    /// The documents that drift, for comparison with the next pass.
    #[serde(skip)]
    pub(crate) drifting: HashMap<Key, Drifting>,
}

impl Report {
    /// Sums up a pass. `proof` states the coverage and has no numbers yet; at most `most` findings are listed.
    pub(super) fn new(
        collection: String,
        mut proof: Proof,
        took: Duration,
        tally: Tally,
        extra_rows: Vec<(String, u64)>,
        most: usize,
    ) -> Self {
        let all = extra_rows.len() + tally.drifting.len();
        proof.extra = extra_rows.iter().map(|(_, rows)| rows).sum();
        let mut findings: Vec<Finding> =
            extra_rows.into_iter().take(most).map(|(table, _)| Finding::table(table)).collect();
        let mut drifting = HashMap::new();
        for (key, Examined { judgement, entry, letter, refused, .. }) in tally.drifting {
            let Some((kind, columns)) = kind_of(judgement) else { continue };
            *match kind {
                Kind::Missing => &mut proof.missing,
                Kind::Extra => &mut proof.extra,
                Kind::Different | Kind::Version => &mut proof.different,
            } += 1;
            let entry = entry.map(|entry| (entry.version, entry.applied));
            let unjudged = kind == Kind::Different && columns.is_empty();
            if findings.len() < most {
                findings.push(Finding { key: ejson::id_text(&key), kind, columns, letter, refused });
            }
            drifting.insert(key, Drifting { entry, refused: unjudged });
        }
        proof.undecided = tally.undecided.len() as u64;
        proof.documents = tally.matched + proof.drift() + proof.undecided;
        let findings_left_out = (all - findings.len()) as u64;
        Self { collection, proof, as_of: tally.as_of, took, findings, findings_left_out, drifting }
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

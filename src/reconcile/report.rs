//! What a pass reports: the numbers, and the documents that drift. Pure.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;

use super::{examine::Examined, judgement::Judgement, proof::Proof, tally::Tally};
use crate::{
    log::ejson,
    model::{ClusterTime, Key, Version},
};

/// How a document drifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// It has no rows.
    Missing,
    /// It has rows, and the source does not have it.
    Extra,
    /// Its rows differ.
    Different,
}

impl Kind {
    /// The word in reports.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different => "different",
        }
    }
}

/// One document that drifts, or a table with rows that belong to no document. It has the `_id` and names: other values never
/// leave the databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The document's `_id`, as Extended JSON; empty for a table.
    pub(crate) key: String,
    /// How it drifts.
    pub(crate) kind: Kind,
    /// Columns that differ; the table.
    pub(crate) columns: Vec<String>,
    /// The dead letter that waits for the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) letter: Option<i64>,
    /// Why PostgreSQL takes no such values, where it refuses even to compare them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
}

impl Finding {
    /// A table that has rows which belong to no document.
    fn table(name: String) -> Self {
        Self { key: String::new(), kind: Kind::Extra, columns: vec![name], letter: None, refused: None }
    }
}

/// What a document that drifts was when it was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drifting {
    /// Version and writer of its ledger entry; `None` where there is none.
    pub(crate) entry: Option<(Version, i64)>,
    /// Whether its last change is a dead letter: its rows were not judged.
    pub(crate) refused: bool,
}

/// What a pass found.
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
    /// The first findings, bounded.
    pub(crate) findings: Vec<Finding>,
    /// How many more there are.
    pub(crate) findings_left_out: u64,
    /// The documents that drift, for the next pass to look at again.
    #[serde(skip)]
    pub(crate) drifting: HashMap<Key, Drifting>,
}

impl Report {
    /// Adds up a pass. `proof` says what was covered and has no numbers yet; at most `most` findings are listed.
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
                Kind::Different => &mut proof.different,
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

/// How a document drifts, and the columns that differ; `None` where it does not.
fn kind_of(judgement: Judgement) -> Option<(Kind, Vec<String>)> {
    match judgement {
        Judgement::Missing => Some((Kind::Missing, Vec::new())),
        Judgement::Extra => Some((Kind::Extra, Vec::new())),
        Judgement::Different(columns) => Some((Kind::Different, columns)),
        Judgement::Match | Judgement::Absent | Judgement::Undecided => None,
    }
}

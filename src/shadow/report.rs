//! The result of a comparison. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    ask::{Difference, Unequal},
    compile::Query,
    draw::Drawn,
    scan::Scan,
    timing::Timing,
};
use crate::{control::shadow::Outcome, model::ClusterTime};

/// The result of a file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Name of the file, without its folder.
    pub(crate) file: String,
    /// When it began.
    pub(crate) began_at: Timestamp,
    /// When it ended.
    pub(crate) ended_at: Timestamp,
    /// How often each pair was asked.
    pub(crate) runs: usize,
    /// The pairs, in their order.
    pub(crate) queries: Vec<QueryReport>,
}

/// The result of a pair.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct QueryReport {
    /// Its name.
    pub(crate) name: String,
    /// Whether the order of the rows counts.
    pub(crate) order: bool,
    /// The collections that it reads.
    pub(crate) collections: Vec<String>,
    /// Runs whose answers were equal.
    pub(crate) equal: u64,
    /// Runs whose answers were proven different.
    pub(crate) different: u64,
    /// Runs whose answers could not be judged.
    pub(crate) undecided: u64,
    /// Why the last of them could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Latencies of the statement.
    pub(crate) postgresql: Timing,
    /// Latencies of the command.
    pub(crate) mongodb: Timing,
    /// Large tables that the statement scans as a whole.
    pub(crate) scans: Vec<Scan>,
    /// Different answers, the first of them.
    pub(crate) examples: Vec<Example>,
}

impl QueryReport {
    /// The report of a pair that reads these collections, before it was asked.
    pub(super) fn new(query: &Query, collections: Vec<String>) -> Self {
        Self {
            name: query.name.clone(),
            order: query.order,
            collections,
            equal: 0,
            different: 0,
            undecided: 0,
            reason: None,
            postgresql: Timing::default(),
            mongodb: Timing::default(),
            scans: query.scans.clone(),
            examples: Vec::new(),
        }
    }

    /// The outcome.
    pub(crate) fn outcome(&self) -> Outcome {
        match (self.different, self.undecided) {
            (0, 0) => Outcome::Equal,
            (0, _) => Outcome::Undecided,
            _ => Outcome::Different,
        }
    }

    /// How many times as long as MongoDB the median of PostgreSQL takes; `None` where nothing was measured.
    pub(crate) fn ratio(&self) -> Option<f64> {
        (self.mongodb.p50_ms > 0.0).then(|| self.postgresql.p50_ms / self.mongodb.p50_ms)
    }
}

impl Report {
    /// The same report without the values that were asked for.
    pub(crate) fn without_values(&self) -> Self {
        let mut report = self.clone();
        for example in report.queries.iter_mut().flat_map(|query| &mut query.examples) {
            example.values.clear();
            example.rows.iter_mut().for_each(|row| row.values.clear());
        }
        report
    }

    /// The outcome of the whole file.
    pub(crate) fn outcome(&self) -> Outcome {
        self.queries.iter().map(QueryReport::outcome).max().unwrap_or(Outcome::Equal)
    }
}

/// Two different answers. Rows are named by their keys; values are there only on request.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Example {
    /// The documents that the parameters were drawn from: collection and `_id`.
    pub(crate) parameters: Vec<(String, String)>,
    /// The parameters as Extended JSON; only on request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) values: Vec<String>,
    /// Cluster time of both answers.
    pub(crate) as_of: ClusterTime,
    /// Whether both answers have the same rows in another order.
    pub(crate) order: bool,
    /// Column and reason, if a value of MongoDB's answer does not fit its column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<(String, String)>,
    /// How many rows of either answer have no counterpart.
    pub(crate) count: u64,
    /// The first of them.
    pub(crate) rows: Vec<ExampleRow>,
}

/// A row of a different answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ExampleRow {
    /// `missing` in PostgreSQL's answer, `extra` there, or `different`.
    pub(crate) kind: &'static str,
    /// Its place in the answer, from 1.
    pub(crate) place: i64,
    /// The columns of mapped keys.
    pub(crate) key: BTreeMap<String, Option<String>>,
    /// Columns that differ.
    pub(crate) columns: Vec<String>,
    /// Values by column, MongoDB's and PostgreSQL's; only on request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) values: BTreeMap<String, (Option<String>, Option<String>)>,
}

impl Example {
    /// How the answers differ, in words.
    pub(crate) fn what(&self) -> String {
        match (&self.refused, self.order, self.count) {
            (Some((column, reason)), ..) => {
                format!("a value of MongoDB's answer does not fit the column {column}: {reason}")
            }
            (None, true, _) => "the same rows in another order".to_owned(),
            (None, false, 1) => "one row has no counterpart".to_owned(),
            (None, false, count) => format!("{count} rows have no counterpart"),
        }
    }

    pub(super) fn new(query: &Query, drawn: &Drawn, difference: &Difference, reveal: bool) -> Self {
        let columns: Vec<(&str, bool)> =
            query.columns.iter().map(|column| (column.name.as_str(), column.is_key)).collect();
        Self {
            parameters: drawn.documents.clone(),
            values: if reveal { drawn.revealed() } else { Vec::new() },
            as_of: difference.as_of,
            order: difference.order,
            refused: difference.refused.as_ref().map(|(column, reason)| (column.clone(), reason.to_string())),
            count: difference.count,
            rows: paired(&columns, &difference.rows, difference.order, reveal),
        }
    }
}

impl std::fmt::Display for ExampleRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, place, key, columns, .. } = self;
        write!(f, "row {place}")?;
        for (name, text) in key {
            write!(f, ", {name} {}", text.as_deref().unwrap_or("NULL"))?;
        }
        match *kind {
            "missing" => f.write_str(": not in PostgreSQL's answer"),
            "extra" => f.write_str(": only in PostgreSQL's answer"),
            _ => write!(f, ": differs in {}", columns.join(", ")),
        }
    }
}

/// Puts rows of both answers that are meant to be the same beside each other: those with the same key, or at the same place if only the
/// order differs or no column is a key.
fn paired(columns: &[(&str, bool)], rows: &[Unequal], order: bool, reveal: bool) -> Vec<ExampleRow> {
    let keyed = !order && columns.iter().any(|(_, is_key)| *is_key);
    let same = |one: &Unequal, other: &Unequal| match keyed {
        false => one.place == other.place,
        true => (0..columns.len()).all(|at| !columns[at].1 || one.digests.get(at) == other.digests.get(at)),
    };
    let mut used = vec![false; rows.len()];
    let mut paired = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if std::mem::replace(&mut used[at], true) {
            continue;
        }
        let other = (at + 1..rows.len())
            .find(|&other| !used[other] && rows[other].expected != row.expected && same(row, &rows[other]));
        other.iter().for_each(|&other| used[other] = true);
        let other = other.map(|other| &rows[other]);
        let (expected, found) = if row.expected { (Some(row), other) } else { (other, Some(row)) };
        paired.push(example_row(columns, row, expected, found, reveal));
    }
    paired
}

fn example_row(
    columns: &[(&str, bool)],
    row: &Unequal,
    expected: Option<&Unequal>,
    found: Option<&Unequal>,
    reveal: bool,
) -> ExampleRow {
    let text = |row: &Unequal, at: usize| row.texts.get(at).cloned().flatten();
    let (kind, differ) = match (expected, found) {
        (Some(expected), Some(found)) => {
            let differ = (0..columns.len()).filter(|&at| expected.digests.get(at) != found.digests.get(at));
            ("different", differ.collect())
        }
        (Some(_), None) => ("missing", Vec::new()),
        _ => ("extra", Vec::new()),
    };
    let keys = columns.iter().enumerate().filter(|(_, (_, is_key))| *is_key);
    let values = columns.iter().enumerate().filter(|_| reveal).map(|(at, (name, _))| {
        let of = |row: Option<&Unequal>| row.and_then(|row| text(row, at));
        ((*name).to_owned(), (of(expected), of(found)))
    });
    ExampleRow {
        kind,
        place: row.place,
        key: keys.map(|(at, (name, _))| ((*name).to_owned(), text(row, at))).collect(),
        columns: differ.into_iter().map(|at: usize| columns[at].0.to_owned()).collect(),
        values: values.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [(&str, bool); 2] = [("id", true), ("total", false)];

    fn row(expected: bool, place: i64, id: i64, total: i64) -> Unequal {
        let texts = [id, total].map(|value| Some(value.to_string())).to_vec();
        Unequal { expected, place, texts, digests: vec![id, total] }
    }

    fn said(rows: &[ExampleRow]) -> Vec<String> {
        let said = |row: &ExampleRow| {
            let key = row.key["id"].as_deref().unwrap_or("NULL");
            format!("{} {key} {}", row.kind, row.columns.join(","))
        };
        rows.iter().map(said).collect()
    }

    #[test]
    fn rows_are_paired_by_key() {
        let rows = [row(false, 1, 1, 10), row(true, 1, 2, 20), row(false, 2, 2, 21), row(true, 3, 3, 30)];
        let paired = paired(&COLUMNS, &rows, false, false);
        assert_eq!(said(&paired), ["extra 1 ", "different 2 total", "missing 3 "]);
        assert!(paired.iter().all(|row| row.values.is_empty()), "values are not shown");
    }

    #[test]
    fn rows_in_another_order_are_paired_by_place() {
        let rows = [row(false, 1, 1, 10), row(true, 1, 2, 10), row(false, 2, 2, 10), row(true, 2, 1, 10)];
        assert_eq!(said(&paired(&COLUMNS, &rows, true, false)), ["different 1 id", "different 2 id"]);
    }

    #[test]
    fn values_are_shown_on_request() {
        let rows = [row(false, 1, 1, 10), row(true, 1, 1, 11)];
        let paired = paired(&COLUMNS, &rows, false, true);
        assert_eq!(paired[0].values["total"], (Some("11".to_owned()), Some("10".to_owned())));
    }
}

//! The results of mapping the documents of one collection: refusals, losses, and which columns were filled.

use std::collections::BTreeMap;

use crate::{
    mapping::{CollectionPlan, Losses, Reject, Rejects, Rows},
    model::{Key, Reason},
};

/// Counts of one collection.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Documents mapped.
    pub(super) documents: u64,
    /// Documents that gave no rows and are not refused: filtered out, or of a kind that is left aside.
    pub(super) without_rows: u64,
    /// Documents that would become dead letters.
    pub(super) dead: u64,
    /// The same by reason; a document may have several.
    pub(super) refused: BTreeMap<Refused, Refusals>,
    /// Rows that the target itself would refuse, by table and constraint.
    pub(super) violated: BTreeMap<Violated, Refusals>,
    /// The losses of conversions and policies.
    pub(super) losses: Losses,
    /// Parallel to the tables of the plan.
    pub(super) tables: Vec<Filled>,
}

/// Why documents are refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Refused {
    /// Place of the table in the plan, where one is named.
    pub(super) table: Option<usize>,
    /// The column, where one is named.
    pub(super) column: Option<String>,
    /// The path, where one is named.
    pub(super) path: Option<String>,
    /// The reason.
    pub(super) reason: Reason,
}

/// A refusal of the target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Violated {
    /// Place of the table in the plan.
    pub(super) table: usize,
    /// The constraint, where it names one.
    pub(super) constraint: Option<String>,
    /// The columns, as far as they are known.
    pub(super) columns: Vec<String>,
    /// The reason.
    pub(super) reason: Reason,
}

/// How many are refused alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusals {
    /// How many documents.
    pub(super) documents: u64,
    /// How many of their rows, where rows are refused.
    pub(super) rows: u64,
    /// One of the documents.
    pub(super) example: Option<Key>,
}

/// How often the columns of a table were filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    /// Rows.
    pub(super) rows: u64,
    /// Parallel to the columns: rows in which it is not NULL.
    pub(super) columns: Vec<u64>,
}

impl Tally {
    /// A tally of no documents.
    pub(super) fn new(plan: &CollectionPlan) -> Self {
        let tables = plan.tables.iter().map(|table| Filled { rows: 0, columns: vec![0; table.columns.len()] });
        Self {
            documents: 0,
            without_rows: 0,
            dead: 0,
            refused: BTreeMap::new(),
            violated: BTreeMap::new(),
            losses: Losses::default(),
            tables: tables.collect(),
        }
    }

    /// Counts the result of a document.
    pub(super) fn add(&mut self, key: Option<Key>, mapped: &Result<Rows, Rejects>) {
        self.documents += 1;
        match mapped {
            Ok(rows) => self.rows(rows),
            Err(rejects) => {
                self.dead += 1;
                for reject in rejects.iter().cloned() {
                    let Reject { reason, table, column, path, .. } = reject;
                    let refused = Refused { table, column, path, reason };
                    let empty = Refusals { documents: 0, rows: 0, example: key.clone() };
                    self.refused.entry(refused).or_insert(empty).documents += 1;
                }
            }
        }
    }

    /// Counts rows, and their documents, that the target itself would refuse.
    pub(super) fn violate(&mut self, violated: Violated, (rows, documents): (u64, u64), example: Option<Key>) {
        let counts = self.violated.entry(violated).or_insert(Refusals { documents: 0, rows: 0, example });
        counts.rows += rows;
        counts.documents += documents;
    }

    fn rows(&mut self, rows: &Rows) {
        self.losses.extend(&rows.losses);
        self.without_rows += u64::from(rows.tables.iter().all(Vec::is_empty));
        for (filled, rows) in self.tables.iter_mut().zip(&rows.tables) {
            filled.rows += rows.len() as u64;
            for row in rows {
                for (count, field) in filled.columns.iter_mut().zip(row.fields()) {
                    *count += u64::from(field.is_some());
                }
            }
        }
    }
}

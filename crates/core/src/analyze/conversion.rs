//! The result of converting a collection in numbers: rows, dead letters by reason and column, and what policies give up.

use serde::Serialize;

use super::{
    constraints::{Broken, How},
    tally::{Refusals, Tally},
};
use crate::{
    ejson,
    mapping::{CollectionPlan, Loss, TablePlan},
    model::{Key, Reason},
};

/// The result of one collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conversion {
    /// Its name.
    pub collection: String,
    /// Documents that were converted.
    pub documents: u64,
    /// Documents that the mapping leaves out.
    pub without_rows: u64,
    /// Documents that would become dead letters. Parents that are missing are not counted: they may still come.
    pub dead_letters: u64,
    /// The rows of each table, those of dead letters included where only the target refuses them.
    pub tables: Vec<TableRows>,
    /// Why documents would become dead letters. A document may have several reasons.
    pub refused: Vec<Refused>,
    /// Values that the conversion changes or gives up.
    pub losses: Vec<Lost>,
    /// Rows whose parent no document becomes, by foreign key.
    pub orphans: Vec<Orphans>,
}

/// How many rows go into a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableRows {
    /// The table.
    pub table: String,
    /// How many.
    pub rows: u64,
}

/// Documents that are refused alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The reason.
    pub reason: Reason,
    /// The table, where one is known.
    pub table: Option<String>,
    /// The columns, as far as they are known.
    pub columns: Vec<String>,
    /// The path in the documents, where one is known.
    pub path: Option<String>,
    /// The constraint of the target, where one is known.
    pub constraint: Option<String>,
    /// How many documents.
    pub documents: u64,
    /// The `_id` of one of them.
    pub example: Option<String>,
}

/// A loss of one column; a loss that concerns no single column has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The kind of loss.
    pub loss: Loss,
    /// The table.
    pub table: String,
    /// The column.
    pub column: Option<String>,
    /// How often.
    pub times: u64,
}

/// Rows whose parent no document becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Orphans {
    /// The foreign key.
    pub constraint: String,
    /// Its table.
    pub table: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table that it refers to.
    pub parent: String,
    /// How many rows.
    pub rows: u64,
}

impl Conversion {
    pub(super) fn new(plan: &CollectionPlan, tally: &Tally, broken: &[Broken]) -> Self {
        let label = |at: usize| plan.tables.get(at).map(|table| table.table.label());
        let writes = |broken: &&Broken| plan.tables.iter().any(|table| table.table == broken.table);
        let mut refused: Vec<Refused> = Vec::new();
        refused.extend(tally.refused.iter().map(|(why, Refusals { documents, example, .. })| Refused {
            reason: why.reason,
            table: why.table.and_then(label),
            columns: why.column.iter().cloned().collect(),
            path: why.path.clone(),
            constraint: None,
            documents: *documents,
            example: id(example.as_ref()),
        }));
        refused.extend(tally.violated.iter().map(|(what, Refusals { documents, example, .. })| Refused {
            reason: what.reason,
            table: label(what.table),
            columns: what.columns.clone(),
            path: None,
            constraint: what.constraint.clone(),
            documents: *documents,
            example: id(example.as_ref()),
        }));
        let (mut orphans, broken) = (Vec::new(), broken.iter().filter(writes));
        for Broken { table, columns, how } in broken {
            let (table, columns) = (table.label(), columns.clone());
            match how {
                How::Duplicate { documents, example, .. } => refused.push(Refused {
                    reason: Reason::UniqueConflict,
                    table: Some(table),
                    columns,
                    path: None,
                    constraint: None,
                    documents: *documents,
                    example: id(example.as_ref()),
                }),
                How::Orphan { rows, name, parent } => orphans.push(Orphans {
                    constraint: name.clone(),
                    table,
                    columns,
                    parent: parent.label(),
                    rows: *rows,
                }),
            }
        }
        refused.sort_by_key(|refused| std::cmp::Reverse(refused.documents));
        let rows = |(table, filled): (&TablePlan, &super::tally::Filled)| TableRows {
            table: table.table.label(),
            rows: filled.rows,
        };
        Self {
            collection: plan.collection.clone(),
            documents: tally.documents,
            without_rows: tally.without_rows,
            dead_letters: tally.dead,
            tables: plan.tables.iter().zip(&tally.tables).map(rows).collect(),
            refused,
            losses: losses(plan, tally),
            orphans,
        }
    }
}

fn losses(plan: &CollectionPlan, tally: &Tally) -> Vec<Lost> {
    let mut entries: Vec<_> = tally.losses.iter().collect();
    entries.sort_by_key(|entry| (entry.table, entry.column, entry.loss));
    let lost = entries.into_iter().filter_map(|entry| {
        let table = plan.tables.get(entry.table)?;
        let column = table.columns.get(entry.column).filter(|_| !entry.loss.is_of_a_whole());
        Some(Lost {
            loss: entry.loss,
            table: table.table.label(),
            column: column.map(|column| column.name.clone()),
            times: entry.count,
        })
    });
    lost.collect()
}

fn id(key: Option<&Key>) -> Option<String> {
    key.map(ejson::id_text)
}

//! The meaning of another mapping for the rows that an older one has written. Pure.
//!
//! Only what is certain is spared: a collection counts as having the same rows if its plan is the same, or if the file only leaves
//! out what it wrote before. Everything else is written again.

use std::collections::BTreeSet;

use crate::mapping::{CollectionPlan, Found, MappingFile, Plan, Setting, TablePlan, target::TableName};

/// A collection whose mapping is other than before.
#[derive(Clone, Debug, PartialEq)]
pub struct Remapped {
    /// The collection.
    pub collection: String,
    /// The settings that are other than before. None where only another collection has changed, on which its rows depend.
    pub settings: Vec<Setting>,
    /// Tables and columns that are written now and were not before.
    pub gained: Vec<Written>,
    /// Tables and columns that were written before and are not now: what they hold stays, and is not compared.
    pub left: Vec<Written>,
    /// The meaning for the rows.
    pub effect: Effect,
}

/// Columns of a table that are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The table.
    pub table: TableName,
    /// Whether all that is written of the table is meant.
    pub whole: bool,
    /// The columns.
    pub columns: Vec<String>,
}

/// The meaning of another mapping for the rows of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The collection is new in the mapping: a snapshot reads it.
    New,
    /// The collection has left the mapping: its rows stay as they are.
    Gone,
    /// The rows that are written are the same.
    SameRows,
    /// Every document has to be written again.
    Rewritten,
    /// The rows would be others, and the old ones would not be found again, each for one of these reasons.
    OtherRows(Vec<String>),
    /// The collection does not fit the target: the faults of the plan say why.
    Unfit,
}

impl Remapped {
    /// Returns the collections whose mapping is other than before, by name. Both plans are of one catalog; each may lack collections
    /// that do not fit it.
    pub fn all(before: (&MappingFile, &Plan), after: (&MappingFile, &Plan)) -> Vec<Self> {
        let names: BTreeSet<&str> = before.0.names().chain(after.0.names()).collect();
        let one = |name: &&str| Self::of(name, before, after);
        names.iter().filter_map(one).collect()
    }

    fn of(name: &str, before: (&MappingFile, &Plan), after: (&MappingFile, &Plan)) -> Option<Self> {
        let settings = after.0.settings_since(before.0, name);
        let maps = |file: &MappingFile| file.names().any(|known| known == name);
        let (old, new) = (before.1.collection(name), after.1.collection(name));
        let is_same = old.zip(new).is_some_and(|(old, new)| old.digest() == new.digest());
        if is_same && settings.is_empty() {
            return None;
        }
        let tables = |plan: Option<&CollectionPlan>| plan.map(|plan| plan.tables.clone()).unwrap_or_default();
        let (gained, left) = (beyond(&tables(new), &tables(old)), beyond(&tables(old), &tables(new)));
        let effect = match (maps(before.0), maps(after.0), old, new) {
            (_, false, ..) => Effect::Gone,
            (_, true, _, None) => Effect::Unfit,
            (false, true, ..) => Effect::New,
            (true, true, Some(old), Some(new)) => {
                let others = other_rows(old, new);
                match is_same || only_less(&settings, &gained, new) {
                    _ if !others.is_empty() => Effect::OtherRows(others),
                    true => Effect::SameRows,
                    false => Effect::Rewritten,
                }
            }
            // The recorded mapping does not fit the target any more, so nobody knows its rows.
            (true, true, None, Some(_)) => Effect::Rewritten,
        };
        let left = if effect == Effect::Unfit { Vec::new() } else { left };
        Some(Self { collection: name.to_owned(), settings, gained, left, effect })
    }
}

/// Returns the columns of `tables` that `others` do not have.
fn beyond(tables: &[TablePlan], others: &[TablePlan]) -> Vec<Written> {
    let written = tables.iter().map(|table| {
        let known: Vec<&TablePlan> = others.iter().filter(|known| known.table == table.table).collect();
        let is_new = |name: &str| known.iter().all(|known| known.columns.iter().all(|column| column.name != name));
        let columns = table.columns.iter().filter(|column| is_new(&column.name));
        let columns = columns.map(|column| column.name.clone()).collect();
        Written { table: table.table.clone(), whole: known.is_empty(), columns }
    });
    written.filter(|written| !written.columns.is_empty()).collect()
}

/// Returns whether the mapping only leaves out what it wrote before, or changes what concerns no row.
fn only_less(settings: &[Setting], gained: &[Written], new: &CollectionPlan) -> bool {
    // A column that takes the rest of the document takes what nothing else reads any more.
    let takes_rest = new.program.takes_rest();
    let written = |name: &str| new.tables.iter().any(|table| table.columns.iter().any(|column| column.name == name));
    let is_less = |setting: &Setting| {
        setting.has_no_rows()
            || setting.ignores_more()
            || setting.gone("children").is_some()
            || setting.gone("columns").is_some_and(|name| !written(name))
    };
    !settings.is_empty() && gained.is_empty() && !takes_rest && settings.iter().all(is_less)
}

/// Returns why rows of the old plan would not be found again under the new one.
fn other_rows(old: &CollectionPlan, new: &CollectionPlan) -> Vec<String> {
    let mut reasons = Vec::new();
    // The first child brings in the namespace of its ids, and the last one takes it along.
    let embed = old.embeds() && new.embeds();
    let (known, wanted) = (old.key_rule_of(embed), new.key_rule_of(embed));
    if known != wanted {
        reasons.push(format!("its rows have keys by the rule {known}, the mapping has {wanted}"));
    }
    for table in &old.tables {
        let name = table.table.label();
        let Some(now) = new.tables.iter().find(|now| now.table == table.table) else {
            if table.root {
                reasons.push(format!("its documents have rows in {name}, which is none of its tables any more"));
            }
            continue;
        };
        let (known, wanted) = (key(table), key(now));
        if known != wanted {
            reasons.push(format!("the rows of {name} are found by {known}, and would be found by {wanted}"));
        } else if found(table) != found(now) || table.root != now.root {
            reasons.push(format!("the rows of {name} are found in another way"));
        }
    }
    reasons
}

fn key(table: &TablePlan) -> String {
    let columns = table.key.iter().filter_map(|at| table.columns.get(*at));
    columns.map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The column that holds the id of the document; `None` where the keys of the rows are remembered.
fn found(table: &TablePlan) -> Option<&str> {
    match table.found {
        Found::ById { column, .. } => table.columns.get(column).map(|column| column.name.as_str()),
        Found::Remembered => None,
    }
}

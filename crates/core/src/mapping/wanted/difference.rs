//! The wanted tables against those of the target.

use std::collections::BTreeSet;

use super::{Kind, WantedColumn, WantedTable};
use crate::mapping::{
    Plan,
    target::{Catalog, Column, Filled, TableName},
};

/// The tables and columns that the target lacks, and those that nothing fills.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Tables that the target lacks.
    pub tables: Vec<WantedTable>,
    /// Columns that tables of the target lack.
    pub columns: Vec<(TableName, WantedColumn)>,
    /// References without a foreign key: table, column, and the table that it refers to.
    pub references: Vec<(TableName, String, TableName)>,
    /// Columns that nothing fills; those that refuse NULL first.
    pub unfilled: Vec<Unfilled>,
    /// Tables of the same schemas that nothing writes.
    pub unwritten: Vec<TableName>,
}

/// A column of the target that no document fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfilled {
    /// The table.
    pub table: TableName,
    /// The column.
    pub column: String,
    /// Its type.
    pub sql_type: String,
    /// Whether it refuses NULL and has no default of the mapping, so that every row is refused.
    pub refuses: bool,
    /// Whether the mapping leaves it to the target.
    pub ignored: bool,
}

impl Difference {
    /// Compares. `fills` says whether documents have values for a column: `None` where nobody knows.
    pub fn new(
        wanted: &[WantedTable],
        catalog: &Catalog,
        plan: &Plan,
        fills: &impl Fn(&TableName, &str) -> Option<bool>,
    ) -> Self {
        let mut difference = Self::default();
        for table in wanted {
            let Some(found) = catalog.table(&table.table) else {
                difference.tables.push(table.clone());
                continue;
            };
            for column in &table.columns {
                if found.column(&column.name).is_none() {
                    difference.columns.push((table.table.clone(), column.clone()));
                }
                let refers = |parent: &&TableName| {
                    let keys = found.foreign_keys.iter().filter(|key| key.parent == **parent);
                    !keys.into_iter().any(|key| key.columns.contains(&column.name))
                };
                if let Some(parent) = column.refers.as_ref().filter(refers) {
                    difference.references.push((table.table.clone(), column.name.clone(), parent.clone()));
                }
            }
            let unfilled = found.columns.iter().filter_map(|column| unfilled(table, column, plan, fills));
            difference.unfilled.extend(unfilled);
        }
        difference.unfilled.sort_by_key(|unfilled| !unfilled.refuses);
        let schemas: BTreeSet<&str> = wanted.iter().map(|table| table.table.schema.as_str()).collect();
        let is_unwritten = |name: &&TableName| {
            schemas.contains(name.schema.as_str()) && !wanted.iter().any(|table| table.table == **name)
        };
        difference.unwritten = catalog.tables.iter().map(|table| &table.name).filter(is_unwritten).cloned().collect();
        difference
    }

    /// Whether the target has everything that the mapping names.
    pub fn is_complete(&self) -> bool {
        self.tables.is_empty() && self.columns.is_empty()
    }
}

fn unfilled(
    table: &WantedTable,
    column: &Column,
    plan: &Plan,
    fills: &impl Fn(&TableName, &str) -> Option<bool>,
) -> Option<Unfilled> {
    if column.filled != Filled::ByUs {
        return None;
    }
    let ignored = table.ignored.contains(&column.name);
    let plans = plan.collections().iter().flat_map(|collection| &collection.tables);
    let written = plans
        .into_iter()
        .any(|plan| plan.table == table.table && plan.columns.iter().any(|written| written.name == column.name));
    if !ignored && (!written || fills(&table.table, &column.name) != Some(false)) {
        return None;
    }
    Some(Unfilled {
        table: table.table.clone(),
        column: column.name.clone(),
        sql_type: column.sql_type.clone(),
        refuses: column.not_null && !(ignored && column.has_default),
        ignored,
    })
}

impl WantedColumn {
    /// The paths whose values decide its type: the collection, and each path as names.
    pub fn paths(&self) -> Option<(&str, &[Vec<String>])> {
        match &self.kind {
            Kind::OfPaths(collection, paths) => Some((collection, paths)),
            Kind::Said(_) | Kind::Unknown => None,
        }
    }
}

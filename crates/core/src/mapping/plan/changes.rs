//! Differences between a plan and the plan before it: columns that are gone, and new columns.
//!
//! A column that the mapping names and the table lost is a fault of the plan itself. This file covers columns that are filled
//! because a field has their name: the plan compiles without them, and the values of the documents would silently be lost.

use crate::mapping::target::{Catalog, TableName, quote_ident};
use crate::mapping::{Fault, Plan, PlanColumn, language::fault::nearest};

/// Columns of one table that one collection fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gained {
    /// The collection.
    pub collection: String,
    /// The table.
    pub table: TableName,
    /// The columns that it fills now and did not before.
    pub columns: Vec<String>,
}

impl Plan {
    /// The columns that `before` filled and that the catalog no longer has, each as a fault.
    pub fn lost_since(&self, before: &Self, catalog: &Catalog) -> Vec<Fault> {
        let gained = self.gained_since(before);
        let mut faults = Vec::new();
        for (collection, table, columns) in beyond(before, self) {
            let Some(found) = catalog.table(table) else { continue };
            let new = gained.iter().find(|gained| gained.collection == collection && gained.table == *table);
            let new = new.map_or(&[][..], |gained| &gained.columns);
            for PlanColumn { name, sql_type, .. } in
                columns.iter().filter(|column| found.column(&column.name).is_none())
            {
                // A new column beside one that is gone: most likely it was renamed.
                let only = new.first().filter(|_| new.len() == 1).map(String::as_str);
                let meant = nearest(name, new.iter().map(String::as_str)).or(only);
                let has = found.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
                let what =
                    format!("column {name:?} of {table}, which `{collection}` filled, is gone; the table has {has}");
                let hint = match meant {
                    Some(meant) => format!(
                        "if it is called {meant:?} now, map it in [collections.{collection}.columns]: {meant} = \"{name}\"; if it was \
                         dropped on purpose, restart"
                    ),
                    None => format!(
                        "restore it (ALTER TABLE {table} ADD COLUMN {} {sql_type}), then fill the older rows with `driftless replay \
                         --collection {collection} --to-earliest --execute --why …`; or name the column that takes its values in \
                         `columns`; if it was dropped on purpose, restart",
                        quote_ident(name),
                    ),
                };
                faults.push(Fault { location: None, what, hint });
            }
        }
        faults
    }

    /// The columns that this plan fills and `before` did not, in tables that both write.
    pub fn gained_since(&self, before: &Self) -> Vec<Gained> {
        let gained = beyond(self, before).into_iter().map(|(collection, table, columns)| {
            let columns = columns.iter().map(|column| column.name.clone()).collect();
            Gained { collection, table: table.clone(), columns }
        });
        gained.collect()
    }
}

/// By collection and table: the columns that `plan` fills beyond those that `other` fills there.
fn beyond<'a>(plan: &'a Plan, other: &Plan) -> Vec<(String, &'a TableName, Vec<&'a PlanColumn>)> {
    let mut found = Vec::new();
    for ours in plan.collections() {
        let Some(theirs) = other.collection(&ours.collection) else { continue };
        for table in &ours.tables {
            let Some(known) = theirs.tables.iter().find(|known| known.table == table.table) else { continue };
            let new = table.columns.iter().filter(|column| known.columns.iter().all(|known| known.name != column.name));
            let columns = new.collect::<Vec<_>>();
            if !columns.is_empty() {
                found.push((ours.collection.clone(), &table.table, columns));
            }
        }
    }
    found
}

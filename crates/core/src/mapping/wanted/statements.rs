//! Statements that add to the target what the mapping wants. They only add, and never anything that refuses rows but the keys of
//! new tables.

use super::{Kind, WantedColumn, WantedTable};
use crate::mapping::target::{TableName, quote_ident};

/// A statement, or a comment where a type is not known.
pub type Statement = Result<String, String>;

/// The statement that creates a table; `types` gives the types that the mapping does not say.
pub fn create_table(table: &WantedTable, types: &impl Fn(&WantedColumn) -> Option<String>) -> Statement {
    let mut lines = Vec::new();
    let mut unknown = Vec::new();
    for column in &table.columns {
        match kind(column, types) {
            Some(kind) => lines.push(format!("    {} {kind}", quote_ident(&column.name))),
            None => unknown.push(column.name.clone()),
        }
    }
    if !unknown.is_empty() {
        return Err(format!(
            "table {} is missing, and no document says the type of {}: create it by hand",
            table.table.label(),
            unknown.join(", ")
        ));
    }
    if !table.key.is_empty() {
        let key: Vec<_> = table.key.iter().map(|column| quote_ident(column)).collect();
        lines.push(format!("    PRIMARY KEY ({})", key.join(", ")));
    }
    Ok(format!("CREATE TABLE {} (\n{}\n)", table.table, lines.join(",\n")))
}

/// The statement that adds a column.
pub fn add_column(
    table: &TableName,
    column: &WantedColumn,
    types: &impl Fn(&WantedColumn) -> Option<String>,
) -> Statement {
    match kind(column, types) {
        Some(kind) => Ok(format!("ALTER TABLE {table} ADD COLUMN {} {kind}", quote_ident(&column.name))),
        None => Err(format!(
            "column {:?} of {} is missing, and no document says its type: add it by hand",
            column.name,
            table.label()
        )),
    }
}

fn kind(column: &WantedColumn, types: &impl Fn(&WantedColumn) -> Option<String>) -> Option<String> {
    match &column.kind {
        Kind::Said(kind) => Some(kind.clone()),
        Kind::OfPaths(..) => types(column),
        Kind::Unknown => None,
    }
}

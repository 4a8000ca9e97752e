//! `driftless schema print`.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::wanted::Wanted;
use crate::{
    cli::{Exit, print, setup::Setup},
    mapping::wanted::{Kind, WantedColumn, WantedTable},
};

/// Show the tables and columns that the mapping names.
#[derive(Debug, Args)]
pub(crate) struct Print {
    /// Look at this many random documents of each collection for types that neither the target nor the mapping says; 0 reads none.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    sample: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ShownTable {
    table: String,
    collections: Vec<String>,
    key: Vec<String>,
    columns: Vec<ShownColumn>,
    /// Whether the target has it.
    exists: bool,
}

#[derive(Serialize)]
struct ShownColumn {
    column: String,
    /// `None` where nobody knows it.
    sql_type: Option<String>,
    /// Where the type is known from: `target`, `mapping` or `documents`.
    known_from: Option<&'static str>,
    not_null: bool,
    source: String,
    refers_to: Option<String>,
}

impl Print {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        let wanted = Wanted::read(&setup, self.sample).await?;
        let tables: Vec<_> = wanted.tables.iter().map(|table| ShownTable::new(&wanted, table)).collect();
        if self.json {
            print::json(&tables)?;
        } else {
            tables.iter().for_each(ShownTable::print);
        }
        Ok(Exit::Success)
    }
}

impl ShownTable {
    fn new(wanted: &Wanted, table: &WantedTable) -> Self {
        let found = wanted.catalog.table(&table.table);
        let mut columns: Vec<_> = table.columns.iter().map(|column| ShownColumn::new(wanted, table, column)).collect();
        // Columns that the file does not name take the field of their name.
        let others = found.into_iter().flat_map(|found| &found.columns).filter(|column| {
            !table.columns.iter().any(|named| named.name == column.name) && !table.ignored.contains(&column.name)
        });
        columns.extend(others.map(|column| {
            let kind = Kind::Unknown;
            let (name, source) = (column.name.clone(), column.name.clone());
            ShownColumn::new(wanted, table, &WantedColumn { name, source, kind, refers: None })
        }));
        let key = found.filter(|_| table.key.is_empty()).map_or(&table.key, |found| &found.primary_key);
        Self {
            table: table.table.label(),
            collections: table.collections.clone(),
            key: key.clone(),
            columns,
            exists: found.is_some(),
        }
    }

    fn print(&self) {
        let mut table = print::table([self.table.as_str(), "type", "from", "value", "refers to"]);
        for ShownColumn { column, sql_type, known_from, not_null, source, refers_to } in &self.columns {
            let key = if self.key.contains(column) { " (key)" } else { "" };
            let not_null = if *not_null { " NOT NULL" } else { "" };
            table.add_row([
                format!("{column}{key}"),
                sql_type.as_ref().map_or_else(|| "?".to_owned(), |kind| format!("{kind}{not_null}")),
                known_from.unwrap_or("nowhere").to_owned(),
                source.clone(),
                refers_to.clone().unwrap_or_default(),
            ]);
        }
        print::line(table);
        let missing = if self.exists { "" } else { "; the target lacks this table" };
        print::line(format!("from {}{missing}\n", self.collections.join(", ")));
    }
}

impl ShownColumn {
    fn new(wanted: &Wanted, table: &WantedTable, column: &WantedColumn) -> Self {
        let found = wanted.catalog.table(&table.table).and_then(|table| table.column(&column.name));
        let (sql_type, known_from) = match (found, &column.kind) {
            (Some(found), _) => (Some(found.sql_type.clone()), Some("target")),
            (None, Kind::Said(kind)) => (Some(kind.clone()), Some("mapping")),
            (None, _) => {
                let sampled = wanted.sampled(column);
                let from = sampled.as_ref().map(|_| "documents");
                (sampled, from)
            }
        };
        Self {
            column: column.name.clone(),
            sql_type,
            known_from,
            not_null: found.is_some_and(|found| found.not_null),
            source: column.source.clone(),
            refers_to: column.refers.as_ref().map(|table| table.label()),
        }
    }
}

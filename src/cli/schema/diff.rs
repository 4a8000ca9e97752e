//! `driftless schema diff`.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{missing::statements, wanted::Wanted};
use crate::{
    cli::{Exit, finding::Finding, print, setup::Setup},
    mapping::wanted::difference::{Difference, Unfilled},
};

/// Compare the tables that the mapping names with those of the target.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Look at this many random documents of each collection, for types and for columns that nothing fills; 0 reads none.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    sample: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    /// Statements that add what the target lacks.
    statements: Vec<String>,
    /// Tables and columns that the target lacks and whose types nobody knows.
    unknown: Vec<String>,
    /// How many tables and columns the target lacks.
    missing_tables: usize,
    missing_columns: usize,
    unfilled: Vec<ShownUnfilled>,
    references: Vec<String>,
    unwritten: Vec<String>,
    /// Faults of the mapping against the target; those about missing tables and columns are among them.
    faults: Vec<Finding>,
}

#[derive(Serialize)]
struct ShownUnfilled {
    table: String,
    column: String,
    sql_type: String,
    /// Whether every row is refused because of it.
    refuses: bool,
    ignored: bool,
}

impl Diff {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        let wanted = Wanted::read(&setup, self.sample).await?;
        let difference = wanted.difference();
        let is_complete = difference.is_complete();
        let report = Report::new(&wanted, difference);
        if self.json {
            print::json(&report)?;
        } else {
            report.print();
        }
        Ok(if is_complete && report.faults.is_empty() { Exit::Success } else { Exit::Faults })
    }
}

impl Report {
    fn new(wanted: &Wanted, difference: Difference) -> Self {
        let (statements, unknown) = statements(wanted, &difference);
        let references = difference.references.iter().map(|(table, column, parent)| {
            format!("{} refers to {}, and has no foreign key", table.column_label(column), parent.label())
        });
        let unfilled = difference.unfilled.iter().map(|unfilled| {
            let Unfilled { table, column, sql_type, refuses, ignored } = unfilled.clone();
            ShownUnfilled { table: table.label(), column, sql_type, refuses, ignored }
        });
        Self {
            statements,
            unknown,
            missing_tables: difference.tables.len(),
            missing_columns: difference.columns.len(),
            unfilled: unfilled.collect(),
            references: references.collect(),
            unwritten: difference.unwritten.iter().map(|table| table.label()).collect(),
            faults: wanted.faults.iter().cloned().map(Finding::from).collect(),
        }
    }

    fn print(&self) {
        self.statements.iter().for_each(|statement| print::line(format!("{statement};")));
        self.unknown.iter().for_each(|unknown| print::line(format!("-- {unknown}")));
        for ShownUnfilled { table, column, sql_type, refuses, ignored } in &self.unfilled {
            let why = match (refuses, ignored) {
                (true, _) => {
                    "no document fills it, and it refuses NULL: give it a `default` in the mapping, or drop NOT NULL"
                }
                (false, true) => "the mapping ignores it",
                (false, false) => "no document of the sample fills it",
            };
            print::line(format!("-- {table}.{column} {sql_type}: {why}"));
        }
        self.references.iter().for_each(|reference| print::line(format!("-- {reference}")));
        self.unwritten.iter().for_each(|table| print::line(format!("-- {table}: nothing writes this table")));
        let lacks = self.missing_tables + self.missing_columns;
        print::line(match lacks {
            0 => "-- The target has every table and column that the mapping names.".to_owned(),
            _ => format!(
                "-- The target lacks {} and {}; `driftless schema apply --missing` runs the statements above.",
                print::count(self.missing_tables, "table"),
                print::count(self.missing_columns, "column")
            ),
        });
        if lacks == 0 && !self.faults.is_empty() {
            print::faults(&self.faults);
        }
    }
}

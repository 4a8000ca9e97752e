//! `driftless schema apply --missing`: creates what the mapping names and the target lacks.

use super::wanted::Wanted;
use crate::{
    cli::{Exit, print, setup::Setup},
    mapping::{
        target::quote_ident,
        wanted::{
            difference::Difference,
            statements::{add_column, create_table},
        },
    },
    postgres::{Postgres, Purpose},
};

/// Documents of each collection whose types are looked at.
pub(in crate::cli) const SAMPLE: usize = 1_000;

/// Returns the statements that add what is missing, and what nobody knows the type of.
pub(in crate::cli) fn statements(wanted: &Wanted, difference: &Difference) -> (Vec<String>, Vec<String>) {
    let types = |column: &_| wanted.sampled(column);
    let mut schemas: Vec<&str> = difference.tables.iter().map(|table| table.table.schema.as_str()).collect();
    schemas.sort_unstable();
    schemas.dedup();
    schemas.retain(|schema| {
        *schema != "public" && !wanted.catalog.tables.iter().any(|table| table.name.schema == *schema)
    });
    let schemas = schemas.into_iter().map(|schema| Ok(format!("CREATE SCHEMA IF NOT EXISTS {}", quote_ident(schema))));
    let tables = difference.tables.iter().map(|table| create_table(table, &types));
    let columns = difference.columns.iter().map(|(table, column)| add_column(table, column, &types));
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for statement in schemas.chain(tables).chain(columns) {
        match statement {
            Ok(statement) => known.push(statement),
            Err(comment) => unknown.push(comment),
        }
    }
    (known, unknown)
}

/// Runs the statements in one transaction.
pub(in crate::cli) async fn create(setup: &Setup, statements: &[String]) -> anyhow::Result<()> {
    let session = Postgres::new(&setup.config.sink, &setup.config.log.prefix)?.open(Purpose::Control).await?;
    let act = "add missing tables and columns";
    let created = async {
        for statement in statements {
            session.script(act, statement).await?;
        }
        Ok(())
    };
    Ok(session.transaction(act, true, created).await?)
}

/// Creates what is missing, or prints the statements.
pub(in crate::cli) async fn add(setup: &Setup, dry_run: bool) -> anyhow::Result<Exit> {
    let wanted = Wanted::read(setup, SAMPLE).await?;
    let (known, unknown) = statements(&wanted, &wanted.difference());
    if !dry_run && !known.is_empty() {
        create(setup, &known).await?;
    }
    if dry_run {
        print::transaction(&known);
    } else {
        known.iter().for_each(|statement| print::line(format!("{statement};")));
    }
    unknown.iter().for_each(|unknown| print::line(format!("-- {unknown}")));
    match (known.len(), dry_run) {
        (_, true) => print::note("Nothing was changed (--dry-run)."),
        (0, false) => print::line("There was nothing to add."),
        (number, false) => print::line(format!("{} run.", print::count(number, "statement"))),
    }
    Ok(if unknown.is_empty() { Exit::Success } else { Exit::Failure })
}

//! `driftless schema apply --file`: the statements of a file in one transaction.

use std::path::Path;

use anyhow::Context;

use crate::{
    cli::{Exit, print},
    config::Config,
    postgres::{Postgres, Purpose, statements_of},
};

/// Runs the statements, or prints them.
pub(super) async fn run(config: &Config, path: &Path, dry_run: bool) -> anyhow::Result<Exit> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let statements = statements_of(&text).map_err(|fault| anyhow::anyhow!("{}:{fault}", path.display()))?;
    if dry_run {
        print::transaction(statements.iter().map(|statement| statement.sql));
        print::note("Nothing was changed (--dry-run).");
        return Ok(Exit::Success);
    }
    let session = Postgres::new(&config.sink, &config.log.prefix)?.open(Purpose::Control).await?;
    let act = |line: usize| format!("run the statement at {}:{line}", path.display());
    session
        .transaction("run a file of statements", true, async {
            // Names without a schema mean what they mean in psql.
            session.batch("set search_path", "SET LOCAL search_path = \"$user\", public").await?;
            for statement in &statements {
                session.script(&act(statement.line), statement.sql).await?;
            }
            Ok(())
        })
        .await?;
    print::line(format!(
        "{} of {} run in one transaction.",
        print::count(statements.len(), "statement"),
        path.display()
    ));
    Ok(Exit::Success)
}

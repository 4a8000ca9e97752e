//! `driftless schema apply`: prepares the target, runs a file of statements, adds tables and columns that the mapping names, and drops
//! and rebuilds indexes around a large first load.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{missing, script};
use crate::{
    cli::{
        Exit,
        finding::Finding,
        print,
        setup::{Setup, operator},
    },
    control::load_indexes::{self, LoadIndex},
    mapping::Plan,
    postgres::{Postgres, Purpose, Session, migrate, read_catalog, rehearse},
};

/// Migrate the schema `driftless`.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Run the statements of this file in one transaction first; the schema of psql's default search path.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["before_load", "after_load"])]
    file: Option<PathBuf>,
    /// Create the tables and columns that the mapping names and the target lacks, as `driftless schema diff` prints them.
    #[arg(long, conflicts_with_all = ["file", "before_load", "after_load"])]
    missing: bool,
    /// Drop secondary indexes and foreign keys of mapped tables that are still empty.
    #[arg(long, conflicts_with = "after_load")]
    before_load: bool,
    /// Build them again while others read and write; can be run again after a failure.
    #[arg(long)]
    after_load: bool,
    /// Print what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Apply {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        if let Some(file) = &self.file {
            // A mapping may not exist yet, and need not fit the tables that the file is about to create.
            let Some(config) = Setup::load_config(path) else { return Ok(Exit::Faults) };
            return script::run(&config, file, self.dry_run).await;
        }
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        if self.missing {
            return missing::add(&setup, self.dry_run).await;
        }
        let session = Postgres::new(&setup.config.sink, &setup.config.log.prefix)?.open(Purpose::Control).await?;
        if self.dry_run {
            for name in rehearse(&session).await? {
                print::line(format!("-- migration `{name}` of the schema driftless"));
            }
        } else {
            migrate(&session).await?;
        }
        if self.before_load {
            return self.before(&session, &setup).await;
        }
        if self.after_load {
            return self.after(&session).await;
        }
        if self.dry_run {
            print::note("Nothing was changed (--dry-run).");
        } else {
            print::line("The schema driftless is up to date.");
        }
        Ok(Exit::Success)
    }

    async fn before(&self, session: &Session, setup: &Setup) -> anyhow::Result<Exit> {
        let plan = match Plan::compile(&setup.mapping, &read_catalog(session).await?) {
            Ok(plan) => plan,
            Err(faults) => {
                print::faults(&faults.into_iter().map(Finding::from).collect::<Vec<_>>());
                return Ok(Exit::Faults);
            }
        };
        let tables = plan.collections().iter().flat_map(|collection| &collection.tables);
        let mut tables = tables.map(|table| table.table.to_string()).collect::<Vec<_>>();
        tables.sort();
        tables.dedup();
        let found = load_indexes::drop_before_load(session, &tables, &operator(), self.dry_run).await?;
        let dropped = found.iter().filter(|found| found.problem.is_none()).count();
        if self.dry_run {
            print::line(
                "-- Run by hand, these statements leave nothing that `driftless schema apply --after-load` could build again: the command \
                 itself records what it drops.\nBEGIN;",
            );
            report(&found, "kept");
            print::line("COMMIT;");
            print::note("Nothing was dropped (--dry-run).");
            return Ok(Exit::Success);
        }
        report(&found, "kept");
        print::line(match dropped {
            0 => "There was nothing to drop.",
            _ => "Dropped. Run `driftless schema apply --after-load` after the load.",
        });
        Ok(Exit::Success)
    }

    async fn after(&self, session: &Session) -> anyhow::Result<Exit> {
        let built = load_indexes::build_after_load(session, &operator(), self.dry_run).await?;
        report(&built, "failed; its definition is kept");
        if self.dry_run {
            print::note("Nothing was built (--dry-run).");
            return Ok(Exit::Success);
        }
        let failed = built.iter().any(|built| built.problem.is_some());
        print::line(match failed {
            true => "Some definitions were not built: fix the named problems and run the command again.",
            false => "Everything that was dropped is built again.",
        });
        Ok(if failed { Exit::Failure } else { Exit::Success })
    }
}

fn report(all: &[LoadIndex], problem_means: &str) {
    for LoadIndex { table, name, sql, problem } in all {
        for sql in sql {
            print::line(format!("{sql};"));
        }
        if let Some(problem) = problem {
            print::line(format!("-- {name} of {table}: {problem_means}: {problem}"));
        }
    }
}

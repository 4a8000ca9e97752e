//! `driftless guard`: triggers that record or refuse the writes of others to the mapped tables.

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};

use super::{
    Exit,
    finding::Finding,
    print,
    setup::{Setup, operator},
};
use crate::{
    control::guard::{self, Changed, GuardState, Guarded},
    mapping::Plan,
    postgres::{Session, identity, migrate, read_catalog},
};

/// Record or refuse every write to the mapped tables that is not the sink's.
#[derive(Debug, Subcommand)]
pub(crate) enum Guard {
    /// Install the guard on all mapped tables and their partitions; run it again after a change of the mapping or a new partition.
    ///
    /// The writes of the sink do not fire these triggers. Each table is locked against writers for a moment. The role needs the
    /// right TRIGGER on the tables; `--dry-run` prints the statements, so that their owner can run them.
    Install(Install),
    /// Remove every trigger of the guard. Only the owner of a table can do that.
    Remove(Remove),
    /// Show for each table whether the guard holds, and since when.
    ///
    /// The exit code is 0 if it holds for all mapped tables, else 5.
    Status(Status),
}

/// Install the guard.
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The reaction to a write of somebody else.
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Print the statements, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Remove the guard.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Print the statements, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Show the guard.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The guard's reaction to a write of somebody else.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Mode {
    /// Let it pass, record it and compare what it touched.
    #[default]
    Record,
    /// Refuse it with an error.
    Refuse,
}

impl From<Mode> for guard::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Record => Self::Record,
            Mode::Refuse => Self::Refuse,
        }
    }
}

impl Guard {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        let session = setup.session().await?;
        match self {
            Self::Install(install) => install.execute(&setup, &session).await,
            Self::Remove(remove) => remove.execute(&session).await,
            Self::Status(status) => status.execute(&setup, &session).await,
        }
    }
}

/// Returns the mapped tables; prints the faults of a mapping that does not fit the target.
async fn guarded(setup: &Setup, session: &Session) -> anyhow::Result<Option<Vec<Guarded>>> {
    let catalog = read_catalog(session).await?;
    match Plan::compile(&setup.mapping, &catalog) {
        Ok(plan) => Ok(Some(Guarded::all(&plan, &catalog))),
        Err(faults) => {
            print::faults(&faults.into_iter().map(Finding::from).collect::<Vec<_>>());
            Ok(None)
        }
    }
}

impl Install {
    async fn execute(self, setup: &Setup, session: &Session) -> anyhow::Result<Exit> {
        let mode = guard::Mode::from(self.mode);
        if self.dry_run {
            let Some(guarded) = guarded(setup, session).await? else { return Ok(Exit::Faults) };
            let changed = guard::preview(session, &guarded, mode).await?;
            if self.json {
                print::json(&changed)?;
                return Ok(Exit::Success);
            }
            print::line(
                "-- The functions belong to the account of the daemon. An owner of tables that is no superuser needs from it:\n\
                 --   GRANT USAGE ON SCHEMA driftless TO …; GRANT EXECUTE ON FUNCTION driftless.guard(), driftless.guard_end() TO …;",
            );
            if identity::number(session).await?.is_none() {
                // The number in the statements is a guess, and the functions may not exist.
                print::line(format!("DO $$ BEGIN RAISE EXCEPTION '{UNREGISTERED}'; END $$;"));
                print::note(format!("These statements are a preview: {UNREGISTERED}."));
            }
            print_statements(&changed, &format!("guard install --mode {}", mode.as_str()));
            return Ok(Exit::Success);
        }
        migrate(session).await?;
        let Some(guarded) = guarded(setup, session).await? else { return Ok(Exit::Faults) };
        let changed = guard::install(session, &guarded, mode, &operator()).await?;
        if self.json {
            print::json(&changed)?;
            return Ok(exit(&changed));
        }
        report(&changed);
        let failed = changed.iter().filter(|changed| changed.problem.is_some()).count();
        let all = print::count(changed.len(), "table");
        print::line(match (failed, changed.iter().any(|changed| changed.is_denied)) {
            (0, _) => format!("{all} guarded."),
            (_, false) => format!("{failed} of {all} not guarded: fix the named problems and run the command again."),
            (_, true) => format!(
                "{failed} of {all} not guarded. Their owner can let this role guard them: run roles/postgresql/guard.sql of the project as \
                 the owner, then this command again. Or run it as a superuser, or as an owner that may use the schema driftless: \
                 `{OTHER_ACCOUNT} driftless guard install`, where the variable stands in for sink.url and sink.url_file. Or run what \
                 `driftless guard install --dry-run` prints as the owner."
            ),
        });
        Ok(exit(&changed))
    }
}

/// A command as another account of PostgreSQL.
const OTHER_ACCOUNT: &str = "DRIFTLESS__SINK__URL=postgresql://OWNER@HOST/DATABASE";

impl Remove {
    async fn execute(self, session: &Session) -> anyhow::Result<Exit> {
        if !self.dry_run {
            migrate(session).await?;
        }
        let changed = guard::remove(session, &operator(), self.dry_run).await?;
        if self.json {
            print::json(&changed)?;
            return Ok(exit(&changed));
        }
        if self.dry_run {
            print_statements(&changed, "guard remove");
            return Ok(Exit::Success);
        }
        report(&changed);
        let removed = changed.iter().filter(|changed| changed.problem.is_none()).count();
        print::line(format!("The guard is removed from {}.", print::count(removed, "table")));
        if changed.iter().any(|changed| changed.is_denied) {
            print::line(format!(
                "Only the owner of a table can remove it: `{OTHER_ACCOUNT} driftless guard remove`, where the variable stands in for \
                 sink.url and sink.url_file, or what `driftless guard remove --dry-run` prints."
            ));
        }
        Ok(exit(&changed))
    }
}

fn exit(changed: &[Changed]) -> Exit {
    if changed.iter().any(|changed| changed.problem.is_some()) { Exit::Failure } else { Exit::Success }
}

/// Prints the problems; tables that the role has no right to are one.
fn report(changed: &[Changed]) {
    let denied: Vec<&Changed> = changed.iter().filter(|changed| changed.is_denied).collect();
    if let Some(Changed { problem: Some(problem), .. }) = denied.first() {
        let tables: Vec<&str> = denied.iter().map(|changed| changed.relation.as_str()).collect();
        print::line(format!("{}: {problem}", tables.join(", ")));
    }
    for Changed { relation, problem, .. } in changed.iter().filter(|changed| !changed.is_denied) {
        if let Some(problem) = problem {
            print::line(format!("{relation}: {problem}"));
        }
    }
}

/// Prints a script for psql: a transaction for each table, as `command` has it, which records the outcome when it is given afterwards.
fn print_statements(changed: &[Changed], command: &str) {
    print::line(format!(
        "-- For the owner of the tables. Afterwards `driftless {command}`, as the account of the daemon, records the outcome."
    ));
    for Changed { sql, .. } in changed.iter().filter(|changed| !changed.sql.is_empty()) {
        print::transaction(std::iter::once(guard::LOCK_TIMEOUT).chain(sql.iter().map(String::as_str)));
    }
    print::note("Nothing was changed (--dry-run).");
}

/// The step that a migration without a number in the schema `driftless` needs first; it is quoted in SQL.
const UNREGISTERED: &str = "the daemon has not run here yet, which makes the schema driftless and gives the migration the number \
                            that its triggers name; start it, then print the statements again";

impl Status {
    async fn execute(self, setup: &Setup, session: &Session) -> anyhow::Result<Exit> {
        let Some(guarded) = guarded(setup, session).await? else { return Ok(Exit::Faults) };
        let states = guard::status(session, &guarded).await?;
        if self.json {
            print::json(&states)?;
        } else {
            table(&states);
        }
        Ok(if states.iter().all(GuardState::holds) { Exit::Success } else { Exit::Unproven })
    }
}

fn table(states: &[GuardState]) {
    let mut table = print::table(["table", "mode", "holds since", "foreign writes to compare", "problem"]);
    for state in states {
        table.add_row([
            state.relation.clone(),
            state.mode.map_or("none", guard::Mode::as_str).to_owned(),
            state.since.map(print::time).unwrap_or_default(),
            state.unjudged.to_string(),
            match (&state.broken, state.mode) {
                (Some(broken), _) => format!("{broken}: run `driftless guard install`"),
                (None, None) => "not guarded: run `driftless guard install`".to_owned(),
                (None, Some(_)) => String::new(),
            },
        ]);
    }
    print::line(table);
}

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
    postgres::{Session, migrate, read_catalog},
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
        migrate(session).await?;
        let Some(guarded) = guarded(setup, session).await? else { return Ok(Exit::Faults) };
        let changed = guard::install(session, &guarded, self.mode.into(), &operator(), self.dry_run).await?;
        if self.json {
            print::json(&changed)?;
            return Ok(exit(&changed));
        }
        report(&changed, self.dry_run);
        let failed = changed.iter().filter(|changed| changed.problem.is_some()).count();
        print::line(match (self.dry_run, failed) {
            (true, _) => "Nothing was changed (--dry-run).".to_owned(),
            (false, 0) => format!("{} guarded.", print::count(changed.len(), "table")),
            (false, failed) => format!(
                "{failed} of {} not guarded: fix the named problems and run the command again. The owner of the tables can run \
                 what `driftless guard install --dry-run` prints.",
                print::count(changed.len(), "table")
            ),
        });
        Ok(exit(&changed))
    }
}

impl Remove {
    async fn execute(self, session: &Session) -> anyhow::Result<Exit> {
        migrate(session).await?;
        let changed = guard::remove(session, &operator(), self.dry_run).await?;
        if self.json {
            print::json(&changed)?;
            return Ok(exit(&changed));
        }
        report(&changed, self.dry_run);
        print::line(match self.dry_run {
            true => "Nothing was changed (--dry-run).".to_owned(),
            false => format!(
                "The guard is removed from {}.",
                print::count(changed.iter().filter(|changed| changed.problem.is_none()).count(), "table")
            ),
        });
        Ok(exit(&changed))
    }
}

fn exit(changed: &[Changed]) -> Exit {
    if changed.iter().any(|changed| changed.problem.is_some()) { Exit::Failure } else { Exit::Success }
}

fn report(changed: &[Changed], dry_run: bool) {
    for Changed { relation, sql, problem } in changed {
        if dry_run {
            sql.iter().for_each(|sql| print::line(format!("{sql};")));
        }
        if let Some(problem) = problem {
            print::line(format!("{relation}: {problem}"));
        }
    }
}

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

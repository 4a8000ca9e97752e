//! The command line: one file per command.

mod check;
mod dlq;
mod preview;
mod print;
mod reconcile;
mod replay;
mod run;
mod schema;
mod setup;
mod snapshot;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{log, pipeline, postgres, source, telemetry::LogFormat};

/// Where `--help` lists the options of every command, apart from the command's own.
const GLOBAL: &str = "Options of every command";

/// Moves a live application from MongoDB to PostgreSQL and proves that both sides are equal.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    /// Configuration file.
    #[arg(long, short, global = true, env = "DRIFTLESS_CONFIG", default_value = "driftless.toml", help_heading = GLOBAL)]
    pub config: PathBuf,
    /// How log lines on standard error look.
    #[arg(long, global = true, env = "DRIFTLESS_LOG_FORMAT", value_enum, default_value_t, help_heading = GLOBAL)]
    pub log_format: LogFormat,
    /// Which log lines: a level, or a list such as `warn,driftless=debug`.
    #[arg(long, global = true, env = "DRIFTLESS_LOG", default_value = "warn,driftless=info", help_heading = GLOBAL)]
    pub log_filter: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: all roles, or some of them.
    Run(run::Run),
    /// Look for faults in configuration, mapping, servers and data; name all of them at once.
    ///
    /// A fault keeps the daemon from running, or would make dead letters; with one, the exit code is 2. A warning is legal and
    /// worth a look. Documents are read and mapped, never written; no value of theirs is shown but the `_id` of examples.
    Check(check::Check),
    /// Show documents with the rows that they become; nothing is written.
    ///
    /// PostgreSQL prints the values, as it would show them in the tables. Values are shown: it is a command for looking at them.
    Preview(preview::Preview),
    /// Apply a topic again from an earlier offset, while the daemon runs.
    ///
    /// Rows never grow older by it: a change that is not the newest of its document loses. Changes of the newest version are
    /// applied again, so a mended mapping reaches the rows.
    Replay(replay::Replay),
    /// Start snapshots again, let them stand still or go on, and see how far they are.
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// Compare both sides now.
    Reconcile(reconcile::Reconcile),
    /// Prepare the target.
    #[command(subcommand)]
    Schema(schema::Schema),
    /// Look at dead letters, try them again, or give them up.
    ///
    /// A dead letter is a record that PostgreSQL or the mapping refused. It is kept as it was, and its document counts as drift
    /// until a newer version is applied or a retry succeeds; the letter closes itself then.
    #[command(subcommand)]
    Dlq(dlq::Dlq),
}

/// How a command ended, where it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Success,
    /// It failed on the way.
    Failure,
    /// Configuration, mapping or servers have faults.
    Faults,
    /// A role has halted and waits for a person.
    Halted,
    /// Both sides are proven unequal.
    Drift,
    /// Equality is not proven.
    Unproven,
}

impl Exit {
    /// The exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Faults => 2,
            Self::Halted => 3,
            Self::Drift => 4,
            Self::Unproven => 5,
        }
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Whatever kept it from its end; the caller prints it with its causes.
    pub async fn execute(self) -> anyhow::Result<Exit> {
        let config = &self.config;
        match self.command {
            Command::Run(run) => run.execute(config).await,
            Command::Check(check) => check.execute(config).await,
            Command::Preview(preview) => preview.execute(config).await,
            Command::Replay(replay) => replay.execute(config).await,
            Command::Snapshot(snapshot) => snapshot.execute(config).await,
            Command::Reconcile(reconcile) => reconcile.execute(config).await,
            Command::Schema(schema) => schema.execute(config).await,
            Command::Dlq(dlq) => dlq.execute(config).await,
        }
    }
}

/// What a person can do about the error of a command, where the part that failed knows.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let part = cause.downcast_ref::<postgres::Error>().and_then(postgres::Error::hint);
        let part = part.or_else(|| cause.downcast_ref::<source::Error>().and_then(source::Error::hint));
        let part = part.or_else(|| cause.downcast_ref::<log::Error>().and_then(log::Error::hint));
        part.map(str::to_owned).or_else(|| cause.downcast_ref::<pipeline::Error>().and_then(pipeline::Error::hint))
    })
}

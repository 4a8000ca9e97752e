//! The command line: one file per command.

mod check;
mod dlq;
mod preview;
mod print;
mod reconcile;
mod replay;
mod run;
mod setup;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::telemetry::LogFormat;

/// Moves a live application from MongoDB to PostgreSQL and proves that both sides are equal.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    /// Configuration file.
    #[arg(long, short, global = true, env = "DRIFTLESS_CONFIG", default_value = "driftless.toml")]
    pub config: PathBuf,
    /// How log lines on standard error look.
    #[arg(long, global = true, env = "DRIFTLESS_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Which log lines: a level, or a list such as `warn,driftless=debug`.
    #[arg(long, global = true, env = "DRIFTLESS_LOG", default_value = "warn,driftless=info")]
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
    Check(check::Check),
    /// Show documents with the rows that they become; nothing is written.
    Preview(preview::Preview),
    /// Apply a topic again from an earlier offset, while the daemon runs.
    Replay(replay::Replay),
    /// Compare both sides now.
    Reconcile(reconcile::Reconcile),
    /// Look at dead letters, try them again, or give them up.
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
            Command::Reconcile(reconcile) => reconcile.execute(config).await,
            Command::Dlq(dlq) => dlq.execute(config).await,
        }
    }
}

//! The command line: one file per command.

mod analyze;
mod ask;
mod check;
mod cutover;
mod diff;
mod dlq;
mod dry_run;
mod finding;
mod generate;
mod guard;
mod health;
mod init;
mod integrity;
mod mapping;
mod pause;
mod preview;
mod print;
mod reconcile;
mod repair;
mod replay;
mod requests;
mod reset;
mod run;
mod schema;
mod setup;
mod shadow;
mod snapshot;
mod status;
mod survey;
mod uninstall;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::Targets;

use crate::{log, pipeline, postgres, source, telemetry::LogFormat};

/// Heading under which `--help` lists the options that all commands share.
const GLOBAL: &str = "Options of every command";

/// Replicates a live MongoDB database to PostgreSQL tables and proves that both hold the same data.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    /// Configuration file.
    #[arg(long, short, global = true, env = "DRIFTLESS_CONFIG", default_value = "driftless.toml", help_heading = GLOBAL)]
    pub(crate) config: PathBuf,
    /// Format of the log lines on standard error.
    #[arg(long, global = true, env = "DRIFTLESS_LOG_FORMAT", value_enum, default_value_t, help_heading = GLOBAL)]
    pub log_format: LogFormat,
    /// Which lines to log: a level, or a list such as `warn,driftless=debug`.
    #[arg(long, global = true, env = "DRIFTLESS_LOG", default_value = "warn,driftless=info", help_heading = GLOBAL)]
    pub log_filter: Targets,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A command with its options.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon with all roles, or with some of them.
    ///
    /// With `--dry-run` no role runs: every document is read and converted, nothing is written anywhere, and the command reports how many
    /// documents would become dead letters, by reason and column with the `_id` of an example, and what the policies of the mapping
    /// would give up. The exit code is 2 if there would be dead letters.
    Run(run::Run),
    /// Ask the daemon at `http.listen` whether it is ready, or only whether it lives.
    ///
    /// The exit code is 0 if it is, else 1. Lag does not count.
    Health(health::Health),
    /// Read the documents of MongoDB and report what they are like: paths, types, ranges, references, indexes.
    ///
    /// Needs neither a mapping nor Kafka nor PostgreSQL. The report shows values: ranges, and the texts of fields that have few.
    Analyze(analyze::Analyze),
    /// Draft a project from the documents of MongoDB: configuration, mapping, target schema, roles and a compose file.
    ///
    /// Every document that is read fits the drafted tables. A constraint that later documents could break is a comment, unless MongoDB
    /// itself enforces it. On a terminal, questions are asked for what no option answers, each with a default.
    Init(init::Init),
    /// Check configuration, mapping, servers and data, and report all faults at once.
    ///
    /// A fault keeps the daemon from running or would produce dead letters; the exit code is then 2. A warning does not stop a
    /// run. Documents are read and mapped, never written. Of their values, only the `_id` of examples is shown.
    Check(check::Check),
    /// Show documents and the rows they become; nothing is written.
    ///
    /// PostgreSQL prints the values as it would show them in the tables. This command shows document contents.
    Preview(preview::Preview),
    /// Show whether both sides are in sync, what blocks, how far everything is, and what to do.
    ///
    /// The daemon is asked, and PostgreSQL where no daemon answers on this machine. The exit code is 0 if both sides are in sync, 4 if
    /// they are proven unequal, 3 if a role has halted, and 5 if it is not proven.
    Status(status::Status),
    /// Apply records of the log again, while the daemon runs.
    ///
    /// The flags are those of `kafka-consumer-groups --reset-offsets`. Without `--execute` the command prints what it would do: the old
    /// and the new offset of each partition, the records, their time, the tables, and about how long it takes.
    ///
    /// A replay never overwrites newer data: a change that is not the newest of its document loses. Changes of the newest
    /// version are applied again, so a corrected mapping reaches the rows. Positions only move back. New changes of a replayed
    /// partition are applied behind the replayed records; other collections go on.
    Replay(replay::Replay),
    /// Compare the mapping file with the mapping of the running migration, and let the migration go on with the file.
    #[command(subcommand)]
    Mapping(mapping::Mapping),
    /// Empty the tables of collections, and read them again from the beginning.
    ///
    /// The order goes through the log: the sink deletes the rows of every document, child tables first, and leaves tombstones, so that
    /// nothing older comes back. Then a new snapshot reads the collection, and its proof is void until a baseline has ended. A row that
    /// belongs to no document stays; the baseline finds it and `driftless repair` removes it. Without `--confirm` the command prints what
    /// it would do.
    Reset(reset::Reset),
    /// Restart, pause or resume snapshots, and show their progress.
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// Pause roles, or the application of collections, until they are resumed or for a time.
    ///
    /// A role finishes what is open and rests, in every process and after a restart too. While a collection is paused, the sink leaves
    /// its changes in the log. Status, metrics and an alert show who paused what, since when and why; the verdict is unknown. A pause
    /// that is longer than the servers keep the missed changes is refused.
    Pause(pause::Pause),
    /// Resume what is paused; without a choice, everything. A role that has halted tries again.
    Resume(pause::Resume),
    /// Compare both sides now.
    Reconcile(reconcile::Reconcile),
    /// Decide whether reads may be cut over.
    #[command(subcommand)]
    Cutover(cutover::Cutover),
    /// Compare the answers of both databases to the queries of an application.
    #[command(subcommand)]
    Shadow(shadow::Shadow),
    /// Record or refuse every write to the mapped tables that is not the sink's.
    #[command(subcommand)]
    Guard(guard::Guard),
    /// Look for rows whose parent is missing.
    Integrity(integrity::Integrity),
    /// Show both sides of a document, and whether they differ.
    ///
    /// Rows are named by their keys and columns by their names; this command shows values only with `--reveal`.
    Diff(diff::Diff),
    /// Repair differences that a comparison found, through the log, while the daemon runs.
    ///
    /// The leader of the source reads each document again and publishes it, or its delete; the sink writes it as any other change, so
    /// nothing newer is overwritten. A row that no document stands behind is removed. Both sides are kept as evidence before, and
    /// each document is compared again after. Many findings have a common cause: beyond a bound nothing is repaired.
    Repair(repair::Repair),
    /// Prepare the target.
    #[command(subcommand)]
    Schema(schema::Schema),
    /// List, retry, discard or export dead letters.
    ///
    /// A dead letter is a record that PostgreSQL or the mapping refused. It is kept with its raw bytes. Its document counts as
    /// drift until a newer version is applied or a retry succeeds; the letter then closes.
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    /// Remove everything that this migration has made on the three servers; the tables of the application and their rows stay.
    ///
    /// In PostgreSQL these are the triggers of the guard and the state in the schema `driftless`, in Kafka the topics and consumer
    /// groups. Without `--confirm` the command prints what it would remove.
    Uninstall(uninstall::Uninstall),
    /// Print the completions of a shell.
    Completions(generate::Completions),
    /// Print the man page, or write the pages of all commands into a folder.
    Man(generate::Man),
}

/// The outcome of a command that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command did what was asked.
    Success,
    /// The command did only a part of what was asked.
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
    /// Fails with the error that stopped the command; the caller prints it with its causes.
    pub async fn execute(self) -> anyhow::Result<Exit> {
        let config = &self.config;
        match self.command {
            Command::Run(run) => run.execute(config).await,
            Command::Health(health) => health.execute(config).await,
            Command::Analyze(analyze) => analyze.execute(config).await,
            Command::Init(init) => init.execute(config).await,
            Command::Check(check) => check.execute(config).await,
            Command::Preview(preview) => preview.execute(config).await,
            Command::Status(status) => status.execute(config).await,
            Command::Replay(replay) => replay.execute(config).await,
            Command::Mapping(mapping) => mapping.execute(config).await,
            Command::Reset(reset) => reset.execute(config).await,
            Command::Snapshot(snapshot) => snapshot.execute(config).await,
            Command::Pause(pause) => pause.execute(config).await,
            Command::Resume(resume) => resume.execute(config).await,
            Command::Reconcile(reconcile) => reconcile.execute(config).await,
            Command::Cutover(cutover) => cutover.execute(config).await,
            Command::Shadow(shadow) => shadow.execute(config).await,
            Command::Guard(guard) => guard.execute(config).await,
            Command::Integrity(integrity) => integrity.execute(config).await,
            Command::Diff(diff) => diff.execute(config).await,
            Command::Repair(repair) => repair.execute(config).await,
            Command::Schema(schema) => schema.execute(config).await,
            Command::Dlq(dlq) => dlq.execute(config).await,
            Command::Uninstall(uninstall) => uninstall.execute(config).await,
            Command::Completions(completions) => completions.execute(),
            Command::Man(man) => man.execute(),
        }
    }
}

/// Returns the remedy for the error of a command, if the part that failed knows one.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let part = cause.downcast_ref::<postgres::Error>().and_then(postgres::Error::hint);
        let part = part.or_else(|| cause.downcast_ref::<source::Error>().and_then(source::Error::hint));
        let part = part.or_else(|| cause.downcast_ref::<log::Error>().and_then(log::Error::hint));
        part.map(str::to_owned).or_else(|| cause.downcast_ref::<pipeline::Error>().and_then(pipeline::Error::hint))
    })
}

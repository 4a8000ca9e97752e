//! The demo: PostgreSQL becomes equal to the MongoDB of a live application that keeps writing.
//!
//! It plays both the application (documents and writes) and the operator (starts the daemon, watches, asks for the
//! verdict). As an operator would, it uses only the daemon's binary, its status page and its commands.

mod daemon;
mod live;
mod stage;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Parser, Subcommand};
use driftless_demo::{Generator, Until, Workload, load};
use tokio_util::sync::CancellationToken;

use crate::{
    daemon::{Daemon, StatusPage},
    live::Live,
    stage::Stage,
};

#[derive(Parser)]
#[command(version, about = "A live application to try driftless on")]
struct Cli {
    /// File with the addresses of the servers, one KEY=VALUE per line.
    #[arg(long, default_value = ".local/main/env", global = true)]
    servers: PathBuf,
    /// Folder for the configuration, log and pid of the demo's daemon.
    #[arg(long, default_value = ".local/demo", global = true)]
    folder: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load documents, start the daemon, write for a while, watch, and ask for the verdict.
    Run {
        /// Documents loaded before the daemon starts.
        #[arg(long, default_value_t = 20_000)]
        documents: u64,
        /// Operations per second.
        #[arg(long, default_value_t = 300)]
        rate: u32,
        /// Seconds to write for.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Seed for the documents and operations.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Write to the demo's database again.
    Write {
        /// Operations per second.
        #[arg(long, default_value_t = 300)]
        rate: u32,
        /// Seconds to write for.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Seed for the operations.
        #[arg(long, default_value_t = 2)]
        seed: u64,
    },
    /// Stop the demo's daemon.
    Stop,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Run { documents, rate, seconds, seed } => {
            run(&cli.servers, &cli.folder, documents, rate, seconds, seed).await
        }
        Command::Write { rate, seconds, seed } => write(&cli.servers, &cli.folder, rate, seconds, seed).await,
        Command::Stop => Daemon::stop(&cli.folder).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("\nThe demo failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo and returns whether both sides ended equal.
async fn run(
    servers: &std::path::Path,
    folder: &std::path::Path,
    documents: u64,
    rate: u32,
    seconds: u64,
    seed: u64,
) -> anyhow::Result<bool> {
    let stage = Stage::read(servers, folder)?;
    Daemon::stop(folder)?;
    stage.reset().await?;
    let generator = Generator::new(seed, documents);
    let bar = indicatif::ProgressBar::new(documents).with_style(indicatif::ProgressStyle::with_template(
        "Loading the application's documents  {bar:30} {pos}/{len}",
    )?);
    let loaded = load(&stage.database().await?, &generator, |done| bar.set_position(done)).await?;
    bar.finish_and_clear();
    say(&format!("Loaded {} documents into MongoDB in {:.1} s.", loaded.documents, loaded.elapsed.as_secs_f64()));

    let daemon = Daemon::start(&stage).await?;
    let runs = |status: &StatusPage| status.process.roles.get("sink").is_some_and(|sink| sink.phase == "running");
    daemon.wait_for("the start of the sink", START, runs).await?;
    daemon.guard()?;
    say(&format!(
        "Started the daemon; writing {rate} operations a second for {seconds} s while it takes its snapshot.\n"
    ));
    let stop = CancellationToken::new();
    let database = stage.database().await?;
    let writing = tokio::spawn(async move {
        Workload::new(database.client().clone(), database.name(), seed).run(f64::from(rate), until(seconds), stop).await
    });
    let mut live = Live::new(&stage, &daemon).await?;
    live.watch(&writing, Duration::from_secs(seconds)).await?;
    let counts = writing.await.context("wait for the writes")??;
    live.finish();
    say(&format!(
        "\nThe application has stopped writing after {} operations of {} kinds. Comparing everything:\n",
        counts.total(),
        counts.operations.len()
    ));

    let equal = daemon.reconcile()?;
    say(if equal { "\nEqual: every document was compared with its rows, column by column." } else { "\nNOT EQUAL." });
    let judged = daemon.wait_for("the proof", PROOF, |status| status.verdict != "unknown").await?;
    say(&format!("{}\n{}", verdict(&judged), stage.where_next(&daemon)));
    Ok(equal && judged.verdict == "in_sync")
}

/// How long the daemon may take to start.
const START: Duration = Duration::from_secs(30);
/// How long the daemon may take to compare everything by itself.
const PROOF: Duration = Duration::from_secs(180);

/// Returns the verdict in a sentence.
fn verdict(status: &StatusPage) -> String {
    match (&*status.verdict, &status.verified) {
        ("in_sync", Some(verified)) => format!(
            "The daemon's own verdict: in sync as of {} ({:.1} s ago).",
            verified.at.strftime("%Y-%m-%d %H:%M:%SZ"),
            verified.age_ms as f64 / 1000.0
        ),
        (verdict, _) => format!("The daemon's own verdict: {verdict}. {}", status.blockers.join("; ")),
    }
}

async fn write(
    servers: &std::path::Path,
    folder: &std::path::Path,
    rate: u32,
    seconds: u64,
    seed: u64,
) -> anyhow::Result<bool> {
    let stage = Stage::read(servers, folder)?;
    let database = stage.database().await?;
    let mut workload = Workload::new(database.client().clone(), database.name(), seed);
    let counts = workload.run(f64::from(rate), until(seconds), CancellationToken::new()).await?;
    say(&format!("Wrote {} operations.", counts.total()));
    Ok(true)
}

fn until(seconds: u64) -> Until {
    Until::Deadline(tokio::time::Instant::now() + Duration::from_secs(seconds))
}

/// Prints a text for the person at the terminal.
#[expect(clippy::print_stdout, reason = "the demo is a conversation on standard output")]
fn say(text: &str) {
    println!("{text}");
}

//! The demo: PostgreSQL becomes equal to the MongoDB of a live application that keeps writing.
//!
//! It plays the application (documents and writes), the operator (starts the daemon, watches, repairs, moves reads, asks for the
//! verdict), and somebody who edits rows by hand. As an operator would, it uses only the daemon's binary, its pages and its commands.

mod daemon;
mod live;
mod promise;
mod stage;
mod wait;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use clap::{Args, Parser, Subcommand};
use driftless_demo::{Collection, Generator, Until, Workload, load};
use mongodb::bson::Document;
use tokio_util::sync::CancellationToken;

use crate::{
    daemon::{Daemon, StatusPage},
    live::Live,
    stage::Stage,
    wait::until,
};

#[derive(Parser)]
#[command(version, about = "A live application to try driftless on")]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where the demo runs.
#[derive(Args)]
struct Place {
    /// File with the addresses of the servers, one KEY=VALUE per line.
    #[arg(long, default_value = ".local/main/env", global = true)]
    servers: PathBuf,
    /// Folder for the configuration, log and pid of the demo's daemon.
    #[arg(long, default_value = ".local/demo", global = true)]
    folder: PathBuf,
    /// Name of both databases, and first part of the topics' names.
    #[arg(long, default_value = "driftless_demo", global = true)]
    name: String,
    /// Address on which the daemon listens.
    #[arg(long, default_value = "127.0.0.1:9464", global = true)]
    listen: String,
}

#[derive(Subcommand)]
enum Command {
    /// Load documents, start the daemon, write, watch, edit rows by hand, move reads, and ask for the verdict.
    Run(Run),
    /// Load documents into a database that has none yet, and nothing else: for a daemon that somebody else starts.
    Load {
        /// Documents to load.
        #[arg(long, default_value_t = 20_000)]
        documents: u64,
        /// Seed for the documents.
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

/// How much to show.
#[derive(Args)]
struct Run {
    /// Documents loaded before the daemon starts.
    #[arg(long, default_value_t = 20_000)]
    documents: u64,
    /// Operations per second.
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Seconds to watch the writes for, before somebody edits rows by hand.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds within which each part of the promise must happen.
    #[arg(long, default_value_t = 60)]
    within: u64,
    /// Seed for the documents and operations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Run(options) => run(&cli.place, &options).await,
        Command::Load { documents, seed } => load_once(&cli.place, documents, seed).await,
        Command::Write { rate, seconds, seed } => write(&cli.place, rate, seconds, seed).await,
        Command::Stop => Daemon::stop(&cli.place.folder),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let log = daemon::log_in(&cli.place.folder);
            say(&format!(
                "\nThe demo failed: {error:#}\nThe daemon, if it has started, still runs: its log is {}.\n\
                 Shut down with `make demo-down`.",
                log.display()
            ));
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo.
///
/// # Errors
/// Fails when any part of what it shows does not happen.
async fn run(place: &Place, options: &Run) -> anyhow::Result<()> {
    let Run { documents, rate, seconds, within, seed } = *options;
    let stage = Stage::read(place)?;
    Daemon::stop(&place.folder)?;
    stage.reset().await?;
    let generator = Generator::new(seed, documents);
    let bar = indicatif::ProgressBar::new(documents).with_style(indicatif::ProgressStyle::with_template(
        "Loading the application's documents  {bar:30} {pos}/{len}",
    )?);
    let loaded = load(&stage.database().await?, &generator, |done| bar.set_position(done)).await?;
    bar.finish_and_clear();
    say(&format!("Loaded {} documents into MongoDB in {:.1} s.\n", loaded.documents, loaded.elapsed.as_secs_f64()));

    let daemon = Daemon::new(&stage)?;
    daemon.show(&["check", "--sample", "0"], 0)?;
    // Before the first comparison begins, so that the guard has held since then.
    daemon.show(&["schema", "apply"], 0)?;
    daemon.show(&["guard", "install"], 0)?;
    daemon.start().await?;
    say(&format!("\nStarted the daemon; writing {rate} operations a second, also while it takes its snapshot.\n"));
    let stop = CancellationToken::new();
    let (database, stopped) = (stage.database().await?, stop.clone());
    let writing = tokio::spawn(async move {
        let mut workload = Workload::new(database.client().clone(), database.name(), seed);
        workload.run(f64::from(rate), Until::Cancelled, stopped).await
    });
    let shown = async {
        let judged = Live::new(&stage, &daemon).await?.watch(Duration::from_secs(seconds), PROOF).await?;
        say(&format!("\n{} The application keeps writing.", verdict(&judged)));
        promise::keep(&stage, &daemon, Duration::from_secs(within), seed).await
    }
    .await;
    // Also after a failure: the driver panics when its runtime ends in the midst of a write.
    stop.cancel();
    let counts = writing.await.context("wait for the writes")??;
    shown?;
    say(&format!(
        "\nThe application has stopped writing after {} operations of {} kinds. Comparing everything:",
        counts.total(),
        counts.operations.len()
    ));
    daemon.show(&["reconcile", "--full"], 0)?;
    say("Equal: every document was compared with its rows, column by column.");
    let judged = until("the proof", PROOF, async || {
        let status = daemon.status().await?;
        Ok(if status.verdict == "unknown" { Err(status.blockers.join("; ")) } else { Ok(status) })
    })
    .await?;
    say(&format!("{}\n{}", verdict(&judged), stage.where_next(&daemon)));
    ensure!(judged.verdict == "in_sync", "the daemon does not prove that both sides are equal");
    Ok(())
}

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

/// Loads documents unless there are any, so that it may be run at each start.
async fn load_once(place: &Place, documents: u64, seed: u64) -> anyhow::Result<()> {
    let database = Stage::read(place)?.database().await?;
    for collection in Collection::ALL {
        let found = database.collection::<Document>(collection.name()).estimated_document_count().await?;
        if found > 0 {
            say(&format!("{} has {found} documents: nothing is loaded.", collection.name()));
            return Ok(());
        }
    }
    let loaded = load(&database, &Generator::new(seed, documents), |_| {}).await?;
    say(&format!("Loaded {} documents.", loaded.documents));
    Ok(())
}

async fn write(place: &Place, rate: u32, seconds: u64, seed: u64) -> anyhow::Result<()> {
    let stage = Stage::read(place)?;
    let database = stage.database().await?;
    let mut workload = Workload::new(database.client().clone(), database.name(), seed);
    let end = Until::Deadline(tokio::time::Instant::now() + Duration::from_secs(seconds));
    let counts = workload.run(f64::from(rate), end, CancellationToken::new()).await?;
    say(&format!("Wrote {} operations.", counts.total()));
    Ok(())
}

/// Prints a text for the person at the terminal.
#[expect(clippy::print_stdout, reason = "the demo is a conversation on standard output")]
fn say(text: &str) {
    println!("{text}");
}

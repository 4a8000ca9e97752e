//! The benchmark: the limits of the servers, how close the daemon comes to them, and the usual alternative, in one run.
//!
//! It uses the daemon as an operator does (release build, default settings, its own process), except in `stages`, which
//! calls its parts one by one. It knows nothing of how the daemon works and measures from outside: it writes to MongoDB,
//! queries PostgreSQL and asks the kernel what the process has used.
//!
//! Reading order: `scale`, `users` and `changes` (the data), `trials` and `watch` (how a run is timed), `traffic` (latency),
//! the chapters, `required`, `report`.

mod applied;
mod ceilings;
mod changes;
mod compare;
mod cost;
mod daemon;
mod debezium;
mod end_to_end;
mod latency;
mod machine;
mod markdown;
mod peer;
mod plot;
mod plots;
mod process;
mod proof;
mod recovery;
mod report;
mod required;
mod scale;
mod servers;
mod shapes;
mod stages;
mod stats;
mod traffic;
mod trials;
mod users;
mod watch;
mod ways;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::Context;
use clap::{Parser, ValueEnum};

use crate::{
    machine::Machine,
    report::{Chapter, Report},
    required::Mark,
    scale::Scale,
    servers::Servers,
    users::Users,
};

#[derive(Parser)]
#[command(version, about = "Measures the daemon against what its servers allow")]
struct Cli {
    /// Use small sizes: minutes instead of hours; for a first look, not for quoting.
    #[arg(long)]
    quick: bool,
    /// Number of documents in every measurement that is sized by documents.
    #[arg(long)]
    documents: Option<u64>,
    /// Seconds for which the age of the proof is observed.
    #[arg(long)]
    observed: Option<u64>,
    /// Run only these chapters, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Measure this peer too, in turn with the daemon.
    #[arg(long, value_enum)]
    peer: Option<Peer>,
    /// A setting of the daemon that differs from its default, as `section.key=value`; may be repeated.
    #[arg(long = "set")]
    settings: Vec<String>,
    /// Seed for all data.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// File with the addresses of the servers.
    #[arg(long, default_value = ".local/bench/env")]
    servers: PathBuf,
    /// Folder for benchmarks.md, benchmarks.json and the plots.
    #[arg(long, default_value = "docs")]
    output: PathBuf,
}

/// A chapter of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Ceilings,
    Stages,
    EndToEnd,
    Latency,
    Cost,
    Recovery,
    Proof,
    Applied,
    Peer,
}

/// Another program that moves rows from MongoDB to PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    Debezium,
}

/// The context that every chapter needs.
struct Bench {
    servers: Servers,
    users: Users,
    scale: Scale,
    began: Instant,
}

impl Bench {
    /// Reports what is being measured now.
    #[expect(clippy::print_stderr, reason = "progress for the person who waits")]
    fn step(&self, text: &str) {
        let seconds = self.began.elapsed().as_secs();
        eprintln!("{:>3}:{:02}  {text}", seconds / 60, seconds % 60);
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("The benchmark failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the benchmark and returns whether every chapter was completed.
async fn run(cli: Cli) -> anyhow::Result<bool> {
    anyhow::ensure!(cli.peer.is_some() || !cli.only.contains(&Part::Peer), "name the peer: --peer debezium");
    let scale = if cli.quick { Scale::quick() } else { Scale::full() };
    let scale = Scale { seed: cli.seed, observed: cli.observed.unwrap_or(scale.observed), ..scale };
    let scale = cli.documents.map_or(scale.clone(), |documents| scale.with_documents(documents));
    let mut machine = Machine::look();
    let servers = Servers::read(&cli.servers, cli.settings.clone()).await?;
    machine.servers = servers.versions().await.context("ask the servers for their versions")?;
    let bench = Bench { servers, users: Users { seed: scale.seed }, scale: scale.clone(), began: Instant::now() };
    let began = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    let mut report = Report { began, machine, scale, settings: cli.settings, chapters: Vec::new() };
    for part in Part::value_variants() {
        if !(cli.only.is_empty() || cli.only.contains(part)) || (*part == Part::Peer && cli.peer.is_none()) {
            continue;
        }
        let mut chapter = part.chapter();
        if let Err(error) = part.measure(&bench, &mut chapter).await {
            bench.step(&format!("{}: {error:#}", chapter.title));
            chapter.failure = Some(format!("{error:#}"));
        }
        report.chapters.push(chapter);
        // The report is written after each chapter, so that a failure in the last one does not lose hours of measuring.
        write(&report, &cli.output)?;
    }
    for line in required::judge(&report).iter().filter(|line| line.mark != Mark::NotMeasured) {
        let mark = if line.mark == Mark::Reached { "reached" } else { "MISSED" };
        say(&format!("{mark:<8} {}: {} ({})", line.what, line.found, line.required));
    }
    say(&format!("The report is in {}.", cli.output.join("benchmarks.md").display()));
    Ok(report.chapters.iter().all(|chapter| chapter.failure.is_none()))
}

impl Part {
    fn chapter(self) -> Chapter {
        let (name, title, method) = match self {
            Self::Ceilings => (
                "ceilings",
                "1. Ceilings",
                "Each server with its bare client and no other load. The daemon's figures are compared with these.",
            ),
            Self::Stages => (
                "stages",
                "2. Stages",
                "Parts of the daemon alone. The source follows the same updates as the ceilings of the change stream. The \
                 sink starts with a full topic and with all rows present.",
            ),
            Self::EndToEnd => (
                "end-to-end",
                "3. End to end",
                "The whole daemon in one process. A backlog is written while the daemon is stopped; one document before it \
                 and one after it mark its begin and its end. Rows that the first query already finds do not count in a \
                 rate. After each run every row is compared with its document, field by field.",
            ),
            Self::Latency => (
                "latency",
                "4. Latency",
                "From sending the write to the first query that sees the row. Inserts are sent every 10 ms, as many at \
                 once as the rate demands. PostgreSQL is queried every 2 ms, and that pause and the query are part of each \
                 figure.",
            ),
            Self::Cost => (
                "cost",
                "5. Cost",
                "Processor time (user and system) and memory of the daemon's process, as the kernel accounts for them, \
                 from the start of the process to the last row.",
            ),
            Self::Recovery => (
                "recovery",
                "6. Recovery",
                "1,000 inserts a second continue all the time. SIGKILL: the process is killed, and a new one starts at \
                 once. Away: the process is stopped in order and started again later.",
            ),
            Self::Proof => (
                "proof",
                "7. Proof",
                "Everything is compared at full speed, in turn with a bare scan of the documents and a bare read of the rows. \
                 The age of V is PostgreSQL's clock minus the instant as of which every change is judged. For the cost of \
                 the delta, source and sink run in one process and the reconciler in another, while every document is \
                 updated once.",
            ),
            Self::Applied => (
                "applied",
                "8. Read your writes",
                "From the acknowledgement of a write, which carries its operation time, to the answer of /api/v1/applied that \
                 PostgreSQL holds it, while 1,000 other inserts a second continue. Every 20 ms one more document is written \
                 and asked about: itself, and its whole collection, in turn.",
            ),
            Self::Peer => (
                "peer",
                "9. Beside Debezium",
                "Debezium's MongoDB source and JDBC sink, tuned, in one Kafka Connect process. Debezium and the daemon \
                 take turns on the same documents and changes, and each is alone on the machine while it is measured. At \
                 the end both targets are compared with MongoDB, field by field. Processor time counts from the start of \
                 the process. With few documents, most of Debezium's is the start of its virtual machine, so only the full \
                 sizes are fair to it.",
            ),
        };
        Chapter::new(name, title, method)
    }

    async fn measure(self, bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
        match self {
            Self::Ceilings => ceilings::measure(bench, chapter).await,
            Self::Stages => stages::measure(bench, chapter).await,
            Self::EndToEnd => end_to_end::measure(bench, chapter).await,
            Self::Latency => latency::measure(bench, chapter).await,
            Self::Cost => cost::measure(bench, chapter).await,
            Self::Recovery => recovery::measure(bench, chapter).await,
            Self::Proof => proof::measure(bench, chapter).await,
            Self::Applied => applied::measure(bench, chapter).await,
            Self::Peer => peer::measure(bench, chapter).await,
        }
    }
}

fn write(report: &Report, output: &Path) -> anyhow::Result<()> {
    let plots = output.join("benchmarks");
    if plots.exists() {
        fs::remove_dir_all(&plots)?;
    }
    fs::create_dir_all(&plots)?;
    let mut shown = Vec::new();
    for drawing in plots::draw(report) {
        fs::write(plots.join(drawing.file), drawing.svg)?;
        shown.push((format!("benchmarks/{}", drawing.file), drawing.what.to_owned()));
    }
    let json = serde_json::json!({ "required": required::judge(report), "report": report });
    fs::write(output.join("benchmarks.json"), serde_json::to_string_pretty(&json)? + "\n")?;
    fs::write(output.join("benchmarks.md"), markdown::page(report, &shown))?;
    Ok(())
}

/// Prints a text for the person at the terminal.
#[expect(clippy::print_stdout, reason = "the outcome goes to standard output")]
fn say(text: &str) {
    println!("{text}");
}

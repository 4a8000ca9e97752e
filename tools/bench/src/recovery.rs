//! The daemon killed under load, and stopped for a while.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::{
    Bench,
    latency::running,
    report::Chapter,
    traffic::{Seeing, Writing},
    trials::Mover,
};

/// Operations a second during the measurement.
const RATE: u32 = 1_000;
/// How long the writes run before the kill.
const BEFORE: Duration = Duration::from_secs(3);
/// A target that is behind by less than this has caught up.
const FRESH: Duration = Duration::from_secs(2);
/// Longest wait.
const LIMIT: Duration = Duration::from_secs(900);
/// The number of the first document, above all others.
const FIRST: u64 = 10_000_000;

/// Measures both interruptions.
pub(crate) async fn measure(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    for run in 1..=bench.scale.long_runs {
        bench.step(&format!("killed under load, run {run}"));
        killed(bench, chapter).await.context("killed under load")?;
    }
    bench.step(&format!("away for {} s", bench.scale.downtime));
    away(bench, chapter).await.context("away for a while")
}

/// Kills the daemon with SIGKILL and starts a new process at once.
async fn killed(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let (trial, process) = running(bench, "killed").await?;
    let database = bench.servers.database(&trial.source);
    let writing = Writing::start(&database, bench.users, FIRST, RATE, LIMIT);
    let mut seeing = writing.seen_by(bench.servers.postgres(&trial.target).await?).await?;
    let began = Instant::now();
    while began.elapsed() < BEFORE {
        seeing.look().await?;
    }
    process.kill().await?;
    let (killed, later) = (Instant::now(), seeing.place());
    let process = Mover::Driftless.start(&bench.servers, &trial)?;
    let applying = loop {
        seeing.look().await?;
        if let Some(seen) = seeing.first_from(later) {
            break seen;
        }
        anyhow::ensure!(killed.elapsed() < LIMIT, "nothing is applied {LIMIT:?} after the kill");
    };
    chapter.add(
        "recovery.kill",
        "SIGKILL under load → a later write is visible",
        "s",
        (applying - killed).as_secs_f64(),
    );
    let fresh = until_fresh(&mut seeing).await?;
    let what = "SIGKILL under load → less than 2 s behind";
    chapter.add("recovery.kill_fresh", what, "s", (fresh - killed).as_secs_f64());
    writing.stop().await?;
    process.stop().await?;
    bench.servers.clear(trial).await
}

/// Stops the daemon gracefully and starts it again after a while; the writes never pause.
async fn away(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let (trial, process) = running(bench, "away").await?;
    process.stop().await?;
    let downtime = Duration::from_secs(bench.scale.downtime);
    let database = bench.servers.database(&trial.source);
    let writing = Writing::start(&database, bench.users, FIRST, RATE, downtime + LIMIT);
    let mut seeing = writing.seen_by(bench.servers.postgres(&trial.target).await?).await?;
    tokio::time::sleep(downtime).await;
    let missed = seeing.sent();
    let process = Mover::Driftless.start(&bench.servers, &trial)?;
    let fresh = until_fresh(&mut seeing).await?;
    let seconds = (fresh - process.started).as_secs_f64();
    let what = format!("away for {} s at {RATE} writes/s → less than 2 s behind", bench.scale.downtime);
    chapter.add("recovery.away", what, "s", seconds);
    chapter.add("recovery.away_rate", "rate of catching up, from process start", "changes/s", missed as f64 / seconds);
    writing.stop().await?;
    process.stop().await?;
    bench.servers.clear(trial).await
}

async fn until_fresh(seeing: &mut Seeing) -> anyhow::Result<Instant> {
    let began = Instant::now();
    loop {
        seeing.look().await?;
        if seeing.staleness() < FRESH {
            return Ok(Instant::now());
        }
        anyhow::ensure!(began.elapsed() < LIMIT, "still behind after {LIMIT:?}");
    }
}

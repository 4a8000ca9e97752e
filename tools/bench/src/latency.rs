//! From the write to the row: percentiles at fixed rates, and the highest rate at which the target stays fresh.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::{
    Bench,
    report::Chapter,
    servers::{Servers, Trial},
    stats::percentile,
    traffic::Writing,
    users::{self, Users},
};

/// Documents that exist before the measurement.
const BEFORE: u64 = 1_000;
/// How long after the last write a row may still arrive; after that it counts as missing.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// The observations at one rate.
pub(crate) struct Seen {
    /// Latencies in milliseconds, in no order.
    pub(crate) latencies: Vec<f64>,
    /// Operations a second that were actually sent.
    pub(crate) rate: f64,
    /// Whether every row arrived.
    pub(crate) complete: bool,
}

/// Measures the latency at each rate.
pub(crate) async fn measure(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let (trial, process) = running(bench, "latency").await?;
    let mut next = BEFORE;
    for rate in bench.scale.rates.clone() {
        for run in 1..=bench.scale.long_runs {
            bench.step(&format!("latency at {rate} operations a second, run {run}"));
            let seen = at(&bench.servers, &trial, bench.users, &mut next, rate, bench.scale.seconds).await?;
            seen.add_to(chapter, &format!("latency.{rate}"), &format!("{rate} operations/s"));
        }
    }
    process.stop().await?;
    bench.servers.clear(trial).await
}

/// Starts a daemon and waits until it has taken a small snapshot and follows the changes.
pub(crate) async fn running(bench: &Bench, name: &str) -> anyhow::Result<(Trial, crate::process::Process)> {
    let database = bench.servers.empty_database(name).await?;
    crate::changes::load(&database, bench.users, BEFORE).await?;
    let trial = bench.servers.trial(name, database.name(), &users::application()).await?;
    let mover = crate::trials::Mover::Driftless;
    let (process, _) = crate::trials::snapshot(&bench.servers, &mover, &trial, BEFORE).await?;
    Ok((trial, process))
}

/// Writes at one rate for `seconds` and advances `next`, the number of the next document.
pub(crate) async fn at(
    servers: &Servers,
    trial: &Trial,
    users: Users,
    next: &mut u64,
    rate: u32,
    seconds: u64,
) -> anyhow::Result<Seen> {
    let longest = Duration::from_secs(seconds);
    let began = Instant::now();
    let writing = Writing::start(&servers.database(&trial.source), users, *next, rate, longest);
    *next += u64::from(rate) * seconds;
    let mut seeing = writing.seen_by(servers.postgres(&trial.target).await?).await?;
    while writing.goes_on() {
        seeing.look().await?;
    }
    let rate = seeing.sent() as f64 / began.elapsed().as_secs_f64();
    writing.stop().await?;
    let complete = seeing.until_all(ARRIVAL_TIMEOUT).await?;
    Ok(Seen { latencies: seeing.latencies_ms(began + longest / 5), rate, complete })
}

/// Finds the highest rate of a ladder up to which the target was never more than `bound` behind.
pub(crate) async fn highest(bench: &Bench, chapter: &mut Chapter, bound: Duration) -> anyhow::Result<()> {
    let (trial, process) = running(bench, "steady").await?;
    let (mut next, mut best) = (BEFORE, None);
    let mut rate = 1_000;
    while rate <= 100_000 {
        bench.step(&format!("steady writes, {rate} a second"));
        let seen = at(&bench.servers, &trial, bench.users, &mut next, rate, bench.scale.seconds.min(8)).await?;
        let worst = percentile(&seen.latencies, 100.0).context("no row has come")?;
        let sent = seen.rate >= 0.95 * f64::from(rate);
        if !seen.complete || !sent || worst > bound.as_secs_f64() * 1_000.0 {
            break;
        }
        best = Some(rate);
        rate = (rate * 5 / 4).next_multiple_of(100);
    }
    let best = f64::from(best.unwrap_or(0));
    chapter.add("steady.rate", "steady inserts that stay less than 2 s behind, in steps of 25 %", "operations/s", best);
    process.stop().await?;
    bench.servers.clear(trial).await
}

impl Seen {
    /// Adds the percentiles to a chapter.
    pub(crate) fn add_to(&self, chapter: &mut Chapter, id: &str, what: &str) {
        for (name, percent) in [("p50", 50.0), ("p95", 95.0), ("p99", 99.0)] {
            if let Some(value) = percentile(&self.latencies, percent) {
                chapter.add(format!("{id}.{name}"), format!("{what}: {name}"), "ms", value);
            }
        }
        chapter.add(format!("{id}.sent"), format!("{what}: really sent"), "operations/s", self.rate);
        if !self.complete {
            chapter.add(format!("{id}.incomplete"), format!("{what}: RUN WITH ROWS THAT DID NOT COME"), "runs", 1.0);
        }
    }
}

//! The proof: how fast everything is compared, how old it is while the application writes, and what it costs.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::Context;
use futures_util::StreamExt;
use mongodb::Database;
use tokio_postgres::Client;

use crate::{
    Bench, ceilings, changes,
    daemon::{self, Daemon},
    latency,
    process::Process,
    report::Chapter,
    servers::{Servers, Trial},
    stats::percentile,
    trials::{self, Before, Mover},
    users::{self, USERS, Users},
    watch,
};

/// Settings with which one comparison of everything follows the other at full speed.
const UNLIMITED: [&str; 3] =
    ["reconcile.rate=100000000", "reconcile.bytes_rate=100GiB", "reconcile.baseline_every=10ms"];
/// Operations a second while the age of the proof is observed.
const RATE: u32 = 300;
/// The interval between two looks at the age.
const LOOK: Duration = Duration::from_millis(250);
/// The daemon's own verdict.
const IN_SYNC: &str = "driftless_verdict{verdict=\"in_sync\"}";
/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(900);

/// Measures everything about the proof.
pub(crate) async fn measure(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    baseline(bench, chapter).await.context("compare everything")?;
    age(bench, chapter).await.context("the age of the proof under writes")?;
    delta(bench, chapter).await.context("the cost of the delta")?;
    guard(bench, chapter).await.context("the cost of the guard")?;
    latency_beside_it(bench, chapter).await.context("the latency beside it")
}

/// Compares everything at full speed, in turn with a bare scan of the documents and a bare read of the rows.
async fn baseline(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let documents = bench.scale.documents;
    let servers = with(&bench.servers, &UNLIMITED);
    let trial = loaded(bench, &servers, "proof", documents).await?;
    let client = servers.postgres(&trial.target).await?;
    for run in 0..=bench.scale.runs {
        bench.step(&format!("everything is compared, run {run}"));
        let rate = ceilings::scan(&servers.database(&trial.source), documents).await?;
        ceilings::keep(chapter, run, "proof.scan", "bare scan of the same documents", "documents/s", rate);
        let rate = read_rows(&client, documents).await?;
        ceilings::keep(chapter, run, "proof.read", "bare read of the same rows", "rows/s", rate);
        let before = passes(&client).await?;
        let mut daemon = Daemon::start(&trial, &[])?;
        let began = Instant::now();
        let what = format!("SELECT count(*) FROM driftless.proof WHERE complete_pass > {before}");
        watch::count(&client, &mut daemon.process, &what, 1).await?;
        anyhow::ensure!(began.elapsed() < LIMIT, "no comparison of everything ends within {LIMIT:?}");
        let sql = "SELECT complete_documents, extract(epoch FROM complete_ended_at - complete_began_at)::float8
                     FROM driftless.proof";
        let pass = client.query_one(sql, &[]).await?;
        let (compared, seconds): (i64, f64) = (pass.get(0), pass.get(1));
        anyhow::ensure!(compared >= documents as i64, "only {compared} of {documents} documents were compared");
        let rate = documents as f64 / seconds.max(0.001);
        ceilings::keep(chapter, run, "proof.baseline", "everything compared", "documents/s", rate);
        let peak = daemon.process.usage()?.peak_mb;
        ceilings::keep(chapter, run, "proof.memory", "peak memory of the daemon that compares", "MB", peak);
        daemon.process.stop().await?;
    }
    bench.servers.clear(trial).await
}

/// Observes the age of V and the verdict while the application writes.
async fn age(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let documents = bench.scale.documents;
    // A baseline at the default rate goes on all the time.
    let servers = bench.servers.with("reconcile.baseline_every=10ms");
    let trial = loaded(bench, &servers, "age", documents).await?;
    let client = bench.servers.postgres(&trial.target).await?;
    let sql = "SELECT extract(epoch FROM clock_timestamp() - verified_at)::float8 FROM driftless.proof";
    let age = client.prepare(sql).await?;
    // Without a guard, only a baseline younger than `reconcile.fresh` counts; with one, the next counts, however long it takes.
    daemon::command(&trial, &["guard", "install"]).await?;
    let daemon = Daemon::start(&trial, &[])?;
    let observed = Duration::from_secs(bench.scale.observed);
    while daemon.metric(IN_SYNC).await.unwrap_or(0.0) != 1.0 {
        anyhow::ensure!(daemon.process.started.elapsed() < LIMIT, "the verdict is not `in_sync` within {LIMIT:?}");
        tokio::time::sleep(LOOK).await;
    }
    bench.step(&format!("age of the proof at {RATE} mixed operations a second for {observed:?}"));
    let began = Instant::now();
    let mut writing = tokio::spawn(write(bench.servers.database(&trial.source), bench.users, documents, observed));
    let (mut ages, mut not_in_sync) = (Vec::new(), 0);
    while !writing.is_finished() {
        let row = client.query_opt(&age, &[]).await?;
        let seen = row.and_then(|row| row.get::<_, Option<f64>>(0));
        // The first fifth warms up.
        if began.elapsed() > observed / 5 {
            ages.push(seen.unwrap_or(f64::INFINITY));
            not_in_sync += u32::from(daemon.metric(IN_SYNC).await? != 1.0);
        }
        tokio::time::sleep(LOOK).await;
    }
    (&mut writing).await??;
    for (name, percent) in [("p50", 50.0), ("p99", 99.0)] {
        let value = percentile(&ages, percent).context("nobody has looked")?;
        let what = format!("age of V at {RATE} mixed operations/s: {name}");
        chapter.add(format!("proof.age.{name}"), what, "s", value);
    }
    let share = f64::from(not_in_sync) / ages.len() as f64 * 100.0;
    chapter.add("proof.not_in_sync", "looks that did not find the verdict `in_sync`", "%", share);
    daemon.process.stop().await?;
    bench.servers.clear(trial).await
}

/// Writes rounds of the mixed backlog at the rate.
async fn write(database: Database, users: Users, documents: u64, observed: Duration) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(Duration::from_secs(changes::ROUND) / RATE);
    let (began, mut next) = (Instant::now(), documents);
    for round in 0.. {
        tick.tick().await;
        if began.elapsed() > observed {
            break;
        }
        changes::mixed_round(&database, users, documents, round, &mut next).await?;
    }
    Ok(())
}

/// Lets a backlog pass through source and sink in one process, and through a reconciler in another; compares what they use.
async fn delta(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let documents = bench.scale.documents;
    for run in 1..=bench.scale.long_runs {
        bench.step(&format!("cost of the delta, run {run}"));
        // The baseline rests, so that the reconciler's processor time is the delta's.
        let servers = bench.servers.with("reconcile.baseline_every=2400h");
        let trial = loaded(bench, &servers, "delta", documents).await?;
        let moving = Daemon::start(&trial, &["source", "sink"])?;
        let mut judging = Daemon::start(&trial, &["reconciler"])?;
        let client = servers.postgres(&trial.target).await?;
        let complete =
            "SELECT count(*) FROM driftless.proof WHERE complete_pass IS NOT NULL AND verified_t IS NOT NULL";
        watch::count(&client, &mut judging.process, complete, 1).await?;
        let before = (moving.process.usage()?.cpu_seconds, judging.process.usage()?.cpu_seconds);
        let database = servers.database(&trial.source);
        let backlog = changes::update_all(&database, bench.users, documents).await?;
        let written = ceilings::now(&database).await?.time;
        let judged = format!("SELECT count(*) FROM driftless.proof WHERE verified_t > {written} AND undecided = 0");
        watch::count(&client, &mut judging.process, &judged, 1).await?;
        let used = |process: &Process, before: f64| -> anyhow::Result<f64> {
            Ok((process.usage()?.cpu_seconds - before) / backlog.changes as f64 * 1e6)
        };
        let (moved, seen) = (used(&moving.process, before.0)?, used(&judging.process, before.1)?);
        chapter.add("proof.replication.cpu", "processor time of source and sink", "s per million changes", moved);
        chapter.add("proof.delta.cpu", "processor time of the delta", "s per million changes", seen);
        judging.process.stop().await?;
        moving.process.stop().await?;
        bench.servers.clear(trial).await?;
    }
    Ok(())
}

/// Lets a backlog of updates pass through source and sink into tables without a guard and with one, in turn.
async fn guard(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let documents = bench.scale.documents / 3;
    for run in 1..=bench.scale.long_runs {
        for (guarded, name, what) in [
            (false, "without", "updates into tables without a guard"),
            (true, "with", "updates into tables with a guard"),
        ] {
            bench.step(&format!("{what}, run {run}"));
            let trial = loaded(bench, &bench.servers, "guard", documents).await?;
            if guarded {
                daemon::command(&trial, &["guard", "install"]).await?;
            }
            let backlog = changes::update_all(&bench.servers.database(&trial.source), bench.users, documents).await?;
            let before = Before::look(&bench.servers, &trial)?;
            let mut daemon = Daemon::start(&trial, &["source", "sink"])?;
            let passed = trials::drained(&bench.servers, &trial, &mut daemon.process, &backlog, before).await?;
            passed.add_to(chapter, &format!("proof.guard.{name}"), what);
            daemon.process.stop().await?;
            bench.servers.clear(trial).await?;
        }
    }
    Ok(())
}

/// Measures the latency at 1,000 inserts a second without a reconciler, and beside one that compares at the default rate all the
/// time.
async fn latency_beside_it(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let mut next = bench.scale.documents * 4;
    let servers = bench.servers.with("reconcile.baseline_every=10ms");
    let trial = loaded(bench, &servers, "beside", bench.scale.documents).await?;
    for run in 1..=bench.scale.long_runs {
        for (roles, name, what) in [
            (&["source", "sink"][..], "without", "1,000 operations/s without a reconciler"),
            (&[][..], "beside", "1,000 operations/s beside a reconciler at its default rate"),
        ] {
            bench.step(&format!("{what}, run {run}"));
            let daemon = Daemon::start(&trial, roles)?;
            let seen = latency::at(&servers, &trial, bench.users, &mut next, 1_000, bench.scale.seconds).await?;
            seen.add_to(chapter, &format!("proof.latency.{name}"), what);
            daemon.process.stop().await?;
        }
    }
    bench.servers.clear(trial).await
}

/// Fills a source and a target, and compares everything once at full speed. Daemons that start from then on have the settings of
/// `servers`.
async fn loaded(bench: &Bench, servers: &Servers, name: &str, documents: u64) -> anyhow::Result<Trial> {
    let database = servers.empty_database(name).await?;
    changes::load(&database, bench.users, documents).await?;
    let unlimited = with(&bench.servers, &UNLIMITED);
    let trial = unlimited.trial(name, database.name(), &users::application()).await?;
    let (mut process, _) = trials::snapshot(&unlimited, &Mover::Driftless, &trial, documents).await?;
    let client = servers.postgres(&trial.target).await?;
    let complete = "SELECT count(*) FROM driftless.proof WHERE complete_pass IS NOT NULL";
    watch::count(&client, &mut process, complete, 1).await?;
    process.stop().await?;
    servers.configure(&trial)?;
    Ok(trial)
}

fn with(servers: &Servers, settings: &[&str]) -> Servers {
    settings.iter().fold(servers.clone(), |servers, setting| servers.with(setting))
}

async fn passes(client: &Client) -> anyhow::Result<i64> {
    Ok(client.query_one("SELECT coalesce(max(complete_pass), 0) FROM driftless.proof", &[]).await?.get(0))
}

/// Reads every row, as a stream; returns the rows a second.
async fn read_rows(client: &Client, documents: u64) -> anyhow::Result<f64> {
    let began = Instant::now();
    let none: [&str; 0] = [];
    let mut rows = pin!(client.query_raw(&format!("SELECT * FROM {USERS}"), none).await?);
    let mut seen = 0;
    while let Some(row) = rows.next().await {
        row?;
        seen += 1;
    }
    anyhow::ensure!(seen == documents, "the read gave {seen} of {documents} rows");
    Ok(seen as f64 / began.elapsed().as_secs_f64())
}

//! From MongoDB to the last row in PostgreSQL, with the daemon's default settings.

use std::time::Duration;

use anyhow::Context;
use mongodb::Database;

use crate::{
    Bench, ceilings, changes, compare, latency,
    report::Chapter,
    servers::Servers,
    shapes,
    trials::{self, Mover},
    users::{self, USERS},
};

/// Measures the snapshot, the mixed backlog and the hot set.
pub(crate) async fn measure(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    snapshot(bench, chapter).await.context("snapshot")?;
    for (id, what, kind) in [("backlog", "mixed backlog", Kind::Mixed), ("hot", "hot set", Kind::Hot)] {
        for run in 1..=bench.scale.long_runs {
            bench.step(&format!("{what}, run {run}"));
            backlog(bench, &bench.servers, chapter, id, what, kind).await.context(what)?;
        }
    }
    let what = "mixed backlog with `log.codec = \"bson\"`";
    bench.step(what);
    backlog(bench, &bench.servers.with(OTHER_CODEC), chapter, "backlog_bson", what, Kind::Mixed).await.context(what)?;
    latency::highest(bench, chapter, Duration::from_secs(2)).await.context("steady writes")?;
    shapes::children(bench, chapter).await.context("child tables")?;
    shapes::large(bench, chapter).await.context("large documents")
}

/// The one setting that differs from its default, measured in addition to the required figures.
const OTHER_CODEC: &str = "log.codec=bson";

#[derive(Clone, Copy)]
enum Kind {
    Mixed,
    Hot,
}

async fn snapshot(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    let rows = bench.scale.snapshot;
    bench.step(&format!("loading {rows} documents"));
    let database = bench.servers.empty_database("snapshot").await?;
    changes::load(&database, bench.users, rows).await?;
    // The broker compiles its code while it runs: its first million records cost it three times as much.
    bench.step("snapshot, not counted");
    let trial = bench.servers.trial("snapshot", database.name(), &users::application()).await?;
    let (process, _) = trials::snapshot(&bench.servers, &Mover::Driftless, &trial, rows).await?;
    process.stop().await?;
    bench.servers.clear(trial).await?;
    for run in 1..=bench.scale.long_runs {
        // COPY and snapshot take turns: the speed of a shared machine changes within minutes.
        bench.step(&format!("PostgreSQL COPY, run {run}"));
        let what = format!("PostgreSQL COPY of {rows} rows, with its indexes, in turn with the snapshots");
        chapter.add("snapshot.copy", what, "rows/s", ceilings::one_copy(bench).await?);
        let what = format!("snapshot of {rows} documents");
        bench.step(&format!("{what}, run {run}"));
        one_snapshot(bench, &bench.servers, chapter, &database, ("snapshot", &what)).await?;
    }
    let what = format!("snapshot of {rows} documents with `log.codec = \"bson\"`");
    bench.step(&what);
    one_snapshot(bench, &bench.servers.with(OTHER_CODEC), chapter, &database, ("snapshot_bson", &what)).await?;
    Ok(database.drop().await?)
}

async fn one_snapshot(
    bench: &Bench,
    servers: &Servers,
    chapter: &mut Chapter,
    database: &Database,
    (id, what): (&str, &str),
) -> anyhow::Result<()> {
    let trial = servers.trial("snapshot", database.name(), &users::application()).await?;
    let (process, outcome) = trials::snapshot(servers, &Mover::Driftless, &trial, bench.scale.snapshot).await?;
    outcome.add_to(chapter, id, what);
    process.stop().await?;
    differences(bench, chapter, database, &trial.target).await?;
    servers.clear(trial).await
}

async fn backlog(
    bench: &Bench,
    servers: &Servers,
    chapter: &mut Chapter,
    id: &str,
    what: &str,
    kind: Kind,
) -> anyhow::Result<()> {
    let (documents, changes) = (bench.scale.documents, bench.scale.changes);
    let database = servers.empty_database("backlog").await?;
    changes::load(&database, bench.users, documents).await?;
    let trial = servers.trial("backlog", database.name(), &users::application()).await?;
    let (process, _) = trials::snapshot(servers, &Mover::Driftless, &trial, documents).await?;
    process.stop().await?;
    let backlog = match kind {
        Kind::Mixed => changes::mixed(&database, bench.users, documents, changes).await?,
        Kind::Hot => changes::hot(&database, bench.users, documents, changes).await?,
    };
    let (process, outcome) = trials::backlog(servers, &Mover::Driftless, &trial, &backlog).await?;
    outcome.add_to(chapter, id, what);
    process.stop().await?;
    differences(bench, chapter, &database, &trial.target).await?;
    servers.clear(trial).await?;
    Ok(database.drop().await?)
}

/// Compares both sides at the end of a run; one figure collects the results of all runs.
async fn differences(
    bench: &Bench,
    chapter: &mut Chapter,
    source: &mongodb::Database,
    target: &str,
) -> anyhow::Result<()> {
    let client = bench.servers.postgres(target).await?;
    let found = compare::compare(source, &client).await.with_context(|| format!("compare {USERS}"))?;
    chapter.add("differences", "rows that differ from MongoDB, after each run above", "rows", found.total() as f64);
    Ok(())
}

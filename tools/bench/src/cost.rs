//! The cost of the daemon, and how it grows with documents and with collections.

use std::time::Duration;

use crate::{
    Bench, changes,
    daemon::Daemon,
    report::Chapter,
    trials::{self, Mover},
    users, watch,
};

/// How long an idle daemon is observed.
const IDLE: Duration = Duration::from_secs(10);

/// Measures the growth with both, and the cost of an idle daemon.
pub(crate) async fn measure(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    for documents in bench.scale.growth_documents.clone() {
        bench.step(&format!("cost of a snapshot of {documents} documents"));
        let database = bench.servers.empty_database("growth").await?;
        changes::load(&database, bench.users, documents).await?;
        let trial = bench.servers.trial("growth", database.name(), &users::application()).await?;
        let (process, outcome) = trials::snapshot(&bench.servers, &Mover::Driftless, &trial, documents).await?;
        outcome.add_to(chapter, &format!("cost.documents.{documents}"), &format!("{documents} documents"));
        let before = process.usage()?;
        tokio::time::sleep(IDLE).await;
        let idle = (process.usage()?.cpu_seconds - before.cpu_seconds) / IDLE.as_secs_f64();
        let what = format!("{documents} documents: idle after the snapshot");
        chapter.add(format!("cost.documents.{documents}.idle"), what, "cores", idle);
        process.stop().await?;
        bench.servers.clear(trial).await?;
        database.drop().await?;
    }
    for collections in bench.scale.growth_collections.clone() {
        bench.step(&format!("cost of {collections} collections"));
        growth(bench, chapter, collections).await?;
    }
    Ok(())
}

/// Measures the same number of documents, spread over this many collections.
async fn growth(bench: &Bench, chapter: &mut Chapter, collections: u64) -> anyhow::Result<()> {
    let documents = bench.scale.growth_documents.iter().copied().nth(1).unwrap_or(10_000);
    let each = documents / collections;
    let database = bench.servers.empty_database("collections").await?;
    let names: Vec<String> = (0..collections).map(|number| format!("users_{number:03}")).collect();
    for name in &names {
        changes::load_into(&database, name, bench.users, each).await?;
    }
    let trial = bench.servers.trial("collections", database.name(), &users::collections(&names)).await?;
    let client = bench.servers.postgres(&trial.target).await?;
    let mut process = Daemon::start(&trial, &[])?.process;
    let counts: Vec<String> = names.iter().map(|name| format!("(SELECT count(*) FROM {name})")).collect();
    let all = format!("SELECT {}", counts.join(" + "));
    let last = watch::count(&client, &mut process, &all, each * collections).await?;
    let (seconds, usage) = ((last - process.started).as_secs_f64(), process.usage()?);
    let moved = (each * collections) as f64;
    let id = |name: &str| format!("cost.collections.{collections}.{name}");
    let what = |text: &str| format!("{collections} collections, {moved} documents in all: {text}");
    chapter.add(id("rate"), what("process start to last row"), "rows/s", moved / seconds);
    chapter.add(id("cpu"), what("processor time of the process"), "s per million", usage.cpu_seconds / moved * 1e6);
    chapter.add(id("memory"), what("peak memory"), "MB", usage.peak_mb);
    process.stop().await?;
    bench.servers.clear(trial).await?;
    Ok(database.drop().await?)
}

//! The daemon and Debezium in turn, on the same documents and the same changes.
//!
//! ```text
//!   load ─▶ snapshot: daemon, Debezium ─▶ write the backlog ─▶ drain: daemon, Debezium ─▶ latency: both ─▶ compare both
//! ```
//! One program is stopped while the other is measured. The order changes from pair to pair, so that neither always finds the
//! caches warm.

use anyhow::Context;

use crate::{
    Bench, changes, compare,
    debezium::Debezium,
    latency,
    report::Chapter,
    servers::Trial,
    trials::{self, Mover},
    users, watch,
};

/// Rate of the latency measurement.
const RATE: u32 = 1_000;

/// Measures the pairs.
pub(crate) async fn measure(bench: &Bench, chapter: &mut Chapter) -> anyhow::Result<()> {
    bench.step("fetching Debezium");
    let debezium = Debezium::fetch().await?;
    let mut movers = [Mover::Driftless, Mover::Debezium(debezium)];
    for run in 1..=bench.scale.long_runs {
        pair(bench, chapter, &movers, run).await.with_context(|| format!("pair {run}"))?;
        movers.reverse();
    }
    Ok(())
}

async fn pair(bench: &Bench, chapter: &mut Chapter, movers: &[Mover; 2], run: u32) -> anyhow::Result<()> {
    let (documents, changes) = (bench.scale.documents, bench.scale.changes);
    let database = bench.servers.empty_database("peer").await?;
    changes::load(&database, bench.users, documents).await?;
    let mut trials: Vec<(&Mover, Trial)> = Vec::new();
    for mover in movers {
        let name = mover.name();
        bench.step(&format!("pair {run}: snapshot by {name}"));
        let trial = bench.servers.trial(&format!("peer_{name}"), database.name(), &users::application()).await?;
        if matches!(mover, Mover::Debezium(_)) {
            Debezium::prepare(&bench.servers, &trial).await?;
        }
        let (process, outcome) = trials::snapshot(&bench.servers, mover, &trial, documents).await?;
        outcome.add_to(chapter, &format!("peer.{name}.snapshot"), &format!("{name}, snapshot"));
        process.stop().await?;
        trials.push((mover, trial));
    }
    let backlog = changes::mixed(&database, bench.users, documents, changes).await?;
    for (mover, trial) in &trials {
        let name = mover.name();
        bench.step(&format!("pair {run}: backlog by {name}"));
        let (process, outcome) = trials::backlog(&bench.servers, mover, trial, &backlog).await?;
        outcome.add_to(chapter, &format!("peer.{name}.backlog"), &format!("{name}, mixed backlog"));
        process.stop().await?;
    }
    let mut next = documents + changes + 2 * changes::MARKERS;
    for (mover, trial) in &trials {
        let name = mover.name();
        bench.step(&format!("pair {run}: latency of {name}"));
        let client = bench.servers.postgres(&trial.target).await?;
        let mut process = mover.start(&bench.servers, trial)?;
        // The writes of the other program's turn are applied first; then the measurement begins.
        let mark = changes::mark(&database, bench.users, &mut next).await?;
        watch::markers(&client, &mut process, mark, true).await?;
        // The first run is not counted: the first seconds of a virtual machine say nothing about the hours that follow.
        latency::at(&bench.servers, trial, bench.users, &mut next, RATE, bench.scale.seconds).await?;
        let seen = latency::at(&bench.servers, trial, bench.users, &mut next, RATE, bench.scale.seconds).await?;
        seen.add_to(chapter, &format!("peer.{name}.latency"), &format!("{name}, {RATE} operations/s"));
        process.stop().await?;
    }
    // Nothing writes from here on: each program catches up with the writes of the other one's turn and is compared.
    let mark = changes::mark(&database, bench.users, &mut next).await?;
    for (mover, trial) in trials {
        let name = mover.name();
        bench.step(&format!("pair {run}: comparing what {name} has left"));
        let client = bench.servers.postgres(&trial.target).await?;
        let mut process = mover.start(&bench.servers, &trial)?;
        watch::markers(&client, &mut process, mark, true).await?;
        process.stop().await?;
        let found = compare::compare(&database, &client).await?;
        let mut add = |id: &str, text: &str, value: u64| {
            chapter.add(format!("peer.{name}.{id}"), format!("{name}: {text}"), "rows", value as f64);
        };
        add("differences", "rows that differ from MongoDB", found.total());
        add("compared", "rows compared", found.compared);
        for (column, count) in found.columns {
            add(&format!("differences.{column}"), &format!("of these in column `{column}`"), count);
        }
        drop(client);
        bench.servers.clear(trial).await?;
    }
    Ok(database.drop().await?)
}

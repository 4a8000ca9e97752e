//! Snapshots in parts, beside heavy writes to the same documents: no partition of a topic ever holds an older version of a
//! document behind a newer one, whatever is killed, paused or restarted. The topic is read as compaction would see it.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use driftless_demo::Collection;
use mongodb::bson::{Document, doc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::{Load, Marker, fill},
    migration::Migration,
    oracle, random,
    status::{Snapshot, Status},
    wait,
};

/// Time from one round of updates to the next.
const ROUND: Duration = Duration::from_millis(500);
/// Rounds at most, so that a slow machine is not given more to do than a fast one.
const MOST_ROUNDS: usize = 60;

/// Updates of every document of two collections in turn, in the background.
struct Rounds {
    end: CancellationToken,
    task: JoinHandle<usize>,
}

impl Rounds {
    fn begin(migration: &Migration) -> Self {
        let collections = ["plans", "users"].map(|name| migration.collection(name));
        let end = CancellationToken::new();
        let ended = end.clone();
        let task = tokio::spawn(async move {
            let (mut beat, mut rounds) = (tokio::time::interval(ROUND), 0);
            let touch = doc! { "$currentDate": { "updatedAt": true } };
            while !ended.is_cancelled() && rounds < MOST_ROUNDS {
                beat.tick().await;
                let collection = &collections[rounds % collections.len()];
                collection.update_many(doc! {}, touch.clone()).await.expect("the application can write");
                rounds += 1;
            }
            rounds
        });
        Self { end, task }
    }

    /// Ends the writes; all of them are in the source when it returns.
    async fn end(self) {
        self.end.cancel();
        let rounds = self.task.await.expect("the writer does not panic");
        eprintln!("snapshots: {rounds} rounds");
    }
}

fn snapshots(status: &Status) -> impl Iterator<Item = &Snapshot> {
    status.process.snapshots.values()
}

fn documents(status: &Status) -> u64 {
    snapshots(status).map(|snapshot| snapshot.documents).sum()
}

async fn all_done(daemon: &Daemon, run: u64) {
    let done = |status: &Status| {
        status.snapshot_complete() && snapshots(status).all(|snapshot| snapshot.done && snapshot.run == run)
    };
    daemon.wait_for("every snapshot of the run is done", DEADLINE, done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_never_go_backwards_in_a_topic() {
    let (seed, _) = random("snapshots");
    let mut migration = Migration::demo("audit").await;
    migration.set("source", "chunk_documents", 50);
    migration.set("source", "snapshot_readers", 3);
    // Slow enough that the writers change most documents during the snapshot.
    migration.set("source", "snapshot_rate", 800);
    migration.set("source", "snapshot_max_lag", "60s");
    fill(&migration, seed, 1_000).await;
    let load = Load::start(&migration, seed, 100.0);
    let rounds = Rounds::begin(&migration);

    let daemon = migration.daemon();
    daemon.wait_for("a part of the snapshots is logged", DEADLINE, |status| documents(status) > 300).await;
    let before = daemon.status().await.expect("the status answers");
    daemon.kill9().await;
    let daemon = migration.daemon();
    let all_shown = |status: &Status| snapshots(status).count() == Collection::ALL.len();
    let resumed = daemon.wait_for("they go on", DEADLINE, all_shown).await;
    assert!(documents(&resumed) >= documents(&before), "what was logged before the kill counts");
    all_done(&daemon, 0).await;
    rounds.end().await;

    let rounds = Rounds::begin(&migration);
    migration.succeed(&["snapshot", "pause"]).await;
    migration.succeed(&["snapshot", "start"]).await;
    all_done(&daemon, 1).await;
    rounds.end().await;
    load.end().await;
    let status = migration.quiesce(&daemon, DEADLINE).await;

    let mut reads = 0;
    for collection in Collection::ALL {
        reads += audit(&migration, collection.name()).await;
    }
    assert!(reads > 1_000, "{reads} rows of snapshots in the log");
    oracle::assert_equal(&migration).await;
    assert_eq!((status.gaps(), status.dead_letters()), (0, 0), "{}", status.summary());
    daemon.stop(0).await;
    migration.finish().await;
}

/// Reads a topic in its order and checks it; returns the number of snapshot records.
async fn audit(migration: &Migration, collection: &str) -> usize {
    let mut newest: HashMap<(i32, Vec<u8>), String> = HashMap::new();
    let mut partitions: HashMap<Vec<u8>, BTreeSet<i32>> = HashMap::new();
    let mut reads = 0;
    for record in migration.records(collection).await.into_iter().filter(|record| record.is_change()) {
        // Hexadecimal digits of 16 bytes, in the order of versions.
        let version = record.header("driftless.version").expect("a change has a version").to_owned();
        reads += usize::from(record.header("driftless.op") == Some("snapshot"));
        let (partition, offset) = (record.partition, record.offset);
        let key = record.key.expect("a change has a key");
        partitions.entry(key.clone()).or_default().insert(partition);
        if let Some(before) = newest.insert((partition, key), version.clone()) {
            assert!(before <= version, "{collection} {partition}@{offset}: {version} lies behind {before}");
        }
    }
    assert!(partitions.values().all(|places| places.len() == 1), "a document is in one partition");
    let count = migration.source.collection::<Document>(collection).count_documents(doc! {}).await;
    assert!(
        partitions.len() as u64 >= count.expect("count the documents"),
        "{collection} lacks documents in its topic"
    );
    reads
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_survives_a_restart() {
    let (seed, _) = random("snapshots");
    let mut migration = Migration::demo("paused").await;
    migration.set("source", "snapshot_rate", 500);
    migration.set("source", "chunk_documents", 50);
    fill(&migration, seed, 1_500).await;
    let daemon = migration.daemon();
    daemon.wait_for("the snapshots run", DEADLINE, |status| documents(status) > 0).await;
    migration.succeed(&["snapshot", "pause"]).await;
    let still = |status: &Status| snapshots(status).all(|one| one.done || one.phase == "paused");
    daemon.wait_for("they stand still", DEADLINE, still).await;
    daemon.kill9().await;

    let daemon = migration.daemon();
    let stood = daemon.wait_for("they still do", DEADLINE, |status| !status.process.snapshots.is_empty()).await;
    assert!(still(&stood) && !snapshots(&stood).all(|snapshot| snapshot.done), "{}", stood.summary());
    let told = migration.succeed(&["snapshot", "status"]).await;
    assert!(told.contains("paused"), "{told}");
    // The stream continues meanwhile.
    let marker = Marker::write(&migration).await;
    let there = async || wait::holds(marker.is_in(&migration.target).await, "not there");
    wait::until("a write arrives", DEADLINE, there).await;
    migration.succeed(&["snapshot", "resume"]).await;
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

//! Law 2: rows, ledger and offset commit in one transaction. A replay from the first offset of every topic, while the
//! application writes, ends in the same rows, and no row or ledger entry becomes older on the way.

use std::collections::HashMap;

use driftless_demo::Collection;
use mongodb::bson::doc;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE,
    load::{Load, Marker, fill},
    migration::Migration,
    oracle, random, wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_from_the_start_makes_nothing_older() {
    let (seed, _) = random("one_transaction");
    let migration = Migration::demo("replay").await;
    fill(&migration, seed, 1_500).await;
    let daemon = migration.daemon();
    let load = Load::start(&migration, seed, 120.0);
    daemon.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    // Changes to replay besides the snapshot: updates and deletes of the documents that it read.
    let changes = "SELECT count(*) FROM driftless.ledger WHERE substr(version, 13, 4) <> '\\xffffffff'";
    wait::until("the stream has changed a few hundred documents", DEADLINE, async || {
        let changed = migration.number(changes).await;
        wait::holds(changed >= 300, changed)
    })
    .await;

    let marker = Marker::write(&migration).await;
    let (end, quiet) = (CancellationToken::new(), CancellationToken::new());
    let raised = tokio::sync::Notify::new();
    let other = migration.connect().await;
    let replays = async {
        for collection in Collection::ALL {
            replay(&migration, collection.name()).await;
        }
        load.end().await;
        quiet.cancel();
        raised.notified().await;
        let status = migration.quiesce(&daemon, DEADLINE).await;
        end.cancel();
        status
    };
    let raises = async {
        let times = wait::repeat_until(&quiet, async || marker.raise(&migration).await).await;
        raised.notify_one();
        times
    };
    let (looks, status, raises) = tokio::join!(watch(other, &marker, &end), replays, raises);
    eprintln!("one_transaction: the versions were looked at {looks} times, the marker was raised {raises} times");
    assert!(looks > 10, "the replay was over before the versions were looked at");

    oracle::assert_equal(&migration).await;
    assert_eq!(status.dead_letters(), 0, "{}", status.summary());
    let recorded =
        migration.number("SELECT count(*) FROM driftless.action WHERE who <> '' AND command LIKE 'replay%'").await;
    assert_eq!(recorded, Collection::ALL.len() as i64, "each replay is recorded");
    daemon.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_only_asked_about_moves_nothing() {
    let migration = Migration::demo("dry_replay").await;
    fill(&migration, 1, 100).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    daemon.stop(0).await;
    let before = positions(&migration, "users").await;
    migration.succeed(&["replay", "--collection", "users", "--to-earliest", "--dry-run"]).await;
    assert_eq!(positions(&migration, "users").await, before);
    migration.succeed(&["replay", "--collection", "users", "--to-earliest"]).await;
    let after = positions(&migration, "users").await;
    assert!(after.values().all(|offset| offset.is_none_or(|offset| offset == 0)), "{after:?}");

    // The position decides, not the offset that Kafka remembers: everything is read once more.
    let daemon = migration.daemon();
    caught_up(&migration, "users", &before).await;
    let wrote = daemon.metric("driftless_sink_changes_total").await.expect("the metric is there");
    let users = migration.collection("users").count_documents(doc! {}).await.expect("count users");
    assert!(wrote >= users as f64, "{wrote} changes were handled again, of {users} users");
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// Moves a collection's offsets to the start, and waits until everything has been read again.
async fn replay(migration: &Migration, collection: &str) {
    let before = positions(migration, collection).await;
    migration.succeed(&["replay", "--collection", collection, "--to-earliest"]).await;
    caught_up(migration, collection, &before).await;
}

async fn caught_up(migration: &Migration, collection: &str, before: &HashMap<i32, Option<i64>>) {
    wait::until(format!("{collection} is read again"), DEADLINE, async || {
        let now = positions(migration, collection).await;
        wait::holds(
            before.iter().all(|(partition, offset)| now[partition] >= *offset),
            format!("{now:?} of {before:?}"),
        )
    })
    .await;
}

/// Returns the consumed offset of each partition.
async fn positions(migration: &Migration, collection: &str) -> HashMap<i32, Option<i64>> {
    let query = "SELECT partition, next_offset FROM driftless.position WHERE topic = $1";
    let rows = migration.target.query(query, &[&migration.topic(collection)]).await.expect("read the positions");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Repeatedly reads every ledger entry and a row whose number only grows; returns how often.
///
/// # Panics
/// Panics if one becomes older or vanishes.
async fn watch(target: Client, marker: &Marker, end: &CancellationToken) -> u64 {
    let mut seen: HashMap<(i32, Vec<u8>), Vec<u8>> = HashMap::new();
    let mut employees = None;
    wait::repeat_until(end, async || {
        let now = marker.employees(&target).await;
        assert!(now >= employees, "the marker's row went from {employees:?} back to {now:?}");
        employees = now;
        let rows =
            target.query("SELECT collection, key, version FROM driftless.ledger", &[]).await.expect("read the ledger");
        assert!(rows.len() >= seen.len(), "{} entries have vanished", seen.len() - rows.len());
        for row in rows {
            let (key, version): ((i32, Vec<u8>), Vec<u8>) = ((row.get(0), row.get(1)), row.get(2));
            if let Some(before) = seen.get(&key) {
                assert!(*before <= version, "the version of {key:?} went from {before:?} back to {version:?}");
            }
            seen.insert(key, version);
        }
    })
    .await
}

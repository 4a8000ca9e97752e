//! SIGTERM under load: open work is finished, the process ends by itself within its grace, and nothing is lost.

use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use rand::Rng;

use crate::support::{
    DEADLINE,
    load::{Load, fill, organisation},
    migration::Migration,
    oracle, random, wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn stop_under_load_is_quick_and_loses_nothing() {
    let (seed, mut random) = random("stop");
    let migration = Migration::demo("stop").await;
    fill(&migration, seed, 1_500).await;
    let load = Load::start(&migration, seed, 200.0);
    for _ in 0..3 {
        let mut daemon = migration.daemon();
        daemon.wait_for("the source runs", DEADLINE, |status| status.phase("source") == "running").await;
        daemon.lives_for(Duration::from_millis(random.random_range(0..1_500))).await;
        // `stop` itself checks that the grace is kept.
        daemon.stop(0).await;
    }
    load.end().await;
    let daemon = migration.daemon();
    let status = migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    assert_eq!(status.gaps(), 0);
    daemon.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_before_anything_works_ends_too() {
    let mut migration = Migration::demo("stop_early").await;
    // No server listens there, so the source stalls.
    migration.set("source", "uri", "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=500&directConnection=true");
    let daemon = migration.daemon();
    let status = daemon.wait_for("the source stalls", DEADLINE, |status| status.phase("source") == "stalled").await;
    assert!(status.process.roles["source"].reason.is_some(), "a stall says why");
    assert_eq!(status.verdict, "unknown");
    daemon.stop(0).await;
    migration.finish().await;
}

/// A batch that is open when the daemon receives SIGTERM turns out to need a person.
#[tokio::test(flavor = "multi_thread")]
async fn stop_does_not_hide_a_halt() {
    let mut migration = Migration::demo("stop_halt").await;
    migration.set("sink", "breaker_dead_letters", 1);
    fill(&migration, 37, 50).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;

    let mut other = migration.connect().await;
    let lock = other.transaction().await.expect("begin");
    lock.batch_execute("LOCK TABLE app.organisations IN ACCESS EXCLUSIVE MODE").await.expect("lock the table");
    let documents = (0..50).map(|_| organisation(ObjectId::new()));
    migration.collection("organisations").insert_many(documents).await.expect("insert documents");
    // The reconciler waits, too; only the sink wants to write.
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'app.organisations'::regclass
        AND mode = 'RowExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    wait::until("a batch waits for the table", DEADLINE, async || {
        let waiting = migration.number(waits).await;
        wait::holds(waiting > 0, waiting)
    })
    .await;
    let stopping = daemon.stop_begins().await;
    let refuse = "ALTER TABLE app.organisations ADD CHECK (name <> 'Marker') NOT VALID";
    lock.batch_execute(refuse).await.expect("refuse what waits");
    lock.commit().await.expect("commit");
    stopping.ends(3).await;
    migration.finish().await;
}

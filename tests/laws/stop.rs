//! SIGTERM under load: what is open is finished, the process ends by itself within its grace, and nothing is lost.

use std::time::Duration;

use rand::Rng;

use crate::support::{
    PATIENCE, beside_others,
    load::{Load, fill},
    migration::Migration,
    oracle, random,
};

#[tokio::test(flavor = "multi_thread")]
async fn stop_under_load_is_quick_and_loses_nothing() {
    let _machine = beside_others().await;
    let (seed, mut random) = random("stop");
    let migration = Migration::demo("stop").await;
    fill(&migration, seed, 1_500).await;
    let load = Load::start(&migration, seed, 200.0);
    for _ in 0..3 {
        let mut daemon = migration.daemon();
        daemon.wait_for("the source runs", PATIENCE, |status| status.phase("source") == "running").await;
        daemon.lives_for(Duration::from_millis(random.random_range(0..1_500))).await;
        // `stop` itself sees to it that the grace is kept.
        daemon.stop(0).await;
    }
    load.end().await;
    let daemon = migration.daemon();
    let status = migration.quiesce(&daemon, PATIENCE).await;
    oracle::assert_equal(&migration).await;
    assert_eq!(status.gaps(), 0);
    daemon.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_before_anything_works_ends_too() {
    let _machine = beside_others().await;
    let mut migration = Migration::demo("stop_early").await;
    // Nobody listens there: the source stalls.
    migration.set("source", "uri", "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=500&directConnection=true");
    let daemon = migration.daemon();
    let status = daemon.wait_for("the source stalls", PATIENCE, |status| status.phase("source") == "stalled").await;
    assert!(status.process.roles["source"].reason.is_some(), "a stall says why");
    assert_eq!(status.verdict, "unknown");
    daemon.stop(0).await;
    migration.finish().await;
}

//! How late a write arrives while the application writes at a modest rate. Not a benchmark: a guard against a queue that
//! nobody notices, because nothing is lost in it.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    DEADLINE,
    load::{Load, Marker, fill},
    migration::Migration,
    wait,
};

/// Far above what it takes, on a machine that others use too.
const MOST: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn staleness_is_short_under_a_modest_load() {
    let migration = Migration::demo("staleness").await;
    fill(&migration, 17, 600).await;
    let mut daemon = migration.daemon();
    daemon.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    let load = Load::start(&migration, 17, 120.0);
    // A queue takes a while to fill.
    daemon.lives_for(Duration::from_secs(6)).await;
    let mut took = Vec::new();
    for _ in 0..7 {
        let written = Instant::now();
        let marker = Marker::write(&migration).await;
        wait::until("a write arrives", DEADLINE, async || {
            wait::holds(marker.is_in(&migration.target).await, "not there")
        })
        .await;
        took.push(written.elapsed());
    }
    load.end().await;
    took.sort_unstable();
    eprintln!("staleness: {took:?}");
    assert!(took[took.len() / 2] < MOST, "{took:?} from a write to its row");
    daemon.stop(0).await;
    migration.finish().await;
}

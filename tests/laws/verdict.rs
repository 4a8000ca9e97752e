//! Law 9 of the design: a mismatch is a proof. While the application writes, deletes and inserts again, the reconciler reads
//! all the time and may be undecided, but it may call nothing drift: both sides are sound, one is only behind.

use std::time::Duration;

use crate::support::{
    PATIENCE, beside_others, drill,
    load::{Load, fill},
    migration::Migration,
    oracle, random,
};

/// Findings of all passes but those that name a document which waits for another one: those have no columns.
const FALSE: &str = "SELECT f.value::text FROM driftless.reconcile_result, jsonb_array_elements(detail) AS f
    WHERE f.value ->> 'kind' <> 'different' OR jsonb_array_length(f.value -> 'columns') > 0";

#[tokio::test(flavor = "multi_thread")]
async fn verdict_never_calls_lag_drift() {
    let _machine = beside_others().await;
    let (seed, _) = random("verdict");
    let mut migration = Migration::demo("verdict").await;
    migration.set("reconcile", "sample", 5_000);
    migration.set("reconcile", "interval", "50ms");
    fill(&migration, seed, 600).await;
    let mut daemon = migration.daemon();
    daemon.wait_for("the snapshot is complete", PATIENCE, |status| status.snapshot_complete()).await;
    let load = Load::start(&migration, seed, 300.0);
    daemon.lives_for(Duration::from_secs(if drill() { 120 } else { 15 })).await;
    load.end().await;
    migration.quiesce(&daemon, PATIENCE).await;
    oracle::assert_equal(&migration).await;

    let passes = migration.number("SELECT count(*) FROM driftless.reconcile_result").await;
    let compared = migration.number("SELECT sum(checked)::bigint FROM driftless.reconcile_result").await;
    eprintln!("verdict: {passes} passes, {compared} documents compared");
    assert!(passes >= 12, "{passes} passes over six collections");
    let false_alarms = migration.texts(FALSE).await;
    assert!(false_alarms.is_empty(), "{} false alarms, such as {:?}", false_alarms.len(), false_alarms[0]);
    let healed = daemon.metric("driftless_drift_healed_total").await;
    assert_eq!(healed, Some(0.0), "drift that heals by itself was none");
    daemon.wait_for("the verdict is in sync", PATIENCE, |status| status.verdict == "in_sync").await;
    daemon.stop(0).await;
    migration.finish().await;
}

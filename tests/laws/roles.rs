//! One role per process: three processes together do the work of one.

use crate::support::{
    DEADLINE,
    load::{Load, Marker, fill},
    migration::Migration,
    oracle, wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn roles_work_in_processes_of_their_own() {
    let mut migration = Migration::demo("roles").await;
    fill(&migration, 11, 600).await;
    let source = migration.daemon_with(&["source"]);
    let sinks = [migration.daemon_with(&["sink"]), migration.daemon_with(&["sink"])];
    let reconciler = migration.daemon_with(&["reconciler"]);
    let load = Load::start(&migration, 11, 80.0);
    reconciler.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    for (daemon, role) in [(&source, "source"), (&sinks[0], "sink"), (&sinks[1], "sink"), (&reconciler, "reconciler")] {
        let status = daemon.wait_for("the role runs", DEADLINE, |status| status.phase(role) == "running").await;
        assert_eq!(status.process.roles.len(), 1, "{:?}", status.process.roles);
        let (ready, told) = daemon.page("/readyz").await.expect("the page answers");
        assert_eq!(ready, 200, "{told}");
    }

    // One of the sinks stops; the other one takes over its partitions.
    let [one, other] = sinks;
    one.stop(0).await;
    let marker = Marker::write(&migration).await;
    wait::until("the other sink applies", DEADLINE, async || {
        wait::holds(marker.is_in(&migration.target).await, "not there")
    })
    .await;
    load.end().await;
    migration.quiesce(&other, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    reconciler.wait_for("the verdict is in sync", DEADLINE, |status| status.verdict == "in_sync").await;
    // As an image asks that has no other program to ask with.
    migration.set("http", "listen", reconciler.address());
    assert_eq!(migration.succeed(&["health"]).await, "ok\n");
    for daemon in [source, other, reconciler] {
        daemon.stop(0).await;
    }
    let gone = migration.command(&["health", "--live"]).await;
    assert_eq!(gone.status.code(), Some(1), "{}", String::from_utf8_lossy(&gone.stderr));
    migration.finish().await;
}

//! Law 9: "in sync" means now. A proof covers no change that has not been applied since. Anything that keeps changes from the
//! target ends the verdict within seconds and is named, however recent and complete the proof is.

use tokio::sync::OnceCell;

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::{Marker, fill},
    migration::Migration,
    stack::Stack,
    status::Status,
    wait,
};

/// Servers that this test may stop without harm to other tests.
static AWAY: OnceCell<Stack> = OnceCell::const_new();

/// Waits until the migration is in sync, with a proof that does not expire during the test.
async fn proven(migration: &mut Migration, daemons: impl Fn(&Migration) -> Daemon) -> Daemon {
    migration.set("reconcile", "fresh", "1h");
    fill(migration, 31, 100).await;
    let daemon = daemons(migration);
    migration.quiesce(&daemon, DEADLINE).await;
    in_sync(&daemon).await;
    daemon
}

async fn in_sync(daemon: &Daemon) {
    daemon.wait_for("the verdict is in sync", DEADLINE, |status| status.verdict == "in_sync").await;
}

fn blocked_by(status: &Status, text: &str) -> bool {
    status.verdict == "unknown" && status.blockers.iter().any(|blocker| blocker.to_string().contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn now_is_unknown_while_the_log_is_away() {
    let stack = AWAY.get_or_init(|| Stack::running("away", &[])).await;
    let mut migration = Migration::demo_on(stack, "away").await;
    // The broker clients report nothing until this timeout is over; the daemon asks the brokers itself.
    migration.set("log", "timeout", "5m");
    let daemon = proven(&mut migration, Migration::daemon).await;

    stack.stop("kafka", "kill").await;
    let marker = Marker::write(&migration).await;
    let brokers = stack.kafka();
    let status = daemon.wait_for("the verdict names the brokers", DEADLINE, |status| blocked_by(status, brokers)).await;
    assert!(!marker.is_in(&migration.target).await, "nothing can be applied");
    for role in ["source", "sink"] {
        assert_eq!(status.phase(role), "stalled", "{}", status.summary());
        let reason = status.process.roles[role].reason.as_deref().unwrap_or_default();
        assert!(reason.contains(brokers), "the {role} says what it waits for: {reason}");
    }
    let (ready, told) = daemon.page("/readyz").await.expect("the page answers");
    assert_eq!(ready, 503, "{told}");

    stack.start("kafka").await;
    migration.quiesce(&daemon, DEADLINE).await;
    assert!(marker.is_in(&migration.target).await);
    in_sync(&daemon).await;
    daemon.stop(0).await;
    migration.finish().await;
    stack.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn now_is_unknown_while_nobody_leads_the_source() {
    let mut migration = Migration::demo("leaderless").await;
    let leader = migration.daemon_with(&["source"]);
    let daemon = proven(&mut migration, |migration| migration.daemon_with(&["sink", "reconciler"])).await;

    leader.kill9().await;
    let marker = Marker::write(&migration).await;
    let told = "organisations: the target is complete as of";
    let status = daemon.wait_for("the verdict is unknown", DEADLINE, |status| blocked_by(status, told)).await;
    assert_eq!((status.phase("sink"), status.phase("reconciler")), ("running", "running"), "{}", status.summary());
    daemon
        .wait_for("the missing role is named", DEADLINE, |status| blocked_by(status, "no process runs the source"))
        .await;
    assert!(!marker.is_in(&migration.target).await, "nothing can be applied");

    let leader = migration.daemon_with(&["source"]);
    migration.quiesce(&daemon, DEADLINE).await;
    in_sync(&daemon).await;
    for daemon in [leader, daemon] {
        daemon.stop(0).await;
    }
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn now_counts_partitions_of_which_nothing_was_applied() {
    let migration = Migration::demo("unheard").await;
    // No source publishes, so there is nothing to apply.
    let daemon = migration.daemon_with(&["sink"]);
    let status = daemon.wait_for("the partitions are there", DEADLINE, |status| !status.partitions.is_empty()).await;
    assert_eq!(status.partitions.len(), 4 * status.collections.len(), "{}", status.summary());
    assert!(status.partitions.iter().all(|partition| partition.watermark.is_none()), "{}", status.summary());
    assert!(!status.snapshot_complete() && status.collections.iter().all(|one| one.watermark.is_none()));
    daemon.stop(0).await;
    migration.finish().await;
}

/// One worker waits for a lock while its sibling continues to commit: the role is stalled all the time.
#[tokio::test(flavor = "multi_thread")]
async fn now_a_worker_that_waits_is_not_hidden_by_its_sibling() {
    let mut migration = Migration::demo("sibling").await;
    migration.set("sink", "statement_timeout", "1s");
    let daemon = proven(&mut migration, Migration::daemon).await;

    let mut other = migration.connect().await;
    let lock = other.transaction().await.expect("begin");
    let topic = migration.topic("organisations");
    let sql = "SELECT FROM driftless.position WHERE topic = $1 AND partition = 0 FOR UPDATE";
    assert_eq!(lock.query(sql, &[&topic]).await.expect("lock a position").len(), 1);
    daemon.wait_for("the sink stalls", DEADLINE, |status| status.phase("sink") == "stalled").await;
    for _ in 0..10 {
        let before = committed(&migration).await;
        wait::until("its sibling commits", DEADLINE, async || {
            let now = committed(&migration).await;
            wait::holds(now > before, now)
        })
        .await;
        let status = daemon.status().await.expect("the page answers");
        assert_eq!(status.phase("sink"), "stalled", "{}", status.summary());
        assert!(blocked_by(&status, "worker "), "{}", status.summary());
        assert_eq!(daemon.metric("driftless_stalled").await, Some(1.0));
    }
    lock.rollback().await.expect("roll back");
    in_sync(&daemon).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// Returns the sum of all consumed offsets, which grows with each commit of any worker.
async fn committed(migration: &Migration) -> i64 {
    migration.number("SELECT sum(next_offset)::bigint FROM driftless.position").await
}

//! A pause: what an operator stops rests in every process and after a restart, is shown with who, since when and why, and loses
//! nothing. A role that has halted tries again when it is resumed.

use mongodb::bson::doc;

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::{Marker, fill},
    migration::Migration,
    oracle,
    status::Status,
    topic, wait,
};

fn blocked_by(status: &Status, text: &str) -> bool {
    status.blockers.iter().any(|blocker| blocker.to_string().contains(text))
}

async fn phase(daemon: &Daemon, role: &str, phase: &str) -> Status {
    daemon.wait_for(&format!("the {role} is {phase}"), DEADLINE, |status| status.phase(role) == phase).await
}

async fn applied(migration: &Migration, marker: &Marker) {
    wait::until("the marker is applied", DEADLINE, async || {
        wait::holds(marker.is_in(&migration.target).await, "not yet")
    })
    .await;
}

async fn paused_since(daemon: &Daemon) -> f64 {
    daemon.metric("driftless_pause_timestamp_seconds").await.expect("the metric")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_survives_a_restart_and_loses_nothing() {
    let migration = Migration::demo("pause").await;
    fill(&migration, 61, 100).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    assert_eq!(paused_since(&daemon).await, 0.0);

    // One collection: the others go on.
    migration.succeed(&["pause", "--collection", "organisations", "--why", "its table is rebuilt"]).await;
    let resume = "driftless resume --collection organisations";
    let status = daemon.wait_for("the pause is shown", DEADLINE, |status| blocked_by(status, resume)).await;
    assert!(blocked_by(&status, "its table is rebuilt"), "{:?}", status.blockers);
    wait::until("the workers have left its topic", DEADLINE, async || {
        wait::holds(daemon.log().contains("the plan is made again"), "not yet")
    })
    .await;
    let first = Marker::write(&migration).await;
    let touch = doc! { "$set": { "title": "touched" } };
    migration.collection("plans").update_one(doc! {}, touch).await.expect("update a plan");
    migration.wait_for_number("SELECT count(*) FROM app.plans WHERE title = 'touched'", DEADLINE, 1).await;
    assert!(!first.is_in(&migration.target).await, "organisations are paused");

    // A role: in this process, and in the next one.
    migration.succeed(&["pause", "--role", "source", "--why", "mongod is moved"]).await;
    let status = phase(&daemon, "source", "paused").await;
    let reason = status.process.roles["source"].reason.clone().unwrap_or_default();
    assert!(reason.contains("mongod is moved") && reason.contains('@'), "{reason}");
    let (ready, told) = daemon.page("/readyz").await.expect("the page answers");
    assert_eq!(ready, 200, "a pause is no fault of the process: {told}");
    daemon.stop(0).await;
    let daemon = migration.daemon();
    phase(&daemon, "source", "paused").await;
    daemon
        .wait_for("the pause is a blocker", DEADLINE, |status| {
            status.verdict == "unknown" && blocked_by(status, "driftless resume --role source")
        })
        .await;
    assert!(paused_since(&daemon).await > 0.0);
    let second = Marker::write(&migration).await;
    phase(&daemon, "sink", "running").await;
    assert!(!second.is_in(&migration.target).await, "nobody reads the source");

    migration.succeed(&["resume"]).await;
    applied(&migration, &first).await;
    applied(&migration, &second).await;
    migration.quiesce(&daemon, DEADLINE).await;
    wait::until("nothing is paused", DEADLINE, async || {
        let since = paused_since(&daemon).await;
        wait::holds(since == 0.0, since)
    })
    .await;

    // For a time.
    migration.succeed(&["pause", "--role", "reconciler", "--for", "10s", "--why", "a quiet moment"]).await;
    phase(&daemon, "reconciler", "paused").await;
    phase(&daemon, "reconciler", "running").await;
    let acts = "SELECT count(*) FROM driftless.action WHERE who LIKE '%@%' AND command IN ('pause', 'resume')";
    assert_eq!(migration.number(acts).await, 4);
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// Retention removes records while the sink rests. The sink halts instead of going on behind them, and goes on once its position is
/// moved and it is resumed; a snapshot brings back what was removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_halted_role_tries_again_when_it_is_resumed() {
    let mut migration = Migration::demo("resume").await;
    migration.set("log", "cleanup_policy", "delete");
    fill(&migration, 62, 100).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;

    let long = ["pause", "--role", "sink", "--why", "a long night", "--for", "300h"];
    let refused = migration.command(&long).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(1) && said.contains("the log (retention.ms) reaches back 168 h only"),
        "{said}"
    );
    migration.succeed(&[&long[..], &["--force"]].concat()).await;
    phase(&daemon, "sink", "paused").await;

    let organisations = migration.topic("organisations");
    let position =
        format!("SELECT next_offset FROM driftless.position WHERE topic = '{organisations}' AND partition = 0");
    let next = migration.number(&position).await;
    migration.collection("organisations").delete_many(doc! {}).await.expect("delete");
    // The source writes its marks there about once a second.
    let lost = wait::until("records wait in the partition", DEADLINE, async || {
        let records = migration.records("organisations").await;
        let newest = records.iter().filter(|record| record.partition == 0).map(|record| record.offset).max();
        newest.filter(|newest| *newest > next + 1).ok_or("none yet")
    })
    .await;
    topic::delete_before(migration.stack.kafka(), &organisations, 0, lost).await;

    migration.succeed(&["resume", "--role", "sink"]).await;
    let status = phase(&daemon, "sink", "halted").await;
    let sink = status.process.roles["sink"].clone();
    assert!(sink.reason.is_some_and(|reason| reason.contains("is not in the log")));
    assert!(sink.hint.is_some_and(|hint| hint.contains("driftless replay") && hint.contains("driftless resume")));
    migration.replay("organisations").await;
    migration.succeed(&["resume", "--role", "sink"]).await;
    phase(&daemon, "sink", "running").await;
    migration.succeed(&["snapshot", "start", "organisations"]).await;
    migration.wait_for_number("SELECT count(*) FROM driftless.snapshot WHERE collection = 'organisations' AND (told->>'run')::int8 > 0 AND (told->>'done')::bool", DEADLINE, 1).await;
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

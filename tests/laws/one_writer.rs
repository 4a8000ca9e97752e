//! Law 7: one writer per source stream. A standby takes over when the leader is gone, and a leader that wakes up late is
//! fenced.

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::{Load, Marker, fill},
    migration::Migration,
    oracle, random, topic, wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_the_other_takes_over() {
    let (seed, _) = random("one_writer");
    let migration = Migration::demo("takeover").await;
    fill(&migration, seed, 300).await;
    let (one, other) = (migration.daemon(), migration.daemon());
    let (leader, standby) = leader_of(one, other).await;
    migration.quiesce(&leader, DEADLINE).await;
    // If a member died in the middle of a rebalance, the sink's group would have to wait for two sessions.
    topic::shared_out(migration.stack.kafka(), &format!("{}.sink", migration.name), 4).await;
    let leads = (leader.metric("driftless_source_leader").await, standby.metric("driftless_source_leader").await);
    assert_eq!(leads, (Some(1.0), Some(0.0)));

    leader.kill9().await;
    let marker = Marker::write(&migration).await;
    wait::until("a write after the kill arrives", DEADLINE, async || {
        wait::holds(marker.is_in(&migration.target).await, "not there")
    })
    .await;
    assert_eq!(standby.status().await.expect("the status answers").phase("source"), "running");

    migration.quiesce(&standby, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    standby.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_in_good_order_hands_over_at_once() {
    let migration = Migration::demo("handover").await;
    fill(&migration, 1, 100).await;
    let (leader, standby) = leader_of(migration.daemon(), migration.daemon()).await;
    migration.quiesce(&leader, DEADLINE).await;
    leader.stop(0).await;
    // A candidate that merely falls silent remains a member until its session ends.
    let candidates = topic::members(migration.stack.kafka(), &format!("{}.source", migration.name)).await;
    assert_eq!(candidates, 1, "the leader has left the candidates before its process ended");
    standby.wait_for("the standby leads", DEADLINE, |status| status.phase("source") == "running").await;
    standby.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_slept_through_the_take_over_publishes_nothing() {
    let (seed, _) = random("one_writer");
    let mut migration = Migration::demo("zombie").await;
    // A sleeper in the middle of a transaction holds its rows until PostgreSQL's timeout.
    migration.set("sink", "statement_timeout", "10s");
    fill(&migration, seed, 300).await;
    let (sleeper, successor) = leader_of(migration.daemon(), migration.daemon()).await;
    let load = Load::start(&migration, seed, 150.0);
    let marker = Marker::write(&migration).await;
    wait::until("the first leader publishes", DEADLINE, async || {
        wait::holds(marker.is_in(&migration.target).await, "not there")
    })
    .await;

    // In the middle of its work, with events that are read and not yet published.
    sleeper.sigstop().await;
    successor.wait_for("the other one leads", DEADLINE, |status| status.phase("source") == "running").await;
    // The sleeper also holds partitions of the sink; the successor applies the records that the sleeper can no longer commit.
    let marker = Marker::write(&migration).await;
    wait::until("the successor publishes", DEADLINE, async || {
        wait::holds(marker.is_in(&migration.target).await, "not there")
    })
    .await;
    sleeper.sigcont().await;
    sleeper
        .wait_for("the sleeper knows it leads no more", DEADLINE, |status| status.phase("source") == "standby")
        .await;
    let marker = Marker::write(&migration).await;
    wait::until("a write after its awakening arrives", DEADLINE, async || {
        wait::holds(marker.is_in(&migration.target).await, "not there")
    })
    .await;
    load.end().await;
    migration.quiesce(&successor, DEADLINE).await;

    let mut publishers = std::collections::BTreeSet::new();
    for collection in driftless_demo::Collection::ALL {
        let (mut newest, mut partition) = (0, -1);
        for record in migration.records(collection.name()).await {
            let publisher = record.header("driftless.publisher").expect("every record names its publisher");
            let publisher: u64 = publisher.parse().expect("a publisher is a number");
            publishers.insert(publisher);
            if record.partition != partition {
                (newest, partition) = (0, record.partition);
            }
            let place = format!("{collection} {partition} {}", record.offset);
            assert!(publisher >= newest, "{place}: publisher {publisher} has written after its successor {newest}");
            newest = publisher;
        }
    }
    assert!(publishers.len() >= 2, "both have published: {publishers:?}");
    oracle::assert_equal(&migration).await;
    sleeper.stop(0).await;
    successor.stop(0).await;
    migration.finish().await;
}

/// Waits until exactly one of the two leads and its snapshot is complete; returns the leader, then the standby.
async fn leader_of(one: Daemon, other: Daemon) -> (Daemon, Daemon) {
    let first_leads = wait::until("exactly one of two leads", DEADLINE, async || {
        let (one, other) = (one.status().await?, other.status().await?);
        match (one.phase("source"), other.phase("source")) {
            ("running", "standby") => Ok(true),
            ("standby", "running") => Ok(false),
            phases => Err(format!("{phases:?}")),
        }
    })
    .await;
    let (leader, standby) = if first_leads { (one, other) } else { (other, one) };
    leader.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    (leader, standby)
}

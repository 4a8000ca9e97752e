//! Law 1: a position is saved only when everything before it is durable downstream. Killing anything at any moment therefore
//! loses nothing: first the daemon at random moments, the snapshot included, then each server once.

use std::time::Duration;

use mongodb::bson::doc;
use rand::Rng;
use tokio::sync::OnceCell;

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    drill,
    load::{Load, Marker, fill},
    migration::Migration,
    oracle, random,
    stack::Stack,
    status::Status,
    wait,
};

/// The moment at which a daemon is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// This long after its start, whatever it does then.
    Start(Duration),
    /// This long after the snapshot has begun.
    Snapshot(Duration),
    /// This long after it has begun to read the stream.
    Running(Duration),
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_is_killed_at_random_moments() {
    let (seed, mut random) = random("durable_before_position");
    let (kills, documents) = if drill() { (30, 20_000) } else { (5, 4_000) };
    let mut migration = Migration::demo("crash").await;
    // Many small chunks at a bounded rate, so that a kill hits a running snapshot on any machine.
    migration.set("source", "chunk_documents", 50);
    migration.set("source", "snapshot_rate", 1_000);
    fill(&migration, seed, documents).await;
    let load = Load::start(&migration, seed, 150.0);

    let mut in_snapshot = 0;
    for kill in 0..kills {
        let later = |random: &mut rand_chacha::ChaCha8Rng, most| Duration::from_millis(random.random_range(0..most));
        let moment = match kill {
            0 | 1 => Moment::Snapshot(later(&mut random, 300)),
            _ if random.random_bool(0.4) => Moment::Start(later(&mut random, 8_000)),
            _ => Moment::Running(later(&mut random, 2_000)),
        };
        let mut daemon = migration.daemon();
        in_snapshot += u32::from(reach(&mut daemon, moment).await);
        eprintln!("durable_before_position: kill {kill} at {moment:?}");
        daemon.kill9().await;
    }
    assert!(in_snapshot > 0, "no kill found the snapshot under way");

    let daemon = migration.daemon();
    daemon.wait_for("the last daemon runs", DEADLINE, |status| status.phase("source") == "running").await;
    let counts = load.end().await;
    let status = migration.quiesce(&daemon, DEADLINE).await;
    eprintln!("durable_before_position: {} writes, {in_snapshot} kills inside the snapshot", counts.total());
    oracle::assert_equal(&migration).await;
    assert!(status.snapshot_complete(), "{}", status.summary());
    assert_eq!(status.dead_letters(), 0, "{}", status.summary());
    assert_eq!(status.gaps(), 0, "no count of the log was missed");
    daemon.stop(0).await;
    migration.finish().await;
}

/// Waits for the moment; returns whether the snapshot is running then.
async fn reach(daemon: &mut Daemon, moment: Moment) -> bool {
    let later = match moment {
        Moment::Start(later) => later,
        Moment::Snapshot(later) => {
            let begun = |status: &Status| status.process.snapshots.values().any(|snapshot| snapshot.documents > 0);
            daemon.wait_for("the snapshot has begun", DEADLINE, begun).await;
            later
        }
        Moment::Running(later) => {
            daemon.wait_for("the source runs", DEADLINE, |status| status.phase("source") == "running").await;
            later
        }
    };
    daemon.lives_for(later).await;
    let Ok(status) = daemon.status().await else { return false };
    let snapshots = &status.process.snapshots;
    snapshots.values().any(|snapshot| snapshot.documents > 0) && snapshots.values().any(|snapshot| !snapshot.done)
}

/// Servers that only this test kills.
static DRILL: OnceCell<Stack> = OnceCell::const_new();

#[tokio::test(flavor = "multi_thread")]
async fn each_server_is_killed_once() {
    let (seed, _) = random("durable_before_position");
    let stack = DRILL.get_or_init(|| Stack::running("drill", &["--members", "3"])).await;
    let migration = Migration::demo_on(stack, "servers").await;
    fill(&migration, seed, if drill() { 5_000 } else { 1_500 }).await;
    let daemon = migration.daemon();
    daemon.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    let load = Load::start(&migration, seed, 80.0);

    step_down(&migration).await;
    follows(&migration, &daemon, "the stepdown of MongoDB's primary").await;
    stack.restart("kafka", "kill").await;
    follows(&migration, &daemon, "the kill of Kafka").await;
    let busy = compute(&migration).await;
    stack.restart("postgres", "kill").await;
    busy.await.expect("the query ends").expect_err("its backend is gone");
    follows(&migration, &daemon, "the kill of PostgreSQL").await;
    stack.restart("postgres", "immediate").await;
    follows(&migration, &daemon, "the immediate restart of PostgreSQL").await;

    let counts = load.end().await;
    let mut migration = migration;
    migration.target = migration.connect().await;
    let status = migration.quiesce(&daemon, DEADLINE).await;
    eprintln!("durable_before_position: {} writes, {} retries of the application", counts.total(), counts.retries);
    oracle::assert_equal(&migration).await;
    assert_eq!(status.dead_letters(), 0, "{}", status.summary());
    assert_eq!(status.gaps(), 0, "no count of the log was missed");
    daemon.stop(0).await;
    migration.finish().await;
    stack.down().await;
}

/// Keeps a backend of PostgreSQL computing: it would outlive its postmaster, and no new server starts beside it.
async fn compute(migration: &Migration) -> tokio::task::JoinHandle<Result<(), tokio_postgres::Error>> {
    let client = migration.connect().await;
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.expect("ask for the backend").get(0);
    let endless = "SELECT count(*) FROM generate_series(1, 1000000000000) AS n WHERE random() < 0";
    let query = tokio::spawn(async move { client.batch_execute(endless).await });
    let computes = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND query = '{endless}'");
    migration.wait_for_number(&computes, DEADLINE, 1).await;
    query
}

async fn step_down(migration: &Migration) {
    let admin = migration.mongo.database("admin");
    let primary = async || {
        let hello = admin.run_command(doc! { "hello": 1 }).await.map_err(|error| error.to_string())?;
        hello.get_str("me").map(str::to_owned).map_err(|error| error.to_string())
    };
    let before = wait::until("there is a primary", DEADLINE, primary).await;
    // Forced even if no secondary has caught up: writes that no majority holds were never in a change stream.
    let command = doc! { "replSetStepDown": 30, "secondaryCatchUpPeriodSecs": 10, "force": true };
    wait::until("the primary steps down", DEADLINE, async || admin.run_command(command.clone()).await).await;
    wait::until("another member is primary", DEADLINE, async || {
        let now = primary().await?;
        wait::holds(now != before, now)
    })
    .await;
}

/// Waits until a document written after the event arrives and every role runs.
async fn follows(migration: &Migration, daemon: &Daemon, event: &str) {
    let marker = Marker::write(migration).await;
    wait::until(format!("a write after {event} arrives"), DEADLINE, async || {
        let target = migration.try_connect().await.map_err(|error| error.to_string())?;
        wait::holds(marker.is_in(&target).await, "not there")
    })
    .await;
    let all_run = |status: &Status| status.process.roles.values().all(|role| role.phase == "running");
    daemon.wait_for(&format!("every role runs after {event}"), DEADLINE, all_run).await;
}

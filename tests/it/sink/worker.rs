//! The worker between a real broker and a real PostgreSQL.

use std::{collections::BTreeSet, time::Duration};

use bson::rawdoc;
use bytesize::ByteSize;
use driftless::{
    config::{Constraints, LogConfig},
    control::replay::{self, Move},
    log::{Publisher, StreamState, TopicPartition, Topics, Transaction},
    model::{Change, ClusterTime, Frontier, Namespace, ResumeToken},
    postgres::{Error, Purpose},
    retry::{Backoff, Stalls},
    sink::{Worker, WorkerFailed, Workers},
};
use driftless_testing::{
    DEADLINE,
    stack::setting,
    unique,
    wait::{self, soon},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::world::{World, change, plan, sink_config, user};

/// A world whose log is Kafka.
struct Kafka {
    world: World,
    log: LogConfig,
    topics: Topics,
    publisher: Publisher,
    breaker_dead_letters: usize,
    parked_bytes: ByteSize,
}

impl Kafka {
    async fn new(constraints: Constraints) -> Self {
        let world = World::with(constraints).await;
        let text = format!(
            "brokers = \"{}\"\nprefix = \"{}\"\nreplication = 1\npartitions = 2",
            setting("KAFKA_BROKERS"),
            unique("it")
        );
        let log: LogConfig = toml::from_str(&text).expect("a configuration");
        let namespaces = [Namespace::new("shop", "users"), Namespace::new("shop", "plans")];
        let topics = Topics::ensure(&log, &namespaces).await.expect("topics");
        let (publisher, _) = Publisher::connect(&log, &topics).await.expect("a publisher");
        let (breaker_dead_letters, parked_bytes) = (1_000, ByteSize::gib(1));
        Self { world, log, topics, publisher, breaker_dead_letters, parked_bytes }
    }

    /// Publishes changes in one transaction, with frontiers in every partition.
    async fn publish(&mut self, changes: Vec<Change>, t: u32) {
        let token = ResumeToken::from_raw(&rawdoc! { "_data": format!("82{t:08X}000000012B022C0100296E5A") });
        let frontier = Frontier(ClusterTime { t, i: 0 });
        let transaction = Transaction {
            changes,
            controls: Vec::new(),
            removals: Vec::new(),
            frontier: Some((frontier, i64::from(t) * 1000)),
            idle: true,
            state: StreamState { epoch: 1, token: token.expect("a token"), frontier, held: None },
            snapshots: Vec::new(),
            complete: BTreeSet::from(["users".to_owned(), "plans".to_owned()]),
        };
        self.publisher.publish(transaction).await.expect("publishes");
    }

    fn start(&self, cancel: &CancellationToken) -> JoinHandle<Result<(), Error>> {
        tokio::spawn(self.worker().run(cancel.clone()))
    }

    fn worker(&self) -> Worker {
        let mut config = sink_config(&self.world.database);
        config.batch_changes = 7;
        config.breaker_dead_letters = self.breaker_dead_letters;
        config.parked_bytes = self.parked_bytes;
        config.constraints = match self.world.session.constraint_mode() {
            driftless::postgres::ConstraintMode::Replica => Constraints::Replica,
            driftless::postgres::ConstraintMode::Enforce => Constraints::Enforce,
        };
        Worker {
            target: driftless::postgres::Postgres::new(&config, "t").expect("a target"),
            prepared: self.world.prepared.clone(),
            config,
            log: self.log.clone(),
            topics: self.topics.clone(),
            paused: BTreeSet::new(),
            backoff: Backoff { min: Duration::from_millis(20), max: Duration::from_millis(200) },
            stalls: Stalls::new("worker", |_, _| {}),
            status: driftless::status::Status::default(),
        }
    }

    /// Waits until a query returns these rows.
    async fn wait_for(&self, sql: &str, expected: &[&str]) {
        wait::until(sql, DEADLINE, async || {
            let rows = self.world.rows(sql).await;
            wait::holds(rows == expected, format!("{rows:?}"))
        })
        .await;
    }

    /// Publishes frontiers until a query returns these rows; the source publishes one about once a second.
    async fn publish_until(&mut self, sql: &str, expected: &[&str], mut t: u32) {
        soon(sql, async {
            while self.world.rows(sql).await != expected {
                self.publish(Vec::new(), t).await;
                t += 1;
            }
        })
        .await;
    }

    /// A replay of the users.
    fn moves(&self, to: Option<i64>) -> Vec<Move> {
        let topic = &self.topics.collections()[0];
        let partition = |partition| TopicPartition { topic: topic.name.clone(), partition };
        (0..2).map(|number| Move { partition: partition(number), topic_id: topic.id.clone(), to }).collect()
    }

    async fn watermark(&self, t: u32) {
        // A partition without any frontier yet has no watermark.
        let sql = "SELECT count(watermark_t), min(watermark_t), max(gaps) FROM driftless.position";
        self.wait_for(sql, &[&format!("4|{t}|0")]).await;
    }
}

fn users(range: std::ops::Range<i32>, t: u32) -> Vec<Change> {
    range.map(|id| user(id, t, &format!("{id}@{t}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_die_and_everything_is_applied_once() {
    let mut kafka = Kafka::new(Constraints::Replica).await;
    let cancel = CancellationToken::new();
    let worker = kafka.start(&cancel);
    for t in 1..8 {
        kafka.publish(users(1..40, t), t + 1).await;
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE application_name LIKE 'driftless-%' AND datname = current_database()";
        kafka.world.rows(sql).await;
    }
    kafka.watermark(8).await;
    let sql = "SELECT count(*), count(*) FILTER (WHERE email LIKE '%@7') FROM app.users";
    assert_eq!(kafka.world.rows(sql).await, ["39|39"]);
    cancel.cancel();
    soon("the worker stops", worker).await.expect("no panic").expect("a graceful end");
    // A second worker continues where the first one stopped.
    kafka.publish(vec![change("users", 1, 20, None)], 21).await;
    let cancel = CancellationToken::new();
    let worker = kafka.start(&cancel);
    kafka.watermark(21).await;
    assert_eq!(kafka.world.rows("SELECT count(*) FROM app.users").await, ["38"]);
    cancel.cancel();
    soon("the worker stops", worker).await.expect("no panic").expect("a graceful end");
    kafka.world.session = kafka.world.target.open(Purpose::Apply).await.expect("connects");
    kafka.world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_noticed_by_a_running_worker() {
    let mut kafka = Kafka::new(Constraints::Replica).await;
    let cancel = CancellationToken::new();
    let worker = kafka.start(&cancel);
    kafka.publish(users(1..20, 1), 2).await;
    kafka.watermark(2).await;
    let control = kafka.world.target.open(Purpose::Control).await.expect("connects");
    for (t, to) in [(3, Some(0)), (4, None)] {
        kafka.world.database.client().await.batch_execute("DELETE FROM app.users").await.expect("damages");
        assert_eq!(replay::replay(&control, &kafka.moves(to), "test", "why").await.expect("moves").len(), 2);
        // The next frontier makes an idle worker look.
        kafka.publish(Vec::new(), t).await;
        kafka.wait_for("SELECT count(*) FROM app.users", &["19"]).await;
        kafka.watermark(t).await;
    }
    cancel.cancel();
    soon("the worker stops", worker).await.expect("no panic").expect("a graceful end");
    kafka.world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_moves_under_batches_planned_ahead_loses_nothing() {
    let mut kafka = Kafka::new(Constraints::Replica).await;
    for t in 1..6 {
        kafka.publish(users(1..200, t), t + 1).await;
    }
    let cancel = CancellationToken::new();
    let worker = kafka.start(&cancel);
    let control = kafka.world.target.open(Purpose::Control).await.expect("connects");
    for _ in 0..5 {
        // Far from the end: the next batch is full, so it is planned already.
        kafka.wait_for("SELECT bool_or(next_offset > 60) FROM driftless.position", &["t"]).await;
        replay::replay(&control, &kafka.moves(Some(0)), "test", "why").await.expect("moves");
    }
    kafka.publish(Vec::new(), 7).await;
    kafka.watermark(7).await;
    let sql = "SELECT count(*), count(*) FILTER (WHERE email LIKE '%@5') FROM app.users";
    assert_eq!(kafka.world.rows(sql).await, ["199|199"]);
    cancel.cancel();
    soon("the worker stops", worker).await.expect("no panic").expect("a graceful end");
    kafka.world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_child_is_applied_soon_after_its_parent() {
    let mut kafka = Kafka::new(Constraints::Enforce).await;
    let cancel = CancellationToken::new();
    let worker = kafka.start(&cancel);
    kafka.publish(vec![plan(1, 1, Some(5), &[(1, "m")])], 2).await;
    kafka.wait_for("SELECT reason, state FROM driftless.dead_letter", &["FK_MISSING|parked"]).await;
    kafka.publish(vec![user(5, 3, "parent")], 4).await;
    kafka.wait_for("SELECT email FROM app.users", &["parent"]).await;
    // Frontiers normally come about once a second; here they come as fast as the broker takes them.
    let mut t = 5;
    soon("the child is applied", async {
        while kafka.world.rows("SELECT FROM app.milestones").await.is_empty() {
            kafka.publish(Vec::new(), t).await;
            t += 1;
        }
    })
    .await;
    assert_eq!(kafka.world.rows("SELECT state FROM driftless.dead_letter").await, ["retried"]);
    cancel.cancel();
    soon("the worker stops", worker).await.expect("no panic").expect("a graceful end");
    kafka.world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_document_is_tried_as_soon_as_what_it_waits_for_is_there() {
    let mut kafka = Kafka::new(Constraints::Enforce).await;
    let cancel = CancellationToken::new();
    let worker = kafka.start(&cancel);
    kafka.publish(vec![user(1, 1, "held"), user(2, 1, "b")], 2).await;
    kafka.publish(vec![plan(1, 2, Some(5), &[(1, "m")]), plan(2, 2, Some(3), &[]), user(3, 2, "held")], 3).await;
    kafka.wait_for("SELECT count(*) FROM driftless.dead_letter WHERE state = 'parked'", &["3"]).await;
    // The clock makes none of them due.
    kafka.world.execute("UPDATE driftless.dead_letter SET next_attempt_at = 'infinity'").await;
    // A parent arrives and a value is freed; the last document waits for the one that waited for the value.
    kafka.publish(vec![user(5, 3, "parent"), user(1, 3, "free")], 4).await;
    kafka.publish_until("SELECT DISTINCT state FROM driftless.dead_letter", &["retried"], 5).await;
    let emails = kafka.world.rows("SELECT email FROM app.users ORDER BY email").await;
    assert_eq!(emails, ["b", "free", "held", "parent"]);
    assert_eq!(kafka.world.counts(&["plans"]).await, [2]);
    cancel.cancel();
    soon("the worker stops", worker).await.expect("no panic").expect("a graceful end");
    kafka.world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_parked_in_vain_end_the_worker_and_others_do_not() {
    let mut kafka = Kafka::new(Constraints::Enforce).await;
    kafka.breaker_dead_letters = 20;
    let cancel = CancellationToken::new();
    let worker = kafka.start(&cancel);
    // More documents than may become dead letters wait; all get their parent at last. They are newer than everything known to
    // be applied, so the parent may still arrive.
    kafka.publish((0..60).map(|id| plan(id, 1_000_000, Some(1), &[])).collect(), 2).await;
    kafka.wait_for("SELECT count(*) FROM driftless.dead_letter WHERE state = 'parked'", &["60"]).await;
    kafka.publish(vec![user(1, 2, "late")], 3).await;
    kafka.publish_until("SELECT count(*) FROM app.plans", &["60"], 4).await;
    // A wrong reference: everything that the source had is applied, and no parent was among it.
    kafka.publish((100..160).map(|id| plan(id, 1, Some(id), &[])).collect(), 1_000_001).await;
    let mut t = 1_000_002;
    let ended = async {
        while !worker.is_finished() {
            kafka.publish(Vec::new(), t).await;
            t += 1;
        }
    };
    soon("the worker ends", ended).await;
    let error = worker.await.expect("no panic").expect_err("too many wait in vain");
    assert!(matches!(error, Error::WaitInVain { count: 60, limit: 20 }), "{error:?}");
    assert_eq!(
        kafka.world.rows("SELECT count(*), min(state) FROM driftless.dead_letter WHERE state <> 'retried'").await,
        ["60|parked"]
    );
    kafka.world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_parked_documents_are_bounded() {
    let mut kafka = Kafka::new(Constraints::Enforce).await;
    kafka.parked_bytes = ByteSize::kib(64);
    let cancel = CancellationToken::new();
    let worker = kafka.start(&cancel);
    let title = "x".repeat(10_000);
    kafka.publish((0..20).map(|id| plan(id, 1, Some(1), &[(id, title.as_str())])).collect(), 2).await;
    let mut t = 3;
    let ended = async {
        while !worker.is_finished() {
            kafka.publish(Vec::new(), t).await;
            t += 1;
        }
    };
    soon("the worker ends", ended).await;
    let error = worker.await.expect("no panic").expect_err("too many bytes");
    assert!(matches!(error, Error::ParkedBytes { limit: 65_536, .. }), "{error:?}");
    kafka.world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_ends_the_worker_with_the_position_intact() {
    use driftless::retry::{Class, Classify};
    let mut kafka = Kafka::new(Constraints::Replica).await;
    let cancel = CancellationToken::new();
    let bad = (0..2_100).map(|id| change("users", id, 1, Some(rawdoc! { "_id": id, "email": "x\0" }))).collect();
    kafka.publish(bad, 2).await;
    let worker = kafka.start(&cancel);
    let error = soon("the worker ends", worker).await.expect("no panic").expect_err("too many");
    assert_eq!(error.class(), Class::Halt);
    assert!(matches!(error, Error::Breaker { limit: 1_000, .. }), "{error:?}");
    let letters = kafka.world.rows("SELECT count(*) FROM driftless.dead_letter").await;
    let ledger = kafka.world.rows("SELECT count(*) FROM driftless.ledger").await;
    assert_eq!(letters, ledger, "what was written before the limit is whole");
    assert!(letters[0].parse::<i32>().expect("a number") <= 1_000);
    kafka.world.end().await;
}

/// Keeps a worker in the middle of a transaction while the worker beside it fails; returns the reason once both have ended.
async fn beside_an_open_transaction(failure: fn() -> Result<(), Error>) -> WorkerFailed {
    let mut kafka = Kafka::new(Constraints::Replica).await;
    kafka.publish(users(0..5, 1), 2).await;
    let mut holder = kafka.world.database.client().await;
    let lock = holder.transaction().await.expect("begins");
    lock.batch_execute("LOCK TABLE app.users IN SHARE MODE").await.expect("locks");
    let stop = CancellationToken::new();
    let mut workers = Workers::new(stop.clone());
    workers.spawn("worker 1".to_owned(), |stop| kafka.worker().run(stop));
    let sql = "SELECT count(*) > 0 FROM pg_stat_activity \
               WHERE wait_event_type = 'Lock' AND application_name LIKE 'driftless-%' AND datname = current_database()";
    kafka.wait_for(sql, &["t"]).await;
    workers.spawn("worker 2".to_owned(), move |_| async move { failure() });
    let ended = tokio::spawn(async move { workers.ended().await });
    soon("the failure stops the workers", stop.cancelled()).await;
    assert_eq!(kafka.world.counts(&["users"]).await, [0], "the transaction is open");
    lock.commit().await.expect("gives the lock back");
    let failed = soon("all workers end", ended).await.expect("no panic").expect_err("a reason");
    assert!(kafka.world.counts(&["users"]).await[0] > 0, "the transaction was committed");
    kafka.world.end().await;
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_fails_is_named_and_lets_the_transactions_of_the_others_finish() {
    let failed = beside_an_open_transaction(|| Err(Error::CatalogChanged)).await;
    assert!(
        matches!(&failed, WorkerFailed::Error { worker, source } if worker == "worker 2" && matches!(**source, Error::CatalogChanged)),
        "{failed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics_is_named_and_lets_the_transactions_of_the_others_finish() {
    let failed = beside_an_open_transaction(|| panic!("broken invariant")).await;
    assert_eq!(failed.to_string(), "run the task worker 2: it panicked: broken invariant");
}

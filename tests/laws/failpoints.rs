//! Faults at named points: the daemon fails, waits and dies at each point of `src/failpoints.rs` while an application writes,
//! and the oracle judges the result. Random kills are in `durable_before_position`.
//!
//! ```text
//!  chain:  row ─▶ row ─▶ …         a row is a point and its trigger
//!  row:    judge the death before ─▶ the point fails, the daemon overcomes it ─▶ judge ─▶ the daemon dies at the point
//! ```
//! A point that only a starting daemon passes kills one start and fails in the next one: never in the same, because the death could
//! undo what the error has done. Panics, which end a task and not the daemon, have a test of their own.

use std::{
    collections::{BTreeSet, HashSet},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
};

use driftless::failpoints::{self as points, Failpoint};
use mongodb::bson::{Document, doc, oid::ObjectId};

use crate::support::{
    DEADLINE,
    daemon::{Daemon, SIGABRT},
    load::{Load, fill, organisation},
    migration::Migration,
    oracle,
    stack::root,
    status::Status,
    topic, wait,
};

/// Number of documents at the beginning.
const DOCUMENTS: u64 = 600;
/// Steps of the application per second.
const RATE: f64 = 80.0;
/// How often a point fails that the application's writes pass. The first time it may hold no change; the delay after an error fills
/// the next ones.
const ERRORS: usize = 3;
/// A value that `app.plans` refuses while its CHECK is there.
const REFUSED: &str = "on_holiday";

/// The cause that brings a daemon to a point.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trigger {
    /// Its start; it passes the point this many times before the fault.
    Start(u32),
    /// Its start, after a topic was deleted.
    StartWithoutTopic,
    /// Writes of the application.
    Writes,
    /// A replay under a running worker.
    Replay,
    /// A document that the target refuses.
    Refusal,
    /// The repair of such a document.
    Repair,
    /// A snapshot that does not find a row's document.
    Removal,
    /// The drop of a collection.
    Drop,
}

/// Points of the source and the log, in the order of a chain.
const PUBLISHING: &[(Failpoint, Trigger)] = &[
    (points::LEADERSHIP_TAKE_OVER, Trigger::Start(0)),
    (points::SNAPSHOT_CHUNK, Trigger::Start(2)),
    (points::STREAM_REPLY, Trigger::Writes),
    (points::LOG_BEFORE_STATE_RECORD, Trigger::Writes),
    (points::LOG_BEFORE_COMMIT, Trigger::Writes),
    (points::LOG_AFTER_COMMIT, Trigger::Writes),
    (points::REMOVAL_LOGGED, Trigger::Removal),
    (points::REPAIR_PUBLISH, Trigger::Repair),
    (points::REPAIR_ACKNOWLEDGE, Trigger::Repair),
];

/// Points of the sink and its schema.
const APPLYING: &[(Failpoint, Trigger)] = &[
    (points::SCHEMA_MIGRATION, Trigger::Start(3)),
    (points::IDENTITY_CLAIM, Trigger::Start(0)),
    (points::SINK_ASSIGNMENT, Trigger::Start(0)),
    (points::SINK_BETWEEN_LEDGER_AND_ROWS, Trigger::Writes),
    (points::SINK_BEFORE_COMMIT, Trigger::Writes),
    (points::SINK_AFTER_COMMIT, Trigger::Writes),
    (points::SINK_DEAD_LETTER, Trigger::Refusal),
    (points::SINK_SEEK, Trigger::Replay),
    (points::SINK_TRUNCATE, Trigger::Drop),
    (points::BASELINE_CHUNK, Trigger::Writes),
    (points::KEYS_REPLY, Trigger::Writes),
    (points::SINK_BIND, Trigger::StartWithoutTopic),
];

/// Points in tasks of each kind, and the task that a panic there ends.
const PANICS: &[(Failpoint, &str)] = &[
    (points::LEADERSHIP_TAKE_OVER, "source"),
    (points::STREAM_REPLY, "change stream reader"),
    (points::SNAPSHOT_CHUNK, "snapshot reader"),
    (points::LOG_BEFORE_COMMIT, "publisher"),
    (points::SINK_ASSIGNMENT, "consumer"),
    (points::SINK_BEFORE_COMMIT, "worker"),
    (points::BASELINE_CHUNK, "baseline"),
    (points::KEYS_REPLY, "change stream of keys"),
];

/// Points that commands pass, see [`indexes_are_put_off_and_caught_up`] and `reconcile::one_collection_that_fails…`.
const COMMANDS: [Failpoint; 3] = [points::SCHEMA_BEFORE_LOAD, points::SCHEMA_AFTER_LOAD, points::RECONCILE_WALK];

/// Point of a leader that leaves, see [`a_leader_hands_over`].
const HAND_OVER: Failpoint = points::LEADERSHIP_HAND_OVER;

/// Point that only delays, see `whose_state::a_sink_that_misses_its_offset…`.
const WATCH: Failpoint = points::TOPICS_WATCH;

#[test]
fn every_point_is_tested() {
    let chains = PUBLISHING.iter().chain(APPLYING).map(|(point, _)| point.name);
    let tested: BTreeSet<_> =
        chains.chain(COMMANDS.iter().chain([&HAND_OVER, &WATCH]).map(|point| point.name)).collect();
    assert_eq!(tested, points::ALL.iter().map(|point| point.name).collect());
}

#[test]
fn no_build_has_failpoints_unless_it_asks_for_them() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).expect("read the manifest");
    let manifest: toml::Table = text.parse().expect("the manifest is TOML");
    let features = manifest["features"].as_table().expect("the package has features");
    assert!(features.contains_key("failpoints") && !features.contains_key("default"), "{features:?}");
}

/// Both chains run at once, because each mostly waits.
#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_fails_and_dies_at_each_point() {
    let chain = async |name, rows| Chain::new(name).await.run(rows).await;
    tokio::join!(chain("publishing", PUBLISHING), chain("applying", APPLYING));
}

/// A panic ends its task and not the daemon: it is reported with the name of the task and the reason, and the role goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_reported_by_task_and_overcome() {
    let mut migration = Migration::demo("fail_panics").await;
    fill(&migration, 14, DOCUMENTS).await;
    let steps = PANICS.iter().map(|(point, _)| format!("{}=1*panic", point.name)).collect::<Vec<_>>();
    migration.set_failpoints(steps.join(";"));
    let daemon = migration.daemon();
    let load = Load::start(&migration, 1, RATE);
    for (point, task) in PANICS {
        let (task, reason) = (format!("run the task {task}"), format!(": it panicked: failpoint {}", point.name));
        wait::until(format!("a line with `{task}` and `{reason}`"), DEADLINE, async || {
            let log = daemon.log();
            wait::holds(log.lines().any(|line| line.contains(&task) && line.contains(&reason)), "not yet")
        })
        .await;
    }
    load.end().await;
    daemon.wait_for("the source is followed", DEADLINE, |status| status.phase("source") == "running").await;
    let status = migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    assert_eq!(status.gaps(), 0, "no count of the log was missed");
    let passes = "SELECT least(count(*), 1) FROM driftless.proof WHERE complete_pass IS NOT NULL";
    migration.wait_for_number(passes, DEADLINE, 1).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// One migration, and the daemons that fail and die in it.
struct Chain {
    migration: Migration,
    /// Trigger of the last daemon's death.
    died: Option<Trigger>,
    /// A point of a start that has killed one, and its steps for the next one.
    due: Option<(Failpoint, String)>,
    loads: u64,
}

impl Chain {
    async fn new(test: &str) -> Self {
        let mut migration = Migration::demo(&format!("fail_{test}")).await;
        // Small chunks, so that there are many.
        migration.set("source", "chunk_documents", 50);
        let mapping = std::fs::read_to_string(migration.mapping()).expect("read the mapping");
        let dropped = "[collections.financial_models]\n";
        let mapping = mapping.replace(dropped, &format!("{dropped}on_drop = \"truncate\"\n"));
        std::fs::write(migration.mapping(), mapping).expect("write the mapping");
        fill(&migration, 14, DOCUMENTS).await;
        Self { migration, died: None, due: None, loads: 0 }
    }

    async fn run(mut self, rows: &[(Failpoint, Trigger)]) {
        for (point, trigger) in rows {
            eprintln!("{}: {trigger:?}", point.name);
            match trigger {
                Trigger::Start(_) | Trigger::StartWithoutTopic => self.fails_at_start(point, *trigger).await,
                _ => self.fails_while_running(point, *trigger).await,
            }
        }
        let daemon = self.daemon("").await;
        self.judge(&daemon, self.died).await;
        self.migration.succeed(&["reconcile", "--full"]).await;
        daemon.stop(0).await;
        self.audit().await;
        self.migration.finish().await;
    }

    /// No event of the change stream is committed twice, because its change and the token behind it are in one transaction.
    async fn audit(&self) {
        let names = self.migration.source.list_collection_names().await.expect("list the collections");
        for collection in names {
            let mut seen = HashSet::new();
            for record in self.migration.records(&collection).await.into_iter().filter(|record| record.is_change()) {
                let version = record.header("driftless.version").expect("a change has a version").to_owned();
                // A document may be read twice at one time; such versions end so.
                let (partition, offset) = (record.partition, record.offset);
                let new = version.ends_with("ffffffff") || seen.insert((record.key, version));
                assert!(new, "{collection} {partition}@{offset}: the same event again");
            }
        }
    }

    /// Starts a daemon, in which the point that is due fails.
    async fn daemon(&mut self, failpoints: &str) -> Daemon {
        let due = self.due.take();
        let steps = due.as_ref().map(|(_, steps)| steps.as_str()).unwrap_or_default();
        self.migration.set_failpoints(format!("{steps};{failpoints}"));
        let daemon = self.migration.daemon();
        if let Some((point, _)) = due {
            fails(&daemon, &point, 1).await;
        }
        daemon
    }

    async fn fails_at_start(&mut self, point: &Failpoint, trigger: Trigger) {
        if trigger == Trigger::StartWithoutTopic {
            // Everything is applied before, because the loss of unread records with a topic is not under test here.
            let daemon = self.daemon("").await;
            self.judge(&daemon, self.died).await;
            daemon.stop(0).await;
            topic::remove(self.migration.stack.kafka(), &self.migration.topic("organisations")).await;
        }
        let off = match trigger {
            Trigger::Start(passes) if passes > 0 => format!("{passes}*off->"),
            _ => String::new(),
        };
        let load = self.writes();
        let daemon = self.daemon(&format!("{}={off}1*kill", point.name)).await;
        let log = daemon.is_killed_by(SIGABRT).await;
        load.end().await;
        assert_eq!(acted(&log, point, "Kill"), 1, "{}", point.name);
        self.died = Some(trigger);
        self.due = Some((point.clone(), format!("{}={off}1*error", point.name)));
    }

    async fn fails_while_running(&mut self, point: &Failpoint, trigger: Trigger) {
        let [fail, kill] = ["fail", "kill"].map(|what| self.file(&format!("{}.{what}", point.name)));
        let errors = if trigger == Trigger::Writes { ERRORS } else { 1 };
        let steps = format!("off({})->{errors}*error->off({})->1*kill", fail.display(), kill.display());
        let daemon = self.daemon(&format!("{}={steps}", point.name)).await;
        self.judge(&daemon, self.died).await;

        let load = self.bring(trigger, &fail).await;
        fails(&daemon, point, errors).await;
        load.end().await;
        self.judge(&daemon, Some(trigger)).await;

        let load = self.bring(trigger, &kill).await;
        let log = daemon.is_killed_by(SIGABRT).await;
        load.end().await;
        assert_eq!(acted(&log, point, "Kill"), 1, "{}", point.name);
        self.died = Some(trigger);
    }

    /// Lets a point act by its file and brings a running daemon to it; the application writes from then on.
    async fn bring(&mut self, trigger: Trigger, file: &Path) -> Load {
        if trigger == Trigger::Writes {
            let load = self.writes();
            touch(file);
            return load;
        }
        touch(file);
        match trigger {
            Trigger::Start(_) | Trigger::StartWithoutTopic | Trigger::Writes => {}
            Trigger::Replay => {
                let back = ["replay", "--collection", "users", "--to-offset", "0", "--execute", "--why", "a test"];
                self.migration.succeed(&back).await;
            }
            Trigger::Refusal => self.refuse().await,
            Trigger::Repair => {
                self.refuse().await;
                self.migration.wait_for_number(OPEN_LETTERS, DEADLINE, 1).await;
                self.target(&format!("ALTER TABLE app.plans {NO_CHECK}")).await;
                self.migration.succeed(&["dlq", "retry", "--wait", "0s"]).await;
            }
            Trigger::Removal => {
                self.leave_a_row().await;
                self.migration.succeed(&["snapshot", "start", "organisations"]).await;
            }
            Trigger::Drop => self.drop_a_collection().await,
        }
        self.writes()
    }

    fn writes(&mut self) -> Load {
        self.loads += 1;
        Load::start(&self.migration, self.loads, RATE)
    }

    /// Writes a plan whose status the target refuses.
    async fn refuse(&self) {
        let check = format!("ALTER TABLE app.plans {NO_CHECK}, ADD CONSTRAINT {CHECK}");
        self.target(&check).await;
        let plans = self.migration.collection("plans");
        let mut plan = plans.find_one(doc! {}).await.expect("find a plan").expect("there are plans");
        plan.extend(doc! { "_id": ObjectId::new(), "status": REFUSED, "milestones": [], "poisoned": true });
        plans.insert_one(plan).await.expect("insert a plan");
    }

    /// Leaves a row behind whose document is gone, as if its delete had been missed.
    async fn leave_a_row(&self) {
        let (id, organisations) = (ObjectId::new(), self.migration.collection("organisations"));
        organisations.insert_one(organisation(id)).await.expect("insert an organisation");
        let (row, entry) = (
            format!("app.organisations WHERE id = '{}'", oracle::root_id(&id.to_hex())),
            format!("driftless.ledger WHERE position('\\x{id}'::bytea IN key) > 0"),
        );
        let count = format!("SELECT count(*) FROM {row}");
        self.migration.wait_for_number(&count, DEADLINE, 1).await;
        self.target(&format!(
            "CREATE TABLE kept AS SELECT * FROM {row}; CREATE TABLE kept_entry AS SELECT * FROM {entry}"
        ))
        .await;
        organisations.delete_one(doc! { "_id": id }).await.expect("delete it");
        self.migration.wait_for_number(&count, DEADLINE, 0).await;
        self.target(&format!(
            "INSERT INTO app.organisations SELECT * FROM kept; \
             DELETE FROM {entry}; INSERT INTO driftless.ledger SELECT * FROM kept_entry; DROP TABLE kept, kept_entry"
        ))
        .await;
    }

    /// Drops a collection and fills it with some of its documents anew.
    async fn drop_a_collection(&self) {
        let models = self.migration.collection("financial_models");
        let mut model = models.find_one(doc! {}).await.expect("find a model").expect("there are models");
        models.drop().await.expect("drop the collection");
        let copies = (0..20).map(|_| {
            model.insert("_id", ObjectId::new());
            model.clone()
        });
        models.insert_many(copies.collect::<Vec<Document>>()).await.expect("insert models");
    }

    async fn target(&self, sql: &str) {
        self.migration.target.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Waits until everything is applied; then both sides must be equal, and the trigger's own effect must have occurred.
    async fn judge(&self, daemon: &Daemon, trigger: Option<Trigger>) {
        let plans = self.migration.collection("plans");
        let cure = || plans.update_many(doc! { "status": REFUSED }, doc! { "$set": { "status": "draft" } });
        if trigger == Some(Trigger::Refusal) {
            self.migration.wait_for_number(OPEN_LETTERS, DEADLINE, 1).await;
            cure().await.expect("cure the plan");
        }
        if trigger == Some(Trigger::Replay) {
            let open = "SELECT count(*) FROM driftless.position WHERE reread_to IS NOT NULL";
            self.migration.wait_for_number(open, DEADLINE, 0).await;
        }
        if trigger == Some(Trigger::Repair) {
            self.migration
                .wait_for_number("SELECT count(*) FROM driftless.repair WHERE done_at IS NULL", DEADLINE, 0)
                .await;
        }
        daemon.wait_for("the source is followed", DEADLINE, |status| status.phase("source") == "running").await;
        let status = self.migration.quiesce(daemon, DEADLINE).await;
        self.migration.wait_for_number(OPEN_LETTERS, DEADLINE, 0).await;
        oracle::assert_equal(&self.migration).await;
        assert_eq!(status.gaps(), 0, "no count of the log was missed");
        // A violated assertion of the daemon would be overcome as well.
        assert!(!daemon.log().contains("it panicked"), "a task panicked");
        if trigger == Some(Trigger::Repair) {
            cure().await.expect("cure the plan");
            let refused = format!("SELECT count(*) FROM app.plans WHERE status = '{REFUSED}'");
            self.migration.wait_for_number(&refused, DEADLINE, 0).await;
        }
    }

    /// Returns the path of a file that a point waits for.
    fn file(&self, name: &str) -> PathBuf {
        self.migration.mapping().with_file_name(name)
    }
}

const OPEN_LETTERS: &str = "SELECT count(*) FROM driftless.dead_letter WHERE state IN ('open', 'parked')";
const NO_CHECK: &str = "DROP CONSTRAINT IF EXISTS plans_status_check";
const CHECK: &str = "plans_status_check CHECK (status IN ('draft', 'in_review', 'approved', 'archived'))";

fn touch(file: &Path) {
    std::fs::write(file, "").expect("make a file");
}

/// Returns how often the point acted so, by the daemon's log.
fn acted(log: &str, point: &Failpoint, action: &str) -> usize {
    log.matches(&format!("failpoint name=\"{}\" action={action}", point.name)).count()
}

/// Waits until the point has failed this often.
async fn fails(daemon: &Daemon, point: &Failpoint, times: usize) {
    wait::until(format!("{} fails", point.name), DEADLINE, async || {
        let seen = acted(&daemon.log(), point, "Error");
        wait::holds(seen == times, format!("{seen} of {times} times"))
    })
    .await;
}

/// Indexes and constraints that wait until after a load are dropped in one transaction and rebuilt one by one.
#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_put_off_and_caught_up() {
    let mut migration = Migration::demo("fail_indexes").await;
    let whole = definitions(&migration).await;
    let [before, after, _] = &COMMANDS;
    for (action, signal) in [("error", None), ("kill", Some(SIGABRT))] {
        ends_at(&mut migration, before, &format!("2*off->1*{action}"), signal, "--before-load").await;
        assert_eq!(definitions(&migration).await, whole, "nothing is dropped that is not written down");
    }
    migration.set_failpoints("");
    migration.succeed(&["schema", "apply", "--before-load"]).await;
    let left = definitions(&migration).await;
    let waits = "SELECT count(*) FROM driftless.deferred";
    let dropped = migration.number(waits).await;
    assert_eq!(i64::try_from(whole.len() - left.len()).ok(), Some(dropped));
    assert!(dropped > 4, "{dropped} are enough to be interrupted between them");

    for (action, signal) in [("error", None), ("kill", Some(SIGABRT))] {
        ends_at(&mut migration, after, &format!("1*off->1*{action}"), signal, "--after-load").await;
    }
    // Each run has deleted one entry; the next object is built, but its entry is still recorded.
    assert_eq!(migration.number(waits).await, dropped - 2);
    migration.set_failpoints("");
    migration.succeed(&["schema", "apply", "--after-load"]).await;
    assert_eq!(definitions(&migration).await, whole);
    assert_eq!(migration.number(waits).await, 0);
    migration.finish().await;
}

/// Runs `driftless schema apply`, which must end at the point.
async fn ends_at(migration: &mut Migration, point: &Failpoint, steps: &str, signal: Option<i32>, option: &str) {
    migration.set_failpoints(format!("{}={steps}", point.name));
    let output = migration.command(&["schema", "apply", option]).await;
    let told = String::from_utf8_lossy(&output.stderr);
    let action = if signal.is_some() { "Kill" } else { "Error" };
    assert!(acted(&told, point, action) == 1 && !output.status.success(), "{}: {told}", output.status);
    assert_eq!(output.status.signal(), signal, "{told}");
}

/// Returns every index and constraint of the application, as PostgreSQL prints them.
async fn definitions(migration: &Migration) -> BTreeSet<String> {
    let sql = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'app' UNION ALL \
               SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint \
                WHERE connamespace = 'app'::regnamespace";
    migration.texts(sql).await.into_iter().flatten().collect()
}

/// A leader that is stopped no longer leads, and nobody else leads until it has left.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_hands_over() {
    let mut migration = Migration::demo("fail_hand_over").await;
    fill(&migration, 14, DOCUMENTS).await;
    let left = migration.mapping().with_file_name("left");
    let pause = format!("pause({})", left.display());
    let leads = |status: &Status| status.phase("source") == "running";
    for (seed, action) in (1..).zip(["error", "kill", &pause]) {
        migration.set_failpoints(format!("{}={action}", HAND_OVER.name));
        let leader = migration.daemon();
        leader.wait_for("the first one leads", DEADLINE, leads).await;
        migration.set_failpoints("");
        let standby = migration.daemon();
        standby.wait_for("the other one stands by", DEADLINE, |status| status.phase("source") == "standby").await;
        let load = Load::start(&migration, seed, RATE);
        let leader = leader.stop_begins().await;
        match action {
            "error" => leader.ends(0).await,
            "kill" => drop(leader.is_killed_by(SIGABRT).await),
            _ => {
                wait::until("the leader waits before it leaves", DEADLINE, async || {
                    wait::holds(acted(&leader.log(), &HAND_OVER, "Pause") == 1, "not yet")
                })
                .await;
                let status = standby.status().await.expect("the status answers");
                assert_eq!(status.phase("source"), "standby", "nobody leads beside a leader that has not left");
                touch(&left);
                leader.ends(0).await;
            }
        }
        standby.wait_for("the other one leads", DEADLINE, leads).await;
        load.end().await;
        let status = migration.quiesce(&standby, DEADLINE).await;
        oracle::assert_equal(&migration).await;
        assert_eq!(status.gaps(), 0, "no count of the log was missed");
        standby.stop(0).await;
    }
    migration.finish().await;
}

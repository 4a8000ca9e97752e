//! Law 9: a mismatch is a proof. While the application writes, passes over every collection go on, whether the target is up to date,
//! further and further behind, or further behind than MongoDB remembers. They may leave documents undecided, but they may report no
//! difference: both sides are correct, one is only behind.

use std::{collections::BTreeSet, time::Duration};

use futures_util::TryStreamExt;
use mongodb::{
    Client, Collection,
    bson::{Document, doc},
    error::Result,
};
use tokio::{task::JoinHandle, time::interval};
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    drill,
    load::{Load, fill},
    migration::Migration,
    oracle, random,
    small_server::SmallServer,
    stack::{Stack, root},
    wait,
};

/// Steps of the demo application per second: as many as a machine carries, and few enough that the target stays up to date.
const HEAVY: f64 = 300.0;
const LIGHT: f64 = 30.0;
/// Groups of documents that never rest, and how often all documents of a group are changed, several times each.
const GROUPS: i32 = 4;
const ROUND: Duration = Duration::from_millis(50);
/// Changes per second that a slow sink applies: fewer than are made.
const SLOW: i64 = 50;
/// How long MongoDB remembers in the test of a target behind that, in seconds. A loaded machine must not be behind so far by itself.
const WINDOW: u32 = 20;
/// Longest wait for a pass over every collection.
const PASS: Duration = DEADLINE.saturating_mul(3);

/// A collection beside those of the demo application.
const HOT_SCHEMA: &str = "CREATE TABLE app.hot (id text PRIMARY KEY, slot text NOT NULL UNIQUE, n bigint NOT NULL);";
const HOT_MAPPING: &str = "[collections.hot]\ntable = \"app.hot\"\nid = \"text\"\n";

/// Findings that were ever open.
const FOUND: &str = "SELECT concat_ws(' ', c.name, encode(f.key, 'hex'), kind, columns::text, found_by, ended_by) \
    FROM driftless.finding AS f JOIN driftless.collection AS c ON c.id = f.collection";
/// Complete passes over the collection with the fewest.
const PASSES: &str = "SELECT coalesce(min(coalesce(complete_pass, 0)), 0) FROM driftless.proof";
/// How many seconds old the oldest read of the last complete pass was at its end, in the collection where that was least.
const AGE: &str =
    "SELECT coalesce(min(extract(epoch FROM complete_ended_at) - complete_t), 0)::int8 FROM driftless.proof";
const VOID: &str = "SELECT count(*) FROM driftless.proof WHERE void_because IS NOT NULL";

#[tokio::test(flavor = "multi_thread")]
async fn passes_beside_heavy_writes_report_nothing() {
    // Documents, and complete passes over each collection.
    let sizes: &[(u64, i64)] = if drill() { &[(200, 300), (2_000, 150), (10_000, 50)] } else { &[(300, 3)] };
    for (documents, passes) in sizes {
        let race = Race::begin(on_shared_servers("race").await, *documents, HEAVY).await;
        race.passes(*passes).await;
        race.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_over_a_target_that_falls_behind_report_nothing() {
    let behind = if drill() { 60 } else { 5 };
    let mut race = Race::begin(on_shared_servers("falls_behind").await, 300, HEAVY).await;
    race.migration.set("sink", "rate", SLOW);
    race.restart_sink(async |_| {}).await;
    while race.migration.number(AGE).await < behind {
        race.passes(1).await;
    }
    race.migration.set("sink", "rate", 0);
    race.restart_sink(async |_| {}).await;
    race.passes(3).await;
    race.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_over_a_target_behind_all_history_report_nothing() {
    const FORGOTTEN: &str =
        "SELECT count(*) FROM driftless.proof WHERE baseline_waits_for LIKE 'MongoDB can no longer be read%'";
    let stack = Stack::shared().await;
    let server = SmallServer::start(stack, 500, WINDOW).await;
    let mut race = Race::begin(migration(stack, &server.uri, "all_history").await, 300, LIGHT).await;
    for _ in 0..if drill() { 20 } else { 1 } {
        race.restart_sink(async |migration| {
            wait::until("what the target has come to is forgotten", DEADLINE, async || {
                let waiting = migration.number(FORGOTTEN).await;
                wait::holds(waiting > 0, waiting)
            })
            .await;
        })
        .await;
        race.passes(2).await;
    }
    race.end().await;
    server.end().await;
}

async fn on_shared_servers(test: &str) -> Migration {
    let stack = Stack::shared().await;
    migration(stack, stack.mongo_uri(), test).await
}

/// Prepares the demo application, and the documents that never rest.
async fn migration(stack: &'static Stack, uri: &str, test: &str) -> Migration {
    let demo = root().join("config/demo");
    let read = |file: &str| std::fs::read_to_string(demo.join(file)).expect("read the demo's files");
    let (schema, mapping) = (read("schema.sql") + HOT_SCHEMA, read("mapping.toml") + HOT_MAPPING);
    Migration::new(stack, uri, test, &schema, &mapping).await
}

/// Passes without a pause, beside writes without a pause.
struct Race {
    migration: Migration,
    source: Daemon,
    sink: Option<Daemon>,
    reconciler: Daemon,
    load: Load,
    hot: Hot,
}

impl Race {
    async fn begin(mut migration: Migration, documents: u64, rate: f64) -> Self {
        let (seed, _) = random("no_false_report");
        migration.set("reconcile", "baseline_every", "0s");
        fill(&migration, seed, documents).await;
        let hot = Hot::start(&migration).await;
        let [source, sink, reconciler] = ["source", "sink", "reconciler"].map(|role| migration.daemon_with(&[role]));
        migration.quiesce(&sink, DEADLINE).await;
        let collections = i64::try_from(driftless_demo::Collection::ALL.len()).expect("few") + 1;
        migration
            .wait_for_number("SELECT count(*) FROM driftless.proof WHERE since_t IS NOT NULL", DEADLINE, collections)
            .await;
        let most = usize::try_from(documents).expect("few");
        let load = Load::limited(&migration, seed, rate, most);
        Self { migration, source, sink: Some(sink), reconciler, load, hot }
    }

    /// Waits for so many more complete passes over every collection.
    async fn passes(&self, more: i64) {
        let begun = self.migration.number(PASSES).await;
        for passes in begun + 1..=begun + more {
            wait::until(format!("{passes} passes are complete"), PASS, async || {
                let now = self.migration.number(PASSES).await;
                wait::holds(now >= passes, now)
            })
            .await;
            eprintln!("{}: {passes} passes over each collection", self.migration.name);
            self.assert_nothing_found().await;
        }
    }

    async fn assert_nothing_found(&self) {
        let found = self.migration.texts(FOUND).await;
        assert!(found.is_empty(), "{} false reports, such as {:?}", found.len(), found[0]);
    }

    /// Stops the sink, and starts it again after `meanwhile`.
    async fn restart_sink(&mut self, meanwhile: impl AsyncFnOnce(&Migration)) {
        self.sink.take().expect("it runs").stop(0).await;
        meanwhile(&self.migration).await;
        self.sink = Some(self.migration.daemon_with(&["sink"]));
    }

    /// Ends the writes. Then both sides must be equal and the verdict in sync, and nothing may ever have been reported.
    async fn end(self) {
        let Self { migration, source, sink, reconciler, load, hot } = self;
        let sink = sink.expect("it runs");
        let resolved = wait::until("undecided documents are decided", DEADLINE, async || {
            let resolved = reconciler.metric("driftless_undecided_resolved_total").await.unwrap_or_default();
            if resolved > 0.0 { Ok(resolved) } else { Err(resolved) }
        })
        .await;
        let compared = reconciler.metric("driftless_reconcile_documents_total").await.unwrap_or_default();
        let (steps, rounds) = (load.end().await, hot.end().await);
        let passes = migration.number(PASSES).await;
        eprintln!(
            "{}: {passes} passes over each collection, {compared} judgements, {resolved} of what was undecided before, \
             beside {} steps of the application and {rounds} rounds over what never rests",
            migration.name,
            steps.total()
        );
        let status = migration.quiesce(&sink, DEADLINE).await;
        assert_eq!((status.gaps(), status.dead_letters()), (0, 0), "{}", status.summary());
        oracle::assert_equal(&migration).await;
        assert_eq!(rows(&migration).await, documents(&migration).await);
        reconciler.wait_for("the verdict is in sync", DEADLINE, |status| status.verdict == "in_sync").await;

        let found = migration.texts(FOUND).await;
        assert!(found.is_empty(), "{} false reports, such as {:?}", found.len(), found[0]);
        assert_eq!(reconciler.metric("driftless_drift_healed_total").await, Some(0.0), "no proof was wrong");
        assert_eq!(migration.number(VOID).await, 0, "no proof was given up");
        for daemon in [reconciler, sink, source] {
            daemon.stop(0).await;
        }
        migration.finish().await;
    }
}

/// Groups of documents that never rest.
struct Hot {
    end: CancellationToken,
    groups: Vec<JoinHandle<u64>>,
}

impl Hot {
    async fn start(migration: &Migration) -> Self {
        let (collection, end) = (migration.collection("hot"), CancellationToken::new());
        let mut groups = Vec::new();
        for number in 0..GROUPS {
            let group = Group::insert(migration.mongo.clone(), collection.clone(), number).await;
            groups.push(tokio::spawn(group.run(end.clone())));
        }
        Self { end, groups }
    }

    /// Ends the writes; returns the number of rounds.
    async fn end(self) -> u64 {
        self.end.cancel();
        let mut rounds = 0;
        for group in self.groups {
            rounds += group.await.expect("the writer does not panic");
        }
        rounds
    }
}

/// Documents that only one writer changes.
struct Group {
    client: Client,
    collection: Collection<Document>,
    number: i32,
}

impl Group {
    /// Creates the group: a document that is counted, one that is deleted and inserted again, and two that swap a unique value.
    async fn insert(client: Client, collection: Collection<Document>, number: i32) -> Self {
        let group = Self { client, collection, number };
        let documents = ["counted", "passing", "one", "other"].map(|role| group.document(role));
        group.collection.insert_many(documents).await.expect("insert the documents of a group");
        group
    }

    fn id(&self, role: &str) -> String {
        format!("{} {role}", self.number)
    }

    fn document(&self, role: &str) -> Document {
        doc! { "_id": self.id(role), "slot": self.id(role), "n": 0_i64 }
    }

    async fn run(self, end: CancellationToken) -> u64 {
        let (mut holders, mut rounds, mut beat) = (["one", "other"], 0, interval(ROUND));
        while !end.is_cancelled() {
            beat.tick().await;
            self.round(holders).await.expect("nobody else changes these documents");
            holders.reverse();
            rounds += 1;
        }
        rounds
    }

    /// Changes every document several times. `one` and `other` hold each other's unique value in every second round.
    async fn round(&self, holders: [&str; 2]) -> Result<()> {
        let count = doc! { "$inc": { "n": 1_i64 } };
        for _ in 0..3 {
            self.collection.update_one(doc! { "_id": self.id("counted") }, count.clone()).await?;
        }
        self.collection.delete_one(doc! { "_id": self.id("passing") }).await?;
        self.collection.insert_one(self.document("passing")).await?;

        let mut session = self.client.start_session().await?;
        session.start_transaction().await?;
        let [one, other] = holders.map(|holder| self.id(holder));
        let slots = [("one", &self.id("nobody")), ("other", &one), ("one", &other)];
        for (role, slot) in slots {
            let change = doc! { "$set": { "slot": slot }, "$inc": { "n": 1_i64 } };
            self.collection.update_one(doc! { "_id": self.id(role) }, change).session(&mut session).await?;
        }
        self.collection.delete_one(doc! { "_id": self.id("passing") }).session(&mut session).await?;
        self.collection.insert_one(self.document("passing")).session(&mut session).await?;
        session.commit_transaction().await
    }
}

/// The documents that never rested, as text.
async fn documents(migration: &Migration) -> BTreeSet<String> {
    let failed = "read the documents";
    let found: Vec<Document> =
        migration.collection("hot").find(doc! {}).await.expect(failed).try_collect().await.expect(failed);
    let text = |document: Document| {
        let [id, slot] = ["_id", "slot"].map(|field| document.get_str(field).expect("a text").to_owned());
        format!("{id}|{slot}|{}", document.get_i64("n").expect("a number"))
    };
    found.into_iter().map(text).collect()
}

/// Their rows.
async fn rows(migration: &Migration) -> BTreeSet<String> {
    let rows = migration.texts("SELECT concat_ws('|', id, slot, n) FROM app.hot").await;
    rows.into_iter().flatten().collect()
}

//! Law 9, by faults of the pipeline: what is lost anywhere between source and target is found by the delta within seconds of its
//! event, because its change stream is its own. How many seconds, is printed.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mongodb::{
    Collection,
    bson::{Document, doc, oid::ObjectId},
};
use tokio::{task::JoinHandle, time::interval};
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::organisation,
    migration::Migration,
    skip::skip,
    topic::{self, Record},
    wait,
};

const COLLECTION: &str = "organisations";
/// Pause between writes that only move the cluster time.
const PAUSE: Duration = Duration::from_millis(50);
const OPEN: &str = "SELECT count(*) FROM driftless.finding WHERE ended_at IS NULL";
/// Collections of which a pass is complete.
const COMPLETE: &str = "SELECT count(*) FROM driftless.proof WHERE complete_pass IS NOT NULL";
const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8";

/// A change of a document, by the kind of the finding that its loss is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Insert,
    Update,
    Delete,
}

impl Change {
    const ALL: [Self; 3] = [Self::Insert, Self::Update, Self::Delete];

    fn finding(self) -> &'static str {
        match self {
            Self::Insert => "missing",
            Self::Update => "different",
            Self::Delete => "extra",
        }
    }
}

/// Changes that were lost, or will be.
type Changes = BTreeMap<ObjectId, Change>;

/// A migration in three processes, which proves by the delta alone.
struct Pipeline {
    migration: Migration,
    source: Option<Daemon>,
    sink: Option<Daemon>,
    reconciler: Daemon,
    /// Writes that move the cluster time, into a collection that is not mapped.
    end: CancellationToken,
    other: JoinHandle<u64>,
}

impl Pipeline {
    async fn begin(test: &str) -> Self {
        let mut migration = Migration::demo(test).await;
        migration.set("reconcile", "baseline_every", "1h");
        let end = CancellationToken::new();
        let other = tokio::spawn(write(migration.collection("other"), end.clone()));
        let [source, sink, reconciler] = ["source", "sink", "reconciler"].map(|role| migration.daemon_with(&[role]));
        migration.quiesce(&sink, DEADLINE).await;
        let collections = i64::try_from(driftless_demo::Collection::ALL.len()).expect("few");
        migration.wait_for_number(COMPLETE, DEADLINE, collections).await;
        Self { migration, source: Some(source), sink: Some(sink), reconciler, end, other }
    }

    async fn stop_sink(&mut self) {
        self.migration.quiesce(self.sink.as_ref().expect("it runs"), DEADLINE).await;
        self.sink.take().expect("it runs").stop(0).await;
    }

    /// Inserts the documents that will be changed; returns so many changes of each kind.
    async fn plan(&self, each: usize) -> Changes {
        let changes: Changes =
            Change::ALL.into_iter().flat_map(|change| (0..each).map(move |_| (ObjectId::new(), change))).collect();
        let present = changes.iter().filter(|(_, change)| **change != Change::Insert);
        let documents: Vec<_> = present.map(|(id, _)| organisation(*id)).collect();
        self.migration.collection(COLLECTION).insert_many(documents).await.expect("insert documents");
        changes
    }

    async fn make(&self, changes: &Changes) {
        let organisations = self.migration.collection(COLLECTION);
        for (id, change) in changes {
            let one = doc! { "_id": id };
            match change {
                Change::Insert => drop(organisations.insert_one(organisation(*id)).await.expect("insert")),
                Change::Update => {
                    drop(organisations.update_one(one, doc! { "$inc": { "employees": 1 } }).await.expect("update"));
                }
                Change::Delete => drop(organisations.delete_one(one).await.expect("delete")),
            }
        }
    }

    /// Makes changes; returns the record of each once all are in the log.
    async fn publish(&self, changes: &Changes) -> HashMap<ObjectId, Record> {
        let mut ends = HashMap::new();
        for record in self.migration.records(COLLECTION).await {
            ends.insert(record.partition, record.offset);
        }
        self.make(changes).await;
        wait::until("the changes are in the log", DEADLINE, async || {
            let mut records = self.migration.records(COLLECTION).await;
            records.retain(|record| ends.get(&record.partition).is_none_or(|end| record.offset > *end));
            let of = |id: &ObjectId| {
                let names = |key: &Vec<u8>| String::from_utf8_lossy(key).contains(&id.to_hex());
                records.iter().find(|record| record.key.as_ref().is_some_and(names)).cloned()
            };
            let found: HashMap<_, _> = changes.keys().filter_map(|id| Some((*id, of(id)?))).collect();
            if found.len() == changes.len() { Ok(found) } else { Err(found.len()) }
        })
        .await
    }

    /// Waits until exactly these changes are found to be lost, by the delta.
    async fn finds(&self, fault: &str, lost: &Changes, event_ms: i64, again_ms: i64) {
        // The key of an ObjectId is one byte and the id.
        let query = "SELECT encode(substr(key, 2), 'hex') || ' ' || kind || ' ' || found_by
                       FROM driftless.finding WHERE ended_at IS NULL ORDER BY 1";
        let wanted = lost.iter().map(|(id, change)| Some(format!("{} {} delta", id.to_hex(), change.finding())));
        let wanted: Vec<_> = wanted.collect();
        wait::until(format!("{fault} is found"), DEADLINE, async || {
            let found = self.migration.texts(query).await;
            wait::holds(found == wanted, format!("{found:?}, not {wanted:?}"))
        })
        .await;
        self.reconciler.wait_for("the verdict is drift", DEADLINE, |status| status.verdict == "drift").await;
        let last =
            "SELECT (extract(epoch FROM max(found_at)) * 1000)::int8 FROM driftless.finding WHERE ended_at IS NULL";
        let found_ms = self.migration.number(last).await;
        eprintln!(
            "pipeline_faults: {fault}: {} findings {:.1} s after the event, {:.1} s after the pipeline ran again",
            lost.len(),
            (found_ms - event_ms) as f64 / 1e3,
            (found_ms - again_ms) as f64 / 1e3
        );
    }

    /// Changes what was lost once more, which ends every finding.
    async fn repair(&self, lost: &Changes) {
        let organisations = self.migration.collection(COLLECTION);
        for id in lost.keys() {
            let replace = organisations.replace_one(doc! { "_id": id }, organisation(*id)).upsert(true);
            replace.await.expect("replace a document");
        }
        self.migration.wait_for_number(OPEN, DEADLINE, 0).await;
    }

    async fn now(&self) -> i64 {
        self.migration.number(NOW).await
    }

    async fn end(self) {
        self.end.cancel();
        assert!(self.other.await.expect("the writer does not panic") > 0);
        for daemon in [Some(self.reconciler), self.sink, self.source].into_iter().flatten() {
            daemon.stop(0).await;
        }
        self.migration.finish().await;
    }
}

/// Inserts documents until `end` is cancelled; returns how many.
async fn write(collection: Collection<Document>, end: CancellationToken) -> u64 {
    let (mut written, mut beat) = (0, interval(PAUSE));
    while !end.is_cancelled() {
        beat.tick().await;
        collection.insert_one(doc! {}).await.expect("insert a document");
        written += 1;
    }
    written
}

/// A record in the middle of a topic is gone, and the tail of a partition, with its frontiers.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_gone_from_a_topic_are_found() {
    let mut pipeline = Pipeline::begin("gone").await;
    for change in Change::ALL {
        let mut changes = pipeline.plan(1).await;
        changes.retain(|_, other| *other == change);
        pipeline.stop_sink().await;
        let event = pipeline.now().await;
        let records = pipeline.publish(&changes).await;
        for record in records.values() {
            skip(&pipeline.migration, COLLECTION, record).await;
        }
        pipeline.sink = Some(pipeline.migration.daemon_with(&["sink"]));
        let again = pipeline.now().await;
        pipeline.finds(&format!("the loss of a record of {change:?}"), &changes, event, again).await;
        pipeline.repair(&changes).await;
    }

    let changes = pipeline.plan(5).await;
    pipeline.stop_sink().await;
    let event = pipeline.now().await;
    let records = pipeline.publish(&changes).await;
    let last = records.values().max_by_key(|record| record.offset).expect("some").partition;
    let tail = |record: &&Record| record.partition == last;
    let end = records.values().filter(tail).max_by_key(|record| record.offset).expect("one of it");
    skip(&pipeline.migration, COLLECTION, end).await;
    pipeline.sink = Some(pipeline.migration.daemon_with(&["sink"]));
    let again = pipeline.now().await;
    let mut lost = changes.clone();
    lost.retain(|id, _| records[id].partition == last);
    pipeline.finds("the loss of a partition's tail", &lost, event, again).await;
    pipeline.repair(&lost).await;
    pipeline.end().await;
}

/// The stored place of the source is behind changes that were never published.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_resumes_too_late_is_found() {
    let mut pipeline = Pipeline::begin("later").await;
    let changes = pipeline.plan(3).await;
    pipeline.migration.quiesce(pipeline.sink.as_ref().expect("it runs"), DEADLINE).await;
    pipeline.source.take().expect("it runs").stop(0).await;
    let event = pipeline.now().await;
    pipeline.make(&changes).await;
    resume_now(&pipeline.migration).await;
    pipeline.source = Some(pipeline.migration.daemon_with(&["source"]));
    let again = pipeline.now().await;
    pipeline.finds("a resume from a later token", &changes, event, again).await;
    pipeline.repair(&changes).await;
    pipeline.end().await;
}

/// Stores the present place of the source's change stream as that from which it goes on.
async fn resume_now(migration: &Migration) {
    let mut stream = migration.source.watch().await.expect("open a change stream");
    stream.next_if_any().await.expect("read the change stream");
    let token = stream.resume_token().expect("a token");
    let token = mongodb::bson::serialize_to_vec(&token).expect("the token is a document");
    let (brokers, state) = (migration.stack.kafka(), format!("{}.state", migration.name));
    let records = topic::records(brokers, &state).await;
    let of_the_stream =
        |record: &&Record| record.key.as_deref().is_some_and(|key| String::from_utf8_lossy(key).contains("\"stream\""));
    let mut record = records.iter().rfind(of_the_stream).expect("the place is stored").clone();
    let value = record.value.as_deref().expect("a value");
    let mut value: serde_json::Value = serde_json::from_slice(value).expect("JSON");
    value["token"] = STANDARD.encode(token).into();
    record.value = Some(value.to_string().into_bytes());
    topic::append(brokers, &state, vec![record]).await;
}

/// A dead letter that is discarded stays a difference.
#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_dead_letter_is_found() {
    const LETTERS: &str = "SELECT count(*) FROM driftless.dead_letter WHERE state = 'open'";
    let pipeline = Pipeline::begin("discarded").await;
    let id = ObjectId::new();
    let mut refused = organisation(id);
    refused.insert("kind", "guild");
    let event = pipeline.now().await;
    pipeline.migration.collection(COLLECTION).insert_one(refused).await.expect("insert a document");
    pipeline.migration.wait_for_number(LETTERS, DEADLINE, 1).await;
    pipeline.migration.succeed(&["dlq", "discard", "--reason", "CHECK", "--why", "the test"]).await;
    let discarded = pipeline.now().await;
    assert_eq!(pipeline.migration.number(LETTERS).await, 0);
    let lost = Changes::from([(id, Change::Insert)]);
    pipeline.finds("a discarded dead letter", &lost, event, discarded).await;
    // It is met again without its letter.
    let confirmed = format!("{OPEN} AND confirmed_at > to_timestamp({discarded} / 1000.0) AND letter IS NULL");
    pipeline.migration.wait_for_number(&confirmed, DEADLINE, 1).await;
    pipeline.repair(&lost).await;
    pipeline.end().await;
}

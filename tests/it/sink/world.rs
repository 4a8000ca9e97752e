//! A small target, a mapping for it, and a log that is a vector.

use std::{collections::BTreeSet, sync::Arc};

use bson::{RawDocumentBuf, rawdoc};
use driftless::{
    config::{Constraints, SinkConfig},
    control::dead_letters,
    log::{Fetched, FrontierRecord, TopicPartition, envelope},
    mapping::{MappingFile, Plan},
    model::{Change, ClusterTime, Control, Frontier, Key, Namespace, Op, Removal, Version},
    postgres::{self, Error, Postgres, Purpose, Session},
    sink::{self, Limits, Outcome, Prepared, plan::Batch},
    target::{DocumentId, RowSearch, TargetReader},
};
use driftless_testing::{DEADLINE, postgres::Database, wait};
use tokio_postgres::SimpleQueryMessage;

pub(crate) const TABLES: &str = "
CREATE SCHEMA app;
CREATE TYPE app.status AS ENUM ('active', 'gone');
CREATE DOMAIN app.score AS numeric(6, 2) CHECK (VALUE >= 0);
CREATE TABLE app.users (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE,
    name varchar(20),
    age integer CHECK (age >= 0),
    score app.score,
    status app.status,
    height double precision,
    code char(4),
    tags text[],
    meta jsonb,
    notes json,
    updated_at timestamptz NOT NULL DEFAULT 'epoch'
);
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.updated_at := now(); RETURN NEW; END';
CREATE TRIGGER touch BEFORE UPDATE ON app.users FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TABLE app.plans (id uuid PRIMARY KEY, owner_id uuid REFERENCES app.users (id), title text);
CREATE TABLE app.milestones (
    id uuid PRIMARY KEY,
    plan_id uuid NOT NULL REFERENCES app.plans (id),
    place integer NOT NULL,
    title text,
    UNIQUE (plan_id, place)
);
CREATE INDEX ON app.milestones (plan_id);
";

pub(crate) const MAPPING: &str = r#"
namespace = "dns"
[collections.users]
table = "app.users"
id = "uuid5"
ignore = ["updated_at"]
[collections.plans]
table = "app.plans"
id = "uuid5"
[collections.plans.columns]
owner_id = { path = "owner", reference = "users" }
[collections.plans.children.milestones]
table = "app.milestones"
parent = "plan_id"
order = "place"
id = { column = "id", from = "_id" }
"#;

pub(crate) const TOPIC: &str = "t.shop.users";

/// A target with the sink's schema, a session that applies, and the end of the log.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) target: Postgres,
    pub(crate) session: Session,
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) offset: i64,
    pub(crate) applied: Option<i64>,
    pub(crate) limits: Limits,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Constraints::Replica).await
    }

    pub(crate) async fn with(constraints: Constraints) -> Self {
        Self::of(constraints, TABLES, MAPPING).await
    }

    pub(crate) async fn of(constraints: Constraints, tables: &str, mapping: &str) -> Self {
        Self::on(Database::create().await, constraints, tables, mapping).await
    }

    pub(crate) async fn on(database: Database, constraints: Constraints, tables: &str, mapping: &str) -> Self {
        database.client().await.batch_execute(tables).await.expect("creates the tables");
        let mut config = sink_config(&database);
        config.constraints = constraints;
        let target = Postgres::new(&config, "t").expect("a target");
        let control = target.open(Purpose::Control).await.expect("connects");
        postgres::migrate(&control).await.expect("migrates");
        let catalog = postgres::read_catalog(&control).await.expect("reads the catalog");
        let file = MappingFile::parse(mapping, "test.mapping.toml").expect("a mapping file");
        let plan = Arc::new(Plan::compile(&file, &catalog).expect("a plan"));
        let prepared = Arc::new(Prepared::new(&control, plan, &catalog).await.expect("prepares"));
        let session = target.open(Purpose::Apply).await.expect("connects");
        let limits = Limits {
            dead_letters_left: 100,
            dead_letters: 100,
            window: std::time::Duration::from_secs(60),
            share: 0.9,
            recent: Default::default(),
            parked_attempts: 3,
        };
        Self { database, target, session, prepared, offset: 0, applied: None, limits }
    }

    /// Appends changes to the log and applies them as one batch.
    pub(crate) async fn apply(&mut self, changes: &[Change]) -> Outcome {
        let records = self.append(changes);
        self.apply_records(records).await.expect("applies")
    }

    /// Appends changes to the log; returns their records.
    pub(crate) fn append(&mut self, changes: &[Change]) -> Vec<Fetched> {
        changes.iter().map(|change| self.record(envelope::encode(change, "t"))).collect()
    }

    /// Appends changes as compaction leaves them where tombstones are on: nothing of a delete but its tombstone.
    pub(crate) fn append_compacted(&mut self, changes: &[Change]) -> Vec<Fetched> {
        let encode = |change: &Change| match change.document {
            Some(_) => envelope::encode(change, "t"),
            None => envelope::encode_tombstone(change, "t"),
        };
        changes.iter().map(|change| self.record(encode(change))).collect()
    }

    pub(crate) fn append_control(&mut self, control: &Control) -> Vec<Fetched> {
        vec![self.record(envelope::encode_control(control, "t"))]
    }

    pub(crate) fn append_removal(&mut self, removal: &Removal) -> Vec<Fetched> {
        vec![self.record(envelope::encode_removal(removal, "t", 0))]
    }

    pub(crate) fn append_frontier(&mut self, seq: u64, changes: u64, t: u32) -> Vec<Fetched> {
        let before = Frontier(ClusterTime { t, i: 0 });
        let as_of_ms = i64::from(t) * 1000;
        let frontier = FrontierRecord { before, as_of_ms, seq, publisher: 1, changes, complete: true };
        vec![self.record(envelope::encode_frontier(&frontier))]
    }

    fn record(&mut self, encoded: envelope::Encoded) -> Fetched {
        self.offset += 1;
        record(encoded, self.offset - 1)
    }

    pub(crate) fn batch(&self, records: Vec<Fetched>) -> Batch {
        sink::plan::plan(records, Vec::new(), self.prepared.all()).expect("a batch")
    }

    /// Applies records from the end of the last batch.
    pub(crate) async fn apply_records(&mut self, records: Vec<Fetched>) -> Result<Outcome, Error> {
        let batch = self.batch(records);
        let outcome = sink::apply(&self.session, &self.prepared, &batch, &[self.applied], &self.limits).await?;
        self.applied = outcome.positions.first().and_then(|(_, position)| position.next_offset);
        Ok(outcome)
    }

    /// Returns the rows of a query as text, with fields joined by `|`.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let client = self.database.client().await;
        let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect::<Vec<_>>().join("|"))
            }
            _ => None,
        };
        messages.iter().filter_map(row).collect()
    }

    /// Returns everything that the laws promise to be the same in any order.
    pub(crate) async fn state(&self) -> Vec<String> {
        let mut state = Vec::new();
        for sql in [
            "SELECT id, email, name, age, score, status, height, code, tags, meta, notes::jsonb FROM app.users ORDER BY id",
            "SELECT * FROM app.plans ORDER BY id",
            "SELECT * FROM app.milestones ORDER BY id",
            "SELECT collection, encode(key, 'hex'), encode(version, 'hex'), deleted, encode(digest, 'hex') \
               FROM driftless.ledger ORDER BY collection, key",
            "SELECT encode(key, 'hex'), encode(version, 'hex'), reason FROM driftless.dead_letter \
              WHERE state IN ('open', 'parked') ORDER BY 1, 2",
        ] {
            state.extend(self.rows(sql).await);
            state.push(String::new());
        }
        state
    }

    /// Retries the parked records as if they were due.
    pub(crate) async fn retry_parked(&mut self) {
        let sql = "UPDATE driftless.dead_letter SET next_attempt_at = '-infinity'";
        self.database.client().await.batch_execute(sql).await.expect("ok");
        let records = dead_letters::records(&self.session, &Default::default(), 100).await.expect("reads");
        let parked = records.into_iter().map(|(_, record)| record).collect();
        let batch = sink::plan::plan(Vec::new(), parked, self.prepared.all()).expect("a batch");
        sink::apply(&self.session, &self.prepared, &batch, &[], &self.limits).await.expect("applies");
    }

    /// Returns the numbers of rows, in the order of the tables' names.
    pub(crate) async fn counts(&self, tables: &[&str]) -> Vec<i64> {
        let mut counts = Vec::new();
        for table in tables {
            counts.push(self.rows(&format!("SELECT count(*) FROM app.{table}")).await[0].parse().expect("a number"));
        }
        counts
    }

    /// Searches the tables of a collection, see [`extra_rows`].
    pub(crate) async fn extra_rows(&self, collection: &str) -> Vec<String> {
        let session = self.target.open(Purpose::Read).await.expect("connects");
        extra_rows(&session, &self.prepared, self.prepared.named(collection).expect("mapped")).await
    }

    /// Returns the columns and tables in which documents differ.
    pub(crate) async fn differences(&self, changes: &[Change]) -> BTreeSet<String> {
        let session = self.target.open(Purpose::Read).await.expect("connects");
        let collection = self.prepared.named(&changes[0].namespace.collection).expect("mapped");
        let mapped = &self.prepared.all().collections()[collection];
        let document = |change: &Change| mapped.map(change.document.as_ref().expect("a document")).expect("rows");
        let expected = changes.iter().map(document).collect::<Vec<_>>();
        let keys = changes.iter().map(|change| change.key.clone()).collect::<Vec<_>>();
        let reader = TargetReader::begin(&session, &self.prepared).await.expect("begins");
        let found = reader.compare(collection, &keys, &expected).await.expect("compares");
        let missing = found.values().filter(|difference| difference.missing).map(|_| "missing".to_owned());
        missing.chain(found.values().flat_map(|difference| difference.columns.clone())).collect()
    }

    /// Returns a batch of changes that do not move positions, like parked ones.
    pub(crate) fn parked(&self, changes: &[Change]) -> Batch {
        let record = |(offset, change): (usize, &Change)| {
            let envelope::Encoded { key, value, headers, .. } = envelope::encode(change, "t");
            let (topic, offset) =
                (Arc::from(format!("{:?}", change.key.as_bytes())), i64::try_from(offset).expect("few"));
            Fetched { topic, partition: 0, offset, timestamp_ms: 0, key: Some(key), value, headers }
        };
        let records = changes.iter().enumerate().map(record).collect();
        sink::plan::plan(Vec::new(), records, self.prepared.all()).expect("a batch")
    }

    /// Opens a session in a transaction that holds the locks of the statement.
    pub(crate) async fn hold(&self, sql: &str) -> tokio_postgres::Client {
        let client = self.database.client().await;
        client.batch_execute(&format!("BEGIN; {sql}")).await.expect("locks");
        client
    }

    /// Waits until that many sessions of this database wait for a lock.
    pub(crate) async fn blocked(&self, sessions: usize) {
        let sql = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        wait::until(format!("{sessions} sessions wait"), DEADLINE, async || {
            let waiting = self.rows(sql).await.len();
            wait::holds(waiting >= sessions, waiting)
        })
        .await;
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.database.client().await.batch_execute(sql).await.expect("ok");
    }

    pub(crate) async fn letters(&self) -> Vec<String> {
        self.rows("SELECT reason, state, attempts FROM driftless.dead_letter ORDER BY id").await
    }

    pub(crate) async fn end(self) {
        drop(self.session);
        self.database.drop().await;
    }
}

/// Returns the records of changes, from an offset on.
pub(crate) fn records(changes: &[Change], from: i64) -> Vec<Fetched> {
    changes.iter().zip(from..).map(|(change, offset)| record(envelope::encode(change, "t"), offset)).collect()
}

fn record(encoded: envelope::Encoded, offset: i64) -> Fetched {
    let mut headers = encoded.headers;
    if headers.get(envelope::header::PUBLISHER).is_none() {
        headers.push(envelope::header::PUBLISHER, b"1");
    }
    Fetched {
        topic: Arc::from(TOPIC),
        partition: 0,
        offset,
        timestamp_ms: 1_700_000_000_000,
        key: Some(encoded.key),
        value: encoded.value,
        headers,
    }
}

/// Returns the sink's configuration for a database.
pub(crate) fn sink_config(database: &Database) -> SinkConfig {
    serde_json::from_value(serde_json::json!({ "url": database.url() })).expect("a configuration")
}

/// Returns the only partition of the log.
pub(crate) fn partition() -> TopicPartition {
    TopicPartition { topic: Arc::from(TOPIC), partition: 0 }
}

/// Returns a change of a document at a time; no document means a delete.
pub(crate) fn change(collection: &str, id: i32, t: u32, document: Option<RawDocumentBuf>) -> Change {
    let id = rawdoc! { "_id": id };
    let time = ClusterTime { t, i: 1 };
    Change {
        namespace: Namespace::new("shop", collection),
        key: Key::from_id(&id).expect("a key"),
        version: Version { epoch: 1, time, op: 0 },
        op: if document.is_some() { Op::Replace } else { Op::Delete },
        document,
        upper: time,
        wall_ms: i64::from(t) * 1000,
        update_description: None,
        collection_uuid: None,
        replaces: None,
        id,
    }
}

/// Returns a change of a user.
pub(crate) fn user(id: i32, t: u32, email: &str) -> Change {
    change("users", id, t, Some(rawdoc! { "_id": id, "email": email, "name": "n" }))
}

/// Returns a change of a plan with milestones `(_id, title)`.
pub(crate) fn plan(id: i32, t: u32, owner: Option<i32>, milestones: &[(i32, &str)]) -> Change {
    let mut array = bson::RawArrayBuf::new();
    for (id, title) in milestones {
        array.push(rawdoc! { "_id": *id, "title": *title });
    }
    let mut document = rawdoc! { "_id": id, "title": "p", "milestones": array };
    if let Some(owner) = owner {
        document.append(bson::raw::cstr!("owner"), owner);
    }
    change("plans", id, t, Some(document))
}

/// Searches the tables of a collection whose source has no document; returns the rows that belong to no document as `table {key}`, and the documents that have
/// rows although the ledger does not have them as `gone _id`.
pub(crate) async fn extra_rows(session: &Session, prepared: &Prepared, collection: usize) -> Vec<String> {
    let plan = &prepared.all().collections()[collection];
    let (mut found, mut position) = (Vec::new(), None);
    let mut search = RowSearch::new(plan, None, Vec::new());
    while !search.has_ended() {
        // Another search can go on at every position.
        let now = search.position();
        if now != position {
            search = RowSearch::new(plan, now.as_deref(), Vec::new());
            position = now;
        }
        let reader = TargetReader::begin(session, prepared).await.expect("begins");
        let page = match search.awaits() {
            Some(_) => reader.hold_against(collection, &mut search, &[], None).await,
            None => reader.search_rows(collection, &mut search).await,
        };
        let page = page.expect("searches");
        reader.end().await.expect("ends");
        assert_eq!(page.undecided, 0);
        found.extend(page.extra.iter().map(|row| format!("{} {}", row.table, row.row_key)));
        let id = |document: &DocumentId| {
            let id = document.id.as_ref().expect("an _id").get("_id").expect("well-formed").expect("an _id");
            format!("gone {id:?}")
        };
        found.extend(page.gone.iter().chain(&page.unrecorded).map(id));
    }
    found
}

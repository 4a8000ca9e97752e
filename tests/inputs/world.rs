//! The one migration that all tests share: started by the first test, removed by the last.
//!
//! The tests run on threads of their own and share a runtime, because a connection lives only as long as the runtime that made
//! it. The daemon cannot outlive this process: a shell waits on a pipe that closes with the process, and then stops the daemon.
//! A run that was interrupted, failed or filtered leaves its state behind; the next run removes it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bson::{
    Document, doc,
    raw::{RawBson, RawDocumentBuf},
    rawdoc,
};
use driftless::{
    log::{Record as Decoded, envelope, topic_name},
    model::{Change, ClusterTime, Key, Namespace, Op, Version},
};
use driftless_testing::{
    DEADLINE,
    daemon::Daemon,
    migration::Migration,
    stack::Stack,
    topic::{self, Record},
    wait,
};
use tokio::runtime::Runtime;

use crate::{bytes, table};

const SCHEMA: &str = include_str!("schema.sql");
const MAPPING: &str = include_str!("mapping.toml");
const NAME: &str = "inputs";
/// A collection whose topic name would be longer than Kafka allows.
pub(crate) const LONG: &str = "ääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää/long";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("start a runtime"));
static WORLD: Mutex<Option<Arc<World>>> = Mutex::new(None);
static ENDED: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicUsize = AtomicUsize::new(0);

/// Runs a test in the shared world.
pub(crate) fn run(test: impl AsyncFnOnce(&World)) {
    let visit = Visit { world: Some(World::shared()) };
    if let Some(world) = &visit.world {
        RUNTIME.block_on(test(world));
    }
}

/// Runs a test that has its own world.
pub(crate) fn run_alone(test: impl Future<Output = ()>) {
    let _visit = Visit { world: None };
    RUNTIME.block_on(test);
}

/// One test's use of the world; the last test to end shuts the world down.
struct Visit {
    world: Option<Arc<World>>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        drop(self.world.take());
        FAILED.fetch_add(usize::from(std::thread::panicking()), Ordering::SeqCst);
        if ENDED.fetch_add(1, Ordering::SeqCst) + 1 < table::tests().len() {
            return;
        }
        let world = WORLD.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(world) = world.and_then(Arc::into_inner)
            && FAILED.load(Ordering::SeqCst) == 0
        {
            RUNTIME.block_on(world.finish());
        }
    }
}

/// Stops the daemon when this process ends, however it ends.
struct Reaper(Child);

impl Reaper {
    fn of(daemon: &Daemon) -> Self {
        let script = format!("cat >/dev/null; kill -s TERM {}", daemon.pid());
        let shell = Command::new("sh").arg("-c").arg(script).stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
        Self(shell.expect("start sh"))
    }

    fn dismiss(mut self) {
        self.0.kill().expect("end the shell that waits");
        self.0.wait().expect("wait for the shell");
    }
}

/// Source, log, target, and the daemon between them.
pub(crate) struct World {
    pub(crate) migration: Migration,
    pub(crate) daemon: Daemon,
    reaper: Reaper,
}

impl World {
    fn shared() -> Arc<Self> {
        // No other test retries a failed start: the first failure reports the reason.
        let mut world = WORLD.lock().expect("the shared daemon has started");
        world.get_or_insert_with(|| Arc::new(RUNTIME.block_on(Self::start()))).clone()
    }

    async fn start() -> Self {
        let stack = Stack::shared().await;
        sweep(stack).await;
        let mut migration = Migration::new(stack, stack.mongo_uri(), NAME, SCHEMA, MAPPING).await;
        migration.set("log", "partitions", 2);
        // Half of these inputs become dead letters, as they should.
        migration.set("sink", "breaker_dead_letters", 1_000_000);
        // The target judges references and triggers; a waiting document is given up after 1 + 2 + 3 seconds.
        migration.set("sink", "constraints", "enforce");
        migration.set("sink", "parked_attempts", 4);
        collections(&migration).await;
        let daemon = migration.daemon_with(&["source", "sink"]);
        let reaper = Reaper::of(&daemon);
        daemon.wait_for("the snapshot is there", DEADLINE, |status| status.snapshot_complete()).await;
        Self { migration, daemon, reaper }
    }

    async fn finish(self) {
        let Self { migration, daemon, reaper } = self;
        reaper.dismiss();
        assert!(!daemon.log().contains("panicked"), "a task of the daemon panicked");
        daemon.stop(0).await;
        migration.finish().await;
    }

    /// Runs a command of MongoDB, which must succeed.
    pub(crate) async fn command(&self, command: RawDocumentBuf) -> Document {
        let reply = self.reply(command).await;
        assert_eq!(reply.get("writeErrors"), None, "MongoDB takes the write");
        reply
    }

    async fn reply(&self, command: RawDocumentBuf) -> Document {
        self.migration.source.run_raw_command(command).await.expect("MongoDB takes the command")
    }

    /// Writes a document that MongoDB must refuse; returns the error code.
    pub(crate) async fn refused(&self, collection: &str, document: RawDocumentBuf) -> i32 {
        let reply = self.reply(rawdoc! { "insert": collection, "documents": [document] }).await;
        let errors = reply.get_array("writeErrors").expect("MongoDB refuses the document");
        errors[0].as_document().and_then(|error| error.get_i32("code").ok()).expect("a code")
    }

    /// Writes a document into MongoDB; its `_id` is the text of its row's key.
    pub(crate) async fn insert(&self, collection: &str, document: RawDocumentBuf) -> Doc<'_> {
        let id = document.get_str("_id").expect("a text").to_owned();
        self.insert_as(collection, &id, document).await
    }

    /// Writes a document into MongoDB; `row` is the text of its row's key.
    pub(crate) async fn insert_as(&self, collection: &str, row: &str, document: RawDocumentBuf) -> Doc<'_> {
        let doc = self.doc(collection, row, document.clone());
        self.command(rawdoc! { "insert": collection, "documents": [document] }).await;
        doc
    }

    /// Returns a document that is not written yet.
    pub(crate) fn doc(&self, collection: &str, row: &str, document: RawDocumentBuf) -> Doc<'_> {
        let key = Key::from_id(&bytes::id_of(&document)).expect("a key");
        Doc { world: self, collection: collection.to_owned(), row: row.to_owned(), key, document, after: Vec::new() }
    }

    /// Writes each value into its column of `typed`; each must become that text, or a dead letter for that reason.
    pub(crate) async fn typed(&self, number: &str, cases: &[(&str, RawBson, Result<&str, &str>)]) {
        let documents = cases.iter().enumerate().map(|(at, (column, value, _))| {
            let mut document = rawdoc! { "_id": format!("{number} {at} {column}") };
            document.append(bson::raw::CString::try_from(*column).expect("a name"), value.clone());
            document
        });
        let expected = cases.iter().map(|(column, _, expected)| (*column, *expected));
        self.outcomes(documents.zip(expected).collect()).await;
    }

    /// Writes documents into `typed`, and checks the outcome of one column of each.
    pub(crate) async fn outcomes(&self, cases: Vec<(RawDocumentBuf, Expected<'_>)>) {
        let mut written = Vec::new();
        for (document, expected) in cases {
            written.push((self.insert("typed", document).await, expected));
        }
        for (mut doc, (column, expected)) in written {
            match expected {
                Err(reason) => drop(doc.is_dead(reason).await),
                Ok(json) if ["j", "js"].contains(&column) => doc.is_json(column, json).await,
                Ok(text) => doc.is(column, text).await,
            }
        }
    }

    /// Returns a change of a document as the source would report it, at cluster time `t.1`.
    pub(crate) fn change(&self, collection: &str, op: Op, t: u32, id: RawDocumentBuf) -> Change {
        let time = ClusterTime { t, i: 1 };
        Change {
            namespace: Namespace::new(&self.migration.name, collection),
            key: Key::from_id(&id).expect("a key"),
            document: None,
            id,
            version: Version { epoch: 1, time, op: 0 },
            op,
            upper: time,
            wall_ms: time.unix_ms(),
            update_description: None,
            collection_uuid: None,
            replaces: None,
        }
    }

    /// Returns an insert of a document as the source would report it.
    pub(crate) fn insertion(&self, collection: &str, t: u32, document: RawDocumentBuf) -> Change {
        let change = self.change(collection, Op::Insert, t, bytes::id_of(&document));
        Change { document: Some(document), ..change }
    }

    /// Returns the record of a change as the source would write it. No publisher counts it.
    pub(crate) fn record(&self, change: &Change) -> Record {
        let encoded = envelope::encode(change, &self.migration.name);
        Record {
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: Some(encoded.key),
            value: encoded.value,
            headers: encoded.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        }
    }

    /// Appends a record to a collection's topic.
    pub(crate) async fn append(&self, collection: &str, record: Record) {
        topic::append(self.migration.stack.kafka(), &self.topic(collection), vec![record]).await;
    }

    /// Appends a record that must become a dead letter of its own, unread and unchanged; returns the letter's detail.
    pub(crate) async fn unreadable(&self, collection: &str, record: Record, reason: &str) -> String {
        self.append(collection, record.clone()).await;
        let query = "SELECT reason, state, detail, headers, key FROM driftless.dead_letter WHERE topic = $1 \
                     AND record_key IS NOT DISTINCT FROM $2 AND value IS NOT DISTINCT FROM $3";
        let topic = self.topic(collection);
        let row = wait::until("the record is a dead letter", DEADLINE, async || {
            let found = self.migration.target.query_opt(query, &[&topic, &record.key, &record.value]).await;
            found.expect("read the dead letters").ok_or("none")
        })
        .await;
        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), (reason, "open"));
        assert_eq!(headers(&row.get(3)), record.headers, "the headers survive");
        assert_eq!(row.get::<_, Option<&[u8]>>(4), None, "it is nobody's change");
        row.get(2)
    }

    /// Returns the topic of a collection.
    pub(crate) fn topic(&self, collection: &str) -> String {
        let Migration { name, .. } = &self.migration;
        topic_name(name, &Namespace::new(name, collection))
    }

    /// Runs `driftless check` with another mapping over the same servers; it must find faults. Returns them as JSON.
    pub(crate) async fn check(&self, mapping: &str) -> String {
        let number = ENDED.load(Ordering::SeqCst);
        let path = self.migration.mapping().with_file_name(format!("mapping-{number}-{}.toml", mapping.len()));
        std::fs::write(&path, mapping).expect("write the mapping");
        let config = self.migration.mapping().with_file_name("driftless.toml");
        let text = std::fs::read_to_string(config).expect("read the configuration");
        let mut config: toml::Table = text.parse().expect("TOML");
        config.insert("mapping".to_owned(), path.to_str().expect("a path in UTF-8").into());
        let config_path = path.with_extension("config.toml");
        std::fs::write(&config_path, config.to_string()).expect("write the configuration");
        let run =
            driftless_testing::daemon::program().arg("--config").arg(&config_path).args(["check", "--json"]).output();
        let output = run.await.expect("start driftless");
        assert_eq!(output.status.code(), Some(2), "check finds faults: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// A column, and its expected text or the reason of the dead letter.
pub(crate) type Expected<'t> = (&'t str, Result<&'t str, &'t str>);

/// One document and its expected state.
pub(crate) struct Doc<'w> {
    world: &'w World,
    collection: String,
    /// Text of its row's key.
    row: String,
    key: Key,
    /// The document as it was last written.
    pub(crate) document: RawDocumentBuf,
    /// Version that the test has seen already.
    after: Vec<u8>,
}

/// Ledger entry of a document.
const LEDGER: &str = "SELECT l.version, l.deleted FROM driftless.ledger AS l \
                      JOIN driftless.collection AS c ON c.id = l.collection WHERE c.name = $1 AND l.key = $2";
const LETTER: &str = "SELECT d.reason, d.state, d.detail, d.record_key, d.value, d.headers \
                      FROM driftless.dead_letter AS d JOIN driftless.collection AS c ON c.id = d.collection \
                      WHERE c.name = $1 AND d.key = $2 ORDER BY d.version DESC, d.id DESC LIMIT 1";

impl Doc<'_> {
    /// Writes the document to the log as an insert at cluster time `t.1`.
    pub(crate) async fn append(&self, t: u32) {
        let change = self.world.insertion(&self.collection, t, self.document.clone());
        self.world.append(&self.collection, self.world.record(&change)).await;
    }

    /// Waits until a version is applied that the test has not seen; returns whether that is a tombstone.
    pub(crate) async fn settle(&self) -> bool {
        let (_, deleted) = self.newer().await;
        deleted
    }

    async fn newer(&self) -> (Vec<u8>, bool) {
        wait::until(format!("{} {:?} is settled", self.collection, self.row), DEADLINE, async || {
            let found = self.world.migration.target.query_opt(LEDGER, &[&self.collection, &self.key.as_bytes()]).await;
            match found.expect("read the ledger") {
                Some(row) if row.get::<_, Vec<u8>>(0) > self.after => Ok((row.get(0), row.get(1))),
                found => {
                    let halted = self.world.daemon.log().contains("halted: a person must act");
                    assert!(!halted, "the daemon has halted");
                    Err(if found.is_some() { "the version is the old one" } else { "the ledger does not know it" })
                }
            }
        })
        .await
    }

    /// Marks the current version as seen: from now on only a newer one counts.
    pub(crate) async fn remember(&mut self) {
        self.after = self.newer().await.0;
    }

    /// Updates the document in MongoDB.
    pub(crate) async fn update(&mut self, update: RawDocumentBuf) {
        self.remember().await;
        let id = bytes::id_of(&self.document);
        let one = rawdoc! { "q": id, "u": update };
        self.world.command(rawdoc! { "update": self.collection.as_str(), "updates": [one] }).await;
    }

    /// Replaces the document in MongoDB.
    pub(crate) async fn replace(&mut self, document: RawDocumentBuf) {
        self.update(document.clone()).await;
        self.document = document;
    }

    /// Deletes the document in MongoDB.
    pub(crate) async fn delete(&mut self) {
        self.remember().await;
        let one = rawdoc! { "q": bytes::id_of(&self.document), "limit": 1 };
        self.world.command(rawdoc! { "delete": self.collection.as_str(), "deletes": [one] }).await;
    }

    /// Waits until the document is applied; an expression over its row must have this text.
    pub(crate) async fn is(&mut self, expression: &str, expected: &str) {
        let found = self.value(expression).await;
        assert_eq!(found.as_deref(), Some(expected), "{} {:?}: {expression}", self.collection, self.row);
    }

    /// Waits until the document is applied; an expression over its row must be NULL.
    pub(crate) async fn is_null(&mut self, expression: &str) {
        assert_eq!(self.value(expression).await, None, "{} {:?}: {expression}", self.collection, self.row);
    }

    /// Waits until the document is applied; a column must hold this JSON.
    pub(crate) async fn is_json(&mut self, column: &str, expected: &str) {
        let canonical = self.world.migration.target.query_one("SELECT $1::text::jsonb::text", &[&expected]).await;
        self.is(&format!("({column})::jsonb"), canonical.expect("the expectation is JSON").get(0)).await;
    }

    /// Waits until the document is applied; returns the text of an expression over its row.
    pub(crate) async fn value(&mut self, expression: &str) -> Option<String> {
        self.newer().await;
        if let Some(letter) = self.letter().await
            && ["open", "parked"].contains(&letter.state.as_str())
        {
            panic!("{} {:?} is a dead letter: {} {}", self.collection, self.row, letter.reason, letter.detail);
        }
        self.stored(expression).await.unwrap_or_else(|| panic!("{} {:?} has no row", self.collection, self.row))
    }

    /// Returns the text of an expression over its row as it is now; the outer `None` means that there is no row.
    pub(crate) async fn stored(&self, expression: &str) -> Option<Option<String>> {
        let expression = shown(expression);
        let table = if self.collection == LONG { "long" } else { &self.collection };
        let query = format!("SELECT ({expression})::text FROM \"{table}\" WHERE id::text = $1");
        let found = self.world.migration.target.query_opt(&query, &[&self.row]).await;
        found.unwrap_or_else(|error| panic!("{query}: {error}")).map(|row| row.get(0))
    }

    /// Waits until the document is applied; it must have no row any more.
    pub(crate) async fn is_gone(&mut self) {
        assert!(self.settle().await, "{} {:?} is a tombstone", self.collection, self.row);
        assert_eq!(self.stored("id").await, None, "{} {:?} has no row", self.collection, self.row);
    }

    /// Checks that the document is an open dead letter for this reason, which keeps its bytes. Returns the letter's detail.
    pub(crate) async fn is_dead(&mut self, reason: &str) -> String {
        self.newer().await;
        let Some(mut letter) = self.letter().await else {
            let row = self.stored("id").await;
            panic!("{} {:?} is no dead letter; its row is {row:?}", self.collection, self.row)
        };
        if letter.state == "parked" {
            letter = wait::until("what waits gives up", DEADLINE, async || {
                let letter = self.letter().await.ok_or("it is gone")?;
                if letter.state == "parked" { Err("it is parked") } else { Ok(letter) }
            })
            .await;
        }
        let found = (letter.reason.as_str(), letter.state.as_str());
        assert_eq!(found, (reason, "open"), "{} {:?}: {}", self.collection, self.row, letter.detail);
        let decoded = envelope::decode(
            letter.record_key.as_deref(),
            letter.value.as_deref(),
            &letter.headers.iter().cloned().collect(),
        );
        let Ok(Decoded::Change(change)) = decoded else { panic!("the dead letter holds a change: {decoded:?}") };
        let survived = change.document.expect("a document");
        assert!(survived.as_bytes() == self.document.as_bytes(), "{:?}: every byte survives", self.row);
        letter.detail
    }

    /// Waits until the document is applied, possibly after it waited for another one; an expression over its row must have this
    /// text.
    pub(crate) async fn comes_after_waiting(&mut self, expression: &str, expected: &str) {
        self.newer().await;
        wait::until(format!("{} {:?} waits no more", self.collection, self.row), DEADLINE, async || {
            let state = self.letter_state().await.filter(|state| ["open", "parked"].contains(&state.as_str()));
            state.map_or(Ok(()), Err)
        })
        .await;
        self.is(expression, expected).await;
    }

    /// Returns the state of the document's newest dead letter; `None` if it never had one.
    pub(crate) async fn letter_state(&self) -> Option<String> {
        self.letter().await.map(|letter| letter.state)
    }

    async fn letter(&self) -> Option<Letter> {
        let found = self.world.migration.target.query_opt(LETTER, &[&self.collection, &self.key.as_bytes()]).await;
        found.expect("read the dead letters").map(|row| Letter {
            reason: row.get(0),
            state: row.get(1),
            detail: row.get(2),
            record_key: row.get(3),
            value: row.get(4),
            headers: headers(&row.get(5)),
        })
    }
}

struct Letter {
    reason: String,
    state: String,
    detail: String,
    record_key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
}

/// Returns the SQL that reads a column without rounding: floats by their bits, instants by their microseconds.
fn shown(expression: &str) -> String {
    match expression {
        "f4" => "encode(float4send(f4), 'hex')".to_owned(),
        "f8" => "encode(float8send(f8), 'hex')".to_owned(),
        "tz" | "tz0" | "ts" | "tz0_round" | "tz_seconds" => {
            format!("trim_scale(extract(epoch FROM {expression}) * 1000000)")
        }
        "bytes" => "encode(bytes, 'hex')".to_owned(),
        other => other.to_owned(),
    }
}

fn headers(json: &serde_json::Value) -> Vec<(String, Vec<u8>)> {
    let pairs: Vec<(String, String)> = serde_json::from_value(json.clone()).expect("pairs of texts");
    pairs.into_iter().map(|(name, value)| (name, BASE64_STANDARD.decode(value).expect("base64"))).collect()
}

/// Creates the collections that MongoDB would not create like this by itself.
async fn collections(migration: &Migration) {
    let folded = doc! { "locale": "en", "strength": 2 };
    let commands = [
        doc! { "create": "folded", "collation": folded },
        doc! { "create": "imaged", "changeStreamPreAndPostImages": { "enabled": true } },
    ];
    for command in commands {
        migration.source.run_command(command).await.expect("create a collection");
    }
}

/// Removes the leftovers of runs whose process has ended.
async fn sweep(stack: &Stack) {
    let prefix = format!("law_{NAME}");
    let dead = |name: &str| {
        let pid = name.starts_with(&prefix).then(|| name.rsplit('_').next()).flatten();
        pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
    };
    let mongo = mongodb::Client::with_uri_str(stack.mongo_uri()).await.expect("the address of MongoDB is well-formed");
    for name in mongo.list_database_names().await.expect("list the databases").iter().filter(|name| dead(name)) {
        mongo.database(name).drop().await.expect("drop a source database");
        topic::remove(stack.kafka(), &format!("{name}.")).await;
    }
    let (admin, connection) =
        tokio_postgres::connect(stack.value("POSTGRES_URL"), tokio_postgres::NoTls).await.expect("connect");
    tokio::spawn(connection);
    let names = admin.query("SELECT datname FROM pg_database", &[]).await.expect("list the databases");
    for name in names.iter().map(|row| row.get::<_, String>(0)).filter(|name| dead(name)) {
        admin.execute(&format!("DROP DATABASE {name} WITH (FORCE)"), &[]).await.expect("drop a target database");
    }
}

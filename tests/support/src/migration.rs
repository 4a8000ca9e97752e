//! One migration of a test: its databases, topics and configuration, and queries to both sides.

use std::{
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mongodb::bson::{Document, doc};
use tokio::{process::Command, time::timeout};
use tokio_postgres::Client;

use crate::{
    daemon::{Daemon, program},
    drill,
    port::Port,
    postgres::{connect, try_connect},
    stack::{Stack, profile, root},
    status::{ClusterTime, Status},
    topic, wait,
};

/// Longest time a command of the CLI may take; the long versions of tests let them work on more documents.
const COMMAND: Duration = Duration::from_secs(60);
const LONG_COMMAND: Duration = Duration::from_secs(900);

/// Everything that belongs to one test.
pub struct Migration {
    /// The servers.
    pub stack: &'static Stack,
    /// Name of the MongoDB database, the PostgreSQL database and the prefix of the topics.
    pub name: String,
    /// A client of the source.
    pub mongo: mongodb::Client,
    /// The source database.
    pub source: mongodb::Database,
    /// A connection to the target.
    pub target: Client,
    folder: PathBuf,
    config: toml::Table,
    failpoints: String,
    daemons: AtomicU32,
}

impl Migration {
    /// Prepares the demo application on the shared servers, without documents.
    pub async fn demo(test: &str) -> Self {
        Self::demo_on(Stack::shared().await, test).await
    }

    /// Prepares the demo application on other servers.
    pub async fn demo_on(stack: &'static Stack, test: &str) -> Self {
        Self::demo_from(stack, stack.mongo_uri(), test).await
    }

    /// Prepares the demo application on other servers, with its documents in the MongoDB of this address.
    pub async fn demo_from(stack: &'static Stack, uri: &str, test: &str) -> Self {
        let demo = root().join("config/demo");
        let read = |file: &str| std::fs::read_to_string(demo.join(file)).expect("read the demo's files");
        Self::new(stack, uri, test, &read("schema.sql"), &read("mapping.toml")).await
    }

    /// Prepares another application.
    pub async fn new(stack: &'static Stack, uri: &str, test: &str, schema: &str, mapping: &str) -> Self {
        let name = format!("law_{test}_{}", std::process::id());
        let folder = profile().with_file_name("tmp").join("laws").join(&name);
        std::fs::create_dir_all(&folder).expect("make the folder of the test");
        std::fs::write(folder.join("mapping.toml"), mapping).expect("write the mapping");
        let mongo = mongodb::Client::with_uri_str(uri).await.expect("the address of MongoDB is well-formed");
        let source = mongo.database(&name);
        clear(stack, &name, &source).await;
        let target = connect(&stack.postgres_url(&name)).await;
        target.batch_execute(schema).await.expect("make the tables of the application");
        let config = config(stack, uri, &name);
        Self {
            stack,
            name,
            mongo,
            source,
            target,
            folder,
            config,
            failpoints: String::new(),
            daemons: AtomicU32::new(0),
        }
    }

    /// Sets `section.key` for daemons that are started from now on.
    pub fn set(&mut self, section: &str, key: &str, value: impl Into<toml::Value>) {
        let section = self.config.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        section.as_table_mut().expect("a section of the file").insert(key.to_owned(), value.into());
    }

    /// Returns what was set under `section.key`.
    pub fn get(&self, section: &str, key: &str) -> Option<&toml::Value> {
        self.config.get(section)?.get(key)
    }

    /// Sets the actions at failpoints for daemons and commands that are started from now on.
    pub fn set_failpoints(&mut self, failpoints: impl Into<String>) {
        self.failpoints = failpoints.into();
    }

    /// Starts a daemon with every role.
    pub fn daemon(&self) -> Daemon {
        self.daemon_with(&[])
    }

    /// Starts a daemon with these roles.
    pub fn daemon_with(&self, roles: &[&str]) -> Daemon {
        Daemon::start(self.program(), self.next_log(), roles)
    }

    /// Starts a daemon with every role and its pages on this port, as one that is started again has them.
    pub fn daemon_at(&self, port: Arc<Port>) -> Daemon {
        Daemon::start_at(port, self.program(), self.next_log(), &[])
    }

    /// Starts a daemon of a replay into a schema, with this mapping.
    pub fn daemon_into(&self, schema: &str, mapping: &Path) -> Daemon {
        Daemon::start(self.program_into(schema, mapping), self.next_log(), &[])
    }

    fn program_into(&self, schema: &str, mapping: &Path) -> Command {
        let mut command = self.program();
        command.env("DRIFTLESS__SINK__INTO", schema).env("DRIFTLESS__MAPPING", mapping);
        command
    }

    fn next_log(&self) -> PathBuf {
        let number = self.daemons.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("daemon-{number}.log"))
    }

    /// Runs `driftless` with these arguments until it ends.
    pub async fn command(&self, arguments: &[&str]) -> Output {
        Self::output(self.program(), arguments).await
    }

    /// Runs it for a replay into a schema, with this mapping.
    pub async fn command_into(&self, schema: &str, mapping: &Path, arguments: &[&str]) -> Output {
        Self::output(self.program_into(schema, mapping), arguments).await
    }

    async fn output(mut command: Command, arguments: &[&str]) -> Output {
        command.args(arguments).kill_on_drop(true);
        let longest = if drill() { LONG_COMMAND } else { COMMAND };
        let output = timeout(longest, command.output()).await;
        output.unwrap_or_else(|_| panic!("{arguments:?} takes longer than {longest:?}")).expect("start driftless")
    }

    /// Runs `driftless` with these arguments, which must succeed; returns its standard output.
    pub async fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).await;
        let [told, complained] =
            [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(output.status.success(), "driftless {arguments:?}: {} {told} {complained}", output.status);
        told
    }

    /// Replays a collection from its first record.
    pub async fn replay(&self, collection: &str) {
        self.succeed(&["replay", "--collection", collection, "--to-earliest", "--execute", "--why", "a test"]).await;
    }

    fn program(&self) -> Command {
        let mut command = program();
        command.arg("--config").arg(self.write_config()).env("FAILPOINTS", &self.failpoints);
        command
    }

    fn write_config(&self) -> PathBuf {
        let path = self.folder.join("driftless.toml");
        let text = toml::to_string(&self.config).expect("the configuration can be written as TOML");
        // Written in one step, because another daemon may be reading it.
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text).expect("write the configuration");
        std::fs::rename(&fresh, &path).expect("put the configuration in its place");
        path
    }

    /// Puts another mapping in place and lets the migration go on with it, as an operator does; returns the output.
    pub async fn remap(&self, mapping: &str) -> String {
        std::fs::write(self.mapping(), mapping).expect("write the mapping");
        self.succeed(&["mapping", "apply", "--execute", "--why", "a test"]).await
    }

    /// Returns the path of the mapping file that its daemons read.
    pub fn mapping(&self) -> PathBuf {
        self.folder.join("mapping.toml")
    }

    /// Writes a file beside the configuration, and returns its path.
    pub fn write_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("write a file of the test");
        path
    }

    /// Returns a collection of the source.
    pub fn collection(&self, name: &str) -> mongodb::Collection<Document> {
        self.source.collection(name)
    }

    /// Returns the topic of a collection.
    pub fn topic(&self, collection: &str) -> String {
        format!("{0}.{0}.{collection}", self.name)
    }

    /// Opens another connection to the target.
    pub async fn connect(&self) -> Client {
        self.try_connect().await.expect("connect to PostgreSQL")
    }

    /// Opens another connection to the target, which may be unreachable.
    pub async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        try_connect(&self.stack.postgres_url(&self.name)).await
    }

    /// Returns one number from the target.
    pub async fn number(&self, query: &str) -> i64 {
        self.target.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error}")).get(0)
    }

    /// Returns the first column of every row, as text.
    pub async fn texts(&self, query: &str) -> Vec<Option<String>> {
        let rows = self.target.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Waits until the query returns this number.
    pub async fn wait_for_number(&self, query: &str, within: Duration, wanted: i64) {
        wait::until(format!("{query} gives {wanted}"), within, async || {
            let seen = self.number(query).await;
            wait::holds(seen == wanted, seen)
        })
        .await;
    }

    /// Waits until everything written so far is applied, according to the daemon's own status.
    pub async fn quiesce(&self, daemon: &Daemon, within: Duration) -> Status {
        let written = self.last_write().await;
        // A parked document waits for another one and is not applied yet, even if the watermark has passed it.
        let settled = |status: &Status| status.snapshot_complete() && status.passed(written) && status.parked() == 0;
        daemon.wait_for("everything written is applied", within, settled).await
    }

    /// Returns the cluster time of the last write. It then writes a note to the oplog, so that a quiet source has an entry
    /// behind that write. (An idle source moves its cluster time only every ten seconds.)
    async fn last_write(&self) -> ClusterTime {
        let admin = self.mongo.database("admin");
        let answer = admin.run_command(doc! { "ping": 1 }).await.expect("ask MongoDB for its cluster time");
        let time = answer.get_timestamp("operationTime").expect("a replica set tells its cluster time");
        let note = doc! { "appendOplogNote": 1, "data": { "test": &self.name } };
        admin.run_command(note).await.expect("write a note into the oplog");
        ClusterTime { t: time.time, i: time.increment }
    }

    /// Returns every committed record of a collection's topic.
    pub async fn records(&self, collection: &str) -> Vec<topic::Record> {
        topic::records(self.stack.kafka(), &self.topic(collection)).await
    }

    /// Removes everything of a test that passed; a failed test leaves all of it for inspection.
    pub async fn finish(self) {
        clear(self.stack, &self.name, &self.source).await;
        let Self { stack, name, mongo, target, folder, .. } = self;
        mongo.shutdown().immediate(true).await;
        drop(target);
        drop_database(stack, &name).await;
        std::fs::remove_dir_all(folder).expect("remove the folder of the test");
    }
}

/// Creates an empty PostgreSQL database; removes the MongoDB database and the topics.
async fn clear(stack: &Stack, name: &str, source: &mongodb::Database) {
    source.drop().await.expect("drop the source database");
    topic::remove(stack.kafka(), &format!("{name}.")).await;
    drop_database(stack, name).await;
    let admin = connect(stack.value("POSTGRES_URL")).await;
    admin.execute(&format!("CREATE DATABASE {name}"), &[]).await.expect("create the target database");
}

async fn drop_database(stack: &Stack, name: &str) {
    let admin = connect(stack.value("POSTGRES_URL")).await;
    let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    admin.execute(&statement, &[]).await.expect("drop the target database");
}

/// Returns the configuration: small chunks and transactions, so that few documents make many of them, and short intervals, so
/// that tests are short.
fn config(stack: &Stack, uri: &str, name: &str) -> toml::Table {
    toml::toml! {
        mapping = "mapping.toml"
        grace = "20s"
        [source]
        uri = uri
        database = name
        chunk_documents = 200
        [log]
        brokers = (stack.kafka())
        prefix = name
        replication = 1
        partitions = 4
        transaction_changes = 500
        idle_frontier = "250ms"
        [sink]
        url = (stack.postgres_url(name))
        workers = 2
        [reconcile]
        baseline_every = "1s"
        sample = 200
        [http]
        [retry]
        min = "50ms"
        max = "1s"
    }
}

//! Configuration: raw structs by serde, then one check that names every fault at once.
//!
//! Tuning has a default, with its reason beside it; identity (addresses, databases, topics) has none. Every delay, queue
//! and batch of the daemon is bounded by a value on this page. Secrets come from files or the environment and print as
//! `***`.

mod load;

use std::{fmt, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

/// One fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, with the line where there is one, or the variable.
    pub place: String,
    /// The key, as `section.key`; empty when the file as a whole is at fault.
    pub key: String,
    /// What is wrong; never a secret.
    pub rule: String,
    /// What to do.
    pub hint: String,
}

impl Fault {
    fn new(key: &str, rule: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { place: String::new(), key: key.to_owned(), rule: rule.into(), hint: hint.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}\n  hint: {}", self.rule, self.hint)
    }
}

/// A connection string, which may hold a password: it prints as `***`.
#[derive(Clone, Deserialize)]
pub struct Secret(SecretString);

impl ExposeSecret<str> for Secret {
    fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The whole configuration file.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Path of the mapping file; in the file it is relative to the file's own folder.
    #[serde(default)]
    pub mapping: PathBuf,
    /// MongoDB side.
    #[serde(default = "defaults::section")]
    pub source: SourceConfig,
    /// Kafka.
    #[serde(default = "defaults::section")]
    pub log: LogConfig,
    /// PostgreSQL side.
    #[serde(default = "defaults::section")]
    pub sink: SinkConfig,
    /// Comparison of both sides.
    #[serde(default)]
    pub reconcile: ReconcileConfig,
    /// Health, metrics and status.
    #[serde(default)]
    pub http: HttpConfig,
    /// Retries of everything that may come back.
    #[serde(default)]
    pub retry: RetryConfig,
    /// Time that a stopping daemon has to finish what is open.
    #[serde(default = "defaults::grace", deserialize_with = "duration")]
    pub grace: Duration,
}

/// MongoDB side.
#[derive(Debug, Clone, Deserialize)]
pub struct SourceConfig {
    /// Connection string.
    #[serde(default)]
    pub uri: Option<Secret>,
    /// File that holds the connection string, instead of `uri`.
    #[serde(default)]
    pub uri_file: Option<PathBuf>,
    /// Database whose mapped collections are replicated.
    #[serde(default)]
    pub database: String,
    /// Epoch of the versions: raise it by one after the source was restored or replaced.
    #[serde(default = "defaults::epoch")]
    pub epoch: u32,
    /// Events a change-stream reply may hold. Measured: 2,000 to 10,000 drain fastest.
    #[serde(default = "defaults::stream_batch")]
    pub stream_batch: u32,
    /// How long the server may hold an empty reply back; also the beat of an idle stream.
    #[serde(default = "defaults::max_await", deserialize_with = "duration")]
    pub max_await: Duration,
    /// Bytes of replies that may wait to be decoded; a single reply (16 MiB at most) is always taken.
    #[serde(default = "defaults::stream_bytes")]
    pub stream_bytes: ByteSize,
    /// Documents looked up in one read. Measured: 1,000 give 2.5 times the rate of `updateLookup`.
    #[serde(default = "defaults::lookup_batch")]
    pub lookup_batch: usize,
    /// Bytes that a lookup may bring; a single document is always read.
    #[serde(default = "defaults::lookup_bytes")]
    pub lookup_bytes: ByteSize,
    /// Documents a chunk may hold.
    #[serde(default = "defaults::chunk_documents")]
    pub chunk_documents: usize,
    /// Bytes after which a chunk ends.
    #[serde(default = "defaults::chunk_bytes")]
    pub chunk_bytes: ByteSize,
    /// How long reading a snapshot chunk may take: the server keeps the instant it is read at for minutes, not for ever.
    #[serde(default = "defaults::chunk_time", deserialize_with = "duration")]
    pub chunk_time: Duration,
    /// Chunks the snapshot reads at once. One reads faster than the log takes; a second hides its waits.
    #[serde(default = "defaults::snapshot_readers")]
    pub snapshot_readers: usize,
    /// Memory of what the snapshot has read and the log does not have yet.
    #[serde(default = "defaults::snapshot_bytes")]
    pub snapshot_bytes: ByteSize,
    /// Documents a second that the snapshot may read; 0 is no limit.
    #[serde(default)]
    pub snapshot_rate: u64,
    /// Bytes a second that the snapshot may read; 0 is no limit.
    #[serde(default)]
    pub snapshot_bytes_rate: ByteSize,
    /// The snapshot reads nothing new while the stream or the sink is further behind: they come first.
    #[serde(default = "defaults::snapshot_max_lag", deserialize_with = "duration")]
    pub snapshot_max_lag: Duration,
    /// Longest wait for any single reply of the server.
    #[serde(default = "defaults::timeout", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// Kafka.
#[derive(Debug, Clone, Deserialize)]
pub struct LogConfig {
    /// `host:port`, several separated by commas.
    #[serde(default)]
    pub brokers: String,
    /// First part of every topic's name, and of the consumer groups' and the transactional id.
    #[serde(default)]
    pub prefix: String,
    /// Partitions of a new collection topic.
    #[serde(default = "defaults::partitions")]
    pub partitions: i32,
    /// Replicas of a new topic. No default: one loses data with its broker, three need three brokers.
    #[serde(default)]
    pub replication: i32,
    /// `cleanup.policy` of a collection topic: `compact` keeps the last change of each key for ever.
    #[serde(default = "defaults::cleanup_policy")]
    pub cleanup_policy: String,
    /// How the value of a change is written: `json` for every reader of Debezium's envelope, `bson` for speed.
    #[serde(default)]
    pub codec: Codec,
    /// Further librdkafka settings, for example `security.protocol`; they never override what the protocol rests on.
    #[serde(default)]
    pub client: std::collections::BTreeMap<String, String>,
    /// File with further librdkafka settings that are secret, one `key=value` a line.
    #[serde(default)]
    pub client_secrets_file: Option<PathBuf>,
    /// Changes a transaction may hold.
    #[serde(default = "defaults::transaction_changes")]
    pub transaction_changes: usize,
    /// Bytes after which a transaction is closed.
    #[serde(default = "defaults::transaction_bytes")]
    pub transaction_bytes: ByteSize,
    /// Gap left between two transactions. Brokers (Kafka 4) answer a commit about 2 ms before they are done with it, and a
    /// client that comes meanwhile rests for 20 ms. Measured on a busy machine, from one transaction of 20, 1,000 and 5,000
    /// records to the next: 39, 36 and 102 ms with gaps of 2 or 5 ms, 51, 69 and 124 ms with one of 20.
    #[serde(default = "defaults::transaction_gap", deserialize_with = "duration")]
    pub transaction_gap: Duration,
    /// How often partitions without changes hear how far the stream has come.
    #[serde(default = "defaults::idle_frontier", deserialize_with = "duration")]
    pub idle_frontier: Duration,
    /// A leader that is silent for so long loses the leadership. Brokers take no less than 6 s by default.
    #[serde(default = "defaults::session_timeout", deserialize_with = "duration")]
    pub session_timeout: Duration,
    /// Longest wait for any single answer of the brokers.
    #[serde(default = "defaults::timeout", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// How the value of a change is written to the log. Records are read by what they say themselves, whatever is set here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Debezium's envelope as JSON, the document as Extended JSON: for consoles and other consumers.
    #[default]
    Json,
    /// The same envelope as BSON: several times cheaper to write and to read.
    Bson,
}

/// PostgreSQL side.
#[derive(Debug, Clone, Deserialize)]
pub struct SinkConfig {
    /// Connection string (`postgres://…`).
    #[serde(default)]
    pub url: Option<Secret>,
    /// File that holds the connection string, instead of `url`.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// Certificate authorities for TLS, PEM, beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Workers of this process; each has one consumer and one connection.
    #[serde(default = "defaults::workers")]
    pub workers: usize,
    /// `auto` uses `replica` where the role may set `session_replication_role`, else `enforce`.
    #[serde(default)]
    pub constraints: Constraints,
    /// Changes a batch may hold. Measured: from 1,000 to 5,000 a change costs the same; memory grows with them.
    #[serde(default = "defaults::batch_changes")]
    pub batch_changes: usize,
    /// Bytes after which a batch is closed.
    #[serde(default = "defaults::batch_bytes")]
    pub batch_bytes: ByteSize,
    /// Changes that this process applies a second at most, in all its workers together; 0 is no limit.
    #[serde(default)]
    pub rate: usize,
    /// Bytes of fetched records that may wait in memory for one worker: at least a batch, so that the next one is there when
    /// it is wanted. The client library fetches a quarter of it ahead, packed.
    #[serde(default = "defaults::queue_bytes")]
    pub queue_bytes: ByteSize,
    /// Dead letters within `breaker_window` that stop the sink: a wrong mapping must not dead-letter a table.
    #[serde(default = "defaults::breaker_dead_letters")]
    pub breaker_dead_letters: usize,
    /// See `breaker_dead_letters`.
    #[serde(default = "defaults::breaker_window", deserialize_with = "duration")]
    pub breaker_window: Duration,
    /// Attempts of a parked document (its parent or its unique value is missing) before it becomes a dead letter.
    #[serde(default = "defaults::parked_attempts")]
    pub parked_attempts: u32,
    /// Bytes of parked records, in all, that stop the sink: a wrong reference must not copy a collection into the target.
    #[serde(default = "defaults::parked_bytes")]
    pub parked_bytes: ByteSize,
    /// Longest time a statement may take.
    #[serde(default = "defaults::statement_timeout", deserialize_with = "duration")]
    pub statement_timeout: Duration,
    /// How often the catalog is looked at for changes, and how often a role tries again that a fault of the target has halted.
    #[serde(default = "defaults::catalog_interval", deserialize_with = "duration")]
    pub catalog_interval: Duration,
}

/// How the target's constraints and triggers are treated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Constraints {
    /// `replica` where the role may, else `enforce`.
    #[default]
    Auto,
    /// Quiet, as in PostgreSQL's own logical replication; the reconciler proves integrity.
    Replica,
    /// Enforced; a document whose parent is missing is parked.
    Enforce,
}

/// Comparison of both sides.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct ReconcileConfig {
    /// Pause between two passes.
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    /// Random documents of each collection compared in a pass.
    pub sample: usize,
    /// Longest wait until the sink has applied what a pass read.
    #[serde(deserialize_with = "duration", alias = "settle")]
    pub wait: Duration,
    /// A proof older than this proves nothing.
    #[serde(deserialize_with = "duration")]
    pub fresh: Duration,
    /// While the target is known to be complete only as of longer ago, the verdict is unknown. A write is there within a
    /// second when all is well, and a leader that is gone is replaced within `log.session_timeout`, 6 s. The clocks of the
    /// source's leader and of PostgreSQL must agree better than this.
    #[serde(deserialize_with = "duration")]
    pub max_staleness: Duration,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            sample: 500,
            wait: Duration::from_secs(30),
            fresh: Duration::from_secs(60),
            max_staleness: Duration::from_secs(10),
        }
    }
}

/// Health, metrics and status.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct HttpConfig {
    /// Address to listen on; loopback unless said otherwise.
    pub listen: std::net::SocketAddr,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: std::net::SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

/// Retries of everything that may come back.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
pub struct RetryConfig {
    /// First delay.
    #[serde(deserialize_with = "duration")]
    pub min: Duration,
    /// Longest delay.
    #[serde(deserialize_with = "duration")]
    pub max: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { min: Duration::from_millis(100), max: Duration::from_secs(5) }
    }
}

mod defaults {
    use std::time::Duration;

    use bytesize::ByteSize;
    use serde::de::{DeserializeOwned, IntoDeserializer, value};

    /// A section that the file leaves out: all its defaults, and its missing values for the check to name.
    pub(super) fn section<T: DeserializeOwned>() -> T {
        let nothing = std::iter::empty::<(&str, &str)>();
        T::deserialize(value::MapDeserializer::<_, value::Error>::new(
            nothing.map(|(key, value)| (key, value.into_deserializer())),
        ))
        .unwrap_or_else(|error| unreachable!("every key of a section has a default: {error}"))
    }

    pub(super) fn grace() -> Duration {
        Duration::from_secs(20)
    }
    pub(super) fn epoch() -> u32 {
        1
    }
    pub(super) fn stream_batch() -> u32 {
        5_000
    }
    pub(super) fn max_await() -> Duration {
        Duration::from_millis(250)
    }
    pub(super) fn lookup_batch() -> usize {
        1_000
    }
    pub(super) fn stream_bytes() -> ByteSize {
        ByteSize::mib(8)
    }
    pub(super) fn lookup_bytes() -> ByteSize {
        ByteSize::mib(4)
    }
    pub(super) fn chunk_documents() -> usize {
        1_000
    }
    pub(super) fn chunk_bytes() -> ByteSize {
        ByteSize::mib(2)
    }
    pub(super) fn chunk_time() -> Duration {
        Duration::from_secs(1)
    }
    pub(super) fn snapshot_readers() -> usize {
        2
    }
    pub(super) fn snapshot_bytes() -> ByteSize {
        ByteSize::mib(3)
    }
    pub(super) fn snapshot_max_lag() -> Duration {
        Duration::from_secs(10)
    }
    pub(super) fn timeout() -> Duration {
        Duration::from_secs(30)
    }
    pub(super) fn partitions() -> i32 {
        4
    }
    pub(super) fn cleanup_policy() -> String {
        "compact".to_owned()
    }
    pub(super) fn transaction_changes() -> usize {
        2_000
    }
    pub(super) fn transaction_bytes() -> ByteSize {
        ByteSize::mib(2)
    }
    pub(super) fn transaction_gap() -> Duration {
        Duration::from_millis(5)
    }
    pub(super) fn idle_frontier() -> Duration {
        Duration::from_secs(1)
    }
    pub(super) fn session_timeout() -> Duration {
        Duration::from_secs(6)
    }
    pub(super) fn workers() -> usize {
        2
    }
    pub(super) fn batch_changes() -> usize {
        2_000
    }
    pub(super) fn batch_bytes() -> ByteSize {
        ByteSize::mib(3)
    }
    pub(super) fn queue_bytes() -> ByteSize {
        ByteSize::mib(3)
    }
    pub(super) fn breaker_dead_letters() -> usize {
        1_000
    }
    pub(super) fn breaker_window() -> Duration {
        Duration::from_secs(60)
    }
    pub(super) fn parked_attempts() -> u32 {
        60
    }
    pub(super) fn parked_bytes() -> ByteSize {
        ByteSize::gib(1)
    }
    pub(super) fn statement_timeout() -> Duration {
        Duration::from_secs(60)
    }
    pub(super) fn catalog_interval() -> Duration {
        Duration::from_secs(10)
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    use serde::de::Error;
    let value = serde_json::Value::deserialize(deserializer)?;
    let no_duration = || {
        D::Error::custom(format!("{value} is no duration: write a number and a unit in quotes, for example \"30s\""))
    };
    let parsed: jiff::SignedDuration = value.as_str().and_then(|text| text.parse().ok()).ok_or_else(no_duration)?;
    Duration::try_from(parsed).map_err(|_| D::Error::custom(format!("{value} is negative")))
}

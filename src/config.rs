//! Configuration: raw structs by serde, then one check that reports every fault at once.
//!
//! Tuning has defaults, with the reason beside each; identity (addresses, databases, topics) has none. The values in this file
//! bound every delay, queue and batch of the daemon. Secrets come from files or the environment and print as `***`.

mod load;
mod reads;

use std::{fmt, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

pub(crate) use self::reads::{ALL, ReadsConfig, ShadowDemand, Unit};

/// One fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, with its line if there is one, or the variable.
    pub(crate) place: String,
    /// The key, as `section.key`; empty if the file as a whole is at fault.
    pub(crate) key: String,
    /// The fault, without secrets.
    pub(crate) rule: String,
    /// The remedy.
    pub(crate) hint: String,
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
    /// Path of the mapping file, relative to the folder of the configuration file.
    #[serde(default)]
    pub(crate) mapping: PathBuf,
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
    pub(crate) reconcile: ReconcileConfig,
    /// Conditions that must hold before reads are cut over.
    #[serde(default)]
    pub(crate) cutover: CutoverConfig,
    /// Where the application reads.
    #[serde(default)]
    pub(crate) reads: ReadsConfig,
    /// Bounds of shadow reads.
    #[serde(default)]
    pub(crate) shadow: ShadowConfig,
    /// Bounds of repairs.
    #[serde(default)]
    pub repair: RepairConfig,
    /// Health, metrics and status.
    #[serde(default)]
    pub(crate) http: HttpConfig,
    /// Delays between retries.
    #[serde(default)]
    pub(crate) retry: RetryConfig,
    /// Time that a stopping daemon has to finish its open work.
    #[serde(default = "defaults::grace", deserialize_with = "duration")]
    pub(crate) grace: Duration,
    /// The settings as file and environment give them, secrets as `***`.
    #[serde(skip)]
    pub(crate) given: serde_json::Value,
}

/// MongoDB side.
#[derive(Debug, Clone, Deserialize)]
pub struct SourceConfig {
    /// Connection string.
    #[serde(default)]
    pub uri: Option<Secret>,
    /// File that holds the connection string, instead of `uri`.
    #[serde(default)]
    pub(crate) uri_file: Option<PathBuf>,
    /// Database whose mapped collections are replicated.
    #[serde(default)]
    pub database: String,
    /// Epoch of the versions: raise it by one after the source was restored or replaced.
    #[serde(default = "defaults::epoch")]
    pub epoch: u32,
    /// The most events of a change-stream reply. Measured: 2,000 to 10,000 drain fastest.
    #[serde(default = "defaults::stream_batch")]
    pub stream_batch: u32,
    /// How long the server may delay an empty reply; an idle stream polls at this interval.
    #[serde(default = "defaults::max_await", deserialize_with = "duration")]
    pub max_await: Duration,
    /// The most bytes of replies that wait to be decoded; a single reply (16 MiB at most) is always accepted.
    #[serde(default = "defaults::stream_bytes")]
    pub stream_bytes: ByteSize,
    /// The most documents of a lookup. Measured: 1,000 give 2.5 times the rate of `updateLookup`.
    #[serde(default = "defaults::lookup_batch")]
    pub lookup_batch: usize,
    /// The most bytes of a lookup; a single document is always read.
    #[serde(default = "defaults::lookup_bytes")]
    pub(crate) lookup_bytes: ByteSize,
    /// The most documents of a chunk.
    #[serde(default = "defaults::chunk_documents")]
    pub chunk_documents: usize,
    /// Bytes after which a chunk ends.
    #[serde(default = "defaults::chunk_bytes")]
    pub(crate) chunk_bytes: ByteSize,
    /// How long reading a chunk may take. The server keeps the instant of the read for a few minutes only.
    #[serde(default = "defaults::chunk_time", deserialize_with = "duration")]
    pub(crate) chunk_time: Duration,
    /// Chunks that the snapshot reads at once. One reads faster than the log accepts; a second hides the waits of the first.
    #[serde(default = "defaults::snapshot_readers")]
    pub snapshot_readers: usize,
    /// The most bytes that the snapshot has read and that are not in the log yet.
    #[serde(default = "defaults::snapshot_bytes")]
    pub snapshot_bytes: ByteSize,
    /// The most documents per second that the snapshot reads; 0 means no limit.
    #[serde(default)]
    pub(crate) snapshot_rate: u64,
    /// The most bytes per second that the snapshot reads; 0 means no limit.
    #[serde(default)]
    pub(crate) snapshot_bytes_rate: ByteSize,
    /// The snapshot begins no chunk while the stream or the sink is further behind than this, because they come first.
    #[serde(default = "defaults::snapshot_max_lag", deserialize_with = "duration")]
    pub(crate) snapshot_max_lag: Duration,
    /// Longest wait for a single reply of the server.
    #[serde(default = "defaults::timeout", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// Kafka.
#[derive(Debug, Clone, Deserialize)]
pub struct LogConfig {
    /// `host:port`, several separated by commas.
    #[serde(default)]
    pub(crate) brokers: String,
    /// First part of the names of topics, of consumer groups and of the transactional id.
    #[serde(default)]
    pub prefix: String,
    /// The schema of a replay beside the running migration, whose sink needs a group of its own: that of `sink.into`.
    #[serde(skip)]
    pub(crate) into: Option<String>,
    /// Partitions of a new collection topic.
    #[serde(default = "defaults::partitions")]
    pub(crate) partitions: i32,
    /// Replicas of a new topic. There is no default: one replica loses data with its broker, three need three brokers.
    #[serde(default)]
    pub replication: i32,
    /// `cleanup.policy` of a collection topic: `compact` keeps the last change of each key permanently.
    #[serde(default = "defaults::cleanup_policy")]
    pub(crate) cleanup_policy: String,
    /// Encoding of the value of a change: `json` for every reader of Debezium's envelope, `bson` for speed.
    #[serde(default)]
    pub codec: Codec,
    /// Whether key and value carry their schemas, as the JsonConverter of Kafka Connect expects them.
    #[serde(default)]
    pub schemas: bool,
    /// Whether a Kafka tombstone follows each delete.
    #[serde(default)]
    pub tombstones: bool,
    /// Further librdkafka settings, for example `security.protocol`; settings that correctness rests on cannot be overridden.
    #[serde(default)]
    pub client: std::collections::BTreeMap<String, String>,
    /// File with secret librdkafka settings, one `key=value` per line.
    #[serde(default)]
    pub(crate) client_secrets_file: Option<PathBuf>,
    /// The most changes of a transaction.
    #[serde(default = "defaults::transaction_changes")]
    pub(crate) transaction_changes: usize,
    /// Bytes after which a transaction is closed.
    #[serde(default = "defaults::transaction_bytes")]
    pub(crate) transaction_bytes: ByteSize,
    /// Gap between two transactions. Brokers (Kafka 4) acknowledge a commit about 2 ms before it is complete, and a client that
    /// begins the next transaction before then pauses for 20 ms. Measured on a busy machine, from one transaction of 20, 1,000 and 5,000
    /// records to the next: 39, 36 and 102 ms with gaps of 2 or 5 ms, 51, 69 and 124 ms with one of 20.
    #[serde(default = "defaults::transaction_gap", deserialize_with = "duration")]
    pub(crate) transaction_gap: Duration,
    /// How often partitions without changes get a frontier record.
    #[serde(default = "defaults::idle_frontier", deserialize_with = "duration")]
    pub(crate) idle_frontier: Duration,
    /// A leader without a heartbeat for this long loses the leadership. Brokers accept no less than 6 s by default.
    #[serde(default = "defaults::session_timeout", deserialize_with = "duration")]
    pub(crate) session_timeout: Duration,
    /// Longest wait for a single answer of the brokers.
    #[serde(default = "defaults::timeout", deserialize_with = "duration")]
    pub timeout: Duration,
}

/// Encoding of the value of a change. Each record names its own encoding, so reading does not depend on this setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Debezium's envelope as JSON, the document as Extended JSON: for consoles and other consumers.
    #[default]
    Json,
    /// The same envelope as BSON; it is several times cheaper to write and to read.
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
    pub(crate) url_file: Option<PathBuf>,
    /// Certificate authorities for TLS (PEM), in addition to those of the system.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
    /// The daemon's own certificate and private key (PEM, in one file), for a server that identifies roles by certificate.
    #[serde(default)]
    pub(crate) certificate_file: Option<PathBuf>,
    /// Schema of a replay beside the running migration, which this process fills and proves (`driftless replay --into`): it stands in
    /// for the schema of every mapped table.
    #[serde(default)]
    pub into: Option<String>,
    /// Workers of this process; each has one consumer and one connection.
    #[serde(default = "defaults::workers")]
    pub(crate) workers: usize,
    /// `auto` uses `replica` if the role may set `session_replication_role`, otherwise `enforce`.
    #[serde(default)]
    pub constraints: Constraints,
    /// The most changes of a batch. Measured: from 1,000 to 5,000 a change costs the same, and memory grows with the number.
    #[serde(default = "defaults::batch_changes")]
    pub batch_changes: usize,
    /// Bytes after which a batch is closed.
    #[serde(default = "defaults::batch_bytes")]
    pub(crate) batch_bytes: ByteSize,
    /// The most changes per second that all workers of this process apply together; 0 means no limit.
    #[serde(default)]
    pub(crate) rate: usize,
    /// The most bytes of fetched records that wait in memory for one worker. At least a batch should fit, so that the next batch
    /// is ready in time. The client library fetches a quarter of this ahead, compressed.
    #[serde(default = "defaults::queue_bytes")]
    pub(crate) queue_bytes: ByteSize,
    /// Number of dead letters within `breaker_window` that halts the sink, so that a wrong mapping does not dead-letter a table.
    #[serde(default = "defaults::breaker_dead_letters")]
    pub breaker_dead_letters: usize,
    /// See `breaker_dead_letters`.
    #[serde(default = "defaults::breaker_window", deserialize_with = "duration")]
    pub(crate) breaker_window: Duration,
    /// Share of refused documents of a collection from which on `breaker_dead_letters` count over any time, not only within
    /// `breaker_window`.
    #[serde(default = "defaults::breaker_share")]
    pub breaker_share: f64,
    /// Attempts of a parked document, which waits for a parent or a unique value, before it becomes a dead letter.
    #[serde(default = "defaults::parked_attempts")]
    pub(crate) parked_attempts: u32,
    /// Total bytes of parked records that halt the sink, so that a wrong reference does not copy a collection into the target.
    #[serde(default = "defaults::parked_bytes")]
    pub parked_bytes: ByteSize,
    /// Longest duration of a statement.
    #[serde(default = "defaults::statement_timeout", deserialize_with = "duration")]
    pub(crate) statement_timeout: Duration,
    /// How often the catalog is checked for changes, and how often a role retries that has halted because of the target.
    #[serde(default = "defaults::catalog_interval", deserialize_with = "duration")]
    pub(crate) catalog_interval: Duration,
}

/// Whether the constraints and triggers of the target are enforced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Constraints {
    /// `replica` if the role may set it, otherwise `enforce`.
    #[default]
    Auto,
    /// Not enforced, as in PostgreSQL's own logical replication.
    Replica,
    /// Enforced; a document whose parent is missing is parked.
    Enforce,
}

/// Comparison of both sides.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct ReconcileConfig {
    /// Random documents of each collection that `driftless reconcile` compares if it is not asked for more.
    pub(crate) sample: usize,
    /// Longest wait of that command until the sink has applied the documents that it has read.
    #[serde(deserialize_with = "duration", alias = "settle")]
    pub(crate) wait: Duration,
    /// Age of a pass over a whole collection after which the next one begins.
    #[serde(deserialize_with = "duration")]
    pub(crate) baseline_every: Duration,
    /// The most documents per second that passes compare, to spare both sides; 0 means no limit.
    pub(crate) rate: u64,
    /// The most bytes per second that passes read from the source; 0 means no limit.
    pub(crate) bytes_rate: ByteSize,
    /// Changed documents that may wait to be compared. More are read from the change stream only when there is room again.
    pub(crate) pending_keys: usize,
    /// Memory that they may take.
    pub(crate) pending_bytes: ByteSize,
    /// Open findings of one collection that are kept; more are only counted. A wrong mapping makes every document drift, and the first
    /// ones say which.
    pub(crate) findings_kept: u32,
    /// Age after which a proof is no longer valid.
    #[serde(deserialize_with = "duration")]
    pub(crate) fresh: Duration,
    /// Longest staleness of the target; beyond it the verdict is unknown. Normally a write arrives within a second, and a lost
    /// leader is replaced within `log.session_timeout`, 6 s. The clocks of the leader and of PostgreSQL must differ by less
    /// than this.
    #[serde(deserialize_with = "duration")]
    pub(crate) max_staleness: Duration,
    /// Age after which a baseline no longer counts, however little has changed since: a difference that neither the delta nor
    /// the guard can see is found by the next baseline only.
    #[serde(deserialize_with = "duration")]
    pub(crate) baseline_max_age: Duration,
    /// How often all rows of the tables with foreign keys are looked at for rows that lack their parent.
    #[serde(deserialize_with = "duration")]
    pub(crate) integrity_every: Duration,
    /// The most rows per second of such a look; 0 means no limit.
    pub(crate) integrity_rate: u64,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self {
            sample: 500,
            wait: Duration::from_secs(30),
            baseline_every: Duration::from_hours(6),
            rate: 10_000,
            bytes_rate: ByteSize::mib(16),
            pending_keys: 100_000,
            pending_bytes: ByteSize::mib(32),
            findings_kept: 10_000,
            fresh: Duration::from_secs(60),
            max_staleness: Duration::from_secs(10),
            integrity_every: Duration::from_secs(3_600),
            integrity_rate: 20_000,
            baseline_max_age: Duration::from_hours(24),
        }
    }
}

/// Conditions that must hold before reads are cut over.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
pub(crate) struct CutoverConfig {
    /// How old the time may be up to which every document is proven.
    #[serde(deserialize_with = "duration")]
    pub(crate) fresh: Duration,
    /// How old the baseline may be.
    #[serde(deserialize_with = "duration")]
    pub(crate) baseline_max_age: Duration,
    /// How far the leader must be from the end of the oplog: for so long it can be away without losing history. 0 demands
    /// nothing, for a server whose oplog cannot be read.
    #[serde(deserialize_with = "duration")]
    pub(crate) oplog_margin: Duration,
}

impl Default for CutoverConfig {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(15),
            baseline_max_age: Duration::from_hours(24),
            oplog_margin: Duration::from_hours(1),
        }
    }
}

/// Bounds of shadow reads.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
pub(crate) struct ShadowConfig {
    /// How often each pair of queries is asked. With 100 runs, the highest latency but one is p99.
    pub(crate) runs: usize,
    /// How often each pair is asked before, unmeasured, so that both sides have its data in memory.
    pub(crate) warm_up: usize,
    /// How long a pair may be asked again, in all, because its collections change between both answers.
    #[serde(deserialize_with = "duration")]
    pub(crate) wait: Duration,
    /// A statement that scans a larger table as a whole is reported. Smaller tables are in memory and scanned in milliseconds.
    pub(crate) scan_above: ByteSize,
}

impl Default for ShadowConfig {
    fn default() -> Self {
        Self { runs: 100, warm_up: 5, wait: Duration::from_secs(30), scan_above: ByteSize::mib(8) }
    }
}

/// Bounds of repairs.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
pub struct RepairConfig {
    /// More findings than this are systematic: they are not repaired without `--force`.
    pub stop_at: u64,
    /// The same for a part of a collection's documents, from 0 to 1.
    pub stop_share: f64,
    /// How long both sides of a repaired document are kept as evidence.
    #[serde(deserialize_with = "duration")]
    pub evidence_kept: Duration,
}

impl Default for RepairConfig {
    fn default() -> Self {
        Self { stop_at: 1_000, stop_share: 0.05, evidence_kept: Duration::from_hours(30 * 24) }
    }
}

/// Health, metrics and status.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct HttpConfig {
    /// Address to listen on; the default is a loopback address.
    pub(crate) listen: std::net::SocketAddr,
    /// File that holds the token which the answers for applications demand (`Authorization: Bearer …`); without one, anybody may
    /// ask. Health, metrics and status are open in any case.
    pub(crate) token_file: Option<PathBuf>,
    /// Names by which browsers and `driftless status` reach page and status, besides `localhost` and addresses.
    pub(crate) hosts: Vec<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: std::net::SocketAddr::from(([127, 0, 0, 1], 9464)), token_file: None, hosts: Vec::new() }
    }
}

/// Delays between retries.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
pub(crate) struct RetryConfig {
    /// First delay.
    #[serde(deserialize_with = "duration")]
    pub(crate) min: Duration,
    /// Longest delay.
    #[serde(deserialize_with = "duration")]
    pub(crate) max: Duration,
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

    /// Returns a section that the file omits: its defaults, and its missing values for the check to report.
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
    pub(super) fn breaker_share() -> f64 {
        0.9
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
    let not_a_duration = || {
        D::Error::custom(format!("{value} is not a duration: write a number and a unit in quotes, for example \"30s\""))
    };
    let parsed: jiff::SignedDuration = value.as_str().and_then(|text| text.parse().ok()).ok_or_else(not_a_duration)?;
    Duration::try_from(parsed).map_err(|_| D::Error::custom(format!("{value} is negative")))
}

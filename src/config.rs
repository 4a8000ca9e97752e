//! Configuration: raw structs by serde, then one check that names every fault at once.
//!
//! Tuning has a default, with its reason beside it; identity (addresses, databases, topics) has none. Every delay, queue
//! and batch of the daemon is bounded by a value on this page. Secrets come from files or the environment and print as
//! `***`.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

/// One fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key, as `section.key`; empty when the file as a whole is at fault.
    pub key: String,
    /// What is wrong; never a secret.
    pub rule: String,
    /// What to do.
    pub hint: String,
}

impl Fault {
    fn new(key: &str, rule: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { key: key.to_owned(), rule: rule.into(), hint: hint.into() }
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
    /// Documents looked up in one read. Measured: 1,000 give 2.5 times the rate of `updateLookup`.
    #[serde(default = "defaults::lookup_batch")]
    pub lookup_batch: usize,
    /// Documents a snapshot chunk may hold; with `chunk_bytes` it bounds the memory of the snapshot.
    #[serde(default = "defaults::chunk_documents")]
    pub chunk_documents: usize,
    /// Bytes after which a snapshot chunk ends.
    #[serde(default = "defaults::chunk_bytes")]
    pub chunk_bytes: ByteSize,
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
    /// Gap left between transactions of a quiet stream: brokers answer at once then, and slowly without it.
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
    /// Changes a batch may hold.
    #[serde(default = "defaults::batch_changes")]
    pub batch_changes: usize,
    /// Bytes after which a batch is closed.
    #[serde(default = "defaults::batch_bytes")]
    pub batch_bytes: ByteSize,
    /// Bytes of fetched records that may wait in memory for one worker.
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
    /// Longest time a statement may take.
    #[serde(default = "defaults::statement_timeout", deserialize_with = "duration")]
    pub statement_timeout: Duration,
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
    #[serde(deserialize_with = "duration")]
    pub settle: Duration,
    /// A proof older than this proves nothing.
    #[serde(deserialize_with = "duration")]
    pub fresh: Duration,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            sample: 500,
            settle: Duration::from_secs(30),
            fresh: Duration::from_secs(60),
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

impl Config {
    /// Variables named `DRIFTLESS__SECTION__KEY` override the file.
    pub const ENV_PREFIX: &str = "DRIFTLESS";

    /// Reads the file and the environment.
    ///
    /// # Errors
    /// Every fault of both at once; nothing has been connected to.
    pub fn load(path: &Path) -> Result<Self, Vec<Fault>> {
        let environment =
            config::Environment::with_prefix(Self::ENV_PREFIX).prefix_separator("__").separator("__").try_parsing(true);
        let read = |sources: config::ConfigBuilder<config::builder::DefaultState>| {
            sources
                .build()
                .and_then(config::Config::try_deserialize::<serde_json::Value>)
                .map_err(|error| vec![Fault::new("", error.to_string(), format!("mend {}", path.display()))])
        };
        let file = config::File::from(path).format(config::FileFormat::Toml);
        let mut raw = read(config::Config::builder().add_source(file).add_source(environment.clone()))?;
        let environment = read(config::Config::builder().add_source(environment))?;
        // A connection string of the environment takes the place of the file's, whichever way that one gave it.
        for (section, text, file) in [("source", "uri", "uri_file"), ("sink", "url", "url_file")] {
            let given = |key| environment.get(section).is_some_and(|section| section.get(key).is_some());
            match (given(text), given(file)) {
                (true, false) => remove(&mut raw, &format!("{section}.{file}")),
                (false, true) => remove(&mut raw, &format!("{section}.{text}")),
                _ => false,
            };
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::from_value(raw, folder)
    }

    fn from_value(mut raw: serde_json::Value, folder: &Path) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        // A value that cannot be read is named, taken out and read past, so that the next one is named too.
        let (mut config, unknown) = loop {
            let mut unknown = Vec::new();
            let mut track = serde_path_to_error::Track::new();
            let tracked = serde_path_to_error::Deserializer::new(&raw, &mut track);
            match serde_ignored::deserialize::<_, _, Self>(tracked, |path| unknown.push(path.to_string())) {
                Ok(config) => break (config, unknown),
                Err(error) => {
                    let key = track.path().to_string();
                    faults.push(Fault::new(
                        &key,
                        error.to_string(),
                        "see the commented example, config/driftless.toml",
                    ));
                    if !remove(&mut raw, &key) {
                        return Err(faults);
                    }
                }
            }
        };
        faults.extend(
            unknown
                .iter()
                .map(|key| Fault::new(key, "no such key", "remove it, or look for a slip in its name or section")),
        );
        let unread: Vec<String> = faults.iter().map(|fault| fault.key.clone()).collect();
        faults.extend(config.check().into_iter().filter(|fault| !unread.contains(&fault.key)));
        if !faults.is_empty() {
            return Err(faults);
        }
        for path in [
            Some(&mut config.mapping),
            config.source.uri_file.as_mut(),
            config.log.client_secrets_file.as_mut(),
            config.sink.url_file.as_mut(),
            config.sink.ca_file.as_mut(),
        ]
        .into_iter()
        .flatten()
        {
            *path = folder.join(&*path);
        }
        Ok(config)
    }

    /// The rules that no type can state.
    fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, key: &str, rule: &str, hint: &str| {
            if !holds {
                faults.push(Fault::new(key, rule, hint));
            }
        };
        must(!self.mapping.as_os_str().is_empty(), "mapping", "has no value", "name the mapping file");
        let source = &self.source;
        must(
            source.uri.is_some() != source.uri_file.is_some(),
            "source.uri",
            "needs exactly one of `uri` and `uri_file`",
            "put the connection string into a file and name it in `uri_file`, or set DRIFTLESS__SOURCE__URI",
        );
        must(!source.database.is_empty(), "source.database", "has no value", "name the database to replicate");
        must(source.stream_batch > 0, "source.stream_batch", "must be above 0", "5000 is a good value");
        must(source.lookup_batch > 0, "source.lookup_batch", "must be above 0", "1000 is a good value");
        must(source.chunk_documents > 0, "source.chunk_documents", "must be above 0", "5000 is a good value");
        let log = &self.log;
        must(!log.brokers.is_empty(), "log.brokers", "has no value", "name at least one broker as host:port");
        must(!log.prefix.is_empty(), "log.prefix", "has no value", "choose a name for this migration, such as `shop`");
        must(
            log.prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'),
            "log.prefix",
            "may hold only letters, digits, `-` and `_`",
            "choose a plain name such as `shop`",
        );
        must(log.partitions > 0, "log.partitions", "must be above 0", "4 is a good value");
        must(log.replication > 0, "log.replication", "has no value above 0", "3 in production, 1 with a single broker");
        must(log.transaction_changes > 0, "log.transaction_changes", "must be above 0", "5000 is a good value");
        let sink = &self.sink;
        must(
            sink.url.is_some() != sink.url_file.is_some(),
            "sink.url",
            "needs exactly one of `url` and `url_file`",
            "put the connection string into a file and name it in `url_file`, or set DRIFTLESS__SINK__URL",
        );
        must(sink.workers > 0, "sink.workers", "must be above 0", "2 is a good value");
        must(sink.batch_changes > 0, "sink.batch_changes", "must be above 0", "5000 is a good value");
        must(self.reconcile.sample > 0, "reconcile.sample", "must be above 0", "500 is a good value");
        must(
            self.retry.min <= self.retry.max,
            "retry.min",
            "must not exceed `retry.max`",
            "100ms and 5s are good values",
        );
        faults
    }
}

/// Takes `section.key` out; whether it was there.
fn remove(raw: &mut serde_json::Value, key: &str) -> bool {
    let (parent, last) = match key.rsplit_once('.') {
        Some((parent, last)) => (format!("/{}", parent.replace('.', "/")), last),
        None => (String::new(), key),
    };
    raw.pointer_mut(&parent)
        .and_then(serde_json::Value::as_object_mut)
        .is_some_and(|section| section.remove(last).is_some())
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
    pub(super) fn chunk_documents() -> usize {
        5_000
    }
    pub(super) fn chunk_bytes() -> ByteSize {
        ByteSize::mib(8)
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
        5_000
    }
    pub(super) fn transaction_bytes() -> ByteSize {
        ByteSize::mib(8)
    }
    pub(super) fn transaction_gap() -> Duration {
        Duration::from_millis(20)
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
        5_000
    }
    pub(super) fn batch_bytes() -> ByteSize {
        ByteSize::mib(8)
    }
    pub(super) fn queue_bytes() -> ByteSize {
        ByteSize::mib(16)
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
    pub(super) fn statement_timeout() -> Duration {
        Duration::from_secs(60)
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| {
        serde::de::Error::custom(format!("`{text}` is no duration: write a number and a unit, for example \"30s\""))
    })?;
    Duration::try_from(parsed).map_err(|_| serde::de::Error::custom(format!("`{text}` is negative")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn minimal() -> serde_json::Value {
        json!({
            "mapping": "shop.mapping.toml",
            "source": { "uri": "mongodb://user:secret@localhost", "database": "shop" },
            "log": { "brokers": "localhost:9092", "prefix": "shop", "replication": 1 },
            "sink": { "url_file": "postgres.url" },
        })
    }

    #[test]
    fn a_minimal_file_is_enough_and_paths_are_relative_to_it() {
        let config = Config::from_value(minimal(), Path::new("etc")).expect("a configuration");
        assert_eq!(config.mapping, Path::new("etc/shop.mapping.toml"));
        assert_eq!(config.sink.url_file.as_deref(), Some(Path::new("etc/postgres.url")));
        assert_eq!(config.source.max_await, Duration::from_millis(250));
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:9464");
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let mut raw = minimal();
        raw["source"]["max_await"] = json!("soon");
        raw["source"]["uri_file"] = json!("also.uri");
        raw["log"]["replication"] = json!(0);
        raw["log"]["partitons"] = json!(8);
        raw["sink"]["batch_bytes"] = json!("8 parsecs");
        raw["extra"] = json!({ "a": 1 });
        let faults = Config::from_value(raw, Path::new("")).expect_err("faults");
        let mut keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            ["extra", "log.partitons", "log.replication", "sink.batch_bytes", "source.max_await", "source.uri"]
        );
    }

    #[test]
    fn an_empty_file_names_every_missing_value() {
        let faults = Config::from_value(json!({}), Path::new("")).expect_err("faults");
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(
            keys,
            ["mapping", "source.uri", "source.database", "log.brokers", "log.prefix", "log.replication", "sink.url"]
        );
    }

    #[test]
    fn secrets_do_not_print() {
        let config = Config::from_value(minimal(), Path::new("")).expect("a configuration");
        let printed = format!("{config:?}");
        assert!(!printed.contains("secret@") && printed.contains("uri: Some(***)"), "{printed}");
    }

    #[test]
    fn the_example_is_a_configuration() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/driftless.toml");
        let config = Config::load(&path).expect("no faults");
        assert_eq!(config.mapping, path.with_file_name("demo/mapping.toml"));
    }

    #[test]
    fn the_example_names_every_key_with_its_default() {
        // Uncommented, it must still be a configuration, and the same one.
        let example = include_str!("../config/driftless.toml");
        let setting = |line: &&str| {
            line.strip_prefix("# ").is_some_and(|rest| {
                rest.split_once(" = ")
                    .is_some_and(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
            })
        };
        let optional = ["client_secrets_file", "ca_file"];
        let uncommented: Vec<&str> = example
            .lines()
            .filter(|line| !optional.iter().any(|key| line.contains(&format!("# {key} ="))))
            .map(|line| if setting(&line) { &line[2..] } else { line })
            .collect();
        let parse = |text: &str| {
            let raw: toml::Table = text.parse().expect("TOML");
            let raw = serde_json::to_value(raw).expect("JSON");
            format!("{:?}", Config::from_value(raw, Path::new("")).expect("no faults"))
        };
        assert_eq!(parse(&uncommented.join("\n")), parse(example));
    }
}

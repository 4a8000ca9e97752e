//! Settings of the client library, from ours.
//!
//! Order: tuning of our own, then what the operator sets, then what the protocol rests on. Settings of the last kind are
//! refused when an operator names them, because silently winning would be as bad as silently losing. No message holds the
//! value of a setting: any may be a secret.

use std::{
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Statistics,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{Error, Fault};
use crate::config::LogConfig;

/// Settings that belong to the protocol between the parts of this program.
const RESERVED: &[&str] = &[
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "transactional.id",
    "transaction.timeout.ms",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "acks",
    "request.required.acks",
    "retries",
    "message.send.max.retries",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "partitioner",
    "isolation.level",
    "enable.auto.commit",
    "auto.commit.enable",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "allow.auto.create.topics",
];

/// The settings that every client shares.
///
/// # Errors
/// [`Error::Faults`] for reserved settings and unreadable lines, [`Error::SecretsFile`].
pub(super) fn settings(cfg: &LogConfig) -> Result<ClientConfig, Error> {
    let mut faults = Vec::new();
    let mut settings = ClientConfig::new();
    settings
        .set_log_level(RDKafkaLogLevel::Warning)
        .set("client.id", "driftless")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", millis(cfg.timeout))
        // Brokers that restart are back within seconds; the library's own 10 s would outlast them.
        .set("reconnect.backoff.max.ms", "2000");
    let secrets = match &cfg.client_secrets_file {
        None => String::new(),
        Some(path) => fs::read_to_string(path).map_err(|source| Error::SecretsFile { path: path.clone(), source })?,
    };
    let (secrets, bad_lines) = pairs(&secrets);
    faults.extend(bad_lines.into_iter().map(|line| {
        Fault::new(format!("line {line} of the secret settings holds no `key=value`"), "write one setting a line")
    }));
    let own = cfg.client.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    for (key, value) in own.chain(secrets) {
        if RESERVED.contains(&key) {
            faults.push(Fault::new(
                format!("the client setting `{key}` belongs to driftless"),
                "remove it; brokers, prefix and timeouts have their own keys",
            ));
        } else {
            settings.set(key, value);
        }
    }
    settings.set("bootstrap.servers", &cfg.brokers);
    if faults.is_empty() { Ok(settings) } else { Err(Error::Faults(faults)) }
}

/// The `key=value` lines, and the numbers of the lines that are neither that nor empty nor a comment.
fn pairs(text: &str) -> (Vec<(&str, &str)>, Vec<usize>) {
    let mut pairs = Vec::new();
    let mut bad = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        match line.split_once('=') {
            _ if line.is_empty() || line.starts_with('#') => {}
            Some((key, value)) if !key.trim().is_empty() => pairs.push((key.trim(), value.trim())),
            _ => bad.push(number),
        }
    }
    (pairs, bad)
}

/// Sets tuning of our own unless the operator has, under any of the setting's names.
pub(super) fn tune(settings: &mut ClientConfig, names: &[&str], value: impl Into<String>) {
    if names.iter().all(|name| settings.get(name).is_none()) {
        settings.set(names[0], value);
    }
}

/// Adds what every member of a group needs: no offsets of the group's own, and a session as short as configured.
pub(super) fn member(settings: &mut ClientConfig, cfg: &LogConfig, group: &str) {
    settings
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false")
        // A standby that joins does not take anything from those who are there.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", millis(cfg.session_timeout))
        .set("heartbeat.interval.ms", millis(cfg.session_timeout / 4));
}

/// Creates a client.
///
/// # Errors
/// [`Error::Faults`] with the name of the setting that was refused.
pub(super) fn create<C, T>(settings: &ClientConfig, context: C) -> Result<T, Error>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C>,
{
    settings.create_with_context(context).map_err(|error| {
        Error::Faults(vec![match error {
            // The library's own text quotes the value.
            KafkaError::ClientConfig(_, _, key, _) => Fault::new(
                format!("the client library refuses the setting `{key}`"),
                "see librdkafka's CONFIGURATION.md for its name and its values",
            ),
            other => Fault::new(other.to_string(), "correct the settings under `client`"),
        }])
    })
}

/// Runs calls that block, away from the threads of the runtime.
///
/// # Errors
/// Those of the calls; [`Error::Ended`] when they panicked or the runtime is shutting down.
pub(super) async fn blocking<T: Send + 'static>(
    what: &'static str,
    calls: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(calls).await.unwrap_or(Err(Error::Ended(what)))
}

/// What the library calls its requests for the id of a transactional producer.
const WAITS_FOR_COORDINATOR: &str = "GETPID";

pub(super) fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Sends the library's words to our log, and remembers what they last said of a broker that failed.
#[derive(Debug, Default)]
pub(super) struct Context {
    trouble: Trouble,
}

impl Context {
    /// See [`Trouble::why`].
    pub(super) fn why(&self) -> Option<String> {
        self.trouble.why()
    }
}

/// The last words of a client about a broker that it cannot use. The error of a call has none of them.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<(Instant, String)>>);

impl Trouble {
    /// Address and reason; `None` where nothing has failed of late.
    pub(super) fn why(&self) -> Option<String> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.as_ref().filter(|(at, _)| at.elapsed() < OF_LATE).map(|(_, why)| why.clone())
    }

    /// Takes a line of the client's log in.
    pub(super) fn hear(&self, facility: &str, message: &str) {
        if facility == BROKER_FAILED {
            // `[thrd:ADDRESS]: ADDRESS: REASON`
            let said = message.split_once("]: ").map_or(message, |(_, said)| said);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), said.to_owned()));
        }
    }
}

/// What the library calls its lines about a connection that failed: refused, closed, not authenticated, not trusted.
const BROKER_FAILED: &str = "FAIL";

/// Asks a client of its own why no broker can be used. The client that makes topics hears no log lines: its queue is not polled.
///
/// Blocks for as long as [`LISTEN`] at most.
pub(super) fn ask_why(cfg: &LogConfig) -> Option<String> {
    let listener: BaseConsumer<Context> = create(&settings(cfg).ok()?, Context::default()).ok()?;
    let deadline = Instant::now() + LISTEN;
    while listener.context().why().is_none() && Instant::now() < deadline {
        // Asking makes it connect; its log lines arrive when it is polled.
        let _ = listener.fetch_metadata(None, LISTEN / 10);
        drop(listener.poll(Duration::ZERO));
    }
    listener.context().why()
}

/// A connection that fails does so at once, or is only slow.
const LISTEN: Duration = Duration::from_secs(2);

/// The library repeats itself after 30 s while nothing changes; what it said much earlier explains nothing.
const OF_LATE: Duration = Duration::from_secs(60);

/// Longest wait for the first answer of the brokers, where `log.timeout` is longer: an unreachable one shall show in seconds.
pub(super) const REACH: Duration = Duration::from_secs(5);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.trouble.hear(facility, message);
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        broker_trouble(&error, reason);
    }

    fn stats(&self, _statistics: Statistics) {}
}

impl ConsumerContext for Context {}

pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // At a first start the brokers make the topic of their transactions. The library asks until that is done, and what
        // lasts is the error of the call that waits for it.
        _ if facility == WAITS_FOR_COORDINATOR => tracing::debug!(facility, message, "kafka client"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(facility, message, "kafka client");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!(facility, message, "kafka client"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "kafka client"),
    }
}

/// The library reconnects by itself; what lasts surfaces as an error of the call that waits.
pub(super) fn broker_trouble(error: &KafkaError, reason: &str) {
    // The end of a partition is no trouble: it is what a reader of the state topic waits for.
    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
        tracing::info!(%error, reason, "kafka brokers");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(extra: &str) -> LogConfig {
        toml::from_str(&format!("brokers = \"localhost:1\"\nprefix = \"p\"\nreplication = 1\n{extra}"))
            .expect("a config")
    }

    #[test]
    fn the_operators_settings_pass() {
        let settings =
            settings(&config("client = { \"security.protocol\" = \"SSL\", \"client.id\" = \"x\" }")).expect("fine");
        assert_eq!(settings.get("security.protocol"), Some("SSL"));
        assert_eq!(settings.get("client.id"), Some("x"));
        assert_eq!(settings.get("bootstrap.servers"), Some("localhost:1"));
    }

    #[test]
    fn settings_of_the_protocol_are_refused() {
        let error = settings(&config("client = { \"isolation.level\" = \"read_uncommitted\", \"acks\" = \"1\" }"))
            .expect_err("refused");
        match error {
            Error::Faults(faults) => assert_eq!(faults.len(), 2),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_refused_value_is_not_quoted() {
        let settings = settings(&config("client = { \"ssl.key.passwordd\" = \"hunter2\" }")).expect("read");
        let created: Result<rdkafka::producer::BaseProducer<rdkafka::producer::DefaultProducerContext>, _> =
            create(&settings, rdkafka::producer::DefaultProducerContext);
        let text = created.err().expect("refused").to_string();
        assert!(text.contains("ssl.key.passwordd") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn secret_lines() {
        let (pairs, bad) = pairs("# comment\n\nsasl.username = u\nsasl.password=p=q\nnonsense\n=x\n");
        assert_eq!(pairs, [("sasl.username", "u"), ("sasl.password", "p=q")]);
        assert_eq!(bad, [5, 6]);
    }
}

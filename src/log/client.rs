//! Derives the settings of the client library from the configuration.
//!
//! Our tuning comes first, then the settings of the operator, then the settings that correctness rests on. An operator who names
//! one of the last kind is refused, because ignoring either value silently would be wrong. No message contains the value of a
//! setting, because any may be a secret.

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

use super::{
    Error, Fault,
    lines::{Ended, LINES},
};
use crate::{config::LogConfig, tasks};

/// Settings that correctness rests on.
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

/// Returns the settings that every client shares.
///
/// # Errors
/// Fails with [`Error::Faults`] for reserved settings and unreadable lines, or with [`Error::SecretsFile`].
pub(super) fn settings(cfg: &LogConfig) -> Result<ClientConfig, Error> {
    let mut faults = Vec::new();
    let mut settings = ClientConfig::new();
    settings
        .set_log_level(RDKafkaLogLevel::Warning)
        .set("client.id", "driftless")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", millis(cfg.timeout))
        // Restarting brokers are back within seconds; the default of the library, 10 s, would be longer than the outage.
        .set("reconnect.backoff.max.ms", "2000");
    let secrets = match &cfg.client_secrets_file {
        None => String::new(),
        Some(path) => fs::read_to_string(path).map_err(|source| Error::SecretsFile { path: path.clone(), source })?,
    };
    let (secrets, bad_lines) = pairs(&secrets);
    faults.extend(bad_lines.into_iter().map(|line| {
        Fault::new(
            format!("line {line} of the secret settings is not of the form `key=value`"),
            "write one setting per line",
        )
    }));
    let own = cfg.client.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    for (key, value) in own.chain(secrets) {
        if RESERVED.contains(&key) {
            faults.push(Fault::new(
                format!("the client setting `{key}` is reserved for driftless"),
                "remove it; brokers, prefix and timeouts have their own keys",
            ));
        } else {
            settings.set(key, value);
        }
    }
    settings.set("bootstrap.servers", &cfg.brokers);
    if faults.is_empty() { Ok(settings) } else { Err(Error::Faults(faults)) }
}

/// Parses `key=value` lines; returns them with the numbers of the lines that are neither that, nor empty, nor a comment.
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

/// Sets a value unless the operator has set it under any of its names.
pub(super) fn tune(settings: &mut ClientConfig, names: &[&str], value: impl Into<String>) {
    if names.iter().all(|name| settings.get(name).is_none()) {
        settings.set(names[0], value);
    }
}

/// Adds the settings of a group member: no committed offsets, and the configured session timeout.
pub(super) fn member(settings: &mut ClientConfig, cfg: &LogConfig, group: &str) {
    settings
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false")
        // A joining standby takes no partition from the present members.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", millis(cfg.session_timeout))
        .set("heartbeat.interval.ms", millis(cfg.session_timeout / 4));
}

/// Creates a client.
///
/// # Errors
/// Fails with [`Error::Faults`], which names the refused setting.
pub(super) fn create<C, T>(settings: &ClientConfig, context: C) -> Result<T, Error>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C>,
{
    settings.create_with_context(context).map_err(|error| {
        Error::Faults(vec![match error {
            // The text of the library quotes the value.
            KafkaError::ClientConfig(_, _, key, _) => Fault::new(
                format!("the client library refuses the setting `{key}`"),
                "see librdkafka's CONFIGURATION.md for its name and its values",
            ),
            other => Fault::new(other.to_string(), "correct the settings under `client`"),
        }])
    })
}

/// Runs blocking calls outside of the threads of the runtime.
///
/// # Errors
/// Fails like the calls, or with [`Error::Panicked`], which has the name of the task.
pub(super) async fn blocking<T: Send + 'static>(
    task: &'static str,
    calls: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tasks::blocking(task, calls).await?
}

/// The facility of log lines about requests for the id of a transactional producer.
const WAITS_FOR_COORDINATOR: &str = "GETPID";

pub(super) fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Forwards log lines of the library, and remembers the last one about a failed broker.
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

/// The last log line of a client about a broker that it cannot use. The error of a call does not contain it.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<(Instant, String)>>);

impl Trouble {
    /// Returns address and reason; `None` if nothing has failed recently.
    pub(super) fn why(&self) -> Option<String> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.as_ref().filter(|(at, _)| at.elapsed() < OF_LATE).map(|(_, why)| why.clone())
    }

    /// Takes in a log line of the client.
    pub(super) fn hear(&self, facility: &str, message: &str) {
        if facility == BROKER_FAILED {
            // `[thrd:ADDRESS]: ADDRESS: REASON`
            let said = message.split_once("]: ").map_or(message, |(_, said)| said);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), said.to_owned()));
        }
    }
}

/// Facilities of log lines about a failed connection: refused, closed, not authenticated, not trusted.
const BROKER_FAILED: &str = "FAIL";

/// Finds out with a separate client why no broker can be used. The client that creates topics receives no log lines, because its
/// queue is not polled.
///
/// Blocks for at most [`LISTEN`].
pub(super) fn ask_why(cfg: &LogConfig) -> Option<String> {
    let listener: BaseConsumer<Context> = create(&settings(cfg).ok()?, Context::default()).ok()?;
    let deadline = Instant::now() + LISTEN;
    while listener.context().why().is_none() && Instant::now() < deadline {
        // The request makes it connect; polling delivers its log lines.
        let _ = listener.fetch_metadata(None, LISTEN / 10);
        drop(listener.poll(Duration::ZERO));
    }
    listener.context().why()
}

/// Longest wait for a log line; a connection that fails does so at once.
const LISTEN: Duration = Duration::from_secs(2);

/// Age after which a log line no longer explains a failure. The library repeats a line after 30 s while nothing changes.
const OF_LATE: Duration = Duration::from_secs(60);

/// Longest wait for the first answer of the brokers if `log.timeout` is longer, so that unreachable brokers show within seconds.
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

/// Forwards a log line of the library, unless it was forwarded lately.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    let first = LINES.is_new(Instant::now(), facility, message);
    match level {
        _ if !first => tracing::debug!(facility, message, "kafka client, again"),
        // At a first start the brokers create the topic of their transactions, and the library asks until it exists. A lasting
        // failure surfaces as the error of the waiting call.
        _ if facility == WAITS_FOR_COORDINATOR => tracing::debug!(facility, message, "kafka client"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(facility, message, "kafka client");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!(facility, message, "kafka client"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "kafka client"),
    }
    log_ended();
}

/// Logs trouble with brokers. The library reconnects by itself; a lasting failure surfaces as the error of the waiting call.
pub(super) fn broker_trouble(error: &KafkaError, reason: &str) {
    // The end of a partition is not a failure: the reader of the state topic waits for it.
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
        return;
    }
    if LINES.is_new(Instant::now(), "ERROR", reason) {
        tracing::info!(%error, reason, "kafka brokers");
    }
    log_ended();
}

/// Logs which lines are not repeated any more.
pub(super) fn log_ended() {
    for Ended { facility, message, repeats, lasted } in LINES.ended(Instant::now()) {
        tracing::info!(facility, message, repeats, lasted_s = lasted.as_secs(), "kafka client: no longer");
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

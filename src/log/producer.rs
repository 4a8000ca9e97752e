//! The publisher: one Kafka transaction at a time, and no second thoughts about any of them.
//!
//! ```text
//!   begin ─▶ of each partition: changes, controls, frontier; of the state topic: snapshots, state ─▶ flush ─▶ commit
//!                 any error, or no answer in time: unusable for ever; the brokers or the next publisher abort it
//! ```
//!
//! Why every error ends it: a commit without an answer may have happened. The next publisher's `init_transactions` makes the
//! brokers decide what is open, and only then is the state topic read; so whatever was decided is what it says.
//!
//! The bytes of the next transaction are made (see [`transaction`](super::transaction)) while the last one is being settled;
//! never more than one ahead.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use metrics::histogram;
use rdkafka::{
    ClientConfig, ClientContext, Statistics, bindings,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig},
};
use tokio::task::JoinHandle;

use super::{
    Error, StoredState, Topics, Transaction, client,
    envelope::MAX_RECORD,
    error::code_of,
    state::read_state,
    transaction::{EncodedTransaction, Encoder, ProducerRecord},
};
use crate::{config::LogConfig, metrics::LOG_TRANSACTION_SECONDS, model::Identity};

/// Between two looks at what the brokers have acknowledged.
const ACKNOWLEDGEMENT_POLL: Duration = Duration::from_micros(500);
/// Longest wait for the end of a transaction that has failed already; the next publisher ends it otherwise.
const ABORT: Duration = Duration::from_secs(2);
/// Longest request, but for a single record that is longer: what a transaction of usual documents has for one partition. Each
/// is held twice, plain and compressed, which large documents make felt.
const BATCH_BYTES: usize = 2_000_000;
/// Records between two looks while a transaction is being filled.
const POLL_EVERY: usize = 500;

/// The one writer of a source stream.
pub struct Publisher {
    /// `None` while a transaction is being encoded, and for ever after one that was not.
    encoder: Option<Encoder>,
    state_of_last: TransactionState,
    generation: u64,
    gap: Duration,
}

/// Where the publisher is with its last transaction.
enum TransactionState {
    /// It is committed, since then.
    Idle(Session, Instant),
    /// It is on its way; no answer by the deadline is an error like any other.
    UnderWay(JoinHandle<Result<(Session, Instant), Error>>, tokio::time::Instant),
    /// It failed, or was given up: what became of it is unknown.
    Unusable,
}

impl Publisher {
    /// Fences every older publisher of this stream, waits until their transactions are decided, and reads what they left.
    ///
    /// # Errors
    /// [`Error::Faults`], [`Error::Kafka`], [`Error::Timeout`], and those of [`read_state`](super::read_state).
    pub async fn connect(cfg: &LogConfig, topics: &Topics) -> Result<(Self, StoredState), Error> {
        let transactional_id = format!("{}.source", cfg.prefix);
        let mut settings = settings(cfg)?;
        settings
            .set("transactional.id", &transactional_id)
            .set("transaction.timeout.ms", client::millis(cfg.timeout))
            .set("message.timeout.ms", client::millis(cfg.timeout));
        let producer: BaseProducer<Deliveries> = client::create(&settings, Deliveries::default())?;
        let session = Session { producer, timeout: cfg.timeout, transactional_id };
        let state = topics.state().to_owned();
        let session = client::blocking("publisher", move || {
            // The library looks for its coordinator at once when it knows a broker by then, else half a second later.
            let metadata = session.producer.client().fetch_metadata(Some(&state), session.timeout);
            metadata.map_err(|error| session.failed("reach the brokers as", error))?;
            session.producer.init_transactions(session.timeout).map_err(|error| session.failed("fence as", error))?;
            Ok(session)
        })
        .await?;
        // Only now: nobody older can add to it any more.
        let stored = read_state(cfg).await?;
        let generation = (stored.publisher + 1).max(now_ms());
        tracing::info!(id = session.transactional_id, generation, "publisher connected");
        let encoder = Some(Encoder::new(cfg, topics, generation));
        let state_of_last = TransactionState::Idle(session, Instant::now());
        Ok((Self { encoder, state_of_last, generation, gap: cfg.transaction_gap }, stored))
    }

    /// Records whose log this is, with the next transaction.
    pub fn identify(&mut self, identity: Identity) {
        if let Some(encoder) = &mut self.encoder {
            encoder.identify(identity);
        }
    }

    /// Publishes a transaction and waits until it is committed: [`Publisher::begin`], then [`Publisher::committed`].
    ///
    /// # Errors
    /// As theirs.
    pub async fn publish(&mut self, transaction: Transaction) -> Result<(), Error> {
        self.begin(transaction).await?;
        self.committed().await
    }

    /// Encodes a transaction, waits until the one before is committed, and sends it on its way.
    ///
    /// Not cancel-safe: a publisher whose `begin` was dropped answers [`Error::Unusable`] from then on.
    ///
    /// # Errors
    /// Any error, of this transaction or of the one before, means that the outcome is unknown: drop the publisher and go on
    /// from the stored state of the next one. [`Error::Fenced`] means that another one already does.
    pub async fn begin(&mut self, transaction: Transaction) -> Result<(), Error> {
        let mut encoder = self.encoder.take().ok_or(Error::Unusable)?;
        let encoded = client::blocking("publisher", move || {
            let encoded = encoder.encode(transaction)?;
            Ok((encoder, encoded))
        });
        let (encoder, encoded) = encoded.await?;
        self.ready().await?;
        let TransactionState::Idle(session, _) = std::mem::replace(&mut self.state_of_last, TransactionState::Unusable)
        else {
            return Err(Error::Unusable);
        };
        let deadline = tokio::time::Instant::now() + session.timeout * 2;
        let sent = tokio::task::spawn_blocking(move || {
            let outcome = session.run(encoded);
            if let Err(error) = &outcome {
                session.abandon(error);
            }
            // After an error the connections are closed here, before the caller hears of it.
            outcome.map(|()| (session, Instant::now()))
        });
        self.state_of_last = TransactionState::UnderWay(sent, deadline);
        self.encoder = Some(encoder);
        Ok(())
    }

    /// Waits until what was begun is committed. Cancel-safe.
    ///
    /// # Errors
    /// As [`Publisher::begin`].
    pub async fn committed(&mut self) -> Result<(), Error> {
        let (sent, deadline) = match &mut self.state_of_last {
            TransactionState::Idle(..) => return Ok(()),
            TransactionState::Unusable => return Err(Error::Unusable),
            TransactionState::UnderWay(sent, deadline) => (sent, *deadline),
        };
        let ended = tokio::time::timeout_at(deadline, sent).await;
        self.state_of_last = TransactionState::Unusable;
        let ended = ended.map_err(|_| Error::Timeout { act: "publish to", object: "the log".to_owned() })?;
        let (session, at) = ended.map_err(|_| Error::Ended("publisher"))??;
        self.state_of_last = TransactionState::Idle(session, at);
        Ok(())
    }

    /// Waits until what was begun is committed and the brokers take another transaction at once, which is
    /// `log.transaction_gap` later. Cancel-safe.
    ///
    /// # Errors
    /// As [`Publisher::begin`].
    pub async fn ready(&mut self) -> Result<(), Error> {
        self.committed().await?;
        if let TransactionState::Idle(_, since) = &self.state_of_last {
            tokio::time::sleep_until((*since + self.gap).into()).await;
        }
        Ok(())
    }

    /// This publisher's generation: above that of any before. The clock helps where the state was lost, and with it the last one.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl Drop for Publisher {
    /// Closing the connections may take a while: not on a thread of the runtime.
    fn drop(&mut self) {
        if let TransactionState::Idle(session, _) =
            std::mem::replace(&mut self.state_of_last, TransactionState::Unusable)
        {
            // Where no thread can be had, the closure and with it the connections end right here.
            let _ = std::thread::Builder::new().name("log-publisher-close".to_owned()).spawn(move || drop(session));
        }
    }
}

struct Session {
    producer: BaseProducer<Deliveries>,
    timeout: Duration,
    transactional_id: String,
}

impl Session {
    fn run(&self, encoded: EncodedTransaction) -> Result<(), Error> {
        let started = Instant::now();
        self.producer.begin_transaction().map_err(|error| self.failed("begin a transaction as", error))?;
        // One by one: the client library keeps a copy of its own.
        encoded.records.into_iter().try_for_each(|record| self.send(record))?;
        let act = "publish as";
        deliver(&self.producer, self.timeout, (act, &self.transactional_id), |error| self.failed(act, error))?;
        failpoint!(blocking LOG_BEFORE_COMMIT);
        self.producer
            .commit_transaction(self.timeout)
            .map_err(|error| self.failed("commit a transaction as", error))?;
        failpoint!(blocking LOG_AFTER_COMMIT);
        encoded.tally.report();
        histogram!(LOG_TRANSACTION_SECONDS).record(started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Enqueues a record.
    fn send(&self, outgoing: ProducerRecord) -> Result<(), Error> {
        let ProducerRecord { topic, partition, key, value, about } = outgoing;
        let mut record = BaseRecord::to(&topic).partition(partition).key(&key).payload(&value);
        if let Some((headers, wall_ms)) = about {
            record = record.timestamp(timestamp(wall_ms)).headers(headers);
        } else {
            failpoint!(blocking LOG_BEFORE_STATE_RECORD);
        }
        send(&self.producer, record, self.timeout, |error| match code_of(&error) {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                Error::TooLarge { topic: topic.to_string(), bytes: key.len() + value.len() }
            }
            _ => self.failed("publish as", error),
        })
    }

    /// An error of the client library, or what lies behind it.
    fn failed(&self, act: &'static str, error: KafkaError) -> Error {
        use RDKafkaErrorCode as Code;
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        let fenced = |code| matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch);
        if fatal.or(code_of(&error)).is_some_and(fenced) {
            return Error::Fenced { transactional_id: self.transactional_id.clone() };
        }
        Error::kafka(act, &self.transactional_id)(error).because(self.producer.client().context().trouble.why())
    }

    /// Tells the brokers to forget a failed transaction, so that readers need not wait for the next publisher.
    fn abandon(&self, error: &Error) {
        if error.is_fenced() {
            return;
        }
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let deadline = Instant::now() + ABORT;
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            look(&self.producer);
        }
        if let Err(error) = self.producer.abort_transaction(ABORT) {
            tracing::debug!(id = self.transactional_id, %error, "abort a failed transaction");
        }
    }
}

/// Settings of every producer.
///
/// # Errors
/// Those of [`client::settings`].
pub(super) fn settings(cfg: &LogConfig) -> Result<ClientConfig, Error> {
    let mut settings = client::settings(cfg)?;
    settings.set("enable.idempotence", "true").set("partitioner", "murmur2_random");
    client::tune(&mut settings, &["message.max.bytes"], MAX_RECORD.to_string());
    // What belongs together is flushed when all of it is enqueued. Until then it must not be split: what waits behind a request
    // of its own partition makes the library spin.
    client::tune(&mut settings, &["linger.ms", "queue.buffering.max.ms"], "100");
    client::tune(&mut settings, &["batch.size"], BATCH_BYTES.to_string());
    client::tune(&mut settings, &["compression.type", "compression.codec"], "lz4");
    // One record of the largest kind has to fit; of others it is several transactions.
    client::tune(&mut settings, &["queue.buffering.max.kbytes"], (MAX_RECORD >> 10).to_string());
    Ok(settings)
}

/// Enqueues a record; a full queue is waited for.
///
/// # Errors
/// [`Error::Timeout`] when the queue stays full, else what `failed` makes of it.
pub(super) fn send(
    producer: &BaseProducer<Deliveries>,
    mut record: BaseRecord<'_, Vec<u8>, Vec<u8>>,
    timeout: Duration,
    failed: impl FnOnce(KafkaError) -> Error,
) -> Result<(), Error> {
    if producer.client().context().next_is_due() {
        producer.poll(Duration::ZERO);
    }
    let deadline = Instant::now() + timeout;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                if Instant::now() >= deadline {
                    return Err(Error::Timeout { act: "publish to", object: back.topic.to_owned() });
                }
                record = back;
                look(producer);
            }
            Err((error, _)) => return Err(failed(error)),
        }
    }
}

/// Serves what the brokers have acknowledged, and rests a little.
///
/// The library's own poll with a time limit spins through the last millisecond of it: measured, most of a core.
fn look(producer: &BaseProducer<Deliveries>) {
    producer.poll(Duration::ZERO);
    if producer.in_flight_count() > 0 {
        std::thread::sleep(ACKNOWLEDGEMENT_POLL);
    }
}

/// Sends what is enqueued and waits until the brokers have all of it.
///
/// Another thread flushes, because this one has to look: acknowledgements count when they were looked at.
///
/// # Errors
/// [`Error::Timeout`], which says what was done to which object, or what `failed` makes of the first record's failure.
pub(super) fn deliver(
    producer: &BaseProducer<Deliveries>,
    timeout: Duration,
    (act, object): (&'static str, &str),
    failed: impl FnOnce(KafkaError) -> Error,
) -> Result<(), Error> {
    let deadline = Instant::now() + timeout;
    std::thread::scope(|scope| {
        scope.spawn(|| flush(producer, timeout));
        while producer.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                return Err(Error::Timeout { act, object: object.to_owned() });
            }
            look(producer);
        }
        Ok(())
    })?;
    match producer.client().context().first_failure() {
        Some(code) => Err(failed(KafkaError::MessageProduction(code))),
        None => Ok(()),
    }
}

/// Sends what is enqueued, without its linger, until all of it is acknowledged and that was [looked](look) at, or time is up.
#[expect(unsafe_code, reason = "the safe one gives the library no time, and so flushes nothing")]
fn flush(producer: &BaseProducer<Deliveries>, timeout: Duration) {
    let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the handle lives as long as the producer that is borrowed here, and any thread may flush. What did not arrive in
    // time is known to whoever looks.
    unsafe { bindings::rd_kafka_flush(producer.client().native_ptr(), timeout) };
}

/// The time a record lies under. Brokers refuse one from the future, and 0 means none; the value keeps the true one.
fn timestamp(wall_ms: i64) -> i64 {
    wall_ms.clamp(1, i64::try_from(now_ms()).unwrap_or(i64::MAX).max(1))
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}

/// Remembers the first record that did not arrive.
#[derive(Default)]
pub(super) struct Deliveries {
    failure: Mutex<Option<RDKafkaErrorCode>>,
    trouble: client::Trouble,
    sent: std::sync::atomic::AtomicUsize,
}

impl Deliveries {
    /// Why the first record that failed did; asking forgets it.
    pub(super) fn first_failure(&self) -> Option<RDKafkaErrorCode> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn next_is_due(&self) -> bool {
        self.sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % POLL_EVERY == POLL_EVERY - 1
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.trouble.hear(facility, message);
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::broker_trouble(&error, reason);
    }

    fn stats(&self, _statistics: Statistics) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        if let Err((error, _)) = result {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            *failure = failure.take().or(code_of(error));
        }
    }
}

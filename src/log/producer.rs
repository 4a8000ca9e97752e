//! The publisher: one Kafka transaction at a time; any error ends the publisher.
//!
//! ```text
//!   begin ─▶ each partition: changes, controls, frontier; then the state topic: snapshots, state ─▶ flush ─▶ commit
//!                 any error, or no answer in time: unusable from then on; the brokers or the next publisher abort it
//! ```
//!
//! Every error ends it, because a commit without an answer may have happened. The `init_transactions` of the next publisher makes the
//! brokers decide open transactions, and only then is the state topic read, so it shows what was decided.
//!
//! The next transaction is encoded (see [`transaction`](super::transaction)) while the last one is being committed; never more than
//! one ahead.

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

use super::{
    Error, StoredState, Topics, Transaction, client,
    envelope::MAX_RECORD,
    error::code_of,
    state::read_state,
    transaction::{EncodedTransaction, Encoder, ProducerRecord},
};
use crate::{
    config::LogConfig,
    metrics::LOG_TRANSACTION_SECONDS,
    model::Identity,
    tasks::{self, Blocking},
};

/// Pause between two polls for acknowledgements.
const ACKNOWLEDGEMENT_POLL: Duration = Duration::from_micros(500);
/// Longest wait for the abort of a failed transaction; after it the next publisher aborts the transaction.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest request, unless a single record is larger: the share of one partition in a transaction of usual documents. Each request
/// exists twice in memory, plain and compressed, which matters for large documents.
const BATCH_BYTES: usize = 2_000_000;
/// Records between two polls while a transaction is being enqueued.
const POLL_EVERY: usize = 500;

/// The only writer of a source stream.
pub struct Publisher {
    /// `None` while a transaction is being encoded, and after an encoding that did not end.
    encoder: Option<Encoder>,
    state_of_last: TransactionState,
    generation: u64,
    gap: Duration,
}

/// The state of the last transaction.
enum TransactionState {
    /// It was committed at that time.
    Idle(Session, Instant),
    /// It is being sent; no answer by the deadline is an error like any other.
    UnderWay(Blocking<Result<(Session, Instant), Error>>, tokio::time::Instant),
    /// It failed or was dropped, so its outcome is unknown.
    Unusable,
}

impl Publisher {
    /// Fences every older publisher of this stream, waits until their transactions are decided, and reads the state they left.
    ///
    /// # Errors
    /// Fails with [`Error::Faults`], [`Error::Kafka`] or [`Error::Timeout`], or like [`read_state`](super::read_state).
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
            // The library looks for its coordinator at once if it already knows a broker, otherwise half a second later.
            let metadata = session.producer.client().fetch_metadata(Some(&state), session.timeout);
            metadata.map_err(|error| session.failed("reach the brokers as", error))?;
            session.producer.init_transactions(session.timeout).map_err(|error| session.failed("fence as", error))?;
            Ok(session)
        })
        .await?;
        // Read only now, because no older publisher can add to it any more.
        let stored = read_state(cfg).await?;
        let generation = (stored.publisher + 1).max(now_ms());
        tracing::info!(id = session.transactional_id, generation, "publisher connected");
        let encoder = Some(Encoder::new(cfg, topics, generation));
        let state_of_last = TransactionState::Idle(session, Instant::now());
        Ok((Self { encoder, state_of_last, generation, gap: cfg.transaction_gap }, stored))
    }

    /// Records the identity of the log with the next transaction.
    pub(crate) fn identify(&mut self, identity: Identity) {
        if let Some(encoder) = &mut self.encoder {
            encoder.identify(identity);
        }
    }

    /// Publishes a transaction and waits until it is committed: [`Publisher::begin`], then [`Publisher::committed`].
    ///
    /// # Errors
    /// Fails like both.
    pub async fn publish(&mut self, transaction: Transaction) -> Result<(), Error> {
        self.begin(transaction).await?;
        self.committed().await
    }

    /// Encodes a transaction, waits until the one before is committed, and starts to send it.
    ///
    /// Not cancel-safe: a publisher whose `begin` was dropped answers [`Error::Unusable`] from then on.
    ///
    /// # Errors
    /// Any error, of this transaction or of the one before, means that the outcome is unknown: drop the publisher and continue
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
        let sent = tasks::blocking("publisher", move || {
            let outcome = session.run(encoded);
            if let Err(error) = &outcome {
                session.abandon(error);
            }
            // After an error the connections are closed here, before the caller receives it.
            outcome.map(|()| (session, Instant::now()))
        });
        self.state_of_last = TransactionState::UnderWay(sent, deadline);
        self.encoder = Some(encoder);
        Ok(())
    }

    /// Waits until the begun transaction is committed. Cancel-safe.
    ///
    /// # Errors
    /// Fails like [`Publisher::begin`].
    pub async fn committed(&mut self) -> Result<(), Error> {
        let (sent, deadline) = match &mut self.state_of_last {
            TransactionState::Idle(..) => return Ok(()),
            TransactionState::Unusable => return Err(Error::Unusable),
            TransactionState::UnderWay(sent, deadline) => (sent, *deadline),
        };
        let ended = tokio::time::timeout_at(deadline, sent).await;
        self.state_of_last = TransactionState::Unusable;
        let ended = ended.map_err(|_| Error::Timeout { act: "publish to", object: "the log".to_owned() })?;
        let (session, at) = ended??;
        self.state_of_last = TransactionState::Idle(session, at);
        Ok(())
    }

    /// Waits until the begun transaction is committed and `log.transaction_gap` has passed, after which the brokers accept another
    /// transaction at once. Cancel-safe.
    ///
    /// # Errors
    /// Fails like [`Publisher::begin`].
    pub(crate) async fn ready(&mut self) -> Result<(), Error> {
        self.committed().await?;
        if let TransactionState::Idle(_, since) = &self.state_of_last {
            tokio::time::sleep_until((*since + self.gap).into()).await;
        }
        Ok(())
    }

    /// Returns the generation of this publisher, which is above that of any before. If the state topic was lost, and with it the
    /// last generation, the clock ensures this.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl Drop for Publisher {
    /// Closes the connections outside of the threads of the runtime, because that may take a while.
    fn drop(&mut self) {
        if let TransactionState::Idle(session, _) =
            std::mem::replace(&mut self.state_of_last, TransactionState::Unusable)
        {
            // If no thread can be started, the closure is dropped here, and the connections with it.
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
        // Each record is dropped after it is enqueued, because the client library keeps its own copy.
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
        let mut record = BaseRecord::to(&topic).partition(partition).key(&key);
        record.payload = value.as_ref();
        if let Some((headers, wall_ms)) = about {
            record = record.timestamp(timestamp(wall_ms)).headers(headers);
        } else {
            failpoint!(blocking LOG_BEFORE_STATE_RECORD);
        }
        send(&self.producer, record, self.timeout, |error| match code_of(&error) {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                Error::TooLarge { topic: topic.to_string(), bytes: key.len() + value.as_ref().map_or(0, Vec::len) }
            }
            _ => self.failed("publish as", error),
        })
    }

    /// Converts an error of the client library, using the fatal error behind it if there is one.
    fn failed(&self, act: &'static str, error: KafkaError) -> Error {
        use RDKafkaErrorCode as Code;
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        let fenced = |code| matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch);
        if fatal.or(code_of(&error)).is_some_and(fenced) {
            return Error::Fenced { transactional_id: self.transactional_id.clone() };
        }
        Error::kafka(act, &self.transactional_id)(error).because(self.producer.client().context().trouble.why())
    }

    /// Aborts a failed transaction, so that readers need not wait for the next publisher.
    fn abandon(&self, error: &Error) {
        if error.is_fenced() {
            return;
        }
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let deadline = Instant::now() + ABORT_TIMEOUT;
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            poll(&self.producer);
        }
        if let Err(error) = self.producer.abort_transaction(ABORT_TIMEOUT) {
            tracing::debug!(id = self.transactional_id, %error, "abort a failed transaction");
        }
    }
}

/// Returns the settings of every producer.
///
/// # Errors
/// Fails like [`client::settings`].
pub(super) fn settings(cfg: &LogConfig) -> Result<ClientConfig, Error> {
    let mut settings = client::settings(cfg)?;
    settings.set("enable.idempotence", "true").set("partitioner", "murmur2_random");
    client::tune(&mut settings, &["message.max.bytes"], MAX_RECORD.to_string());
    // A transaction is flushed once all of it is enqueued. Until then it must not be split, because records that wait behind a
    // request of their partition make the library spin.
    client::tune(&mut settings, &["linger.ms", "queue.buffering.max.ms"], "100");
    client::tune(&mut settings, &["batch.size"], BATCH_BYTES.to_string());
    client::tune(&mut settings, &["compression.type", "compression.codec"], "lz4");
    // The largest record must fit; of usual records several transactions fit.
    client::tune(&mut settings, &["queue.buffering.max.kbytes"], (MAX_RECORD >> 10).to_string());
    Ok(settings)
}

/// Enqueues a record; waits while the queue is full.
///
/// # Errors
/// Fails with [`Error::Timeout`] if the queue stays full, otherwise with the error that `failed` returns.
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
                poll(producer);
            }
            Err((error, _)) => return Err(failed(error)),
        }
    }
}

/// Processes acknowledgements, and pauses a little.
///
/// A poll with a time limit spins through its last millisecond; measured, this cost most of a core.
fn poll(producer: &BaseProducer<Deliveries>) {
    producer.poll(Duration::ZERO);
    if producer.in_flight_count() > 0 {
        std::thread::sleep(ACKNOWLEDGEMENT_POLL);
    }
}

/// Sends all enqueued records and waits until the brokers have acknowledged them.
///
/// Another thread flushes, because this one must poll: an acknowledgement counts only once it was polled.
///
/// # Errors
/// Fails with [`Error::Timeout`], which names act and object, or with the error that `failed` makes of the first failed record.
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
            poll(producer);
        }
        Ok(())
    })?;
    match producer.client().context().first_failure() {
        Some(code) => Err(failed(KafkaError::MessageProduction(code))),
        None => Ok(()),
    }
}

/// Sends all enqueued records without linger, until all acknowledgements were [polled](poll) or the time is up.
#[expect(unsafe_code, reason = "the safe binding gives the library no time, so it flushes nothing")]
fn flush(producer: &BaseProducer<Deliveries>, timeout: Duration) {
    let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the handle lives as long as the borrowed producer, and any thread may flush. The polling thread sees records that
    // did not arrive in time.
    unsafe { bindings::rd_kafka_flush(producer.client().native_ptr(), timeout) };
}

/// Returns the timestamp of a record. Brokers refuse one from the future, and 0 means none; the value keeps the true time.
fn timestamp(wall_ms: i64) -> i64 {
    wall_ms.clamp(1, i64::try_from(now_ms()).unwrap_or(i64::MAX).max(1))
}

/// Returns the current time in milliseconds since 1970.
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
    /// Takes the error code of the first failed record.
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

//! The publisher: one Kafka transaction at a time, and no second thoughts about any of them.
//!
//! ```text
//!   begin ─▶ changes ─▶ controls ─▶ a frontier per touched partition ─▶ snapshots, state ─▶ commit
//!                 any error, or no answer in time: unusable for ever; the brokers or the next publisher abort it
//! ```
//!
//! Why every error ends it: a commit without an answer may have happened. The next publisher's `init_transactions` makes the
//! brokers decide what is open, and only then is the state topic read; so whatever was decided is what it says.
//!
//! The partition of a change is computed here and handed over, because the frontier of a partition says how many changes
//! it holds.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use metrics::{counter, histogram};
use rdkafka::{
    ClientConfig, ClientContext, Statistics,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig},
};

use super::{
    Error, StoredState, StreamState, Topics, client,
    envelope::{self, Encoded, FrontierRecord, MAX_RECORD, header},
    error::code_of,
    murmur2::partition_of,
    state::{encode_snapshot, encode_stream, read_state},
};
use crate::{
    config::LogConfig,
    metrics::{LOG_BYTES, LOG_CHANGES, LOG_TRANSACTION_SECONDS},
    model::{Change, Control, Frontier, Namespace, Op, SnapshotState},
};

/// One look at what the brokers have acknowledged.
const POLL: Duration = Duration::from_millis(1);
/// Longest wait for the end of a transaction that has failed already; the next publisher ends it otherwise.
const ABORT: Duration = Duration::from_secs(2);
/// Records between two looks while a transaction is being filled.
const POLL_EVERY: usize = 500;

/// What becomes visible at once, or not at all.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Changes, in the order of the stream.
    pub changes: Vec<Change>,
    /// Controls; each goes to every partition of its collection, after the changes.
    pub controls: Vec<Control>,
    /// How far the stream has come with these changes, and the source's wall clock in milliseconds when it stood there.
    pub frontier: Option<(Frontier, i64)>,
    /// Whether the frontier goes to partitions without changes too.
    pub idle: bool,
    /// Where to go on after this transaction.
    pub state: StreamState,
    /// Snapshots that moved on with these changes.
    pub snapshots: Vec<SnapshotState>,
    /// Collections whose snapshot is in the log once this transaction is.
    pub complete: BTreeSet<String>,
}

/// The one writer of a source stream.
pub struct Publisher {
    /// `None` while a transaction is open, and for ever after one that failed or was given up.
    idle: Option<(Session, Counts)>,
    generation: u64,
}

/// What the frontier of each partition has to say: by position of the topic, then partition.
type Counts = BTreeMap<(usize, i32), Count>;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Of the last frontier.
    seq: u64,
    /// Changes since.
    changes: u64,
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
        let mut session = Session {
            producer,
            positions: topics.collections().iter().enumerate().map(|(at, t)| (t.namespace.clone(), at)).collect(),
            topics: topics.clone(),
            prefix: cfg.prefix.clone(),
            timeout: cfg.timeout,
            transactional_id,
            generation: 0,
        };
        session = client::blocking("publisher", move || {
            session.producer.init_transactions(session.timeout).map_err(|error| session.failed("fence as", error))?;
            Ok(session)
        })
        .await?;
        // Only now: nobody older can add to it any more.
        let stored = read_state(cfg).await?;
        session.generation = stored.publisher + 1;
        tracing::info!(id = session.transactional_id, generation = session.generation, "publisher connected");
        let generation = session.generation;
        Ok((Self { idle: Some((session, Counts::new())), generation }, stored))
    }

    /// Publishes a transaction and waits until it is committed.
    ///
    /// Not cancel-safe: a publisher whose `publish` was dropped answers [`Error::Unusable`] from then on.
    ///
    /// # Errors
    /// Any error means that the outcome is unknown: drop the publisher and go on from the stored state of the next one.
    /// [`Error::Fenced`] means that another one already does.
    pub async fn publish(&mut self, transaction: Transaction) -> Result<(), Error> {
        let (session, mut counts) = self.idle.take().ok_or(Error::Unusable)?;
        let idle = client::blocking("publisher", move || {
            let outcome = session.run(&transaction, &mut counts);
            if let Err(error) = &outcome {
                session.abandon(error);
            }
            // After an error the connections are closed here, before the caller hears of it.
            outcome.map(|()| (session, counts))
        })
        .await?;
        self.idle = Some(idle);
        Ok(())
    }

    /// This publisher's generation: one more than the last that published.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl Drop for Publisher {
    /// Closing the connections may take a while: not on a thread of the runtime.
    fn drop(&mut self) {
        if let Some(idle) = self.idle.take() {
            // Where no thread can be had, the closure and with it the connections end right here.
            let _ = std::thread::Builder::new().name("log-publisher-close".to_owned()).spawn(move || drop(idle));
        }
    }
}

struct Session {
    producer: BaseProducer<Deliveries>,
    topics: Topics,
    positions: HashMap<Namespace, usize>,
    prefix: String,
    timeout: Duration,
    transactional_id: String,
    generation: u64,
}

impl Session {
    fn run(&self, transaction: &Transaction, counts: &mut Counts) -> Result<(), Error> {
        let started = Instant::now();
        let mut tally = Tally::default();
        let mut touched = BTreeMap::new();
        self.producer.begin_transaction().map_err(|error| self.failed("begin a transaction as", error))?;
        for change in &transaction.changes {
            let at = self.position(&change.namespace)?;
            let topic = &self.topics.collections()[at];
            let encoded = envelope::encode(change, &self.prefix);
            let partition = partition_of(&encoded.key, topic.partitions);
            let bytes = self.send_encoded(&topic.name, partition, &encoded, change.wall_ms)?;
            counts.entry((at, partition)).or_default().changes += 1;
            touched.insert((at, partition), ());
            tally.add(at, change.op, bytes);
        }
        for control in &transaction.controls {
            let at = self.position(&control.namespace)?;
            let topic = &self.topics.collections()[at];
            let encoded = envelope::encode_control(control);
            for partition in 0..topic.partitions {
                self.send_encoded(&topic.name, partition, &encoded, control.version.time.unix_ms())?;
                touched.insert((at, partition), ());
            }
        }
        if let Some((before, as_of_ms)) = transaction.frontier {
            let every = self.topics.collections().iter().enumerate();
            let every = every.flat_map(|(at, topic)| (0..topic.partitions).map(move |partition| (at, partition)));
            for place in every.filter(|place| transaction.idle || touched.contains_key(place)) {
                let complete = transaction.complete.contains(&*self.topics.collections()[place.0].namespace.collection);
                self.send_frontier(place, counts.entry(place).or_default(), (before, as_of_ms), complete)?;
            }
        }
        for snapshot in &transaction.snapshots {
            self.send_state(encode_snapshot(snapshot))?;
        }
        self.send_state(encode_stream(&transaction.state, self.generation))?;
        self.settle(self.timeout)?;
        self.producer
            .commit_transaction(self.timeout)
            .map_err(|error| self.failed("commit a transaction as", error))?;
        tally.report(&self.topics);
        histogram!(LOG_TRANSACTION_SECONDS).record(started.elapsed().as_secs_f64());
        Ok(())
    }

    fn position(&self, namespace: &Namespace) -> Result<usize, Error> {
        let position = self.positions.get(namespace).copied();
        position.ok_or_else(|| Error::NoTopic { namespace: namespace.to_string() })
    }

    fn send_frontier(
        &self,
        (at, partition): (usize, i32),
        count: &mut Count,
        (before, as_of_ms): (Frontier, i64),
        complete: bool,
    ) -> Result<(), Error> {
        count.seq += 1;
        let changes = std::mem::take(&mut count.changes);
        let record = FrontierRecord { before, as_of_ms, seq: count.seq, publisher: self.generation, changes, complete };
        let encoded = envelope::encode_frontier(&record);
        self.send_encoded(&self.topics.collections()[at].name, partition, &encoded, as_of_ms).map(drop)
    }

    fn send_state(&self, (key, value): (Vec<u8>, Vec<u8>)) -> Result<(), Error> {
        let record = BaseRecord::to(self.topics.state()).partition(0).key(&key).payload(&value);
        send(&self.producer, record, self.timeout, |error| self.failed("publish as", error))
    }

    /// Enqueues a record and says how many bytes it has.
    fn send_encoded(&self, topic: &str, partition: i32, encoded: &Encoded, wall_ms: i64) -> Result<usize, Error> {
        let bytes = encoded.key.len() + encoded.value.len();
        let generation = self.generation.to_string();
        let own = encoded.headers.iter().map(|(name, value)| (*name, value.as_slice()));
        let record = BaseRecord::to(topic)
            .partition(partition)
            .key(&encoded.key)
            .payload(&encoded.value)
            .timestamp(timestamp(wall_ms))
            .headers(headers(own.chain([(header::PUBLISHER, generation.as_bytes())])));
        send(&self.producer, record, self.timeout, |error| match code_of(&error) {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => Error::TooLarge { topic: topic.to_owned(), bytes },
            _ => self.failed("publish as", error),
        })?;
        Ok(bytes)
    }

    /// Waits until the brokers have every record.
    ///
    /// The library's own flush looks every 100 ms only, which would be the latency of each transaction.
    fn settle(&self, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        while self.producer.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                return Err(Error::Timeout { act: "publish as", object: self.transactional_id.clone() });
            }
            self.producer.poll(POLL);
        }
        match self.producer.client().context().first_failure() {
            Some(code) => Err(self.failed("publish as", KafkaError::MessageProduction(code))),
            None => Ok(()),
        }
    }

    /// An error of the client library, or what lies behind it.
    fn failed(&self, act: &'static str, error: KafkaError) -> Error {
        use RDKafkaErrorCode as Code;
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        let fenced = |code| matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch);
        if fatal.or(code_of(&error)).is_some_and(fenced) {
            return Error::Fenced { transactional_id: self.transactional_id.clone() };
        }
        Error::kafka(act, &self.transactional_id)(error)
    }

    /// Tells the brokers to forget a failed transaction, so that readers need not wait for the next publisher.
    fn abandon(&self, error: &Error) {
        if error.is_fenced() {
            return;
        }
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let deadline = Instant::now() + ABORT;
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.producer.poll(POLL);
        }
        if let Err(error) = self.producer.abort_transaction(ABORT) {
            tracing::debug!(id = self.transactional_id, %error, "abort a failed transaction");
        }
    }
}

/// What a committed transaction adds to the metrics.
#[derive(Default)]
struct Tally(HashMap<(usize, Op), (u64, u64)>);

impl Tally {
    fn add(&mut self, at: usize, op: Op, size_bytes: usize) {
        let (changes, bytes) = self.0.entry((at, op)).or_default();
        *changes += 1;
        *bytes += size_bytes as u64;
    }

    fn report(self, topics: &Topics) {
        for ((at, op), (changes, bytes)) in self.0 {
            let collection = topics.collections()[at].namespace.collection.clone();
            counter!(LOG_CHANGES, "collection" => collection.clone(), "op" => op.as_str()).increment(changes);
            counter!(LOG_BYTES, "collection" => collection).increment(bytes);
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
    // A transaction is filled in one go and then waited for: a longer linger is only latency.
    client::tune(&mut settings, &["linger.ms", "queue.buffering.max.ms"], "1");
    client::tune(&mut settings, &["compression.type", "compression.codec"], "lz4");
    client::tune(&mut settings, &["queue.buffering.max.kbytes"], "262144");
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
                producer.poll(POLL);
            }
            Err((error, _)) => return Err(failed(error)),
        }
    }
}

pub(super) fn headers<'h>(pairs: impl Iterator<Item = (&'h str, &'h [u8])>) -> OwnedHeaders {
    pairs.fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

/// The time a record lies under. Brokers refuse one from the future, and 0 means none; the value keeps the true one.
fn timestamp(wall_ms: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_millis() as i64);
    wall_ms.clamp(1, now.max(1))
}

/// Remembers the first record that did not arrive.
#[derive(Default)]
pub(super) struct Deliveries {
    failure: Mutex<Option<RDKafkaErrorCode>>,
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

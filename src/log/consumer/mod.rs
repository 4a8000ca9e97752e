//! The consumer of the sink: a group member that starts where the sink says, and never commits an offset.
//!
//! ```text
//!            dedicated thread                                            task of the sink
//!   brokers ─▶ poll ──▶ events in order of occurrence ────────────────▶ next, try_next
//!               ▲  └─ assigned: where do these start? ──────────────▶ StartOffsets (waited for)
//!               └──── seeks ◀─────────────────────────────────────── seek
//! ```
//!
//! Bounds: the records in the channel are counted, with their bytes, until the sink takes them. At the limit the thread waits.
//! After a long wait it pauses the partitions and continues to poll, because a member that stops polling is expelled, and an
//! outage of the target must not cost the membership. It does not pause at once, because a pause discards what the library has
//! fetched ahead; measured, that costs 0.4 s each time.
//!
//! This is a thread and not a task, because the client library blocks, and calls back about assignments from inside its poll.

mod membership;

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use self::membership::{Membership, lock};
use super::{Error, Headers, Topics, client};
use crate::{
    config::LogConfig,
    retry::{Class, Classify, chain},
};

/// Longest delay until a stop or a seek is noticed.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The same while paused, and the longest delay until reading resumes when there is room again.
const PAUSED_POLL: Duration = Duration::from_millis(10);
/// Interval at which a full channel is checked.
const FULL_QUEUE_POLL: Duration = Duration::from_millis(2);
/// How long the channel may stay full before the partitions are paused. Assignments wait no longer than this.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Memory of a record beside its bytes.
const RECORD_BYTES: usize = 128;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset. Offsets grow, with gaps where transactions ended or were aborted, and after compaction.
    pub offset: i64,
    /// Milliseconds since 1970; -1 if the record has no timestamp.
    pub timestamp_ms: i64,
    /// Kafka key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Headers,
}

impl Fetched {
    /// Returns the memory that the record takes.
    pub fn size_bytes(&self) -> usize {
        let parts = [&self.key, &self.value].into_iter().flatten().map(Vec::len).sum::<usize>();
        RECORD_BYTES + parts + self.headers.size_bytes()
    }
}

/// An event of the consumer; events come in order of occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerEvent {
    /// A record.
    Fetched(Fetched),
    /// These partitions belong to this consumer from now on, each from the offset that [`StartOffsets`] returned.
    Assigned(Vec<TopicPartition>),
    /// These partitions belong to another consumer now.
    Revoked(Vec<TopicPartition>),
    /// The next record of this partition is the first at or after this offset; earlier records are stale.
    Sought {
        /// The partition.
        partition: TopicPartition,
        /// The requested offset.
        offset: i64,
    },
}

/// Provides the next offset of each partition; the sink implements it from its offset rows.
pub trait StartOffsets: Send + Sync + 'static {
    /// Returns the next offset of each partition, in the same order; `None` is the earliest record.
    ///
    /// The partitions wait for the answer, so it is bounded by `log.timeout`.
    ///
    /// # Errors
    /// Fails with [`Error::StartOffsets`]; the consumer ends with it.
    fn start_offsets<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>>;
}

/// A member of the consumer group of the sink.
pub struct Consumer {
    events: mpsc::UnboundedReceiver<Result<ConsumerEvent, Error>>,
    seeks: std::sync::mpsc::Sender<Seek>,
    /// Number of assignments so far, and the number of the assignment of each partition.
    assignments: u64,
    assigned: HashMap<TopicPartition, u64>,
    budget: Arc<Budget>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Consumer {
    /// Joins the group for all collection topics. `max_bytes` and `max_records` bound the records that wait in memory.
    ///
    /// Must be called inside a Tokio runtime: `starts` runs on it.
    ///
    /// # Errors
    /// Fails with [`Error::Faults`] or [`Error::Kafka`] for settings that the client library refuses.
    pub fn join(
        cfg: &LogConfig,
        topics: &Topics,
        max_bytes: usize,
        max_records: usize,
        starts: Arc<dyn StartOffsets>,
    ) -> Result<Self, Error> {
        let group = format!("{}.sink", cfg.prefix);
        let mut settings = client::settings(cfg)?;
        client::member(&mut settings, cfg, &group);
        // A start that is not in the log is an error, never a silent jump to either end.
        settings.set("auto.offset.reset", "error");
        // Bounds the records that the library fetches ahead, and one answer of the brokers, which it unpacks as a whole. Both are
        // compressed and grow several times. A larger record arrives alone.
        let ahead = (max_bytes / 4).clamp(1 << 20, 64 << 20);
        client::tune(&mut settings, &["queued.max.messages.kbytes"], (ahead / 1024).to_string());
        // The library refuses an answer that is smaller than the largest message.
        client::tune(&mut settings, &["fetch.max.bytes", "message.max.bytes"], ahead.to_string());
        client::tune(&mut settings, &["fetch.message.max.bytes", "max.partition.fetch.bytes"], (ahead / 4).to_string());
        // After a full queue the library pauses for a second by default, which is longer than a batch takes.
        client::tune(&mut settings, &["fetch.queue.backoff.ms"], "20");
        let (sender, events) = mpsc::unbounded_channel();
        let (seeks, seek_receiver) = std::sync::mpsc::channel();
        let budget = Arc::new(Budget { max_bytes, max_records, ..Budget::default() });
        let stop = CancellationToken::new();
        let membership = Membership::new(starts, Handle::current(), cfg.timeout, sender);
        let member: BaseConsumer<Membership> = client::create(&settings, membership)?;
        let names: Vec<&str> = topics.collections().iter().map(|topic| &*topic.name).collect();
        member.subscribe(&names).map_err(Error::kafka("join the group", &group))?;
        let reader = PollThread {
            member,
            group,
            names: topics.collections().iter().map(|topic| Arc::clone(&topic.name)).collect(),
            budget: Arc::clone(&budget),
            seeks: seek_receiver,
            waiting: Vec::new(),
            flow: Flow::Open,
            stop: stop.clone(),
            timeout: cfg.timeout,
        };
        let thread = std::thread::Builder::new()
            .name("log-consumer".to_owned())
            .spawn(move || reader.run())
            .map_err(|_| Error::Ended("consumer"))?;
        let assigned = HashMap::new();
        Ok(Self { events, seeks, assignments: 0, assigned, budget, stop, thread: Some(thread) })
    }

    /// Waits for the next event. Cancel-safe.
    ///
    /// # Errors
    /// Fails with the error that ended the consumer, and with [`Error::Ended`] after that.
    pub async fn next(&mut self) -> Result<ConsumerEvent, Error> {
        let event = self.events.recv().await.unwrap_or(Err(Error::Ended("consumer")));
        self.taken(&event);
        event
    }

    /// Returns the next event if there is one.
    ///
    /// # Errors
    /// Fails like [`Consumer::next`].
    pub fn try_next(&mut self) -> Result<Option<ConsumerEvent>, Error> {
        match self.events.try_recv() {
            Ok(event) => {
                self.taken(&event);
                event.map(Some)
            }
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(Error::Ended("consumer")),
        }
    }

    /// Returns the bytes of the waiting records, which exceed the bound by at most one record.
    pub fn waiting_bytes(&self) -> usize {
        self.budget.bytes.load(Ordering::Relaxed)
    }

    fn taken(&mut self, event: &Result<ConsumerEvent, Error>) {
        match event {
            Ok(ConsumerEvent::Fetched(record)) => self.budget.give_back(record.size_bytes()),
            Ok(ConsumerEvent::Assigned(partitions)) => {
                self.assignments += 1;
                self.assigned.extend(partitions.iter().map(|partition| (partition.clone(), self.assignments)));
            }
            _ => {}
        }
    }

    /// Asks for a partition to be read again from `offset`; [`ConsumerEvent::Sought`] marks the place.
    ///
    /// The seek belongs to the last assignment that was returned as an event. If the partition has been revoked since, the seek is
    /// ignored, even if the partition has been assigned again, because its start was then looked up again.
    pub fn seek(&self, partition: TopicPartition, offset: i64) {
        let assignment = self.assigned.get(&partition).copied().unwrap_or(0);
        // Without the thread there is nothing to seek in, and `next` reports that.
        let _ = self.seeks.send(Seek { partition, assignment, offset, since: Instant::now() });
    }

    /// Leaves the group and waits for it, so that others take over at once.
    ///
    /// # Errors
    /// Fails with [`Error::Ended`] if the thread panicked.
    pub async fn close(mut self) -> Result<(), Error> {
        self.stop.cancel();
        let thread = self.thread.take();
        client::blocking("consumer", move || match thread.map(std::thread::JoinHandle::join) {
            Some(Err(_)) => Err(Error::Ended("consumer")),
            Some(Ok(())) | None => Ok(()),
        })
        .await
    }
}

impl Drop for Consumer {
    /// Leaves the group without waiting for it.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The records that wait between the thread and the sink.
#[derive(Debug, Default)]
struct Budget {
    max_bytes: usize,
    max_records: usize,
    bytes: AtomicUsize,
    records: AtomicUsize,
}

impl Budget {
    fn take(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.records.fetch_add(1, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.records.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.is_above(self.max_bytes, self.max_records)
    }

    /// Returns whether half is free. Resuming earlier is not worth it, because a pause discards what the library has fetched ahead.
    fn has_room(&self) -> bool {
        !self.is_above(self.max_bytes.div_ceil(2), self.max_records.div_ceil(2))
    }

    fn is_above(&self, bytes: usize, records: usize) -> bool {
        self.bytes.load(Ordering::Relaxed) >= bytes || self.records.load(Ordering::Relaxed) >= records
    }
}

#[derive(Clone, Debug)]
struct Seek {
    partition: TopicPartition,
    /// The number of the assignment that the seek belongs to.
    assignment: u64,
    offset: i64,
    since: Instant,
}

/// The state of the polling thread.
struct PollThread {
    member: BaseConsumer<Membership>,
    group: String,
    names: HashSet<Arc<str>>,
    budget: Arc<Budget>,
    seeks: std::sync::mpsc::Receiver<Seek>,
    /// Seeks whose partition was not ready yet.
    waiting: Vec<Seek>,
    flow: Flow,
    stop: CancellationToken,
    timeout: Duration,
}

/// Whether records are read.
#[derive(Clone, Copy)]
enum Flow {
    Open,
    /// There is no room, and nothing is polled.
    Full {
        since: Instant,
    },
    /// There has been no room for long, and only assignments are polled.
    Paused,
}

impl PollThread {
    fn run(mut self) {
        if let Err(error) = self.read() {
            self.membership().send(Err(error));
        }
        // Dropping the member closes it and reports its partitions as revoked.
    }

    fn membership(&self) -> &Membership {
        self.member.context()
    }

    fn read(&mut self) -> Result<(), Error> {
        while !self.stop.is_cancelled() {
            self.seek()?;
            let wait = match self.flow()? {
                Flow::Open => POLL_INTERVAL,
                Flow::Paused => PAUSED_POLL,
                Flow::Full { .. } => {
                    std::thread::park_timeout(FULL_QUEUE_POLL);
                    continue;
                }
            };
            let outcome = self.member.poll(wait).map(|polled| polled.map(|message| self.fetched(&message)));
            if let Some(error) = lock(&self.membership().failure).take() {
                return Err(error);
            }
            match outcome {
                None => {}
                Some(Ok(record)) => {
                    self.budget.take(record.size_bytes());
                    self.membership().send(Ok(ConsumerEvent::Fetched(record)));
                }
                Some(Err(error)) => self.judge(error)?,
            }
        }
        Ok(())
    }

    /// Returns an error that ends the membership; the library recovers from all others by itself.
    fn judge(&self, error: KafkaError) -> Result<(), Error> {
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let error = Error::kafka("read as a member of", &self.group)(error);
        if fatal || error.class() == Class::Halt {
            return Err(error);
        }
        tracing::debug!(group = self.group, error = %chain(&error), "consumer");
        Ok(())
    }

    fn flow(&mut self) -> Result<Flow, Error> {
        self.flow = match self.flow {
            Flow::Open if self.budget.is_full() => Flow::Full { since: Instant::now() },
            Flow::Full { .. } if !self.budget.is_full() => Flow::Open,
            Flow::Full { since } if since.elapsed() >= CLOSE_TIMEOUT => {
                self.pause(true)?;
                Flow::Paused
            }
            Flow::Paused if self.budget.has_room() => {
                self.pause(false)?;
                Flow::Open
            }
            unchanged => unchanged,
        };
        Ok(self.flow)
    }

    fn pause(&self, paused: bool) -> Result<(), Error> {
        let membership = self.membership();
        let partitions = membership.assigned_list();
        let done = if paused { self.member.pause(&partitions) } else { self.member.resume(&partitions) };
        done.map_err(Error::kafka("pause or resume the partitions of", &self.group))?;
        membership.paused.store(paused, Ordering::Relaxed);
        Ok(())
    }

    /// Executes the waiting seeks. A partition that was just assigned may refuse, so a seek is repeated until the timeout.
    fn seek(&mut self) -> Result<(), Error> {
        self.waiting.extend(self.seeks.try_iter());
        for seek in std::mem::take(&mut self.waiting) {
            let Seek { partition: TopicPartition { topic, partition }, assignment, offset, since } = &seek;
            if lock(&self.membership().assigned).get(&seek.partition) != Some(assignment) {
                continue;
            }
            let mut list = TopicPartitionList::new();
            let sought = list
                .add_partition_offset(topic, *partition, Offset::Offset(*offset))
                .and_then(|()| self.member.seek_partitions(list, self.timeout))
                .and_then(|list| list.elements().iter().try_for_each(|element| element.error()));
            match sought {
                Ok(()) => {
                    self.membership()
                        .send(Ok(ConsumerEvent::Sought { partition: seek.partition.clone(), offset: *offset }));
                }
                Err(_) if since.elapsed() < self.timeout => self.waiting.push(seek),
                Err(error) => return Err(Error::kafka("seek in", &**topic)(error)),
            }
        }
        Ok(())
    }

    fn fetched(&self, message: &BorrowedMessage<'_>) -> Fetched {
        Fetched {
            topic: self.names.get(message.topic()).cloned().unwrap_or_else(|| message.topic().into()),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers(message),
        }
    }
}

/// Reads the headers. The library panics on a name that is not UTF-8; such a foreign record gets no headers, so it is malformed.
fn headers(message: &BorrowedMessage<'_>) -> Headers {
    let read = || -> Headers {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        headers.map(|header| (header.key, header.value.unwrap_or_default())).collect()
    };
    std::panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_default()
}

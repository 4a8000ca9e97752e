//! The thread that polls the client library, reads records and answers its calls.

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
};
use tokio_util::sync::CancellationToken;

use super::{
    budget::Budget,
    event::{ConsumerEvent, Fetched},
    membership::{Membership, lock},
};
use crate::{
    log::{Error, Headers, TopicPartition},
    retry::{Class, Classify, chain},
    tasks,
};

/// Longest delay until a stop or a seek is noticed.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The same while paused, and the longest delay until reading resumes when there is room again.
const PAUSED_POLL: Duration = Duration::from_millis(10);
/// Interval at which a full channel is checked.
const FULL_QUEUE_POLL: Duration = Duration::from_millis(2);
/// How long the channel may stay full before the partitions are paused. Assignments wait no longer than this.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
#[derive(Clone, Debug)]
pub(super) struct Seek {
    pub(super) partition: TopicPartition,
    /// The number of the assignment that the seek belongs to.
    pub(super) assignment: u64,
    pub(super) offset: i64,
    pub(super) since: Instant,
}

/// The state of the polling thread.
pub(super) struct PollThread {
    pub(super) member: BaseConsumer<Membership>,
    pub(super) group: String,
    pub(super) names: HashSet<Arc<str>>,
    pub(super) budget: Arc<Budget>,
    pub(super) seeks: std::sync::mpsc::Receiver<Seek>,
    /// Seeks whose partition was not ready yet.
    pub(super) waiting: Vec<Seek>,
    pub(super) flow: Flow,
    pub(super) stop: CancellationToken,
    pub(super) timeout: Duration,
}

/// Whether records are read.
#[derive(Clone, Copy)]
pub(super) enum Flow {
    Open,
    /// There is no room, and nothing is polled.
    Full {
        since: Instant,
    },
    /// There has been no room for long, and only assignments are polled.
    Paused,
}

impl PollThread {
    pub(super) fn run(mut self) {
        let ended = tasks::caught("consumer", || self.read());
        if let Err(error) = ended.unwrap_or_else(|panicked| Err(panicked.into())) {
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

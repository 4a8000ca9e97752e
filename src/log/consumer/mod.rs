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

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use self::{
    budget::Budget,
    membership::Membership,
    poll::{Flow, PollThread, Seek},
};
use super::{Error, TopicPartition, Topics, client};
use crate::config::LogConfig;

mod budget;
mod event;
mod membership;
mod poll;

pub use event::{ConsumerEvent, Fetched, StartOffsets};

/// Returns the consumer group of the sink. That of a replay into a schema reads the same topics for itself.
pub(super) fn group(prefix: &str, into: Option<&str>) -> String {
    into.map_or_else(|| format!("{prefix}.sink"), |schema| format!("{prefix}.sink.{schema}"))
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
        let group = group(&cfg.prefix, cfg.into.as_deref());
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
        #[expect(clippy::disallowed_methods, reason = "the budget bounds what is in it, and the thread may never wait")]
        let (sender, events) = mpsc::unbounded_channel();
        #[expect(clippy::disallowed_methods, reason = "the sink seeks once for each partition whose offset has moved")]
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
                self.assigned.extend(partitions.iter().map(|(partition, _)| (partition.clone(), self.assignments)));
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

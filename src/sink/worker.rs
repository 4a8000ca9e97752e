//! The loop that brings the log into PostgreSQL: one consumer, one connection, one batch at a time.
//!
//! ```text
//!  consumer ─▶ batcher ─▶ plan ─▶ applier ─▶ next
//!                 └─ the next batch is full already: planned while this one is written
//! ```
//!
//! A batch is whatever is there when the last one has been committed, up to the configured bounds: one change alone when it
//! is quiet, thousands when it is not. There is no timer and no linger.
//!
//! While PostgreSQL is away the batch is tried again for ever; the consumer's own thread keeps the membership of the group
//! alive, and its bounded queue is all that fills. Stopping finishes the open transaction and begins no other.
//!
//! A batch that was planned ahead may be overtaken: its partition is revoked, or its position moved. Every transaction checks
//! the positions that its batch starts from, so nothing is applied twice; the batch is given up and read again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Prepared,
    applier::{Applier, BatchEnd, Planned},
    batcher::{self, Batcher},
    plan::{self, Batch},
    rate_limiter::RateLimiter,
    stored_offsets::StoredOffsets,
};
use crate::{
    config::{LogConfig, SinkConfig},
    log::{Consumer, ConsumerEvent, Fetched, TopicPartition, Topics},
    postgres::{Error, Postgres},
    retry::{self, Backoff, Class, Classify, Stalls},
    status::Status,
};

/// A worker of the sink.
pub struct Worker {
    /// PostgreSQL.
    pub target: Postgres,
    /// The plan, made ready.
    pub prepared: Arc<Prepared>,
    /// Bounds of batches and dead letters.
    pub config: SinkConfig,
    /// Kafka.
    pub log: LogConfig,
    /// The verified topics.
    pub topics: Topics,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// Hears when this worker has to wait, and when it goes on.
    pub stalls: Stalls,
    /// Where losses are told.
    pub status: Status,
}

impl Worker {
    /// Runs until cancelled.
    ///
    /// # Errors
    /// Those that halt: PostgreSQL's positions are as they were, so a start after the repair goes on where this stopped.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        // Not `cancel`: it would drop a batch half-way, where draining finishes it.
        let never = CancellationToken::new();
        let stalled = |error: &Error, delay| self.stalled(error, delay);
        let ended = retry::retry_transient(self.backoff, &never, stalled, || async {
            if cancel.is_cancelled() {
                return Ok(());
            }
            match self.consume_again(&cancel).await {
                Err(error) if cancel.is_cancelled() && error.class() == Class::Transient => Ok(()),
                ended => ended,
            }
        });
        ended.await.map(|_| ())
    }

    pub(super) fn stalled(&self, error: &Error, delay: Duration) {
        let reason = retry::chain(error);
        warn!(reason, delay_ms = delay.as_millis(), "sink waits and tries again");
        self.stalls.waits(reason);
    }

    /// Applies until cancelled or until the consumer ends. After a replay from the earliest record the group is joined anew:
    /// that is what an operator asked for, and no stall.
    async fn consume_again(&self, cancel: &CancellationToken) -> Result<(), Error> {
        loop {
            match self.consume(cancel).await {
                Err(Error::OffsetMoved { topic, partition, found: None, .. }) => {
                    info!(topic, partition, "position moved to the earliest record, joining again to read from there");
                }
                ended => return ended,
            }
        }
    }

    /// Joins the group and applies until cancelled or until the consumer ends.
    async fn consume(&self, cancel: &CancellationToken) -> Result<(), Error> {
        let starts = Arc::new(StoredOffsets::new(self.target.clone()));
        let bytes = usize::try_from(self.config.queue_bytes.as_u64()).unwrap_or(usize::MAX);
        let records = self.config.batch_changes.saturating_mul(2);
        let consumer = Consumer::join(&self.log, &self.topics, bytes, records, starts.clone()).map_err(Error::Log)?;
        let mut reading = Reading { worker: self, consumer, starts, batcher: Batcher::default(), ahead: None };
        self.drain(&mut reading, cancel).await?;
        reading.consumer.close().await.map_err(Error::Log)
    }

    async fn drain(&self, reading: &mut Reading<'_>, cancel: &CancellationToken) -> Result<(), Error> {
        let mut applier = Applier::new(self);
        let mut limiter = RateLimiter::new(self.rate());
        while let Some(planned) = reading.next(cancel).await? {
            let free = tokio::time::sleep_until(limiter.next(Instant::now(), planned.batch.changes).into());
            if cancel.run_until_cancelled(free).await.is_none() {
                break;
            }
            let due = applier.due(&reading.batcher).await?;
            self.try_parked(&mut applier, due, cancel).await?;
            reading.look_ahead()?;
            if let BatchEnd::Moved(positions) = applier.apply(&planned, cancel).await? {
                reading.turn_back(&planned, &positions)?;
            }
            // What the batch has freed may free others in turn.
            while !cancel.is_cancelled()
                && let Some(freed) = applier.freed().await?
            {
                self.try_parked(&mut applier, freed, cancel).await?;
            }
        }
        Ok(())
    }

    async fn try_parked(
        &self,
        applier: &mut Applier<'_>,
        parked: Vec<Fetched>,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        if !parked.is_empty() {
            let batch = self.plan(Vec::new(), parked).await.map_err(lost)??;
            applier.apply(&Planned { batch, starts: batcher::ExpectedOffsets::new() }, cancel).await?;
        }
        Ok(())
    }

    /// Decoding and mapping take a core for a while: away from the threads that serve connections.
    fn plan(&self, records: Vec<Fetched>, parked: Vec<Fetched>) -> JoinHandle<Result<Batch, Error>> {
        let (prepared, topics) = (self.prepared.clone(), self.topics.clone());
        tokio::task::spawn_blocking(move || {
            let mut batch = plan::plan(records, parked, prepared.all())?;
            batch.file(|topic| prepared.named(&topics.named(topic)?.namespace.collection));
            Ok(batch)
        })
    }

    /// This worker's part of the rate; none without a limit.
    fn rate(&self) -> Option<usize> {
        (self.config.rate > 0).then(|| self.config.rate.div_ceil(self.config.workers.max(1)))
    }
}

fn lost(_: tokio::task::JoinError) -> Error {
    Error::Task { act: "plan a batch" }
}

/// The side of a worker that reads: one membership of the consumer group.
struct Reading<'a> {
    worker: &'a Worker,
    consumer: Consumer,
    starts: Arc<StoredOffsets>,
    batcher: Batcher,
    /// The batch after the one that is being written, and where it starts.
    ahead: Option<(batcher::ExpectedOffsets, JoinHandle<Result<Batch, Error>>)>,
}

impl Reading<'_> {
    /// The next batch, as soon as there is anything; `None` when cancelled.
    async fn next(&mut self, cancel: &CancellationToken) -> Result<Option<Planned>, Error> {
        let (starts, batch) = loop {
            if cancel.is_cancelled() {
                return Ok(None);
            }
            if let Some(ahead) = self.ahead.take() {
                break ahead;
            }
            self.gather()?;
            if let Some((records, starts)) = self.batcher.batch() {
                break (starts, self.worker.plan(records, Vec::new()));
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(None),
                event = self.consumer.next() => {
                    let event = event.map_err(Error::Log)?;
                    self.take(event);
                }
            }
        };
        Ok(Some(Planned { batch: batch.await.map_err(lost)??, starts }))
    }

    /// StoredOffsets to plan the next batch if all of it is there. Less is left to grow until it is wanted.
    fn look_ahead(&mut self) -> Result<(), Error> {
        self.gather()?;
        if self.is_full()
            && let Some((records, starts)) = self.batcher.batch()
        {
            self.ahead = Some((starts, self.worker.plan(records, Vec::new())));
        }
        Ok(())
    }

    /// Takes what is there, up to a batch.
    fn gather(&mut self) -> Result<(), Error> {
        while !self.is_full()
            && let Some(event) = self.consumer.try_next().map_err(Error::Log)?
        {
            self.take(event);
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        let config = &self.worker.config;
        // With a limited rate, no batch is more than a second's worth.
        let changes = self.worker.rate().map_or(config.batch_changes, |rate| rate.min(config.batch_changes));
        self.batcher.is_full(changes, usize::try_from(config.batch_bytes.as_u64()).unwrap_or(usize::MAX))
    }

    fn take(&mut self, event: ConsumerEvent) {
        match &event {
            ConsumerEvent::Assigned(partitions) => {
                info!(count = partitions.len(), "partitions assigned");
                self.worker.stalls.goes_on();
            }
            ConsumerEvent::Revoked(partitions) => info!(count = partitions.len(), "partitions revoked"),
            ConsumerEvent::Fetched(_) | ConsumerEvent::Sought { .. } => {}
        }
        let starts = &self.starts;
        self.batcher.take(event, |partition| starts.given(partition));
    }

    /// Goes on where PostgreSQL says, and reads again what was planned ahead. A partition that stands at the end of the batch
    /// was applied by it after all (the answer to COMMIT was lost), or by another worker: both are settled.
    ///
    /// # Errors
    /// [`Error::OffsetMoved`] when a partition has to start at the earliest record: only an assignment can do that, because
    /// retention may have removed offset 0.
    fn turn_back(&mut self, planned: &Planned, positions: &[Option<i64>]) -> Result<(), Error> {
        let mut back = self.ahead.take().map(|(starts, _)| starts).unwrap_or_default();
        for ((partition, range), position) in planned.batch.ranges.iter().zip(positions) {
            if *position != Some(range.next_offset) {
                back.insert(partition.clone(), *position);
            }
        }
        for (partition, position) in back {
            let TopicPartition { topic, partition: number } = &partition;
            let Some(offset) = position else {
                let expected = planned.starts.get(&partition).copied().flatten();
                return Err(Error::OffsetMoved { topic: topic.to_string(), partition: *number, expected, found: None });
            };
            info!(topic = &**topic, partition = number, offset, "position moved, reading from there");
            failpoint!(blocking SINK_SEEK);
            self.batcher.moved(&partition, offset);
            self.consumer.seek(partition, offset);
        }
        Ok(())
    }
}

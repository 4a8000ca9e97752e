//! Reads the log in batches, and plans the next one while one is applied.
//!
//! ```text
//!  log ─▶ batcher ─▶ planner ─▶ next()
//!             └─ a full batch is there already: planned ahead by look_ahead()
//! ```
//!
//! A batch that was planned ahead may be overtaken: its partition is revoked, or its position moved. Every transaction checks
//! the positions that its batch starts from, so nothing is applied twice; [`BatchReader::rewind`] throws the batch away, and its
//! records are read again.

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    batcher::{Batcher, ExpectedOffsets},
    plan::Batch,
    planner::{Planner, Planning},
};
use crate::{
    log::{Consumer, ConsumerEvent, TopicPartition},
    postgres::Error,
    retry::Stalls,
};

/// The log as a worker reads it: one membership of the consumer group. The simulation has one in memory.
pub(super) trait Log {
    /// Waits for the next event. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Log`]
    async fn next(&mut self) -> Result<ConsumerEvent, Error>;

    /// The next event, if one is there already.
    ///
    /// # Errors
    /// [`Error::Log`]
    fn try_next(&mut self) -> Result<Option<ConsumerEvent>, Error>;

    /// Asks for a partition to be read again from an offset, see [`Consumer::seek`].
    fn seek(&mut self, partition: TopicPartition, offset: i64);
}

impl Log for Consumer {
    async fn next(&mut self) -> Result<ConsumerEvent, Error> {
        Consumer::next(self).await.map_err(Error::Log)
    }

    fn try_next(&mut self) -> Result<Option<ConsumerEvent>, Error> {
        Consumer::try_next(self).map_err(Error::Log)
    }

    fn seek(&mut self, partition: TopicPartition, offset: i64) {
        Consumer::seek(self, partition, offset);
    }
}

/// A batch that is planned, and the positions that it starts from.
pub(super) struct Planned {
    pub(super) batch: Batch,
    pub(super) starts: ExpectedOffsets,
}

/// Bounds of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchBounds {
    /// Records; the one that reaches them is the last.
    pub(super) records: usize,
    /// Bytes of the records; the one that reaches them is the last.
    pub(super) bytes: usize,
}

/// The side of a worker that reads.
pub(super) struct BatchReader<L> {
    log: L,
    planner: Planner,
    bounds: BatchBounds,
    /// Hears that the worker goes on when partitions are assigned.
    stalls: Stalls,
    batcher: Batcher,
    /// The batch after the one that is being applied, and the positions that it starts from.
    ahead: Option<(ExpectedOffsets, Planning)>,
}

impl<L: Log> BatchReader<L> {
    pub(super) fn new(log: L, planner: Planner, bounds: BatchBounds, stalls: Stalls) -> Self {
        Self { log, planner, bounds, stalls, batcher: Batcher::default(), ahead: None }
    }

    /// Gives the log back.
    pub(super) fn into_log(self) -> L {
        self.log
    }

    /// The partitions that this worker reads.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.batcher.partitions()
    }

    /// The next batch, as soon as there is a record; `None` when cancelled.
    pub(super) async fn next(&mut self, cancel: &CancellationToken) -> Result<Option<Planned>, Error> {
        let (starts, planning) = loop {
            if cancel.is_cancelled() {
                return Ok(None);
            }
            if let Some(ahead) = self.ahead.take() {
                break ahead;
            }
            self.gather()?;
            if let Some((records, starts)) = self.batcher.batch() {
                break (starts, self.planner.plan(records, Vec::new()));
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(None),
                event = self.log.next() => {
                    let event = event?;
                    self.take(event);
                }
            }
        };
        Ok(Some(Planned { batch: planning.batch().await?, starts }))
    }

    /// Begins to plan the next batch if a full one is there. A smaller one is left to grow until it is wanted.
    pub(super) fn look_ahead(&mut self) -> Result<(), Error> {
        self.gather()?;
        if self.is_full()
            && let Some((records, starts)) = self.batcher.batch()
        {
            self.ahead = Some((starts, self.planner.plan(records, Vec::new())));
        }
        Ok(())
    }

    /// Goes on from the positions that PostgreSQL holds, in the order of the batch's ranges, and throws away the batch that was
    /// planned ahead. A partition whose position is the end of the batch needs nothing: the batch was applied after all (the
    /// answer to COMMIT was lost), or another worker has applied it.
    ///
    /// # Errors
    /// [`Error::OffsetMoved`] when a partition has to start at the earliest record: only an assignment can do that, because
    /// retention may have removed offset 0.
    pub(super) fn rewind(&mut self, planned: &Planned, positions: &[Option<i64>]) -> Result<(), Error> {
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
            self.log.seek(partition, offset);
        }
        Ok(())
    }

    /// Takes the events that are there, up to a full batch.
    fn gather(&mut self) -> Result<(), Error> {
        while !self.is_full()
            && let Some(event) = self.log.try_next()?
        {
            self.take(event);
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.batcher.is_full(self.bounds.records, self.bounds.bytes)
    }

    fn take(&mut self, event: ConsumerEvent) {
        match &event {
            ConsumerEvent::Assigned(partitions) => {
                info!(count = partitions.len(), "partitions assigned");
                self.stalls.goes_on();
            }
            ConsumerEvent::Revoked(partitions) => info!(count = partitions.len(), "partitions revoked"),
            ConsumerEvent::Fetched(_) | ConsumerEvent::Sought { .. } => {}
        }
        self.batcher.take(event);
    }
}

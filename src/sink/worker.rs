//! The loop that brings the log into PostgreSQL: one consumer, one connection, one batch at a time.
//!
//! A batch is whatever is there when the last one has been committed, up to the configured bounds: one change alone when it
//! is quiet, thousands when it is not. There is no timer and no linger.
//!
//! While PostgreSQL is away the batch is tried again for ever; the consumer's own thread keeps the membership of the group
//! alive, and its bounded queue is all that fills. Stopping finishes the open transaction and begins no other.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use metrics::{counter, histogram};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Error, Limits, Outcome, Prepared, Purpose, Session, Target, apply, checkpoint, dead_letter,
    intake::Intake,
    plan::{self, Batch},
    starts::Starts,
};
use crate::{
    config::{LogConfig, SinkConfig},
    log::{Consumer, ConsumerEvent, Fetched, TopicPartition, Topics},
    metrics as names,
    retry::{self, Backoff, Class, Classify, Stalls},
    status::Status,
};

/// Pause between looks for parked documents that are due; also the shortest delay between two attempts of one.
const PARKED_PAUSE: Duration = Duration::from_secs(1);
/// Parked documents that join a batch.
const PARKED_AT_ONCE: usize = 1_000;

/// A worker of the sink.
pub struct Worker {
    /// PostgreSQL.
    pub target: Target,
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
        let ended = retry::until_settled(self.backoff, &never, stalled, || async {
            if cancel.is_cancelled() {
                return Ok(());
            }
            match self.consume(&cancel).await {
                Err(error) if cancel.is_cancelled() && error.class() == Class::Transient => Ok(()),
                ended => ended,
            }
        });
        ended.await.map(|_| ())
    }

    fn stalled(&self, error: &Error, delay: Duration) {
        let reason = retry::chain(error);
        warn!(reason, delay_ms = delay.as_millis(), "sink waits and tries again");
        (self.stalls)(Some(reason));
    }

    /// Joins the group and applies until cancelled or until the consumer ends.
    async fn consume(&self, cancel: &CancellationToken) -> Result<(), Error> {
        let starts = Arc::new(Starts::new(self.target.clone()));
        let bytes = usize::try_from(self.config.queue_bytes.as_u64()).unwrap_or(usize::MAX);
        let records = self.config.batch_changes.saturating_mul(2);
        let consumer = Consumer::join(&self.log, &self.topics, bytes, records, starts.clone()).map_err(Error::Log)?;
        let mut run = Run {
            worker: self,
            consumer,
            starts,
            intake: Intake::default(),
            session: Mutex::new(None),
            lost: VecDeque::new(),
            looked_for_parked: None,
        };
        let ended = run.drain(cancel).await;
        match ended {
            Ok(()) => run.consumer.close().await.map_err(Error::Log),
            Err(error) => Err(error),
        }
    }
}

/// One membership of the consumer group.
struct Run<'a> {
    worker: &'a Worker,
    consumer: Consumer,
    starts: Arc<Starts>,
    intake: Intake,
    /// Empty until needed, and after every failure.
    session: Mutex<Option<Session>>,
    /// New dead letters of the last while.
    lost: VecDeque<(Instant, usize)>,
    looked_for_parked: Option<Instant>,
}

/// How an attempt to apply a batch ended.
enum Attempt {
    Applied(Outcome),
    /// PostgreSQL holds other positions than the batch starts from.
    Moved(Vec<Option<i64>>),
}

impl Run<'_> {
    async fn drain(&mut self, cancel: &CancellationToken) -> Result<(), Error> {
        loop {
            let event = tokio::select! {
                biased;
                // First, so that a full queue cannot keep the daemon from stopping.
                () = cancel.cancelled() => return Ok(()),
                event = self.consumer.next() => event.map_err(Error::Log)?,
            };
            self.take(event);
            let (changes, bytes) = (self.worker.config.batch_changes, self.worker.config.batch_bytes.as_u64());
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            while !self.intake.is_full(changes, bytes)
                && let Some(event) = self.consumer.try_next().map_err(Error::Log)?
            {
                self.take(event);
            }
            if let Some(records) = self.intake.batch() {
                self.settle(records, cancel).await?;
            }
        }
    }

    fn take(&mut self, event: ConsumerEvent) {
        match &event {
            ConsumerEvent::Assigned(partitions) => info!(count = partitions.len(), "partitions assigned"),
            ConsumerEvent::Revoked(partitions) => {
                info!(count = partitions.len(), "partitions revoked");
            }
            ConsumerEvent::Fetched(_) | ConsumerEvent::Sought { .. } => {}
        }
        let starts = &self.starts;
        self.intake.take(event, |partition| starts.given(partition));
    }

    /// Brings the records into PostgreSQL, however long it takes, or finds that they have to be read again.
    async fn settle(&mut self, records: Vec<Fetched>, cancel: &CancellationToken) -> Result<(), Error> {
        let parked = self.parked().await;
        let prepared = self.worker.prepared.clone();
        let planned = tokio::task::spawn_blocking(move || plan::plan(records, parked, prepared.all()));
        let batch = planned.await.map_err(|_| Error::Task { act: "plan a batch" })??;
        let partitions = batch.passages.keys().cloned().collect::<Vec<_>>();
        let expected = partitions.iter().map(|partition| self.intake.expected(partition)).collect::<Vec<_>>();
        let limits = self.limits();
        let started = Instant::now();
        // A stop lets the open attempt finish; it ends the attempts that would follow.
        let enough = CancellationToken::new();
        let attempt = retry::until_settled(
            self.worker.backoff,
            &enough,
            |error, delay| {
                self.worker.stalled(error, delay);
                if cancel.is_cancelled() {
                    enough.cancel();
                }
            },
            || self.attempt(&batch, &partitions, &expected, &limits),
        );
        match attempt.await? {
            None => {}
            Some(Attempt::Applied(outcome)) => {
                (self.worker.stalls)(None);
                histogram!(names::SINK_BATCH_SECONDS).record(started.elapsed());
                histogram!(names::SINK_BATCH_CHANGES).record(batch.changes as f64);
                self.applied(&batch, outcome);
            }
            Some(Attempt::Moved(positions)) => self.moved(&batch, &expected, &positions)?,
        }
        Ok(())
    }

    async fn attempt(
        &self,
        batch: &Batch,
        partitions: &[TopicPartition],
        expected: &[Option<i64>],
        limits: &Limits,
    ) -> Result<Attempt, Error> {
        let mut slot = self.session.lock().await;
        // Taken out while in use, so that a failed session is never used again.
        let session = match slot.take() {
            Some(session) => session,
            None => self.worker.target.open(Purpose::Apply).await?,
        };
        let attempt = match apply(&session, &self.worker.prepared, batch, expected, limits).await {
            Ok(outcome) => Attempt::Applied(outcome),
            Err(Error::OffsetMoved { .. }) => {
                let positions = checkpoint::read(&session, partitions).await?;
                Attempt::Moved(positions.into_iter().map(|position| position.next_offset).collect())
            }
            Err(error) => return Err(error),
        };
        *slot = Some(session);
        Ok(attempt)
    }

    fn applied(&mut self, batch: &Batch, outcome: Outcome) {
        for (partition, position) in outcome.positions {
            self.intake.applied(&partition, position.next_offset.unwrap_or(0));
        }
        for partition in outcome.unmet {
            let collection = self.worker.topics.named(&partition.topic).map(|topic| topic.namespace.collection.clone());
            counter!(names::SINK_FRONTIER_MISMATCHES, "collection" => collection.unwrap_or_default()).increment(1);
            warn!(
                topic = &*partition.topic,
                partition = partition.partition,
                "the publisher counted other changes than are in the log"
            );
        }
        for (collection, counts) in outcome.counts {
            for (what, count) in [
                ("applied", counts.applied),
                ("superseded", counts.superseded),
                ("dead_lettered", counts.dead_lettered),
                ("parked", counts.parked),
            ] {
                let labels = [("collection", collection.clone()), ("outcome", what.to_owned())];
                counter!(names::SINK_CHANGES, &labels).increment(count);
            }
        }
        for ((collection, column, loss), count) in outcome.losses {
            self.worker.status.lost(&collection, &column, loss.as_str(), count);
        }
        for (table, (written, removed)) in outcome.touched {
            for (act, count) in [("upsert", written), ("delete", removed)] {
                counter!(names::SINK_ROWS, &[("table", table.clone()), ("act", act.to_owned())]).increment(count);
            }
        }
        counter!(names::SINK_UNMAPPED).increment(batch.unmapped);
        if batch.unmapped > 0 {
            warn!(count = batch.unmapped, "changes of collections that the mapping does not name were passed over");
        }
        let lost = outcome.dead_letters.values().sum::<usize>();
        for ((owner, reason), count) in outcome.dead_letters {
            warn!(owner, reason = reason.as_str(), count, "dead letters written");
        }
        if lost > 0 {
            self.lost.push_back((Instant::now(), lost));
        }
    }

    /// Goes on where PostgreSQL says. A partition that stands at the end of the batch was applied by it after all (the
    /// answer to COMMIT was lost), or by another worker: both are settled.
    ///
    /// # Errors
    /// [`Error::OffsetMoved`] when a partition has to start at the earliest record: only an assignment can do that, because
    /// retention may have removed offset 0.
    fn moved(&mut self, batch: &Batch, expected: &[Option<i64>], positions: &[Option<i64>]) -> Result<(), Error> {
        for ((partition, passage), (expected, position)) in batch.passages.iter().zip(expected.iter().zip(positions)) {
            match *position {
                Some(position) if position == passage.next_offset => self.intake.applied(partition, position),
                Some(offset) => {
                    let TopicPartition { topic, partition: number } = partition;
                    info!(topic = &**topic, partition = number, offset, "position moved, reading from there");
                    self.intake.moved(partition, offset);
                    self.consumer.seek(partition.clone(), offset);
                }
                None => {
                    return Err(Error::OffsetMoved {
                        topic: partition.topic.to_string(),
                        partition: partition.partition,
                        expected: *expected,
                        found: None,
                    });
                }
            }
        }
        Ok(())
    }

    /// Parked documents that are due. A failure is no reason to hold the batch back: they stay parked.
    async fn parked(&mut self) -> Vec<Fetched> {
        if self.looked_for_parked.is_some_and(|last| last.elapsed() < PARKED_PAUSE) {
            return Vec::new();
        }
        self.looked_for_parked = Some(Instant::now());
        let mut slot = self.session.lock().await;
        let Some(session) = slot.take() else { return Vec::new() };
        match dead_letter::due(&session, &self.intake.partitions(), PARKED_AT_ONCE).await {
            Ok(records) => {
                *slot = Some(session);
                records
            }
            Err(error) => {
                warn!(error = retry::chain(&error), "parked documents could not be read");
                Vec::new()
            }
        }
    }

    fn limits(&mut self) -> Limits {
        let (limit, window) = (self.worker.config.breaker_dead_letters, self.worker.config.breaker_window);
        while self.lost.front().is_some_and(|(at, _)| at.elapsed() > window) {
            self.lost.pop_front();
        }
        let lost = self.lost.iter().map(|(_, count)| count).sum::<usize>();
        Limits {
            dead_letters_left: limit.saturating_sub(lost),
            dead_letters: limit,
            window,
            parked_attempts: self.worker.config.parked_attempts,
        }
    }
}

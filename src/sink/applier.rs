//! Brings planned batches into PostgreSQL, however long it takes.
//!
//! While PostgreSQL is away a batch is tried again and again. It ends when it is applied, or when PostgreSQL holds other
//! positions than the batch starts from: then its records have to be read again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::histogram;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Limits, Outcome, Prepared, apply, batch_reader::Planned, breaker::Breaker, checkpoint, parked::ParkedDocuments,
    plan::Batch, planner::Planner, report::report,
};
use crate::{
    config::SinkConfig,
    log::{Fetched, TopicPartition, Topics},
    metrics as names,
    postgres::{Error, Postgres, Purpose, Session},
    retry::{self, Backoff, Class, Classify, Stalls},
    status::Status,
};

/// How a batch ended.
#[derive(Debug)]
pub(super) enum BatchEnd {
    /// It is applied.
    Applied,
    /// PostgreSQL holds these positions, in the order of the batch's ranges. Nothing was written.
    Moved(Vec<Option<i64>>),
    /// The daemon is stopping, and PostgreSQL is away.
    GivenUp,
}

/// Applies planned batches. The simulation has one in memory.
pub(super) trait Apply {
    /// Applies a batch, however long it takes, and before and after it the parked documents whose time has come; `partitions`
    /// are those of this worker. A stop lets the open attempt finish and begins no other.
    ///
    /// # Errors
    /// Those that halt.
    async fn apply(
        &mut self,
        planned: &Planned,
        partitions: &[TopicPartition],
        cancel: &CancellationToken,
    ) -> Result<BatchEnd, Error>;
}

/// The side of a worker that writes.
pub(super) struct Applier {
    pub(super) postgres: Postgres,
    pub(super) prepared: Arc<Prepared>,
    pub(super) planner: Planner,
    pub(super) config: SinkConfig,
    pub(super) topics: Topics,
    pub(super) backoff: Backoff,
    pub(super) stalls: Stalls,
    pub(super) status: Status,
    /// Empty until needed, and after every failure.
    pub(super) session: Mutex<Option<Session>>,
    pub(super) breaker: Breaker,
    pub(super) parked: ParkedDocuments,
}

/// How an attempt to apply a batch ended.
enum Attempt {
    Applied(Outcome),
    Moved(Vec<Option<i64>>),
}

impl Apply for Applier {
    async fn apply(
        &mut self,
        planned: &Planned,
        partitions: &[TopicPartition],
        cancel: &CancellationToken,
    ) -> Result<BatchEnd, Error> {
        let due = self.due(partitions).await?;
        self.apply_parked(due, cancel).await?;
        let Planned { batch, starts } = planned;
        let expected = batch.ranges.keys().map(|partition| starts.get(partition).copied().flatten());
        let end = self.apply_batch(batch, &expected.collect::<Vec<_>>(), cancel).await?;
        // Documents that were freed may free others in turn.
        while !cancel.is_cancelled()
            && let Some(freed) = self.freed().await?
        {
            self.apply_parked(freed, cancel).await?;
        }
        Ok(end)
    }
}

impl Applier {
    async fn apply_parked(&mut self, parked: Vec<Fetched>, cancel: &CancellationToken) -> Result<(), Error> {
        if !parked.is_empty() {
            let batch = self.planner.plan(Vec::new(), parked).batch().await?;
            self.apply_batch(&batch, &[], cancel).await?;
        }
        Ok(())
    }

    /// Tries until the batch is applied or its positions have moved.
    async fn apply_batch(
        &mut self,
        batch: &Batch,
        expected: &[Option<i64>],
        cancel: &CancellationToken,
    ) -> Result<BatchEnd, Error> {
        let limits = self.breaker.limits(Instant::now(), self.config.parked_attempts);
        let started = Instant::now();
        // Not `cancel`: it would end the attempt that is open.
        let no_more = CancellationToken::new();
        let stalled = |error: &Error, delay| {
            stalled(&self.stalls, error, delay);
            if cancel.is_cancelled() {
                no_more.cancel();
            }
        };
        let attempt = || self.attempt(batch, expected, &limits);
        match retry::retry_transient(self.backoff, &no_more, stalled, attempt).await? {
            None => Ok(BatchEnd::GivenUp),
            Some(Attempt::Moved(positions)) => Ok(BatchEnd::Moved(positions)),
            Some(Attempt::Applied(outcome)) => {
                self.status.committed();
                self.stalls.goes_on();
                histogram!(names::SINK_BATCH_SECONDS).record(started.elapsed());
                histogram!(names::SINK_BATCH_CHANGES).record(batch.changes as f64);
                self.parked.note(&self.prepared, &outcome, batch.is_retry(), started.elapsed());
                self.breaker.note(Instant::now(), &outcome, batch.is_retry());
                report(batch, &outcome, &self.topics, &self.status);
                Ok(BatchEnd::Applied)
            }
        }
    }

    async fn attempt(&self, batch: &Batch, expected: &[Option<i64>], limits: &Limits) -> Result<Attempt, Error> {
        let mut slot = self.session.lock().await;
        // Taken out while in use, so that a failed session is never used again.
        let session = match slot.take() {
            Some(session) => session,
            None => self.postgres.open(Purpose::Apply).await?,
        };
        let attempt = match apply(&session, &self.prepared, batch, expected, limits).await {
            Ok(outcome) => Attempt::Applied(outcome),
            Err(Error::OffsetMoved { .. }) => {
                let partitions = batch.ranges.keys().cloned().collect::<Vec<_>>();
                let positions = checkpoint::read(&session, &partitions).await?;
                Attempt::Moved(positions.into_iter().map(|position| position.next_offset).collect())
            }
            Err(error) => return Err(error),
        };
        *slot = Some(session);
        Ok(attempt)
    }

    /// Parked documents that are due, looked for now and then.
    ///
    /// # Errors
    /// Those that halt. Any other is no reason to hold a batch back: the documents stay parked.
    async fn due(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Fetched>, Error> {
        let slot = self.session.get_mut();
        let Some(session) = slot.take_if(|_| self.parked.is_time()) else { return Ok(Vec::new()) };
        let due = self.parked.due(&session, &self.prepared, &self.topics, &self.config, partitions).await;
        Ok(keep(slot, session, due)?.unwrap_or_default())
    }

    /// Parked documents that the last batch may have freed; `None` when there are none to be tried now.
    ///
    /// # Errors
    /// As [`Self::due`].
    async fn freed(&mut self) -> Result<Option<Vec<Fetched>>, Error> {
        let slot = self.session.get_mut();
        let Some(session) = slot.take() else { return Ok(None) };
        let freed = self.parked.freed(&session, &self.config).await;
        Ok(keep(slot, session, freed)?.flatten())
    }
}

/// Reports that a worker waits before it tries again.
pub(super) fn stalled(stalls: &Stalls, error: &Error, delay: Duration) {
    let reason = retry::chain(error);
    warn!(reason, delay_ms = delay.as_millis(), "sink waits and tries again");
    stalls.waits(reason, error.hint());
}

/// Keeps a session that has answered; a session is not used again after an error.
fn keep<T>(slot: &mut Option<Session>, session: Session, answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => {
            *slot = Some(session);
            Ok(Some(answer))
        }
        Err(error) if error.class() == Class::Halt => Err(error),
        Err(error) => {
            warn!(error = retry::chain(&error), "parked documents could not be read");
            Ok(None)
        }
    }
}

//! Brings planned batches into PostgreSQL, however long it takes.
//!
//! While PostgreSQL is away a batch is tried again for ever. It ends when the batch stands, or when PostgreSQL holds other
//! positions than the batch starts from: then it has to be read again.

use std::collections::VecDeque;

use metrics::{counter, histogram};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Limits, Outcome, apply,
    batcher::{Batcher, ExpectedOffsets},
    checkpoint,
    parked::ParkedDocuments,
    plan::Batch,
    worker::Worker,
};
use crate::{
    log::Fetched,
    metrics as names,
    postgres::{Error, Purpose, Session},
    retry::{self, Class, Classify},
};

/// A batch that is planned, and the positions that it starts from.
pub(super) struct Planned {
    pub(super) batch: Batch,
    pub(super) starts: ExpectedOffsets,
}

/// How a batch ended.
pub(super) enum BatchEnd {
    /// It stands.
    Applied,
    /// PostgreSQL holds these positions, in the order of the batch's ranges.
    Moved(Vec<Option<i64>>),
    /// The daemon is stopping, and PostgreSQL is away.
    GivenUp,
}

/// The side of a worker that writes.
pub(super) struct Applier<'a> {
    worker: &'a Worker,
    /// Empty until needed, and after every failure.
    session: Mutex<Option<Session>>,
    /// New dead letters of the last while.
    lost: VecDeque<(Instant, usize)>,
    parked: ParkedDocuments,
}

/// How an attempt to apply a batch ended.
enum Attempt {
    Applied(Outcome),
    Moved(Vec<Option<i64>>),
}

impl<'a> Applier<'a> {
    pub(super) fn new(worker: &'a Worker) -> Self {
        Self { worker, session: Mutex::new(None), lost: VecDeque::new(), parked: ParkedDocuments::default() }
    }

    /// Tries until it is settled; a stop lets the open attempt finish and ends the attempts that would follow.
    pub(super) async fn apply(&mut self, planned: &Planned, cancel: &CancellationToken) -> Result<BatchEnd, Error> {
        let Planned { batch, starts } = planned;
        let expected = batch.ranges.keys().map(|partition| starts.get(partition).copied().flatten());
        let expected = expected.collect::<Vec<_>>();
        let limits = self.limits();
        let started = Instant::now();
        let enough = CancellationToken::new();
        let attempt = retry::retry_transient(
            self.worker.backoff,
            &enough,
            |error, delay| {
                self.worker.stalled(error, delay);
                if cancel.is_cancelled() {
                    enough.cancel();
                }
            },
            || self.attempt(batch, &expected, &limits),
        );
        match attempt.await? {
            None => Ok(BatchEnd::GivenUp),
            Some(Attempt::Moved(positions)) => Ok(BatchEnd::Moved(positions)),
            Some(Attempt::Applied(outcome)) => {
                self.worker.stalls.goes_on();
                histogram!(names::SINK_BATCH_SECONDS).record(started.elapsed());
                histogram!(names::SINK_BATCH_CHANGES).record(batch.changes as f64);
                self.parked.note(&self.worker.prepared, &outcome, batch.ranges.is_empty(), started.elapsed());
                self.tell(batch, outcome);
                Ok(BatchEnd::Applied)
            }
        }
    }

    async fn attempt(&self, batch: &Batch, expected: &[Option<i64>], limits: &Limits) -> Result<Attempt, Error> {
        let mut slot = self.session.lock().await;
        // Taken out while in use, so that a failed session is never used again.
        let session = match slot.take() {
            Some(session) => session,
            None => self.worker.target.open(Purpose::Apply).await?,
        };
        let attempt = match apply(&session, &self.worker.prepared, batch, expected, limits).await {
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

    fn tell(&mut self, batch: &Batch, outcome: Outcome) {
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

    /// Parked documents that are due, looked for now and then.
    ///
    /// # Errors
    /// Those that halt. Any other is no reason to hold a batch back: the documents stay parked.
    pub(super) async fn due(&mut self, batcher: &Batcher) -> Result<Vec<Fetched>, Error> {
        let mut slot = self.session.lock().await;
        let Some(session) = slot.take_if(|_| self.parked.is_time()) else { return Ok(Vec::new()) };
        let Worker { prepared, topics, config, .. } = self.worker;
        let due = self.parked.due(&session, prepared, topics, config, &batcher.partitions()).await;
        Ok(keep(&mut slot, session, due)?.unwrap_or_default())
    }

    /// Parked documents that what was applied may have freed.
    ///
    /// # Errors
    /// As [`Self::due`].
    pub(super) async fn freed(&mut self) -> Result<Option<Vec<Fetched>>, Error> {
        let mut slot = self.session.lock().await;
        let Some(session) = slot.take() else { return Ok(None) };
        let freed = self.parked.freed(&session, &self.worker.config).await;
        Ok(keep(&mut slot, session, freed)?.flatten())
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

/// Keeps a session that has answered; after an error it is spent.
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

//! The loop that brings the log into PostgreSQL: one consumer, one connection, one batch at a time.
//!
//! ```text
//!  consumer ─▶ batch reader ─▶ applier ─▶ next
//!                  └─ a full batch is there already: planned while this one is applied
//! ```
//!
//! A batch is everything that has arrived when the last one is committed, up to the configured bounds: one change alone when it
//! is quiet, thousands when it is not. There is no timer and no linger.
//!
//! While PostgreSQL is away the batch is tried again and again; the consumer's own thread keeps the membership of the group
//! alive, and its bounded queue is all that fills. A stop finishes the open transaction and begins no other.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    Prepared,
    applier::{self, Applier, Apply, BatchEnd},
    batch_reader::{BatchBounds, BatchReader, Log},
    breaker::Breaker,
    parked::ParkedDocuments,
    planner::Planner,
    rate_limiter::RateLimiter,
    stored_offsets::StoredOffsets,
};
use crate::{
    config::{LogConfig, SinkConfig},
    log::{Consumer, Topics},
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
    /// The collections whose topics are not read, because an operator has paused them.
    pub paused: BTreeSet<String>,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// Hears when this worker has to wait, and when it goes on.
    pub stalls: Stalls,
    /// Where losses of the mapping are reported.
    pub status: Status,
}

impl Worker {
    /// Runs until cancelled.
    ///
    /// # Errors
    /// Those that halt: PostgreSQL's positions are as they were, so a start after the repair goes on where this stopped.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        // Not `cancel`: it would drop a batch half-way, where `consume` finishes it.
        let never = CancellationToken::new();
        let stalled = |error: &Error, delay: Duration| applier::stalled(&self.stalls, error, delay);
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

    /// Applies until cancelled or until the consumer ends. After a replay from the earliest record the worker joins the group anew:
    /// an operator asked for that, so it is no stall.
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
        let planner = Planner::new(self.prepared.all().clone(), &self.topics);
        let mut reader = BatchReader::new(self.join()?, planner.clone(), self.bounds(), self.stalls.clone());
        let mut applier = self.applier(planner);
        apply_batches(&mut reader, &mut applier, RateLimiter::new(self.rate()), cancel).await?;
        reader.into_log().close().await.map_err(Error::Log)
    }

    fn join(&self) -> Result<Consumer, Error> {
        let starts = Arc::new(StoredOffsets::new(self.target.clone()));
        let bytes = usize::try_from(self.config.queue_bytes.as_u64()).unwrap_or(usize::MAX);
        let records = self.config.batch_changes.saturating_mul(2);
        Consumer::join(&self.log, &self.topics.without(&self.paused), bytes, records, starts).map_err(Error::Log)
    }

    fn applier(&self, planner: Planner) -> Applier {
        Applier {
            postgres: self.target.clone(),
            prepared: self.prepared.clone(),
            planner,
            config: self.config.clone(),
            topics: self.topics.clone(),
            backoff: self.backoff,
            stalls: self.stalls.clone(),
            status: self.status.clone(),
            session: Mutex::new(None),
            breaker: Breaker::new(&self.config),
            parked: ParkedDocuments::default(),
        }
    }

    /// With a limited rate, no batch is more than a second's worth.
    fn bounds(&self) -> BatchBounds {
        let changes = self.config.batch_changes;
        BatchBounds {
            records: self.rate().map_or(changes, |rate| rate.min(changes)),
            bytes: usize::try_from(self.config.batch_bytes.as_u64()).unwrap_or(usize::MAX),
        }
    }

    /// This worker's part of the rate; none without a limit.
    fn rate(&self) -> Option<usize> {
        (self.config.rate > 0).then(|| self.config.rate.div_ceil(self.config.workers.max(1)))
    }
}

/// Applies batch after batch until cancelled, and plans the next one while one is applied.
async fn apply_batches(
    reader: &mut BatchReader<impl Log>,
    applier: &mut impl Apply,
    mut limiter: RateLimiter,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    while let Some(planned) = reader.next(cancel).await? {
        let free = tokio::time::sleep_until(limiter.next(Instant::now(), planned.batch.changes).into());
        if cancel.run_until_cancelled(free).await.is_none() {
            break;
        }
        reader.look_ahead()?;
        if let BatchEnd::Moved(positions) = applier.apply(&planned, &reader.partitions(), cancel).await? {
            reader.rewind(&planned, &positions)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "worker_simulation.rs"]
mod simulation;

//! When a worker tries parked documents again, and when there are so many that it stops.
//!
//! ```text
//!  by event   a batch touched rows that they may have waited for, or parked some ─▶ at once, from the first to the last
//!  by clock   each at a time of its own, for what no batch of ours brings: an entry of an id, whatever a trigger wants
//! ```
//!
//! Only attempts by the clock count towards `parked_attempts`, so a busy table gives nobody up early. An attempt that applies
//! nothing is followed by a rest of several times its length, so documents that nothing frees cost a worker a bounded part of
//! its time.
//!
//! In a first load thousands of children legitimately come before their parents, so parking as such is no fault. A document that is
//! refused again although everything that the source had at its time is applied waits in vain. As many of those as may be dead
//! letters stop the sink. The bytes of parked records have a bound of their own.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    Outcome, Prepared,
    dead_letter::{self, Bounds},
};
use crate::{
    config::SinkConfig,
    log::{Fetched, TopicPartition, Topics},
    model::Frontier,
    postgres::{Error, Session},
};

/// Pause between polls for parked documents that are due; also the shortest delay between two attempts of one by the clock.
const PAUSE: Duration = Duration::from_secs(1);
/// Parked documents that are tried together, at most.
const MAX_DOCUMENTS: usize = 1_000;
/// How many times as long as an attempt that applied nothing no other is made.
const REST_FACTOR: u32 = 4;
/// How long an instant is used to find what has been refused again since: longer than the longest delay of the clock, 30 s.
const INSTANT: Duration = Duration::from_secs(60);

/// The parked documents that a worker knows of.
#[derive(Default)]
pub(super) struct ParkedDocuments {
    /// Collections whose parked documents are tried because of an event, and the number of the last one tried.
    tried: (BTreeSet<i32>, i64),
    /// Those of which an event came meanwhile.
    again: BTreeSet<i32>,
    rest_until: Option<Instant>,
    last_poll: Option<Instant>,
    /// When everything before a frontier was known to be applied, by our clock and by PostgreSQL's.
    applied: Option<(Instant, Frontier, i64)>,
}

impl ParkedDocuments {
    /// Takes note of a batch; `retry` is one of parked documents.
    pub(super) fn note(&mut self, prepared: &Prepared, outcome: &Outcome, retry: bool, took: Duration) {
        let applied = outcome.counts.values().any(|counts| counts.applied > 0);
        if retry && !applied {
            self.rest_until = Some(Instant::now() + REST_FACTOR * took);
        }
        let touched =
            outcome.touched.iter().filter(|(_, (written, removed))| outcome.letters_waited && written + removed > 0);
        let mut freed = touched.flat_map(|(table, _)| prepared.waiters(table)).collect::<BTreeSet<_>>();
        // The row that it waits for may have been committed since the batch was refused.
        let parked = outcome.counts.iter().filter(|(_, counts)| !retry && counts.parked > 0);
        freed.extend(parked.filter_map(|(name, _)| Some(prepared.id(prepared.named(name)?))));
        let (collections, after) = &mut self.tried;
        if *after == 0 { collections.extend(freed) } else { self.again.extend(freed) }
    }

    /// Those that an event may have freed; `None` when there are none, or a rest is not over.
    pub(super) async fn freed(
        &mut self,
        session: &Session,
        config: &SinkConfig,
    ) -> Result<Option<Vec<Fetched>>, Error> {
        if self.rest_until.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        let (collections, after) = &self.tried;
        if collections.is_empty() {
            return Ok(None);
        }
        let collections = collections.iter().copied().collect::<Vec<_>>();
        let parked = dead_letter::freed(session, &collections, *after, bounds(config)).await?;
        match parked.more_after {
            Some(last) => self.tried.1 = last,
            None => self.tried = (std::mem::take(&mut self.again), 0),
        }
        Ok((!parked.records.is_empty()).then_some(parked.records))
    }

    /// Those that are due by the clock.
    ///
    /// # Errors
    /// [`Error::WaitInVain`] and [`Error::ParkedBytes`] halt; [`Error::Statement`] by its cause.
    pub(super) async fn due(
        &mut self,
        session: &Session,
        prepared: &Prepared,
        topics: &Topics,
        config: &SinkConfig,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Fetched>, Error> {
        self.last_poll = Some(Instant::now());
        let topics = topics.collections().iter().map(|topic| &*topic.name).collect::<Vec<_>>();
        let since = self.applied.map(|(_, before, at)| (before, at));
        let totals = dead_letter::parked_totals(session, prepared.ids(), &topics, since).await?;
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        if count(totals.in_vain) > config.breaker_dead_letters {
            return Err(Error::WaitInVain { count: count(totals.in_vain), limit: config.breaker_dead_letters });
        }
        let limit = config.parked_bytes.as_u64();
        if totals.bytes > limit {
            return Err(Error::ParkedBytes { count: count(totals.documents), bytes: totals.bytes, limit });
        }
        if self.applied.is_none_or(|(at, ..)| at.elapsed() > INSTANT) {
            self.applied = totals.before.map(|before| (Instant::now(), before, totals.now));
        }
        if totals.documents == 0 {
            return Ok(Vec::new());
        }
        dead_letter::due(session, partitions, bounds(config)).await
    }

    /// Whether it is time to poll for those that are due.
    pub(super) fn is_time(&self) -> bool {
        self.last_poll.is_none_or(|last| last.elapsed() >= PAUSE)
    }
}

fn bounds(config: &SinkConfig) -> Bounds {
    Bounds { documents: MAX_DOCUMENTS, bytes: config.batch_bytes.as_u64() }
}

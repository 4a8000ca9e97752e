//! A seeded stream of writes at a given rate, as a live application makes them.
//!
//! ```text
//!  seed ──▶ draw ─┐
//!                 ├─▶ choose ──▶ step ──▶ execute (several at once, none that collide)
//!  registry ──────┘      │                    │
//!      ▲── what it will have done ◀           └─▶ counts
//! ```
//! Choosing is pure and runs ahead of writing: the registry follows each step when it is chosen, not when it is
//! written, so the sequence depends on the seed and on the documents found at the start, not on timing. A step waits
//! while another one that it would collide with is in flight (see [`step::Step`]), so references and unique values hold
//! at every commit. When a step ends without a known outcome, the registry is reread before the next run.

mod choose;
mod execute;
mod inserts;
mod pace;
mod poison;
mod registry;
mod step;
mod transactions;
mod updates;

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use mongodb::{Client, Database};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub use self::{
    pace::Until,
    poison::{Poison, Poisoned},
    step::Operation,
};
use self::{
    pace::{Lanes, Pace},
    registry::Registry,
    step::Step,
};
use super::{Collection, Error, documents::Draw, load::prepare};

/// How often due steps are started: a burst holds the steps that become due in this time.
const TICK: Duration = Duration::from_millis(20);
/// How long a cancelled run waits for the steps in flight.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// The counts of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps written, by kind; a transaction is one step.
    pub operations: BTreeMap<Operation, u64>,
    /// The number of retried attempts.
    pub retries: u64,
    /// Steps whose outcome is unknown because the run was cancelled meanwhile.
    pub unknown: u64,
}

impl Counts {
    /// Returns the number of steps written.
    pub fn total(&self) -> u64 {
        self.operations.values().sum()
    }

    fn add(&mut self, outcome: execute::Outcome) {
        self.retries += outcome.retries;
        if outcome.written {
            *self.operations.entry(outcome.operation).or_default() += 1;
        } else {
            self.unknown += 1;
        }
    }
}

/// The writes of the application.
#[derive(Debug)]
pub struct Workload {
    database: Database,
    seed: u64,
    most: usize,
    known: Option<Known>,
}

/// The live documents, and the position in the sequence.
#[derive(Debug)]
struct Known {
    draw: Draw,
    registry: Registry,
}

impl Known {
    /// Chooses the next step; while there are more than `most` documents, one that deletes some of them.
    fn next(&mut self, most: usize) -> Result<Step, Error> {
        let Self { draw, registry } = self;
        let deletion = if registry.documents() > most { choose::deletion(draw, registry) } else { None };
        deletion.or_else(|| choose::next(draw, registry)).ok_or(Error::Empty { collection: Collection::Users })
    }
}

impl Workload {
    /// Creates a workload on the application's database. Only one may run on a database at a time.
    pub fn new(client: Client, database: &str, seed: u64) -> Self {
        Self { database: client.database(database), seed, most: usize::MAX, known: None }
    }

    /// Keeps the application at about this many documents; without a limit it grows.
    #[must_use]
    pub fn limited(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Writes `rate` steps a second until the end or until cancelled. A cancelled run finishes the steps in flight if
    /// the database answers within five seconds. Another call continues where the last one ended.
    ///
    /// Errors of a server that steps down, restarts or is unreachable are retried without limit.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::List`] or [`Error::Prepare`] of class halt, [`Error::Empty`] when there is no user to
    /// write plans.
    pub async fn run(&mut self, rate: f64, until: Until, cancel: CancellationToken) -> Result<Counts, Error> {
        let mut known = self.known(&cancel).await?;
        let mut counts = Counts::default();
        self.write(&mut known, rate, until, &cancel, &mut counts).await?;
        if counts.unknown == 0 {
            self.known = Some(known);
        }
        Ok(counts)
    }

    /// Writes one document that PostgreSQL must refuse. Nothing refers to it.
    ///
    /// # Errors
    /// [`Error::Poison`] of class halt, [`Error::Empty`] when there is no user to own a plan.
    pub async fn poison(&mut self, kind: Poison) -> Result<Poisoned, Error> {
        let cancel = CancellationToken::new();
        let mut known = self.known(&cancel).await?;
        let users = Error::Empty { collection: Collection::Users };
        let owner = known.registry.draw(Collection::Users, &mut known.draw).ok_or(users)?;
        let id = known.draw.id();
        let plan = inserts::plan(&mut known.draw, &known.registry, id, owner);
        self.known = Some(known);
        poison::poison(&self.database, plan, id, kind, &cancel).await
    }

    /// Fixes a poisoned document; from then on it is like any other.
    ///
    /// # Errors
    /// [`Error::Poison`] of class halt.
    pub async fn mend(&mut self, poisoned: Poisoned) -> Result<(), Error> {
        poison::mend(&self.database, poisoned, &CancellationToken::new()).await?;
        // The registry is reread: the owner may have been deleted meanwhile, and the plan with it.
        self.known = None;
        Ok(())
    }

    async fn known(&mut self, cancel: &CancellationToken) -> Result<Known, Error> {
        if let Some(known) = self.known.take() {
            return Ok(known);
        }
        let database = &self.database;
        let read = || async move {
            prepare(database).await?;
            Registry::read(database).await
        };
        let (registry, digest) = execute::retrying(cancel, read).await?.ok_or(Error::Cancelled)?;
        // The digest is part of the seed, so that a second run does not draw the ids and addresses of the first one again.
        let draw = Draw::new(self.seed ^ digest, 0);
        if registry.pool(Collection::Users).is_empty() {
            return Err(Error::Empty { collection: Collection::Users });
        }
        Ok(Known { draw, registry })
    }

    async fn write(
        &self,
        known: &mut Known,
        rate: f64,
        until: Until,
        cancel: &CancellationToken,
        counts: &mut Counts,
    ) -> Result<(), Error> {
        let abandon = CancellationToken::new();
        let mut abandon_at: Option<Instant> = None;
        let mut under_way = FuturesUnordered::new();
        let mut lanes = Lanes::default();
        let mut pace = Pace::new(rate, until, Instant::now());
        let mut waiting: Option<Step> = None;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let now = Instant::now();
            let ended = cancel.is_cancelled() || pace.has_ended(now);
            if cancel.is_cancelled() && *abandon_at.get_or_insert(now + FINISH_TIMEOUT) <= now {
                abandon.cancel();
            }
            loop {
                let step = match waiting.take() {
                    Some(step) => step,
                    None if ended || pace.has_ended(now) || !pace.take(now) => break,
                    None => known.next(self.most)?,
                };
                if !lanes.enter(&step) {
                    waiting = Some(step);
                    break;
                }
                let (database, abandon) = (&self.database, &abandon);
                under_way.push(async move {
                    let touches = step.touches.clone();
                    (touches, execute::execute(database, step, abandon).await)
                });
            }
            if under_way.is_empty() && waiting.is_none() && ended {
                return Ok(());
            }
            tokio::select! {
                // Finished steps come first: they make room.
                biased;
                Some((touches, outcome)) = under_way.next(), if !under_way.is_empty() => {
                    lanes.leave(&touches);
                    counts.add(outcome?);
                }
                // A tick is also when a cancellation is noticed.
                _ = ticks.tick() => {}
            }
        }
    }
}

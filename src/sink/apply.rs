//! Applies a batch in one transaction: rows, ledger, dead letters and positions, all or nothing.
//!
//! ```text
//!  BEGIN
//!   lock the positions, in order ─ are they where we think? ──no──▶ OffsetMoved, nothing written
//!   truncations and truncations
//!   ledger: who wins? ─────────────── the beaten are done
//!   rows of the winners, set by set ─ the refused are isolated
//!   dead letters: close those that a winner settles, write those that are new
//!   positions to the end of the batch
//!  COMMIT
//! ```
//!
//! What needs no answer of the statement before it travels with it: a quiet batch takes four round trips. `locks` says in which
//! order workers lock what they may both want.
//!
//! Whatever happens between BEGIN and COMMIT, and however often the batch comes again, PostgreSQL holds either the state
//! before or the state after. When the answer to COMMIT is lost, the positions tell which.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use futures_util::future::join;

use super::{
    Prepared,
    bisect::{self, Failed},
    checkpoint::{self, Position},
    dead_letter::{self, Letter, State},
    ledger::{self, Truncations, Winner},
    plan::{Batch, Content},
    write::Touched,
};
use crate::{
    log::TopicPartition,
    mapping::Loss,
    model::Reason,
    postgres::{ConstraintMode, Error, Session},
};

/// Bounds of what a batch may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Dead letters that this batch may still add.
    pub dead_letters_left: usize,
    /// Dead letters allowed within `window`.
    pub dead_letters: usize,
    /// See `dead_letters`.
    pub window: Duration,
    /// Attempts of a parked document before it becomes a dead letter.
    pub parked_attempts: u32,
}

impl Limits {
    /// # Errors
    /// [`Error::Breaker`] when there are more new dead letters than may still be.
    pub(super) fn check(&self, lost: usize, reason: Reason) -> Result<(), Error> {
        if lost <= self.dead_letters_left {
            return Ok(());
        }
        let count = self.dead_letters - self.dead_letters_left.min(self.dead_letters) + lost;
        Err(Error::Breaker { count, limit: self.dead_letters, window: self.window, reason })
    }
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Where its partitions stand now.
    pub positions: Vec<(TopicPartition, Position)>,
    /// Partitions whose counts were not met, once per frontier.
    pub unmet: Vec<TopicPartition>,
    /// By collection.
    pub counts: BTreeMap<String, Counts>,
    /// Rows written and removed, by table.
    pub touched: Touched,
    /// What the mapping gave up in the documents that were written: by collection, column (`table.column`) and kind.
    pub losses: BTreeMap<(String, String, Loss), u64>,
    /// New dead letters, by collection (or topic, where that carries none of ours) and reason.
    pub dead_letters: BTreeMap<(String, Reason), usize>,
    /// Whether any dead letter waited already, of which the rows that were touched may free one.
    pub letters_waited: bool,
}

/// What became of the changes of one collection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Written.
    pub applied: u64,
    /// Beaten by a newer version.
    pub superseded: u64,
    /// Dead-lettered.
    pub dead_lettered: u64,
    /// Parked.
    pub parked: u64,
}

/// Applies the batch. `expected` are the offsets that the caller believes in, in the order of `batch.ranges`.
///
/// # Errors
/// [`Error::OffsetMoved`]: read the positions and go on from there. [`Error::CatalogChanged`]: make the plan again.
/// [`Error::Breaker`] halts. Others by their cause; nothing
/// was written, unless the connection broke while committing: then the positions tell.
pub async fn apply(
    session: &Session,
    prepared: &Prepared,
    batch: &Batch,
    expected: &[Option<i64>],
    limits: &Limits,
) -> Result<Outcome, Error> {
    let begin = match session.constraint_mode() {
        ConstraintMode::Replica => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        ConstraintMode::Enforce => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET CONSTRAINTS ALL DEFERRED",
    };
    let applied = inside(session, prepared, batch, begin, expected, limits).await;
    if applied.is_err() {
        // The first error is the one to tell; a session that cannot even roll back is thrown away by its owner.
        let _ = session.batch("roll back a batch", "ROLLBACK").await;
    }
    applied
}

async fn inside(
    session: &Session,
    prepared: &Prepared,
    batch: &Batch,
    begin: &str,
    expected: &[Option<i64>],
    limits: &Limits,
) -> Result<Outcome, Error> {
    let partitions = batch.ranges.keys().cloned().collect::<Vec<_>>();
    // One round trip for all three. Nothing is written before the positions are known to be right.
    let (begun, (positions, truncations)) = join(
        session.batch("begin a batch", begin),
        join(checkpoint::lock(session, &partitions, expected), Truncations::read(session, prepared, batch)),
    )
    .await;
    begun?;
    let positions = positions?;
    let mut truncations = truncations?;
    truncations.raise(session, prepared, batch).await?;
    let winners = ledger::take(session, prepared, &truncations, batch).await?;
    failpoint!(SINK_BETWEEN_LEDGER_AND_ROWS);
    let mut outcome = Outcome { letters_waited: truncations.letters_wait, ..Outcome::default() };
    count_beaten(&mut outcome, prepared, batch, &winners);
    let mut letters = batch.unreadable.iter().map(Letter::unreadable).collect::<Vec<_>>();
    let (rejected, accepted): (Vec<_>, Vec<_>) =
        winners.iter().copied().partition(|winner| matches!(winner.document.content, Content::Rejected { .. }));
    letters.extend(rejected.iter().filter_map(|winner| Letter::rejected(winner.document)));
    if !rejected.is_empty() {
        // No document is given up by a plan that is older than the catalog: a column may have become wider meanwhile.
        prepared.still_fits(session).await?;
    }
    if let Some(letter) = letters.last() {
        limits.check(letters.len(), letter.reason)?;
    }
    let (failed, touched) = bisect::write(session, prepared, accepted, limits).await?;
    outcome.touched = touched;
    let refused =
        rejected.iter().map(|winner| winner.document).chain(failed.iter().map(|failed| failed.winner.document));
    ledger::keep_roots(session, prepared, refused).await?;
    count_losses(&mut outcome, prepared, &winners, &failed);
    letters.extend(failed.iter().map(|failed| Letter::refused(failed.winner.document, &failed.refusal)));
    if truncations.letters_wait {
        dead_letter::close(session, prepared, &winners, &letters).await?;
    }
    let states = dead_letter::write(session, prepared, &letters, limits.parked_attempts).await?;
    count_settled(&mut outcome, prepared, &winners, &letters, &states);
    let lost = outcome.dead_letters.values().sum();
    if let Some(letter) = letters.last() {
        limits.check(lost, letter.reason)?;
    }
    failpoint!(SINK_BEFORE_COMMIT);
    let (positions, unmet) = checkpoint::store_and_commit(session, batch, positions).await?;
    failpoint!(SINK_AFTER_COMMIT);
    outcome.positions = partitions.into_iter().zip(positions).collect();
    outcome.unmet = unmet;
    Ok(outcome)
}

fn count_beaten(outcome: &mut Outcome, prepared: &Prepared, batch: &Batch, winners: &[Winner<'_>]) {
    let mut counts = BTreeMap::<usize, Counts>::new();
    for (&collection, beaten) in &batch.beaten {
        counts.entry(collection).or_default().superseded += beaten;
    }
    for document in &batch.documents {
        counts.entry(document.collection).or_default().superseded += 1;
    }
    for winner in winners {
        let counts = counts.entry(winner.document.collection).or_default();
        counts.superseded -= 1;
        counts.applied += 1;
    }
    outcome.counts = counts.into_iter().map(|(collection, counts)| (prepared.name(collection), counts)).collect();
}

fn count_losses(outcome: &mut Outcome, prepared: &Prepared, winners: &[Winner<'_>], failed: &[Failed<'_>]) {
    let failed = failed.iter().map(|failed| (failed.winner.document.collection, &failed.winner.document.key));
    let failed = failed.collect::<HashSet<_>>();
    for Winner { document, .. } in winners {
        let Content::Rows { rows, .. } = &document.content else { continue };
        if rows.losses.is_empty() || failed.contains(&(document.collection, &document.key)) {
            continue;
        }
        let plan = prepared.plan(document.collection);
        for entry in rows.losses.iter() {
            let column = plan.tables.get(entry.table).and_then(|table| Some((table, table.columns.get(entry.column)?)));
            let column =
                column.map(|(table, column)| format!("{}.{}.{}", table.table.schema, table.table.name, column.name));
            let place = (plan.collection.clone(), column.unwrap_or_default(), entry.loss);
            *outcome.losses.entry(place).or_default() += entry.count;
        }
    }
}

fn count_settled(
    outcome: &mut Outcome,
    prepared: &Prepared,
    winners: &[Winner<'_>],
    letters: &[Letter<'_>],
    states: &[State],
) {
    debug_assert!(winners.len() + letters.len() >= states.len());
    for (letter, state) in letters.iter().zip(states) {
        let owner = match letter.collection {
            Some(collection) => {
                let name = prepared.name(collection);
                let counts = outcome.counts.entry(name.clone()).or_default();
                // A record that could not be read was not counted as a change.
                counts.applied -= u64::from(letter.document.is_some());
                match state {
                    State::Parked => counts.parked += 1,
                    _ => counts.dead_lettered += 1,
                }
                name
            }
            None => letter.record.topic.to_string(),
        };
        if *state == State::Open {
            *outcome.dead_letters.entry((owner, letter.reason)).or_default() += 1;
        }
    }
}

//! Applies a batch in one transaction: rows, ledger, dead letters and positions, all or nothing.
//!
//! ```text
//!  rows of no document: whose are they? only where a repair asks for their removal
//!  BEGIN
//!   positions: locked, in order ─ not where the batch starts? ─▶ OffsetMoved, nothing written
//!                                ─ another mapping is recorded? ─▶ MappingChanged, nothing written
//!   truncations: read, raised
//!   ledger: who wins? ──────────── the beaten are done
//!   rows of the winners ────────── a refused document is found by bisection
//!   rows of no document ────────── removed, where a repair asks for it
//!   dead letters: those that a winner replaces are closed, new ones are written
//!   positions: moved to the end of the batch
//!  COMMIT
//! ```
//!
//! A statement that needs no answer of the one before it travels with it: a quiet batch takes four round trips. `locks` says in
//! which order workers take the locks that two of them may want.
//!
//! Whatever happens between BEGIN and COMMIT, and however often the batch comes again, PostgreSQL holds either the state
//! before or the state after. When the answer to COMMIT is lost, the positions say which.

use futures_util::future::join;

use super::{
    Limits, Outcome, Prepared, bisect,
    checkpoint::{self, Update},
    dead_letter::{self, Letter},
    ledger,
    plan::{Batch, Content},
    stray_rows,
    truncate::Truncations,
};
use crate::postgres::{ConstraintMode, Error, Session};

/// Applies the batch. `expected` are the positions that the batch starts from, in the order of `batch.ranges`.
///
/// # Errors
/// [`Error::OffsetMoved`]: read the positions and go on from there. [`Error::CatalogChanged`] and [`Error::MappingChanged`]: make the
/// plan again. [`Error::Breaker`], [`Error::MostRefused`] and [`Error::AllRefused`] halt. Others by their cause; nothing was written,
/// unless the connection broke during COMMIT: then the positions say whether the batch was applied.
pub async fn apply(
    session: &Session,
    prepared: &Prepared,
    batch: &Batch,
    expected: &[Option<i64>],
    limits: &Limits,
) -> Result<Outcome, Error> {
    let applied = transaction(session, prepared, batch, expected, limits).await;
    if applied.is_err() {
        // The first error is the one to report; the owner of the session drops one that cannot even roll back.
        let _ = session.batch("roll back a batch", "ROLLBACK").await;
    }
    applied
}

/// The transaction, from BEGIN to COMMIT.
async fn transaction(
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
    let partitions = batch.ranges.keys().cloned().collect::<Vec<_>>();
    let mapping = prepared.look().mapping();
    let explained = match batch.removals.is_empty() {
        true => stray_rows::Explained::default(),
        false => stray_rows::Explained::before(session, prepared, &batch.removals).await?,
    };
    // One round trip for all three. Nothing is written before the positions are known to be right.
    let (begun, (positions, truncations)) = join(
        session.batch("begin a batch", begin),
        join(checkpoint::lock(session, mapping, &partitions, expected), Truncations::read(session, prepared, batch)),
    )
    .await;
    begun?;
    let positions = positions?;
    let mut truncations = truncations?;
    truncations.raise(session, prepared, batch).await?;

    let winners = ledger::take(session, prepared, &truncations, batch).await?;
    failpoint!(SINK_BETWEEN_LEDGER_AND_ROWS);
    let mut outcome = Outcome { letters_waited: truncations.letters_wait, ..Outcome::default() };
    outcome.count_changes(prepared, batch, &winners);

    let mut letters = batch.unreadable.iter().map(Letter::unreadable).collect::<Vec<_>>();
    let (rejected, accepted): (Vec<_>, Vec<_>) =
        winners.iter().copied().partition(|winner| matches!(winner.document.content, Content::Rejected { .. }));
    letters.extend(rejected.iter().filter_map(|winner| Letter::rejected(winner.document)));
    if !rejected.is_empty() {
        // A plan that is older than the catalog rejects no document: a column may have become wider meanwhile.
        prepared.still_fits(session).await?;
    }
    if let Some(letter) = letters.last() {
        limits.check(letters.len(), letter.reason)?;
    }
    let (failed, touched) = bisect::write(session, prepared, accepted, limits).await?;
    let refused =
        rejected.iter().map(|winner| winner.document).chain(failed.iter().map(|failed| failed.winner.document));
    ledger::keep_roots(session, prepared, refused).await?;
    outcome.touched = touched;
    outcome.count_losses(prepared, &winners, &failed);

    letters.extend(failed.iter().map(|failed| Letter::refused(failed.winner.document, &failed.refusal)));
    if truncations.letters_wait {
        dead_letter::close(session, prepared, &winners, &letters).await?;
    }
    let states = dead_letter::write(session, prepared, &letters, limits.parked_attempts).await?;
    outcome.count_letters(prepared, &letters, &states);
    if let Some(letter) = letters.last() {
        limits.check(outcome.new_dead_letters(), letter.reason)?;
        if !batch.is_retry() {
            limits.check_share(&outcome)?;
        }
    }

    if !batch.removals.is_empty() {
        stray_rows::remove(session, prepared, &batch.removals, explained, &mut outcome.touched).await?;
    }

    let (positions, unmet) = checkpoint::advance(batch, positions);
    failpoint!(SINK_BEFORE_COMMIT);
    let update = Update::new(session, &partitions, &positions);
    session.execute_and_commit("move positions", Update::SQL, &update.params()).await?;
    failpoint!(SINK_AFTER_COMMIT);
    outcome.positions = partitions.into_iter().zip(positions).collect();
    outcome.unmet = unmet;
    Ok(outcome)
}

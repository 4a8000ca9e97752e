//! Writes the winners of a batch, and finds the few that PostgreSQL refuses, so that the rest is written.
//!
//! ```text
//!  all ──ok──▶ done       (new rows by COPY first; when that is refused, the other way)
//!   └─refused─▶ a unique value or a parent in the way: set those documents aside, let the others trade values ──ok──▶ done
//!                └─refused─▶ halves, each in its own savepoint … down to the one document
//!  what failed for the sake of another document is tried again after the others, as long as that helps
//! ```
//!
//! Only refusals of data are isolated. Anything else ends the transaction, and the batch is tried again as a whole.

use std::{collections::BTreeMap, future::Future};

use futures_util::future::join;

use super::{
    Error, Prepared,
    apply::Limits,
    error::Refusal,
    ledger::Winner,
    plan::Content,
    session::Session,
    write::{Blocker, Rows, Touched, Way},
};
use crate::retry::{Class, Classify};

/// A document that PostgreSQL refused.
pub(super) struct Failed<'a> {
    /// The document.
    pub(super) winner: Winner<'a>,
    /// The refusal.
    pub(super) refusal: Refusal,
}

/// Rounds in which what failed is tried again; each must have written something, so chains of parents get this deep.
const ROUNDS: usize = 8;

/// Writes what can be written. Gives up when more documents are refused for good than `limits` still allow.
pub(super) async fn write<'a>(
    session: &Session,
    prepared: &'a Prepared,
    winners: Vec<Winner<'a>>,
    limits: &Limits,
) -> Result<(Vec<Failed<'a>>, Touched), Error> {
    let mut isolation =
        Isolation { session, prepared, limits, failed: Vec::new(), touched: Touched::new(), open: false };
    let mut pending = winners;
    // Parents first, so that a half that is cut off finds its parents in an earlier one.
    pending.sort_by_cached_key(|winner| depth(prepared, winner));
    for round in 1.. {
        let tried = pending.len();
        isolation.settle(pending).await?;
        let (waiting, settled): (Vec<_>, Vec<_>) =
            isolation.failed.into_iter().partition(|failed| failed.refusal.may_pass_later());
        isolation.failed = settled;
        if waiting.is_empty() || waiting.len() == tried || round == ROUNDS {
            isolation.failed.extend(waiting);
            break;
        }
        pending = waiting.into_iter().map(|failed| failed.winner).collect();
    }
    Ok((isolation.failed, isolation.touched))
}

/// Rank of the document's root table in foreign-key order.
fn depth(prepared: &Prepared, winner: &Winner<'_>) -> usize {
    let Content::Rows { rows, .. } = &winner.document.content else { return 0 };
    let collection = winner.document.collection;
    let root = prepared.root_of(collection, rows).and_then(|root| prepared.roots(collection).nth(root));
    root.map_or(0, |(table, _)| table.depth)
}

struct Isolation<'a, 's> {
    session: &'s Session,
    prepared: &'a Prepared,
    limits: &'s Limits,
    failed: Vec<Failed<'a>>,
    touched: Touched,
    /// Whether the savepoint of the last attempt, which stands, is still there.
    open: bool,
}

impl<'a> Isolation<'a, '_> {
    async fn settle(&mut self, set: Vec<Winner<'a>>) -> Result<(), Error> {
        let mut stack = vec![set];
        while let Some(set) = stack.pop() {
            if set.is_empty() {
                continue;
            }
            let rows = Rows::of(self.prepared, &set);
            if rows.may_copy() && self.attempt(&rows, Way::Copy).await?.is_none() {
                continue;
            }
            let Some(refusal) = self.attempt(&rows, Way::Upsert).await? else { continue };
            let Some((mut set, refusal)) = self.set_aside(set, refusal).await? else { continue };
            match set.as_slice() {
                [] => {}
                [winner] => self.fail(*winner, refusal)?,
                _ => {
                    let second = set.split_off(set.len() / 2);
                    stack.push(second);
                    stack.push(set);
                }
            }
        }
        Ok(())
    }

    /// Takes out of the set what stands for sure in the way of a unique value or lacks its parent, and tries the others.
    /// Gives back what is still refused.
    async fn set_aside(
        &mut self,
        mut set: Vec<Winner<'a>>,
        refusal: Refusal,
    ) -> Result<Option<(Vec<Winner<'a>>, Refusal)>, Error> {
        let blocker = match refusal.code.as_str() {
            "23505" => Blocker::UniqueValue,
            "23503" => Blocker::MissingParent,
            _ => return Ok(Some((set, refusal))),
        };
        let before = set.len();
        loop {
            let blocked = self.blocked(&set, blocker).await?;
            let settled = blocked.is_empty() || blocker == Blocker::MissingParent;
            for (place, own) in blocked.into_iter().rev() {
                let winner = set.remove(place);
                self.fail(winner, own)?;
            }
            // What was taken out keeps the values it has, which may block others in turn.
            if settled || set.is_empty() {
                break;
            }
        }
        let mode = self.session.constraint_mode();
        let rows = Rows::of(self.prepared, &set);
        let trade = blocker == Blocker::UniqueValue && rows.may_trade(mode);
        if set.is_empty() || (set.len() == before && !trade) {
            return Ok(Some((set, refusal)));
        }
        let way = if trade { Way::Trade } else { Way::Upsert };
        Ok(self.attempt(&rows, way).await?.map(|refusal| (set, refusal)))
    }

    /// Looks for what is in the way, as it would be in the middle of an attempt, and leaves everything as it was.
    async fn blocked(&mut self, set: &[Winner<'a>], blocker: Blocker) -> Result<BTreeMap<usize, Refusal>, Error> {
        let rows = Rows::of(self.prepared, set);
        let (begun, found) = join(self.savepoint(), rows.blocked(self.session, blocker)).await;
        begun?;
        match found {
            // A set that cannot even be cleared is left to the halving.
            Err(error) if error.class() == Class::Poison => {
                self.roll_back().await?;
                Ok(BTreeMap::new())
            }
            outcome => {
                let blocked = outcome?;
                self.roll_back().await?;
                Ok(blocked)
            }
        }
    }

    /// Writes a set inside a savepoint; `None` when it stands.
    async fn attempt(&mut self, rows: &Rows<'a>, way: Way) -> Result<Option<Refusal>, Error> {
        let mut touched = Touched::new();
        let written = async {
            rows.write(self.session, way, &mut touched).await?;
            // What the target checks only at the end of a transaction has to be known here.
            self.session.check_deferred().await
        };
        let (begun, outcome) = join(self.savepoint(), written).await;
        begun?;
        self.open = true;
        match outcome {
            Ok(()) => {
                for (table, (written, removed)) in touched {
                    let total = self.touched.entry(table).or_default();
                    *total = (total.0 + written, total.1 + removed);
                }
                Ok(None)
            }
            Err(error) => match error.refusal() {
                Some(refusal) if error.class() == Class::Poison => {
                    let refusal = refusal.clone();
                    self.roll_back().await?;
                    Ok(Some(refusal))
                }
                _ => Err(error),
            },
        }
    }

    /// Sets a savepoint, and lets go that of the last attempt, which stands.
    fn savepoint(&self) -> impl Future<Output = Result<(), Error>> {
        let sql = if self.open { "RELEASE attempt; SAVEPOINT attempt" } else { "SAVEPOINT attempt" };
        self.session.batch("set a savepoint", sql)
    }

    async fn roll_back(&mut self) -> Result<(), Error> {
        self.open = false;
        self.session.batch("roll back to a savepoint", "ROLLBACK TO attempt; RELEASE attempt").await
    }

    fn fail(&mut self, winner: Winner<'a>, refusal: Refusal) -> Result<(), Error> {
        let reason = refusal.reason();
        self.failed.push(Failed { winner, refusal });
        let lost = self.failed.iter().filter(|failed| !failed.refusal.may_pass_later()).count();
        self.limits.check(lost, reason)
    }
}

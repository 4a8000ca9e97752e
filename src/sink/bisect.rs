//! Writes the winners of a batch. Finds the few documents that PostgreSQL refuses, so that the rest is written.
//!
//! ```text
//!  all ──ok──▶ done       (new rows by COPY first; when that is refused, the other way)
//!   └─refused─▶ a unique value or a parent in the way: set those documents aside, let the others swap values ──ok──▶ done
//!                └─refused─▶ halves, each in its own savepoint … down to the one document
//!  documents that failed because of another one are tried again after the others, as long as that helps
//! ```
//!
//! An error that no single row can cause ends the transaction, and the batch is tried again as a whole. Any other error belongs to
//! the one row that is left, whatever its SQLSTATE: input functions and triggers raise the code that their authors chose. When
//! document after document meets such an error and none is written, the table is at fault, and the sink halts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
};

use futures_util::future::join;

use super::{
    Limits, Prepared, locks,
    obstacles::Blocker,
    plan::Content,
    rows::Rows,
    winner::Winner,
    write::{Touched, Way},
};
use crate::{
    postgres::{ConstraintMode, Error, Refusal, Session},
    retry::{Class, Classify},
};

/// A document that PostgreSQL refused.
pub(super) struct Failed<'a> {
    /// The document.
    pub(super) winner: Winner<'a>,
    /// The refusal.
    pub(super) refusal: Refusal,
}

/// Rounds in which failed documents are tried again. Each must have written something, so chains of parents get this deep.
const MAX_ROUNDS: usize = 8;

/// Documents in a row that may meet an error of no known kind before the table is said to be at fault. Enough that a few odd
/// documents beside each other do not look like a broken table, few enough that a broken table is not searched row by row.
pub(crate) const MAX_UNKNOWN: usize = 20;

/// Writes what can be written. Gives up when more documents are refused for good than `limits` still allow.
pub(super) async fn write<'a>(
    session: &Session,
    prepared: &'a Prepared,
    winners: Vec<Winner<'a>>,
    limits: &Limits,
) -> Result<(Vec<Failed<'a>>, Touched), Error> {
    let mut bisection = Bisection {
        session,
        prepared,
        limits,
        locks: locks::of(&Rows::of(prepared, &winners), session.constraint_mode()),
        failed: Vec::new(),
        touched: Touched::new(),
        written: BTreeSet::new(),
        unknown: HashMap::new(),
        open: false,
    };
    let mut pending = winners;
    // Parents first, so that a half that is cut off finds its parents in an earlier one.
    pending.sort_by_cached_key(|winner| depth(prepared, winner));
    for round in 1.. {
        let tried = pending.len();
        bisection.write(pending).await?;
        let (waiting, refused): (Vec<_>, Vec<_>) =
            bisection.failed.into_iter().partition(|failed| failed.refusal.may_pass_later());
        bisection.failed = refused;
        if waiting.is_empty() || waiting.len() == tried || round == MAX_ROUNDS {
            bisection.failed.extend(waiting);
            break;
        }
        pending = waiting.into_iter().map(|failed| failed.winner).collect();
    }
    Ok((bisection.failed, bisection.touched))
}

/// Rank of the document's root table in foreign-key order.
fn depth(prepared: &Prepared, winner: &Winner<'_>) -> usize {
    let Content::Rows { rows, .. } = &winner.document.content else { return 0 };
    let collection = winner.document.collection;
    let root = prepared.root_of(collection, rows).and_then(|root| prepared.roots(collection).nth(root));
    root.map_or(0, |(table, _)| table.depth)
}

struct Bisection<'a, 's> {
    session: &'s Session,
    prepared: &'a Prepared,
    limits: &'s Limits,
    /// The locks that the first savepoint is set behind; empty once they are taken.
    locks: String,
    failed: Vec<Failed<'a>>,
    touched: Touched,
    /// Collections of which rows were written.
    written: BTreeSet<usize>,
    /// Documents of each collection that met an error of no known kind.
    unknown: HashMap<usize, usize>,
    /// Whether the savepoint of the last attempt, which succeeded, is still there.
    open: bool,
}

/// How an attempt to write a set ended.
enum Attempt {
    /// Its rows are written.
    Written,
    /// It was rolled back: PostgreSQL refused it.
    Refused(Refusal),
    /// It was rolled back: these documents, by their places, break a constraint that PostgreSQL did not look at.
    Contested(BTreeMap<usize, Refusal>),
}

impl<'a, 's> Bisection<'a, 's> {
    async fn write(&mut self, set: Vec<Winner<'a>>) -> Result<(), Error> {
        let mut stack = vec![set];
        while let Some(set) = stack.pop() {
            if !set.is_empty() {
                stack.extend(self.step(set).await?);
            }
        }
        Ok(())
    }

    /// Tries a set; gives back the sets that are left to be tried, the next one last.
    async fn step(&mut self, set: Vec<Winner<'a>>) -> Result<Vec<Vec<Winner<'a>>>, Error> {
        let rows = Rows::of(self.prepared, &set);
        if rows.may_copy() && matches!(self.attempt(&rows, Way::Copy).await?, Attempt::Written) {
            self.note_written(&set);
            return Ok(Vec::new());
        }
        let (mut set, attempt) = match self.attempt(&rows, Way::Upsert).await? {
            Attempt::Refused(refusal) => self.set_aside(set, refusal).await?,
            attempt => (set, attempt),
        };
        match attempt {
            Attempt::Written => self.note_written(&set),
            Attempt::Contested(blocked) => {
                self.take_out(&mut set, blocked)?;
                return Ok(vec![set]);
            }
            Attempt::Refused(refusal) => match set.as_slice() {
                [] => {}
                [winner] => self.fail(*winner, refusal)?,
                _ => {
                    let second = set.split_off(set.len() / 2);
                    return Ok(vec![second, set]);
                }
            },
        }
        Ok(Vec::new())
    }

    /// Takes out of the set the documents that surely lack their parent or want a unique value that is taken, and tries the others.
    /// Gives back those others, and how the attempt ended.
    async fn set_aside(
        &mut self,
        mut set: Vec<Winner<'a>>,
        refusal: Refusal,
    ) -> Result<(Vec<Winner<'a>>, Attempt), Error> {
        let blocker = match refusal.code.as_str() {
            "23505" => Blocker::UniqueValue,
            "23503" => Blocker::MissingParent,
            _ => return Ok((set, Attempt::Refused(refusal))),
        };
        let before = set.len();
        loop {
            let blocked = self.blocked(&set, blocker).await?;
            let is_final = blocked.is_empty() || blocker == Blocker::MissingParent;
            self.take_out(&mut set, blocked)?;
            // A document that was taken out keeps the values that it has, which may block others in turn.
            if is_final || set.is_empty() {
                break;
            }
        }
        let mode = self.session.constraint_mode();
        let rows = Rows::of(self.prepared, &set);
        let swap = blocker == Blocker::UniqueValue && rows.may_swap_unique(mode);
        if set.is_empty() || (set.len() == before && !swap) {
            return Ok((set, Attempt::Refused(refusal)));
        }
        let way = if swap { Way::SwapUnique } else { Way::Upsert };
        let attempt = self.attempt(&rows, way).await?;
        Ok((set, attempt))
    }

    fn take_out(&mut self, set: &mut Vec<Winner<'a>>, blocked: BTreeMap<usize, Refusal>) -> Result<(), Error> {
        for (place, refusal) in blocked.into_iter().rev() {
            let winner = set.remove(place);
            self.fail(winner, refusal)?;
        }
        Ok(())
    }

    /// Finds the documents that another one blocks, as in the middle of an attempt, and leaves everything as it was.
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

    /// Writes a set inside a savepoint.
    async fn attempt(&mut self, rows: &Rows<'a>, way: Way) -> Result<Attempt, Error> {
        let mut touched = Touched::new();
        let session = self.session;
        let written = async {
            rows.write(session, way, &mut touched).await?;
            // Constraints that the target checks only at the end of a transaction, or not at all, have to be checked here.
            session.check_deferred().await?;
            match session.constraint_mode() {
                ConstraintMode::Replica => rows.unguarded(session).await,
                ConstraintMode::Enforce => Ok(BTreeMap::new()),
            }
        };
        let (begun, outcome) = join(self.savepoint(), written).await;
        begun?;
        self.open = true;
        let attempt = match outcome {
            Ok(contested) if contested.is_empty() => {
                for (table, (written, removed)) in touched {
                    let total = self.touched.entry(table).or_default();
                    *total = (total.0 + written, total.1 + removed);
                }
                return Ok(Attempt::Written);
            }
            Ok(contested) => Attempt::Contested(contested),
            Err(error) => match error.refusal() {
                Some(refusal) if error.class() == Class::Poison => Attempt::Refused(refusal.clone()),
                _ => return Err(error),
            },
        };
        self.roll_back().await?;
        Ok(attempt)
    }

    /// Sets a savepoint, and releases that of the last attempt, if it succeeded. The locks come first, in the same message.
    fn savepoint(&mut self) -> impl Future<Output = Result<(), Error>> + use<'a, 's> {
        let mut sql = std::mem::take(&mut self.locks);
        sql.push_str(if self.open { "RELEASE attempt; SAVEPOINT attempt" } else { "SAVEPOINT attempt" });
        let session = self.session;
        async move { session.batch("set a savepoint", &sql).await }
    }

    async fn roll_back(&mut self) -> Result<(), Error> {
        self.open = false;
        self.session.batch("roll back to a savepoint", "ROLLBACK TO attempt; RELEASE attempt").await
    }

    fn note_written(&mut self, set: &[Winner<'a>]) {
        let rows = set.iter().filter(|winner| matches!(winner.document.content, Content::Rows { .. }));
        self.written.extend(rows.map(|winner| winner.document.collection));
    }

    fn fail(&mut self, winner: Winner<'a>, refusal: Refusal) -> Result<(), Error> {
        // No row can have a key that its column does not take, so there is nothing to remove.
        if matches!(winner.document.content, Content::Gone(_)) && refusal.code.starts_with("22") {
            return Ok(());
        }
        if !refusal.is_of_a_value() {
            let collection = winner.document.collection;
            let count = self.unknown.entry(collection).or_default();
            *count += 1;
            if *count > MAX_UNKNOWN && !self.written.contains(&collection) {
                let (collection, count) = (self.prepared.name(collection), *count);
                return Err(Error::AllRefused { collection, count, refusal: Box::new(refusal) });
            }
        }
        let reason = refusal.reason();
        self.failed.push(Failed { winner, refusal });
        let lost = self.failed.iter().filter(|failed| !failed.refusal.may_pass_later()).count();
        self.limits.check(lost, reason)
    }
}

//! One round of a collection: keys that are due are judged, as of the last instant that the watermark covers, or the other way
//! round. Sessions are shared, so that a collection in trouble leaves the others theirs.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;

use super::super::{
    Error,
    back::Back,
    both::Both,
    examine::Examiner,
    read::PieceReader,
    sides::{SourceSide, TargetSide},
};
use crate::{
    model::{ClusterTime, Frontier, Key},
    postgres::Session,
    source::{self, ReadTime},
    target::DocumentId,
};

/// Rounds at once. A collection whose statements wait for a lock, or run into their time limit, holds one; so the others go on
/// while as many minus one are in trouble.
const MAX_ROUNDS: usize = 4;

/// The sessions of the rounds, opened as they are needed.
pub(super) struct Sessions {
    idle: Mutex<Vec<Session>>,
    permits: Arc<Semaphore>,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { idle: Mutex::default(), permits: Arc::new(Semaphore::new(MAX_ROUNDS)) }
    }

    fn idle(&self) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.extract_if(.., |session| !session.is_alive()).for_each(drop);
        idle.pop()
    }

    fn give_back(&self, session: Session) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }
}

/// The outcome of a round.
#[derive(Debug)]
pub(in super::super) struct Judged {
    /// Every document that was to be judged, each once.
    pub(in super::super) documents: Vec<Back>,
    /// Whether the source could not be read as of the last instant that the watermark covers.
    pub(in super::super) too_old: bool,
}

/// Judges documents of one collection, at or after `at`.
///
/// # Errors
/// [`Error::Source`] and [`Error::Target`], by the class of their cause. Nothing was judged.
pub(super) async fn judge(
    both: &Both,
    sessions: &Sessions,
    collection: usize,
    documents: Vec<DocumentId>,
    at: ClusterTime,
) -> Result<Judged, Error> {
    // The semaphore is never closed.
    let _permit = sessions.permits.acquire().await;
    let session = match sessions.idle() {
        Some(session) => session,
        None => both.session().await?,
    };
    let judged = judge_in(both, &session, collection, documents, at).await;
    // After a refusal the session may be inside a transaction, so it is not used again.
    if judged.is_ok() {
        sessions.give_back(session);
    }
    judged
}

async fn judge_in(
    both: &Both,
    session: &Session,
    collection: usize,
    documents: Vec<DocumentId>,
    at: ClusterTime,
) -> Result<Judged, Error> {
    let (source, target) = (both.source_of(collection), both.target_of(session, collection));
    let examiner = Examiner { target: &target, plan: both.plan(collection), wait: std::time::Duration::ZERO };
    let mut pieces = PieceReader::new(&source, both.bounds);
    judge_with(&examiner, &mut pieces, documents, at).await
}

/// Judges documents as of `at`, and those that are newer the other way round.
///
/// # Errors
/// As [`judge`].
pub(in super::super) async fn judge_with<S: SourceSide, T: TargetSide>(
    examiner: &Examiner<'_, T>,
    pieces: &mut PieceReader<'_, S>,
    documents: Vec<DocumentId>,
    at: ClusterTime,
) -> Result<Judged, Error> {
    let Forwards { mut judged, undecided, too_old } = forwards(examiner, pieces, documents, at).await?;
    judged.extend(examiner.back(pieces, undecided).await?);
    Ok(Judged { documents: judged, too_old })
}

/// The documents that were judged as of one time, and those that must be judged otherwise.
struct Forwards {
    judged: Vec<Back>,
    undecided: Vec<DocumentId>,
    too_old: bool,
}

/// Judges documents as of `at`.
async fn forwards<S: SourceSide, T: TargetSide>(
    examiner: &Examiner<'_, T>,
    pieces: &mut PieceReader<'_, S>,
    documents: Vec<DocumentId>,
    at: ClusterTime,
) -> Result<Forwards, Error> {
    let (known, undecided): (Vec<_>, Vec<_>) = documents.into_iter().partition(|document| document.id.is_some());
    let mut outcome = Forwards { judged: Vec::with_capacity(known.len()), undecided, too_old: false };
    let ids: Vec<_> = known.iter().filter_map(|document| document.id.clone()).collect();
    let mut rest = &ids[..];
    loop {
        let piece = match pieces.next_of(&mut rest, ReadTime::At(at)).await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(Error::Source(source::Error::SnapshotTooOld { .. })) => {
                outcome.too_old = true;
                break;
            }
            Err(error) => return Err(error),
        };
        let read_at = piece.read_at;
        for examined in examiner.piece(&piece).await? {
            if examined.is_undecided() {
                outcome.undecided.push(examined.document);
            } else {
                outcome.judged.push(Back { examined, as_of: read_at, judged: Frontier(read_at.next()) });
            }
        }
    }
    if outcome.too_old {
        let judged: HashSet<Key> = outcome.judged.iter().map(|back| back.examined.document.key.clone()).collect();
        let met: HashSet<Key> = outcome.undecided.iter().map(|document| document.key.clone()).collect();
        outcome.undecided.extend(known.into_iter().filter(|one| !judged.contains(&one.key) && !met.contains(&one.key)));
    }
    Ok(outcome)
}

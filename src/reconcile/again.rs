//! Judges documents by `_id`: those that were repaired, and those that an operator asks about.

use std::collections::HashMap;

use bson::raw::RawDocumentBuf;
use tokio::time::{Instant, interval};

use super::{
    Error,
    back::Back,
    bounds::Bounds,
    examine::{Examined, Examiner, POLL_INTERVAL},
    judgement::Judgement,
    read::PieceReader,
    sides::{SourceSide, TargetSide},
};
use crate::{
    control::findings::Found,
    mapping::CollectionPlan,
    model::{ClusterTime, Key},
    source::ReadTime,
    target::{DocumentId, Entry},
};

/// A document and what is known of it now.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// The document.
    pub(crate) document: DocumentId,
    /// Cluster time as of which it was judged.
    pub(crate) as_of: ClusterTime,
    /// Its ledger entry.
    pub(crate) entry: Option<Entry>,
    /// The dead letter that waits for it.
    pub(crate) letter: Option<i64>,
    /// The judgement.
    pub(crate) outcome: Outcome,
}

/// The judgement of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Both sides hold it, and are equal.
    Equal,
    /// Neither side holds it.
    Absent,
    /// The sides differ.
    Differs(Found),
    /// Not judged within the bound.
    Undecided,
}

/// Judges documents as of now, forwards and then the other way round; those that stay undecided again and again, until `bounds.wait` is
/// over.
///
/// # Errors
/// Those of either side.
pub(crate) async fn judge<S: SourceSide, T: TargetSide>(
    (source, target): (&S, &T),
    plan: &CollectionPlan,
    bounds: Bounds,
    documents: Vec<DocumentId>,
) -> Result<Vec<Judged>, Error> {
    let started = Instant::now();
    let mut poll = interval(POLL_INTERVAL);
    let examiner = Examiner { target, plan, wait: bounds.wait };
    let mut pieces = PieceReader::new(source, bounds);
    let mut judged = HashMap::<Key, Judged>::new();
    let (mut waiting, unknown): (Vec<_>, Vec<_>) = documents.into_iter().partition(|document| document.id.is_some());
    judged.extend(unknown.into_iter().map(|document| of(Examined::unknown(document), ClusterTime::default())));
    while !waiting.is_empty() {
        poll.tick().await;
        let ids: Vec<RawDocumentBuf> = waiting.iter().filter_map(|document| document.id.clone()).collect();
        let mut rest = &ids[..];
        while let Some(piece) = pieces.next_of(&mut rest, ReadTime::NOW).await? {
            let examined = examiner.piece(&piece).await?;
            let (undecided, decided): (Vec<_>, Vec<_>) = examined.into_iter().partition(Examined::is_undecided);
            judged.extend(decided.into_iter().map(|examined| of(examined, piece.read_at)));
            let undecided = undecided.into_iter().map(|examined| examined.document).collect();
            let back = examiner.back(&mut pieces, undecided).await?;
            judged.extend(back.into_iter().map(|Back { examined, as_of, .. }| of(examined, as_of)));
        }
        let outcome = |document: &DocumentId| judged.get(&document.key).map(|judged| &judged.outcome);
        waiting.retain(|document| matches!(outcome(document), None | Some(Outcome::Undecided)));
        if started.elapsed() >= bounds.wait {
            break;
        }
    }
    Ok(judged.into_values().collect())
}

fn of(examined: Examined, as_of: ClusterTime) -> (Key, Judged) {
    let (document, entry, letter) = (examined.document.clone(), examined.entry, examined.letter);
    let outcome = match examined.judgement {
        Judgement::Match => Outcome::Equal,
        Judgement::Absent => Outcome::Absent,
        _ => examined.found(as_of).map_or(Outcome::Undecided, Outcome::Differs),
    };
    (document.key.clone(), Judged { document, as_of, entry, letter, outcome })
}

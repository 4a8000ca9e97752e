//! Judges documents the other way round: the target first, then the source as of what the target holds.
//!
//! ```text
//!  forwards   documents at T ─▶ rows          undecided while the rows are newer than T: always, for a document that never rests
//!  back       rows ─▶ documents at u          u: the upper bound of the image that the rows were made from
//! ```
//! In one snapshot S of the target: the ledger entry (version v, upper bound u), the watermark W, the rows. Then the document is
//! read from the history of MongoDB as of U, which is u or later, and compared in S. The sink had the image between v and u, and
//! `v ≤ u ≤ U`.
//!
//! **A match** proves that every change of the document at or before U and *before max(v, W)* has its effect. The document at U
//! contains them all, and in S none of them is still on its way: each was applied, or lost against v, or the pipeline has lost it
//! without harm. Whatever the sink will write later comes from a change at or behind max(v, W), which is judged for itself. It does
//! not matter whether the image was exact, whether the document changed in between and back again, or whether it is equal by chance.
//!
//! A match says nothing about changes behind U, even if W covers them: that none of them shows in the ledger only means that there
//! was none if the pipeline loses nothing, which is to be proven.
//!
//! A match does *not* prove the changes up to u. If W does not cover u, a change between v and u may be in the image and still be
//! on its way: the sink will apply it, with a body that may be older than this image, and only the change behind it repairs that.
//! If that one is lost, the rows are wrong, although they were right in S. The same holds at v itself: in a transaction several
//! operations on one document share its cluster time, and S may lie between them.
//!
//! **A mismatch at u** proves drift only if nothing at or before u can follow:
//! - W covers u. Then every change up to u is applied, v is the last of them, and the image is the document at u, even where the
//!   instant of its lookup is not known.
//! - or v is a read at u itself (snapshot, repair), which contains every operation of that instant.
//!
//! An insert or a replacement alone does not suffice, although its image is exact: its transaction may go on. Else the document is
//! undecided and is looked at again. A mismatch at a U behind u proves nothing.
//!
//! A tombstone is an image without a document. Without an entry there is no u, and the judgement forwards decides.
//!
//! A version or an upper bound that the source has not come to, or a version of a later epoch, is a difference of its own: every
//! later change would lose against it. The source's time is read after the entry, so an honest entry is never ahead of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use bson::raw::RawDocumentBuf;

use super::{
    Error,
    examine::{Examined, Examiner},
    judgement::{Judgement, RowState},
    read::{Piece, PieceReader},
    sides::{Compared, Moment, SourceSide, TargetSide},
};
use crate::{
    mapping::Rows,
    model::{ClusterTime, Frontier, Key},
    source::{self, ReadTime},
    target::{DocumentId, Entry},
};

/// Instants at which the source is read in one snapshot of the target, besides the newest. More would hold the snapshot open for
/// long; the documents that are left are looked at again anyway.
const MAX_INSTANTS: usize = 16;

/// A document that was judged the other way round.
#[derive(Clone, Debug)]
pub(super) struct Back {
    pub(super) examined: Examined,
    /// Cluster time of the read.
    pub(super) as_of: ClusterTime,
    /// Every change of the document before this is judged; only if the judgement is decided.
    pub(super) judged: Frontier,
}

/// A document under examination.
struct Candidate {
    document: DocumentId,
    entry: Entry,
}

impl<T: TargetSide> Examiner<'_, T> {
    /// Judges documents as of what the target holds; most that change without a pause can be judged only so.
    pub(super) async fn back<S: SourceSide>(
        &self,
        pieces: &mut PieceReader<'_, S>,
        documents: Vec<DocumentId>,
    ) -> Result<Vec<Back>, Error> {
        let mut judged = Vec::with_capacity(documents.len());
        let mut rest = documents.into_iter().peekable();
        while rest.peek().is_some() {
            let some: Vec<_> = rest.by_ref().take(pieces.most()).collect();
            let moment = self.target.moment().await?;
            judged.extend(self.back_in(&moment, pieces, some).await?);
            moment.end().await?;
        }
        Ok(judged)
    }

    /// Judges documents in one snapshot of the target.
    async fn back_in<S: SourceSide>(
        &self,
        moment: &impl Moment,
        pieces: &mut PieceReader<'_, S>,
        documents: Vec<DocumentId>,
    ) -> Result<Vec<Back>, Error> {
        let keys: Vec<Key> = documents.iter().map(|document| document.key.clone()).collect();
        let records = moment.records(&keys).await?;
        let now = pieces.latest().await?;
        let mut judged = Vec::with_capacity(documents.len());
        let mut candidates: Vec<Candidate> = Vec::new();
        for document in documents {
            let entry = records.entries.get(&document.key).copied();
            let parked = records.letters.get(&document.key).is_some_and(|letter| !letter.open);
            match entry {
                Some(entry) if is_ahead(&records, &entry, now) => {
                    judged.push(self.verdict(&records, document, entry, now, Judgement::Version));
                }
                Some(entry) if document.id.is_some() && !parked => candidates.push(Candidate { document, entry }),
                _ => judged.push(undecided(document, entry)),
            }
        }
        let Some(newest) = candidates.iter().map(|candidate| candidate.entry.upper).max() else { return Ok(judged) };
        let mut left = self.compare_at(moment, pieces, &records, newest, candidates, &mut judged).await?;
        // Those that have changed up to the newest bound, each at its own; a lookup gives many documents one bound.
        let mut by_upper: BTreeMap<ClusterTime, Vec<Candidate>> = BTreeMap::new();
        for candidate in left.extract_if(.., |candidate| candidate.entry.upper < newest) {
            by_upper.entry(candidate.entry.upper).or_default().push(candidate);
        }
        for (number, (upper, candidates)) in by_upper.into_iter().enumerate() {
            left.extend(match number < MAX_INSTANTS {
                true => self.compare_at(moment, pieces, &records, upper, candidates, &mut judged).await?,
                false => candidates,
            });
        }
        judged.extend(left.into_iter().map(|candidate| undecided(candidate.document, Some(candidate.entry))));
        Ok(judged)
    }

    /// Compares documents as of one time. Returns those about which that says nothing.
    async fn compare_at<S: SourceSide>(
        &self,
        moment: &impl Moment,
        pieces: &mut PieceReader<'_, S>,
        records: &Compared,
        at: ClusterTime,
        candidates: Vec<Candidate>,
        judged: &mut Vec<Back>,
    ) -> Result<Vec<Candidate>, Error> {
        let ids: Vec<RawDocumentBuf> = candidates.iter().filter_map(|one| one.document.id.clone()).collect();
        let mut waiting: HashMap<Key, Candidate> =
            candidates.into_iter().map(|candidate| (candidate.document.key.clone(), candidate)).collect();
        let mut rest = &ids[..];
        loop {
            let Piece { asked, documents, .. } = match pieces.next_of(&mut rest, ReadTime::At(at)).await {
                Ok(Some(piece)) => piece,
                // A parent or a retry may come too late for the history: the judgement forwards can still decide.
                Ok(None) | Err(Error::Source(source::Error::SnapshotTooOld { .. })) => break,
                Err(error) => return Err(error),
            };
            for (key, held, rows) in self.row_states(moment, records, asked, &documents).await? {
                let Some(candidate) = waiting.remove(&key) else { continue };
                match judge(&candidate.entry, records.watermark, at, held, rows) {
                    Some(judgement) => {
                        judged.push(self.verdict(records, candidate.document, candidate.entry, at, judgement));
                    }
                    None => drop(waiting.insert(key, candidate)),
                }
            }
        }
        Ok(waiting.into_values().collect())
    }

    /// Whether the source holds each document that was asked for, and the state of its rows; of one that it does not hold, none are
    /// expected.
    async fn row_states(
        &self,
        moment: &impl Moment,
        records: &Compared,
        asked: &[RawDocumentBuf],
        documents: &[RawDocumentBuf],
    ) -> Result<Vec<(Key, bool, RowState)>, Error> {
        let mut keys = Vec::with_capacity(documents.len());
        for document in documents {
            let key = source::id_of(document).and_then(|id| Key::from_id(&id));
            keys.push(key.ok_or_else(|| Error::NoKey { collection: self.plan.collection.clone() })?);
        }
        let expected: Vec<Option<Rows>> = documents.iter().map(|document| self.plan.map(document).ok()).collect();
        let mut mappable: Vec<bool> = expected.iter().map(Option::is_some).collect();
        let mut expected: Vec<Rows> = expected.into_iter().map(|rows| rows.unwrap_or_else(|| self.no_rows())).collect();
        let held: HashSet<Key> = keys.iter().cloned().collect();
        let gone = asked.iter().filter_map(|id| Some((Key::from_id(id)?, id))).filter(|(key, _)| !held.contains(key));
        for (key, id) in gone {
            keys.push(key);
            mappable.push(true);
            expected.push(self.no_rows_of(Some(id)));
        }
        let mut differences = moment.differences(&keys, &expected).await?;
        let state = |(place, (key, mappable)): (usize, (Key, bool))| {
            let letter = records.letters.get(&key).copied();
            let rows = RowState::new(letter, mappable, differences.remove(&place));
            (key, place < held.len(), rows)
        };
        Ok(keys.into_iter().zip(mappable).enumerate().map(state).collect())
    }

    fn verdict(
        &self,
        records: &Compared,
        document: DocumentId,
        entry: Entry,
        as_of: ClusterTime,
        judgement: Judgement,
    ) -> Back {
        let letter = records.letters.get(&document.key).map(|letter| letter.id);
        // A version that is ahead is no bound; what the watermark covers has lost against it.
        let version = if judgement == Judgement::Version { ClusterTime::default() } else { entry.version.time };
        let judged = records.watermark.max(Frontier(version)).min(Frontier(as_of.next()));
        let examined = Examined { document, judgement, entry: Some(entry), letter, refused: None };
        Back { examined, as_of, judged }
    }
}

/// Whether nothing that the source has done can have that version.
fn is_ahead(records: &Compared, entry: &Entry, now: ClusterTime) -> bool {
    records.is_of_later_epoch(Some(entry)) || entry.version.time.max(entry.upper) > now
}

fn undecided(document: DocumentId, entry: Option<Entry>) -> Back {
    let examined = Examined { document, judgement: Judgement::Undecided, entry, letter: None, refused: None };
    Back { examined, as_of: ClusterTime::default(), judged: Frontier::default() }
}

/// Judges a document whose rows were compared with it as of `at`, which is not before the entry's upper bound. `held` is whether the
/// source held it. The result is `None` where that proves nothing.
fn judge(entry: &Entry, watermark: Frontier, at: ClusterTime, held: bool, rows: RowState) -> Option<Judgement> {
    match (held, &rows, entry.deleted) {
        (false, RowState::Equal, true) => return Some(Judgement::Absent),
        (false, RowState::Parked, true) => return None,
        // Rows and entry were written together.
        (false, _, true) => return Some(Judgement::Extra),
        (true, RowState::Equal, false) => return Some(Judgement::Match),
        _ => {}
    }
    let exact = entry.version.is_snapshot() && entry.version.time == entry.upper;
    if at != entry.upper || !(watermark.covers(entry.upper) || exact) {
        return None;
    }
    match rows {
        _ if !held => Some(Judgement::Extra),
        RowState::Parked => None,
        _ if entry.deleted => Some(Judgement::Missing),
        RowState::Missing => Some(Judgement::Missing),
        RowState::Different(columns) => Some(Judgement::Different(columns)),
        RowState::Refused => Some(Judgement::Different(Vec::new())),
        RowState::Equal => Some(Judgement::Match),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::model::Version;

    fn at(i: u32) -> ClusterTime {
        ClusterTime { t: 100, i }
    }

    fn event(time: u32, upper: u32) -> Entry {
        let version = Version { epoch: 1, time: at(time), op: 0 };
        Entry { version, deleted: false, upper: at(upper), applied: 1 }
    }

    fn read(time: u32) -> Entry {
        Entry { version: Version::snapshot(1, at(time)), ..event(time, time) }
    }

    fn deleted(entry: Entry) -> Entry {
        Entry { deleted: true, ..entry }
    }

    fn held(rows: RowState) -> (bool, RowState) {
        (true, rows)
    }

    fn gone(rows: RowState) -> (bool, RowState) {
        (false, rows)
    }

    fn different() -> RowState {
        RowState::Different(vec!["name".to_owned()])
    }

    fn differs() -> Option<Judgement> {
        Some(Judgement::Different(vec!["name".to_owned()]))
    }

    #[rstest]
    #[case::a_match_needs_no_watermark(event(5, 7), 1, 7, held(RowState::Equal), Some(Judgement::Match))]
    #[case::a_match_may_be_later(event(5, 7), 1, 9, held(RowState::Equal), Some(Judgement::Match))]
    #[case::nothing_before_u_can_follow(event(5, 7), 8, 7, held(different()), differs())]
    #[case::changes_up_to_u_may_follow(event(5, 7), 7, 7, held(different()), None)]
    #[case::its_transaction_may_go_on(event(5, 5), 5, 5, held(different()), None)]
    #[case::a_read_contains_its_instant(read(5), 1, 5, held(different()), differs())]
    #[case::later_than_u_it_may_have_changed(event(5, 5), 20, 9, held(different()), None)]
    #[case::a_tombstone_matches_nothing(deleted(event(5, 5)), 1, 9, gone(RowState::Equal), Some(Judgement::Absent))]
    #[case::a_tombstone_has_no_rows(deleted(event(5, 5)), 1, 9, gone(different()), Some(Judgement::Extra))]
    #[case::its_delete_was_refused(deleted(event(5, 5)), 1, 9, gone(RowState::Refused), Some(Judgement::Extra))]
    #[case::its_delete_waits(deleted(event(5, 5)), 20, 5, gone(RowState::Parked), None)]
    #[case::inserted_again_in_its_transaction(deleted(event(5, 5)), 5, 5, held(RowState::Missing), None)]
    #[case::deleted_too_much(deleted(event(5, 5)), 6, 5, held(RowState::Missing), Some(Judgement::Missing))]
    #[case::a_tombstone_with_rows_is_no_match(
        deleted(event(5, 5)),
        6,
        5,
        held(RowState::Equal),
        Some(Judgement::Missing)
    )]
    #[case::a_lost_delete(event(5, 7), 8, 7, gone(different()), Some(Judgement::Extra))]
    #[case::its_delete_may_follow(event(5, 7), 7, 7, gone(different()), None)]
    #[case::no_rows(event(5, 5), 6, 5, held(RowState::Missing), Some(Judgement::Missing))]
    #[case::a_dead_letter(event(5, 5), 6, 5, held(RowState::Refused), Some(Judgement::Different(vec![])))]
    #[case::a_parked_change(event(5, 5), 6, 5, held(RowState::Parked), None)]
    fn judgements(
        #[case] entry: Entry,
        #[case] watermark: u32,
        #[case] read_at: u32,
        #[case] (held, rows): (bool, RowState),
        #[case] expected: Option<Judgement>,
    ) {
        assert_eq!(judge(&entry, Frontier(at(watermark)), at(read_at), held, rows), expected);
    }
}

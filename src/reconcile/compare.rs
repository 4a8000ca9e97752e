//! The judgement of one document, pure.
//!
//! A document was read at the cluster time T. Its ledger entry, its rows and the watermark W were read in one PostgreSQL
//! snapshot later. The rows may be held against the document only when both stand for the same instant:
//!
//! - W covers T: every change up to T is applied.
//! - The entry's version is not after T: nothing newer is applied.
//! - W covers the entry's upper bound: a looked-up image may be newer than its event; once everything up to that bound is
//!   applied and the entry still has that version, no change lies in between, so the image is the one of T.
//!
//! Otherwise the document is undecided and read again at a later T. So lag never makes drift, and a mismatch is a proof.

use crate::{
    model::{ClusterTime, Frontier},
    target::Entry,
};

/// How a document's rows compare with what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowState {
    /// All there, all equal.
    Equal,
    /// The root row is not there.
    Missing,
    /// These columns differ.
    Different(Vec<String>),
    /// The last change is a dead letter, or the mapping refuses the document: its rows are known to be old.
    Refused,
    /// The last change is parked: its rows are known to be old, and not for long.
    Parked,
}

/// The judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Both sides are equal as of T.
    Match,
    /// The document has no rows.
    Missing,
    /// The rows have no document.
    Extra,
    /// These columns differ.
    Different(Vec<String>),
    /// The two sides do not stand for the same instant; read again later.
    Undecided,
}

/// Judges a document that the source held at `read_at`.
pub fn judge_present(read_at: ClusterTime, watermark: Frontier, entry: Option<&Entry>, rows: RowState) -> Judgement {
    if !watermark.covers(read_at) {
        return Judgement::Undecided;
    }
    let Some(entry) = entry else { return Judgement::Missing };
    if entry.version.time > read_at || !watermark.covers(entry.upper) {
        return Judgement::Undecided;
    }
    match rows {
        RowState::Parked => Judgement::Undecided,
        _ if entry.deleted => Judgement::Missing,
        RowState::Missing => Judgement::Missing,
        RowState::Different(columns) => Judgement::Different(columns),
        RowState::Refused => Judgement::Different(Vec::new()),
        RowState::Equal => Judgement::Match,
    }
}

/// Judges a live ledger entry whose document the source did not hold at `read_at`.
pub fn judge_absent(read_at: ClusterTime, watermark: Frontier, entry: &Entry) -> Judgement {
    if !watermark.covers(read_at) || entry.version.time > read_at {
        Judgement::Undecided
    } else if entry.deleted {
        Judgement::Match
    } else {
        Judgement::Extra
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::model::Version;

    const T: ClusterTime = ClusterTime { t: 100, i: 1 };
    const BEFORE: ClusterTime = ClusterTime { t: 99, i: 1 };
    const AFTER: ClusterTime = ClusterTime { t: 101, i: 1 };

    fn entry(time: ClusterTime, upper: ClusterTime) -> Entry {
        Entry { version: Version { epoch: 1, time, op: 0 }, deleted: false, upper, digest: None, applied: 1 }
    }

    fn different() -> RowState {
        RowState::Different(vec!["name".to_owned()])
    }

    #[rstest]
    #[case::equal(AFTER, Some(entry(BEFORE, BEFORE)), RowState::Equal, Judgement::Match)]
    #[case::unequal(AFTER, Some(entry(BEFORE, BEFORE)), different(), Judgement::Different(vec!["name".to_owned()]))]
    #[case::no_entry(AFTER, None, RowState::Missing, Judgement::Missing)]
    #[case::no_row(AFTER, Some(entry(T, T)), RowState::Missing, Judgement::Missing)]
    #[case::deleted_too_much(AFTER, Some(Entry { deleted: true, ..entry(T, T) }), RowState::Missing, Judgement::Missing)]
    #[case::lag_is_no_drift(T, None, RowState::Missing, Judgement::Undecided)]
    #[case::newer_is_applied(AFTER, Some(entry(AFTER, AFTER)), different(), Judgement::Undecided)]
    #[case::lookup_may_be_newer(AFTER, Some(entry(BEFORE, AFTER)), different(), Judgement::Undecided)]
    #[case::parked_is_undecided(AFTER, Some(entry(T, T)), RowState::Parked, Judgement::Undecided)]
    #[case::refused_is_drift(AFTER, Some(entry(T, T)), RowState::Refused, Judgement::Different(vec![]))]
    fn present(
        #[case] bound: ClusterTime,
        #[case] entry: Option<Entry>,
        #[case] rows: RowState,
        #[case] expected: Judgement,
    ) {
        assert_eq!(judge_present(T, Frontier(bound), entry.as_ref(), rows), expected);
    }

    #[rstest]
    #[case::live_without_document(AFTER, entry(BEFORE, BEFORE), Judgement::Extra)]
    #[case::tombstone(AFTER, Entry { deleted: true, ..entry(BEFORE, BEFORE) }, Judgement::Match)]
    #[case::inserted_since(AFTER, entry(AFTER, AFTER), Judgement::Undecided)]
    #[case::delete_still_on_its_way(T, entry(BEFORE, BEFORE), Judgement::Undecided)]
    fn absent(#[case] bound: ClusterTime, #[case] entry: Entry, #[case] expected: Judgement) {
        assert_eq!(judge_absent(T, Frontier(bound), &entry), expected);
    }
}

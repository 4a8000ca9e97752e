//! The judgement of one document. Pure.
//!
//! A document was read at the cluster time T. Its ledger entry, its rows and the watermark W were read later, in one snapshot
//! of PostgreSQL. The rows may be compared with the document only if both sides show the same instant:
//!
//! - W covers T: every change up to T is applied.
//! - The entry's version is not after T: nothing newer is applied.
//! - W covers the entry's upper bound: a looked-up image may be newer than its event. Once everything up to that bound is
//!   applied and the entry still has that version, there is no change in between, so the image is the one of T.
//!
//! Otherwise the document is undecided and is read again at a later T. So lag is never reported as drift, and a mismatch is a
//! proof.

use crate::{
    model::{ClusterTime, Frontier},
    target::{Difference, Entry, WaitingLetter},
};

/// The result of comparing a document's rows with the expected ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowState {
    /// Every row exists and is equal.
    Equal,
    /// The root row does not exist.
    Missing,
    /// These columns differ.
    Different(Vec<String>),
    /// The last change is a dead letter, or the mapping or PostgreSQL refuses the document: its rows are known to be outdated.
    Refused,
    /// The last change is parked: the rows are known to be outdated until it is applied.
    Parked,
}

impl RowState {
    /// Sums up the facts about a document's rows. `mappable` is true if the mapping accepts the document; otherwise no rows
    /// were compared.
    pub(super) fn new(letter: Option<WaitingLetter>, mappable: bool, difference: Option<Difference>) -> Self {
        if letter.is_some_and(|letter| !letter.open) {
            return Self::Parked;
        }
        match difference {
            Some(difference) if difference.missing => Self::Missing,
            Some(difference) if difference.refused.is_some() => Self::Refused,
            _ if letter.is_some() || !mappable => Self::Refused,
            Some(difference) => Self::Different(difference.columns),
            None => Self::Equal,
        }
    }
}

/// The judgement of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Both sides are equal as of T.
    Match,
    /// Neither side holds the document.
    Absent,
    /// The document has no rows.
    Missing,
    /// The source does not have the document, but it has rows, or a live ledger entry.
    Extra,
    /// These columns differ; none are named if the document was refused.
    Different(Vec<String>),
    /// The version of the ledger entry is higher than anything that the source has done, so every later change would lose.
    Version,
    /// The two sides do not show the same instant; the document must be read again later.
    Undecided,
}

/// Judges a document that the source held at `read_at`.
pub(super) fn judge_present(
    read_at: ClusterTime,
    watermark: Frontier,
    entry: Option<&Entry>,
    rows: RowState,
) -> Judgement {
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

/// Judges a document that the source did not hold at `read_at`; `rows` compares its rows with none.
pub(super) fn judge_absent(
    read_at: ClusterTime,
    watermark: Frontier,
    entry: Option<&Entry>,
    rows: &RowState,
) -> Judgement {
    match (entry, rows) {
        (None, RowState::Equal) => Judgement::Absent,
        (entry, _) if !watermark.covers(read_at) || entry.is_some_and(|entry| entry.version.time > read_at) => {
            Judgement::Undecided
        }
        (Some(entry), _) if !entry.deleted => Judgement::Extra,
        (_, RowState::Equal) => Judgement::Absent,
        // A delete that waits for other documents.
        (_, RowState::Parked) => Judgement::Undecided,
        (_, RowState::Missing | RowState::Different(_) | RowState::Refused) => Judgement::Extra,
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
        Entry { version: Version { epoch: 1, time, op: 0 }, deleted: false, upper, applied: 1 }
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
    #[case::equal(None, true, None, RowState::Equal)]
    #[case::a_parked_letter_explains_any_rows(letter(false), true, missing(), RowState::Parked)]
    #[case::missing_rows_are_missing_whatever_the_reason(letter(true), true, missing(), RowState::Missing)]
    #[case::an_open_letter_is_drift_even_where_rows_are_equal(letter(true), true, None, RowState::Refused)]
    #[case::an_open_letter_explains_the_columns(letter(true), true, columns(), RowState::Refused)]
    #[case::the_mapping_refuses(None, false, None, RowState::Refused)]
    #[case::columns_differ(None, true, columns(), different())]
    fn rows(
        #[case] letter: Option<WaitingLetter>,
        #[case] mappable: bool,
        #[case] difference: Option<Difference>,
        #[case] expected: RowState,
    ) {
        assert_eq!(RowState::new(letter, mappable, difference), expected);
    }

    fn letter(open: bool) -> Option<WaitingLetter> {
        Some(WaitingLetter { id: 1, open })
    }

    fn missing() -> Option<Difference> {
        Some(Difference { missing: true, ..Difference::default() })
    }

    fn columns() -> Option<Difference> {
        Some(Difference { columns: vec!["name".to_owned()], ..Difference::default() })
    }

    fn tombstone() -> Option<Entry> {
        Some(Entry { deleted: true, ..entry(BEFORE, BEFORE) })
    }

    #[rstest]
    #[case::live_without_document(AFTER, Some(entry(BEFORE, BEFORE)), different(), Judgement::Extra)]
    #[case::live_without_document_or_rows(AFTER, Some(entry(BEFORE, BEFORE)), RowState::Equal, Judgement::Extra)]
    #[case::tombstone(AFTER, tombstone(), RowState::Equal, Judgement::Absent)]
    #[case::tombstone_with_rows(AFTER, tombstone(), different(), Judgement::Extra)]
    #[case::the_delete_waits(AFTER, tombstone(), RowState::Parked, Judgement::Undecided)]
    #[case::the_delete_was_refused(AFTER, tombstone(), RowState::Refused, Judgement::Extra)]
    #[case::never_applied(T, None, RowState::Equal, Judgement::Absent)]
    #[case::rows_without_entry(AFTER, None, different(), Judgement::Extra)]
    #[case::rows_without_entry_so_far(T, None, different(), Judgement::Undecided)]
    #[case::inserted_since(AFTER, Some(entry(AFTER, AFTER)), different(), Judgement::Undecided)]
    #[case::delete_still_on_its_way(T, Some(entry(BEFORE, BEFORE)), different(), Judgement::Undecided)]
    fn absent(
        #[case] bound: ClusterTime,
        #[case] entry: Option<Entry>,
        #[case] rows: RowState,
        #[case] expected: Judgement,
    ) {
        assert_eq!(judge_absent(T, Frontier(bound), entry.as_ref(), &rows), expected);
    }
}

//! Positions that are held back while the log lacks something of what they promise. Pure.
//!
//! An update whose document was gone when it was looked up gives no change; the delete behind it makes up for that. Until that
//! delete is given, too, nothing behind the update is complete: at a cluster time between the two the source holds a document
//! that the log has never heard of, and a reader who believed the frontier would call it drift.
//!
//! ```text
//!  stream   ──u1──────────u7(gone)────d1─────────d7───────────────▶
//!  saved    ────────────▶│  held                  │──────────────▶
//! ```
//! A hold is released when the deletes of its documents arrive, wherever the stream is: one that catches up with hours keeps
//! saving its position. The place of the stream is saved beside a held position ([`Held`]): after a restart nothing is given
//! twice, and the hold goes on. A dropped collection gives no deletes. Its documents were gone at the time of the lookup, so a
//! hold is also released when the stream has passed that time.

use std::collections::{HashMap, HashSet, VecDeque};

use super::batch::Position;
use crate::model::{Change, ClusterTime, Held, Key, Namespace, Op};

/// Documents that are awaited one by one, about 10 MB of them; a hold with more waits for the time of its lookup.
const MAX_REMEMBERED: usize = 50_000;

/// The images that a segment of the stream lacks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MissingImages {
    /// Documents that were gone when they were looked up.
    pub(crate) documents: HashSet<(Namespace, Key)>,
    /// The cluster time at or before which they went.
    pub(crate) by: ClusterTime,
}

/// The positions of one stream that may not be announced yet.
#[derive(Debug, Default)]
pub(crate) struct FrontierHolds {
    last: Option<Position>,
    open: VecDeque<Hold>,
    /// How many holds have ended.
    ended: usize,
    /// The numbers of the holds that wait for the delete of a document, ended ones among them.
    awaited: HashMap<(Namespace, Key), Vec<usize>>,
}

#[derive(Debug)]
struct Hold {
    /// The position before the segment that lacks a change.
    before: Position,
    /// Deletes that are awaited; `None` where they were too many to remember.
    missing: Option<usize>,
    by: ClusterTime,
}

impl FrontierHolds {
    /// The holds of a stream that resumes at a saved position.
    pub(crate) fn after(mut last: Position) -> Self {
        let mut holds = Self::default();
        if let Some(held) = last.held.take() {
            let missing = (!held.missing.is_empty()).then_some(held.missing.len());
            holds.awaited = held.missing.into_iter().map(|document| (document, vec![0])).collect();
            holds.open.push_back(Hold { before: last.clone(), missing, by: held.by });
        }
        holds.last = Some(last);
        holds
    }

    /// The position to announce when the stream is at `position`, behind a segment that gave `changes` and lacks the `missing`
    /// images.
    ///
    /// The first position of a stream that begins at a cluster time is never held: there is none to go back to.
    pub(crate) fn announce(
        &mut self,
        position: Position,
        changes: &[Change],
        missing: Option<MissingImages>,
    ) -> Position {
        // First what was given: a document may have come back, and be gone again.
        if !self.awaited.is_empty() {
            changes.iter().filter(|change| change.op == Op::Delete).for_each(|change| self.given(change));
        }
        if let (Some(before), Some(missing)) = (self.last.take(), missing) {
            self.hold(before, missing);
        }
        while self.open.front().is_some_and(|hold| hold.missing == Some(0) || position.frontier.covers(hold.by)) {
            self.open.pop_front();
            self.ended += 1;
        }
        if self.open.is_empty() {
            self.awaited.clear();
        }
        let announced = match self.open.front() {
            None => position.clone(),
            Some(hold) => Position { held: Some(Box::new(self.held(&position))), ..hold.before.clone() },
        };
        self.last = Some(position);
        announced
    }

    /// Returns the state that is saved beside the position of the first hold while the stream is at `position`.
    fn held(&self, position: &Position) -> Held {
        let by = self.open.iter().map(|hold| hold.by).max().unwrap_or_default();
        let few = self.awaited.len() <= Held::MAX_REMEMBERED && self.open.iter().all(|hold| hold.missing.is_some());
        let open = |numbers: &[usize]| numbers.iter().any(|number| *number >= self.ended);
        let missing = self.awaited.iter().filter(|(_, numbers)| few && open(numbers));
        let missing = missing.map(|(document, _)| document.clone()).collect();
        Held { given: position.token.clone(), by, missing }
    }

    fn given(&mut self, delete: &Change) {
        let document = (delete.namespace.clone(), delete.key.clone());
        for number in self.awaited.remove(&document).into_iter().flatten() {
            let hold = number.checked_sub(self.ended).and_then(|at| self.open.get_mut(at));
            if let Some(missing) = hold.and_then(|hold| hold.missing.as_mut()) {
                *missing -= 1;
            }
        }
    }

    fn hold(&mut self, before: Position, MissingImages { documents, by }: MissingImages) {
        let missing = (self.awaited.len() + documents.len() <= MAX_REMEMBERED).then_some(documents.len());
        if missing.is_some() {
            let number = self.ended + self.open.len();
            documents.into_iter().for_each(|document| self.awaited.entry(document).or_default().push(number));
        }
        self.open.push_back(Hold { before, missing, by });
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use rstest::rstest;

    use super::*;
    use crate::model::{Frontier, ResumeToken, Version};

    fn time(i: u32) -> ClusterTime {
        ClusterTime { t: 0x6500_0001, i }
    }

    fn position(i: u32) -> Position {
        let token = rawdoc! { "_data": format!("8265000001{i:08X}2B022C010029296E5A") };
        let token = ResumeToken::from_raw(&token).expect("a token");
        Position { token, frontier: Frontier(time(i)), as_of_ms: i64::from(i), held: None }
    }

    fn key(id: i32) -> Key {
        Key::from_id(&rawdoc! { "_id": id }).expect("a key")
    }

    fn change(id: i32, op: Op) -> Change {
        Change {
            namespace: Namespace::new("shop", "orders"),
            id: rawdoc! { "_id": id },
            key: key(id),
            version: Version::snapshot(1, time(0)),
            op,
            document: (op != Op::Delete).then(|| rawdoc! { "_id": id }),
            upper: time(0),
            wall_ms: 0,
            update_description: None,
            collection_uuid: None,
            replaces: None,
        }
    }

    fn gone(documents: impl IntoIterator<Item = i32>, by: u32) -> MissingImages {
        let documents = documents.into_iter().map(|id| (Namespace::new("shop", "orders"), key(id))).collect();
        MissingImages { documents, by: time(by) }
    }

    /// Each step: where the stream is then, what its segment gave (`-1`: a delete of document 1, `+1`: an insert) and lacks
    /// (`?1<90`: document 1, gone by 90), and what may be announced.
    #[rstest]
    #[case::nothing_missing(&[(5, "", 5), (7, "-1", 7)])]
    #[case::until_the_delete(&[(5, "", 5), (7, "?1<90", 5), (8, "-2 +1", 5), (9, "-1", 9)])]
    #[case::until_all_deletes(&[(5, "", 5), (7, "?1<90 ?2<90", 5), (8, "-2", 5), (9, "-1", 9)])]
    #[case::until_the_time(&[(5, "", 5), (7, "?1<12", 5), (12, "", 5), (13, "", 13)])]
    #[case::in_its_own_segment(&[(5, "", 5), (7, "?1<6", 7)])]
    #[case::two_holds(&[(5, "", 5), (7, "?1<90", 5), (8, "?2<90", 5), (9, "-1", 7), (10, "-2", 10)])]
    #[case::in_the_other_order(&[(5, "", 5), (7, "?1<90", 5), (8, "?2<90", 5), (9, "-2", 5), (10, "-1", 10)])]
    #[case::the_same_document_twice(&[(5, "", 5), (7, "?1<90", 5), (8, "?1<90", 5), (9, "-1", 9)])]
    #[case::gone_come_back_and_gone(&[(5, "", 5), (7, "?1<90", 5), (8, "-1 +1 ?1<90", 7), (9, "-1", 9)])]
    #[case::went_with_its_collection(&[
        (5, "", 5), (7, "?1<8", 5), (8, "?2<90", 5), (9, "?1<90", 7), (10, "-2", 8), (11, "-1", 11)
    ])]
    #[case::the_first_position_is_never_held(&[(5, "?1<90", 5), (6, "", 6)])]
    fn positions(#[case] steps: &[(u32, &str, u32)]) {
        let mut holds = FrontierHolds::default();
        for &(at_event, segment, announced) in steps {
            let (mut changes, mut missing) = (Vec::new(), None);
            for (kind, rest) in segment.split_whitespace().map(|word| word.split_at(1)) {
                let number = |text: &str| text.parse().expect("a number");
                match (kind, rest.split_once('<')) {
                    ("-", _) => changes.push(change(number(rest), Op::Delete)),
                    ("+", _) => changes.push(change(number(rest), Op::Insert)),
                    (_, Some((id, by))) => {
                        let by = by.parse().expect("a number");
                        missing.get_or_insert_with(|| gone([], by)).documents.extend(gone([number(id)], by).documents);
                    }
                    (_, None) => panic!("{kind}{rest}"),
                }
            }
            let saved = holds.announce(position(at_event), &changes, missing);
            assert_eq!(Position { held: None, ..saved.clone() }, position(announced), "at {at_event}");
            let given = saved.held.map(|held| held.given);
            assert_eq!(given, (at_event != announced).then(|| position(at_event).token), "at {at_event}");
        }
        assert!(holds.open.is_empty() && holds.awaited.is_empty(), "nothing is remembered any more");
    }

    #[test]
    fn a_stream_that_goes_on_has_a_position_to_go_back_to() {
        let mut holds = FrontierHolds::after(position(5));
        assert_eq!(holds.announce(position(7), &[], Some(gone([1], 90))).token, position(5).token);
        assert_eq!(holds.announce(position(8), &[change(1, Op::Delete)], None), position(8));
    }

    /// The saved part of a hold is all that the next process needs: it waits for the same deletes, or for the same time.
    #[rstest]
    #[case::few(2, &[(8, -1, 5), (9, -2, 9)])]
    #[case::few_by_their_time(2, &[(8, -1, 5), (11, 0, 11)])]
    #[case::many(Held::MAX_REMEMBERED as i32 + 1, &[(8, -1, 5), (10, -2, 5), (11, 0, 11)])]
    fn a_hold_survives_a_restart(#[case] missing: i32, #[case] steps: &[(u32, i32, u32)]) {
        let mut holds = FrontierHolds::after(position(5));
        let mut saved = holds.announce(position(7), &[], Some(gone((0..missing).map(|id| id + 1), 10)));
        for &(at_event, deleted, announced) in steps {
            let mut holds = FrontierHolds::after(saved);
            let changes = (deleted < 0).then(|| change(-deleted, Op::Delete));
            saved = holds.announce(position(at_event), changes.as_slice(), None);
            assert_eq!(saved.token, position(announced).token, "at {at_event}");
            assert_eq!(saved.held.is_some(), at_event != announced);
        }
    }

    #[test]
    fn too_many_documents_wait_for_the_time() {
        let mut holds = FrontierHolds::default();
        let many = i32::try_from(MAX_REMEMBERED).expect("a number") + 1;
        holds.announce(position(5), &[], None);
        assert_eq!(holds.announce(position(6), &[], Some(gone(0..many, 10))).token, position(5).token);
        assert!(holds.awaited.is_empty());
        let deletes = (0..many).map(|id| change(id, Op::Delete)).collect::<Vec<_>>();
        assert_eq!(holds.announce(position(10), &deletes, None).token, position(5).token);
        assert_eq!(holds.announce(position(11), &[], None), position(11));
    }
}

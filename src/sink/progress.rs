//! How far a partition is applied, and what moves that. Pure.
//!
//! A frontier record says that everything before its bound lies before it in its partition, and how many changes its
//! publisher wrote there since its last one. When the batch that holds it commits, the bound becomes the watermark. The
//! count is checked where it can be: between two frontiers that follow each other directly, with no hole in the offsets between
//! them. Where compaction or a replay removed records, there is nothing to check, and nothing is claimed.
//!
//! ```text
//!  written     F1 │ a1 a2 b1 F2 │       │ ends a transaction: its marker takes one offset
//!  compacted   F1 │ ·· a2 b1 F2 │       a segment that ended behind b1 has lost a1, and its frontier F2 stayed in the next one
//! ```

use crate::{log::FrontierRecord, model::Frontier};

/// Something that counts in a partition, and whether all records between it and what counted before are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) progress: Progress,
    /// `false` behind a hole in the offsets: compaction removed what lay there, or its transaction was aborted.
    pub(crate) whole: bool,
}

/// Something that counts in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Changes that a publisher will count.
    Changes {
        /// Its generation.
        publisher: u64,
        /// How many, next to each other.
        count: u64,
    },
    /// A frontier.
    Frontier(FrontierRecord),
}

impl Progress {
    fn publisher(&self) -> u64 {
        match self {
            Self::Changes { publisher, .. } | Self::Frontier(FrontierRecord { publisher, .. }) => *publisher,
        }
    }
}

/// How far a partition was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Where to go on; `None` at the earliest record.
    pub next_offset: Option<i64>,
    /// Everything before this is applied.
    pub watermark: Option<Frontier>,
    /// Source wall clock when that held there, milliseconds since 1970.
    pub as_of_ms: Option<i64>,
    /// Generation of the publisher of the last frontier or change.
    pub publisher: Option<u64>,
    /// Number of its last frontier here; 0 before the first.
    pub seq: u64,
    /// Its changes since; `None` when not all of them were seen.
    pub pending: Option<u64>,
    /// Whether the collection's snapshot is applied as well; without it the watermark speaks of the stream only.
    pub complete: bool,
    /// Frontiers whose count was not met, ever.
    pub gaps: u64,
    /// During a replay: what lies before this offset was read before.
    pub reread_to: Option<i64>,
}

impl Position {
    /// Whether records lie between the end of what was applied and this offset, or lay there once.
    pub(crate) fn misses_before(&self, offset: i64) -> bool {
        let behind_frontier = self.seq > 0 && self.pending == Some(0);
        offset > self.next_offset.unwrap_or(0) + i64::from(behind_frontier)
    }

    /// Takes a mark into account; `false` when a count was not met.
    pub(crate) fn advance(&mut self, mark: &Mark) -> bool {
        let publisher = mark.progress.publisher();
        self.succeed(publisher);
        if self.publisher == Some(publisher) && !mark.whole {
            self.pending = None;
        }
        match mark.progress {
            Progress::Changes { count, .. } => {
                if self.publisher == Some(publisher) {
                    self.pending = self.pending.map(|pending| pending + count);
                }
                true
            }
            Progress::Frontier(frontier) => self.meet(&frontier),
        }
    }

    /// Another publisher: all it wrote here was or will be seen, because it came after everything before. The order in the log
    /// says so, whatever its generation is; only what a replay reads again may be of one before.
    fn succeed(&mut self, publisher: u64) {
        let follows = |known| if self.reread_to.is_some() { known < publisher } else { known != publisher };
        if self.publisher.is_none_or(follows) {
            self.publisher = Some(publisher);
            self.seq = 0;
            self.pending = Some(0);
        }
    }

    fn meet(&mut self, frontier: &FrontierRecord) -> bool {
        let first = self.seq == 0;
        if self.publisher != Some(frontier.publisher) || frontier.seq < self.seq {
            // Read again after a replay. Applied changes stay applied, so the watermark stays.
            return true;
        }
        let follows = frontier.seq == self.seq + 1;
        let met = !follows || self.pending.is_none_or(|pending| pending == frontier.changes);
        if !met {
            self.gaps += 1;
        }
        self.seq = frontier.seq;
        self.complete = frontier.complete;
        self.pending = Some(0);
        // A new publisher may start below the old one's bound (a restored source does); its word is the newer one.
        // A publisher that has no answer of the source yet says 0; the older time still holds.
        let as_of_ms = Some(frontier.as_of_ms).filter(|ms| *ms > 0);
        if first || self.watermark.is_none_or(|known| known < frontier.before) {
            self.watermark = Some(frontier.before);
            self.as_of_ms = as_of_ms.or(self.as_of_ms);
        } else {
            self.as_of_ms = self.as_of_ms.max(as_of_ms);
        }
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClusterTime;

    fn whole(progress: Progress) -> Mark {
        Mark { progress, whole: true }
    }

    fn behind_a_hole(mark: Mark) -> Mark {
        Mark { whole: false, ..mark }
    }

    fn frontier(publisher: u64, seq: u64, changes: u64, t: u32) -> Mark {
        let before = Frontier(ClusterTime { t, i: 0 });
        let as_of_ms = i64::from(t) * 1000;
        whole(Progress::Frontier(FrontierRecord { before, as_of_ms, seq, publisher, changes, complete: true }))
    }

    fn changes(publisher: u64, count: u64) -> Mark {
        whole(Progress::Changes { publisher, count })
    }

    fn run(from: Position, marks: &[Mark]) -> Position {
        let mut position = from;
        for mark in marks {
            position.advance(mark);
        }
        position
    }

    #[test]
    fn counts_that_are_met_make_no_gap() {
        let end = run(
            Position::default(),
            &[changes(1, 3), frontier(1, 1, 3, 10), frontier(1, 2, 0, 11), changes(2, 1), frontier(2, 1, 1, 12)],
        );
        assert_eq!((end.gaps, end.seq, end.publisher, end.pending), (0, 1, Some(2), Some(0)));
        assert_eq!(end.watermark, Some(Frontier(ClusterTime { t: 12, i: 0 })));
    }

    #[test]
    fn a_change_too_few_or_too_many_is_a_gap() {
        for counted in [2, 4] {
            assert_eq!(run(Position::default(), &[changes(1, counted), frontier(1, 1, 3, 10)]).gaps, 1);
        }
    }

    #[test]
    fn what_compaction_removed_is_not_claimed_to_be_missing() {
        let end =
            run(Position::default(), &[changes(1, 1), frontier(1, 57, 9, 10), changes(1, 2), frontier(1, 58, 2, 11)]);
        assert_eq!((end.gaps, end.seq), (0, 58));
    }

    #[test]
    fn a_hole_between_two_frontiers_leaves_nothing_to_check() {
        let holes = [
            vec![frontier(1, 1, 0, 10), behind_a_hole(changes(1, 2)), frontier(1, 2, 3, 11)],
            vec![frontier(1, 1, 0, 10), changes(1, 2), behind_a_hole(frontier(1, 2, 3, 11))],
            vec![frontier(1, 1, 0, 10), changes(1, 1), behind_a_hole(changes(1, 1)), frontier(1, 2, 3, 11)],
            // The first of a publisher, too.
            vec![behind_a_hole(frontier(1, 1, 3, 10))],
            vec![frontier(1, 1, 0, 10), behind_a_hole(changes(2, 1)), frontier(2, 1, 3, 11)],
        ];
        for marks in holes {
            let end = run(Position::default(), &marks);
            assert_eq!((end.gaps, end.pending), (0, Some(0)), "{marks:?}");
            let publisher = end.publisher.expect("a publisher");
            assert_eq!(run(end, &[changes(publisher, 1), frontier(publisher, end.seq + 1, 2, 12)]).gaps, 1);
        }
    }

    #[test]
    fn the_marker_of_a_transaction_is_no_hole() {
        let at = |next_offset| Position { next_offset, ..Position::default() };
        assert_eq!([0, 1].map(|offset| at(None).misses_before(offset)), [false, true]);
        assert_eq!([7, 8].map(|offset| at(Some(7)).misses_before(offset)), [false, true]);
        let behind = Position { seq: 3, pending: Some(0), ..at(Some(7)) };
        assert_eq!([7, 8, 9].map(|offset| behind.misses_before(offset)), [false, false, true]);
    }

    #[test]
    fn a_replay_moves_no_watermark_back_and_counts_nothing_twice() {
        let marks = [changes(1, 3), frontier(1, 1, 3, 10), changes(1, 1), frontier(1, 2, 1, 11)];
        let end = run(Position::default(), &marks);
        let end = Position { reread_to: Some(9), ..end };
        let replayed = run(Position { pending: None, ..end }, &marks);
        assert_eq!(replayed, end);
        assert_eq!(run(replayed, &[changes(1, 2), frontier(1, 3, 3, 12)]).gaps, 1);
        let later = run(replayed, &[frontier(2, 1, 0, 13)]);
        assert_eq!(run(later, &marks), later, "publishers before are read again, too");
    }

    #[test]
    fn a_replay_from_the_middle_counts_from_the_next_frontier_on() {
        let end = run(Position::default(), &[changes(1, 3), frontier(1, 1, 3, 10), changes(1, 2)]);
        let replayed = run(Position { pending: None, ..end }, &[changes(1, 1), frontier(1, 2, 2, 11)]);
        assert_eq!((replayed.gaps, replayed.pending), (0, Some(0)));
    }

    #[test]
    fn a_publisher_that_knows_no_time_yet_takes_none_back() {
        let unheard = |before| {
            let before = Frontier(ClusterTime { t: before, i: 0 });
            let record = FrontierRecord { before, as_of_ms: 0, seq: 1, publisher: 2, changes: 0, complete: true };
            whole(Progress::Frontier(record))
        };
        for before in [9, 10, 11] {
            assert_eq!(run(Position::default(), &[frontier(1, 1, 0, 10), unheard(before)]).as_of_ms, Some(10_000));
        }
        assert_eq!(run(Position::default(), &[unheard(9)]).as_of_ms, None);
    }

    #[test]
    fn a_publisher_that_counts_from_one_again_is_a_new_one() {
        // Its generation came from a state topic that was lost.
        let end = run(Position::default(), &[frontier(17, 40, 0, 10), changes(1, 2), frontier(1, 1, 2, 11)]);
        assert_eq!((end.publisher, end.seq, end.gaps), (Some(1), 1, 0));
        assert_eq!(end.watermark, Some(Frontier(ClusterTime { t: 11, i: 0 })));
    }

    #[test]
    fn a_new_publisher_may_start_lower() {
        let end = run(Position::default(), &[frontier(1, 1, 0, 10), frontier(2, 1, 0, 9)]);
        assert_eq!(end.watermark, Some(Frontier(ClusterTime { t: 9, i: 0 })));
    }
}

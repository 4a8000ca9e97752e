//! How far a partition is applied, and what moves that. Pure.
//!
//! A frontier record says that everything before its bound lies before it in its partition, and how many changes its
//! publisher wrote there since its last one. When the batch that holds it commits, the bound becomes the watermark. The
//! count is checked where it can be: between two frontiers that follow each other directly. Where compaction or a replay
//! removed the records between them, there is nothing to check, and nothing is claimed.

use crate::{log::FrontierRecord, model::Frontier};

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
    /// Takes a mark into account; `false` when a count was not met.
    pub(crate) fn advance(&mut self, mark: &Progress) -> bool {
        match *mark {
            Progress::Changes { publisher, count } => {
                self.succeed(publisher);
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
        self.succeed(frontier.publisher);
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

    fn frontier(publisher: u64, seq: u64, changes: u64, t: u32) -> Progress {
        let before = Frontier(ClusterTime { t, i: 0 });
        Progress::Frontier(FrontierRecord {
            before,
            as_of_ms: i64::from(t) * 1000,
            seq,
            publisher,
            changes,
            complete: true,
        })
    }

    fn changes(publisher: u64, count: u64) -> Progress {
        Progress::Changes { publisher, count }
    }

    fn run(from: Position, marks: &[Progress]) -> Position {
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
            Progress::Frontier(record)
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

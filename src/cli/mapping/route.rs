//! The way on which a collection is written again: a replay of its topic, or a snapshot. Pure.

use crate::{control::replay::Move, log::TopicPartition};

/// A partition of the topic of a collection: what is applied of it, and what the log holds of it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) partition: TopicPartition,
    /// Kafka's id of the topic.
    pub(super) topic_id: Option<String>,
    /// Kafka's id of the topic that the position belongs to.
    pub(super) applied_topic_id: Option<String>,
    /// The next offset; `None`: nothing is applied.
    pub(super) next_offset: Option<i64>,
    /// The offset of the first record that the log holds.
    pub(super) beginning: i64,
}

/// The way on which every document of a collection is written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The log holds the newest record of every document.
    Replay {
        /// The partitions, from their first record on.
        moves: Vec<Move>,
        /// Records at most: the offsets of the log's own marks count too.
        records: u64,
    },
    /// The log does not hold all of them, for this reason.
    Snapshot(String),
}

impl Route {
    /// Chooses the way. The first offset of a partition is 0, and only compaction leaves it at that: it keeps the newest record of each
    /// document.
    pub(super) fn of(held: &[Held]) -> Self {
        for one in held {
            let TopicPartition { topic, partition } = &one.partition;
            if one.beginning > 0 {
                return Self::Snapshot(format!(
                    "{topic}-{partition} begins at offset {}: older records are deleted",
                    one.beginning
                ));
            }
            if let (Some(applied), Some(found)) = (&one.applied_topic_id, &one.topic_id)
                && applied != found
            {
                return Self::Snapshot(format!("{topic} was deleted and created again"));
            }
        }
        let applied = held.iter().filter_map(|one| Some((one, one.next_offset?)));
        let (moves, records) = applied
            .map(|(one, next)| {
                let wanted = Move { partition: one.partition.clone(), topic_id: one.topic_id.clone(), to: None };
                (wanted, u64::try_from(next).unwrap_or(0))
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        Self::Replay { moves, records: records.iter().sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(partition: i32) -> Held {
        Held {
            partition: TopicPartition { topic: "p.shop.users".into(), partition },
            topic_id: Some("a".to_owned()),
            applied_topic_id: Some("a".to_owned()),
            next_offset: Some(100),
            beginning: 0,
        }
    }

    #[test]
    fn a_log_that_holds_everything_is_replayed() {
        let unread = Held { next_offset: None, applied_topic_id: None, ..held(1) };
        let route = Route::of(&[held(0), unread, Held { topic_id: None, ..held(2) }]);
        let Route::Replay { moves, records } = route else { panic!("{route:?}") };
        assert_eq!(
            moves.iter().map(|wanted| (wanted.partition.partition, wanted.to)).collect::<Vec<_>>(),
            [(0, None), (2, None)]
        );
        assert_eq!((records, moves[0].topic_id.as_deref()), (200, Some("a")));
    }

    #[test]
    fn a_log_that_has_lost_records_is_not_enough() {
        let cases = [
            (Held { beginning: 7, ..held(1) }, "p.shop.users-1 begins at offset 7: older records are deleted"),
            (Held { topic_id: Some("b".to_owned()), ..held(1) }, "p.shop.users was deleted and created again"),
        ];
        for (case, reason) in cases {
            assert_eq!(Route::of(&[held(0), case]), Route::Snapshot(reason.to_owned()));
        }
    }
}

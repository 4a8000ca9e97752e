//! Where a replay begins: from the flags, the positions and the log to one new offset for each partition. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{cli::finding::Finding, control::replay::Move, log::TopicPartition};

/// Where to replay from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The first record that the log holds.
    Earliest,
    /// This offset, in every partition.
    Offset(i64),
    /// So many offsets before the present position; negative.
    Shift(i64),
    /// The first record at or after this time.
    Time(Timestamp),
    /// An offset for each partition that a file names.
    File(BTreeMap<TopicPartition, i64>),
}

/// A chosen partition: what is applied of it, and what the log holds of it.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) partition: TopicPartition,
    /// Kafka's id of the topic.
    pub(super) topic_id: Option<String>,
    /// Kafka's id of the topic that the position belongs to.
    pub(super) applied_topic_id: Option<String>,
    /// The next offset; `None`: nothing is applied.
    pub(super) next_offset: Option<i64>,
    /// The offset at which a replay that is under way ends.
    pub(super) reread_to: Option<i64>,
    /// The offset of the first record that the log holds.
    pub(super) beginning: i64,
    /// The first record at or after the time of the target; `None`: there is none, or the target is no time.
    pub(super) since: Option<i64>,
}

/// A partition with its new position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) wanted: Move,
    /// The next offset before.
    pub(super) from: i64,
    /// The offset of the first record that is read again.
    pub(super) first: i64,
    /// Whether the log holds less than was asked for.
    pub(super) cut: bool,
    /// The offset at which a replay that is under way ends.
    pub(super) reread_to: Option<i64>,
}

/// The moves of a replay.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The partitions that move.
    pub(super) moves: Vec<Planned>,
    /// The partitions that do not, and why.
    pub(super) unmoved: Vec<(TopicPartition, String)>,
}

/// Plans the replay of these partitions.
///
/// # Errors
/// Every fault of the request; then nothing may be moved.
pub(super) fn plan(target: &Target, chosen: &[Chosen]) -> Result<Plan, Vec<Finding>> {
    let mut plan = Plan::default();
    let mut faults = Vec::new();
    for one in chosen {
        match one.begins(target) {
            Ok(Begins::At { to, first, cut, from }) => plan.moves.push(Planned {
                wanted: Move { partition: one.partition.clone(), topic_id: one.topic_id.clone(), to },
                from,
                first,
                cut,
                reread_to: one.reread_to,
            }),
            Ok(Begins::Nowhere(why)) => plan.unmoved.push((one.partition.clone(), why)),
            Err((what, hint)) => faults.push(Finding { place: place(&one.partition), what, hint }),
        }
    }
    if faults.is_empty() { Ok(plan) } else { Err(faults) }
}

/// Names a partition as Kafka's tools do.
pub(super) fn place(TopicPartition { topic, partition }: &TopicPartition) -> String {
    format!("{topic}-{partition}")
}

enum Begins {
    At { to: Option<i64>, first: i64, cut: bool, from: i64 },
    Nowhere(String),
}

impl Chosen {
    fn begins(&self, target: &Target) -> Result<Begins, (String, String)> {
        if let (Some(applied), Some(found)) = (&self.applied_topic_id, &self.topic_id)
            && applied != found
        {
            return Err((
                "its topic was deleted and created again: the applied offsets are those of the old one".to_owned(),
                "start the sink, which reads the new topic from its beginning".to_owned(),
            ));
        }
        let Some(from) = self.next_offset else {
            return Ok(Begins::Nowhere(
                "no record of it is applied, so the sink begins at the earliest one".to_owned(),
            ));
        };
        let beginning = self.beginning;
        let (wanted, exact) = match target {
            Target::Earliest => (beginning, false),
            Target::Offset(offset) => (*offset, true),
            Target::File(offsets) => (offsets.get(&self.partition).copied().unwrap_or(from), true),
            Target::Shift(by) => (from.saturating_add(*by), false),
            Target::Time(_) => (self.since.unwrap_or(from), false),
        };
        if exact && wanted < beginning {
            return Err((
                format!("offset {wanted} is not in the log any more, which begins at {beginning}"),
                format!("give an offset from {beginning} on, or --to-earliest"),
            ));
        }
        if matches!(target, Target::File(_)) && wanted > from {
            return Err((
                format!("offset {wanted} lies beyond the applied ones, which end before {from}"),
                "a replay only goes back: skipping records would lose changes".to_owned(),
            ));
        }
        let first = wanted.max(beginning);
        // Records were deleted before they were applied: only the earliest record leads out of that.
        let lost = from < beginning && *target == Target::Earliest;
        if first >= from && !lost {
            return Ok(Begins::Nowhere(self.nothing_applied(target, from)));
        }
        let cut = wanted < beginning || lost;
        // The earliest record has no number here: it may be deleted before the sink reads it.
        let to = (*target != Target::Earliest && !cut).then_some(first);
        Ok(Begins::At { to, first, cut, from })
    }

    fn nothing_applied(&self, target: &Target, from: i64) -> String {
        match target {
            Target::Time(time) => format!("no record since {time} is applied; the next offset is {from}"),
            Target::Offset(offset) => {
                format!(
                    "nothing from offset {offset} on is applied, and a replay only goes back; the next offset is {from}"
                )
            }
            Target::File(_) => format!("it is at offset {from} already"),
            Target::Earliest | Target::Shift(_) => {
                format!(
                    "the log holds no applied record: it begins at {}, and the next offset is {from}",
                    self.beginning
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn partition() -> TopicPartition {
        TopicPartition { topic: "p.shop.users".into(), partition: 0 }
    }

    /// The log holds offsets from 10 on, and everything before 100 is applied.
    fn chosen() -> Chosen {
        Chosen {
            partition: partition(),
            topic_id: Some("a".to_owned()),
            applied_topic_id: Some("a".to_owned()),
            next_offset: Some(100),
            reread_to: None,
            beginning: 10,
            since: None,
        }
    }

    fn at(second: i64) -> Target {
        Target::Time(Timestamp::from_second(second).expect("a time"))
    }

    fn file(offset: i64) -> Target {
        Target::File([(partition(), offset)].into())
    }

    #[rstest]
    #[case::earliest(Target::Earliest, None, 10, false)]
    #[case::offset(Target::Offset(40), Some(40), 40, false)]
    #[case::the_first_offset(Target::Offset(10), Some(10), 10, false)]
    #[case::shift(Target::Shift(-5), Some(95), 95, false)]
    #[case::shift_behind_the_beginning(Target::Shift(-500), None, 10, true)]
    #[case::shift_below_every_number(Target::Shift(i64::MIN), None, 10, true)]
    #[case::file(file(99), Some(99), 99, false)]
    fn a_position_moves_back(#[case] target: Target, #[case] to: Option<i64>, #[case] first: i64, #[case] cut: bool) {
        let plan = plan(&target, &[chosen()]).expect("a plan");
        let [planned] = &plan.moves[..] else { panic!("{plan:?}") };
        assert_eq!((planned.wanted.to, planned.first, planned.cut, planned.from), (to, first, cut, 100));
        assert_eq!(planned.wanted.topic_id.as_deref(), Some("a"));
    }

    #[test]
    fn a_time_is_that_of_a_record() {
        let plan = plan(&at(1), &[Chosen { since: Some(30), ..chosen() }]).expect("a plan");
        assert_eq!(plan.moves[0].wanted.to, Some(30));
    }

    #[test]
    fn a_position_whose_records_are_deleted_moves_to_the_earliest_one_only() {
        let lost = || [Chosen { next_offset: Some(5), ..chosen() }];
        let planned = &plan(&Target::Earliest, &lost()).expect("a plan").moves[0];
        assert_eq!((planned.wanted.to, planned.first, planned.cut), (None, 10, true));
        for target in [Target::Shift(-1), Target::Offset(10), Target::Offset(20)] {
            assert!(plan(&target, &lost()).expect("a plan").moves.is_empty(), "{target:?}");
        }
        assert!(plan(&file(20), &lost()).is_err());
    }

    #[rstest]
    #[case::offset(Target::Offset(100), chosen(), "nothing from offset 100 on is applied")]
    #[case::the_next_one_of_a_file(file(100), chosen(), "it is at offset 100 already")]
    #[case::no_record_since(at(1), chosen(), "no record since 1970-01-01T00:00:01Z is applied")]
    #[case::only_later_ones(at(1), Chosen { since: Some(100), ..chosen() }, "no record since")]
    #[case::all_deleted(Target::Earliest, Chosen { beginning: 100, ..chosen() }, "the log holds no applied record")]
    #[case::nothing_yet(Target::Earliest, Chosen { next_offset: None, ..chosen() }, "no record of it is applied")]
    fn nothing_to_replay_says_why(#[case] target: Target, #[case] chosen: Chosen, #[case] expected: &str) {
        let plan = plan(&target, &[chosen]).expect("a plan");
        assert!(plan.moves.is_empty() && plan.unmoved[0].1.contains(expected), "{plan:?}");
    }

    #[rstest]
    #[case::behind_the_beginning(
        Target::Offset(9),
        chosen(),
        "offset 9 is not in the log any more, which begins at 10"
    )]
    #[case::file_behind_the_beginning(file(9), chosen(), "offset 9 is not in the log any more")]
    #[case::file_beyond(file(101), chosen(), "offset 101 lies beyond the applied ones, which end before 100")]
    #[case::created_again(Target::Earliest, Chosen { topic_id: Some("b".to_owned()), ..chosen() }, "its topic was deleted and created again")]
    fn a_fault_moves_nothing_at_all(#[case] target: Target, #[case] bad: Chosen, #[case] expected: &str) {
        let good = Chosen { partition: TopicPartition { partition: 1, ..partition() }, beginning: 0, ..chosen() };
        let faults = plan(&target, &[good, bad]).expect_err("a fault");
        assert!(faults.len() == 1 && faults[0].what.contains(expected), "{:?}", faults[0].what);
        assert_eq!(faults[0].place, "p.shop.users-0");
    }

    #[test]
    fn brokers_without_ids_are_believed() {
        for (applied, found) in [(None, Some("b")), (Some("a"), None)] {
            let (applied_topic_id, topic_id) = (applied.map(str::to_owned), found.map(str::to_owned));
            let plan = plan(&Target::Earliest, &[Chosen { applied_topic_id, topic_id, ..chosen() }]);
            assert_eq!(plan.expect("a plan").moves.len(), 1);
        }
    }
}

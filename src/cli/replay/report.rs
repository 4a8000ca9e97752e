//! The report of a replay: what moves, how much is applied again, and to which tables.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use super::target::{Plan, Planned, place};
use crate::{
    cli::print,
    config::SinkConfig,
    control::replay::{Applied, Move, Moved},
    log::TopicPartition,
    mapping,
};

/// Records that a sink applies a second, for the estimate: well below what it takes on two cores (docs/performance.md), because other
/// collections go on beside a replay.
const TYPICAL_RATE: u64 = 10_000;

/// The effect of a replay, carried out or only planned.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    executed: bool,
    partitions: Vec<Line>,
    /// Partitions that do not move, and why.
    unmoved: Vec<Unmoved>,
    /// Records at most: the offsets of the log's own marks count too.
    records: u64,
    /// Source time of the first record.
    from: Option<Timestamp>,
    /// Source time as of which everything is applied.
    to: Option<Timestamp>,
    /// The tables that are written.
    tables: BTreeSet<String>,
    /// About how long it takes, at a rate that every sink should reach.
    estimate_seconds: u64,
    #[serde(skip)]
    rate: u64,
}

#[derive(Debug, Serialize)]
struct Line {
    topic: String,
    partition: i32,
    old_offset: i64,
    new_offset: i64,
    records: u64,
    /// Source time of the first record.
    from: Option<Timestamp>,
    /// Whether the log holds less than was asked for.
    cut: bool,
    /// A replay is under way, which ends at this offset.
    replayed_to: Option<i64>,
    #[serde(skip)]
    wanted: Move,
}

#[derive(Debug, Serialize)]
struct Unmoved {
    topic: String,
    partition: i32,
    why: String,
}

impl Report {
    pub(super) fn new(
        plan: Plan,
        times: Vec<Option<Timestamp>>,
        applied: &[Applied],
        mapping: &mapping::Plan,
        collections: &[String],
        sink: &SinkConfig,
    ) -> Self {
        let moves = plan.moves.iter().map(|planned| &planned.wanted.partition).collect::<BTreeSet<_>>();
        let as_of = applied.iter().filter(|applied| moves.contains(&applied.partition)).filter_map(|one| one.as_of_ms);
        let to = as_of.max().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let plans = mapping.collections().iter().filter(|plan| collections.contains(&plan.collection));
        let tables = plans.flat_map(|plan| &plan.tables).map(|table| table.table.label()).collect();
        let rate = rate(sink);
        let mut report = Self {
            executed: false,
            from: times.iter().flatten().min().copied(),
            to,
            tables,
            partitions: plan.moves.into_iter().zip(times).map(|(planned, from)| Line::new(planned, from)).collect(),
            unmoved: Vec::new(),
            records: 0,
            estimate_seconds: 0,
            rate,
        };
        plan.unmoved.into_iter().for_each(|(partition, why)| report.stays(&partition, why));
        report.count();
        report
    }

    fn stays(&mut self, TopicPartition { topic, partition }: &TopicPartition, why: String) {
        self.unmoved.push(Unmoved { topic: topic.to_string(), partition: *partition, why });
    }

    fn count(&mut self) {
        self.records = self.partitions.iter().map(|line| line.records).sum();
        self.estimate_seconds = self.records.div_ceil(self.rate);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Returns the moves to make.
    pub(super) fn moves(&self) -> Vec<Move> {
        self.partitions.iter().map(|line| line.wanted.clone()).collect()
    }

    /// Takes in what was moved. The positions of a running sink may have gone on meanwhile.
    pub(super) fn moved(&mut self, moved: Vec<Moved>) {
        self.executed = true;
        for mut line in std::mem::take(&mut self.partitions) {
            let of = |moved: &&Moved| (&moved.topic, moved.partition) == (&line.topic, line.partition);
            match moved.iter().find(of) {
                Some(moved) => {
                    line.records = records(line.new_offset, moved.from);
                    line.old_offset = moved.from;
                    self.partitions.push(line);
                }
                None => self.stays(
                    &line.wanted.partition,
                    "it was not moved: meanwhile it went back further, or its topic was deleted and created again"
                        .to_owned(),
                ),
            }
        }
        self.count();
    }

    /// Returns where each partition was, and from where it is applied again.
    pub(super) fn executed(&self) -> Vec<(TopicPartition, i64, i64)> {
        self.partitions.iter().map(|line| (line.wanted.partition.clone(), line.new_offset, line.old_offset)).collect()
    }

    pub(super) fn print(&self) {
        if !self.is_empty() {
            let mut table = print::table(["topic", "partition", "old offset", "new offset", "records", "from", "note"]);
            for line in &self.partitions {
                let from = line.from.map_or_else(|| "unknown".to_owned(), print::time);
                let cells = [line.partition.to_string(), line.old_offset.to_string(), line.new_offset.to_string()];
                table.add_row([line.topic.clone()].into_iter().chain(cells).chain([
                    line.records.to_string(),
                    from,
                    line.note(),
                ]));
            }
            print::line(table);
        }
        for Unmoved { topic, partition, why } in &self.unmoved {
            let partition = TopicPartition { topic: topic.as_str().into(), partition: *partition };
            print::line(format!("{} does not move: {why}.", place(&partition)));
        }
        if self.is_empty() {
            print::line("There is nothing to replay.");
            return;
        }
        let span = |time: Option<Timestamp>| time.map_or_else(|| "an unknown time".to_owned(), print::time);
        print::line(format!(
            "Up to {} are applied again, of {} to {}, to {}. Newer data is not overwritten.",
            print::count(usize::try_from(self.records).unwrap_or(usize::MAX), "record"),
            span(self.from),
            span(self.to),
            self.tables.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        ));
        let estimate = Duration::from_secs(self.estimate_seconds);
        print::line(format!(
            "That takes about {estimate:?} at {} records a second. New changes of these partitions are applied after that, so their \
             collections are stale until then.",
            self.rate
        ));
        print::line(if self.executed {
            "Moved. The running sink continues from there within about a second; without `--execute` this command shows where it is."
        } else {
            "Nothing was moved. Add `--execute --why TEXT` to move the positions."
        });
    }
}

impl Line {
    fn new(planned: Planned, from: Option<Timestamp>) -> Self {
        let Planned { wanted, from: old_offset, first, cut, reread_to } = planned;
        let TopicPartition { topic, partition } = &wanted.partition;
        Self {
            topic: topic.to_string(),
            partition: *partition,
            old_offset,
            new_offset: first,
            records: records(first, old_offset),
            from,
            cut,
            replayed_to: reread_to,
            wanted,
        }
    }

    fn note(&self) -> String {
        let cut = self.cut.then(|| "the log begins here".to_owned());
        let replayed = self.replayed_to.map(|end| format!("is being replayed up to {end}"));
        cut.into_iter().chain(replayed).collect::<Vec<_>>().join("; ")
    }
}

/// Returns the records a second of an estimate.
pub(super) fn rate(sink: &SinkConfig) -> u64 {
    u64::try_from(sink.rate).ok().filter(|rate| *rate > 0).map_or(TYPICAL_RATE, |rate| rate.min(TYPICAL_RATE))
}

/// Returns the number of records in `[first, end)` at most.
pub(super) fn records(first: i64, end: i64) -> u64 {
    u64::try_from(end.saturating_sub(first)).unwrap_or(0)
}

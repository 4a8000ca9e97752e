//! `driftless replay`: applies a topic again from an earlier offset, while the daemon runs.

use std::path::Path;

use clap::Args;

use super::{
    Exit, print,
    setup::{Setup, operator},
};
use crate::{control::replay, log::topic_name, model::Namespace};

/// Apply a topic again from an earlier offset, while the daemon runs.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The collection to replay.
    #[arg(long)]
    collection: String,
    /// Replay only this partition of its topic.
    #[arg(long)]
    partition: Option<i32>,
    #[command(flatten)]
    to: To,
    /// Print what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct To {
    /// Replay from this offset.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// Replay from the first record.
    #[arg(long)]
    to_earliest: bool,
}

impl Replay {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        if !setup.collections().contains_key(&self.collection) {
            let known = setup.collections().into_keys().collect::<Vec<_>>().join(", ");
            anyhow::bail!("find collection {} in the mapping: it has {known}", self.collection);
        }
        let config = &setup.config;
        let topic = topic_name(&config.log.prefix, &Namespace::new(&config.source.database, &self.collection));
        let session = setup.session().await?;
        let to = self.to.to_offset.map_or(replay::To::Earliest, replay::To::Offset);
        let who = operator();
        let request =
            replay::Request { topic: &topic, partition: self.partition, to, who: &who, dry_run: self.dry_run };
        let moved = replay::replay(&session, &request).await?;
        if moved.is_empty() {
            let positions = replay::positions(&session, &topic).await?;
            anyhow::bail!("replay {}: {}", self.collection, self.why_not(&topic, &positions));
        }
        if self.json {
            print::json(&moved)?;
            return Ok(Exit::Success);
        }
        let mut table = print::table(["topic", "partition", "next offset", "moved to"]);
        let shown = |offset: Option<i64>| offset.map_or("earliest".to_owned(), |offset| offset.to_string());
        for row in &moved {
            table.add_row([topic.clone(), row.partition.to_string(), shown(row.from), shown(row.to)]);
        }
        print::line(table);
        print::line(if self.dry_run {
            "Nothing was moved (--dry-run)."
        } else {
            "Moved. The running sink continues from there within about a second."
        });
        Ok(Exit::Success)
    }

    /// Explains why no position was moved.
    fn why_not(&self, topic: &str, positions: &[(i32, Option<i64>)]) -> String {
        if positions.is_empty() {
            return format!(
                "no record of its topic {topic} has been applied yet (has the daemon run with this log.prefix and this sink?)"
            );
        }
        let shown = |(partition, offset): &(i32, Option<i64>)| match offset {
            Some(offset) => format!("partition {partition} at offset {offset}"),
            None => format!("partition {partition} at the earliest record"),
        };
        let all = positions.iter().map(shown).collect::<Vec<_>>().join(", ");
        match (self.partition, self.to.to_offset) {
            (Some(partition), _) if positions.iter().all(|(known, _)| *known != partition) => {
                format!("no record of partition {partition} of {topic} has been applied; the next records are {all}")
            }
            (_, Some(offset)) => {
                format!(
                    "nothing has been applied beyond offset {offset}, and a replay only goes back; the next records are {all}"
                )
            }
            (_, None) => format!("no position of {topic} was moved; the next records are {all}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing_yet(None, Some(5), &[], "no record of its topic t has been applied yet")]
    #[case::no_such_partition(Some(9), None, &[(0, Some(7))], "no record of partition 9 of t has been applied; the next records are partition 0 at offset 7")]
    #[case::not_back(None, Some(7), &[(0, Some(7)), (1, None)], "nothing has been applied beyond offset 7, and a replay only goes back; the next records are \
        partition 0 at offset 7, partition 1 at the earliest record")]
    fn what_moves_nothing_says_why(
        #[case] partition: Option<i32>,
        #[case] to_offset: Option<i64>,
        #[case] positions: &[(i32, Option<i64>)],
        #[case] expected: &str,
    ) {
        let to = To { to_offset, to_earliest: to_offset.is_none() };
        let replay = Replay { collection: "users".to_owned(), partition, to, dry_run: false, json: false };
        let said = replay.why_not("t", positions);
        assert!(said.starts_with(expected), "{said}");
    }
}

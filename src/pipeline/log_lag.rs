//! Counts the records of the log that the sink has not applied: from the positions in PostgreSQL to the ends of the partitions.

use std::{collections::BTreeMap, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Overview;
use crate::{
    control::status::PartitionStatus,
    log::{Error, Offsets, TopicPartition},
    metrics as names,
    reconcile::facts::CollectionFacts,
    retry,
};

/// Pause between two counts.
const PAUSE: Duration = Duration::from_secs(1);
/// The marker that ends a transaction is the last offset of a partition, and no record.
const END_MARKER: i64 = 1;

/// The task that counts. Every process with the sink counts all partitions, so any one of them can be asked.
pub(crate) struct LogLagRole {
    offsets: Offsets,
    overview: Overview,
    /// The series that have been exported.
    series: BTreeMap<TopicPartition, metrics::Gauge>,
}

impl LogLagRole {
    /// Creates the task, which takes the positions from `overview`.
    pub(crate) fn new(offsets: Offsets, overview: Overview) -> Self {
        Self { offsets, overview, series: BTreeMap::new() }
    }

    /// Counts until cancelled.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        while let Some(counted) = cancel.run_until_cancelled(self.count()).await {
            if let Err(error) = counted {
                tracing::debug!(reason = retry::chain(&error), "the ends of the log are not known");
                self.series.values().for_each(|gauge| gauge.set(f64::NAN));
            }
            if cancel.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }

    async fn count(&mut self) -> Result<(), Error> {
        // While PostgreSQL is away the last positions hold, because nothing is applied.
        let seen = self.overview.read();
        let positions = positions(&seen.collections, &seen.partitions);
        let partitions: Vec<_> = positions.iter().map(|(_, partition, _)| partition.clone()).collect();
        if partitions.is_empty() {
            return Ok(());
        }
        let ends = self.offsets.latest(&partitions).await?;
        for ((collection, partition, next), end) in positions.into_iter().zip(ends) {
            let labels = [("collection", collection), ("partition", partition.partition.to_string())];
            let gauge =
                self.series.entry(partition).or_insert_with(|| metrics::gauge!(names::SINK_LAG_RECORDS, &labels));
            gauge.set(end.map_or(f64::NAN, |end| behind(next, end) as f64));
        }
        Ok(())
    }
}

/// The collection and the next offset of each partition; 0 where nothing is applied.
fn positions(collections: &[CollectionFacts], partitions: &[PartitionStatus]) -> Vec<(String, TopicPartition, i64)> {
    let position = |position: &PartitionStatus| {
        let facts = collections.iter().find(|facts| facts.topic == position.topic)?;
        let partition = TopicPartition { topic: position.topic.as_str().into(), partition: position.partition };
        Some((facts.name.clone(), partition, position.next_offset.unwrap_or(0)))
    };
    partitions.iter().filter_map(position).collect()
}

/// The records from the next one to the end.
fn behind(next: i64, end: i64) -> i64 {
    (end - next - END_MARKER).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_of_the_last_transaction_is_no_record() {
        // An empty partition, one whose last record is applied, and one whose last two are not.
        assert_eq!([behind(0, 0), behind(9, 10), behind(7, 10)], [0, 0, 2]);
        // A position is read before the end, but it may belong to a topic that was made again since.
        assert_eq!(behind(10, 3), 0);
    }

    #[test]
    fn only_partitions_of_mapped_collections_count_from_their_positions() {
        let facts =
            CollectionFacts { name: "plans".to_owned(), topic: "m.plans".to_owned(), ..CollectionFacts::default() };
        let position = |topic: &str, next_offset| PartitionStatus {
            topic: topic.to_owned(),
            partition: 3,
            next_offset,
            replayed_to: None,
            watermark: None,
            as_of_ms: None,
            complete: false,
            gaps: 0,
        };
        let partitions = [position("m.plans", Some(5)), position("m.plans", None), position("m.other", Some(1))];
        let partition = TopicPartition { topic: "m.plans".into(), partition: 3 };
        let expected = [5, 0].map(|next| ("plans".to_owned(), partition.clone(), next));
        assert_eq!(positions(&[facts], &partitions), expected);
    }
}

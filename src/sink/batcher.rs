//! Forms batches out of the events of the consumer, and says which records are still wanted. Pure.
//!
//! ```text
//!  Assigned ──▶ At(offset) ──Fetched at or after──▶ taken into the batch ──▶ At(next)
//!                  │ PostgreSQL says otherwise
//!                  ▼
//!              Seeking(offset) ── Fetched: stale, dropped ── Sought(offset) ──▶ At(offset)
//! ```
//!
//! The state of a partition is the end of the last batch that was formed, applied or not. So the next batch can be formed and
//! planned while that one is applied. If PostgreSQL turns out to hold another position, everything formed is given up and read
//! again.

use std::collections::{BTreeMap, HashMap};

use crate::log::{ConsumerEvent, Fetched, TopicPartition};

/// How far a partition was read, as the worker believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartitionState {
    /// The next record is the first at or after this offset; `None` is the earliest.
    At(Option<i64>),
    /// Records are stale until the consumer says that it has gone to this offset.
    Seeking(i64),
}

/// Where the batches of each partition begin: the position that PostgreSQL must hold; `None` is the earliest.
pub(super) type ExpectedOffsets = BTreeMap<TopicPartition, Option<i64>>;

/// The partitions of a worker and the batch that is being formed.
#[derive(Debug, Default)]
pub(super) struct Batcher {
    partitions: HashMap<TopicPartition, PartitionState>,
    records: Vec<Fetched>,
    starts: ExpectedOffsets,
    bytes: usize,
}

impl Batcher {
    /// Takes an event.
    pub(super) fn take(&mut self, event: ConsumerEvent) {
        match event {
            ConsumerEvent::Fetched(record) => self.fetched(record),
            ConsumerEvent::Assigned(partitions) => {
                for (partition, start) in partitions {
                    self.drop_records(&partition);
                    self.partitions.insert(partition, PartitionState::At(start));
                }
            }
            ConsumerEvent::Revoked(partitions) => {
                for partition in &partitions {
                    self.drop_records(partition);
                    self.partitions.remove(partition);
                }
            }
            ConsumerEvent::Sought { partition, offset } => {
                if let Some(state) = self.partitions.get_mut(&partition)
                    && *state == PartitionState::Seeking(offset)
                {
                    *state = PartitionState::At(Some(offset));
                }
            }
        }
    }

    fn fetched(&mut self, record: Fetched) {
        let partition = TopicPartition { topic: record.topic.clone(), partition: record.partition };
        let Some(state) = self.partitions.get_mut(&partition) else { return };
        match *state {
            PartitionState::At(expected) if expected.is_none_or(|expected| record.offset >= expected) => {
                *state = PartitionState::At(Some(record.offset + 1));
                self.starts.entry(partition).or_insert(expected);
                self.bytes += record.size_bytes();
                self.records.push(record);
            }
            PartitionState::At(_) | PartitionState::Seeking(_) => {}
        }
    }

    fn drop_records(&mut self, partition: &TopicPartition) {
        if self.starts.remove(partition).is_some() {
            self.records.retain(|record| record.partition != partition.partition || record.topic != partition.topic);
            self.bytes = self.records.iter().map(Fetched::size_bytes).sum();
        }
    }

    /// Whether the batch holds as much as it may.
    pub(super) fn is_full(&self, changes: usize, bytes: usize) -> bool {
        self.records.len() >= changes || self.bytes >= bytes
    }

    /// The batch, if there is any, and where it begins.
    pub(super) fn batch(&mut self) -> Option<(Vec<Fetched>, ExpectedOffsets)> {
        self.bytes = 0;
        (!self.records.is_empty()).then(|| (std::mem::take(&mut self.records), std::mem::take(&mut self.starts)))
    }

    /// The partitions.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    /// PostgreSQL holds another position: the consumer is asked to seek it, and what was read so far is given up.
    pub(super) fn moved(&mut self, partition: &TopicPartition, offset: i64) {
        self.drop_records(partition);
        if let Some(state) = self.partitions.get_mut(partition) {
            *state = PartitionState::Seeking(offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::log::Headers;

    fn partition() -> TopicPartition {
        TopicPartition { topic: Arc::from("t"), partition: 0 }
    }

    fn fetched(offset: i64) -> ConsumerEvent {
        ConsumerEvent::Fetched(Fetched {
            topic: Arc::from("t"),
            partition: 0,
            offset,
            timestamp_ms: 0,
            key: None,
            value: Some(vec![0; 10]),
            headers: Headers::default(),
        })
    }

    fn offsets(batch: Option<(Vec<Fetched>, ExpectedOffsets)>) -> Vec<i64> {
        batch.unwrap_or_default().0.iter().map(|record| record.offset).collect()
    }

    fn assigned(start: Option<i64>) -> Batcher {
        let mut batcher = Batcher::default();
        batcher.take(ConsumerEvent::Assigned(vec![(partition(), start)]));
        batcher
    }

    #[test]
    fn records_before_the_position_and_of_foreign_partitions_are_dropped() {
        let mut batcher = assigned(Some(5));
        for offset in 3..8 {
            batcher.take(fetched(offset));
        }
        assert_eq!(offsets(batcher.batch()), [5, 6, 7]);
        batcher.take(ConsumerEvent::Revoked(vec![partition()]));
        batcher.take(fetched(8));
        assert_eq!(offsets(batcher.batch()), [0; 0]);
    }

    #[test]
    fn a_revoked_partition_takes_its_records_along() {
        let mut batcher = assigned(None);
        batcher.take(fetched(0));
        batcher.take(ConsumerEvent::Revoked(vec![partition()]));
        assert!(batcher.batch().is_none() && !batcher.is_full(10, 1));
    }

    #[test]
    fn between_seek_and_sought_everything_is_stale() {
        let mut batcher = assigned(Some(10));
        batcher.moved(&partition(), 3);
        batcher.take(fetched(11));
        let stale = ConsumerEvent::Sought { partition: partition(), offset: 7 };
        batcher.take(stale);
        batcher.take(fetched(12));
        batcher.take(ConsumerEvent::Sought { partition: partition(), offset: 3 });
        batcher.take(fetched(3));
        let (records, starts) = batcher.batch().expect("a batch");
        assert_eq!((records.len(), starts), (1, ExpectedOffsets::from([(partition(), Some(3))])));
    }

    #[test]
    fn a_batch_begins_where_the_last_one_ended_applied_or_not() {
        let mut batcher = assigned(None);
        batcher.take(fetched(4));
        assert_eq!(batcher.batch().expect("a batch").1, ExpectedOffsets::from([(partition(), None)]));
        // A transaction marker of the log lies between.
        batcher.take(fetched(6));
        assert_eq!(batcher.batch().expect("a batch").1, ExpectedOffsets::from([(partition(), Some(5))]));
    }

    #[test]
    fn what_was_read_is_given_up_when_the_position_has_moved() {
        let mut batcher = assigned(Some(10));
        batcher.take(fetched(10));
        batcher.moved(&partition(), 3);
        assert!(batcher.batch().is_none() && !batcher.is_full(10, 1));
    }

    #[test]
    fn a_batch_is_full_by_records_or_by_bytes() {
        let ConsumerEvent::Fetched(record) = fetched(0) else { unreachable!() };
        let two = 2 * record.size_bytes();
        let mut batcher = assigned(None);
        batcher.take(fetched(0));
        assert!(!batcher.is_full(2, two));
        batcher.take(fetched(1));
        assert!(batcher.is_full(2, two + 1) && batcher.is_full(3, two));
    }
}

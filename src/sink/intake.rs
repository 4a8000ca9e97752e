//! Forms batches out of what the consumer tells. Pure: it is told events and says which records are still wanted.
//!
//! ```text
//!  Assigned ──▶ At(offset) ──Fetched at or after──▶ taken into the batch ──applied──▶ At(next)
//!                  │ PostgreSQL says otherwise
//!                  ▼
//!              Seeking(offset) ── Fetched: stale, dropped ── Sought(offset) ──▶ At(offset)
//! ```

use std::collections::HashMap;

use crate::log::{ConsumerEvent, Fetched, TopicPartition};

/// Where a partition stands, as the worker believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The next record is the first at or after this offset; `None` is the earliest.
    At(Option<i64>),
    /// Records are stale until the consumer says that it has gone to this offset.
    Seeking(i64),
}

/// The partitions of a worker and the batch that is being formed.
#[derive(Debug, Default)]
pub(super) struct Intake {
    partitions: HashMap<TopicPartition, Standing>,
    records: Vec<Fetched>,
    bytes: usize,
}

impl Intake {
    /// Takes an event; `starts` knows the offsets that were given out.
    pub(super) fn take(&mut self, event: ConsumerEvent, starts: impl Fn(&TopicPartition) -> Option<i64>) {
        match event {
            ConsumerEvent::Fetched(record) => self.fetched(record),
            ConsumerEvent::Assigned(partitions) => {
                for partition in partitions {
                    let start = starts(&partition);
                    self.drop_records(&partition);
                    self.partitions.insert(partition, Standing::At(start));
                }
            }
            ConsumerEvent::Revoked(partitions) => {
                for partition in &partitions {
                    self.drop_records(partition);
                    self.partitions.remove(partition);
                }
            }
            ConsumerEvent::Sought { partition, offset } => {
                if let Some(standing) = self.partitions.get_mut(&partition)
                    && *standing == Standing::Seeking(offset)
                {
                    *standing = Standing::At(Some(offset));
                }
            }
        }
    }

    fn fetched(&mut self, record: Fetched) {
        let partition = TopicPartition { topic: record.topic.clone(), partition: record.partition };
        let wanted = match self.partitions.get(&partition) {
            Some(Standing::At(expected)) => expected.is_none_or(|expected| record.offset >= expected),
            Some(Standing::Seeking(_)) | None => false,
        };
        if wanted {
            self.bytes += record.size_bytes();
            self.records.push(record);
        }
    }

    fn drop_records(&mut self, partition: &TopicPartition) {
        self.records.retain(|record| record.partition != partition.partition || record.topic != partition.topic);
        self.bytes = self.records.iter().map(Fetched::size_bytes).sum();
    }

    /// Whether the batch holds as much as it may.
    pub(super) fn is_full(&self, changes: usize, bytes: usize) -> bool {
        self.records.len() >= changes || self.bytes >= bytes
    }

    /// The batch, if there is any.
    pub(super) fn batch(&mut self) -> Option<Vec<Fetched>> {
        self.bytes = 0;
        (!self.records.is_empty()).then(|| std::mem::take(&mut self.records))
    }

    /// The partitions.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    /// The offset believed in.
    pub(super) fn expected(&self, partition: &TopicPartition) -> Option<i64> {
        match self.partitions.get(partition) {
            Some(Standing::At(expected)) => *expected,
            Some(Standing::Seeking(offset)) => Some(*offset),
            None => None,
        }
    }

    /// A batch was applied up to here.
    pub(super) fn applied(&mut self, partition: &TopicPartition, next_offset: i64) {
        if let Some(standing) = self.partitions.get_mut(partition) {
            *standing = Standing::At(Some(next_offset));
        }
    }

    /// PostgreSQL holds another position: the consumer is asked to seek it.
    pub(super) fn moved(&mut self, partition: &TopicPartition, offset: i64) {
        if let Some(standing) = self.partitions.get_mut(partition) {
            *standing = Standing::Seeking(offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

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
            headers: Vec::new(),
        })
    }

    fn offsets(batch: Option<Vec<Fetched>>) -> Vec<i64> {
        batch.unwrap_or_default().iter().map(|record| record.offset).collect()
    }

    fn assigned(start: Option<i64>) -> Intake {
        let mut intake = Intake::default();
        intake.take(ConsumerEvent::Assigned(vec![partition()]), |_| start);
        intake
    }

    #[test]
    fn records_before_the_position_and_of_foreign_partitions_are_dropped() {
        let mut intake = assigned(Some(5));
        for offset in 3..8 {
            intake.take(fetched(offset), |_| None);
        }
        assert_eq!(offsets(intake.batch()), [5, 6, 7]);
        intake.take(ConsumerEvent::Revoked(vec![partition()]), |_| None);
        intake.take(fetched(8), |_| None);
        assert_eq!(offsets(intake.batch()), [0; 0]);
    }

    #[test]
    fn a_revoked_partition_takes_its_records_along() {
        let mut intake = assigned(None);
        intake.take(fetched(0), |_| None);
        intake.take(ConsumerEvent::Revoked(vec![partition()]), |_| None);
        assert!(intake.batch().is_none() && !intake.is_full(10, 1));
    }

    #[test]
    fn between_seek_and_sought_everything_is_stale() {
        let mut intake = assigned(Some(10));
        intake.moved(&partition(), 3);
        intake.take(fetched(11), |_| None);
        let stale = ConsumerEvent::Sought { partition: partition(), offset: 7 };
        intake.take(stale, |_| None);
        intake.take(fetched(12), |_| None);
        intake.take(ConsumerEvent::Sought { partition: partition(), offset: 3 }, |_| None);
        intake.take(fetched(3), |_| None);
        assert_eq!(offsets(intake.batch()), [3]);
        assert_eq!(intake.expected(&partition()), Some(3));
    }

    #[test]
    fn a_batch_is_full_by_records_or_by_bytes() {
        let mut intake = assigned(None);
        intake.take(fetched(0), |_| None);
        assert!(!intake.is_full(2, 11));
        intake.take(fetched(1), |_| None);
        assert!(intake.is_full(2, 1000) && intake.is_full(1000, 20));
    }
}

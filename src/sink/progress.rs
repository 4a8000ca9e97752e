//! How far each collection is, over all workers of this process, as metrics.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use metrics::gauge;

use super::checkpoint::Position;
use crate::{log::TopicPartition, metrics as names};

/// Positions by collection and partition. A collection is as far as its slowest partition.
#[derive(Debug, Default)]
pub struct Progress(Mutex<BTreeMap<String, BTreeMap<TopicPartition, Position>>>);

impl Progress {
    /// Notes where a partition stands and exports where that leaves its collection.
    pub(super) fn note(&self, collection: &str, partition: TopicPartition, position: Position) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = all.entry(collection.to_owned()).or_default();
        partitions.insert(partition, position);
        let slowest = partitions.values().map(|position| position.watermark).min().flatten();
        if let Some(bound) = slowest {
            gauge!(names::SINK_WATERMARK_TIMESTAMP, "collection" => collection.to_owned()).set(f64::from(bound.0.t));
        }
        // Before the snapshot is applied the target is complete as of no time.
        let complete = partitions.values().all(|position| position.complete);
        let stalest = partitions.values().map(|position| position.as_of_ms).min().flatten();
        if let Some(ms) = stalest.filter(|_| complete) {
            gauge!(names::SINK_AS_OF_TIMESTAMP, "collection" => collection.to_owned()).set(ms as f64 / 1000.0);
        }
    }

    /// Forgets partitions that another process has now.
    pub(super) fn forget(&self, partitions: &[TopicPartition]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for known in all.values_mut() {
            known.retain(|partition, _| !partitions.contains(partition));
        }
    }
}

//! Reports the outcome of a batch: metrics, losses in the status, and warnings.

use metrics::counter;
use tracing::warn;

use super::{Outcome, plan::Batch};
use crate::{log::Topics, metrics as names, status::Status};

/// Reports the outcome of an applied batch.
pub(super) fn report(batch: &Batch, outcome: &Outcome, topics: &Topics, status: &Status) {
    for partition in &outcome.unmet {
        let collection = topics.named(&partition.topic).map(|topic| topic.namespace.collection.clone());
        counter!(names::SINK_FRONTIER_MISMATCHES, "collection" => collection.unwrap_or_default()).increment(1);
        warn!(
            topic = &*partition.topic,
            partition = partition.partition,
            "the log does not hold as many changes as the publisher counted"
        );
    }
    for (collection, counts) in &outcome.counts {
        for (outcome, count) in [
            ("applied", counts.applied),
            ("superseded", counts.superseded),
            ("dead_lettered", counts.dead_lettered),
            ("parked", counts.parked),
        ] {
            let labels = [("collection", collection.clone()), ("outcome", outcome.to_owned())];
            counter!(names::SINK_CHANGES, &labels).increment(count);
        }
    }
    for ((collection, column, loss), count) in &outcome.losses {
        status.lost(collection, column, loss.as_str(), *count);
    }
    for (table, (written, removed)) in &outcome.touched {
        for (act, count) in [("upsert", written), ("delete", removed)] {
            counter!(names::SINK_ROWS, &[("table", table.clone()), ("act", act.to_owned())]).increment(*count);
        }
    }
    counter!(names::SINK_UNMAPPED).increment(batch.unmapped);
    if batch.unmapped > 0 {
        warn!(count = batch.unmapped, "skipped changes of collections that the mapping does not name");
    }
    for ((owner, reason), count) in &outcome.dead_letters {
        warn!(owner, reason = reason.as_str(), count, "dead letters written");
    }
}

//! The gauges of all collections. Every process that reads the shared state exports them, so any one of them can be asked.

use std::collections::{BTreeMap, BTreeSet};

use super::CollectionOverview;
use crate::{
    control::status::Letters,
    metrics as names,
    pipeline::facts::{OPEN, count},
};

/// What has been exported.
pub(super) struct Gauges {
    /// Pairs of collection and reason; they are set to 0 when their letters are gone.
    letters: BTreeSet<(String, String)>,
}

impl Gauges {
    /// Counters start at 0, so that their first step is seen as an increase.
    pub(super) fn new(collections: &[String]) -> Self {
        for collection in collections {
            for counter in [names::DRIFT_HEALED, names::SINK_FRONTIER_MISMATCHES, names::RECONCILE_DOCUMENTS] {
                metrics::counter!(counter, "collection" => collection.clone()).increment(0);
            }
        }
        Self { letters: BTreeSet::new() }
    }

    /// Exports the gauges of all collections.
    pub(super) fn export(&mut self, collections: &[CollectionOverview], letters: &[Letters]) {
        for line in collections {
            let collection = || line.facts.name.clone();
            if let Some(watermark) = line.facts.watermark {
                metrics::gauge!(names::SINK_WATERMARK_TIMESTAMP, "collection" => collection())
                    .set(f64::from(watermark.0.t));
            }
            if let Some(as_of) = line.facts.as_of {
                metrics::gauge!(names::SINK_AS_OF_TIMESTAMP, "collection" => collection())
                    .set(as_of.as_millisecond() as f64 / 1000.0);
            }
            metrics::gauge!(names::PARKED, "collection" => collection()).set(line.facts.parked as f64);
            let last = line.evidence.last();
            let at = last.map_or(0.0, |last| last.proof.at.as_millisecond() as f64 / 1000.0);
            metrics::gauge!(names::RECONCILE_TIMESTAMP, "collection" => collection()).set(at);
            let Some(proof) = &line.proof else { continue };
            metrics::gauge!(names::UNDECIDED_DOCUMENTS, "collection" => collection()).set(proof.undecided as f64);
            for (kind, count) in [("missing", proof.missing), ("extra", proof.extra), ("different", proof.different)] {
                metrics::gauge!(names::DRIFT_DOCUMENTS, "collection" => collection(), "kind" => kind).set(count as f64);
            }
        }
        let open = letters.iter().filter(|letters| letters.state == OPEN);
        let mut found: BTreeMap<(String, String), u64> = BTreeMap::new();
        for letters in open {
            *found.entry((letters.collection.clone(), letters.reason.clone())).or_default() += count(letters);
        }
        self.letters.extend(found.keys().cloned());
        for (collection, reason) in &self.letters {
            let count = found.get(&(collection.clone(), reason.clone())).copied().unwrap_or(0);
            metrics::gauge!(names::DEAD_LETTERS, "collection" => collection.clone(), "reason" => reason.clone())
                .set(count as f64);
        }
    }
}

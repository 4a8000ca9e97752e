//! The gauges of all collections. Every process that reads the shared state exports them, so any one of them can be asked.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    control::{
        pauses::{Pause, Pauses},
        status::Letters,
    },
    metrics as names,
    pipeline::facts::{OPEN, count},
    reconcile::facts::{CollectionFacts, Progress},
    status::Role,
};

/// The series that have been exported.
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
    pub(super) fn export(&mut self, collections: &[CollectionFacts], letters: &[Letters]) {
        collections.iter().for_each(export);
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

/// Exports whether PostgreSQL has answered. While it does not, the other gauges keep what it answered last, so that no alert ends.
pub(super) fn export_answers(answers: bool) {
    metrics::gauge!(names::TARGET_ANSWERS).set(f64::from(answers));
}

/// Exports what is paused, and 0 for everything else.
pub(super) fn export_pauses(collections: &[CollectionFacts], pauses: &Pauses) {
    let export = |kind: &'static str, name: &str, pause: Option<&Pause>| {
        metrics::gauge!(names::PAUSE_TIMESTAMP, "kind" => kind, "name" => name.to_owned())
            .set(pause.map_or(0.0, |pause| seconds(pause.since)));
    };
    for role in Role::ALL {
        export("role", role.as_str(), pauses.of(role));
    }
    for facts in collections {
        export("collection", &facts.name, pauses.collections.get(&facts.name));
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

fn export(facts: &CollectionFacts) {
    let gauge = |name: &'static str, value: f64| metrics::gauge!(name, "collection" => facts.name.clone()).set(value);
    if let Some(watermark) = facts.watermark {
        gauge(names::SINK_WATERMARK_TIMESTAMP, f64::from(watermark.0.t));
    }
    if let Some(as_of) = facts.as_of {
        gauge(names::SINK_AS_OF_TIMESTAMP, seconds(as_of));
    }
    gauge(names::PARKED, facts.parked as f64);
    let proven = &facts.proven;
    let counts = proven.baseline.as_ref().filter(|_| proven.void_because.is_none());
    gauge(names::BASELINE_TIMESTAMP, counts.map_or(0.0, |baseline| seconds(baseline.began_at)));
    let running = proven.baseline_running.as_ref();
    gauge(names::BASELINE_DOCUMENTS, running.map_or(0.0, |running| running.documents as f64));
    gauge(names::BASELINE_ESTIMATED_DOCUMENTS, running.and_then(|running| running.estimate).unwrap_or(0) as f64);
    let left = running.and_then(Progress::seconds_left);
    gauge(names::BASELINE_END_TIMESTAMP, left.map_or(0.0, |left| seconds(Timestamp::now()) + left as f64));
    let halted = proven.baseline_waits_for.as_ref().is_some_and(|waits| waits.hint.is_some());
    gauge(names::BASELINE_HALTED, f64::from(halted));
    gauge(names::VERIFIED_TIMESTAMP, proven.verified.as_ref().map_or(0.0, |verified| seconds(verified.at)));
    gauge(names::UNDECIDED_DOCUMENTS, proven.undecided as f64);
    gauge(names::UNGUARDED_TABLES, facts.guard.unguarded.len() as f64);
    for (kind, count) in facts.findings.by_kind() {
        metrics::gauge!(names::DRIFT_DOCUMENTS, "collection" => facts.name.clone(), "kind" => kind).set(count as f64);
    }
}

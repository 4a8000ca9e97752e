//! What all processes share through PostgreSQL, seen about once a second: for the status page, the gauges and the verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::{
    config::Config,
    log::topic_name,
    metrics as names,
    model::{Frontier, Namespace},
    reconcile::verdict::{CollectionFacts, Facts, Judged, Proof, judge},
    sink::{Purpose, Session, Target, status::Shared},
    status::{Phase, Status},
};

/// One collection as everybody sees it.
#[derive(Clone, Debug, Serialize)]
pub struct CollectionOverview {
    /// Its name.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// Everything before this is applied, in all partitions.
    pub watermark: Option<Frontier>,
    /// As of which wall-clock time the target is complete.
    pub as_of: Option<Timestamp>,
    /// Whether the snapshot is applied.
    pub snapshot_complete: bool,
    /// Open dead letters.
    pub dead_letters: u64,
    /// Parked documents.
    pub parked: u64,
    /// The last comparison.
    pub proof: Option<Proof>,
}

/// One partition as everybody sees it.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionOverview {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Where the sink goes on; nothing at the earliest record.
    pub next_offset: Option<i64>,
    /// Everything before this is applied.
    pub watermark: Option<Frontier>,
    /// How often its changes did not match their publisher's count.
    pub gaps: u64,
}

/// What was seen last.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When; `None` before the first look and while PostgreSQL is away.
    pub at: Option<Timestamp>,
    /// The mapped collections.
    pub collections: Vec<CollectionOverview>,
    /// Their partitions.
    pub partitions: Vec<PartitionOverview>,
    /// Open dead letters by reason.
    pub dead_letters_by_reason: BTreeMap<String, u64>,
    fresh: Duration,
    /// Whether this process looks at all.
    looks: bool,
}

/// The shared view. Cheap to clone.
#[derive(Clone, Default)]
pub struct Overview(Arc<Mutex<Seen>>);

impl Overview {
    /// What was seen last.
    pub fn read(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The verdict as of now; `None` in a process that does not look at the target.
    pub fn judge(&self, status: &Status) -> Option<Judged> {
        let seen = self.read();
        if !seen.looks {
            return None;
        }
        let mut troubles = Vec::new();
        if seen.at.is_none() {
            troubles.push("PostgreSQL has not answered".to_owned());
        }
        for (role, line) in status.read().roles {
            if matches!(line.phase, Phase::Halted | Phase::Stalled) {
                let phase = if line.phase == Phase::Halted { "has halted" } else { "stalls" };
                troubles.push(format!("the {role} {phase}: {}", line.reason.as_deref().unwrap_or("for no known reason")));
            }
        }
        let collections = seen.collections.into_iter().map(|collection| CollectionFacts {
            name: collection.name,
            snapshot_complete: collection.snapshot_complete,
            proof: collection.proof,
            dead_letters: collection.dead_letters,
            parked: collection.parked,
        });
        Some(judge(&Facts { now: Timestamp::now(), fresh: seen.fresh, collections: collections.collect(), troubles }))
    }
}

/// The task that looks.
pub struct OverviewRole {
    config: Arc<Config>,
    collections: Vec<String>,
    overview: Overview,
    /// Pairs of collection and reason that were exported, to be set to 0 when they are gone.
    exported: BTreeSet<(String, String)>,
}

const PACE: Duration = Duration::from_secs(1);

impl OverviewRole {
    /// Will look at these collections.
    pub fn new(config: &Arc<Config>, collections: Vec<String>, overview: Overview) -> Self {
        overview.write(|seen| {
            seen.looks = true;
            seen.fresh = config.reconcile.fresh;
        });
        for collection in &collections {
            // Counters are born at 0, so that their first step is seen as one.
            for counter in [names::DRIFT_HEALED, names::SINK_FRONTIER_MISMATCHES, names::RECONCILE_DOCUMENTS] {
                metrics::counter!(counter, "collection" => collection.clone()).increment(0);
            }
        }
        Self { config: config.clone(), collections, overview, exported: BTreeSet::new() }
    }

    /// Looks until cancelled. While PostgreSQL is away, what is shown is that.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut session = None;
        let mut beat = tokio::time::interval(PACE);
        while cancel.run_until_cancelled(beat.tick()).await.is_some() {
            if let Err(error) = self.look(&mut session).await {
                tracing::debug!(reason = crate::retry::chain(&error), "the target cannot be looked at");
                session = None;
                self.overview.write(|seen| seen.at = None);
            }
        }
    }

    async fn look(&mut self, session: &mut Option<Session>) -> Result<(), Error> {
        let open = match session {
            Some(open) => open,
            None => session.insert(Target::new(&self.config.sink)?.open(Purpose::Read).await?),
        };
        let shared = crate::sink::status::read(open).await?;
        let collections: Vec<CollectionOverview> =
            self.collections.iter().map(|name| self.collection(name, &shared)).collect();
        self.export(&collections, &shared);
        let mut dead_letters_by_reason = BTreeMap::new();
        for ((_, reason), count) in &shared.dead_letters {
            *dead_letters_by_reason.entry(reason.clone()).or_default() += count;
        }
        let partitions = shared.positions.iter().map(|(partition, position)| PartitionOverview {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            next_offset: position.next_offset,
            watermark: position.watermark,
            gaps: position.gaps,
        });
        let partitions = partitions.collect();
        self.overview.write(|seen| {
            seen.at = Some(Timestamp::now());
            seen.collections = collections;
            seen.partitions = partitions;
            seen.dead_letters_by_reason = dead_letters_by_reason;
        });
        Ok(())
    }

    fn collection(&self, name: &str, shared: &Shared) -> CollectionOverview {
        let topic = topic_name(&self.config.log.prefix, &Namespace::new(&self.config.source.database, name));
        // The source publishes to every partition about once a second, so a partition without a position is news to come.
        let positions: Vec<_> =
            shared.positions.iter().filter(|(at, _)| *at.topic == *topic).map(|(_, position)| position).collect();
        let dead_letters = shared
            .dead_letters
            .iter()
            .filter(|((collection, _), _)| collection.as_deref() == Some(name))
            .map(|(_, count)| count)
            .sum();
        let as_of = positions.iter().map(|position| position.as_of_ms).min().flatten();
        let proof = shared.results.iter().find(|result| result.collection == name).map(|result| Proof {
            at: result.at,
            full: result.full,
            documents: result.documents,
            missing: result.missing,
            extra: result.extra,
            different: result.different,
            undecided: result.undecided,
        });
        CollectionOverview {
            name: name.to_owned(),
            watermark: positions.iter().map(|position| position.watermark).min().flatten(),
            as_of: as_of.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            snapshot_complete: !positions.is_empty() && positions.iter().all(|position| position.complete),
            dead_letters,
            parked: shared.parked.get(name).copied().unwrap_or(0),
            topic,
            proof,
        }
    }

    /// Everybody exports the whole truth, so that it does not matter whom one asks.
    fn export(&mut self, collections: &[CollectionOverview], shared: &Shared) {
        for line in collections {
            let collection = || line.name.clone();
            if let Some(watermark) = line.watermark {
                metrics::gauge!(names::SINK_WATERMARK_TIMESTAMP, "collection" => collection())
                    .set(f64::from(watermark.0.t));
            }
            if let Some(as_of) = line.as_of {
                metrics::gauge!(names::SINK_AS_OF_TIMESTAMP, "collection" => collection())
                    .set(as_of.as_millisecond() as f64 / 1000.0);
            }
            metrics::gauge!(names::PARKED, "collection" => collection()).set(line.parked as f64);
            let at = line.proof.as_ref().map_or(0.0, |proof| proof.at.as_millisecond() as f64 / 1000.0);
            metrics::gauge!(names::RECONCILE_TIMESTAMP, "collection" => collection()).set(at);
            let Some(proof) = &line.proof else { continue };
            metrics::gauge!(names::UNDECIDED_DOCUMENTS, "collection" => collection()).set(proof.undecided as f64);
            for (kind, count) in [("missing", proof.missing), ("extra", proof.extra), ("different", proof.different)] {
                metrics::gauge!(names::DRIFT_DOCUMENTS, "collection" => collection(), "kind" => kind).set(count as f64);
            }
        }
        let found: BTreeMap<(String, String), u64> = shared
            .dead_letters
            .iter()
            .map(|((collection, reason), count)| ((collection.clone().unwrap_or_default(), reason.clone()), *count))
            .collect();
        self.exported.extend(found.keys().cloned());
        for (collection, reason) in &self.exported {
            let count = found.get(&(collection.clone(), reason.clone())).copied().unwrap_or(0);
            metrics::gauge!(names::DEAD_LETTERS, "collection" => collection.clone(), "reason" => reason.clone())
                .set(count as f64);
        }
    }
}

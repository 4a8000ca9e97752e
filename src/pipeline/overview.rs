//! The state that all processes share through PostgreSQL, read about once a second for the status page, the gauges and the
//! verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use crate::{
    config::Config,
    control::{
        results::ReconcileResult,
        status::{self, Letters, PartitionStatus},
    },
    log::topic_name,
    mapping::Plan,
    metrics as names,
    model::{Frontier, Namespace},
    postgres::{Postgres, Purpose, Session},
    reconcile::{
        proof::{Aged, Evidence, Proof},
        verdict::{CollectionFacts, Facts, Judged, judge},
    },
    status::{Phase, Status},
};

/// One collection, as every process sees it.
#[derive(Clone, Debug, Serialize)]
pub struct CollectionOverview {
    /// Its name.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// Everything before this is applied, in all partitions.
    pub watermark: Option<Frontier>,
    /// Wall-clock time as of which the target is complete.
    pub as_of: Option<Timestamp>,
    /// Age of `as_of` when it was read, by PostgreSQL's clock.
    #[serde(skip)]
    pub staleness: Option<SignedDuration>,
    /// Whether the snapshot is applied.
    pub snapshot_complete: bool,
    /// Open dead letters.
    pub dead_letters: u64,
    /// Parked documents.
    pub parked: u64,
    /// The numbers that apply; see [`Evidence::found`].
    pub proof: Option<Proof>,
    /// The evidence of the last passes.
    pub evidence: Evidence,
}

/// The state that was read last.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Time of the read; `None` before the first read and while PostgreSQL is away.
    pub at: Option<Instant>,
    /// The mapped collections.
    pub collections: Vec<CollectionOverview>,
    /// Their partitions.
    pub partitions: Vec<PartitionStatus>,
    /// Open dead letters by reason.
    pub dead_letters_by_reason: BTreeMap<String, u64>,
    fresh: Duration,
    max_staleness: Duration,
    /// Whether this process reads the shared state at all.
    looks: bool,
    /// Digests of the current plan, by collection; a result under another plan proves nothing. Empty until the plan is compiled.
    plans: BTreeMap<String, [u8; 16]>,
}

/// The shared view. Cheap to clone.
#[derive(Clone, Default)]
pub struct Overview(Arc<Mutex<Seen>>);

impl Overview {
    /// Returns the state that was read last.
    pub fn read(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Sets the plan against which rows are compared from now on.
    pub fn compiled(&self, plan: &Plan) {
        let plans = plan.collections().iter().map(|plan| (plan.collection.clone(), plan.digest())).collect();
        self.write(|seen| seen.plans = plans);
    }

    /// Returns the verdict as of now; `None` in a process that does not read the shared state.
    pub fn judge(&self, status: &Status) -> Option<Judged> {
        let seen = self.read();
        if !seen.looks {
            return None;
        }
        let mut troubles = Vec::new();
        // The last answer ages until the next one comes.
        let since = seen.at.map(|at| at.elapsed()).unwrap_or_default();
        if seen.at.is_none() || since > seen.max_staleness {
            troubles.push("PostgreSQL has not answered".to_owned());
        }
        for (role, line) in status.read().roles {
            if matches!(line.phase, Phase::Halted | Phase::Stalled) {
                let phase = if line.phase == Phase::Halted { "has halted" } else { "stalls" };
                troubles
                    .push(format!("the {role} {phase}: {}", line.reason.as_deref().unwrap_or("for no known reason")));
            }
        }
        let collections = seen.collections.into_iter().map(|collection| CollectionFacts {
            name: collection.name,
            snapshot_complete: collection.snapshot_complete,
            staleness: collection.staleness.map(|staleness| later(staleness, since)),
            evidence: collection.evidence.grown_old(since),
            dead_letters: collection.dead_letters,
            parked: collection.parked,
        });
        let (fresh, max_staleness) = (seen.fresh, seen.max_staleness);
        Some(judge(&Facts { fresh, max_staleness, collections: collections.collect(), troubles }))
    }
}

/// The task that reads the shared state.
pub struct OverviewRole {
    config: Arc<Config>,
    collections: Vec<String>,
    overview: Overview,
    /// Pairs of collection and reason that were exported; they are set to 0 when their letters are gone.
    exported: BTreeSet<(String, String)>,
}

/// Interval between two reads, and so the usual age of the state.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

impl OverviewRole {
    /// Creates the task for these collections.
    pub fn new(config: &Arc<Config>, collections: Vec<String>, overview: Overview) -> Self {
        overview.write(|seen| {
            seen.looks = true;
            seen.fresh = config.reconcile.fresh;
            seen.max_staleness = config.reconcile.max_staleness;
        });
        for collection in &collections {
            // Counters start at 0, so that their first step is seen as an increase.
            for counter in [names::DRIFT_HEALED, names::SINK_FRONTIER_MISMATCHES, names::RECONCILE_DOCUMENTS] {
                metrics::counter!(counter, "collection" => collection.clone()).increment(0);
            }
        }
        Self { config: config.clone(), collections, overview, exported: BTreeSet::new() }
    }

    /// Reads the shared state until cancelled. While PostgreSQL is away, the overview shows that.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut session = None;
        let mut interval = tokio::time::interval(POLL_INTERVAL);
        while cancel.run_until_cancelled(interval.tick()).await.is_some() {
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
            None => {
                session.insert(Postgres::new(&self.config.sink, &self.config.log.prefix)?.open(Purpose::Read).await?)
            }
        };
        let at = Instant::now();
        let shared = status::read(open, 0).await?;
        let plans = self.overview.read().plans;
        let collections: Vec<CollectionOverview> =
            self.collections.iter().map(|name| self.collection(name, &shared, plans.get(name))).collect();
        self.export(&collections, &shared.dead_letters);
        let mut dead_letters_by_reason = BTreeMap::new();
        for letters in shared.dead_letters.iter().filter(|letters| letters.state == OPEN) {
            *dead_letters_by_reason.entry(letters.reason.clone()).or_default() += count(letters);
        }
        let partitions = shared.positions;
        self.overview.write(|seen| {
            seen.at = Some(at);
            seen.collections = collections;
            seen.partitions = partitions;
            seen.dead_letters_by_reason = dead_letters_by_reason;
        });
        Ok(())
    }

    fn collection(&self, name: &str, shared: &status::Status, plan: Option<&[u8; 16]>) -> CollectionOverview {
        let topic = topic_name(&self.config.log.prefix, &Namespace::new(&self.config.source.database, name));
        let positions: Vec<_> = shared.positions.iter().filter(|position| position.topic == topic).collect();
        let letters = |state: &str| {
            let ours =
                shared.dead_letters.iter().filter(|letters| letters.collection == name && letters.state == state);
            ours.map(count).sum()
        };
        let as_of = positions.iter().map(|position| position.as_of_ms).min().flatten();
        let ours = |result: &&ReconcileResult| result.collection == name && result.plan.as_ref() == plan;
        let evidence = Evidence::new(shared.reconcile.iter().filter(|result| plan.is_some() && ours(result)).map(aged));
        CollectionOverview {
            name: name.to_owned(),
            watermark: positions.iter().map(|position| position.watermark).min().flatten().map(Frontier),
            as_of: as_of.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            staleness: as_of.map(|ms| SignedDuration::from_millis(shared.now_ms.saturating_sub(ms))),
            snapshot_complete: !positions.is_empty() && positions.iter().all(|position| position.complete),
            dead_letters: letters(OPEN),
            parked: letters(PARKED),
            topic,
            proof: evidence.found().map(|aged| aged.proof.clone()),
            evidence,
        }
    }

    /// Exports the gauges of all collections. Every process does, so any one of them can be asked.
    fn export(&mut self, collections: &[CollectionOverview], letters: &[Letters]) {
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
        let found: BTreeMap<(String, String), u64> =
            open.map(|letters| ((letters.collection.clone(), letters.reason.clone()), count(letters))).collect();
        self.exported.extend(found.keys().cloned());
        for (collection, reason) in &self.exported {
            let count = found.get(&(collection.clone(), reason.clone())).copied().unwrap_or(0);
            metrics::gauge!(names::DEAD_LETTERS, "collection" => collection.clone(), "reason" => reason.clone())
                .set(count as f64);
        }
    }
}

/// States of a dead letter that still waits.
const OPEN: &str = "open";
const PARKED: &str = "parked";

fn count(letters: &Letters) -> u64 {
    u64::try_from(letters.count).unwrap_or(0)
}

fn later(staleness: SignedDuration, since: Duration) -> SignedDuration {
    staleness.saturating_add(SignedDuration::try_from(since).unwrap_or(SignedDuration::MAX))
}

fn aged(result: &ReconcileResult) -> Aged {
    let proof = Proof {
        at: Timestamp::from_millisecond(result.began_ms).unwrap_or_default(),
        full: result.full,
        documents: result.checked,
        missing: result.missing,
        extra: result.extra,
        different: result.different,
        undecided: result.undecided,
        no_such_collection: result.no_such_collection,
    };
    Aged { proof, age: result.age }
}

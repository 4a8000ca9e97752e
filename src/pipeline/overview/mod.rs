//! The state that all processes share through PostgreSQL, read about once a second for the status page, the gauges, the verdict
//! and the gate.

mod events;
mod gauges;
mod look;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use self::look::{JOURNAL, OverviewRole};
use super::facts::{Plans, plans};
use crate::{
    config::Config,
    control::{
        journal::Entry, pauses::Pauses, processes::Process, shadow::ShadowRun, siblings::Sibling, snapshots::Listed,
        status::PartitionStatus,
    },
    mapping::Plan,
    reconcile::{
        blockers::Bounds,
        facts::{CollectionFacts, Facts},
        gate::{self, Gate, GatedUnit},
        verdict::{self, Judged},
    },
    status::{ProcessStatus, Status},
};

/// The state that was read last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Time of the read; `None` before the first read and while PostgreSQL is away.
    pub(crate) at: Option<Instant>,
    /// The mapped collections.
    pub(crate) collections: Vec<CollectionFacts>,
    /// Their partitions.
    pub(crate) partitions: Vec<PartitionStatus>,
    /// Open dead letters by reason.
    pub(crate) dead_letters_by_reason: BTreeMap<String, u64>,
    /// The processes of the migration.
    pub(crate) processes: Vec<Process>,
    /// The last results of shadow reads.
    pub(crate) shadow: Vec<ShadowRun>,
    /// The snapshots.
    pub(crate) snapshots: Vec<Listed>,
    /// The replays into other schemas, beside the running migration.
    pub(crate) siblings: Vec<Sibling>,
    /// The last entries of the journal, newest first.
    pub(crate) journal: Vec<Entry>,
    /// The name of this process.
    pub(crate) instance: String,
    /// The subject of a judgement; `None` in a process that does not read the shared state.
    judges: Option<Arc<Judges>>,
    /// The current plan; what was proven under another one does not count. Empty until the plan is compiled.
    plans: Plans,
}

#[derive(Debug)]
struct Judges {
    verdict: Bounds,
    units: Vec<GatedUnit>,
}

/// The shared view. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Overview {
    seen: Arc<Mutex<Seen>>,
    pauses: watch::Sender<Pauses>,
    /// Cancelled once the pauses were read, or could not be.
    looked: CancellationToken,
}

/// How long a role waits at its start to hear of a pause. It does not depend on PostgreSQL, which may take longer to say no.
const PAUSES_TIMEOUT: Duration = Duration::from_secs(5);

impl Overview {
    /// Returns the state that was read last.
    pub(crate) fn read(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns a receiver of the pauses once they are known. Where PostgreSQL does not answer, nothing is paused as far as this process
    /// can know, until it does.
    pub(super) async fn pauses(&self, cancel: &CancellationToken) -> watch::Receiver<Pauses> {
        let known = tokio::time::timeout(PAUSES_TIMEOUT, self.looked.cancelled());
        let _ = cancel.run_until_cancelled(known).await;
        self.pauses.subscribe()
    }

    /// Returns the pauses as they were read last.
    pub(super) fn paused(&self) -> watch::Receiver<Pauses> {
        self.pauses.subscribe()
    }

    /// Takes in the pauses; `None`: they cannot be read, and those that were read last hold.
    pub(super) fn take_pauses(&self, pauses: Option<Pauses>) {
        if let Some(now) = pauses {
            self.pauses.send_if_modified(|known| {
                let news = *known != now;
                *known = now;
                news
            });
        }
        self.looked.cancel();
    }

    /// Sets the plan against which rows are compared from now on.
    pub(crate) fn compiled(&self, plan: &Plan) {
        let plans = plans(plan);
        self.write(|seen| seen.plans = plans);
    }

    /// Judges these collections from now on with the bounds of this configuration.
    fn judges(&self, config: &Config, collections: &[String]) {
        let judges = Judges { verdict: Bounds::of_verdict(config), units: GatedUnit::all(config, collections) };
        self.write(|seen| seen.judges = Some(Arc::new(judges)));
    }

    /// Returns the verdict as of now; `None` in a process that does not read the shared state.
    pub(crate) fn judge(&self, status: &Status) -> Option<Judged> {
        let seen = self.read();
        let judges = seen.judges.clone()?;
        Some(verdict::judge(&seen.facts(status, judges.verdict.max_staleness), &judges.verdict))
    }

    /// Judges every unit as of now; `None` in a process that does not read the shared state.
    pub(crate) fn gates(&self, status: &Status) -> Option<Vec<Gate>> {
        let seen = self.read();
        let judges = seen.judges.clone()?;
        Some(gate::judge(&seen.facts(status, judges.verdict.max_staleness), &judges.units))
    }

    /// Returns all facts as of now, and how long ago they were read; `None` in a process that does not read the shared state, and while
    /// its last answer is older than this.
    pub(crate) fn facts(&self, status: &Status, max_age: Duration) -> Option<(Facts, Duration)> {
        let seen = self.read();
        seen.judges.as_ref()?;
        let age = seen.since();
        Some((seen.facts(status, max_age), age)).filter(|(facts, _)| facts.answered)
    }
}

impl Seen {
    /// Returns the last results of shadow reads as of now; `None` while they are not known.
    pub(crate) fn shadow_runs(&self) -> Option<Vec<ShadowRun>> {
        let since = self.at?.elapsed();
        Some(self.shadow.iter().map(|run| run.grown_old(since)).collect())
    }

    /// The last answer ages until the next one comes.
    fn since(&self) -> Duration {
        self.at.map(|at| at.elapsed()).unwrap_or_default()
    }

    /// All processes. This one knows itself better than its last report says.
    pub(crate) fn processes(&self, own: ProcessStatus) -> Vec<Process> {
        let others = self.processes.iter().filter(|process| process.instance != self.instance);
        others.cloned().chain([Process::new(&self.instance, own)]).collect()
    }

    /// All facts as of now; an answer older than `max_age` is none.
    fn facts(self, status: &Status, max_age: Duration) -> Facts {
        let since = self.since();
        let answered = self.at.is_some() && since <= max_age;
        let processes = self.processes(status.read());
        let collections = self.collections.into_iter().map(|collection| collection.grown_old(since)).collect();
        let shadow = self.shadow.iter().map(|run| run.grown_old(since)).collect();
        Facts { answered, collections, processes, shadow }
    }
}

//! The state that all processes share through PostgreSQL, read about once a second for the status page, the gauges, the verdict
//! and the gate.

mod gauges;
mod look;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

pub(crate) use self::look::OverviewRole;
use super::facts::{Plans, plans};
use crate::{
    config::Config,
    control::{processes::Process, status::PartitionStatus},
    mapping::Plan,
    reconcile::{
        blockers::Bounds,
        facts::{self, CollectionFacts},
        gate::{self, Gate},
        verdict::{self, Judged},
    },
    status::Status,
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
    /// The name of this process.
    instance: String,
    /// The bounds of a judgement; `None` in a process that does not read the shared state.
    bounds: Option<JudgementBounds>,
    /// The current plan; what was proven under another one does not count. Empty until the plan is compiled.
    plans: Plans,
}

#[derive(Clone, Copy, Debug)]
struct JudgementBounds {
    verdict: Bounds,
    gate: Bounds,
}

/// The shared view. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Overview(Arc<Mutex<Seen>>);

impl Overview {
    /// Returns the state that was read last.
    pub(crate) fn read(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Sets the plan against which rows are compared from now on.
    pub(crate) fn compiled(&self, plan: &Plan) {
        let plans = plans(plan);
        self.write(|seen| seen.plans = plans);
    }

    /// Judges from now on with the bounds of this configuration.
    fn judges(&self, config: &Config) {
        let bounds = JudgementBounds { verdict: Bounds::of_verdict(config), gate: Bounds::of_gate(config) };
        self.write(|seen| seen.bounds = Some(bounds));
    }

    /// Returns the verdict as of now; `None` in a process that does not read the shared state.
    pub(crate) fn judge(&self, status: &Status) -> Option<Judged> {
        let seen = self.read();
        let bounds = seen.bounds?.verdict;
        Some(verdict::judge(&seen.facts(status, &bounds), &bounds))
    }

    /// Judges every unit as of now; `None` in a process that does not read the shared state.
    pub(crate) fn gates(&self, status: &Status) -> Option<Vec<Gate>> {
        let seen = self.read();
        let bounds = seen.bounds?.gate;
        Some(gate::judge(&seen.facts(status, &bounds), &bounds))
    }
}

impl Seen {
    /// The last answer ages until the next one comes.
    fn since(&self) -> Duration {
        self.at.map(|at| at.elapsed()).unwrap_or_default()
    }

    fn answered(&self, bounds: &Bounds) -> bool {
        self.at.is_some() && self.since() <= bounds.max_staleness
    }

    /// All facts as of now. This process knows itself better than its last report says.
    fn facts(self, status: &Status, bounds: &Bounds) -> facts::Facts {
        let (since, answered) = (self.since(), self.answered(bounds));
        let others = self.processes.into_iter().filter(|process| process.instance != self.instance);
        let processes = others.chain([Process::new(&self.instance, status.read())]).collect();
        let collections = self.collections.into_iter().map(|collection| collection.grown_old(since)).collect();
        facts::Facts { answered, collections, processes }
    }
}

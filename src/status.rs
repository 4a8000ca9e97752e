//! What the roles of this process say about themselves, for `/api/v1/status` and the gauges.
//!
//! Each role writes its own line and reads none. Nothing is decided from here: a status may be shown late, a decision may
//! not rest on it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{metrics as names, model::Frontier, retry::Stalls};

/// A part of the daemon that can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads MongoDB and writes the log.
    Source,
    /// Reads the log and writes PostgreSQL.
    Sink,
    /// Compares both sides.
    Reconciler,
}

impl Role {
    /// All of them, in the order of the flow.
    pub const ALL: [Self; 3] = [Self::Source, Self::Sink, Self::Reconciler];

    /// The name used in flags, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
            Self::Reconciler => "reconciler",
        }
    }
}

/// What a role is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not connected yet.
    Starting,
    /// Another process leads the source; this one takes over when it goes.
    Standby,
    /// At work.
    Running,
    /// Waits for something to come back; the reason says for what.
    Stalled,
    /// Stopped for good; the reason says what a person must do.
    Halted,
}

/// One role's line.
#[derive(Clone, Debug, Serialize)]
pub struct RoleStatus {
    /// What it is doing.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// Why it stalls or has halted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Attempts that had to be repeated since the start of the process.
    pub retries: u64,
}

/// What a snapshot is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotPhase {
    /// Its turn has not come.
    #[default]
    Waiting,
    /// It is being read.
    Running,
    /// It waits until something else has caught up; the reason says what.
    HeldBack,
    /// An operator wants it to stand still.
    Paused,
    /// All of it is in the log.
    Done,
}

impl SnapshotPhase {
    /// All of them, in the order of a snapshot's life.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::HeldBack, Self::Paused, Self::Done];

    /// The name used in metrics, logs and commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::HeldBack => "held_back",
            Self::Paused => "paused",
            Self::Done => "done",
        }
    }
}

/// How far the snapshot of one collection is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotStatus {
    /// What it is doing.
    pub phase: SnapshotPhase,
    /// What holds it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was started again by an operator, about.
    pub run: u64,
    /// Documents in the log.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// About how many documents there are; above `documents` until it is done.
    pub estimated: u64,
    /// Documents a second over the last while.
    pub rate: u64,
    /// About how long it goes on at this rate; `None` while it does not move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// Ranges of `_id`s that it is read in.
    pub parts: usize,
    /// Those that are in the log.
    pub parts_done: usize,
    /// Whether all of it is in the log.
    pub done: bool,
}

impl SnapshotStatus {
    /// About how much of it is in the log; 100 only when all of it is.
    pub fn percent(&self) -> u64 {
        if self.done { 100 } else { (self.documents * 100 / self.estimated.max(1)).min(99) }
    }
}

/// Everything that this process knows of itself.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProcessStatus {
    /// The roles it runs.
    pub roles: BTreeMap<&'static str, RoleStatus>,
    /// Snapshots, where it leads the source.
    pub snapshots: BTreeMap<String, SnapshotStatus>,
    /// What the mapping gave up in the documents that this process has written: by collection, column and kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub losses: BTreeMap<String, BTreeMap<String, BTreeMap<&'static str, u64>>>,
    /// Up to where it has published the stream, where it leads the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontier: Option<Frontier>,
}

/// The shared place where roles write their lines. Cheap to clone.
#[derive(Clone, Default)]
pub struct Status(Arc<Mutex<ProcessStatus>>);

impl Status {
    /// Starts with these roles, all of them starting.
    pub fn new(roles: &[Role]) -> Self {
        let status = Self::default();
        for &role in roles {
            status.lock().roles.insert(
                role.as_str(),
                RoleStatus { phase: Phase::Starting, since: Timestamp::now(), reason: None, hint: None, retries: 0 },
            );
            metrics::gauge!(names::STALLED, "role" => role.as_str()).set(0);
            // Born at 0, so that its first step is seen as one.
            metrics::counter!(names::RETRIES, "role" => role.as_str()).increment(0);
        }
        status
    }

    /// A copy of everything.
    pub fn read(&self) -> ProcessStatus {
        self.lock().clone()
    }

    /// The role is in that phase, without anything to complain about.
    pub fn phase(&self, role: Role, phase: Phase) {
        if self.is_stalled(role) && phase == Phase::Running {
            tracing::info!(role = role.as_str(), "goes on");
        }
        self.change(role, phase, None, None);
        metrics::gauge!(names::STALLED, "role" => role.as_str()).set(0);
    }

    /// The role waits for something to come back.
    pub fn stalled(&self, role: Role, reason: String) {
        self.change(role, Phase::Stalled, Some(reason), None);
        if let Some(line) = self.lock().roles.get_mut(role.as_str()) {
            line.retries += 1;
        }
        metrics::gauge!(names::STALLED, "role" => role.as_str()).set(1);
        metrics::counter!(names::RETRIES, "role" => role.as_str()).increment(1);
    }

    /// Hears of the stalls of a role that waits by itself. What is heard late, of a role that stands by or has halted
    /// meanwhile, says nothing of it.
    pub fn stalls(&self, role: Role) -> Stalls {
        let status = self.clone();
        Arc::new(move |stall| match stall {
            Some(reason) if status.is_at_work(role) => status.stalled(role, reason),
            Some(_) => {}
            None => status.recovered(role),
        })
    }

    fn is_at_work(&self, role: Role) -> bool {
        let rests = |line: &RoleStatus| matches!(line.phase, Phase::Standby | Phase::Halted);
        !self.lock().roles.get(role.as_str()).is_some_and(rests)
    }

    /// The role goes on where it had to wait.
    fn recovered(&self, role: Role) {
        if self.is_stalled(role) {
            self.phase(role, Phase::Running);
        }
    }

    fn is_stalled(&self, role: Role) -> bool {
        self.lock().roles.get(role.as_str()).is_some_and(|line| line.phase == Phase::Stalled)
    }

    /// The role has stopped until a person acts.
    pub fn halted(&self, role: Role, reason: String, hint: Option<String>) {
        self.change(role, Phase::Halted, Some(reason), hint);
    }

    /// How far a snapshot is.
    pub fn snapshot(&self, collection: &str, snapshot: SnapshotStatus) {
        let label = || [("collection", collection.to_owned())];
        metrics::gauge!(names::SNAPSHOT_RUN_DOCUMENTS, &label()).set(snapshot.documents as f64);
        metrics::gauge!(names::SNAPSHOT_ESTIMATED_DOCUMENTS, &label()).set(snapshot.estimated as f64);
        metrics::gauge!(names::SNAPSHOT_COMPLETE, &label()).set(f64::from(snapshot.done));
        let left = snapshot.seconds_left.map_or(0.0, |left| Timestamp::now().as_second() as f64 + left as f64);
        metrics::gauge!(names::SNAPSHOT_END_TIMESTAMP, &label()).set(left);
        for phase in SnapshotPhase::ALL {
            let labels = [("collection", collection.to_owned()), ("phase", phase.as_str().to_owned())];
            metrics::gauge!(names::SNAPSHOT_PHASE, &labels).set(f64::from(snapshot.phase == phase));
        }
        let before = self.lock().snapshots.insert(collection.to_owned(), snapshot.clone()).unwrap_or_default();
        // What earlier terms have read counts too; another run begins at 0 again.
        let added = |now: u64, before: u64| if before <= now { now - before } else { now };
        metrics::counter!(names::SNAPSHOT_DOCUMENTS, &label()).increment(added(snapshot.documents, before.documents));
        metrics::counter!(names::SNAPSHOT_BYTES, &label()).increment(added(snapshot.bytes, before.bytes));
    }

    /// The mapping gave something up so many times.
    pub fn lost(&self, collection: &str, column: &str, kind: &'static str, count: u64) {
        let labels = [("collection", collection.to_owned()), ("column", column.to_owned()), ("kind", kind.to_owned())];
        metrics::counter!(names::MAPPING_LOSSES, &labels).increment(count);
        let mut process = self.lock();
        let columns = process.losses.entry(collection.to_owned()).or_default();
        *columns.entry(column.to_owned()).or_default().entry(kind).or_default() += count;
    }

    /// Up to where the stream is published.
    pub fn frontier(&self, frontier: Frontier) {
        self.lock().frontier = Some(frontier);
    }

    fn change(&self, role: Role, phase: Phase, reason: Option<String>, hint: Option<String>) {
        let mut process = self.lock();
        let Some(line) = process.roles.get_mut(role.as_str()) else { return };
        if line.phase != phase {
            line.since = Timestamp::now();
        }
        line.phase = phase;
        line.reason = reason;
        line.hint = hint;
    }

    fn lock(&self) -> MutexGuard<'_, ProcessStatus> {
        // A panic while a line was written leaves at worst an old line.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_stall_does_not_touch_a_role_that_stands_by() {
        let status = Status::new(&[Role::Source]);
        let stalls = status.stalls(Role::Source);
        let phase = || status.read().roles["source"].phase;
        status.phase(Role::Source, Phase::Running);
        stalls(Some("the server is away".to_owned()));
        assert_eq!(phase(), Phase::Stalled);
        stalls(None);
        assert_eq!(phase(), Phase::Running);
        status.phase(Role::Source, Phase::Standby);
        stalls(Some("the server was away".to_owned()));
        stalls(None);
        assert_eq!(phase(), Phase::Standby);
    }
}

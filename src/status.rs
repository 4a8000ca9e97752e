//! The reports of the roles of this process, for `/api/v1/status` and the gauges.
//!
//! Each role writes its own line and reads none. A status may be shown late, so no decision rests on it. A commit of the sink only
//! wakes those who would look again anyway.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    metrics as names,
    model::{ClusterTime, Frontier},
    retry::{Stalls, Wait},
};

/// A part of the daemon that can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Reads MongoDB and writes the log.
    Source,
    /// Reads the log and writes PostgreSQL.
    Sink,
    /// Compares both sides.
    Reconciler,
}

impl Role {
    /// All roles, in the order of the flow.
    pub(crate) const ALL: [Self; 3] = [Self::Source, Self::Sink, Self::Reconciler];

    /// Returns the name used in flags, metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
            Self::Reconciler => "reconciler",
        }
    }

    /// Why the role does not work yet, before any server has failed to answer.
    fn connects(self) -> &'static str {
        match self {
            Self::Source => "connecting to MongoDB and Kafka",
            Self::Sink => "connecting to PostgreSQL and Kafka",
            Self::Reconciler => "connecting to MongoDB, Kafka and PostgreSQL",
        }
    }
}

/// The phase of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// The role is not connected yet.
    Starting,
    /// Another process leads the source; this one takes over when that one ends.
    Standby,
    /// The role works.
    Running,
    /// The role waits for something to come back; the reason names it.
    Stalled,
    /// The role has stopped until a person acts; the reason and the hint say how.
    Halted,
    /// An operator has paused the role; the reason says who, since when and why.
    Paused,
}

impl Phase {
    /// All phases, in the order of a role's life.
    pub(crate) const ALL: [Self; 6] =
        [Self::Starting, Self::Standby, Self::Running, Self::Stalled, Self::Halted, Self::Paused];

    /// Returns the name used in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Running => "running",
            Self::Stalled => "stalled",
            Self::Halted => "halted",
            Self::Paused => "paused",
        }
    }

    /// Whether a role in this phase makes no attempt, so that nothing of it waits for anything.
    fn rests(self) -> bool {
        matches!(self, Self::Halted | Self::Paused)
    }

    /// Returns what happens without a person; `None` for a role that works. `heals` says whether a halted role is tried again.
    fn by_itself(self, heals: bool) -> Option<&'static str> {
        match self {
            Self::Running => None,
            Self::Starting => Some("it connects as soon as every server answers"),
            Self::Standby => Some("it takes over when the process that leads ends"),
            Self::Stalled => Some("it is tried again until it works; nothing is lost, and no restart is needed"),
            Self::Halted if heals => Some(
                "it is tried again every sink.catalog_interval, and goes on without a restart once PostgreSQL is put right",
            ),
            Self::Halted => Some("nothing until it is resumed or the process is started again; the position is intact"),
            Self::Paused => Some("nothing until it is resumed, or until the end that was given"),
        }
    }
}

/// Why a task waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Stall {
    /// When the wait began.
    pub(crate) since: Timestamp,
    /// The reason of the wait.
    pub(crate) reason: String,
    /// The remedy, if a person can apply one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// Whether the wait concerns the role in every phase, not only one attempt.
    #[serde(skip)]
    outage: bool,
}

/// The status of one role.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RoleStatus {
    /// The phase: stalled while any task of the role is.
    pub(crate) phase: Phase,
    /// When the phase began.
    pub(crate) since: Timestamp,
    /// Why the role does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// The act of the daemon that follows without a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by_itself: Option<&'static str>,
    /// The waiting tasks by name; a failed attempt of the whole role has the name of the role.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) stalls: BTreeMap<String, Stall>,
    /// Attempts that were repeated since the start of the process.
    pub(crate) retries: u64,
    /// The phase apart from stalls.
    #[serde(skip)]
    set: Phase,
    /// Whether the role is tried again while it is halted.
    #[serde(skip)]
    heals: bool,
}

impl RoleStatus {
    fn new(role: Role) -> Self {
        Self {
            phase: Phase::Starting,
            since: Timestamp::now(),
            reason: Some(role.connects().to_owned()),
            hint: None,
            by_itself: Phase::Starting.by_itself(false),
            stalls: BTreeMap::new(),
            retries: 0,
            set: Phase::Starting,
            heals: false,
        }
    }

    /// Derives the shown phase and reason from the set phase and the stalls.
    fn show(&mut self, role: Role) {
        let phase = if self.set.rests() || self.stalls.is_empty() { self.set } else { Phase::Stalled };
        if phase != self.phase {
            if self.phase == Phase::Stalled && phase == Phase::Running {
                tracing::info!(role = role.as_str(), "recovered");
            }
            self.since = Timestamp::now();
            self.phase = phase;
            self.export(role);
        }
        if !phase.rests() {
            let shown = |(task, stall): (&String, &Stall)| match task.as_str() == role.as_str() {
                true => stall.reason.clone(),
                false => format!("{task}: {}", stall.reason),
            };
            let reasons = self.stalls.iter().map(shown).collect::<Vec<_>>();
            let connects = || (phase == Phase::Starting).then(|| role.connects().to_owned());
            self.reason = (!reasons.is_empty()).then(|| reasons.join("; ")).or_else(connects);
            let hints: BTreeSet<&str> = self.stalls.values().filter_map(|stall| stall.hint.as_deref()).collect();
            self.hint = (!hints.is_empty()).then(|| Vec::from_iter(hints).join("; "));
        }
        self.by_itself = phase.by_itself(self.heals);
    }

    fn export(&self, role: Role) {
        for known in Phase::ALL {
            metrics::gauge!(names::ROLE_PHASE, "role" => role.as_str(), "phase" => known.as_str())
                .set(f64::from(known == self.phase));
        }
    }
}

/// The phase of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotPhase {
    /// Its turn has not come yet.
    #[default]
    Waiting,
    /// The collection is being read.
    Running,
    /// It waits until the stream or the sink has caught up; the reason says which.
    HeldBack,
    /// An operator has paused it.
    Paused,
    /// All of it is in the log.
    Done,
}

impl SnapshotPhase {
    /// All phases, in the order of a snapshot's life.
    pub(crate) const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::HeldBack, Self::Paused, Self::Done];

    /// Returns the name used in metrics, logs and commands.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::HeldBack => "held_back",
            Self::Paused => "paused",
            Self::Done => "done",
        }
    }
}

/// The progress of the snapshot of one collection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotStatus {
    /// The phase.
    pub phase: SnapshotPhase,
    /// Why it is held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The number of the run. It grows when an operator starts again, or when the stream had left the collection.
    pub run: u64,
    /// Documents in the log.
    pub documents: u64,
    /// Bytes of these documents.
    pub bytes: u64,
    /// Estimate of the number of documents; above `documents` until the snapshot is done.
    pub estimated: u64,
    /// Documents per second, averaged over the recent past.
    pub rate: u64,
    /// Estimate of the remaining time at this rate; `None` while the snapshot makes no progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// Number of `_id` ranges that the collection is read in.
    pub parts: usize,
    /// Number of these ranges that are in the log.
    pub parts_done: usize,
    /// Whether the whole collection is in the log.
    pub done: bool,
}

impl SnapshotStatus {
    /// Returns the percentage in the log; 100 only when the whole collection is.
    pub(crate) fn percent(&self) -> u64 {
        if self.done { 100 } else { (self.documents * 100 / self.estimated.max(1)).min(99) }
    }
}

/// Facts that only the leader of the source knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Led {
    /// The server and its version.
    pub(crate) server: String,
    /// The oldest operation of the oplog; `None` if the user may not read it, and behind a mongos.
    pub(crate) oldest: Option<ClusterTime>,
    /// Whether that is the first operation ever: then nothing has been removed yet.
    pub(crate) whole: bool,
    /// The published end of the stream.
    pub(crate) position: Option<ClusterTime>,
}

impl Led {
    /// Returns the seconds from the oldest operation to the position; `None` where one of them is not known.
    pub(crate) fn margin_s(&self) -> Option<u64> {
        Some(u64::from(self.position?.t.saturating_sub(self.oldest?.t)))
    }

    fn export(&self) {
        let margin = self.margin_s().map_or(f64::NAN, |margin| margin as f64);
        let margin = if self.whole { f64::INFINITY } else { margin };
        metrics::gauge!(names::SOURCE_HISTORY_MARGIN).set(margin);
    }
}

/// The status of this process.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ProcessStatus {
    /// The roles of the process.
    pub(crate) roles: BTreeMap<&'static str, RoleStatus>,
    /// Snapshots, if the process leads the source.
    pub(crate) snapshots: BTreeMap<String, SnapshotStatus>,
    /// Losses in the documents that this process has written, by collection, column and kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) losses: BTreeMap<String, BTreeMap<String, BTreeMap<&'static str, u64>>>,
    /// The published end of the stream, if the process leads the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frontier: Option<Frontier>,
    /// The source, if the process leads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) led: Option<Led>,
}

/// The shared status that roles write to. Cheap to clone.
#[derive(Clone, Default)]
pub struct Status {
    process: Arc<Mutex<ProcessStatus>>,
    commits: watch::Sender<()>,
}

impl Status {
    /// Creates the status of these roles, all of them starting.
    pub(crate) fn new(roles: &[Role]) -> Self {
        let status = Self::default();
        for &role in roles {
            let line = RoleStatus::new(role);
            line.export(role);
            status.lock().roles.insert(role.as_str(), line);
            gauge(role, role.as_str(), false);
            // Exported as 0, so that a rate sees the first increment.
            metrics::counter!(names::RETRIES, "role" => role.as_str()).increment(0);
        }
        status
    }

    /// Returns a copy of the status.
    pub(crate) fn read(&self) -> ProcessStatus {
        self.lock().clone()
    }

    /// Sets the phase of a role and clears the stalls of its tasks.
    pub(crate) fn phase(&self, role: Role, phase: Phase) {
        self.change(role, |line| {
            line.set = phase;
            line.stalls.retain(|task, stall| {
                if !stall.outage {
                    gauge(role, task, false);
                }
                stall.outage
            });
        });
    }

    /// Reports that an attempt of the role has failed and will be repeated.
    pub(crate) fn stalled(&self, role: Role, reason: String, hint: Option<String>) {
        self.heard(role, role.as_str(), Some(Wait { reason, hint }), false);
    }

    /// Returns a reporter for the stalls of one task. Reports that arrive while the role is on standby or has halted are ignored.
    pub(crate) fn stalls(&self, role: Role, task: &str) -> Stalls {
        let status = self.clone();
        Stalls::new(task, move |task, wait| status.heard(role, task, wait, false))
    }

    /// Returns a reporter for outages that concern the role in every phase, even while it is on standby.
    pub(crate) fn outages(&self, role: Role, what: &str) -> Stalls {
        let status = self.clone();
        Stalls::new(what, move |what, wait| status.heard(role, what, wait, true))
    }

    fn heard(&self, role: Role, task: &str, wait: Option<Wait>, outage: bool) {
        self.change(role, |line| {
            let rests = line.set.rests() || (line.set == Phase::Standby && !outage);
            match wait {
                Some(Wait { reason, hint }) if !rests => {
                    gauge(role, task, true);
                    if !outage {
                        line.retries += 1;
                        metrics::counter!(names::RETRIES, "role" => role.as_str()).increment(1);
                    }
                    let since = line.stalls.get(task).map_or_else(Timestamp::now, |stall| stall.since);
                    line.stalls.insert(task.to_owned(), Stall { since, reason, hint, outage });
                }
                Some(_) => {}
                None => {
                    if line.stalls.remove(task).is_some() {
                        gauge(role, task, false);
                    }
                }
            }
        });
    }

    /// Reports that the role has stopped until a person acts, and whether it is tried again until then.
    pub(crate) fn halted(&self, role: Role, reason: String, hint: Option<String>, heals: bool) {
        self.phase(role, Phase::Halted);
        self.change(role, |line| (line.reason, line.hint, line.heals) = (Some(reason), hint, heals));
    }

    /// Reports that an operator has paused the role.
    pub(crate) fn paused(&self, role: Role, reason: String, hint: String) {
        self.phase(role, Phase::Paused);
        self.change(role, |line| (line.reason, line.hint) = (Some(reason), Some(hint)));
    }

    /// Returns whether the role has halted.
    pub(crate) fn is_halted(&self, role: Role) -> bool {
        self.is(role, Phase::Halted)
    }

    /// Returns whether an operator has paused the role.
    pub(crate) fn is_paused(&self, role: Role) -> bool {
        self.is(role, Phase::Paused)
    }

    fn is(&self, role: Role, phase: Phase) -> bool {
        self.lock().roles.get(role.as_str()).is_some_and(|line| line.phase == phase)
    }

    /// Reports the progress of a snapshot.
    pub(crate) fn snapshot(&self, collection: &str, snapshot: SnapshotStatus) {
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
        // Documents of earlier terms count too; a new run begins at 0.
        let added = |now: u64, before: u64| if before <= now { now - before } else { now };
        metrics::counter!(names::SNAPSHOT_DOCUMENTS, &label()).increment(added(snapshot.documents, before.documents));
        metrics::counter!(names::SNAPSHOT_BYTES, &label()).increment(added(snapshot.bytes, before.bytes));
    }

    /// Reports losses of the mapping.
    pub(crate) fn lost(&self, collection: &str, column: &str, kind: &'static str, count: u64) {
        let labels = [("collection", collection.to_owned()), ("column", column.to_owned()), ("kind", kind.to_owned())];
        metrics::counter!(names::MAPPING_LOSSES, &labels).increment(count);
        let mut process = self.lock();
        let columns = process.losses.entry(collection.to_owned()).or_default();
        *columns.entry(column.to_owned()).or_default().entry(kind).or_default() += count;
    }

    /// Reports the published end of the stream.
    pub(crate) fn frontier(&self, frontier: Frontier) {
        let mut process = self.lock();
        process.frontier = Some(frontier);
        if let Some(led) = &mut process.led {
            led.position = Some(frontier.0);
            led.export();
        }
    }

    /// Reports what the leader knows of the source; `None` when it leads no longer.
    pub(crate) fn led(&self, led: Option<Led>) {
        let mut process = self.lock();
        let position = process.frontier.map(|frontier| frontier.0);
        process.led = led.map(|led| Led { position, ..led });
        match &process.led {
            Some(led) => led.export(),
            None => metrics::gauge!(names::SOURCE_HISTORY_MARGIN).set(f64::NAN),
        }
    }

    /// Reports that a batch is committed to the target.
    pub(crate) fn committed(&self) {
        self.commits.send_replace(());
    }

    /// Returns a receiver that changes with every batch that a sink of this process commits.
    pub(crate) fn commits(&self) -> watch::Receiver<()> {
        self.commits.subscribe()
    }

    fn change(&self, role: Role, change: impl FnOnce(&mut RoleStatus)) {
        let mut process = self.lock();
        let Some(line) = process.roles.get_mut(role.as_str()) else { return };
        change(line);
        line.show(role);
    }

    fn lock(&self) -> MutexGuard<'_, ProcessStatus> {
        // A panic during a write leaves an old line at worst.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gauge(role: Role, task: &str, stalled: bool) {
    let labels = [("role", role.as_str().to_owned()), ("task", task.to_owned())];
    metrics::gauge!(names::STALLED, &labels).set(f64::from(stalled));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_stall_does_not_touch_a_role_that_stands_by() {
        let status = Status::new(&[Role::Source]);
        let stalls = status.stalls(Role::Source, "change stream");
        let phase = || status.read().roles["source"].phase;
        status.phase(Role::Source, Phase::Running);
        stalls.waits("the server is away".to_owned(), None);
        assert_eq!(phase(), Phase::Stalled);
        stalls.goes_on();
        assert_eq!(phase(), Phase::Running);
        stalls.waits("the server is away".to_owned(), None);
        status.phase(Role::Source, Phase::Standby);
        assert_eq!(phase(), Phase::Standby);
        stalls.waits("the server was away".to_owned(), None);
        stalls.goes_on();
        assert_eq!(phase(), Phase::Standby);
    }

    #[test]
    fn a_task_that_works_does_not_hide_one_that_waits() {
        let status = Status::new(&[Role::Sink]);
        status.phase(Role::Sink, Phase::Running);
        let [first, second] = ["worker 1", "worker 2"].map(|task| status.stalls(Role::Sink, task));
        first.waits("a lock".to_owned(), None);
        second.waits("a lock, too".to_owned(), None);
        second.goes_on();
        let line = status.read().roles["sink"].clone();
        assert_eq!((line.phase, line.reason.as_deref()), (Phase::Stalled, Some("worker 1: a lock")));
        let since = line.stalls["worker 1"].since;
        first.waits("a lock".to_owned(), None);
        assert_eq!(status.read().roles["sink"].stalls["worker 1"].since, since);
        first.goes_on();
        assert_eq!(status.read().roles["sink"].phase, Phase::Running);
    }

    #[test]
    fn an_outage_is_shown_in_every_phase_but_never_hides_a_halt() {
        let status = Status::new(&[Role::Source]);
        let (log, phase) = (status.outages(Role::Source, "log"), || status.read().roles["source"].phase);
        status.phase(Role::Source, Phase::Standby);
        log.waits("the brokers are away".to_owned(), None);
        assert_eq!(phase(), Phase::Stalled);
        status.phase(Role::Source, Phase::Standby);
        assert_eq!(phase(), Phase::Stalled, "standing by does not bring the brokers back");
        status.halted(Role::Source, "history is lost".to_owned(), None, false);
        log.waits("the brokers are away".to_owned(), None);
        assert_eq!(phase(), Phase::Halted);
        assert_eq!(status.read().roles["source"].reason.as_deref(), Some("history is lost"));
    }

    #[test]
    fn every_role_that_does_not_work_says_why_and_what_happens_by_itself() {
        let status = Status::new(&[Role::Source]);
        let line = || status.read().roles["source"].clone();
        assert_eq!(line().reason.as_deref(), Some("connecting to MongoDB and Kafka"));
        assert!(line().by_itself.is_some());
        let hint = "start it".to_owned();
        status.stalled(Role::Source, "the server is away".to_owned(), Some(hint.clone()));
        let shown = line();
        assert_eq!((shown.phase, shown.reason.as_deref()), (Phase::Stalled, Some("the server is away")));
        assert_eq!(shown.hint, Some(hint));
        assert!(shown.by_itself.is_some_and(|then| then.contains("tried again")));
        status.phase(Role::Source, Phase::Running);
        let shown = line();
        assert_eq!((shown.reason, shown.hint, shown.by_itself), (None, None, None));
        status.halted(Role::Source, "history is lost".to_owned(), None, false);
        assert!(line().by_itself.is_some_and(|then| then.starts_with("nothing until")));
    }

    #[test]
    fn a_role_that_can_heal_says_that_it_is_tried_again() {
        let status = Status::new(&[Role::Source]);
        status.halted(Role::Source, "a right is missing".to_owned(), Some("grant it".to_owned()), true);
        let shown = status.read().roles["source"].clone();
        assert_eq!((shown.phase, shown.hint.as_deref()), (Phase::Halted, Some("grant it")));
        assert!(shown.by_itself.is_some_and(|then| then.contains("tried again")));
    }
}

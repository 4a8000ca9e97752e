//! The daemon's status page, as a reader of its documentation would declare it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `/api/v1/status`.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// `in_sync`, `drift` or `unknown`.
    pub verdict: String,
    /// Reasons why the verdict is not `in_sync`.
    pub blockers: Vec<serde_json::Value>,
    /// The answering process.
    pub process: Process,
    /// Every mapped collection.
    #[serde(default)]
    pub collections: Vec<Collection>,
    /// Every partition of their topics.
    #[serde(default)]
    pub partitions: Vec<Partition>,
    /// Where the reads of every unit go.
    #[serde(default)]
    pub reads: Vec<serde_json::Value>,
}

/// The answering process's own state.
#[derive(Clone, Debug, Deserialize)]
pub struct Process {
    /// Its roles by name.
    pub roles: BTreeMap<String, Role>,
    /// Its snapshots by collection.
    #[serde(default)]
    pub snapshots: BTreeMap<String, Snapshot>,
}

/// State of one role.
#[derive(Clone, Debug, Deserialize)]
pub struct Role {
    /// Its phase, such as `running`, `stalled` or `halted`.
    pub phase: String,
    /// The reason of its wait or halt.
    #[serde(default)]
    pub reason: Option<String>,
    /// The remedy.
    #[serde(default)]
    pub hint: Option<String>,
    /// The act of the daemon that follows without a person.
    #[serde(default)]
    pub by_itself: Option<String>,
}

/// Progress of a snapshot.
#[derive(Clone, Debug, Deserialize)]
pub struct Snapshot {
    /// Its phase.
    pub phase: String,
    /// Number of the run.
    pub run: u64,
    /// Number of documents read.
    pub documents: u64,
    /// Whether everything was read.
    pub done: bool,
}

/// One collection.
#[derive(Clone, Debug, Deserialize)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// All changes before it are applied.
    pub watermark: Option<ClusterTime>,
    /// Whether its snapshot is applied.
    pub snapshot_complete: bool,
    /// Number of open dead letters.
    pub dead_letters: u64,
    /// Number of documents that wait for another one.
    pub parked: u64,
}

/// One partition.
#[derive(Clone, Debug, Deserialize)]
pub struct Partition {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// All changes before it are applied.
    pub watermark: Option<ClusterTime>,
    /// Number of frontiers whose count was not met.
    pub gaps: i64,
}

/// A cluster time. Everything before a watermark is applied; the change at the watermark itself is not.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterTime {
    /// Seconds.
    pub t: u32,
    /// Ordinal within the second.
    pub i: u32,
}

impl Status {
    /// Returns the phase of a role, `absent` if the process does not run it.
    pub fn phase(&self, role: &str) -> &str {
        self.process.roles.get(role).map_or("absent", |role| role.phase.as_str())
    }

    /// Returns whether the snapshot of every collection is finished.
    pub fn snapshot_complete(&self) -> bool {
        !self.collections.is_empty() && self.collections.iter().all(|collection| collection.snapshot_complete)
    }

    /// Returns whether every change up to `time` is applied, in every collection and partition.
    pub fn passed(&self, time: ClusterTime) -> bool {
        let past = |watermark: Option<ClusterTime>| watermark.is_some_and(|watermark| watermark > time);
        !self.collections.is_empty()
            && self.collections.iter().all(|collection| past(collection.watermark))
            && self.partitions.iter().all(|partition| past(partition.watermark))
    }

    /// Returns the number of documents that wait for another one, in all collections.
    pub fn parked(&self) -> u64 {
        self.collections.iter().map(|collection| collection.parked).sum()
    }

    /// Returns the number of frontiers whose count was not met, in all partitions.
    pub fn gaps(&self) -> i64 {
        self.partitions.iter().map(|partition| partition.gaps).sum()
    }

    /// Returns the number of open dead letters of all collections.
    pub fn dead_letters(&self) -> u64 {
        self.collections.iter().map(|collection| collection.dead_letters).sum()
    }

    /// Returns the text that a failed wait shows.
    pub fn summary(&self) -> String {
        let roles: Vec<_> = self
            .process
            .roles
            .iter()
            .map(|(name, role)| format!("{name} {} {}", role.phase, role.reason.as_deref().unwrap_or("")))
            .collect();
        let collections: Vec<_> = self
            .collections
            .iter()
            .map(|one| {
                let watermark = one.watermark.map_or("none".to_owned(), |time| format!("{}.{}", time.t, time.i));
                let (complete, dead, parked) = (one.snapshot_complete, one.dead_letters, one.parked);
                format!("{} {watermark} snapshot={complete} dead={dead} parked={parked}", one.name)
            })
            .collect();
        let slowest = self.partitions.iter().min_by_key(|partition| partition.watermark);
        let slowest =
            slowest.map_or("none".to_owned(), |one| format!("{} {} {:?}", one.topic, one.partition, one.watermark));
        let (verdict, blockers) = (&self.verdict, &self.blockers);
        format!("{verdict} {blockers:?}; {}; {}; slowest: {slowest}", roles.join(", "), collections.join(", "))
    }
}

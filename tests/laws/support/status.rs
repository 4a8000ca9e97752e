//! The daemon's status page, as a reader of its documentation would declare it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `/api/v1/status`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) verdict: String,
    pub(crate) blockers: Vec<serde_json::Value>,
    pub(crate) process: Process,
    #[serde(default)]
    pub(crate) collections: Vec<Collection>,
    #[serde(default)]
    pub(crate) partitions: Vec<Partition>,
}

/// What the answering process says of itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Process {
    pub(crate) roles: BTreeMap<String, Role>,
    #[serde(default)]
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
}

/// One role's line.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Role {
    pub(crate) phase: String,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    pub(crate) hint: Option<String>,
}

/// How far a snapshot is.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) phase: String,
    pub(crate) run: u64,
    pub(crate) documents: u64,
    pub(crate) done: bool,
}

/// One collection.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Collection {
    pub(crate) name: String,
    pub(crate) watermark: Option<ClusterTime>,
    pub(crate) snapshot_complete: bool,
    pub(crate) dead_letters: u64,
    pub(crate) parked: u64,
}

/// One partition.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Partition {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) watermark: Option<ClusterTime>,
    pub(crate) gaps: i64,
}

/// A cluster time; everything before a watermark is applied, the watermark itself is not.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClusterTime {
    pub(crate) t: u32,
    pub(crate) i: u32,
}

impl Status {
    /// The phase of a role, `absent` when the process does not run it.
    pub(crate) fn phase(&self, role: &str) -> &str {
        self.process.roles.get(role).map_or("absent", |role| role.phase.as_str())
    }

    /// Whether the snapshot of every collection is finished.
    pub(crate) fn snapshot_complete(&self) -> bool {
        !self.collections.is_empty() && self.collections.iter().all(|collection| collection.snapshot_complete)
    }

    /// Whether every change up to `time` is applied, in every collection and partition.
    pub(crate) fn passed(&self, time: ClusterTime) -> bool {
        let past = |watermark: Option<ClusterTime>| watermark.is_some_and(|watermark| watermark > time);
        !self.collections.is_empty()
            && self.collections.iter().all(|collection| past(collection.watermark))
            && self.partitions.iter().all(|partition| past(partition.watermark))
    }

    /// Documents that wait for another one, in all collections.
    pub(crate) fn parked(&self) -> u64 {
        self.collections.iter().map(|collection| collection.parked).sum()
    }

    /// Frontiers whose count was not met, in all partitions.
    pub(crate) fn gaps(&self) -> i64 {
        self.partitions.iter().map(|partition| partition.gaps).sum()
    }

    /// Open dead letters of all collections.
    pub(crate) fn dead_letters(&self) -> u64 {
        self.collections.iter().map(|collection| collection.dead_letters).sum()
    }

    /// What a failed wait shows.
    pub(crate) fn summary(&self) -> String {
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

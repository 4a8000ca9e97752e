//! The status of the migration as one document: the daemon answers with it, `driftless status` makes it out of the target when no
//! daemon answers, and the page and the terminal show it.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    control::{journal::Entry, processes::Process, siblings::Sibling, snapshots::Listed, status::PartitionStatus},
    postgres::{Postgres, identity},
    reads::UnitStatus,
    reconcile::{
        blockers::leader,
        facts::{CollectionFacts, Progress},
        gate::Gate,
        verdict::Judged,
    },
    status::{Led, ProcessStatus, SnapshotStatus},
};

/// The migration that a daemon or a command works on, as its configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whose {
    /// The name of its state: the prefix of the log, and the schema of a replay into one.
    pub(crate) name: String,
    /// The database of MongoDB.
    pub(crate) source: String,
    /// The database of PostgreSQL; `None` where the address cannot be read.
    pub(crate) target: Option<String>,
}

impl Whose {
    /// The migration of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let target = Postgres::new(&config.sink, &config.log.prefix).ok();
        Self {
            name: identity::name(&config.log.prefix, config.sink.into.as_deref()),
            source: config.source.database.clone(),
            target: target.and_then(|target| target.database().map(str::to_owned)),
        }
    }

    /// Whether both are the same migration, as far as both are known.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let targets = self.target.as_ref().zip(other.target.as_ref());
        self.name == other.name && self.source == other.source && targets.is_none_or(|(own, theirs)| own == theirs)
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "migration {}: MongoDB database {}", self.name, self.source)?;
        self.target.as_ref().map_or(Ok(()), |target| write!(f, ", PostgreSQL database {target}"))
    }
}

/// The status.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) version: &'static str,
    pub(crate) migration: Whose,
    pub(crate) now: Timestamp,
    /// How long ago the target was read; `None` while it does not answer.
    pub(crate) seen_ms: Option<u64>,
    #[serde(flatten)]
    pub(crate) judged: Judged,
    /// The answering process; `None` where no daemon answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<ProcessStatus>,
    /// All processes that live.
    pub(crate) processes: Vec<Process>,
    pub(crate) collections: Vec<Shown>,
    pub(crate) partitions: Vec<PartitionStatus>,
    pub(crate) dead_letters: BTreeMap<String, u64>,
    /// The snapshots, as the leader has reported them.
    pub(crate) snapshots: Vec<Snapshot>,
    /// How far the leader is from the end of the history of the source.
    pub(crate) history: Option<History>,
    /// Whether the reads of each unit may be cut over; the reasons are on their own page.
    pub(crate) cutover: BTreeMap<String, bool>,
    /// Where the reads of each unit go, and what its shadow reads have shown.
    pub(crate) reads: Vec<UnitStatus>,
    /// The replays into other schemas, beside the running migration.
    pub(crate) siblings: Vec<Sibling>,
    /// The last entries of the journal, newest first.
    pub(crate) journal: Vec<Entry>,
}

/// A collection.
#[derive(Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    facts: CollectionFacts,
    /// Estimate of the time that the baseline under way still takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline_seconds_left: Option<u64>,
}

/// A snapshot.
#[derive(Serialize)]
pub(crate) struct Snapshot {
    collection: String,
    /// When the leader reported it.
    reported_at: Option<Timestamp>,
    /// Percentage in the log.
    percent: u64,
    #[serde(flatten)]
    reported: SnapshotStatus,
}

/// The history of the source.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct History {
    /// Seconds between the oldest operation that the source still has and the position of the leader.
    margin_s: u64,
    /// Whether the source still has all of it, so that nothing can be lost yet.
    whole: bool,
}

/// The content of the state that the processes share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) collections: Vec<CollectionFacts>,
    pub(crate) processes: Vec<Process>,
    pub(crate) partitions: Vec<PartitionStatus>,
    pub(crate) dead_letters: BTreeMap<String, u64>,
    pub(crate) snapshots: Vec<Listed>,
    pub(crate) siblings: Vec<Sibling>,
    pub(crate) journal: Vec<Entry>,
}

impl Report {
    /// Makes the report as of now.
    pub(crate) fn new(
        migration: Whose,
        seen_ms: Option<u64>,
        (judged, gates): (Judged, &[Gate]),
        process: Option<ProcessStatus>,
        shared: Shared,
        reads: Vec<UnitStatus>,
    ) -> Self {
        let Shared { collections, processes, partitions, dead_letters, snapshots, siblings, journal } = shared;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            migration,
            now: Timestamp::now(),
            seen_ms,
            judged,
            process,
            history: leader(&processes).and_then(History::of),
            processes,
            collections: collections.into_iter().map(Shown::of).collect(),
            partitions,
            dead_letters,
            snapshots: snapshots.into_iter().filter_map(Snapshot::of).collect(),
            cutover: gates.iter().map(|gate| (gate.unit.clone(), gate.ready)).collect(),
            reads,
            siblings,
            journal,
        }
    }
}

impl Shown {
    fn of(facts: CollectionFacts) -> Self {
        let baseline_seconds_left = facts.proven.baseline_running.as_ref().and_then(Progress::seconds_left);
        Self { facts, baseline_seconds_left }
    }
}

impl Snapshot {
    fn of(listed: Listed) -> Option<Self> {
        let Listed { collection, reported, reported_at, .. } = listed;
        let reported = reported?;
        Some(Self { collection, reported_at, percent: reported.percent(), reported })
    }
}

impl History {
    fn of(led: &Led) -> Option<Self> {
        Some(Self { margin_s: led.margin_s()?, whole: led.whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClusterTime;

    #[test]
    fn the_margin_is_unknown_where_the_oplog_may_not_be_read() {
        let led = Led { position: Some(ClusterTime { t: 100, i: 1 }), ..Led::default() };
        assert_eq!(History::of(&led), None);
        let led = Led { oldest: Some(ClusterTime { t: 40, i: 1 }), ..led };
        assert_eq!(History::of(&led), Some(History { margin_s: 60, whole: false }));
    }
}

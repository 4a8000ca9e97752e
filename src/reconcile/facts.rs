//! The facts that the verdict and the gate judge: about each collection, about the processes, and about the source. Pure.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use crate::{
    control::{
        pauses::Pause,
        processes::Process,
        proven::{Complete, ForeignWrite, Guarded, Pass, ProofRow, Reference, Waits},
        shadow::ShadowRun,
    },
    mapping::target::TableName,
    model::{ClusterTime, Frontier},
};

/// The facts of one collection, as every process sees them. Ages are as of the read, by PostgreSQL's clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct CollectionFacts {
    /// Its name.
    pub(crate) name: String,
    /// Its topic.
    pub(crate) topic: String,
    /// Everything before this is applied, in all partitions.
    pub(crate) watermark: Option<Frontier>,
    /// Wall-clock time as of which the target is complete.
    pub(crate) as_of: Option<Timestamp>,
    /// Age of `as_of`; negative if clocks disagree.
    #[serde(skip)]
    pub(crate) staleness: Option<SignedDuration>,
    /// Whether the snapshot is applied.
    pub(crate) snapshot_complete: bool,
    /// Whether an operator has paused the snapshot.
    pub(crate) snapshot_paused: bool,
    /// The pause in which its changes are not applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) paused: Option<Pause>,
    /// Open dead letters.
    pub(crate) dead_letters: u64,
    /// Parked documents.
    pub(crate) parked: u64,
    /// The proof under the present plan.
    #[serde(flatten)]
    pub(crate) proven: Proven,
    /// Open findings.
    pub(crate) findings: Findings,
    /// When the oldest of them was found.
    pub(crate) findings_since: Option<Timestamp>,
    /// The writes of others into its tables that are not compared again yet.
    pub(crate) foreign_writes: Vec<ForeignWrite>,
    /// Whether others could have written its tables unseen.
    pub(crate) guard: Guard,
    /// The foreign keys of its tables.
    pub(crate) references: Vec<Reference>,
}

/// The proof of a collection under the present plan; empty where nothing is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Proven {
    /// Digest of the plan, in hex; `None` until the plan is known.
    pub(crate) plan: Option<String>,
    /// Whether something was proven under another plan, which does not count.
    pub(crate) under_another_plan: bool,
    /// The last complete baseline.
    pub(crate) baseline: Option<Baseline>,
    /// The baseline under way.
    pub(crate) baseline_running: Option<Progress>,
    /// Why the last complete baseline does not count.
    pub(crate) void_because: Option<String>,
    /// Every change before this is judged.
    pub(crate) verified: Option<Verified>,
    /// Keys that wait to be judged.
    pub(crate) undecided: u64,
    /// The first change of the key that has waited longest.
    pub(crate) undecided_since: Option<ClusterTime>,
    /// Why V does not advance.
    pub(crate) waits_for: Option<Waits>,
    /// Why the baseline does not go on.
    pub(crate) baseline_waits_for: Option<Waits>,
    /// Whether the source has no collection of that name.
    pub(crate) no_such_collection: bool,
}

/// A complete baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Baseline {
    /// Its number.
    pub(crate) pass: i64,
    /// When it began, before its oldest read.
    pub(crate) began_at: Timestamp,
    /// How long ago that is.
    #[serde(rename = "age_ms", serialize_with = "ms")]
    pub(crate) age: Duration,
    /// When it ended.
    pub(crate) ended_at: Timestamp,
    /// Cluster time of its oldest read.
    pub(crate) oldest: Option<ClusterTime>,
    /// Documents compared.
    pub(crate) documents: u64,
}

/// How far a baseline under way has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    /// Its number.
    pub(crate) pass: i64,
    /// How long ago it began.
    #[serde(rename = "age_ms", serialize_with = "ms")]
    pub(crate) age: Duration,
    /// `documents`, `ledger` or `rows`.
    pub(crate) phase: Option<String>,
    /// Documents compared.
    pub(crate) documents: u64,
    /// About how many there are.
    pub(crate) estimate: Option<u64>,
    /// Documents, entries and rows that were read, in all phases.
    pub(crate) work: u64,
    /// About how many it will be at the end.
    pub(crate) expected: Option<u64>,
}

impl Progress {
    /// Estimates the seconds that the pass still takes, all phases together: at the rate so far.
    pub(crate) fn seconds_left(&self) -> Option<u64> {
        let left = self.expected?.saturating_sub(self.work);
        (self.work > 0).then(|| (self.age.as_secs_f64() / self.work as f64 * left as f64) as u64)
    }
}

/// V of a collection: the time up to which every change is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    /// The frontier; exclusive.
    pub(crate) frontier: ClusterTime,
    /// The wall-clock time of which that is true.
    pub(crate) at: Timestamp,
    /// How long ago that is.
    #[serde(rename = "age_ms", serialize_with = "ms")]
    pub(crate) age: Duration,
}

/// Open findings by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Findings {
    /// Documents without rows.
    pub(crate) missing: u64,
    /// Rows without a document.
    pub(crate) extra: u64,
    /// Documents whose rows differ.
    pub(crate) different: u64,
    /// Documents whose version in the ledger is too high.
    pub(crate) version: u64,
    /// Differences that were met beyond the findings that are kept; the next baseline looks at them again.
    pub(crate) left_out: u64,
}

impl Findings {
    /// Returns the number of each kind.
    pub(crate) fn by_kind(&self) -> [(&'static str, u64); 5] {
        let Self { missing, extra, different, version, left_out } = *self;
        [("missing", missing), ("extra", extra), ("different", different), ("version", version), ("left_out", left_out)]
    }

    /// Returns the number of all.
    pub(crate) fn all(&self) -> u64 {
        self.by_kind().into_iter().map(|(_, count)| count).sum()
    }
}

/// Whether others could have written the tables of a collection unseen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Guard {
    /// Tables that are not guarded.
    pub(crate) unguarded: Vec<String>,
    /// Tables whose guard does not hold, with the reason.
    pub(crate) broken: Vec<String>,
    /// For how long all tables have been guarded without a break; `None` if one is not.
    #[serde(rename = "unbroken_ms", serialize_with = "optional_ms")]
    pub(crate) unbroken: Option<Duration>,
}

impl Guard {
    /// The guard of these tables.
    pub(crate) fn of(tables: &[TableName], guarded: &BTreeMap<TableName, Guarded>) -> Self {
        let mut guard = Self::default();
        for table in tables {
            let name = table.label();
            match guarded.get(table) {
                None => guard.unguarded.push(name),
                Some(Guarded { broken: Some(broken), .. }) => guard.broken.push(format!("{name}: {broken}")),
                Some(Guarded { unbroken, .. }) => {
                    guard.unbroken = guard.unbroken.map_or(Some(*unbroken), |youngest| Some(youngest.min(*unbroken)));
                }
            }
        }
        if !(guard.unguarded.is_empty() && guard.broken.is_empty()) {
            guard.unbroken = None;
        }
        guard
    }
}

impl Proven {
    /// Reads a row of `driftless.proof` under this plan.
    pub(crate) fn of(row: Option<&ProofRow>, plan: Option<&[u8; 16]>) -> Self {
        let known = Self { plan: plan.map(hex::encode), ..Self::default() };
        let (Some(row), Some(plan)) = (row, plan) else { return known };
        if row.plan != plan {
            let (waits_for, baseline_waits_for) = (row.waits_for.clone(), row.baseline_waits_for.clone());
            return Self { under_another_plan: true, waits_for, baseline_waits_for, ..known };
        }
        let at = |ms| Timestamp::from_millisecond(ms).unwrap_or_default();
        let baseline = |complete: &Complete| Baseline {
            pass: complete.number,
            began_at: at(complete.began_ms),
            age: complete.age,
            ended_at: at(complete.ended_ms),
            oldest: complete.oldest,
            documents: complete.documents,
        };
        let progress = |pass: &Pass| Progress {
            pass: pass.number,
            age: pass.age,
            phase: pass.phase.clone(),
            documents: pass.documents,
            estimate: pass.estimate,
            work: pass.work,
            expected: pass.expected,
        };
        let verified = |(frontier, (ms, age))| Verified { frontier, at: at(ms), age };
        Self {
            baseline: row.complete.as_ref().map(baseline),
            baseline_running: row.pass.as_ref().map(progress),
            void_because: row.void_because.clone(),
            verified: row.verified.zip(row.verified_at).map(verified),
            undecided: row.undecided,
            undecided_since: row.undecided_since,
            waits_for: row.waits_for.clone(),
            baseline_waits_for: row.baseline_waits_for.clone(),
            no_such_collection: row.no_such_collection,
            ..known
        }
    }
}

impl CollectionFacts {
    /// Returns the same facts, older by `since`.
    #[must_use]
    pub(crate) fn grown_old(mut self, since: Duration) -> Self {
        let signed = SignedDuration::try_from(since).unwrap_or(SignedDuration::MAX);
        self.staleness = self.staleness.map(|staleness| staleness.saturating_add(signed));
        if let Some(baseline) = &mut self.proven.baseline {
            baseline.age += since;
        }
        if let Some(verified) = &mut self.proven.verified {
            verified.age += since;
        }
        self.guard.unbroken = self.guard.unbroken.map(|unbroken| unbroken + since);
        self
    }
}

/// All facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// Whether PostgreSQL has answered lately; otherwise nothing else is known.
    pub(crate) answered: bool,
    /// One entry per mapped collection.
    pub(crate) collections: Vec<CollectionFacts>,
    /// The processes that live.
    pub(crate) processes: Vec<Process>,
    /// The last results of shadow reads.
    pub(crate) shadow: Vec<ShadowRun>,
}

// Whole numbers, so that a file of evidence reads as it was written.
fn ms<S: Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

fn optional_ms<S: Serializer>(age: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match age {
        Some(age) => ms(age, serializer),
        None => serializer.serialize_none(),
    }
}

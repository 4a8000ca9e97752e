//! Everything that keeps a collection from being in sync, or a unit from being ready, each with its next step. Pure.
//!
//! The verdict and the gate judge by the same rules. They differ in bounds: the gate may ask for more.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use super::facts::{CollectionFacts, Facts, Findings, Proven, Verified};
use crate::{
    config::{Config, CutoverConfig, ReconcileConfig, Unit},
    control::{
        processes::{Process, RoleReport},
        proven::{ForeignWrite, Reference, Waits},
    },
    status::{Led, Phase, Role},
};

/// The bounds of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// How old V may be, and a baseline without a guard.
    pub(crate) fresh: Duration,
    /// How old the baseline may be.
    pub(crate) baseline_max_age: Duration,
    /// How stale the target may be.
    pub(crate) max_staleness: Duration,
    /// The bounds that only the gate asks for.
    pub(crate) gate: Option<GateBounds>,
}

/// The bounds of the gate beyond those of the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GateBounds {
    /// How far the leader must be from the end of the oplog.
    pub(crate) oplog_margin: Duration,
}

impl Bounds {
    /// The bounds of the verdict.
    pub(crate) fn of_verdict(config: &Config) -> Self {
        let ReconcileConfig { fresh, baseline_max_age, max_staleness, .. } = config.reconcile;
        Self { fresh, baseline_max_age, max_staleness, gate: None }
    }

    /// The bounds of reads that are cut over.
    pub(crate) fn of_reads(config: &Config, unit: &Unit) -> Self {
        let &Unit { fresh, max_staleness, .. } = unit;
        Self { fresh, baseline_max_age: config.cutover.baseline_max_age, max_staleness, gate: None }
    }

    /// The bounds of the gate: never wider than those of the reads that it lets pass.
    pub(crate) fn of_gate(config: &Config, unit: &Unit) -> Self {
        let CutoverConfig { fresh, oplog_margin, .. } = config.cutover;
        let reads = Self::of_reads(config, unit);
        Self { fresh: fresh.min(reads.fresh), gate: Some(GateBounds { oplog_margin }), ..reads }
    }
}

/// The subject of a blocker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// PostgreSQL does not answer, or no collection is known.
    Unreachable,
    /// A role has halted.
    Halted,
    /// A role stalls, or no process runs it.
    Role,
    /// The leader is too near to the end of the oplog.
    Oplog,
    /// A snapshot is unfinished or paused.
    Snapshot,
    /// The target is not known to be complete now.
    Staleness,
    /// Open findings.
    Drift,
    /// Open dead letters.
    DeadLetters,
    /// Parked documents.
    Parked,
    /// The source has no collection of that name.
    NoSuchCollection,
    /// The mapping has changed since the baseline.
    Mapping,
    /// No baseline counts, or it is too old.
    Baseline,
    /// V is unknown or too old.
    Verified,
    /// V is too old because of keys that cannot be judged yet.
    Undecided,
    /// Somebody else wrote a table, and what was touched is not compared again yet.
    ForeignWrite,
    /// Somebody else could have written a table unseen.
    Guard,
    /// Rows lack their parents, or nobody has looked.
    Orphans,
    /// Queries have different answers, or their answers are not known to be equal.
    Shadow,
}

impl Kind {
    /// Returns whether the blocker is proven inequality.
    pub(crate) fn is_drift(self) -> bool {
        matches!(self, Self::Drift | Self::DeadLetters)
    }

    /// Returns the word that is stored and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Halted => "halted",
            Self::Role => "role",
            Self::Oplog => "oplog",
            Self::Snapshot => "snapshot",
            Self::Staleness => "staleness",
            Self::Drift => "drift",
            Self::DeadLetters => "dead_letters",
            Self::Parked => "parked",
            Self::NoSuchCollection => "no_such_collection",
            Self::Mapping => "mapping",
            Self::Baseline => "baseline",
            Self::Verified => "verified",
            Self::Undecided => "undecided",
            Self::ForeignWrite => "foreign_write",
            Self::Guard => "guard",
            Self::Orphans => "orphans",
            Self::Shadow => "shadow",
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A reason why something is not proven, and the next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Blocker {
    /// The collection; `None` if it concerns all of them.
    pub(crate) collection: Option<String>,
    /// Its subject.
    pub(crate) kind: Kind,
    /// The reason.
    pub(crate) what: String,
    /// The next step.
    pub(crate) next: String,
}

impl Blocker {
    /// Returns the reason with its collection.
    pub(crate) fn reason(&self) -> String {
        match &self.collection {
            Some(collection) => format!("{collection}: {}", self.what),
            None => self.what.clone(),
        }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; next: {}", self.reason(), self.next)
    }
}

/// Finds every blocker: first those of all collections, then those of each.
pub(crate) fn blockers(facts: &Facts, bounds: &Bounds) -> Vec<Blocker> {
    blockers_of(facts, bounds, |_| true)
}

/// Finds every blocker of these collections: first those of all collections, then those of each.
pub(crate) fn blockers_of(facts: &Facts, bounds: &Bounds, concerns: impl Fn(&str) -> bool) -> Vec<Blocker> {
    let mut found = Found { collection: None, blockers: Vec::new() };
    if !facts.answered {
        found.push(
            Kind::Unreachable,
            "PostgreSQL has not answered, or has refused",
            "`driftless status` has the reason; bring it back, or correct `sink.url` and restart",
        );
        return found.blockers;
    }
    for role in Role::ALL {
        found.role(role, &facts.processes);
    }
    if let Some(gate) = &bounds.gate {
        found.oplog(leader(&facts.processes), gate.oplog_margin);
    }
    if facts.collections.is_empty() {
        found.push(Kind::Unreachable, "no collection is known yet", "wait until the target has been read");
    }
    for collection in facts.collections.iter().filter(|collection| concerns(&collection.name)) {
        found.collection = Some(collection.name.clone());
        found.of(collection, bounds);
    }
    found.blockers
}

/// Returns what the leader knows of the source; `None` if no process leads it.
pub(crate) fn leader(processes: &[Process]) -> Option<&Led> {
    processes.iter().find_map(|process| process.roles.get(Role::Source.as_str())?.facts.as_ref())
}

struct Found {
    collection: Option<String>,
    blockers: Vec<Blocker>,
}

impl Found {
    fn push(&mut self, kind: Kind, what: impl Into<String>, next: impl Into<String>) {
        let collection = self.collection.clone();
        self.blockers.push(Blocker { collection, kind, what: what.into(), next: next.into() });
    }

    /// A role must work in at least one process, and wait or have halted in none.
    fn role(&mut self, role: Role, processes: &[Process]) {
        let name = role.as_str();
        let reports: Vec<(&str, &RoleReport)> = processes
            .iter()
            .filter_map(|process| Some((process.instance.as_str(), process.roles.get(name)?)))
            .collect();
        let mut paused = None;
        for (instance, report) in &reports {
            let reason = report.reason.as_deref().unwrap_or("for no known reason");
            match report.phase {
                Phase::Halted => self.push(
                    Kind::Halted,
                    format!("the {name} has halted: {reason}"),
                    report
                        .hint
                        .clone()
                        .unwrap_or_else(|| format!("follow the hint in the status of {instance}, then restart it")),
                ),
                Phase::Stalled => self.push(
                    Kind::Role,
                    format!("the {name} stalls: {reason}"),
                    match &report.hint {
                        Some(hint) => format!("{hint}; it goes on by itself"),
                        None => format!("bring back what {instance} waits for; it goes on by itself"),
                    },
                ),
                // One line for all processes: the pause is of the migration.
                Phase::Paused if paused.is_none() => paused = Some(reason),
                Phase::Starting | Phase::Standby | Phase::Running | Phase::Paused => {}
            }
        }
        if let Some(reason) = paused {
            self.push(Kind::Role, format!("the {name} is {reason}"), format!("`driftless resume --role {name}`"));
        }
        let works = |phase| reports.iter().any(|(_, report)| report.phase == phase);
        if reports.is_empty() {
            let next = format!("start one: `driftless run --role {name}`");
            self.push(Kind::Role, format!("no process runs the {name}"), next);
        } else if ![Phase::Running, Phase::Halted, Phase::Stalled, Phase::Paused].into_iter().any(works) {
            let phase = if works(Phase::Starting) { "is starting" } else { "is on standby in every process" };
            self.push(Kind::Role, format!("the {name} {phase}"), "wait until it runs in one of them");
        }
    }

    fn oplog(&mut self, leader: Option<&Led>, margin: Duration) {
        // Without a leader its role is a blocker already.
        let (Some(leader), false) = (leader, margin.is_zero()) else { return };
        let Some(left) = leader.margin_s().map(Duration::from_secs) else {
            let next = "grant the user the role `read` on `local`, or set `cutover.oplog_margin = \"0s\"`";
            self.push(Kind::Oplog, "it is not known how far the oplog reaches back", next);
            return;
        };
        if left < margin && !leader.whole {
            self.push(
                Kind::Oplog,
                format!(
                    "the leader is {} from the end of the oplog, less than `cutover.oplog_margin` ({})",
                    span(left),
                    span(margin)
                ),
                "make the oplog larger (`replSetResizeOplog`), so that history is not lost when the leader is away",
            );
        }
    }

    fn of(&mut self, facts: &CollectionFacts, bounds: &Bounds) {
        self.snapshot(facts);
        if let Some(pause) = &facts.paused {
            let next = format!("`driftless resume --collection {}`", facts.name);
            self.push(Kind::Staleness, format!("its changes are not applied: {}", pause.text()), next);
        }
        if let Some(text) = incomplete(facts.staleness, bounds.max_staleness) {
            self.push(
                Kind::Staleness,
                text,
                "look for a role that waits, and at `Where it waits` in the dashboard Internals",
            );
        }
        self.drift(facts);
        if facts.proven.no_such_collection {
            let next = "correct its name, or set `may_be_empty = true` in the mapping if that is meant";
            self.push(Kind::NoSuchCollection, "the source has no such collection", next);
        }
        self.baseline(&facts.proven, bounds);
        self.verified(&facts.proven, bounds.fresh);
        for write in &facts.foreign_writes {
            self.foreign_write(write);
        }
        self.guard(facts, bounds.fresh);
        if bounds.gate.is_some() {
            facts.references.iter().for_each(|reference| self.orphans(reference));
        }
    }

    fn snapshot(&mut self, facts: &CollectionFacts) {
        match (facts.snapshot_complete, facts.snapshot_paused) {
            (true, _) => {}
            (false, true) => {
                self.push(
                    Kind::Snapshot,
                    "the snapshot is paused",
                    format!("`driftless snapshot resume {}`", facts.name),
                );
            }
            (false, false) => {
                let next = "wait; `driftless snapshot status` shows the progress";
                self.push(Kind::Snapshot, "the snapshot is not finished", next);
            }
        }
    }

    fn drift(&mut self, facts: &CollectionFacts) {
        let name = &facts.name;
        let findings = &facts.findings;
        if findings.all() > findings.left_out {
            self.push(
                Kind::Drift,
                drifting(findings),
                format!(
                    "`driftless repair --collection {name} --dry-run` lists them and what a repair would do; find the cause first"
                ),
            );
        } else if findings.left_out > 0 {
            self.push(
                Kind::Drift,
                format!("differences beyond the findings that were kept: {}", findings.left_out),
                "wait for the next baseline, which begins by itself and names them",
            );
        }
        if facts.dead_letters > 0 {
            self.push(
                Kind::DeadLetters,
                format!("dead letters open: {}", facts.dead_letters),
                format!("`driftless dlq list --collection {name} --group` shows the reasons"),
            );
        }
        if facts.parked > 0 {
            self.push(
                Kind::Parked,
                format!("documents parked: {}", facts.parked),
                format!("`driftless dlq list --collection {name} --state parked` shows what they wait for"),
            );
        }
    }

    fn baseline(&mut self, proven: &Proven, bounds: &Bounds) {
        let waits = proven.baseline_waits_for.as_ref().or(proven.waits_for.as_ref());
        let hint = proven.baseline_waits_for.as_ref().and_then(|waits| waits.hint.as_ref());
        let next = |otherwise: &str| match (hint, &proven.baseline_running) {
            (Some(hint), _) => hint.clone(),
            (None, Some(running)) => format!(
                "wait: the baseline under way has compared {} documents{}",
                running.documents,
                running.estimate.map(|estimate| format!(" of about {estimate}")).unwrap_or_default()
            ),
            (None, None) => otherwise.to_owned(),
        };
        let comes = "wait for the baseline, which the reconciler begins by itself";
        let (kind, what, next) = match (&proven.baseline, &proven.void_because) {
            (None, _) if proven.under_another_plan => {
                (Kind::Mapping, "the mapping has changed since the baseline".to_owned(), next(comes))
            }
            (None, _) => {
                let what = "not everything has been compared yet under the present mapping";
                (Kind::Baseline, what.to_owned(), next(comes))
            }
            (Some(_), Some(because)) => {
                (Kind::Baseline, format!("the baseline no longer counts: {because}"), next(comes))
            }
            (Some(baseline), None) if baseline.age > bounds.baseline_max_age => {
                let (age, bound) = (span(baseline.age), span(bounds.baseline_max_age));
                let next = next("lower `reconcile.baseline_every`, or raise `reconcile.rate`");
                (Kind::Baseline, format!("the baseline is {age} old, the bound is {bound}"), next)
            }
            // The one that counts grows old meanwhile.
            (Some(_), None) if hint.is_some() => {
                (Kind::Baseline, "the next baseline does not go on".to_owned(), next(comes))
            }
            (Some(_), None) => return,
        };
        self.push(kind, because(what, waits), next);
    }

    fn verified(&mut self, proven: &Proven, fresh: Duration) {
        // Without a complete baseline V says nothing, and that is a blocker already.
        if proven.baseline.is_none() {
            return;
        }
        let (kind, what, next) = match &proven.verified {
            None => {
                let next = "wait until the reconciler has read its change stream";
                (Kind::Verified, "no change has been judged yet".to_owned(), next)
            }
            Some(Verified { age, .. }) if *age > fresh => {
                let what = format!("verified as of {} ago only, the bound is {}", span(*age), span(fresh));
                if proven.undecided > 0 {
                    let what = format!("{what}: documents undecided: {}", proven.undecided);
                    (Kind::Undecided, what, "wait: they are judged again and again until they can be")
                } else {
                    (Kind::Verified, what, "look for a reconciler that waits")
                }
            }
            Some(_) => return,
        };
        let hint = proven.waits_for.as_ref().and_then(|waits| waits.hint.as_deref());
        self.push(kind, because(what, proven.waits_for.as_ref()), hint.unwrap_or(next));
    }

    fn foreign_write(&mut self, write: &ForeignWrite) {
        let ForeignWrite { relation, statements, operation, who, application, at_ms, .. } = write;
        let from = application.as_ref().filter(|name| !name.is_empty());
        let from = from.map(|name| format!(" from {name}")).unwrap_or_default();
        let at = Timestamp::from_millisecond(*at_ms).unwrap_or_default().strftime("%Y-%m-%d %H:%M:%SZ");
        let more = if *statements > 1 { format!(", and {} more", statements - 1) } else { String::new() };
        self.push(
            Kind::ForeignWrite,
            format!("{relation} was written by somebody else: {operation} by {who}{from} at {at}{more}"),
            "find out who writes; the proof counts again once the rows it touched have been compared",
        );
    }

    fn guard(&mut self, facts: &CollectionFacts, fresh: Duration) {
        let Some(baseline) = &facts.proven.baseline else { return };
        // A baseline as fresh as the verdict itself leaves no time for an unseen write.
        if baseline.age <= fresh || facts.guard.unbroken.is_some_and(|unbroken| unbroken >= baseline.age) {
            return;
        }
        let (what, next) = match (&*facts.guard.unguarded, &*facts.guard.broken) {
            ([], []) => (
                "the guard of its tables is younger than the baseline".to_owned(),
                "wait for the next baseline, which begins under the guard",
            ),
            ([], broken) => (
                format!("the guard does not hold: {}", broken.join("; ")),
                "`driftless guard install`, then wait for the next baseline",
            ),
            (tables, _) => (
                format!("others may have written {} unseen since the baseline", tables.join(", ")),
                "`driftless guard install`, then wait for the next baseline",
            ),
        };
        self.push(Kind::Guard, what, next);
    }

    fn orphans(&mut self, reference: &Reference) {
        let Reference { relation, constraint, parent, looked_ms, orphans, waits_for, .. } = reference;
        if looked_ms.is_none() {
            let because = waits_for.as_ref().map(|waits_for| format!(": {waits_for}")).unwrap_or_default();
            let text = format!("nobody has looked yet whether {constraint} of {relation} holds{because}");
            self.push(Kind::Orphans, text, "wait for the reconciler, or run `driftless integrity`");
        } else if *orphans > 0 {
            self.push(
                Kind::Orphans,
                format!("rows of {relation} that lack their parent in {parent} ({constraint}): {orphans}"),
                "`driftless integrity` names them; correct the references in the source",
            );
        }
    }
}

/// Adds why there is no progress, as far as the reconciler has said so.
fn because(what: String, waits: Option<&Waits>) -> String {
    match waits {
        Some(Waits { reason, .. }) => format!("{what}: {reason}"),
        None => what,
    }
}

fn drifting(findings: &Findings) -> String {
    let Findings { missing, extra, different, version, left_out } = findings;
    let version = if *version > 0 { format!(", {version} with a wrong version") } else { String::new() };
    let left_out = if *left_out > 0 { format!(", {left_out} beyond those that are kept") } else { String::new() };
    format!(
        "documents that drift: {} ({missing} missing, {extra} extra, {different} different{version}{left_out})",
        findings.all()
    )
}

/// Returns the reason why it is unknown whether the target is complete now; `None` if it is complete.
fn incomplete(staleness: Option<SignedDuration>, max: Duration) -> Option<String> {
    let Some(staleness) = staleness else {
        return Some(
            "not every partition has been heard of: it is not known how far the target is complete".to_owned(),
        );
    };
    let seconds = staleness.unsigned_abs().as_secs();
    if staleness.unsigned_abs() <= max {
        None
    } else if staleness.is_negative() {
        Some(format!(
            "the target is complete as of {seconds} s in the future: the clock of the source is ahead of PostgreSQL's"
        ))
    } else {
        Some(format!(
            "the target is complete as of {seconds} s ago only: the source, the log or the sink is away or behind"
        ))
    }
}

/// Formats a time span in the unit that suits it.
pub(crate) fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
#[path = "blockers_tests.rs"]
pub(crate) mod tests;

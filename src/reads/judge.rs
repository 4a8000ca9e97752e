//! Judges whether the reads of a unit may stay on PostgreSQL. Pure.
//!
//! The rules are those of the gate. What is proven unequal, or written by others, trips the unit at once. What is only no longer proven
//! trips it when it lasts, because a proof may be renewed the next second. A role that waits, or that no process runs, is no reason by
//! itself: its absence makes V old or the target stale, and both have bounds. An obstacle in spite of which an operator forced the share
//! does not count as long as it lasts.

use std::time::Duration;

use crate::{
    config::{Config, Unit},
    control::reads::UnitRow,
    reconcile::{
        blockers::{Blocker, Bounds, Kind, blockers_of},
        facts::Facts,
    },
};

/// How many reasons a trip names.
const MAX_NAMED: usize = 3;

/// The weight of a blocker against reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// It trips a unit at once.
    AtOnce,
    /// It trips a unit when it lasts.
    WhenItLasts,
    /// It keeps nobody from reading.
    None,
}

fn weight(kind: Kind) -> Weight {
    match kind {
        Kind::Drift | Kind::DeadLetters | Kind::ForeignWrite => Weight::AtOnce,
        Kind::Halted
        | Kind::Snapshot
        | Kind::Staleness
        | Kind::Parked
        | Kind::NoSuchCollection
        | Kind::Mapping
        | Kind::Baseline
        | Kind::Verified
        | Kind::Undecided
        | Kind::Guard => Weight::WhenItLasts,
        Kind::Unreachable | Kind::Role | Kind::Oplog | Kind::Orphans | Kind::Shadow => Weight::None,
    }
}

/// Returns everything that stands against the reads of a unit; `None` if this process cannot judge it.
pub(super) fn against(facts: &Facts, config: &Config, unit: &Unit, row: &UnitRow) -> Option<Vec<Blocker>> {
    let known = |name: &String| facts.collections.iter().any(|of| of.name == *name && of.proven.plan.is_some());
    if !facts.answered || !unit.collections.iter().all(known) {
        return None;
    }
    let mut found = blockers_of(facts, &Bounds::of_reads(config, unit), |name| concerns(unit, name));
    if row.collections != unit.collections {
        found.push(Blocker {
            collection: None,
            kind: Kind::Mapping,
            what: "the collections of the unit have changed since it got its share".to_owned(),
            next: format!("`driftless cutover reads --unit {} --share {}`", unit.name, row.share),
        });
    }
    found.retain(|blocker| weight(blocker.kind) != Weight::None && !row.accepted.contains(&label(blocker)));
    Some(found)
}

/// Returns what an operator accepts who forces a share in spite of these blockers.
pub(crate) fn accepted(blockers: &[Blocker]) -> Vec<String> {
    let mut accepted: Vec<String> = blockers.iter().map(label).collect();
    accepted.dedup();
    accepted
}

/// Returns the accepted obstacles of a unit that have ended: the gate does not name them any more. Facts of this age say nothing about
/// a share that was given after they were read.
pub(super) fn ended(facts: &Facts, age: Duration, config: &Config, unit: &Unit, row: &UnitRow) -> Vec<String> {
    if row.accepted.is_empty() || age >= row.unchanged_for {
        return Vec::new();
    }
    let lasting = accepted(&blockers_of(facts, &Bounds::of_gate(config, unit), |name| concerns(unit, name)));
    row.accepted.iter().filter(|obstacle| !lasting.contains(obstacle)).cloned().collect()
}

fn concerns(unit: &Unit, collection: &str) -> bool {
    unit.collections.iter().any(|name| name == collection)
}

fn label(blocker: &Blocker) -> String {
    format!("{} {}", blocker.collection.as_deref().unwrap_or("*"), blocker.kind.as_str())
}

/// Returns why the unit trips, if something has stood against it for `lasted` without a break.
pub(super) fn trips(against: &[Blocker], lasted: Duration, patience: Duration) -> Option<String> {
    let at_once = |blocker: &&Blocker| weight(blocker.kind) == Weight::AtOnce;
    let waits = lasted < patience && !against.iter().any(|blocker| at_once(&blocker));
    if against.is_empty() || waits {
        return None;
    }
    // The worst come first.
    let ordered = against.iter().filter(at_once).chain(against.iter().filter(|blocker| !at_once(blocker)));
    let reasons: Vec<String> = ordered.take(MAX_NAMED).map(Blocker::reason).collect();
    let more = against.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Some(format!("{}{more}", reasons.join("; ")))
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;

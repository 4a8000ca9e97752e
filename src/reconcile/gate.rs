//! The gate: whether the reads of a unit may be cut over. Pure.
//!
//! A unit is a collection, or `all` of them.

use serde::Serialize;

use super::{
    blockers::{Blocker, Bounds, blockers},
    facts::{Facts, Verified},
};

/// The unit of all collections.
pub(crate) const ALL: &str = "all";

/// The judgement of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Gate {
    /// Its name.
    pub(crate) unit: String,
    /// Its collections.
    pub(crate) collections: Vec<String>,
    /// Whether its reads may be cut over: whether there is no blocker.
    pub(crate) ready: bool,
    /// V: in all its collections, every change before this is judged.
    pub(crate) verified: Option<Verified>,
    /// Everything that stands in the way, with the next steps.
    pub(crate) blockers: Vec<Blocker>,
}

impl Gate {
    /// Returns whether the unit is proven unequal.
    pub(crate) fn drifts(&self) -> bool {
        self.blockers.iter().any(|blocker| blocker.kind.is_drift())
    }
}

/// Judges every unit: each collection, then all of them.
pub(crate) fn judge(facts: &Facts, bounds: &Bounds) -> Vec<Gate> {
    let found = blockers(facts, bounds);
    let names: Vec<String> = facts.collections.iter().map(|collection| collection.name.clone()).collect();
    let each = names.iter().map(|name| (name.clone(), vec![name.clone()]));
    let units = each.chain([(ALL.to_owned(), names.clone())]);
    units.map(|(unit, collections)| gate(unit, collections, facts, &found)).collect()
}

fn gate(unit: String, collections: Vec<String>, facts: &Facts, found: &[Blocker]) -> Gate {
    let concerns = |blocker: &&Blocker| blocker.collection.as_ref().is_none_or(|name| collections.contains(name));
    let blockers: Vec<Blocker> = found.iter().filter(concerns).cloned().collect();
    Gate { ready: blockers.is_empty(), verified: verified(facts, &collections), unit, collections, blockers }
}

/// Returns the lowest V of these collections; `None` if one has none.
pub(crate) fn verified(facts: &Facts, collections: &[String]) -> Option<Verified> {
    let of = facts.collections.iter().filter(|facts| collections.contains(&facts.name));
    let each = of.map(|facts| facts.proven.verified.as_ref());
    each.min_by_key(|verified| verified.map(|verified| verified.frontier)).flatten().cloned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reconcile::blockers::{GateBounds, Kind, tests::ready};

    #[test]
    fn a_unit_is_kept_by_what_concerns_it() {
        let mut facts = ready();
        let mut plans = facts.collections[0].clone();
        plans.name = "plans".to_owned();
        plans.dead_letters = 1;
        plans.proven.verified.as_mut().expect("V").frontier.t -= 1;
        facts.collections.push(plans);
        let hour = Duration::from_secs(3_600);
        let bounds = Bounds {
            fresh: hour,
            baseline_max_age: hour,
            max_staleness: hour,
            gate: Some(GateBounds { oplog_margin: hour }),
        };
        let judged = |facts: &Facts| {
            let of = |gate: Gate| {
                let kinds: Vec<Kind> = gate.blockers.iter().map(|blocker| blocker.kind).collect();
                assert_eq!((gate.ready, gate.drifts()), (kinds.is_empty(), kinds.contains(&Kind::DeadLetters)));
                (gate.unit, kinds, gate.verified.expect("V").frontier.t)
            };
            judge(facts, &bounds).into_iter().map(of).collect::<Vec<_>>()
        };
        let expect = |unit: &str, kinds: &[Kind], verified| (unit.to_owned(), kinds.to_vec(), verified);
        let letters = [Kind::DeadLetters];
        let units = [expect("users", &[], 7_199), expect("plans", &letters, 7_198), expect(ALL, &letters, 7_198)];
        assert_eq!(judged(&facts), units);
        // What concerns all collections keeps each of them.
        facts.processes.clear();
        let roles = [Kind::Role; 3];
        assert!(judged(&facts).iter().all(|(_, kinds, _)| kinds.starts_with(&roles)));
    }
}

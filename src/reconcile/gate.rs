//! The gate: whether the reads of a unit may be cut over. Pure.
//!
//! A unit is a named set of collections, a collection where none is named, or `all` of them.

use serde::Serialize;

use super::{
    blockers::{Blocker, Bounds, blockers_of},
    facts::{Facts, Verified},
    shadow,
};
use crate::config::{Config, ShadowDemand};

/// A unit, with the bounds of its gate.
#[derive(Clone, Debug)]
pub(crate) struct GatedUnit {
    /// Its name.
    pub(crate) name: String,
    /// Its collections.
    pub(crate) collections: Vec<String>,
    /// The bounds.
    pub(crate) bounds: Bounds,
    /// The shadow reads that it demands.
    pub(crate) shadow: Vec<ShadowDemand>,
}

impl GatedUnit {
    /// Returns every unit that the configuration makes out of the mapped collections; the last one is `all`.
    pub(crate) fn all(config: &Config, mapped: &[String]) -> Vec<Self> {
        let units = config.reads.units(mapped).into_iter();
        let gated = units.map(|unit| {
            let bounds = Bounds::of_gate(config, &unit);
            Self { name: unit.name, collections: unit.collections, bounds, shadow: unit.shadow }
        });
        gated.collect()
    }
}

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

/// Judges every unit, in the given order.
pub(crate) fn judge(facts: &Facts, units: &[GatedUnit]) -> Vec<Gate> {
    units.iter().map(|unit| gate(facts, unit)).collect()
}

fn gate(facts: &Facts, unit: &GatedUnit) -> Gate {
    let GatedUnit { name, collections, bounds, shadow } = unit;
    let mut blockers = blockers_of(facts, bounds, |name| collections.iter().any(|of| of == name));
    blockers.extend(shadow::blockers(facts, shadow));
    Gate {
        unit: name.clone(),
        collections: collections.clone(),
        ready: blockers.is_empty(),
        verified: verified(facts, collections),
        blockers,
    }
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
        let unit = |name: &str, of: &[&str]| GatedUnit {
            name: name.to_owned(),
            collections: of.iter().map(|name| (*name).to_owned()).collect(),
            bounds,
            shadow: Vec::new(),
        };
        let units = [unit("users", &["users"]), unit("plans", &["plans"]), unit("both", &["users", "plans"])];
        let judged = |facts: &Facts| {
            let of = |gate: Gate| {
                let kinds: Vec<Kind> = gate.blockers.iter().map(|blocker| blocker.kind).collect();
                assert_eq!((gate.ready, gate.drifts()), (kinds.is_empty(), kinds.contains(&Kind::DeadLetters)));
                (gate.unit, kinds, gate.verified.expect("V").frontier.t)
            };
            judge(facts, &units).into_iter().map(of).collect::<Vec<_>>()
        };
        let expect = |unit: &str, kinds: &[Kind], verified| (unit.to_owned(), kinds.to_vec(), verified);
        let letters = [Kind::DeadLetters];
        let units = [expect("users", &[], 7_199), expect("plans", &letters, 7_198), expect("both", &letters, 7_198)];
        assert_eq!(judged(&facts), units);
        // An obstacle of all collections keeps each of them.
        facts.processes.clear();
        let roles = [Kind::Role; 3];
        assert!(judged(&facts).iter().all(|(_, kinds, _)| kinds.starts_with(&roles)));
    }
}

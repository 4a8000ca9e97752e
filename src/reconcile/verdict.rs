//! Derives from facts the verdict that people act on. Pure.
//!
//! "In sync as of V" needs proof of every collection: a complete baseline that counts, every change before V judged, V a few seconds
//! old, no open finding, and no write of others that could have gone unseen. It also needs a target that is complete *now*: V says
//! nothing about a later change that is not applied yet. Any unknown fact makes the verdict unknown, with the reason.

use serde::Serialize;

use super::{
    blockers::{Bounds, blockers},
    facts::{Facts, Verified},
    gate::verified,
};

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Equality is proven, and the proof is fresh.
    InSync,
    /// Inequality is proven.
    Drift,
    /// Neither is proven.
    Unknown,
}

impl Verdict {
    /// Every verdict.
    pub(crate) const ALL: [Self; 3] = [Self::InSync, Self::Drift, Self::Unknown];

    /// Returns the name used in metrics and reports.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Drift => "drift",
            Self::Unknown => "unknown",
        }
    }
}

/// The blocker of a collection that the source does not have.
pub(crate) const NO_SUCH_COLLECTION: &str = "the source has no such collection: correct its name, or set `may_be_empty = true` in \
     the mapping if that is meant";

/// The verdict and the blockers that keep it from "in sync".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// V: in all collections, every change before this is judged.
    pub verified: Option<Verified>,
    /// The blockers; empty if and only if the verdict is "in sync".
    pub blockers: Vec<String>,
}

/// Judges the facts.
pub(crate) fn judge(facts: &Facts, bounds: &Bounds) -> Judged {
    let blockers = blockers(facts, bounds);
    let verdict = if blockers.iter().any(|blocker| blocker.kind.is_drift()) {
        Verdict::Drift
    } else if blockers.is_empty() {
        Verdict::InSync
    } else {
        Verdict::Unknown
    };
    let names: Vec<String> = facts.collections.iter().map(|collection| collection.name.clone()).collect();
    Judged { verdict, verified: verified(facts, &names), blockers: blockers.iter().map(ToString::to_string).collect() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;
    use crate::reconcile::{blockers::tests::ready, facts::CollectionFacts};

    const BOUNDS: Bounds = Bounds {
        fresh: Duration::from_secs(60),
        baseline_max_age: Duration::from_secs(86_400),
        max_staleness: Duration::from_secs(10),
        gate: None,
    };

    type Change = fn(&mut CollectionFacts);

    #[rstest]
    #[case::proven(|_: &mut CollectionFacts| (), Verdict::InSync)]
    #[case::findings(|users: &mut CollectionFacts| users.findings.extra = 1, Verdict::Drift)]
    #[case::letters(|users: &mut CollectionFacts| users.dead_letters = 1, Verdict::Drift)]
    #[case::drift_whatever_else_is_unknown(
        |users: &mut CollectionFacts| {
            users.findings.version = 1;
            users.proven = Default::default();
        },
        Verdict::Drift
    )]
    #[case::unknown(|users: &mut CollectionFacts| users.proven.baseline = None, Verdict::Unknown)]
    #[case::parked(|users: &mut CollectionFacts| users.parked = 1, Verdict::Unknown)]
    fn follows_from_the_blockers(#[case] change: Change, #[case] verdict: Verdict) {
        let mut facts = ready();
        change(&mut facts.collections[0]);
        let judged = judge(&facts, &BOUNDS);
        assert_eq!(judged.verdict, verdict);
        assert_eq!(judged.blockers.is_empty(), verdict == Verdict::InSync, "{judged:?}");
    }

    #[test]
    fn is_as_of_the_lowest_v() {
        let mut facts = ready();
        let v = |facts: &Facts| judge(facts, &BOUNDS).verified.map(|verified| verified.frontier.t);
        let mut plans = facts.collections[0].clone();
        plans.name = "plans".to_owned();
        plans.proven.verified.as_mut().expect("V").frontier.t -= 5;
        facts.collections.push(plans);
        assert_eq!(v(&facts), Some(7_194));
        facts.collections[1].proven.verified = None;
        assert_eq!(v(&facts), None);
    }
}

//! Derives from facts the verdict that people act on. Pure.
//!
//! "In sync" needs two facts about every collection. The first is a proof: all documents were compared recently, none drifts
//! and none is undecided. The second is that the target is complete *now*: a proof says nothing about a later change that is
//! not applied yet. Any unknown fact makes the verdict unknown, with the reason.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;

use super::proof::{Aged, Evidence};

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

/// The facts of one collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CollectionFacts {
    /// Its name.
    pub(crate) name: String,
    /// Whether its snapshot is applied.
    pub(crate) snapshot_complete: bool,
    /// Time since the target was complete in every partition; negative if clocks disagree, `None` if it never was.
    pub(crate) staleness: Option<SignedDuration>,
    /// The results of passes under the current mapping.
    pub(crate) evidence: Evidence,
    /// Open dead letters.
    pub(crate) dead_letters: u64,
    /// Parked documents.
    pub(crate) parked: u64,
}

/// All facts that decide the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Maximum age of a proof; an older one proves nothing.
    pub(crate) fresh: Duration,
    /// Maximum staleness; above it, it is unknown whether the target is complete.
    pub(crate) max_staleness: Duration,
    /// One entry per mapped collection.
    pub collections: Vec<CollectionFacts>,
    /// Roles that have halted or stall, with the reason.
    pub(crate) troubles: Vec<String>,
}

/// The verdict and the blockers that keep it from "in sync".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// The blockers; empty if and only if the verdict is "in sync".
    pub blockers: Vec<String>,
}

/// Judges the facts.
pub(crate) fn judge(facts: &Facts) -> Judged {
    let mut blockers = facts.troubles.clone();
    let mut drift = false;
    if facts.collections.is_empty() {
        blockers.push("no collection is known yet".to_owned());
    }
    for collection in &facts.collections {
        let name = &collection.name;
        let mut block = |text: String| blockers.push(format!("{name}: {text}"));
        if !collection.snapshot_complete {
            block("the snapshot is not finished".to_owned());
        }
        if let Some(text) = incomplete(collection.staleness, facts.max_staleness) {
            block(text);
        }
        if collection.dead_letters > 0 {
            drift = true;
            block(format!("dead letters open: {}", collection.dead_letters));
        }
        if collection.parked > 0 {
            block(format!("documents parked: {}", collection.parked));
        }
        let Some(Aged { proof, age }) = collection.evidence.found() else {
            block("nothing has been compared yet under the present mapping".to_owned());
            continue;
        };
        if proof.drift() > 0 {
            drift = true;
            block(format!(
                "documents that drift: {} ({} missing, {} extra, {} different)",
                proof.drift(),
                proof.missing,
                proof.extra,
                proof.different
            ));
        }
        if proof.undecided > 0 {
            block(format!("documents undecided: {}", proof.undecided));
        }
        if proof.no_such_collection {
            block(NO_SUCH_COLLECTION.to_owned());
        }
        if !proof.full {
            block(format!("only a sample of {} documents was compared", proof.documents));
        }
        if *age > facts.fresh {
            block(format!("the proof is {} s old", age.as_secs()));
        }
    }
    let verdict = match (drift, blockers.is_empty()) {
        (true, _) => Verdict::Drift,
        (false, true) => Verdict::InSync,
        (false, false) => Verdict::Unknown,
    };
    Judged { verdict, blockers }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::proof::Proof;

    fn proven() -> Facts {
        let proof = Proof { full: true, documents: 10, ..Proof::default() };
        Facts {
            fresh: Duration::from_secs(60),
            max_staleness: Duration::from_secs(10),
            collections: vec![CollectionFacts {
                name: "users".to_owned(),
                snapshot_complete: true,
                staleness: Some(SignedDuration::from_secs(1)),
                evidence: Evidence::new([Aged { proof, age: Duration::from_secs(60) }]),
                dead_letters: 0,
                parked: 0,
            }],
            troubles: Vec::new(),
        }
    }

    fn verdict(change: impl FnOnce(&mut Facts, &mut CollectionFacts)) -> Verdict {
        let mut facts = proven();
        let mut users = facts.collections.remove(0);
        change(&mut facts, &mut users);
        facts.collections.push(users);
        let judged = judge(&facts);
        assert_eq!(judged.blockers.is_empty(), judged.verdict == Verdict::InSync, "{judged:?}");
        judged.verdict
    }

    fn proof(users: &mut CollectionFacts) -> &mut Proof {
        &mut users.evidence.full.as_mut().expect("a proof").proof
    }

    fn sample(change: Proof) -> Aged {
        Aged { proof: Proof { documents: 5, ..change }, age: Duration::from_secs(1) }
    }

    #[test]
    fn in_sync_needs_a_full_fresh_clean_proof_of_everything() {
        assert_eq!(verdict(|_, _| ()), Verdict::InSync);
        assert_eq!(verdict(|_, users| users.evidence.full = None), Verdict::Unknown);
        assert_eq!(verdict(|_, users| users.snapshot_complete = false), Verdict::Unknown);
        assert_eq!(verdict(|_, users| users.parked = 1), Verdict::Unknown);
        assert_eq!(verdict(|_, users| proof(users).undecided = 1), Verdict::Unknown);
        assert_eq!(verdict(|_, users| proof(users).no_such_collection = true), Verdict::Unknown);
        assert_eq!(verdict(|facts, _| facts.fresh = Duration::from_secs(59)), Verdict::Unknown);
        assert_eq!(verdict(|facts, _| facts.troubles.push("the source has halted".to_owned())), Verdict::Unknown);
        assert_eq!(judge(&Facts { collections: Vec::new(), ..proven() }).verdict, Verdict::Unknown);
    }

    #[test]
    fn in_sync_needs_a_target_that_is_complete_now() {
        for (seconds, expected) in [
            (0, Verdict::InSync),
            (10, Verdict::InSync),
            (11, Verdict::Unknown),
            (-10, Verdict::InSync),
            // A source clock that is ahead would make the target look fresh for that long after its leader is gone.
            (-11, Verdict::Unknown),
        ] {
            assert_eq!(verdict(|_, users| users.staleness = Some(SignedDuration::from_secs(seconds))), expected);
        }
        assert_eq!(verdict(|_, users| users.staleness = None), Verdict::Unknown);
    }

    #[test]
    fn a_sample_proves_drift_and_never_equality() {
        let clean = || sample(Proof::default());
        let dirty = || sample(Proof { missing: 1, ..Proof::default() });
        let with = |sample: Aged| {
            verdict(|_, users| users.evidence = Evidence::new(users.evidence.full.take().into_iter().chain([sample])))
        };
        assert_eq!(with(clean()), Verdict::InSync);
        assert_eq!(with(dirty()), Verdict::Drift);
        assert_eq!(verdict(|_, users| users.evidence = Evidence::new([clean()])), Verdict::Unknown);
        assert_eq!(verdict(|_, users| users.evidence = Evidence::new([dirty()])), Verdict::Drift);
        let remains = |_: &mut Facts, users: &mut CollectionFacts| {
            proof(users).different = 3;
            users.evidence.sample = Some(clean());
        };
        assert_eq!(verdict(remains), Verdict::Drift, "a clean sample takes no drift back");
    }

    #[test]
    fn proven_inequality_is_drift_whatever_else_is_unknown() {
        assert_eq!(verdict(|_, users| proof(users).missing = 1), Verdict::Drift);
        assert_eq!(verdict(|_, users| proof(users).extra = 1), Verdict::Drift);
        assert_eq!(verdict(|_, users| proof(users).different = 1), Verdict::Drift);
        assert_eq!(verdict(|_, users| users.dead_letters = 1), Verdict::Drift);
        assert_eq!(
            verdict(|_, users| {
                proof(users).missing = 1;
                proof(users).undecided = 5;
            }),
            Verdict::Drift
        );
    }
}

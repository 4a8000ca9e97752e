//! From facts to the one word that people act on. Pure.
//!
//! "In sync" needs two things of every collection. A proof: all documents compared, none drifting, none undecided, and fresh.
//! And that the target is complete *now*: a proof says nothing about a change that has not been applied since. What is not
//! known is said to be unknown, with the reason; it never looks like the good case.
//!
//! A sample proves drift, never equality. So a full proof holds until its age ends it or a later pass finds more, and is not
//! replaced by a clean sample.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Proven equal, freshly.
    InSync,
    /// Proven unequal.
    Drift,
    /// Neither is proven.
    Unknown,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 3] = [Self::InSync, Self::Drift, Self::Unknown];

    /// The name used in metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Drift => "drift",
            Self::Unknown => "unknown",
        }
    }
}

/// What a pass found in one collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Since when it speaks: before the first read of the pass, by PostgreSQL's clock where the result is stored.
    pub at: Timestamp,
    /// Whether every document of both sides was compared, not a sample.
    pub full: bool,
    /// Documents compared.
    pub documents: u64,
    /// Documents without rows.
    pub missing: u64,
    /// Rows without a document.
    pub extra: u64,
    /// Documents whose rows differ.
    pub different: u64,
    /// Documents that could not be judged.
    pub undecided: u64,
    /// Whether the source has no such collection and never had a document of it, as far as is known: then empty is not equal.
    pub no_such_collection: bool,
}

impl Proof {
    /// Documents proven unequal.
    pub fn drift(&self) -> u64 {
        self.missing + self.extra + self.different
    }

    /// Whether everything was compared and is equal.
    pub fn is_equal(&self) -> bool {
        self.full && self.drift() == 0 && self.undecided == 0 && !self.no_such_collection
    }
}

/// A proof and its age, which one clock has measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Aged {
    /// The proof.
    #[serde(flatten)]
    pub proof: Proof,
    /// How long ago its pass began.
    #[serde(skip)]
    pub age: Duration,
}

/// What the passes over one collection have shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The last pass that compared everything.
    pub full: Option<Aged>,
    /// The last sample, if that was later.
    pub sample: Option<Aged>,
}

impl Evidence {
    /// The numbers that hold: those of the full pass, unless a later sample has found more drift.
    pub fn found(&self) -> Option<&Aged> {
        match (&self.full, &self.sample) {
            (Some(full), Some(sample)) if sample.proof.drift() <= full.proof.drift() => Some(full),
            (full, sample) => sample.as_ref().or(full.as_ref()),
        }
    }

    /// The same, so much later.
    #[must_use]
    pub fn grown_old(self, since: Duration) -> Self {
        let older = |aged: Option<Aged>| aged.map(|aged| Aged { age: aged.age + since, ..aged });
        Self { full: older(self.full), sample: older(self.sample) }
    }

    /// The pass that read last, of whichever kind.
    pub fn last(&self) -> Option<&Aged> {
        self.sample.as_ref().or(self.full.as_ref())
    }
}

/// What keeps a collection that the source does not have from being proven.
pub const NO_SUCH_COLLECTION: &str = "the source has no such collection: correct its name, or set `may_be_empty = true` in \
     the mapping if that is meant";

/// What is known of one collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionFacts {
    /// Its name.
    pub name: String,
    /// Whether its snapshot is applied.
    pub snapshot_complete: bool,
    /// How long ago the target was complete, in every partition; below zero where clocks disagree. `None`: it never was.
    pub staleness: Option<SignedDuration>,
    /// What was found under the present mapping.
    pub evidence: Evidence,
    /// Open dead letters.
    pub dead_letters: u64,
    /// Parked documents.
    pub parked: u64,
}

/// Everything the verdict rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Age above which a proof proves nothing.
    pub fresh: Duration,
    /// Staleness above which nobody knows whether the target is complete.
    pub max_staleness: Duration,
    /// One entry per mapped collection.
    pub collections: Vec<CollectionFacts>,
    /// Roles that have halted or wait for something, with the reason.
    pub troubles: Vec<String>,
}

/// The verdict and what stands between it and "in sync".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The word.
    pub verdict: Verdict,
    /// Empty exactly when in sync.
    pub blockers: Vec<String>,
}

/// Judges the facts.
pub fn judge(facts: &Facts) -> Judged {
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

/// Why nobody knows whether the target is complete now.
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

    fn proven() -> Facts {
        let proof = Proof { full: true, documents: 10, ..Proof::default() };
        Facts {
            fresh: Duration::from_secs(60),
            max_staleness: Duration::from_secs(10),
            collections: vec![CollectionFacts {
                name: "users".to_owned(),
                snapshot_complete: true,
                staleness: Some(SignedDuration::from_secs(1)),
                evidence: Evidence { full: Some(Aged { proof, age: Duration::from_secs(60) }), sample: None },
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

    fn sample(change: Proof) -> Option<Aged> {
        Some(Aged { proof: Proof { documents: 5, ..change }, age: Duration::from_secs(1) })
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
            // A clock that is ahead would keep a leader that is gone fresh for as long.
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
        assert_eq!(verdict(|_, users| users.evidence.sample = clean()), Verdict::InSync);
        assert_eq!(verdict(|_, users| users.evidence.sample = dirty()), Verdict::Drift);
        assert_eq!(verdict(|_, users| users.evidence = Evidence { full: None, sample: clean() }), Verdict::Unknown);
        assert_eq!(verdict(|_, users| users.evidence = Evidence { full: None, sample: dirty() }), Verdict::Drift);
        let remains = |_: &mut Facts, users: &mut CollectionFacts| {
            proof(users).different = 3;
            users.evidence.sample = clean();
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

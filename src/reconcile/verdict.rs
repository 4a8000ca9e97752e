//! From facts to the one word that people act on. Pure.
//!
//! "In sync" needs a proof for every collection: all documents compared, none drifting, none undecided, and fresh. What is
//! not known is said to be unknown, with the reason; it never looks like the good case.

use std::time::Duration;

use jiff::Timestamp;
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
    /// When the pass ended.
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
}

impl Proof {
    /// Documents proven unequal.
    pub fn drift(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

/// What is known of one collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionFacts {
    /// Its name.
    pub name: String,
    /// Whether its snapshot is applied.
    pub snapshot_complete: bool,
    /// The last pass.
    pub proof: Option<Proof>,
    /// Open dead letters.
    pub dead_letters: u64,
    /// Parked documents.
    pub parked: u64,
}

/// Everything the verdict rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Now.
    pub now: Timestamp,
    /// Age above which a proof proves nothing.
    pub fresh: Duration,
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
        if collection.dead_letters > 0 {
            drift = true;
            block(format!("dead letters open: {}", collection.dead_letters));
        }
        if collection.parked > 0 {
            block(format!("documents parked: {}", collection.parked));
        }
        let Some(proof) = &collection.proof else {
            block("nothing has been compared yet".to_owned());
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
        if !proof.full {
            block(format!("only a sample of {} documents was compared", proof.documents));
        }
        let age = Duration::try_from(facts.now.duration_since(proof.at)).unwrap_or(Duration::ZERO);
        if age > facts.fresh {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn proven() -> Facts {
        let now = Timestamp::from_second(1_000).expect("a time");
        let proof = Proof { at: now, full: true, documents: 10, ..Proof::default() };
        Facts {
            now,
            fresh: Duration::from_secs(60),
            collections: vec![CollectionFacts {
                name: "users".to_owned(),
                snapshot_complete: true,
                proof: Some(proof),
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
        users.proof.as_mut().expect("a proof")
    }

    #[test]
    fn in_sync_needs_a_full_fresh_clean_proof_of_everything() {
        assert_eq!(verdict(|_, _| ()), Verdict::InSync);
        assert_eq!(verdict(|_, users| users.proof = None), Verdict::Unknown);
        assert_eq!(verdict(|_, users| users.snapshot_complete = false), Verdict::Unknown);
        assert_eq!(verdict(|_, users| users.parked = 1), Verdict::Unknown);
        assert_eq!(verdict(|_, users| proof(users).full = false), Verdict::Unknown);
        assert_eq!(verdict(|_, users| proof(users).undecided = 1), Verdict::Unknown);
        assert_eq!(verdict(|facts, _| facts.now = Timestamp::from_second(1_061).expect("a time")), Verdict::Unknown);
        assert_eq!(verdict(|facts, _| facts.troubles.push("the source has halted".to_owned())), Verdict::Unknown);
        assert_eq!(judge(&Facts { collections: Vec::new(), ..proven() }).verdict, Verdict::Unknown);
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

//! The evidence that passes over a collection give. Pure.
//!
//! A sample proves drift, never equality. So the result of a full pass applies until it is too old or a later pass finds more
//! drift; a clean sample does not replace it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

/// The result of a pass over one collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Proof {
    /// Start of the pass, before its first read; by PostgreSQL's clock if the result is stored.
    pub at: Timestamp,
    /// Whether every document of both sides was compared, not only a sample.
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
    /// Whether the source has no such collection and, as far as is known, never had a document in it: then empty is not equal.
    pub no_such_collection: bool,
}

impl Proof {
    /// Returns the number of documents that are proven unequal.
    pub(crate) fn drift(&self) -> u64 {
        self.missing + self.extra + self.different
    }

    /// Returns whether everything was compared and is equal.
    pub(crate) fn is_equal(&self) -> bool {
        self.full && self.drift() == 0 && self.undecided == 0 && !self.no_such_collection
    }
}

/// A proof and its age, measured by a single clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Aged {
    /// The proof.
    #[serde(flatten)]
    pub proof: Proof,
    /// Time since the pass began.
    #[serde(skip)]
    pub age: Duration,
}

/// The results of the passes over one collection that count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Evidence {
    /// The last pass that compared everything.
    pub full: Option<Aged>,
    /// The last sample, if it is later than the full pass.
    pub sample: Option<Aged>,
    /// The last sample that found drift, if it is later than the full pass. Samples after it may have missed the documents.
    pub drifting_sample: Option<Aged>,
}

impl Evidence {
    /// Chooses the evidence from the results of passes, given in any order.
    pub(crate) fn new(results: impl IntoIterator<Item = Aged>) -> Self {
        let (full, samples): (Vec<_>, Vec<_>) = results.into_iter().partition(|aged| aged.proof.full);
        let full = youngest(full);
        let later = |sample: &Aged| full.as_ref().is_none_or(|full| sample.age < full.age);
        let samples: Vec<_> = samples.into_iter().filter(later).collect();
        let drifting_sample = youngest(samples.iter().filter(|sample| sample.proof.drift() > 0).cloned());
        Self { sample: youngest(samples), drifting_sample, full }
    }

    /// Returns the numbers that apply: those of the full pass, unless a later sample has found more drift.
    pub(crate) fn found(&self) -> Option<&Aged> {
        match (&self.full, self.drifting_sample.as_ref().or(self.sample.as_ref())) {
            (Some(full), Some(sample)) if sample.proof.drift() <= full.proof.drift() => Some(full),
            (full, sample) => sample.or(full.as_ref()),
        }
    }

    /// Returns the same evidence, older by `since`.
    #[must_use]
    pub(crate) fn grown_old(self, since: Duration) -> Self {
        let older = |aged: Option<Aged>| aged.map(|aged| Aged { age: aged.age + since, ..aged });
        let Self { full, sample, drifting_sample } = self;
        Self { full: older(full), sample: older(sample), drifting_sample: older(drifting_sample) }
    }

    /// Returns the latest pass, full or sample.
    pub(crate) fn last(&self) -> Option<&Aged> {
        self.sample.as_ref().or(self.full.as_ref())
    }
}

fn youngest(results: impl IntoIterator<Item = Aged>) -> Option<Aged> {
    results.into_iter().min_by_key(|aged| aged.age)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(full: bool, drift: u64, age: u64) -> Aged {
        Aged { proof: Proof { full, different: drift, ..Proof::default() }, age: Duration::from_secs(age) }
    }

    #[test]
    fn the_numbers_that_hold_are_of_the_last_full_pass_or_of_a_sample_that_found_more() {
        let found = |results: &[Aged]| Evidence::new(results.to_vec()).found().cloned();
        let (full, clean) = (result(true, 0, 30), result(false, 0, 10));
        assert_eq!(found(&[]), None);
        assert_eq!(found(std::slice::from_ref(&clean)), Some(clean.clone()));
        assert_eq!(found(&[clean.clone(), full.clone()]), Some(full.clone()), "a clean sample replaces no proof");
        let drift = result(false, 1, 20);
        assert_eq!(found(&[full.clone(), drift.clone()]), Some(drift.clone()));
        let missed = [full.clone(), drift.clone(), clean.clone()];
        assert_eq!(found(&missed), Some(drift.clone()), "a later sample may have missed the documents");
        assert_eq!(found(&[drift.clone(), clean.clone()]), Some(drift.clone()), "with or without a full pass");
        let again = result(true, 0, 5);
        assert_eq!(found(&[full.clone(), drift.clone(), clean.clone(), again.clone()]), Some(again));
        let worse = result(true, 3, 30);
        assert_eq!(found(&[worse.clone(), drift, clean.clone()]), Some(worse), "a sample can only find a part");
        assert_eq!(Evidence::new(missed).last(), Some(&clean));
    }
}

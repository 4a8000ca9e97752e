//! The result of a pass over one collection. Pure. A sample proves drift, never equality.

use jiff::Timestamp;
use serde::Serialize;

/// The result of a pass over one collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Proof {
    /// Start of the pass, before its first read, by this machine's clock.
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

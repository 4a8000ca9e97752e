//! The documents of a batch that the ledger lets through.

use super::{Prepared, plan::Document};

/// A document that is to be written.
#[derive(Clone, Copy)]
pub(super) struct Winner<'a> {
    /// The document.
    pub(super) document: &'a Document,
    /// Whether the ledger did not know it, so that it has no rows to remove; never of a repair, which trusts no ledger.
    pub(super) fresh: bool,
    /// Where its root row is before the change.
    pub(super) previous_root: PreviousRoot,
}

/// Where a document's root row is, before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PreviousRoot {
    /// It has none.
    Nowhere,
    /// In this root table of its collection.
    In(usize),
    /// Unknown, so all root tables are searched: the ledger did not know the document, or what it says is under repair, or the
    /// plan no longer names the table.
    Anywhere,
}

impl PreviousRoot {
    pub(super) fn new(prepared: &Prepared, collection: usize, relation: Option<i32>) -> Self {
        match relation {
            None => Self::Nowhere,
            Some(relation) => prepared.root_named(collection, relation).map_or(Self::Anywhere, Self::In),
        }
    }

    /// Whether it may be in that root table.
    pub(super) fn may_be(self, root: usize) -> bool {
        match self {
            Self::Nowhere => false,
            Self::In(known) => known == root,
            Self::Anywhere => true,
        }
    }
}

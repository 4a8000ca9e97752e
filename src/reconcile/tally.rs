//! The judgements of a pass so far. Pure.

use std::collections::BTreeMap;

use bson::raw::RawDocumentBuf;

use super::{examine::Examined, judgement::Judgement};
use crate::{
    model::{ClusterTime, Key},
    target::DocumentId,
};

/// The judgements of a pass; a later judgement of a document replaces an earlier one.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Cluster time of the newest read.
    pub(super) as_of: ClusterTime,
    /// Documents that are equal.
    pub(super) matched: u64,
    /// Documents that drift.
    pub(super) drifting: BTreeMap<Key, Examined>,
    /// Documents that must be read again, with their `{_id: …}` if it is known.
    pub(super) undecided: BTreeMap<Key, Option<RawDocumentBuf>>,
}

impl Tally {
    /// Adds the judgements of documents that were read at `read_at`.
    pub(super) fn take(&mut self, read_at: ClusterTime, examined: Vec<Examined>) {
        self.as_of = self.as_of.max(read_at);
        for examined in examined {
            let key = &examined.document.key;
            self.undecided.remove(key);
            match examined.judgement {
                Judgement::Match => {
                    self.matched += 1;
                    self.drifting.remove(key);
                }
                // Neither side has the document, so it is not counted.
                Judgement::Absent => drop(self.drifting.remove(key)),
                Judgement::Undecided => drop(self.undecided.insert(examined.document.key, examined.document.id)),
                Judgement::Missing | Judgement::Extra | Judgement::Different(_) | Judgement::Version => {
                    self.drifting.insert(key.clone(), examined);
                }
            }
        }
    }

    /// Returns the documents that may have rows although the ledger has no entry of them.
    pub(super) fn without_entry(&self) -> Vec<DocumentId> {
        let missing = self.drifting.values().filter(|examined| examined.entry.is_none());
        let missing = missing.map(|examined| examined.document.clone());
        let undecided = self.undecided.iter().map(|(key, id)| DocumentId { key: key.clone(), id: id.clone() });
        missing.chain(undecided).collect()
    }

    /// Returns the `{_id: …}` of the undecided documents that can be read again from the source.
    pub(super) fn to_ask_again(&self) -> Vec<RawDocumentBuf> {
        self.undecided.values().flatten().cloned().collect()
    }

    /// Returns whether the pass met no document on either side.
    pub(super) fn is_empty(&self) -> bool {
        self.matched == 0 && self.drifting.is_empty() && self.undecided.is_empty()
    }
}

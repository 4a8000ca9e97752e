//! What a pass has found so far. Pure.

use std::collections::BTreeMap;

use bson::raw::RawDocumentBuf;

use super::{examine::Examined, judgement::Judgement};
use crate::model::{ClusterTime, Key};

/// The judgements of a pass; a later one of the same document replaces an earlier one.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Cluster time of the newest read.
    pub(super) as_of: ClusterTime,
    /// Documents that are equal.
    pub(super) matched: u64,
    /// Documents that drift.
    pub(super) drifting: BTreeMap<Key, Examined>,
    /// Documents that have to be read again, with their `{_id: …}` where that is known.
    pub(super) undecided: BTreeMap<Key, Option<RawDocumentBuf>>,
}

impl Tally {
    /// Takes the judgements of documents that were read at `read_at`.
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
                // It is no document of either side, and is not counted as one.
                Judgement::Absent => drop(self.drifting.remove(key)),
                Judgement::Undecided => drop(self.undecided.insert(examined.document.key, examined.document.id)),
                Judgement::Missing | Judgement::Extra | Judgement::Different(_) => {
                    self.drifting.insert(key.clone(), examined);
                }
            }
        }
    }

    /// The `{_id: …}` of the undecided documents for which the source can be asked again.
    pub(super) fn to_ask_again(&self) -> Vec<RawDocumentBuf> {
        self.undecided.values().flatten().cloned().collect()
    }

    /// Whether no document was met on either side.
    pub(super) fn is_empty(&self) -> bool {
        self.matched == 0 && self.drifting.is_empty() && self.undecided.is_empty()
    }
}

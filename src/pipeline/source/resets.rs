//! Versions in the ledger that were never published, and the changes that replace them. Pure.
//!
//! A version of the ledger may be wrong: every later change of its document would lose against it. A repair says which version that
//! is, and the term compares it with the read's `not_before`: everything that was ever published lies at or before that, so a
//! version beyond it is nobody's. From the beginning of the read to its release, every change of such a document names the wrong
//! version: the reading, and whatever the stream gives. The merge drops the reading of a document that the stream changes
//! meanwhile; the change that it drops it for carries the word then.

use std::collections::HashMap;

use crate::{
    model::{Change, Key, Version},
    source::Ticket,
};

/// The reads under way that found such versions.
#[derive(Debug, Default)]
pub(super) struct Resets {
    reads: Vec<(Ticket, String, HashMap<Key, Version>)>,
}

impl Resets {
    /// A read begins; `known` are versions that the ledger held before. Those that may have been published are none of ours.
    pub(super) fn begin(&mut self, ticket: Ticket, epoch: u32, collection: &str, mut known: HashMap<Key, Version>) {
        let newest = Version::snapshot(epoch, ticket.not_before);
        known.retain(|_, version| *version > newest);
        if !known.is_empty() {
            self.reads.push((ticket, collection.to_owned(), known));
        }
    }

    /// Names the wrong versions in the changes that replace them.
    pub(super) fn name(&self, changes: &mut [Change]) {
        for (_, collection, known) in &self.reads {
            for change in changes.iter_mut().filter(|change| *change.namespace.collection == **collection) {
                change.replaces = known.get(&change.key).copied().or(change.replaces);
            }
        }
    }

    /// The read is released, or given up.
    pub(super) fn end(&mut self, ticket: Ticket) {
        self.reads.retain(|(of, ..)| *of != ticket);
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::{
        model::{ClusterTime, Namespace, Op},
        source::{Merge, deletes},
    };

    const EPOCH: u32 = 2;

    fn at(t: u32) -> ClusterTime {
        ClusterTime { t, i: 1 }
    }

    fn change(id: i32) -> Change {
        let ids = vec![rawdoc! { "_id": id }];
        deletes(&Namespace::new("shop", "orders"), EPOCH, at(50), ids).remove(0)
    }

    #[test]
    fn a_version_beyond_everything_published_is_replaced_until_the_read_ends() {
        let ticket = Merge::<()>::new(EPOCH, at(40)).begin("orders", None);
        let published = Version { epoch: EPOCH, time: at(40), op: 9 };
        let ahead = Version { epoch: EPOCH, time: at(41), op: 0 };
        let of_another = Version { epoch: EPOCH + 1, time: at(1), op: 0 };
        let known = [(1, published), (2, ahead), (3, of_another)];
        let known = known.into_iter().map(|(id, version)| (change(id).key, version)).collect();
        let mut resets = Resets::default();
        resets.begin(ticket, EPOCH, "orders", known);
        let replaced = |resets: &Resets, collection: &str| {
            let mut changes = [1, 2, 3, 4].map(change);
            changes.iter_mut().for_each(|change| change.namespace = Namespace::new("shop", collection));
            resets.name(&mut changes);
            assert!(changes.iter().all(|change| change.op == Op::Delete));
            changes.map(|change| change.replaces)
        };
        assert_eq!(replaced(&resets, "orders"), [None, Some(ahead), Some(of_another), None]);
        assert_eq!(replaced(&resets, "others"), [None; 4]);
        resets.end(ticket);
        assert_eq!(replaced(&resets, "orders"), [None; 4]);
    }
}

//! The findings of the passes over one collection so far: which drift is new, and which went away without a cause. Pure.

use std::collections::HashMap;

use crate::{
    model::Key,
    reconcile::{Drifting, Report},
    target::Entry,
};

/// Documents remembered for a collection: a wrong mapping makes every one of them drift.
const MAX_KNOWN: usize = 10_000;

/// The findings of earlier passes.
#[derive(Debug, Default)]
pub(super) struct Known {
    drifting: HashMap<Key, Drifting>,
    /// Missing, extra and different documents of the last pass over everything.
    counts: [u64; 3],
}

impl Known {
    /// Documents that drifted and do not any more. Only a pass over everything can say so.
    pub(super) fn gone(&self, report: &Report) -> Vec<Key> {
        let gone = |key: &&Key| report.proof.full && !report.drifting.contains_key(*key);
        self.drifting.keys().filter(gone).cloned().collect()
    }

    /// Those of them that went without a cause. A cause is a change that was applied since, be it a newer one, a retry or a
    /// replay of the same; and of a dead letter any decision, for it says nothing of rows.
    pub(super) fn healed<'a>(&self, gone: &'a [Key], entries: &HashMap<Key, Entry>) -> Vec<&'a Key> {
        let causeless = |key: &&Key| {
            let now = entries.get(*key).map(|entry| (entry.version, entry.applied));
            self.drifting.get(*key).is_some_and(|was| !was.refused && was.entry == now)
        };
        gone.iter().filter(causeless).collect()
    }

    /// Takes a report in. Gives the documents that did not drift before, in the order of their keys; `None` when the report says
    /// nothing new at all.
    pub(super) fn take(&mut self, report: &Report) -> Option<Vec<Key>> {
        let mut new: Vec<Key> =
            report.drifting.keys().filter(|key| !self.drifting.contains_key(*key)).cloned().collect();
        new.sort_unstable();
        let proof = &report.proof;
        let mut changed = false;
        if proof.full {
            // A sample can say neither how much there is nor what is gone.
            let counts = [proof.missing, proof.extra, proof.different];
            changed = std::mem::replace(&mut self.counts, counts) != counts;
            self.drifting.clear();
        }
        let room = MAX_KNOWN.saturating_sub(self.drifting.len());
        self.drifting.extend(report.drifting.iter().take(room).map(|(key, drifting)| (key.clone(), *drifting)));
        (changed || !new.is_empty()).then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::{
        model::{ClusterTime, Version},
        reconcile::proof::Proof,
    };

    fn key(id: i32) -> Key {
        Key::from_id(&rawdoc! { "_id": id }).expect("a key")
    }

    fn version(i: u32) -> Version {
        Version { epoch: 1, time: ClusterTime { t: 1, i }, op: 0 }
    }

    fn entry(i: u32, applied: i64) -> Entry {
        Entry { version: version(i), deleted: false, upper: version(i).time, applied }
    }

    fn report(full: bool, ids: &[i32], refused: bool) -> Report {
        let drifting = ids.iter().map(|id| (key(*id), Drifting { entry: Some((version(1), 10)), refused })).collect();
        Report {
            collection: "users".to_owned(),
            proof: Proof { full, different: ids.len() as u64, ..Proof::default() },
            as_of: ClusterTime::default(),
            took: std::time::Duration::ZERO,
            findings: Vec::new(),
            findings_left_out: 0,
            drifting,
        }
    }

    #[test]
    fn only_what_was_not_known_is_news() {
        let mut known = Known::default();
        let mut news = |full, ids: &[i32]| known.take(&report(full, ids, false));
        assert_eq!(news(true, &[]), None);
        assert_eq!(news(true, &[2, 1]), Some(vec![key(1), key(2)]));
        assert_eq!(news(true, &[1, 2]), None);
        assert_eq!(news(false, &[1]), None, "a sample that meets one of them again");
        assert_eq!(news(true, &[2]), Some(vec![]), "fewer than before");
        assert_eq!(news(true, &[1, 2]), Some(vec![key(1)]));
        assert_eq!(news(true, &[]), Some(vec![]));
    }

    #[test]
    fn drift_that_ends_is_a_fault_only_where_nothing_was_applied() {
        let healed = |refused, entry: Option<Entry>| {
            let mut known = Known::default();
            known.take(&report(true, &[1], refused));
            let gone = known.gone(&report(true, &[], false));
            assert_eq!(gone, [key(1)]);
            let entries = entry.map(|entry| (key(1), entry)).into_iter().collect();
            known.healed(&gone, &entries).len()
        };
        assert_eq!(healed(false, Some(entry(1, 10))), 1);
        assert_eq!(healed(false, Some(entry(2, 11))), 0, "a newer version");
        assert_eq!(healed(false, Some(entry(1, 11))), 0, "the same version, applied again");
        assert_eq!(healed(true, Some(entry(1, 10))), 0, "a dead letter that was given up");
        let mut known = Known::default();
        known.take(&report(true, &[1], false));
        assert_eq!(known.gone(&report(false, &[], false)), [], "a sample cannot say what is gone");
    }
}

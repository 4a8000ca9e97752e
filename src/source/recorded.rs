//! The changes that the stream gives for a collection while reads of it are under way. Pure.
//!
//! It is recorded once for all reads of a collection, in windows: each `begin` opens one, and a read looks at those since its
//! own. Windows before the oldest read under way are forgotten. So a change costs the same however many reads there are, and
//! costs nothing while the collection is not being read.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::model::{Change, Key, Version};

/// The windows of the collections that are being read.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    windows: HashMap<Arc<str>, VecDeque<Window>>,
}

/// The changes given between the start of one read and that of the next.
#[derive(Debug, Default)]
struct Window {
    /// The read that opened it.
    opened_by: u64,
    /// Highest version by key.
    versions: HashMap<Key, Version>,
    /// Everything at or below was voided by a truncating control.
    voided: Option<Version>,
}

impl Recorded {
    /// A read begins; reads have ascending numbers.
    pub(super) fn begin(&mut self, collection: Arc<str>, read: u64) {
        let windows = self.windows.entry(collection).or_default();
        match windows.back_mut() {
            // A window that is still empty serves two reads.
            Some(last) if last.versions.is_empty() && last.voided.is_none() => last.opened_by = read,
            _ => windows.push_back(Window { opened_by: read, ..Window::default() }),
        }
    }

    /// A change is given.
    pub(super) fn change(&mut self, change: &Change) {
        if let Some(last) = self.last(&change.namespace.collection) {
            let highest = last.versions.entry(change.key.clone()).or_insert(change.version);
            *highest = change.version.max(*highest);
        }
    }

    /// A truncating control voids everything at or below its version.
    pub(super) fn void(&mut self, collection: &str, version: Version) {
        if let Some(last) = self.last(collection) {
            last.voided = last.voided.max(Some(version));
        }
    }

    /// Removes the rows of a read, all of the same version, for which something newer was given since it began.
    pub(super) fn retain_newest(&self, collection: &str, read: u64, version: Version, rows: &mut Vec<Change>) {
        let windows = self.windows.get(collection).into_iter().flatten();
        let since: Vec<&Window> = windows.filter(|window| window.opened_by >= read).collect();
        if since.iter().any(|window| window.voided >= Some(version)) {
            rows.clear();
        }
        let newer =
            |key: &Key| since.iter().any(|window| window.versions.get(key).is_some_and(|given| *given > version));
        rows.retain(|row| !newer(&row.key));
    }

    /// Forgets the windows before the oldest read of the collection that is still under way.
    pub(super) fn forget(&mut self, collection: &str, oldest: Option<u64>) {
        match (oldest, self.windows.get_mut(collection)) {
            (Some(oldest), Some(windows)) => {
                while windows.front().is_some_and(|window| window.opened_by < oldest) {
                    windows.pop_front();
                }
            }
            _ => drop(self.windows.remove(collection)),
        }
    }

    /// Whether nothing is recorded: no collection is being read.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// How many keys are recorded for a collection.
    #[cfg(test)]
    pub(super) fn keys(&self, collection: &str) -> usize {
        self.windows.get(collection).into_iter().flatten().map(|window| window.versions.len()).sum()
    }

    /// Where to record what is given for a collection; nowhere while it is not read.
    fn last(&mut self, collection: &str) -> Option<&mut Window> {
        self.windows.get_mut(collection)?.back_mut()
    }
}

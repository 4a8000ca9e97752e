//! Keys of one collection that have changed and are not judged yet, and what follows from them. Pure.
//!
//! ```text
//!             since ............ newest              W covers `since`: the key is due
//!  ──────────────┼──────┼──┼───────┼──────────▶      judged before a bound: `since` moves up to it
//!   all judged   └ changes of the key                `newest` is before the bound: the key is gone
//! ```
//! A key is in the set once, however often it has changed. Of its changes the oldest that is not judged counts, which holds the
//! frontier of the proof (V) and the token back, and the newest, which says when the key is done with. The changes between them
//! are not known, so after a judgement `since` is the bound of what was judged, which no later change precedes.
//!
//! [`Marks`] says what belongs to a bound: the token behind which every key is judged, or the moment as of which V holds.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use bson::raw::RawDocumentBuf;
use tokio::time::Instant;

use crate::{
    model::{ClusterTime, Frontier, Key},
    target::DocumentId,
};

/// Bytes of memory that a key takes beside its own: the entry of the map, and its share of the table.
const KEY_OVERHEAD: usize = 160;

/// A key that waits.
#[derive(Clone, Debug)]
struct Waiting {
    id: Option<RawDocumentBuf>,
    /// Every change before this is judged.
    since: ClusterTime,
    newest: ClusterTime,
    /// Since when judgements of it have been undecided.
    undecided: Option<Instant>,
    /// Whether it is stored, so that it need not be given again.
    stored: bool,
}

/// The keys of one collection that wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    keys: HashMap<Key, Waiting>,
    bytes: usize,
}

/// The outcome of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The key no longer waits; `stored` says whether it was stored.
    Done { stored: bool, was_undecided: bool },
    /// It has changed again, at or behind the bound.
    Waits { was_undecided: bool },
    /// It did not wait.
    Unknown,
}

fn size(key: &Key, id: Option<&RawDocumentBuf>) -> usize {
    KEY_OVERHEAD + key.as_bytes().len() + id.map_or(0, |id| id.as_bytes().len())
}

impl Pending {
    /// A document has changed, or is to be judged as if it had.
    pub(super) fn insert(&mut self, document: DocumentId, time: ClusterTime) {
        let DocumentId { key, id } = document;
        match self.keys.entry(key) {
            Entry::Occupied(mut waiting) => {
                let waiting = waiting.get_mut();
                waiting.since = waiting.since.min(time);
                waiting.newest = waiting.newest.max(time);
            }
            Entry::Vacant(vacant) => {
                self.bytes += size(vacant.key(), id.as_ref());
                vacant.insert(Waiting { id, since: time, newest: time, undecided: None, stored: false });
            }
        }
    }

    /// A document that was stored waits again, after a restart. It may have changed since, up to and at `newest`, and those changes
    /// are not given again.
    pub(super) fn restore(&mut self, document: DocumentId, since: ClusterTime, newest: ClusterTime) {
        let key = document.key.clone();
        self.insert(document.clone(), since);
        self.insert(document, newest);
        if let Some(waiting) = self.keys.get_mut(&key) {
            waiting.stored = true;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of the keys in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest change happened that is not judged.
    pub(super) fn oldest(&self) -> Option<ClusterTime> {
        self.keys.values().map(|waiting| waiting.since).min()
    }

    /// The same of keys that are not stored: a stream that begins behind this need not give any other.
    pub(super) fn oldest_not_stored(&self) -> Option<ClusterTime> {
        self.keys.values().filter(|waiting| !waiting.stored).map(|waiting| waiting.since).min()
    }

    /// Everything before this is judged, if everything before `reached` was given.
    pub(super) fn verified(&self, reached: Frontier) -> Frontier {
        self.oldest().map_or(reached, |oldest| reached.min(Frontier(oldest)))
    }

    /// The keys that have a change at or before `time`, at most `limit` of them, those that have waited longest first.
    pub(super) fn due(&self, time: ClusterTime, limit: usize) -> Vec<DocumentId> {
        let mut due: Vec<_> = self.keys.iter().filter(|(_, waiting)| waiting.since <= time).collect();
        if due.len() > limit && limit > 0 {
            due.select_nth_unstable_by_key(limit - 1, |(_, waiting)| waiting.since);
        }
        due.truncate(limit);
        due.into_iter().map(|(key, waiting)| DocumentId { key: key.clone(), id: waiting.id.clone() }).collect()
    }

    /// A judgement covers every change of the key before `bound`.
    pub(super) fn judged(&mut self, key: &Key, bound: Frontier) -> Fate {
        let Some(waiting) = self.keys.get_mut(key) else { return Fate::Unknown };
        if bound.0 <= waiting.since {
            return Fate::Waits { was_undecided: false };
        }
        let was_undecided = waiting.undecided.take().is_some();
        waiting.since = bound.0;
        if !bound.covers(waiting.newest) {
            return Fate::Waits { was_undecided };
        }
        let stored = waiting.stored;
        self.bytes -= size(key, waiting.id.as_ref());
        self.keys.remove(key);
        Fate::Done { stored, was_undecided }
    }

    /// A judgement was undecided.
    pub(super) fn undecided(&mut self, key: &Key, now: Instant) {
        if let Some(waiting) = self.keys.get_mut(key) {
            waiting.undecided.get_or_insert(now);
        }
    }

    /// The keys that judgements have left undecided.
    pub(super) fn undecided_keys(&self) -> usize {
        self.keys.values().filter(|waiting| waiting.undecided.is_some()).count()
    }

    /// Keys that have been undecided since `before` or longer and are not stored, each with the time from which it is not judged.
    /// They count as stored from now on.
    pub(super) fn mark_stored(&mut self, before: Instant) -> Vec<(DocumentId, ClusterTime)> {
        let long = |waiting: &Waiting| !waiting.stored && waiting.undecided.is_some_and(|since| since <= before);
        let waiting = self.keys.iter_mut().filter(|(_, waiting)| long(waiting));
        let store = waiting.map(|(key, waiting)| {
            waiting.stored = true;
            (DocumentId { key: key.clone(), id: waiting.id.clone() }, waiting.since)
        });
        store.collect()
    }
}

/// Values along the cluster time; the newest one at or before a bound counts.
#[derive(Debug)]
pub(super) struct Marks<T>(VecDeque<(ClusterTime, T)>);

/// Marks that are kept; of more, every other one is dropped, so that older ones are only less precise.
const MAX_MARKS: usize = 1_000;

impl<T> Default for Marks<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Marks<T> {
    /// Adds the value that belongs to `time`, which is not before that of the last one. Where they are equal, the new value counts.
    pub(super) fn add(&mut self, time: ClusterTime, value: T) {
        self.0.pop_back_if(|(last, _)| *last == time);
        self.0.push_back((time, value));
        if self.0.len() > MAX_MARKS {
            let mut number = 0;
            self.0.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
    }

    /// The time of the last value.
    pub(super) fn last(&self) -> Option<ClusterTime> {
        self.0.back().map(|(time, _)| *time)
    }

    /// The newest value at or before the bound.
    pub(super) fn at(&self, bound: ClusterTime) -> Option<&T> {
        let after = self.0.partition_point(|(time, _)| *time <= bound);
        Some(&self.0.get(after.checked_sub(1)?)?.1)
    }

    /// Forgets what no bound at or behind this one needs.
    pub(super) fn forget_before(&mut self, bound: ClusterTime) {
        let after = self.0.partition_point(|(time, _)| *time <= bound);
        self.0.drain(..after.saturating_sub(1));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use bson::rawdoc;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// An instant.
    pub(in crate::reconcile) fn at(i: u32) -> ClusterTime {
        ClusterTime { t: 100, i }
    }

    /// The document with this `_id`.
    pub(in crate::reconcile) fn document(id: i32) -> DocumentId {
        let id = rawdoc! { "_id": id };
        DocumentId { key: Key::from_id(&id).expect("a key"), id: Some(id) }
    }

    #[test]
    fn a_key_waits_until_its_newest_change_is_judged() {
        let mut pending = Pending::default();
        let reached = Frontier(at(50));
        assert_eq!(pending.verified(reached), reached, "no key waits");
        pending.insert(document(1), at(10));
        pending.insert(document(1), at(20));
        assert_eq!((pending.len(), pending.verified(reached)), (1, Frontier(at(10))));
        assert_eq!(pending.due(at(9), 10), []);
        assert_eq!(pending.due(at(10), 10), [document(1)]);
        let key = document(1).key;
        assert_eq!(pending.judged(&key, Frontier(at(20))), Fate::Waits { was_undecided: false });
        assert_eq!(pending.verified(reached), Frontier(at(20)), "the change at the bound is not judged");
        pending.undecided(&key, Instant::now());
        assert_eq!(pending.judged(&key, Frontier(at(21))), Fate::Done { stored: false, was_undecided: true });
        assert_eq!((pending.len(), pending.bytes(), pending.verified(reached)), (0, 0, reached));
        assert_eq!(pending.judged(&key, Frontier(at(30))), Fate::Unknown);
    }

    #[test]
    fn the_keys_that_have_waited_longest_come_first() {
        let mut pending = Pending::default();
        for id in 0..10 {
            pending.insert(document(id), at(100 - u32::try_from(id).expect("small")));
        }
        let mut due = pending.due(at(98), 3);
        due.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(due, [document(7), document(8), document(9)]);
        assert_eq!(pending.due(at(98), 100).len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_stays_undecided_is_stored_once_and_holds_no_token_back() {
        let mut pending = Pending::default();
        pending.insert(document(1), at(10));
        pending.insert(document(2), at(15));
        let began = Instant::now();
        pending.undecided(&document(1).key, began);
        tokio::time::advance(Duration::from_secs(1)).await;
        pending.undecided(&document(1).key, Instant::now());
        assert_eq!(pending.mark_stored(began), [(document(1), at(10))]);
        assert_eq!(pending.mark_stored(Instant::now()), []);
        assert_eq!((pending.oldest(), pending.oldest_not_stored()), (Some(at(10)), Some(at(15))));
        assert_eq!(pending.undecided_keys(), 1);
        let done = pending.judged(&document(1).key, Frontier(at(11)));
        assert_eq!(done, Fate::Done { stored: true, was_undecided: true });
    }

    #[test]
    fn the_newest_mark_at_or_before_a_bound_counts() {
        let mut marks = Marks::default();
        assert_eq!(marks.at(at(9)), None);
        for i in [1, 5, 9] {
            marks.add(at(i), i);
        }
        marks.add(at(9), 10);
        assert_eq!(
            [0, 1, 4, 5, 8, 9, 99].map(|i| marks.at(at(i)).copied()),
            [None, Some(1), Some(1), Some(5), Some(5), Some(10), Some(10)]
        );
        marks.forget_before(at(6));
        assert_eq!((marks.at(at(4)), marks.at(at(6))), (None, Some(&5)));
        for i in 10..10_000 {
            marks.add(at(i), i);
        }
        assert!(marks.0.len() <= MAX_MARKS);
        let told = marks.at(at(5_000)).copied().expect("a mark");
        assert!((5..=5_000).contains(&told), "older, never newer");
    }

    /// Against a model that keeps every change: no change before V is unjudged, and V waits for nothing else for long.
    #[test]
    fn no_change_before_the_frontier_is_unjudged() {
        for seed in 0..200 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (mut pending, mut now) = (Pending::default(), 1);
            let mut changes: BTreeMap<i32, Vec<ClusterTime>> = BTreeMap::new();
            for _ in 0..300 {
                let id = rng.random_range(0..8);
                if rng.random_bool(0.6) {
                    now += rng.random_range(0..3);
                    pending.insert(document(id), at(now));
                    changes.entry(id).or_default().push(at(now));
                } else {
                    let bound = Frontier(at(rng.random_range(0..=now + 1)));
                    pending.judged(&document(id).key, bound);
                    changes.entry(id).or_default().retain(|time| !bound.covers(*time));
                }
                let unjudged = changes.values().flatten().min();
                let verified = pending.verified(Frontier(at(now)));
                assert!(unjudged.is_none_or(|time| !verified.covers(*time)), "seed {seed}: {verified} {unjudged:?}");
                let waiting = changes.values().filter(|times| !times.is_empty()).count();
                assert_eq!(pending.len(), waiting, "seed {seed}");
            }
            for id in 0..8 {
                pending.judged(&document(id).key, Frontier(at(now + 1)));
            }
            assert_eq!((pending.len(), pending.bytes()), (0, 0), "seed {seed}");
        }
    }
}

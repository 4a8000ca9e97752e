//! The chunks that are left, and the reader of each: shared by the readers and by the term that controls them. No I/O.
//!
//! ```text
//!   collections in order:   users   ├── read ──▶ busy ┼── read ──▶ busy ┼── free ─────────┤
//!                           plans   ├── not cut yet ────────────────────────────────────┤   paused: skipped
//! ```
//! A reader takes the first free part, reads one chunk of it and frees it again, so a pause, another run or a limit takes effect
//! within a chunk. A part has at most one reader, so its chunks arrive in order. The part of a reader that dies is never freed,
//! so the snapshot ends with that reader.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::chunk_sizer::{ChunkSizer, Rate};
use crate::{
    config::SourceConfig,
    model::{ClusterTime, Frontier, SnapshotState, SnapshotStep},
    source::{Limits, reader::Range},
};

/// A task for a reader.
#[derive(Debug, PartialEq)]
pub(super) enum Task {
    /// Cut this collection into parts.
    Cut(SnapshotState),
    /// Read a chunk.
    Read(ChunkTask),
}

/// A chunk to read.
#[derive(Debug, PartialEq)]
pub(super) struct ChunkTask {
    pub(super) collection: String,
    pub(super) run: u64,
    pub(super) part: usize,
    pub(super) range: Range,
    pub(super) limits: Limits,
    /// Approximate size of the chunk in bytes.
    pub(super) bytes: usize,
    /// Cluster time of the read before it, or of the start of the run; this chunk must not be older.
    pub(super) not_before: ClusterTime,
}

/// Gives tasks to readers, which wait here for one.
#[derive(Debug)]
pub(super) struct SnapshotScheduler {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    /// The collections by name, which is also their order.
    collections: BTreeMap<String, CollectionSnapshot>,
    rate: Rate,
    /// The reasons why no chunk begins now: the stream lags, or the term holds the readers back.
    stream_lags: Option<String>,
    held_back: Option<String>,
    frontier: Frontier,
    /// Bounds of every chunk.
    limits: Limits,
    chunk_time: Duration,
}

/// A collection that is being read.
#[derive(Debug)]
struct CollectionSnapshot {
    /// The progress of the reads; the log may not have all of it yet.
    state: SnapshotState,
    cutting: bool,
    busy: Vec<bool>,
    read_at: Vec<ClusterTime>,
    sizer: ChunkSizer,
}

impl SnapshotScheduler {
    pub(super) fn new(config: &SourceConfig) -> Self {
        let rate = Rate::new(config.snapshot_rate, config.snapshot_bytes_rate.as_u64(), Instant::now());
        let bytes = usize::try_from(config.chunk_bytes.as_u64()).unwrap_or(usize::MAX);
        let mut limits = Limits { documents: config.chunk_documents, bytes };
        // No chunk may use up more than a second of a rate, or the reads would come in bursts.
        if let Ok(rate @ 1..) = usize::try_from(config.snapshot_rate) {
            limits.documents = limits.documents.min(rate);
        }
        let inner = Inner {
            collections: BTreeMap::new(),
            rate,
            stream_lags: None,
            held_back: None,
            frontier: Frontier::default(),
            limits,
            chunk_time: config.chunk_time,
        };
        Self { inner: Mutex::new(inner), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No change of the state panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changed.notify_waiters();
        changed
    }

    /// Adds a collection; replaces an earlier run of it.
    pub(super) fn put(&self, state: SnapshotState) {
        self.change(|inner| {
            let sizer = ChunkSizer::new(inner.limits, inner.chunk_time);
            let parts = state.parts.len();
            let (busy, read_at) = (vec![false; parts], vec![state.since; parts]);
            let snapshot = CollectionSnapshot { cutting: false, busy, read_at, sizer, state };
            inner.collections.insert(snapshot.state.collection.clone(), snapshot);
        });
    }

    /// Pauses or resumes a collection.
    pub(super) fn pause(&self, collection: &str, paused: bool) {
        self.change(|inner| {
            if let Some(snapshot) = inner.collections.get_mut(collection) {
                snapshot.state.paused = paused;
            }
        });
    }

    /// Holds chunks back while there is a reason.
    pub(super) fn hold_back(&self, reason: Option<String>) {
        self.change(|inner| inner.held_back = reason);
    }

    /// Records that the stream has reached this frontier.
    pub(super) fn stream_reached(&self, frontier: Frontier) {
        self.lock().frontier = frontier;
    }

    /// Compares the stream with the source's own time; holds chunks back while it lags by more than `max_lag`.
    pub(super) fn source_reached(&self, now: ClusterTime, max_lag: Duration) {
        self.change(|inner| {
            let behind = u64::from(now.t.saturating_sub(inner.frontier.0.t));
            // The lag is unknown until the stream has reported its position.
            if inner.frontier == Frontier::default() {
                return;
            }
            let reason = || format!("the stream is {behind} s behind the source");
            inner.stream_lags = (behind > max_lag.as_secs()).then(reason);
        });
    }

    /// Returns the reason why no chunk begins; `None` while chunks are not held back.
    pub(super) fn held_back(&self) -> Option<String> {
        let inner = self.lock();
        inner.stream_lags.clone().or_else(|| inner.held_back.clone())
    }

    /// Returns whether anything is left to read that is not paused.
    pub(super) fn has_work(&self) -> bool {
        self.lock().collections.values().any(|snapshot| !snapshot.state.done() && !snapshot.state.paused)
    }

    /// Waits for a task. Cancel-safe: a task that was not taken stays.
    pub(super) async fn take(&self) -> Task {
        loop {
            let changed = self.changed.notified();
            let (task, wait) = self.lock().next(Instant::now());
            if let Some(task) = task {
                return task;
            }
            match wait {
                Some(wait) => drop(tokio::time::timeout(wait, changed).await),
                None => changed.await,
            }
        }
    }

    /// Returns the limits of a collection's next chunk, as of now.
    pub(super) fn limits(&self, collection: &str) -> Limits {
        let inner = self.lock();
        inner.collections.get(collection).map_or(inner.limits, |snapshot| snapshot.sizer.limits())
    }

    /// Shrinks the chunks of a collection after the server could not keep the instant of one long enough.
    pub(super) fn shrink(&self, collection: &str) {
        if let Some(snapshot) = self.lock().collections.get_mut(collection) {
            snapshot.sizer.shrink();
        }
    }

    /// Records the parts into which a collection was cut.
    pub(super) fn cut(&self, state: &SnapshotState) {
        self.change(|inner| {
            if let Some(snapshot) =
                inner.collections.get_mut(&state.collection).filter(|snapshot| snapshot.state.run == state.run)
            {
                snapshot.state.parts.clone_from(&state.parts);
                snapshot.busy = vec![false; state.parts.len()];
                snapshot.read_at = vec![state.since; state.parts.len()];
            }
        });
    }

    /// Records that a chunk was read, and frees its part.
    pub(super) fn read(&self, step: &SnapshotStep, read_at: ClusterTime, took: Duration) {
        let (documents, bytes) = (step.documents as usize, step.bytes as usize);
        self.change(|inner| {
            inner.rate.spend(documents, bytes, Instant::now());
            let Some(snapshot) = inner.collections.get_mut(&step.collection) else { return };
            if snapshot.state.advance(step) {
                snapshot.busy[step.part] = false;
                snapshot.read_at[step.part] = read_at;
                snapshot.sizer.learn(documents, bytes, took);
            }
        });
    }
}

impl Inner {
    /// Returns the next task, or the minimum wait for one; neither if only a change can bring one.
    fn next(&mut self, now: Instant) -> (Option<Task>, Option<Duration>) {
        if self.stream_lags.is_some() || self.held_back.is_some() {
            return (None, None);
        }
        let wait = self.rate.wait(now);
        if !wait.is_zero() {
            return (None, Some(wait));
        }
        (self.collections.values_mut().find_map(CollectionSnapshot::next), None)
    }
}

impl CollectionSnapshot {
    fn next(&mut self) -> Option<Task> {
        if self.state.paused {
            return None;
        }
        if self.state.parts.is_empty() {
            let cut = !std::mem::replace(&mut self.cutting, true);
            return cut.then(|| Task::Cut(self.state.clone()));
        }
        let part = (0..self.busy.len()).find(|part| !self.busy[*part] && !self.state.parts[*part].done)?;
        self.busy[part] = true;
        let range = Range {
            from: self.state.start_of(part).map(ToOwned::to_owned),
            after: self.state.parts[part].after.clone(),
            until: self.state.parts[part].until.clone(),
        };
        Some(Task::Read(ChunkTask {
            collection: self.state.collection.clone(),
            run: self.state.run,
            part,
            range,
            limits: self.sizer.limits(),
            bytes: self.sizer.bytes(),
            not_before: self.read_at[part],
        }))
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use futures_util::FutureExt;

    use super::*;

    fn scheduler(settings: &str) -> SnapshotScheduler {
        SnapshotScheduler::new(&toml::from_str(settings).expect("settings"))
    }

    fn state(collection: &str, run: u64, cuts: &[i32]) -> SnapshotState {
        let mut state = SnapshotState::new(collection, 1, run);
        state.cut(cuts.iter().map(|id| rawdoc! { "_id": *id }).collect());
        state
    }

    fn taken(scheduler: &SnapshotScheduler) -> Option<ChunkTask> {
        scheduler.take().now_or_never().map(|task| match task {
            Task::Read(task) => task,
            Task::Cut(state) => panic!("cut {}", state.collection),
        })
    }

    fn place(scheduler: &SnapshotScheduler) -> Option<(String, usize)> {
        taken(scheduler).map(|task| (task.collection, task.part))
    }

    fn step(collection: &str, run: u64, part: usize, done: bool) -> SnapshotStep {
        let (from, after) = (None, Some(rawdoc! { "_id": 1 }));
        SnapshotStep { collection: collection.to_owned(), run, part, from, after, done, documents: 1, bytes: 10 }
    }

    const AT: ClusterTime = ClusterTime { t: 9, i: 1 };

    #[test]
    fn parts_are_given_out_in_order_and_once() {
        let scheduler = self::scheduler("");
        scheduler.put(state("b", 0, &[]));
        scheduler.put(state("a", 0, &[5]));
        let first = taken(&scheduler).expect("a part");
        assert_eq!((first.part, first.range.until), (0, Some(rawdoc! { "_id": 5 })));
        assert_eq!(place(&scheduler), Some(("a".to_owned(), 1)));
        assert_eq!(place(&scheduler), Some(("b".to_owned(), 0)));
        assert_eq!(place(&scheduler), None);
        scheduler.read(&step("a", 0, 0, false), AT, Duration::from_millis(1));
        let again = taken(&scheduler).expect("the rest of it");
        assert_eq!((again.part, again.range.after, again.not_before), (0, Some(rawdoc! { "_id": 1 }), AT));
        scheduler.read(&step("a", 0, 1, true), AT, Duration::from_millis(1));
        assert_eq!(place(&scheduler), None, "a part that is done is not read again");
    }

    #[test]
    fn a_collection_is_cut_once() {
        let scheduler = self::scheduler("");
        scheduler.put(SnapshotState::new("a", 1, 0));
        let Some(Task::Cut(mut cut)) = scheduler.take().now_or_never() else { panic!("nothing to cut") };
        assert_eq!(place(&scheduler), None);
        cut.cut(vec![rawdoc! { "_id": 5 }]);
        scheduler.cut(&SnapshotState { run: 7, ..cut.clone() });
        assert_eq!(place(&scheduler), None, "parts of another run");
        scheduler.cut(&cut);
        assert_eq!(place(&scheduler), Some(("a".to_owned(), 0)));
    }

    #[test]
    fn another_run_takes_the_place_of_one_under_way() {
        let scheduler = self::scheduler("");
        scheduler.put(state("a", 0, &[]));
        assert!(taken(&scheduler).is_some());
        scheduler.put(state("a", 1, &[]));
        scheduler.read(&step("a", 0, 0, true), AT, Duration::from_millis(1));
        let again = taken(&scheduler).expect("from the beginning");
        assert_eq!((again.run, again.range.after), (1, None));
        assert!(scheduler.has_work());
        scheduler.read(&step("a", 1, 0, true), AT, Duration::from_millis(1));
        assert!(!scheduler.has_work());
    }

    #[test]
    fn what_is_paused_or_held_back_is_not_given_out() {
        let scheduler = self::scheduler("");
        scheduler.put(SnapshotState { paused: true, ..state("a", 0, &[]) });
        assert!(place(&scheduler).is_none() && !scheduler.has_work());
        scheduler.pause("a", false);
        scheduler.hold_back(Some("the sink is behind".to_owned()));
        scheduler.stream_reached(Frontier(ClusterTime { t: 100, i: 1 }));
        for (now, reason) in [(105, "the sink is behind"), (111, "the stream is 11 s behind the source")] {
            scheduler.source_reached(ClusterTime { t: now, i: 1 }, Duration::from_secs(10));
            assert_eq!(scheduler.held_back().as_deref(), Some(reason));
            assert_eq!(place(&scheduler), None);
        }
        scheduler.stream_reached(Frontier(ClusterTime { t: 111, i: 1 }));
        scheduler.source_reached(ClusterTime { t: 111, i: 1 }, Duration::from_secs(10));
        scheduler.hold_back(None);
        assert!(scheduler.held_back().is_none() && place(&scheduler).is_some());
    }

    #[tokio::test]
    async fn a_rate_makes_the_next_chunk_wait() {
        let scheduler = self::scheduler("snapshot_rate = 2");
        scheduler.put(state("a", 0, &[5]));
        let first = taken(&scheduler).expect("a part");
        assert_eq!(first.limits.documents, 2, "no chunk is larger than a second of the rate");
        scheduler.read(&SnapshotStep { documents: 100, ..step("a", 0, 0, false) }, AT, Duration::from_millis(1));
        assert_eq!(place(&scheduler), None);
    }
}

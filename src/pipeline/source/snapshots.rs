//! The snapshots of a term: how far each is in the log, what operators ask for, and what holds them back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    removal::{Remains, RemovalItem, Removals},
    role::SourceRole,
    snapshot_lines::SnapshotLines,
};
use crate::{
    control::snapshots::SnapshotRequests,
    log::StoredState,
    model::{ClusterTime, Frontier, SnapshotState, SnapshotStep},
    pipeline::{Error, Overview},
    source::{Position, Snapshot, SnapshotItem},
};

/// How often the lag of the sink is compared and all lines are renewed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// A message of the snapshot's tasks.
pub(super) enum Item {
    Snapshot(SnapshotItem),
    Removal(RemovalItem),
}

/// The snapshots of a term.
pub(super) struct Snapshots {
    reading: Snapshot,
    removals: Removals,
    epoch: u32,
    /// The states once the next transaction is in the log.
    states: BTreeMap<String, SnapshotState>,
    /// The states in the log, which are shown.
    logged: BTreeMap<String, SnapshotState>,
    /// Collections whose state the next transaction changes.
    moved: BTreeSet<String>,
    /// States of collections that are no longer mapped: the next transaction says that the stream has left them.
    left: Vec<SnapshotState>,
    lines: SnapshotLines,
    requests: watch::Receiver<SnapshotRequests>,
    overview: Overview,
    max_lag: Duration,
    compared: Option<Instant>,
}

impl Snapshots {
    /// Resumes from the stored states, and begins those that are not stored in this epoch, or that the stream had left: events
    /// until `now` are in what these will read.
    pub(super) fn begin(
        role: &SourceRole,
        (reading, removals): (Snapshot, Removals),
        stored: &StoredState,
        now: ClusterTime,
        requests: watch::Receiver<SnapshotRequests>,
    ) -> Self {
        let epoch = role.config.source.epoch;
        let mut snapshots = Self {
            reading,
            removals,
            epoch,
            states: BTreeMap::new(),
            logged: BTreeMap::new(),
            moved: BTreeSet::new(),
            left: Vec::new(),
            lines: SnapshotLines::new(role.status.clone()),
            requests,
            overview: role.overview.clone(),
            max_lag: role.config.source.snapshot_max_lag,
            compared: None,
        };
        for collection in role.collections.keys() {
            let state = match stored.snapshots.get(collection) {
                Some(known) if known.epoch == epoch && !known.left => known.clone(),
                Some(known) => {
                    let reason = if known.left {
                        "the stream went on without it, or its topic is another one"
                    } else {
                        "the epoch is another"
                    };
                    tracing::info!(collection, reason, "the collection is read again");
                    known.again(epoch, now)
                }
                None => SnapshotState { since: now, ..SnapshotState::new(collection, epoch, 0) },
            };
            snapshots.moved.extend((state.since == now).then(|| collection.clone()));
            snapshots.states.insert(collection.clone(), state);
        }
        let unmapped = stored.snapshots.values().filter(|state| !role.collections.contains_key(&state.collection));
        snapshots.left = unmapped.filter(|state| !state.left).cloned().collect();
        for state in &mut snapshots.left {
            tracing::info!(collection = state.collection, "the stream leaves a collection that is not mapped any more");
            state.left = true;
        }
        snapshots.logged = snapshots.states.clone();
        snapshots
    }

    /// The time from which on each collection is followed: earlier events are in what its snapshot reads.
    pub(super) fn since(&self) -> BTreeMap<String, ClusterTime> {
        self.states.iter().map(|(collection, state)| (collection.clone(), state.since)).collect()
    }

    /// Begins to read, now that the position of the stream is in the log. Returns the collections to empty first.
    pub(super) fn read(&mut self, position: &Position) -> Vec<String> {
        self.reading.stream_reached(position.frontier);
        self.requests.mark_changed();
        let emptied = self.take_requests(position.time());
        for state in self.states.values().filter(|state| !state.done()) {
            self.reading.read(state.clone());
        }
        self.remove(position.frontier);
        self.compare(position.frontier);
        emptied
    }

    /// The next item; pending while there is nothing to read. Cancel-safe.
    ///
    /// # Errors
    /// As [`Snapshot::next_item`], and the error that ended the removal.
    pub(super) async fn next_item(&mut self) -> Result<Item, Error> {
        tokio::select! {
            biased;
            item = self.reading.next_item() => Ok(Item::Snapshot(item?)),
            item = self.removals.next_item() => Ok(Item::Removal(item?)),
        }
    }

    /// Collections whose snapshot is in the log once the next transaction is, with what it did not find.
    pub(super) fn complete(&self) -> BTreeSet<String> {
        self.states.values().filter(|state| state.complete()).map(|state| state.collection.clone()).collect()
    }

    /// Keeps the parts of a run that has just begun.
    pub(super) fn cut(&mut self, cut: SnapshotState) {
        if let Some(state) = self.states.get_mut(&cut.collection).filter(|state| state.run == cut.run) {
            tracing::info!(
                collection = cut.collection,
                parts = cut.parts.len(),
                estimate = cut.estimate,
                "snapshot begins"
            );
            (state.parts, state.estimate) = (cut.parts, cut.estimate);
            self.moved.insert(cut.collection);
        }
    }

    /// Counts a chunk whose rows are in the next transaction. A chunk of a run that was given up counts for nothing.
    pub(super) fn advance(&mut self, step: &SnapshotStep) {
        if self.states.get_mut(&step.collection).is_some_and(|state| state.advance(step)) {
            self.moved.insert(step.collection.clone());
        }
    }

    /// The documents that this run did not find are removed, once the next transaction is in the log.
    pub(super) fn removed(&mut self, collection: &str, run: u64) {
        if let Some(state) = self.states.get_mut(collection).filter(|state| state.run == run) {
            state.removed = true;
            self.moved.insert(collection.to_owned());
        }
    }

    /// Reads a collection again: something happened to all of it.
    pub(super) fn read_again(&mut self, collection: &str, since: ClusterTime) {
        if let Some(state) = self.states.get(collection).filter(|state| state.since < since) {
            tracing::info!(collection, at = %since, "the collection was emptied or replaced, and is read again");
            self.restart(state.again(self.epoch, since));
        }
    }

    fn restart(&mut self, state: SnapshotState) {
        self.reading.read(state.clone());
        self.lines.forget(&state.collection);
        self.moved.insert(state.collection.clone());
        self.states.insert(state.collection.clone(), state);
    }

    /// The states that go into the next transaction.
    pub(super) fn take_moved(&mut self) -> Vec<SnapshotState> {
        let moved = std::mem::take(&mut self.moved);
        let states = moved.iter().filter_map(|collection| self.states.get(collection).cloned());
        states.chain(std::mem::take(&mut self.left)).collect()
    }

    /// Whether any state goes into the next transaction.
    pub(super) fn any_moved(&self) -> bool {
        !self.moved.is_empty() || !self.left.is_empty()
    }

    /// A transaction with these states is in the log.
    pub(super) fn published(&mut self, frontier: Frontier, moved: Vec<SnapshotState>) {
        self.reading.stream_reached(frontier);
        for state in moved.into_iter().filter(|state| !state.left) {
            let collection = state.collection.clone();
            if state.complete() {
                let (documents, bytes) = (state.documents, state.bytes);
                tracing::info!(collection, documents, bytes, "snapshot finished");
            }
            self.logged.insert(collection.clone(), state);
            self.show(&collection);
        }
        self.remove(frontier);
        self.compare(frontier);
    }

    /// Names the runs that are complete in the log and have left something to remove.
    fn remove(&self, frontier: Frontier) {
        let current =
            |state: &&SnapshotState| self.states.get(&state.collection).is_some_and(|now| now.run == state.run);
        let left = self.logged.values().filter(|state| state.leaves()).filter(current);
        self.removals.want(left.map(|state| (state.collection.clone(), Remains::of(state, frontier))));
    }

    /// Does what operators have asked for, now that the stream has come to `since`. Returns the collections to empty before anything of
    /// their new run is read.
    pub(super) fn take_requests(&mut self, since: ClusterTime) -> Vec<String> {
        let mut emptied = Vec::new();
        if !self.requests.has_changed().unwrap_or(false) {
            return emptied;
        }
        let requests = self.requests.borrow_and_update().clone();
        for (collection, request) in requests {
            // A request for a collection that this mapping does not name waits for one that does.
            let Some(state) = self.states.get_mut(&collection) else { continue };
            if request.run > state.run {
                let empties = request.empties > state.run;
                tracing::info!(collection, run = request.run, empties, "snapshot starts from the beginning");
                emptied.extend(empties.then(|| collection.clone()));
                let begun = SnapshotState {
                    since,
                    paused: request.paused,
                    ..SnapshotState::new(&collection, self.epoch, request.run)
                };
                self.restart(begun);
            } else if request.paused != state.paused {
                tracing::info!(collection, paused = request.paused, "snapshot paused or resumed");
                state.paused = request.paused;
                self.reading.pause(&collection, request.paused);
                self.moved.insert(collection);
            }
        }
        emptied
    }

    /// Compares the sink with the log, and renews every line: about once a second.
    fn compare(&mut self, frontier: Frontier) {
        if self.compared.is_some_and(|compared| compared.elapsed() < POLL_INTERVAL) {
            return;
        }
        self.compared = Some(Instant::now());
        // A collection that an operator has paused says nothing about the sink.
        let applied = self.overview.read().collections.into_iter().filter(|line| line.paused.is_none());
        let watermarks = applied.filter_map(|line| line.watermark);
        let behind = watermarks.map(|watermark| frontier.0.t.saturating_sub(watermark.0.t)).max().unwrap_or(0);
        let lags = u64::from(behind) > self.max_lag.as_secs();
        self.reading.hold_back(lags.then(|| format!("the sink is {behind} s behind the log")));
        let collections: Vec<_> = self.states.keys().cloned().collect();
        collections.iter().for_each(|collection| self.show(collection));
    }

    fn show(&mut self, collection: &str) {
        if let Some(state) = self.logged.get(collection) {
            self.lines.show(state, self.reading.held_back());
        }
    }
}

//! What the leader knows of the snapshots: how far each is in the log, what operators want of it, what holds it back, how
//! fast it goes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    Error, Overview, SourceRole,
    removal::{Remains, RemovalItem, Removals},
};
use crate::{
    control::snapshots::SnapshotRequests,
    log::StoredState,
    model::{ClusterTime, Frontier, SnapshotState, SnapshotStep},
    source::{Position, Snapshot, SnapshotItem, Source},
    status::{SnapshotPhase, SnapshotStatus, Status},
};

/// How often lags are compared and lines written anew.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often a running snapshot is logged; its rate is that of as long a time.
const WINDOW: Duration = Duration::from_secs(10);

/// What the readers say.
pub(super) enum Item {
    Snapshot(SnapshotItem),
    Removal(RemovalItem),
}

/// The snapshots of a term.
pub(super) struct Snapshots {
    reading: Snapshot,
    removals: Removals,
    epoch: u32,
    /// As they are once the next transaction is in the log.
    states: BTreeMap<String, SnapshotState>,
    /// As they are in the log: what is shown.
    logged: BTreeMap<String, SnapshotState>,
    /// Those that the next transaction moves.
    moved: BTreeSet<String>,
    /// Those of collections that are no longer mapped: the next transaction says that the stream has left them.
    left: Vec<SnapshotState>,
    meters: BTreeMap<String, Meter>,
    requests: watch::Receiver<SnapshotRequests>,
    overview: Overview,
    max_lag: Duration,
    status: Status,
    looked: Option<Instant>,
}

impl Snapshots {
    /// Goes on where the stored states stand, and begins those that are not stored in this epoch, or that the stream had left.
    /// What happened until `now` is in what they will read.
    pub(super) fn begin(
        role: &SourceRole,
        source: &Source,
        stored: &StoredState,
        now: ClusterTime,
        removals: Removals,
        requests: watch::Receiver<SnapshotRequests>,
    ) -> Self {
        let epoch = role.config.source.epoch;
        let mut snapshots = Self {
            reading: Snapshot::start(source, role.backoff()),
            removals,
            epoch,
            states: BTreeMap::new(),
            logged: BTreeMap::new(),
            moved: BTreeSet::new(),
            left: Vec::new(),
            meters: BTreeMap::new(),
            requests,
            overview: role.overview.clone(),
            max_lag: role.config.source.snapshot_max_lag,
            status: role.status.clone(),
            looked: None,
        };
        for collection in role.collections.keys() {
            let state = match stored.snapshots.get(collection) {
                Some(known) if known.epoch == epoch && !known.left => known.clone(),
                Some(known) => {
                    let why = if known.left {
                        "the stream went on without it, or its topic is another one"
                    } else {
                        "the epoch is another"
                    };
                    tracing::info!(collection, why, "the collection is read again");
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

    /// Where each collection begins: what happened until then is in what its snapshot reads.
    pub(super) fn since(&self) -> BTreeMap<String, ClusterTime> {
        self.states.iter().map(|(collection, state)| (collection.clone(), state.since)).collect()
    }

    /// Begins to read: the place of the stream is in the log.
    pub(super) fn read(&mut self, position: &Position) {
        self.reading.stands_at(position.frontier);
        self.requests.mark_changed();
        self.take_requests(position.time());
        for state in self.states.values().filter(|state| !state.done()) {
            self.reading.read(state.clone());
        }
        self.remove(position.frontier);
        self.look(position.frontier);
    }

    /// The next item; for ever pending when there is nothing to read. Cancel-safe.
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

    /// Counts a chunk whose rows are in the next transaction. Of a run that was given up, only the rows are of use.
    pub(super) fn advance(&mut self, step: &SnapshotStep) {
        if self.states.get_mut(&step.collection).is_some_and(|state| state.advance(step)) {
            self.moved.insert(step.collection.clone());
        }
    }

    /// What this run did not find is removed, once the next transaction is in the log.
    pub(super) fn removed(&mut self, collection: &str, run: u64) {
        if let Some(state) = self.states.get_mut(collection).filter(|state| state.run == run) {
            state.removed = true;
            self.moved.insert(collection.to_owned());
        }
    }

    /// Reads a collection again: something happened to all of it.
    pub(super) fn again(&mut self, collection: &str, since: ClusterTime) {
        if let Some(state) = self.states.get(collection).filter(|state| state.since < since) {
            tracing::info!(collection, at = %since, "the collection was emptied or replaced, and is read again");
            self.restart(state.again(self.epoch, since));
        }
    }

    fn restart(&mut self, state: SnapshotState) {
        self.reading.read(state.clone());
        self.meters.remove(&state.collection);
        self.moved.insert(state.collection.clone());
        self.states.insert(state.collection.clone(), state);
    }

    /// The states that go into the next transaction.
    pub(super) fn take_moved(&mut self) -> Vec<SnapshotState> {
        let moved = std::mem::take(&mut self.moved);
        let states = moved.iter().filter_map(|collection| self.states.get(collection).cloned());
        states.chain(std::mem::take(&mut self.left)).collect()
    }

    /// Whether there is any.
    pub(super) fn any_moved(&self) -> bool {
        !self.moved.is_empty() || !self.left.is_empty()
    }

    /// A transaction with these states is in the log.
    pub(super) fn published(&mut self, frontier: Frontier, moved: Vec<SnapshotState>) {
        self.reading.stands_at(frontier);
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
        self.look(frontier);
    }

    /// Names the runs that are read to their end, in the log, and leave something behind.
    fn remove(&self, frontier: Frontier) {
        let current =
            |state: &&SnapshotState| self.states.get(&state.collection).is_some_and(|now| now.run == state.run);
        let left = self.logged.values().filter(|state| state.leaves()).filter(current);
        self.removals.want(left.map(|state| (state.collection.clone(), Remains::of(state, frontier))));
    }

    /// Does what operators have asked for, now that the stream stands at `since`.
    pub(super) fn take_requests(&mut self, since: ClusterTime) {
        if !self.requests.has_changed().unwrap_or(false) {
            return;
        }
        let requests = self.requests.borrow_and_update().clone();
        for (collection, request) in requests {
            // A request for a collection that this mapping does not name waits for one that does.
            let Some(state) = self.states.get_mut(&collection) else { continue };
            if request.run > state.run {
                tracing::info!(collection, run = request.run, "snapshot starts from the beginning");
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
    }

    /// About once a second: looks how far the sink is, and writes every line anew.
    fn look(&mut self, frontier: Frontier) {
        if self.looked.is_some_and(|looked| looked.elapsed() < POLL_INTERVAL) {
            return;
        }
        self.looked = Some(Instant::now());
        let watermarks = self.overview.read().collections.into_iter().filter_map(|line| line.watermark);
        let behind = watermarks.map(|watermark| frontier.0.t.saturating_sub(watermark.0.t)).max().unwrap_or(0);
        let lags = u64::from(behind) > self.max_lag.as_secs();
        self.reading.hold_back(lags.then(|| format!("the sink is {behind} s behind the log")));
        let collections: Vec<_> = self.states.keys().cloned().collect();
        collections.iter().for_each(|collection| self.show(collection));
    }

    fn show(&mut self, collection: &str) {
        let Some(state) = self.logged.get(collection) else { return };
        let meter = self.meters.entry(collection.to_owned()).or_default();
        let now = Instant::now();
        let rate = meter.rate(now, state.documents);
        let line = line(state, rate, self.reading.held_back());
        if line.phase != SnapshotPhase::Done && !state.parts.is_empty() && meter.is_due(now) {
            tracing::info!(
                collection,
                phase = line.phase.as_str(),
                reason = line.reason,
                documents = line.documents,
                estimated = line.estimated,
                percent = line.percent(),
                rate = line.rate,
                seconds_left = line.seconds_left,
                "snapshot"
            );
        }
        self.status.snapshot(collection, line);
    }
}

/// What is shown of a snapshot.
fn line(state: &SnapshotState, rate: f64, held_back: Option<String>) -> SnapshotStatus {
    let done = state.complete();
    let (phase, reason) = match held_back {
        _ if done => (SnapshotPhase::Done, None),
        _ if state.done() => (SnapshotPhase::Running, Some("what it did not find is being removed".to_owned())),
        _ if state.paused => (SnapshotPhase::Paused, None),
        Some(reason) => (SnapshotPhase::HeldBack, Some(reason)),
        None if state.parts.is_empty() => (SnapshotPhase::Waiting, None),
        None => (SnapshotPhase::Running, None),
    };
    // There are more than estimated: at least one is to come, for all we know.
    let estimated = if done { state.documents } else { state.estimate.max(state.documents + 1) };
    let left = (estimated - state.documents) as f64;
    let moves = phase == SnapshotPhase::Running && rate >= 1.0;
    SnapshotStatus {
        phase,
        reason,
        run: state.run,
        documents: state.documents,
        bytes: state.bytes,
        estimated,
        rate: if done { 0 } else { rate as u64 },
        seconds_left: moves.then(|| (left / rate) as u64),
        parts: state.parts.len(),
        parts_done: state.parts.iter().filter(|part| part.done).count(),
        done,
    }
}

/// Documents a second over the last while.
#[derive(Default)]
struct Meter {
    seen: VecDeque<(Instant, u64)>,
    logged: Option<Instant>,
}

impl Meter {
    fn rate(&mut self, now: Instant, documents: u64) -> f64 {
        self.seen.push_back((now, documents));
        // One that is older than the window stays, so that the window is always full.
        while self.seen.get(1).is_some_and(|(then, _)| now.duration_since(*then) > WINDOW) {
            self.seen.pop_front();
        }
        let Some((then, before)) = self.seen.front() else { return 0.0 };
        documents.saturating_sub(*before) as f64 / now.duration_since(*then).as_secs_f64().max(1.0)
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.logged.is_none_or(|logged| now.duration_since(logged) >= WINDOW);
        if due {
            self.logged = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_grows_with_what_comes_and_ends_at_the_truth() {
        let mut state = SnapshotState { documents: 99, estimate: 100, ..SnapshotState::new("orders", 1, 0) };
        state.cut(Vec::new());
        let told = |state: &SnapshotState| {
            let line = line(state, 10.0, None);
            (line.phase, line.estimated, line.percent(), line.seconds_left)
        };
        assert_eq!(told(&state), (SnapshotPhase::Running, 100, 99, Some(0)));
        state.documents = 150;
        assert_eq!(told(&state), (SnapshotPhase::Running, 151, 99, Some(0)));
        state.parts[0].done = true;
        assert_eq!(told(&state), (SnapshotPhase::Done, 150, 100, None));
        let empty = SnapshotState { documents: 0, ..state };
        assert_eq!(told(&empty), (SnapshotPhase::Done, 0, 100, None));
    }

    #[test]
    fn what_keeps_it_from_running_is_said() {
        let mut state = SnapshotState::new("orders", 1, 0);
        let phase = |state: &SnapshotState, held: Option<&str>| line(state, 0.0, held.map(str::to_owned)).phase;
        assert_eq!(phase(&state, None), SnapshotPhase::Waiting);
        assert_eq!(phase(&state, Some("the sink is behind")), SnapshotPhase::HeldBack);
        state.paused = true;
        assert_eq!(phase(&state, Some("the sink is behind")), SnapshotPhase::Paused);
    }

    #[test]
    fn a_rate_is_that_of_the_last_while() {
        let (mut meter, now) = (Meter::default(), Instant::now());
        assert!(meter.is_due(now) && !meter.is_due(now + WINDOW / 2) && meter.is_due(now + WINDOW));
        let rates: Vec<_> = [(0, 0), (2, 200), (10, 1_000), (20, 1_000), (21, 1_000)]
            .map(|(second, documents)| meter.rate(now + Duration::from_secs(second), documents) as u64)
            .into();
        assert_eq!(rates, [0, 100, 100, 44, 0]);
    }
}

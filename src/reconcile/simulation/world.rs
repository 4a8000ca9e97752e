//! The world of a simulation: a source, a sink that follows it, and the target that the sink writes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bson::{raw::RawDocumentBuf, rawdoc};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep};

use crate::{
    control::findings::Kind,
    mapping::{CollectionPlan, Plan, Rows},
    model::{ClusterTime, Frontier, Key, Version},
    sink::plan::tests::users,
    source::{self, ReadTime},
    target::{DocumentId, Entry, WaitingLetter},
};

/// The end of the sink's stall, if it has one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stall {
    Until(Instant),
    ForGood,
}

/// A change of a document; the image of an update is read only when the sink applies it.
enum Op {
    Replace(i32),
    Update,
    Delete,
}

struct Event {
    time: ClusterTime,
    /// Position in its transaction.
    place: u32,
    key: Key,
    op: Op,
}

/// Both sides and the events between them.
pub(super) struct State {
    pub(super) rng: ChaCha8Rng,
    plan: Arc<Plan>,
    /// Every `{_id: …}` that may be written; the key of one of them is a hash.
    pub(super) ids: BTreeMap<Key, RawDocumentBuf>,
    pub(super) now: ClusterTime,
    pub(super) documents: BTreeMap<Key, i32>,
    /// The documents after each write, by its cluster time.
    past: BTreeMap<ClusterTime, BTreeMap<Key, i32>>,
    /// The source cannot be read as of an earlier time: its history ends there, or its catalog changed then.
    pub(super) oldest: ClusterTime,
    /// How often a request makes the present the oldest time that can be read.
    pub(super) forgets: f64,
    pub(super) writes_left: u32,
    /// How often a write belongs to the transaction of the one before it, and so shares its cluster time.
    pub(super) joins: f64,
    place: u32,
    /// How often the same document is written.
    pub(super) hot: f64,
    /// Every change, as a change stream gives it.
    pub(super) changes: Vec<(ClusterTime, Key)>,
    /// How often the pipeline loses a change without a trace, and the last changes of documents that it has lost.
    pub(super) loses: f64,
    pub(super) lost: BTreeMap<Key, ClusterTime>,
    /// Events that are not applied yet.
    events: VecDeque<Event>,
    /// Updates whose document was gone when its image was read: the watermark waits for the delete.
    holds: BTreeMap<Key, ClusterTime>,
    pub(super) watermark: Frontier,
    pub(super) stall: Stall,
    pub(super) ledger: BTreeMap<Key, Entry>,
    pub(super) rows: BTreeMap<Key, Rows>,
    pub(super) letters: BTreeMap<Key, WaitingLetter>,
    /// Parked documents: the time at which each may be applied, and its rows.
    parked: BTreeMap<Key, (Instant, Rows)>,
    transactions: i64,
    /// Documents whose rows somebody else has damaged, and that were not written since.
    pub(super) damaged: BTreeMap<Key, Kind>,
    /// Drift that may be reported, because it existed at some time.
    pub(super) allowed: BTreeSet<(Key, Kind)>,
    pub(super) foreign_rows: u64,
    /// How often somebody removes the ledger entry of a document between two requests.
    pub(super) loses_entries: f64,
    /// Number of documents that were read by `_id`.
    pub(super) asked_again: usize,
}

/// The shared state of the twins.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>, Arc<Plan>);

impl World {
    /// Creates a collection whose snapshot is applied, with damage that the seed chooses.
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let plan = Arc::new(users());
        // Long enough that its key is a hash.
        let long = "x".repeat(2_000);
        let ids = (0..rng.random_range(1..40)).map(|id| rawdoc! { "_id": id }).chain([rawdoc! { "_id": long }]);
        let stall = match rng.random_range(0..4) {
            0 => Stall::ForGood,
            1 => Stall::Until(Instant::now() + Duration::from_secs(rng.random_range(1..10))),
            _ => Stall::Until(Instant::now()),
        };
        let mut state = State {
            plan: plan.clone(),
            ids: ids.map(|id| (Key::from_id(&id).expect("a key"), id)).collect(),
            now: ClusterTime { t: 100, i: 1 },
            documents: BTreeMap::new(),
            past: BTreeMap::new(),
            oldest: ClusterTime::default(),
            forgets: 0.0,
            writes_left: 0,
            joins: 0.0,
            place: 0,
            hot: 0.0,
            changes: Vec::new(),
            loses: 0.0,
            lost: BTreeMap::new(),
            events: VecDeque::new(),
            holds: BTreeMap::new(),
            watermark: Frontier::default(),
            stall: Stall::Until(Instant::now()),
            ledger: BTreeMap::new(),
            rows: BTreeMap::new(),
            letters: BTreeMap::new(),
            parked: BTreeMap::new(),
            transactions: 0,
            damaged: BTreeMap::new(),
            allowed: BTreeSet::new(),
            loses_entries: 0.0,
            foreign_rows: u64::from(rng.random_bool(0.1)),
            asked_again: 0,
            rng,
        };
        for key in state.ids.keys().cloned().collect::<Vec<_>>() {
            if state.rng.random_bool(0.8) {
                state.write(key, false);
            }
        }
        while state.apply() {}
        state.publish_watermark();
        for _ in 0..state.rng.random_range(0..4) {
            state.damage();
        }
        state.writes_left = state.rng.random_range(0..60);
        state.stall = stall;
        Self(Arc::new(Mutex::new(state)), plan)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn plan(&self) -> &CollectionPlan {
        &self.1.collections()[0]
    }

    /// Chooses how many documents a pass compares: mostly all.
    pub(super) fn sample_size(&self) -> usize {
        let mut state = self.lock();
        if state.rng.random_bool(0.7) { usize::MAX } else { state.rng.random_range(1..10) }
    }

    /// Waits for the latency of a request, during which both sides change; the answer is as of one instant.
    pub(super) async fn asked(&self) -> MutexGuard<'_, State> {
        let latency = self.lock().step();
        sleep(latency).await;
        self.lock()
    }
}

impl State {
    /// Changes both sides at random between two requests; returns the latency of the request.
    fn step(&mut self) -> Duration {
        for number in 0..self.rng.random_range(0..3).min(self.writes_left) {
            self.writes_left -= 1;
            let key = self.any_key();
            let joins = number > 0 && self.rng.random_bool(self.joins);
            self.write(key, joins);
        }
        if matches!(self.stall, Stall::Until(until) if until <= Instant::now()) {
            for _ in 0..self.rng.random_range(0..3) {
                self.apply();
            }
            self.unpark();
            if self.rng.random_bool(0.5) {
                self.publish_watermark();
            }
        }
        if self.rng.random_bool(self.loses_entries) {
            self.lose_entry();
        }
        if self.rng.random_bool(self.forgets) {
            self.now = self.now.next();
            self.oldest = self.now;
        }
        Duration::from_millis(self.rng.random_range(1..20))
    }

    fn any_key(&mut self) -> Key {
        if self.rng.random_bool(self.hot) {
            return self.ids.keys().next().expect("there are ids").clone();
        }
        let keys: Vec<&Key> = self.ids.keys().collect();
        (*keys.choose(&mut self.rng).expect("there are ids")).clone()
    }

    fn write(&mut self, key: Key, joins: bool) {
        if joins {
            self.place += 1;
        } else {
            (self.now, self.place) = (self.now.next(), 0);
        }
        let value = self.rng.random_range(0..1_000);
        let op = match (self.documents.contains_key(&key), self.rng.random_range(0..4)) {
            (true, 0) => Op::Delete,
            (true, 1 | 2) => Op::Update,
            _ => Op::Replace(value),
        };
        match op {
            Op::Delete => self.documents.remove(&key),
            Op::Replace(_) | Op::Update => self.documents.insert(key.clone(), value),
        };
        self.past.insert(self.now, self.documents.clone());
        self.damaged.remove(&key);
        self.changes.push((self.now, key.clone()));
        self.events.push_back(Event { time: self.now, place: self.place, key, op });
    }

    /// Applies the next event as the sink does; returns whether there was one.
    fn apply(&mut self) -> bool {
        let Some(Event { time, place, key, op }) = self.events.pop_front() else { return false };
        // A change that the watermark waits for is known, so it cannot be lost without a trace.
        if !self.holds.contains_key(&key) && self.rng.random_bool(self.loses) {
            self.allowed.extend([Kind::Missing, Kind::Extra, Kind::Different].map(|kind| (key.clone(), kind)));
            self.lost.insert(key, time);
            return true;
        }
        self.lost.remove(&key);
        let version = Version { epoch: 1, time, op: place };
        match op {
            Op::Replace(value) => self.record(key, version, time, Some(value)),
            Op::Update => match self.documents.get(&key) {
                Some(value) => self.record(key, version, self.now, Some(*value)),
                None => drop(self.holds.entry(key).or_insert(time)),
            },
            Op::Delete => {
                self.holds.remove(&key);
                self.record(key, version, time, None);
            }
        }
        true
    }

    /// Runs one transaction of the sink: ledger, rows, letters.
    fn record(&mut self, key: Key, version: Version, upper: ClusterTime, value: Option<i32>) {
        self.transactions += 1;
        let entry = Entry { version, deleted: value.is_none(), upper, applied: self.transactions };
        self.ledger.insert(key.clone(), entry);
        self.letters.remove(&key);
        self.parked.remove(&key);
        let letter = |open| WaitingLetter { id: entry.applied, open };
        let Some(value) = value else {
            self.rows.remove(&key);
            return;
        };
        match self.plan.collections()[0].map(&document(&self.ids[&key], value)) {
            Err(_) => {
                self.letters.insert(key.clone(), letter(true));
                self.allowed.insert((key, Kind::Different));
            }
            Ok(rows) if self.rng.random_bool(0.05) => {
                let until = Instant::now() + Duration::from_secs(self.rng.random_range(1..5));
                self.letters.insert(key.clone(), letter(false));
                self.parked.insert(key, (until, rows));
            }
            Ok(rows) => drop(self.rows.insert(key, rows)),
        }
    }

    fn unpark(&mut self) {
        let now = Instant::now();
        for (key, (_, rows)) in self.parked.extract_if(.., |_, (until, _)| *until <= now) {
            self.letters.remove(&key);
            self.rows.insert(key, rows);
        }
    }

    /// Advances the watermark to the first event that is not applied or is held; if there is none, past the newest event.
    fn publish_watermark(&mut self) {
        let open = self.events.iter().map(|event| event.time).chain(self.holds.values().copied()).min();
        self.watermark = Frontier(open.unwrap_or_else(|| self.now.next()));
    }

    /// Damages a document, as if somebody else changed its rows or the pipeline lost a change without a trace.
    fn damage(&mut self) {
        let key = self.any_key();
        // The rows of a document with a waiting letter are not judged.
        if !self.rows.contains_key(&key) || self.letters.contains_key(&key) || self.damaged.contains_key(&key) {
            return;
        }
        let kind = match self.rng.random_range(0..6) {
            0 => {
                let other = document(&self.ids[&key], 5_000);
                let rows = self.plan.collections()[0].map(&other).expect("rows");
                self.rows.insert(key.clone(), rows);
                Kind::Different
            }
            1 => {
                self.rows.remove(&key);
                Kind::Missing
            }
            2 => {
                self.rows.remove(&key);
                self.ledger.remove(&key);
                Kind::Missing
            }
            3 => {
                self.ledger.remove(&key);
                Kind::Missing
            }
            lost => {
                self.documents.remove(&key);
                self.past.insert(self.now, self.documents.clone());
                if let Some(entry) = self.ledger.get_mut(&key) {
                    entry.deleted = lost == 4;
                }
                Kind::Extra
            }
        };
        self.damaged.insert(key.clone(), kind);
        self.allowed.insert((key, kind));
    }

    /// Removes the ledger entry of a document whose rows are as they should be; of each document once.
    fn lose_entry(&mut self) {
        let key = self.any_key();
        let lost = (key.clone(), Kind::Missing);
        let held = self.documents.contains_key(&key) && self.rows.contains_key(&key);
        if held && !self.letters.contains_key(&key) && !self.allowed.contains(&lost) {
            self.ledger.remove(&key);
            self.allowed.insert(lost);
        }
    }

    /// Documents that have rows, and no ledger entry.
    pub(super) fn without_entry(&self) -> impl Iterator<Item = &Key> {
        self.rows.keys().filter(|key| !self.ledger.contains_key(*key))
    }

    /// The hash of the row of a document.
    pub(super) fn hash(&self, key: &Key) -> i64 {
        self.ids.keys().position(|known| known == key).map_or(-1, |place| place as i64)
    }

    /// Whether the last change of the document was lost, and its rows show that.
    pub(super) fn shows_its_loss(&self, key: &Key) -> bool {
        let live = self.ledger.get(key).is_some_and(|entry| !entry.deleted);
        let Some(value) = self.documents.get(key) else { return live };
        let expected = self.plan.collections()[0].map(&document(&self.ids[key], *value));
        let equal =
            expected.is_ok_and(|expected| self.rows.get(key).is_some_and(|rows| rows.tables == expected.tables));
        !(live && equal)
    }

    /// The documents as of a read, and its cluster time.
    pub(super) fn documents_at(&self, at: ReadTime) -> Result<(ClusterTime, BTreeMap<Key, i32>), source::Error> {
        match at {
            ReadTime::AtLeast(_) => Ok((self.now, self.documents.clone())),
            ReadTime::At(at) if at < self.oldest => {
                let source = mongodb::error::Error::custom("the history begins later").into();
                Err(source::Error::SnapshotTooOld { act: "read", at, source })
            }
            ReadTime::At(time) => Ok((time, self.past(time))),
        }
    }

    /// The documents as of a cluster time.
    pub(super) fn past(&self, time: ClusterTime) -> BTreeMap<Key, i32> {
        self.past.range(..=time).next_back().map(|(_, documents)| documents.clone()).unwrap_or_default()
    }

    pub(super) fn document_id(&self, key: &Key) -> DocumentId {
        DocumentId { key: key.clone(), id: self.ids.get(key).cloned() }
    }

    pub(super) fn live_keys(&self) -> impl Iterator<Item = &Key> {
        self.ledger.iter().filter(|(_, entry)| !entry.deleted).map(|(key, _)| key)
    }
}

/// Builds a document; the mapping refuses some of the values.
pub(super) fn document(id: &RawDocumentBuf, value: i32) -> RawDocumentBuf {
    let mut document = id.clone();
    match value % 20 {
        0 if value < 1_000 => document.append(bson::raw::cstr!("n"), "no number"),
        _ => document.append(bson::raw::cstr!("n"), value),
    }
    document
}

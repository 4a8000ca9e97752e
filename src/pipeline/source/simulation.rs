//! A term on twins of its servers: seeded, single-threaded, without a clock.
//!
//! ```text
//!   History ──▶ TwinStream, TwinReaders, repairs ──▶ Term (the product's) ──▶ TwinLog ──▶ Broker: checks every commit
//!      ▲                                                                         ▲
//!      └──────────── Driver: one random step after the other, faults among them ─┘
//! ```
//! Terms follow each other from what the broker has stored, until nothing is left to do. At every commit, one whose
//! acknowledgement is lost included:
//! - no key's version goes backwards;
//! - everything at or before the saved position is in the log, but for missing documents that are named beside it;
//! - everything before the frontier is in the log, and the frontier does not go backwards;
//! - a snapshot that is said to be complete has brought every document.
//!
//! In the end the last record of each key is what the source holds. Nothing is reported before it is durable.

use std::{cell::RefCell, collections::HashMap, pin::pin, rc::Rc, sync::Arc, time::Duration};

use bson::rawdoc;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    removal_twin::TwinRemovals,
    repairs::RepairItem,
    role::SourceRole,
    snapshots::Snapshots,
    term::{Follow, Publish, Term},
};
use crate::{
    config::Config,
    control::snapshots::{SnapshotRequest, SnapshotRequests},
    log::{self, StoredState, Transaction},
    model::{Change, ClusterTime, Frontier, Key, Namespace, Op, SnapshotState, Version},
    pipeline::{Error, Overview},
    seeds,
    source::{
        self, KEYS, OnDrop, Snapshot, Start, StreamBatch, Ticket, TwinReaders, deletes, snapshot_changes,
        twin::{DATABASE, EPOCH, History, TwinStream, covers},
    },
    status::{Role, Status},
};

const COLLECTIONS: [&str; 2] = ["orders", "users"];
/// Steps of a seed in which the source is written and faults happen. Then come as many as the terms take to end.
const BUSY_STEPS: usize = 400;
/// Steps after which a seed makes no progress.
const MAX_STEPS: usize = 20_000;

/// The contents of the log, and the transaction under way.
#[derive(Default)]
struct Broker {
    stored: StoredState,
    last: HashMap<(String, Key), Change>,
    frontier: Frontier,
    under_way: Option<(Transaction, oneshot::Sender<Result<(), log::Error>>)>,
}

impl Broker {
    fn commit(&mut self, transaction: Transaction, history: &History) {
        for change in transaction.changes {
            let of = (change.namespace.collection.to_string(), change.key.clone());
            if let Some(before) = self.last.get(&of) {
                let (from, to) = (before.version, change.version);
                assert!(from <= to, "{:?} of {} goes from {from} back to {to}", change.id, of.0);
            }
            self.last.insert(of, change);
        }
        let state = transaction.state;
        let (frontier, _) = transaction.frontier.expect("a frontier");
        assert!(frontier == state.frontier && frontier >= self.frontier, "{frontier} follows {}", self.frontier);
        for snapshot in transaction.snapshots {
            self.stored.snapshots.insert(snapshot.collection.clone(), snapshot);
        }
        (self.frontier, self.stored.stream) = (frontier, Some(state));
        self.check_position(history);
        transaction.complete.iter().for_each(|collection| self.check_snapshot(collection, history));
    }

    fn check_position(&self, history: &History) {
        let state = self.stored.stream.as_ref().expect("a state");
        let given = state.held.as_ref().map_or(&state.token, |held| &held.given);
        let missing = |collection: &str, key: &Key| {
            let named = |held: &crate::model::Held| {
                held.missing.iter().any(|(namespace, known)| &*namespace.collection == collection && known == key)
            };
            state.held.as_ref().is_some_and(|held| named(held))
        };
        for operation in &history.operations {
            let collection = operation.collection;
            // The snapshot reads the effect of earlier operations.
            let snapshot = self.stored.snapshots.get(collection);
            if snapshot.is_none_or(|snapshot| operation.version.time <= snapshot.since) {
                continue;
            }
            let reached = self.version(collection, operation.key);
            if covers(&state.token, operation) || self.frontier.covers(operation.version.time) {
                assert!(reached >= Some(operation.version), "saved: {operation:?}, in the log: {reached:?}");
            } else if covers(given, operation) && !missing(collection, &key(operation.key)) {
                assert!(reached >= Some(operation.version), "given: {operation:?}, in the log: {reached:?}");
            }
        }
    }

    fn check_snapshot(&self, collection: &str, history: &History) {
        let since = self.stored.snapshots[collection].since;
        for id in 0..KEYS {
            let Some(last) = history.last(collection, id, since) else { continue };
            let logged = self.last.get(&(collection.to_owned(), key(id)));
            let good = match logged {
                Some(logged) => logged.version >= last.version || (logged.document.is_none() && last.value.is_none()),
                // A document that was deleted before anything was read of it.
                None => last.value.is_none(),
            };
            assert!(good, "complete: {last:?}, in the log: {logged:?}");
        }
    }

    fn version(&self, collection: &str, id: i32) -> Option<Version> {
        self.last.get(&(collection.to_owned(), key(id))).map(|change| change.version)
    }

    /// Whether the log has everything, and says so.
    fn is_complete(&self, history: &History) -> bool {
        let last = history.operations.iter().map(|operation| operation.version.time).max();
        let stream = self.stored.stream.as_ref();
        let caught_up = stream.is_some_and(|stream| stream.held.is_none() && last < Some(stream.frontier.0));
        let snapshots = &self.stored.snapshots;
        caught_up && snapshots.len() == COLLECTIONS.len() && snapshots.values().all(|state| state.complete())
    }

    fn check_end(&self, history: &History) {
        for (collection, id) in COLLECTIONS.into_iter().flat_map(|collection| (0..KEYS).map(move |id| (collection, id)))
        {
            let logged = self.last.get(&(collection.to_owned(), key(id))).and_then(|last| last.document.clone());
            assert_eq!(logged, history.document(collection, id, history.now()), "document {id} of {collection}");
        }
    }
}

fn key(id: i32) -> Key {
    Key::from_id(&rawdoc! { "_id": id }).expect("a key")
}

/// The publisher of one term.
struct TwinLog {
    broker: Rc<RefCell<Broker>>,
    under_way: Option<oneshot::Receiver<Result<(), log::Error>>>,
    usable: bool,
}

impl Publish for TwinLog {
    async fn begin(&mut self, transaction: Transaction) -> Result<(), log::Error> {
        self.ready().await?;
        let (outcome, receiver) = oneshot::channel();
        let before = self.broker.borrow_mut().under_way.replace((transaction, outcome));
        assert!(before.is_none(), "one transaction at a time");
        self.under_way = Some(receiver);
        Ok(())
    }

    async fn committed(&mut self) -> Result<(), log::Error> {
        if let Some(outcome) = &mut self.under_way {
            let outcome = outcome.await.unwrap_or(Err(log::Error::Unusable));
            (self.under_way, self.usable) = (None, outcome.is_ok());
            return outcome;
        }
        if self.usable { Ok(()) } else { Err(log::Error::Unusable) }
    }

    async fn ready(&mut self) -> Result<(), log::Error> {
        self.committed().await
    }
}

impl Follow for mpsc::Receiver<Result<StreamBatch, source::Error>> {
    async fn next_batch(&mut self) -> Result<StreamBatch, source::Error> {
        self.recv().await.unwrap_or(Err(source::Error::Ended))
    }
}

/// A repair on its way.
enum Repair {
    Asked(&'static str, i32, oneshot::Receiver<Ticket>),
    Sent(&'static str, i32, ClusterTime, oneshot::Receiver<()>),
}

/// The world around one term, and the dice.
struct Driver<'a> {
    dice: &'a mut ChaCha8Rng,
    history: Rc<RefCell<History>>,
    broker: Rc<RefCell<Broker>>,
    status: Status,
    stream: TwinStream,
    readers: TwinReaders,
    removals: TwinRemovals,
    requests: watch::Sender<SnapshotRequests>,
    repairing: mpsc::Sender<RepairItem>,
    repairs: Vec<Repair>,
    cancel: CancellationToken,
}

impl Driver<'_> {
    /// Steps until `steps` are used up, or, when they are bounded only by [`MAX_STEPS`], until nothing is left to do.
    async fn run(&mut self, steps: &mut usize) {
        let busy = *steps < BUSY_STEPS;
        while !busy || *steps < BUSY_STEPS {
            assert!(*steps < MAX_STEPS, "no progress: {}", self.unfinished());
            *steps += 1;
            let faulty = busy && self.dice.random_ratio(1, 40);
            if faulty && self.fault() {
                return;
            }
            if busy && self.dice.random_ratio(1, 3) {
                self.write();
            }
            self.step(busy);
            if !busy && self.is_done() {
                self.cancel.cancel();
            }
            tokio::task::yield_now().await;
            let reported = self.status.read().frontier.unwrap_or_default();
            assert!(reported <= self.broker.borrow().frontier, "reported before it is durable");
        }
    }

    fn is_done(&self) -> bool {
        let complete = self.broker.borrow().is_complete(&self.history.borrow());
        complete && self.readers.is_idle() && self.repairs.is_empty()
    }

    fn unfinished(&self) -> String {
        let broker = self.broker.borrow();
        let (stream, snapshots) = (&broker.stored.stream, &broker.stored.snapshots);
        let (idle, repairs) = (self.readers.is_idle(), self.repairs.len());
        format!("readers idle: {idle}, repairs: {repairs}, stored: {stream:?} {snapshots:?}")
    }

    fn write(&mut self) {
        let n = self.dice.random_range(1..4);
        let dice = &mut *self.dice;
        let operations = std::iter::repeat_with(|| {
            let collection = COLLECTIONS[dice.random_range(0..COLLECTIONS.len())];
            let value = dice.random_bool(0.7).then(|| dice.random_range(0..1_000));
            (collection, dice.random_range(0..KEYS), value, dice.random_bool(0.5))
        });
        let operations: Vec<_> = operations.take(n).collect();
        self.history.borrow_mut().write(operations);
    }

    fn step(&mut self, busy: bool) {
        match self.dice.random_range(0..10) {
            0 | 1 => {
                if !self.stream.hand_on() {
                    self.stream.reply(self.dice.random_range(1..6));
                }
            }
            2 | 3 => drop(self.stream.hand_on()),
            4 => self.readers.take(),
            5 => {
                let (fails, dice) = (self.dice.random_ratio(1, 5), &mut *self.dice);
                self.readers.read(fails, |first, last| dice.random_range(first..=last));
            }
            6 => self.remove(),
            7 => self.repair(),
            8 if busy && self.dice.random_ratio(1, 20) => self.request(),
            _ => self.settle(Outcome::Committed),
        }
    }

    /// The removal of what a snapshot did not find takes a step.
    fn remove(&mut self) {
        let (history, broker, dice) = (self.history.borrow(), self.broker.borrow(), &mut *self.dice);
        self.removals.step(|collection, remains, not_before| {
            let read_at = ClusterTime { i: dice.random_range(not_before.i..=history.now().i), ..not_before };
            let before = remains.before(EPOCH);
            let stale = |id: &i32| {
                let logged = broker.last.get(&(collection.to_owned(), key(*id)));
                logged.is_some_and(|logged| logged.document.is_some() && logged.version < before)
            };
            let gone = |id: &i32| history.document(collection, *id, read_at).is_none();
            (read_at, (0..KEYS).filter(stale).filter(gone).map(|id| rawdoc! { "_id": id }).collect())
        });
    }

    /// An operator starts a snapshot again, pauses or resumes it.
    fn request(&mut self) {
        let collection = COLLECTIONS[self.dice.random_range(0..COLLECTIONS.len())];
        let again = self.dice.random_bool(0.5);
        self.requests.send_modify(|requests| {
            let request =
                requests.entry(collection.to_owned()).or_insert(SnapshotRequest { run: 0, paused: false, empties: 0 });
            if again {
                request.run += 1;
            } else {
                request.paused = !request.paused;
            }
        });
    }

    /// A repair begins, reads, or is answered.
    fn repair(&mut self) {
        match self.repairs.pop() {
            None => {
                let collection = COLLECTIONS[self.dice.random_range(0..COLLECTIONS.len())];
                let (ready, ticket) = oneshot::channel();
                let begin = RepairItem::Begin { collection: collection.to_owned(), known: HashMap::new(), ready };
                if self.repairing.try_send(begin).is_ok() {
                    self.repairs.push(Repair::Asked(collection, self.dice.random_range(0..KEYS), ticket));
                }
            }
            Some(Repair::Asked(collection, id, mut ticket)) => match ticket.try_recv() {
                Ok(ticket) => self.reread(collection, id, ticket),
                Err(_) => self.repairs.push(Repair::Asked(collection, id, ticket)),
            },
            Some(Repair::Sent(collection, id, read_at, mut durable)) => match durable.try_recv() {
                Ok(()) => {
                    let reached = self.broker.borrow().version(collection, id);
                    assert!(reached >= Some(Version::snapshot(EPOCH, read_at)), "answered before it is durable");
                }
                Err(_) => self.repairs.push(Repair::Sent(collection, id, read_at, durable)),
            },
        }
    }

    fn reread(&mut self, collection: &'static str, id: i32, ticket: Ticket) {
        let history = self.history.borrow();
        let read_at = ClusterTime { i: self.dice.random_range(ticket.not_before.i..=history.now().i), ..history.now() };
        let namespace = Namespace::new(DATABASE, collection);
        let changes = match history.document(collection, id, read_at) {
            Some(document) => {
                snapshot_changes(&namespace, EPOCH, read_at, vec![document], Op::Repair).expect("changes")
            }
            None => deletes(&namespace, EPOCH, read_at, vec![rawdoc! { "_id": id }]),
        };
        let (durable, logged) = oneshot::channel();
        let item = match self.dice.random_ratio(1, 5) {
            true => RepairItem::GivenUp(ticket),
            false => RepairItem::Rows { ticket, read_at, changes, durable },
        };
        let given_up = matches!(item, RepairItem::GivenUp(_));
        drop(history);
        // The channel holds one item, which the term takes before the next step of a repair that waits for an answer.
        if self.repairing.try_send(item).is_ok() && !given_up {
            self.repairs.push(Repair::Sent(collection, id, read_at, logged));
        }
    }

    /// Something breaks; returns whether the term is over without an error, because another process leads.
    fn fault(&mut self) -> bool {
        match self.dice.random_range(0..20) {
            0 => self.readers.panic(),
            1..4 => self.stream.fail(),
            4..8 => return true,
            8..12 => self.settle(Outcome::Aborted),
            12..16 => self.settle(Outcome::AcknowledgementLost),
            _ => self.settle(Outcome::Fenced),
        }
        false
    }

    fn settle(&mut self, outcome: Outcome) {
        settle(&mut self.broker.borrow_mut(), &self.history.borrow(), outcome);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Committed,
    Aborted,
    AcknowledgementLost,
    Fenced,
}

/// The brokers decide what becomes of the transaction under way.
fn settle(broker: &mut Broker, history: &History, outcome: Outcome) {
    let Some((transaction, sender)) = broker.under_way.take() else { return };
    if matches!(outcome, Outcome::Committed | Outcome::AcknowledgementLost) {
        broker.commit(transaction, history);
    }
    let lost = || log::Error::Timeout { act: "publish as", object: "a twin".to_owned() };
    let _ = sender.send(match outcome {
        Outcome::Committed => Ok(()),
        Outcome::Aborted | Outcome::AcknowledgementLost => Err(lost()),
        Outcome::Fenced => Err(log::Error::Fenced { transactional_id: "a twin".to_owned() }),
    });
}

/// One term, from what is stored to its end.
async fn term(
    dice: &mut ChaCha8Rng,
    steps: &mut usize,
    history: &Rc<RefCell<History>>,
    broker: &Rc<RefCell<Broker>>,
) -> Option<Result<(), Error>> {
    let idle = if *steps < BUSY_STEPS && dice.random_bool(0.5) { 3_600 } else { 0 };
    let mut config: Config = toml::from_str("").expect("the defaults");
    config.source.database = DATABASE.to_owned();
    config.log.idle_frontier = Duration::from_secs(idle);
    config.log.transaction_changes = dice.random_range(1..10);
    let role = SourceRole {
        config: Arc::new(config),
        collections: COLLECTIONS.map(|collection| (collection.to_owned(), OnDrop::Halt)).into(),
        status: Status::new(&[Role::Source]),
        overview: Overview::default(),
    };
    // A new publisher: what was under way is decided, and nothing more comes of it.
    let decided = if dice.random_bool(0.5) { Outcome::Aborted } else { Outcome::AcknowledgementLost };
    settle(&mut broker.borrow_mut(), &history.borrow(), decided);
    let stored = broker.borrow().stored.clone();
    let now = history.borrow().now();
    let start = match &stored.stream {
        Some(state) => Start::After { token: state.token.clone(), frontier: state.frontier, held: state.held.clone() },
        None => Start::At(now),
    };
    let (reading, readers) = Snapshot::twin(&role.config.source, history);
    let (removing, removals) = TwinRemovals::start();
    let quiet = *steps >= BUSY_STEPS;
    let request =
        |state: &SnapshotState| SnapshotRequest { run: state.run, paused: state.paused && !quiet, empties: 0 };
    let known = stored.snapshots.iter().map(|(collection, state)| (collection.clone(), request(state)));
    let (requests, wanted) = watch::channel(known.collect::<SnapshotRequests>());
    let (repairing, repairs) = mpsc::channel(1);
    let snapshots = Snapshots::begin(&role, (reading, removing), &stored, now, wanted);
    let (stream, batches) = TwinStream::open(history, role.scope(snapshots.since()), &start);
    let log = TwinLog { broker: broker.clone(), under_way: None, usable: true };
    let cancel = CancellationToken::new();
    let mut driver = Driver {
        dice,
        history: history.clone(),
        broker: broker.clone(),
        status: role.status.clone(),
        stream,
        readers,
        removals,
        requests,
        repairing,
        repairs: Vec::new(),
        cancel: cancel.clone(),
    };
    let mut leading = pin!(async {
        let mut term = Term::begin(&role, (log, batches), start.time(), snapshots, repairs).await?;
        term.run(&cancel).await
    });
    tokio::select! {
        biased;
        outcome = &mut leading => Some(outcome),
        () = driver.run(steps) => None,
    }
}

/// Terms of one seed, until the log has everything that the source holds.
async fn simulate(seed: u64) {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let (history, broker) = (Rc::new(RefCell::new(History::new())), Rc::new(RefCell::new(Broker::default())));
    for collection in COLLECTIONS {
        history.borrow_mut().write((0..KEYS).map(|key| (collection, key, dice.random_bool(0.7).then_some(key), false)));
    }
    let mut steps = 0;
    loop {
        let quiet = steps >= BUSY_STEPS;
        match term(&mut dice, &mut steps, &history, &broker).await {
            Some(Ok(())) => break,
            None => assert!(!quiet, "a term without faults ends by itself"),
            Some(Err(error)) => assert!(!quiet, "no fault is left: {}", crate::retry::chain(&error)),
        }
    }
    broker.borrow().check_end(&history.borrow());
}

#[test]
fn terms_lose_nothing_and_save_no_position_before_its_time() {
    seeds::each(100, simulate);
}

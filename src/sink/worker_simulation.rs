//! The worker with its look-ahead, over a log and a PostgreSQL in memory that do what the real ones may do.
//!
//! ```text
//!  log          records arrive in any portions; offsets have holes; partitions go to another worker and come back, which is
//!               heard of late; seeks are executed late, stale records before them
//!  PostgreSQL   is away, before or after COMMIT; another worker applies a partition that was taken from this one; an operator
//!               moves a position
//! ```
//!
//! Whatever happens, each commit moves a position over exactly the records that lie behind it, and in the end all are applied.
//! Nothing here waits for time, and all randomness comes from the seed, which a failure prints.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    rc::Rc,
};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    log::{ConsumerEvent, Fetched, TopicPartition},
    seeds,
    sink::{batch_reader::Planned, plan::tests as plans},
};

const SEEDS: u64 = 60;
const PARTITIONS: i32 = 3;
/// Events until the world comes to rest, so that everything can be applied.
const EVENTS: usize = 400;

/// One partition of the log, and its position in PostgreSQL.
#[derive(Default)]
struct Partition {
    /// The offsets of its records. Those of transaction markers, and of records that compaction removed, are missing.
    offsets: Vec<i64>,
    position: Option<i64>,
    /// The assignment that gave it to this worker; none while another has it.
    assignment: Option<u64>,
    /// Where the consumer reads on.
    fetch_at: Option<i64>,
}

impl Partition {
    fn from(&self, start: Option<i64>) -> impl Iterator<Item = i64> {
        self.offsets.iter().copied().filter(move |&offset| start.is_none_or(|start| offset >= start))
    }

    fn is_applied(&self) -> bool {
        self.offsets.is_empty() || self.from(self.position).next().is_none()
    }
}

/// Both servers, and everything that may happen to them.
struct World {
    random: ChaCha8Rng,
    partitions: Vec<Partition>,
    /// Events that this worker has not taken yet, each with the number of the last assignment.
    events: VecDeque<(ConsumerEvent, u64)>,
    seeks: Vec<(TopicPartition, u64, i64)>,
    assignments: u64,
    /// The assignment of each partition that this worker has heard of.
    heard: HashMap<TopicPartition, u64>,
    steps: usize,
    /// Partitions of which this worker may still have a batch: those that it had when the last batch was begun, and newer ones.
    may_apply: BTreeSet<TopicPartition>,
    seen: Seen,
    done: CancellationToken,
}

/// The cases that the simulation has met: a simulation that meets nothing proves nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    commits: usize,
    moved: usize,
    seeks: usize,
    lost_answers: usize,
    revoked: usize,
    rejoined: usize,
}

fn partition(number: usize) -> TopicPartition {
    TopicPartition { topic: Arc::from("t"), partition: i32::try_from(number).expect("few") }
}

fn number(partition: &TopicPartition) -> usize {
    usize::try_from(partition.partition).expect("not negative")
}

fn record(number: usize, offset: i64) -> Fetched {
    let id = i32::try_from(offset).expect("small") * PARTITIONS + partition(number).partition;
    Fetched { partition: partition(number).partition, ..plans::record_of(id, offset) }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            events: VecDeque::new(),
            seeks: Vec::new(),
            assignments: 0,
            heard: HashMap::new(),
            steps: 0,
            may_apply: BTreeSet::new(),
            seen: Seen::default(),
            done: CancellationToken::new(),
        };
        for number in 0..world.partitions.len() {
            world.grow(number);
        }
        world
    }

    /// Something happens, as long as there are events left; then the log is only read to its end.
    fn step(&mut self) {
        let number = self.random.random_range(0..self.partitions.len());
        self.steps += 1;
        assert!(self.steps < 100 * EVENTS, "the worker makes no progress");
        if self.steps == EVENTS {
            // A worker looks at the position of a partition when a record of it comes; the source writes one every second.
            (0..self.partitions.len()).for_each(|number| self.grow(number));
        }
        match self.random.random_range(0..if self.is_restless() { 20 } else { 10 }) {
            0..=4 => self.fetch(number),
            5..=7 => self.execute_seek(),
            8..=9 => self.assign(),
            10..=13 => self.grow(number),
            14..=15 => self.revoke(number),
            16..=17 => self.apply_elsewhere(number),
            18 => self.replay(number),
            _ => {}
        }
        if !self.is_restless() && self.partitions.iter().all(Partition::is_applied) {
            self.done.cancel();
        }
    }

    fn is_restless(&self) -> bool {
        self.steps < EVENTS
    }

    fn grow(&mut self, number: usize) {
        let offsets = &mut self.partitions[number].offsets;
        for _ in 0..self.random.random_range(1..8) {
            let hole = if self.random.random_bool(0.2) { self.random.random_range(1..4) } else { 0 };
            offsets.push(offsets.last().map_or(0, |last| last + 1) + hole);
        }
    }

    /// The consumer's thread reads some records of a partition.
    fn fetch(&mut self, number: usize) {
        let count = self.random.random_range(1..6);
        let part = &mut self.partitions[number];
        if part.assignment.is_none() {
            return;
        }
        let read = part.from(part.fetch_at).take(count).collect::<Vec<_>>();
        part.fetch_at = read.last().map(|last| last + 1).or(part.fetch_at);
        for offset in read {
            self.push(ConsumerEvent::Fetched(record(number, offset)));
        }
    }

    fn assign(&mut self) {
        let free = (0..self.partitions.len()).filter(|&number| self.partitions[number].assignment.is_none());
        let given = free.filter(|_| self.random.random_bool(0.7)).collect::<Vec<_>>();
        if given.is_empty() {
            return;
        }
        self.assignments += 1;
        for &number in &given {
            let part = &mut self.partitions[number];
            part.assignment = Some(self.assignments);
            part.fetch_at = part.position;
        }
        let starts = given.into_iter().map(|number| (partition(number), self.partitions[number].position));
        let starts = starts.collect();
        self.push(ConsumerEvent::Assigned(starts));
    }

    fn revoke(&mut self, number: usize) {
        if self.partitions[number].assignment.take().is_some() {
            self.seen.revoked += 1;
            self.push(ConsumerEvent::Revoked(vec![partition(number)]));
        }
    }

    /// Another worker applies a part of a partition that it has, of which this one may not have heard yet.
    fn apply_elsewhere(&mut self, number: usize) {
        let count = self.random.random_range(1..6);
        let part = &mut self.partitions[number];
        if part.assignment.is_none()
            && let Some(last) = part.from(part.position).take(count).last()
        {
            part.position = Some(last + 1);
        }
    }

    /// An operator moves a position back, now and then to the earliest record.
    fn replay(&mut self, number: usize) {
        let earliest = self.random.random_bool(0.3);
        let part = &mut self.partitions[number];
        let applied = part.offsets.iter().copied().filter(|&offset| Some(offset) < part.position).collect::<Vec<_>>();
        part.position = if earliest { None } else { applied.choose(&mut self.random).copied().or(part.position) };
    }

    /// The consumer goes where it was asked to go, unless the partition has been revoked since.
    fn execute_seek(&mut self) {
        if self.seeks.is_empty() {
            return;
        }
        let (partition, assignment, offset) = self.seeks.remove(0);
        let part = &mut self.partitions[number(&partition)];
        if part.assignment == Some(assignment) {
            part.fetch_at = Some(offset);
            self.seen.seeks += 1;
            self.push(ConsumerEvent::Sought { partition, offset });
        }
    }

    fn push(&mut self, event: ConsumerEvent) {
        self.events.push_back((event, self.assignments));
    }

    fn take(&mut self) -> Option<ConsumerEvent> {
        let (event, assignment) = self.events.pop_front()?;
        if let ConsumerEvent::Assigned(partitions) = &event {
            self.heard.extend(partitions.iter().map(|(partition, _)| (partition.clone(), assignment)));
            self.may_apply.extend(partitions.iter().map(|(partition, _)| partition.clone()));
        }
        Some(event)
    }

    /// The worker leaves the group and joins it anew.
    fn rejoin(&mut self) {
        self.events.clear();
        self.seeks.clear();
        for part in &mut self.partitions {
            part.assignment = None;
        }
        self.may_apply.clear();
    }

    fn positions(&self, planned: &Planned) -> Vec<Option<i64>> {
        planned.batch.ranges.keys().map(|partition| self.partitions[number(partition)].position).collect()
    }

    /// The transaction: the positions decide.
    fn commit(&mut self, planned: &Planned) -> Result<(), Vec<Option<i64>>> {
        let found = self.positions(planned);
        let expected = planned.batch.ranges.keys().map(|partition| planned.starts.get(partition).copied().flatten());
        if expected.ne(found.iter().copied()) {
            return Err(found);
        }
        let mut records = BTreeMap::<usize, Vec<i64>>::new();
        for document in &planned.batch.documents {
            let number = usize::try_from(document.record.partition).expect("not negative");
            records.entry(number).or_default().push(document.record.offset);
        }
        for (partition, range) in &planned.batch.ranges {
            let part = &mut self.partitions[number(partition)];
            let mut applied = records.remove(&number(partition)).unwrap_or_default();
            applied.sort_unstable();
            let behind = part.from(part.position).take_while(|&offset| offset < range.next_offset);
            assert!(behind.eq(applied), "a commit skips or repeats records of {partition:?}");
            part.position = Some(range.next_offset);
        }
        assert!(records.is_empty(), "a record is applied without its position");
        self.seen.commits += 1;
        Ok(())
    }
}

/// The twin of the consumer.
struct MemoryLog(Rc<RefCell<World>>);

impl Log for MemoryLog {
    async fn next(&mut self) -> Result<ConsumerEvent, Error> {
        loop {
            if let Some(event) = self.0.borrow_mut().take() {
                return Ok(event);
            }
            self.0.borrow_mut().step();
            if self.0.borrow().done.is_cancelled() {
                return std::future::pending().await;
            }
        }
    }

    fn try_next(&mut self) -> Result<Option<ConsumerEvent>, Error> {
        let mut world = self.0.borrow_mut();
        if world.random.random_bool(0.4) {
            world.step();
        }
        Ok(if world.random.random_bool(0.8) { world.take() } else { None })
    }

    fn seek(&mut self, partition: TopicPartition, offset: i64) {
        let mut world = self.0.borrow_mut();
        let assignment = world.heard.get(&partition).copied().unwrap_or(0);
        world.seeks.push((partition, assignment, offset));
    }
}

/// The twin of PostgreSQL.
struct MemoryTarget(Rc<RefCell<World>>);

impl Apply for MemoryTarget {
    async fn apply(
        &mut self,
        planned: &Planned,
        partitions: &[TopicPartition],
        cancel: &CancellationToken,
    ) -> Result<BatchEnd, Error> {
        let world = &mut *self.0.borrow_mut();
        let batch = planned.batch.ranges.keys();
        let foreign = batch.filter(|partition| !world.may_apply.contains(partition)).collect::<Vec<_>>();
        assert!(foreign.is_empty(), "a batch holds records of {foreign:?}, which were revoked before it was begun");
        world.may_apply = partitions.iter().cloned().collect();
        loop {
            for _ in 0..world.random.random_range(0..4) {
                world.step();
            }
            match world.random.random_range(0..10) {
                // Away before COMMIT.
                0 if world.is_restless() && cancel.is_cancelled() => return Ok(BatchEnd::GivenUp),
                0 if world.is_restless() => {}
                // Away after COMMIT.
                1 if world.is_restless() => {
                    if let Ok(()) = world.commit(planned) {
                        world.seen.lost_answers += 1;
                    }
                }
                _ => {
                    return Ok(match world.commit(planned) {
                        Ok(()) => BatchEnd::Applied,
                        Err(positions) => {
                            world.seen.moved += 1;
                            BatchEnd::Moved(positions)
                        }
                    });
                }
            }
        }
    }
}

/// Runs one world to its end.
async fn run(seed: u64) -> Seen {
    let world = Rc::new(RefCell::new(World::new(seed)));
    let done = world.borrow().done.clone();
    let bounds = BatchBounds { records: world.borrow_mut().random.random_range(1..9), bytes: usize::MAX };
    let planner = Planner::without_topics(Arc::new(plans::users()));
    loop {
        let stalls = Stalls::new("worker", |_, _| {});
        let mut reader = BatchReader::new(MemoryLog(world.clone()), planner.clone(), bounds, stalls);
        let mut target = MemoryTarget(world.clone());
        match apply_batches(&mut reader, &mut target, RateLimiter::new(None), &done).await {
            // A position was moved to the earliest record: only an assignment goes there.
            Err(Error::OffsetMoved { found: None, .. }) => {
                let mut world = world.borrow_mut();
                world.seen.rejoined += 1;
                world.rejoin();
            }
            ended => break ended.expect("nothing halts"),
        }
    }
    let world = world.borrow();
    assert!(world.partitions.iter().all(Partition::is_applied), "records are left");
    world.seen
}

#[test]
fn every_commit_moves_the_positions_over_exactly_the_records_behind_them() {
    let mut all = Seen::default();
    let whole = seeds::each(SEEDS, async |seed| {
        let seen = run(seed).await;
        all.commits += seen.commits;
        all.moved += seen.moved;
        all.seeks += seen.seeks;
        all.lost_answers += seen.lost_answers;
        all.revoked += seen.revoked;
        all.rejoined += seen.rejoined;
    });
    let Seen { commits, moved, seeks, lost_answers, revoked, rejoined } = all;
    let rarest = [commits, moved, seeks, lost_answers, revoked, rejoined].into_iter().min();
    assert!(!whole || rarest > Some(10), "the worlds are too quiet: {all:?}");
}

//! Interleaves the stream with reads, so that in each partition the version of a key never goes backwards. Pure.
//!
//! # The problem
//! The stream gives what happened, in order. A read (a snapshot chunk, or documents read again for a repair) gives what
//! *was*, as of a cluster time `T`. Both run at the same time, and a row read at `T` may reach the log long after `T`.
//! The sink would survive any order, because the highest version wins. The log would not: compaction keeps the *last*
//! record of a key, so an old row behind a newer change would become the only truth left.
//!
//! # The rule
//! ```text
//!                 begin                     read at T           release
//!                   │                           │                  │
//!  reads   ─────────●━━━━━━━━ reading ━━━━━━━━━━●┄┄┄┄ held ┄┄┄┄┄┄┄┄▶ rows, without the keys in ★
//!                   │                                              │
//!  stream  ──a1──b2─┼──a3───────────c4──────────────a5────b6───────┼─────c7──▶
//!                   └──────────── keys are recorded ───────────────┘
//!                                              T = 4    ★ = {a, b}: recorded above T
//! ```
//! 1. [`Merge::begin`] before the read: from here on every key that the stream gives for the collection is recorded with
//!    its highest version. It returns a *not_before*: the read must not be older. (It asks for a moment that a majority
//!    already held; a new primary might otherwise answer from before it.)
//! 2. [`Merge::hold`] after the read: the rows wait until the stream's frontier covers `T`. Then every change at or before
//!    `T` has been given, so no later change can be older than a row.
//! 3. [`Merge::release`]: a row whose key was recorded above `(T, snapshot)` is dropped; the stream has given something
//!    newer. The others go out at `(T, snapshot)`, above everything the stream gave for their keys, and recording ends. They
//!    go to the log right behind what was given so far, so they are released only when there is room for them.
//!
//! Why dropping loses nothing: each change carries the whole document (or says that it is gone), so a newer change makes
//! the older row superfluous. Why the not_before: a change given *before* `begin` is not recorded, but it is at or before the
//! not_before, so it is at or before `T`, so it loses to the row rightly.
//!
//! Several reads of one collection may be under way. What one releases is recorded for the others, as if the stream had
//! given it, unless they are of one *walk*: the chunks of a snapshot's run never hold the same key.
//!
//! A truncating control voids everything at or below its version, so rows read at or before it are dropped too.
//!
//! # Bounds
//! The recorded keys (`recorded.rs`) are bounded by what the stream gives between `begin` and release, and rows by what was read; the caller
//! bounds both by having few reads under way.
//!
//! Rejected: publishing rows at once and leaving the rest to the sink (compaction, above); stopping the stream during a
//! read (lag grows by every chunk); watermark writes to the source as in DBLog (the source is not ours to write to).

use std::{collections::BTreeMap, sync::Arc};

use super::{batch::StreamBatch, recorded::Recorded};
use crate::model::{Change, ClusterTime, Frontier, Version};

/// Permission to read: hand it back with the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    id: u64,
    /// The read must not be older than this.
    pub(crate) not_before: ClusterTime,
}

/// Rows of a read that may go out now, in the order they were read.
#[derive(Debug, PartialEq)]
pub struct Released<Tag> {
    /// The rows that are still news.
    pub changes: Vec<Change>,
    /// How many rows were dropped because the stream has given something newer.
    pub superseded: usize,
    /// The value that the caller attached to the read; to be saved together with the rows.
    pub tag: Tag,
}

/// The merge of one stream and any number of reads. `Tag` is what the caller wants back with released rows.
#[derive(Debug)]
pub struct Merge<Tag> {
    epoch: u32,
    /// The newest cluster time of anything given or released.
    newest: ClusterTime,
    frontier: Frontier,
    /// In the order in which they began.
    reads: BTreeMap<u64, Read<Tag>>,
    recorded: Recorded,
    next_id: u64,
}

#[derive(Debug)]
struct Read<Tag> {
    collection: Arc<str>,
    walk: Option<u64>,
    rows: Option<Rows<Tag>>,
}

#[derive(Debug)]
struct Rows<Tag> {
    read_at: ClusterTime,
    changes: Vec<Change>,
    tag: Tag,
}

impl<Tag> Merge<Tag> {
    /// Starts where the stream starts: everything given earlier, in this process or another, is at or before `start`.
    pub fn new(epoch: u32, start: ClusterTime) -> Self {
        let (reads, recorded) = (BTreeMap::new(), Recorded::default());
        Self { epoch, newest: start, frontier: Frontier::default(), reads, recorded, next_id: 0 }
    }

    /// Begins a read: call it *before* the read is sent, and hand its ticket to the reader.
    ///
    /// Reads of the same `walk` never hold the same key; a read without one may hold any.
    pub fn begin(&mut self, collection: &str, walk: Option<u64>) -> Ticket {
        let id = self.next_id;
        self.next_id += 1;
        let collection: Arc<str> = collection.into();
        self.recorded.begin(collection.clone(), id);
        self.reads.insert(id, Read { collection, walk, rows: None });
        Ticket { id, not_before: self.newest }
    }

    /// Gives a read up; its ticket is void.
    pub fn abandon(&mut self, ticket: Ticket) {
        if let Some(read) = self.reads.remove(&ticket.id) {
            self.forget(&read.collection);
        }
    }

    /// Takes the rows of a read; they come out of [`Merge::release`] when nothing older can follow them.
    ///
    /// `changes` carry [`Version::snapshot`] of `read_at` (and the op of the read: snapshot, repair, or delete for a
    /// document that a repair did not find).
    ///
    /// # Panics
    /// When the read is older than its not_before, is of another version, or never began: the order in the log would be wrong,
    /// and nobody would notice.
    pub fn hold(&mut self, ticket: Ticket, read_at: ClusterTime, changes: Vec<Change>, tag: Tag) {
        assert!(read_at >= ticket.not_before, "a read at {read_at} is older than its not_before {}", ticket.not_before);
        let version = Version::snapshot(self.epoch, read_at);
        assert!(changes.iter().all(|change| change.version == version), "a read at {read_at} holds another version");
        let read = self.reads.get_mut(&ticket.id).expect("the read has begun");
        read.rows = Some(Rows { read_at, changes, tag });
    }

    /// Takes note of a batch of the stream; its changes go to the log before anything that is released from now on.
    pub fn stream(&mut self, batch: &StreamBatch) {
        for change in &batch.changes {
            self.newest = self.newest.max(change.version.time);
            self.recorded.change(change);
        }
        for control in &batch.controls {
            self.newest = self.newest.max(control.version.time);
            if control.truncate {
                self.recorded.void(&control.namespace.collection, control.version);
            }
        }
        self.frontier = self.frontier.max(batch.position.frontier);
    }

    /// How many reads have begun and are not released.
    pub fn pending(&self) -> usize {
        self.reads.len()
    }

    /// Releases one read, if the rows of any may go out now. They must go to the log right behind everything given and
    /// released so far.
    pub fn release(&mut self) -> Option<Released<Tag>> {
        let (id, read, rows) = self.next_covered()?;
        let version = Version::snapshot(self.epoch, rows.read_at);
        let all = rows.changes.len();
        let mut changes = rows.changes;
        self.recorded.retain_newest(&read.collection, id, version, &mut changes);
        self.newest = self.newest.max(rows.read_at);
        let meets = |other: &Read<Tag>| {
            other.collection == read.collection && (other.walk.is_none() || other.walk != read.walk)
        };
        if self.reads.values().any(meets) {
            changes.iter().for_each(|change| self.recorded.change(change));
        }
        self.forget(&read.collection);
        Some(Released { superseded: all - changes.len(), changes, tag: rows.tag })
    }

    /// Forgets what no read of the collection looks at any more.
    fn forget(&mut self, collection: &str) {
        let oldest = self.reads.iter().find(|(_, read)| *read.collection == *collection).map(|(id, _)| *id);
        self.recorded.forget(collection, oldest);
    }

    /// Removes the oldest read whose rows may go out.
    fn next_covered(&mut self) -> Option<(u64, Read<Tag>, Rows<Tag>)> {
        let frontier = self.frontier;
        let covered = |read: &Read<Tag>| read.rows.as_ref().is_some_and(|rows| frontier.covers(rows.read_at));
        let id = *self.reads.iter().find(|(_, read)| covered(read))?.0;
        let mut read = self.reads.remove(&id)?;
        let rows = read.rows.take()?;
        Some((id, read, rows))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bson::rawdoc;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Control, ControlKind, Key, Namespace, Op, ResumeToken};
    use crate::source::Position;

    /// A source of four documents whose every operation has an instant of its own, or shares one with others.
    #[derive(Clone, Debug)]
    struct Source {
        /// Ascending by version; a value or a delete.
        operations: Vec<(i32, Version, Option<i32>)>,
    }

    const KEYS: i32 = 4;
    const EPOCH: u32 = 1;

    fn at(i: u32) -> ClusterTime {
        ClusterTime { t: 1, i }
    }

    impl Source {
        /// `steps`: key, whether it is a delete, and whether it belongs to the transaction of the step before.
        fn new(steps: Vec<(i32, bool, bool)>) -> Self {
            let mut operations: Vec<(i32, Version, Option<i32>)> = Vec::new();
            for (value, (key, delete, same)) in steps.into_iter().enumerate() {
                let version = match operations.last() {
                    Some((_, last, _)) if same => Version { op: last.op + 1, ..*last },
                    Some((_, last, _)) => Version { time: last.time.next(), op: 0, ..*last },
                    None => Version { epoch: EPOCH, time: at(1), op: 0 },
                };
                operations.push((key, version, (!delete).then_some(value as i32)));
            }
            Self { operations }
        }

        fn end(&self) -> ClusterTime {
            self.operations.last().map_or(at(0), |(_, version, _)| version.time)
        }

        fn value(&self, key: i32, time: ClusterTime) -> Option<i32> {
            let before = self.operations.iter().rev().find(|(of, version, _)| *of == key && version.time <= time);
            before.and_then(|(_, _, value)| *value)
        }
    }

    fn change(key: i32, version: Version, op: Op, value: Option<i32>) -> Change {
        let id = rawdoc! { "_id": key };
        Change {
            namespace: Namespace::new("shop", "orders"),
            key: Key::from_id(&id).expect("a key"),
            id,
            version,
            op,
            document: value.map(|value| rawdoc! { "_id": key, "value": value }),
            upper: version.time,
            wall_ms: 0,
            update_description: None,
            collection_uuid: None,
            replaces: None,
        }
    }

    fn position(frontier: Frontier) -> Position {
        let token = rawdoc! { "_data": "8265000001000000022B0229296E1404" };
        Position { token: ResumeToken::from_raw(&token).expect("a token"), frontier, as_of_ms: 0, held: None }
    }

    fn batch(changes: Vec<Change>, frontier: ClusterTime) -> StreamBatch {
        StreamBatch { changes, controls: Vec::new(), position: position(Frontier(frontier)) }
    }

    fn rows(source: &Source, keys: &[i32], time: ClusterTime) -> Vec<Change> {
        let row = |key: &i32| {
            source
                .value(*key, time)
                .map(|value| change(*key, Version::snapshot(EPOCH, time), Op::Snapshot, Some(value)))
        };
        keys.iter().filter_map(row).collect()
    }

    /// The contents of the log: every record in order.
    #[derive(Default)]
    struct Log {
        records: Vec<Change>,
    }

    impl Log {
        fn released<Tag>(&mut self, merge: &mut Merge<Tag>) -> bool {
            let released = merge.release();
            let some = released.is_some();
            self.records.extend(released.into_iter().flat_map(|released| released.changes));
            some
        }

        /// The last record of each key, which is also what compaction leaves.
        fn last(&self) -> HashMap<Key, &Change> {
            self.records.iter().map(|change| (change.key.clone(), change)).collect()
        }
    }

    /// One step of the world; the numbers choose among what is possible.
    #[derive(Clone, Debug)]
    enum Step {
        /// The stream gives some of its next operations, and perhaps says that their instant is complete.
        Stream(usize, bool),
        /// A read of everything begins.
        Begin,
        /// The next chunk of the walk begins: one key of it, or the first one of another walk.
        Chunk,
        /// There is room for what may go out.
        Release,
        /// A read is made, between its not_before and the end of the source.
        Read(usize, usize),
        /// Its rows arrive.
        Arrive(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..4usize, any::<bool>()).prop_map(|(n, complete)| Step::Stream(n, complete)),
            2 => Just(Step::Begin),
            3 => Just(Step::Chunk),
            3 => Just(Step::Release),
            3 => (any::<usize>(), any::<usize>()).prop_map(|(which, when)| Step::Read(which, when)),
            3 => any::<usize>().prop_map(Step::Arrive),
        ]
    }

    struct World {
        source: Source,
        merge: Merge<()>,
        log: Log,
        /// How many operations the stream has given.
        given: usize,
        /// How many chunks have begun: one key each, and then the next walk.
        chunks: i32,
        /// Tickets and keys of reads that are not made yet.
        begun: Vec<(Ticket, Vec<i32>)>,
        /// Reads that were made, and whose rows have not arrived.
        made: Vec<(Ticket, Vec<i32>, ClusterTime)>,
        snapshot_taken: bool,
    }

    impl World {
        fn take(&mut self, step: Step) {
            match step {
                Step::Stream(n, complete) => self.give(n, complete),
                Step::Begin => self.begun.push((self.merge.begin("orders", None), (0..KEYS).collect())),
                Step::Chunk => {
                    let (walk, key) = (self.chunks / KEYS, self.chunks % KEYS);
                    self.chunks += 1;
                    self.begun.push((self.merge.begin("orders", Some(walk as u64)), vec![key]));
                }
                Step::Release => drop(self.log.released(&mut self.merge)),
                Step::Read(which, when) if !self.begun.is_empty() => {
                    let (ticket, keys) = self.begun.remove(which % self.begun.len());
                    let span = self.source.end().i.saturating_sub(ticket.not_before.i) as usize;
                    self.made.push((ticket, keys, at(ticket.not_before.i + (when % (span + 1)) as u32)));
                }
                Step::Arrive(which) if !self.made.is_empty() => {
                    let (ticket, keys, time) = self.made.remove(which % self.made.len());
                    self.snapshot_taken = true;
                    self.merge.hold(ticket, time, rows(&self.source, &keys, time), ());
                }
                Step::Read(..) | Step::Arrive(_) => {}
            }
        }

        fn give(&mut self, n: usize, complete: bool) {
            let end = (self.given + n).min(self.source.operations.len());
            let operations = &self.source.operations[self.given..end];
            let changes = operations.iter().map(|(key, version, value)| {
                let op = if value.is_some() { Op::Replace } else { Op::Delete };
                change(*key, *version, op, *value)
            });
            let changes: Vec<_> = changes.collect();
            self.given = end;
            let last = self.source.operations[..end].last().map_or(at(0), |(_, version, _)| version.time);
            let more = self.source.operations.get(end).is_some_and(|(_, version, _)| version.time == last);
            let frontier = if complete && !more { last.next() } else { last };
            let batch = batch(changes, frontier);
            self.merge.stream(&batch);
            self.log.records.extend(batch.changes);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn versions_never_go_backwards_and_nothing_is_lost(
            operations in proptest::collection::vec((0..KEYS, any::<bool>(), proptest::bool::weighted(0.3)), 1..20),
            // The stream may start in the middle of the source's history: the snapshot has to bring what was before.
            start in 0..20usize,
            steps in proptest::collection::vec(step(), 0..40),
        ) {
            let source = Source::new(operations);
            let start = start.min(source.operations.len());
            let not_before = source.operations[..start].last().map_or(at(0), |(_, version, _)| version.time);
            // A stream that starts at an instant gives all of it.
            let given = source.operations.iter().take_while(|(_, version, _)| version.time < not_before).count();
            let mut world = World {
                source, merge: Merge::new(EPOCH, not_before), log: Log::default(), given,
                chunks: 0, begun: Vec::new(), made: Vec::new(), snapshot_taken: false,
            };
            for step in steps {
                world.take(step);
            }
            // In the end everything that began is read, and the stream has given everything.
            world.take(Step::Begin);
            while !world.begun.is_empty() {
                world.take(Step::Read(0, usize::MAX));
            }
            while !world.made.is_empty() {
                world.take(Step::Arrive(0));
            }
            world.give(usize::MAX / 2, true);
            while world.log.released(&mut world.merge) {}

            prop_assert_eq!(world.merge.pending(), 0);
            prop_assert!(world.merge.recorded.is_empty(), "what was recorded is forgotten");
            let mut highest: HashMap<Key, Version> = HashMap::new();
            for change in &world.log.records {
                if let Some(before) = highest.insert(change.key.clone(), change.version) {
                    prop_assert!(before <= change.version, "{:?} goes from {} back to {}", change.id, before, change.version);
                }
            }
            prop_assert!(world.snapshot_taken);
            for key in 0..KEYS {
                let truth = world.source.value(key, world.source.end());
                let id = Key::from_id(&rawdoc! { "_id": key }).expect("a key");
                let logged = world.log.last().get(&id).and_then(|change| change.document.clone());
                prop_assert_eq!(logged, truth.map(|value| rawdoc! { "_id": key, "value": value }));
            }
        }
    }

    fn row(key: i32, time: ClusterTime) -> Change {
        change(key, Version::snapshot(EPOCH, time), Op::Snapshot, Some(0))
    }

    fn all<'a>(merge: &mut Merge<&'a str>) -> Vec<Released<&'a str>> {
        std::iter::from_fn(|| merge.release()).collect()
    }

    fn keys(released: &[Released<&str>]) -> Vec<Key> {
        released.iter().flat_map(|released| released.changes.iter().map(|change| change.key.clone())).collect()
    }

    #[test]
    fn rows_wait_until_their_instant_is_covered() {
        let mut merge = Merge::new(EPOCH, at(3));
        let ticket = merge.begin("orders", None);
        assert_eq!(ticket.not_before, at(3));
        merge.hold(ticket, at(5), vec![row(1, at(5))], "chunk");
        assert!(merge.release().is_none());
        merge.stream(&batch(Vec::new(), at(5)));
        assert!(merge.release().is_none(), "the frontier is exclusive");
        merge.stream(&batch(Vec::new(), at(6)));
        assert_eq!(merge.release(), Some(Released { changes: vec![row(1, at(5))], superseded: 0, tag: "chunk" }));
    }

    #[test]
    fn a_newer_change_supersedes_a_row_and_an_older_one_does_not() {
        let mut merge = Merge::new(EPOCH, at(3));
        let ticket = merge.begin("orders", None);
        let version = |i| Version { epoch: EPOCH, time: at(i), op: 0 };
        let changes = vec![change(1, version(4), Op::Replace, Some(1)), change(2, version(7), Op::Delete, None)];
        merge.stream(&batch(changes, at(8)));
        merge.hold(ticket, at(5), vec![row(1, at(5)), row(2, at(5)), row(3, at(5))], "chunk");
        let released = all(&mut merge);
        assert_eq!(keys(&released), [row(1, at(5)).key, row(3, at(5)).key]);
        assert_eq!(released[0].superseded, 1);
    }

    #[test]
    fn an_older_read_does_not_follow_a_newer_one() {
        let mut merge = Merge::new(EPOCH, at(3));
        let (old, new) = (merge.begin("orders", Some(0)), merge.begin("orders", None));
        merge.stream(&batch(Vec::new(), at(9)));
        merge.hold(new, at(6), vec![row(1, at(6))], "repair");
        assert_eq!(keys(&all(&mut merge)), [row(1, at(6)).key]);
        merge.hold(old, at(5), vec![row(1, at(5)), row(2, at(5))], "chunk");
        assert_eq!(keys(&all(&mut merge)), [row(2, at(5)).key]);
        assert_eq!(merge.begin("orders", None).not_before, at(6), "nor does one that begins behind it");
    }

    #[test]
    fn chunks_of_one_walk_do_not_record_each_other() {
        let mut merge = Merge::new(EPOCH, at(3));
        let [first, _second] = [0, 1].map(|_| merge.begin("orders", Some(0)));
        merge.stream(&batch(Vec::new(), at(9)));
        merge.hold(first, at(5), vec![row(1, at(5))], "chunk");
        assert_eq!(keys(&all(&mut merge)), [row(1, at(5)).key]);
        assert_eq!(merge.recorded.keys("orders"), 0);
    }

    #[test]
    fn a_truncation_voids_rows_read_before_it() {
        let control = |truncate| Control {
            namespace: Namespace::new("shop", "orders"),
            kind: ControlKind::Drop,
            version: Version { epoch: EPOCH, time: at(6), op: 0 },
            truncate,
        };
        for (truncate, left) in [(true, 0), (false, 1)] {
            let mut merge = Merge::new(EPOCH, at(3));
            let ticket = merge.begin("orders", None);
            let batch = StreamBatch { controls: vec![control(truncate)], ..batch(Vec::new(), at(7)) };
            merge.stream(&batch);
            merge.hold(ticket, at(5), vec![row(1, at(5))], "chunk");
            assert_eq!(keys(&all(&mut merge)).len(), left);
        }
    }

    #[test]
    fn an_abandoned_read_is_forgotten() {
        let mut merge = Merge::<()>::new(EPOCH, at(3));
        let ticket = merge.begin("orders", None);
        merge.abandon(ticket);
        assert!(merge.pending() == 0 && merge.recorded.is_empty());
    }

    #[test]
    #[should_panic(expected = "older than its not_before")]
    fn a_read_before_its_time_is_refused() {
        let mut merge = Merge::new(EPOCH, at(3));
        let ticket = merge.begin("orders", None);
        merge.hold(ticket, at(2), Vec::new(), ());
    }
}

//! Interleaves the stream with reads, so that in each partition the version of a key never goes backwards. Pure.
//!
//! # The problem
//! The stream tells what happened, in order. A read (a snapshot chunk, or documents read again for a repair) tells what
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
//!    its highest version. It returns a *floor*: the read must not be older. (It asks for a moment that a majority
//!    already held; a new primary might otherwise answer from before it.)
//! 2. [`Merge::hold`] after the read: the rows wait until the stream's frontier covers `T`. Then every change at or before
//!    `T` has been given, so no later change can be older than a row.
//! 3. Release: a row whose key was recorded above `(T, snapshot)` is dropped; the stream has given something newer. The
//!    others go out at `(T, snapshot)`, above everything the stream gave for their keys, and recording ends.
//!
//! Why dropping loses nothing: each change carries the whole document (or says that it is gone), so a newer change makes
//! the older row superfluous. Why the floor: a change given *before* `begin` is not recorded, but it is at or before the
//! floor, so it is at or before `T`, so it loses to the row rightly.
//!
//! Several reads of one collection may be under way (a chunk and a repair). What one releases is recorded for the others,
//! as if the stream had given it.
//!
//! A truncating control voids everything at or below its version, so rows read at or before it are dropped too.
//!
//! # Bounds
//! What is recorded is bounded by what the stream gives between `begin` and release, and rows by what was read; the caller
//! bounds both by having few reads under way.
//!
//! Rejected: publishing rows at once and leaving the rest to the sink (compaction, above); stopping the stream during a
//! read (lag grows by every chunk); watermark writes to the source as in DBLog (the source is not ours to write to).

use std::collections::{BTreeMap, HashMap};

use super::StreamBatch;
use crate::model::{Change, ClusterTime, Control, Frontier, Key, Version};

/// Permission to read: hand it back with the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    id: u64,
    /// The read must not be older than this.
    pub floor: ClusterTime,
}

/// Rows of a read that may go out now, in the order they were read.
#[derive(Debug, PartialEq)]
pub struct Released<Tag> {
    /// The rows that are still news.
    pub changes: Vec<Change>,
    /// How many rows were dropped because the stream has given something newer.
    pub superseded: usize,
    /// What the caller attached to the read; to be saved together with the rows.
    pub tag: Tag,
}

/// The merge of one stream and any number of reads. `Tag` is what the caller wants back with released rows.
#[derive(Debug)]
pub struct Merge<Tag> {
    epoch: u32,
    /// The newest cluster time that any given change had.
    newest: ClusterTime,
    frontier: Frontier,
    /// In the order in which they began.
    reads: BTreeMap<u64, Read<Tag>>,
    next_id: u64,
}

#[derive(Debug)]
struct Read<Tag> {
    collection: String,
    /// Highest version given since the read began, by key.
    given: HashMap<Key, Version>,
    /// Everything at or below was voided by a truncating control.
    voided: Option<Version>,
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
        Self { epoch, newest: start, frontier: Frontier::default(), reads: BTreeMap::new(), next_id: 0 }
    }

    /// Begins a read: call it *before* the read is sent, and hand its ticket to the reader.
    pub fn begin(&mut self, collection: &str) -> Ticket {
        let id = self.next_id;
        self.next_id += 1;
        let read = Read { collection: collection.to_owned(), given: HashMap::new(), voided: None, rows: None };
        self.reads.insert(id, read);
        Ticket { id, floor: self.newest }
    }

    /// Gives a read up; its ticket is worth nothing any more.
    pub fn abandon(&mut self, ticket: Ticket) {
        self.reads.remove(&ticket.id);
    }

    /// Takes the rows of a read: they come out of this call or of a later [`Merge::stream`].
    ///
    /// `changes` carry [`Version::snapshot`] of `read_at` (and the op of the read: snapshot, repair, or delete for a
    /// document that a repair did not find).
    ///
    /// # Panics
    /// When the read is older than its floor, is of another version, or never began: the order in the log would be wrong,
    /// and nobody would notice.
    pub fn hold(&mut self, ticket: Ticket, read_at: ClusterTime, changes: Vec<Change>, tag: Tag) -> Vec<Released<Tag>> {
        assert!(read_at >= ticket.floor, "a read at {read_at} is older than its floor {}", ticket.floor);
        let version = Version::snapshot(self.epoch, read_at);
        assert!(changes.iter().all(|change| change.version == version), "a read at {read_at} holds another version");
        let read = self.reads.get_mut(&ticket.id).expect("the read has begun");
        read.rows = Some(Rows { read_at, changes, tag });
        self.release()
    }

    /// Takes a batch of the stream; what it gives back goes out right behind that batch.
    pub fn stream(&mut self, batch: &StreamBatch) -> Vec<Released<Tag>> {
        for change in &batch.changes {
            self.newest = self.newest.max(change.version.time);
            self.record(change);
        }
        for control in &batch.controls {
            self.newest = self.newest.max(control.version.time);
            self.void(control);
        }
        self.frontier = self.frontier.max(batch.position.frontier);
        self.release()
    }

    /// How many reads have begun and are not released.
    pub fn pending(&self) -> usize {
        self.reads.len()
    }

    fn record(&mut self, change: &Change) {
        for read in self.reads.values_mut().filter(|read| read.collection == change.namespace.collection) {
            let given = read.given.entry(change.key.clone()).or_insert(change.version);
            *given = change.version.max(*given);
        }
    }

    fn void(&mut self, control: &Control) {
        if !control.truncate {
            return;
        }
        for read in self.reads.values_mut().filter(|read| read.collection == control.namespace.collection) {
            read.voided = read.voided.max(Some(control.version));
        }
    }

    fn release(&mut self) -> Vec<Released<Tag>> {
        let mut released = Vec::new();
        while let Some((read, rows)) = self.next_covered() {
            let version = Version::snapshot(self.epoch, rows.read_at);
            let before = rows.changes.len();
            let mut changes = rows.changes;
            changes.retain(|row| {
                read.voided < Some(version) && read.given.get(&row.key).is_none_or(|given| *given <= version)
            });
            for change in &changes {
                self.record(change);
            }
            released.push(Released { superseded: before - changes.len(), changes, tag: rows.tag });
        }
        released
    }

    /// Removes a read whose rows wait for nothing any more.
    fn next_covered(&mut self) -> Option<(Read<Tag>, Rows<Tag>)> {
        let frontier = self.frontier;
        let covered = |read: &Read<Tag>| read.rows.as_ref().is_some_and(|rows| frontier.covers(rows.read_at));
        let id = *self.reads.iter().find(|(_, read)| covered(read))?.0;
        let mut read = self.reads.remove(&id)?;
        let rows = read.rows.take()?;
        Some((read, rows))
    }
}

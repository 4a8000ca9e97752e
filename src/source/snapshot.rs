//! The first full read: every mapped collection, several chunks at once, beside the stream.
//!
//! ```text
//!   readers (a few)                              pipeline
//!    │ ── Cut { parts } ───────────────────────────▶ │  the parts are saved; they are never chosen again
//!    │ ── Begin { collection, run, ready } ────────▶ │  ticket = merge.begin(collection, Some(run))
//!    │ ◀──────────────────── ticket ──────────────── │  ready.send(ticket)
//!    │    read a chunk of one part at T ≥ its not_before  │  (the stream goes on meanwhile)
//!    │ ── Chunk { ticket, T, rows, step, room } ───▶ │  merge.hold(ticket, T, rows, (step, room)) … merge.release()
//! ```
//! The read waits for the ticket, because a change that the stream gives between `Begin` and the read must be recorded.
//! An attempt that fails gives its ticket back (`GiveBack`), and the next one waits for another.
//! It never writes progress: that is saved with the rows, when they are released and logged. What has been read and is not
//! logged takes up *room*; when there is none left, nothing is read.
//!
//! `scheduler` says what is read next and when nothing is, `pace` how much at once, `read` is a reader.

mod chunk_sizer;
mod read;
mod scheduler;

use std::sync::Arc;

use bson::raw::RawDocumentBuf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) use self::chunk_sizer::ChunkSizer;
use self::{read::Reading, scheduler::SnapshotScheduler};
use super::{Error, Source, Ticket, id::id_of};
use crate::{
    model::{Change, ClusterTime, Frontier, Key, Namespace, Op, SnapshotState, SnapshotStep, Version},
    retry::Backoff,
};

/// What the snapshot says.
#[derive(Debug)]
pub enum SnapshotItem {
    /// It has chosen the parts of this run, before its first chunk.
    Cut(SnapshotState),
    /// It wants to read a chunk of this collection and waits for its ticket.
    Begin {
        /// The collection.
        collection: String,
        /// The run: its chunks never hold the same key.
        run: u64,
        /// Takes what `Merge::begin` gave.
        ready: oneshot::Sender<Ticket>,
    },
    /// It could not read it, and will ask for another ticket.
    GiveBack(Ticket),
    /// It has read one.
    Chunk {
        /// The ticket it was read with.
        ticket: Ticket,
        /// Cluster time it was read at.
        read_at: ClusterTime,
        /// The documents, as changes of version `Version::snapshot(epoch, read_at)`.
        changes: Vec<Change>,
        /// What it adds to the state of its collection, once its rows are logged.
        step: SnapshotStep,
        /// To be dropped once its rows are logged.
        room: MemoryPermit,
    },
}

/// Memory that a chunk takes up until this is dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    _permit: OwnedSemaphorePermit,
}

/// A running snapshot. Dropping it stops it; put to the saved states again it goes on with the chunks that were not saved.
#[derive(Debug)]
pub struct Snapshot {
    items: mpsc::Receiver<Result<SnapshotItem, Error>>,
    scheduler: Arc<SnapshotScheduler>,
    _running: tokio_util::sync::DropGuard,
}

/// MemoryPermit is counted in this many bytes.
const UNIT: usize = 1024;

impl Snapshot {
    /// Starts the readers. They wait for something to read.
    pub fn start(source: &Source, backoff: Backoff) -> Self {
        let cancel = CancellationToken::new();
        let config = source.config();
        let readers = config.snapshot_readers.max(1);
        // For each reader the chunk it has read and the ticket for the next one, so that neither waits for the other.
        let (sender, items) = mpsc::channel(readers * 2);
        let scheduler = Arc::new(SnapshotScheduler::new(config));
        let units = usize::try_from(config.snapshot_bytes.as_u64()).unwrap_or(usize::MAX) / UNIT;
        let units = units.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let room = Arc::new(Semaphore::new(units));
        for number in 1..=readers {
            let reading = Reading {
                source: source.of_task(&format!("snapshot reader {number}")),
                backoff,
                cancel: cancel.clone(),
                items: sender.clone(),
                scheduler: scheduler.clone(),
                room: room.clone(),
                units,
            };
            tokio::spawn(cancel.clone().run_until_cancelled_owned(reading.run()));
        }
        let watch = read::watch(source.clone(), scheduler.clone());
        tokio::spawn(cancel.clone().run_until_cancelled_owned(watch));
        Self { items, scheduler, _running: cancel.drop_guard() }
    }

    /// Reads what is left of a collection, or gives up what it was reading of it for another run.
    pub fn read(&self, state: SnapshotState) {
        self.scheduler.put(state);
    }

    /// Lets a collection stand still, or go on. Chunks that are being read come all the same.
    pub fn pause(&self, collection: &str, paused: bool) {
        self.scheduler.pause(collection, paused);
    }

    /// Begins no chunk while there is a reason.
    pub fn hold_back(&self, reason: Option<String>) {
        self.scheduler.hold_back(reason);
    }

    /// Tells how far the stream has come; while that is too far behind the source, no chunk begins.
    pub fn stands_at(&self, frontier: Frontier) {
        self.scheduler.stands_at(frontier);
    }

    /// Why no chunk begins; `None` while nothing holds it back.
    pub fn held_back(&self) -> Option<String> {
        self.scheduler.held_back()
    }

    /// Waits for the next item; for ever when there is nothing to read. Cancel-safe.
    ///
    /// # Errors
    /// Whatever no waiting mends; the class is never transient. The snapshot has ended then.
    pub async fn next_item(&mut self) -> Result<SnapshotItem, Error> {
        self.items.recv().await.unwrap_or(Err(Error::Ended))
    }
}

/// Documents read at `read_at` as changes, for a snapshot or a repair.
///
/// # Errors
/// [`Error::Reply`] when a document has no `_id` (halt).
pub fn snapshot_changes(
    namespace: &Namespace,
    epoch: u32,
    read_at: ClusterTime,
    documents: Vec<RawDocumentBuf>,
    op: Op,
) -> Result<Vec<Change>, Error> {
    let no_id = || Error::Reply { act: "read documents", field: "_id" };
    let change = |document: RawDocumentBuf| {
        let id = id_of(&document).ok_or_else(no_id)?;
        Ok(Change {
            namespace: namespace.clone(),
            key: Key::from_id(&id).ok_or_else(no_id)?,
            id,
            version: Version::snapshot(epoch, read_at),
            op,
            document: Some(document),
            upper: read_at,
            wall_ms: read_at.unix_ms(),
            update_description: None,
            collection_uuid: None,
        })
    };
    documents.into_iter().map(change).collect()
}

/// Documents that a read at `read_at` did not find, as deletes. Each id is a document `{_id: …}`.
pub fn deletes(namespace: &Namespace, epoch: u32, read_at: ClusterTime, ids: Vec<RawDocumentBuf>) -> Vec<Change> {
    let delete = |id: RawDocumentBuf| {
        let key = Key::from_id(&id)?;
        Some(Change {
            namespace: namespace.clone(),
            key,
            id,
            version: Version::snapshot(epoch, read_at),
            op: Op::Delete,
            document: None,
            upper: read_at,
            wall_ms: read_at.unix_ms(),
            update_description: None,
            collection_uuid: None,
        })
    };
    ids.into_iter().filter_map(delete).collect()
}

//! What the readers of a snapshot send to the term that publishes.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    model::{Change, ClusterTime, SnapshotState, SnapshotStep},
    source::Ticket,
};

/// A message of a reader.
#[derive(Debug)]
pub enum SnapshotItem {
    /// The parts of this run are chosen, before its first chunk.
    Cut(SnapshotState),
    /// A reader wants to read a chunk of this collection and waits for its ticket.
    Begin {
        /// The collection.
        collection: String,
        /// The run: its chunks never hold the same key.
        run: u64,
        /// Takes what `Merge::begin` gave.
        ready: oneshot::Sender<Ticket>,
    },
    /// It could not read the chunk, and will ask for another ticket.
    GiveBack(Ticket),
    /// It has read the chunk.
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
        permit: MemoryPermit,
    },
}

/// Memory that a chunk takes up until this is dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    pub(super) _permit: OwnedSemaphorePermit,
}

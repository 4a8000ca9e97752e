//! The messages from the readers of a snapshot to the term that publishes.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    model::{Change, ClusterTime, SnapshotState, SnapshotStep},
    source::Ticket,
};

/// A message of a reader.
#[derive(Debug)]
pub enum SnapshotItem {
    /// The parts of this run are chosen; sent before its first chunk.
    Cut(SnapshotState),
    /// A reader wants to read a chunk of this collection and waits for its ticket.
    Begin {
        /// The collection.
        collection: String,
        /// The run; its chunks never share a key.
        run: u64,
        /// Receives the ticket that `Merge::begin` returned.
        ready: oneshot::Sender<Ticket>,
    },
    /// The reader could not read the chunk, and will ask for another ticket.
    GiveBack(Ticket),
    /// The reader has read the chunk.
    Chunk {
        /// The ticket of the read.
        ticket: Ticket,
        /// Cluster time of the read.
        read_at: ClusterTime,
        /// The documents, as changes of version `Version::snapshot(epoch, read_at)`.
        changes: Vec<Change>,
        /// The chunk's step in the state of its collection, to be added once its rows are logged.
        step: SnapshotStep,
        /// The chunk's memory, to be dropped once its rows are logged.
        permit: MemoryPermit,
    },
}

/// Memory that a chunk occupies until this permit is dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    pub(super) _permit: OwnedSemaphorePermit,
}

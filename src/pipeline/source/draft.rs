//! The next transaction while it is gathered, and the one that is on its way.

use tokio::sync::oneshot;

use crate::{
    config::LogConfig,
    model::{Change, Control, Frontier, Removal, SnapshotState, SnapshotStep},
    source::{MemoryPermit, Ticket},
};

/// The contents of the next transaction.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) changes: Vec<Change>,
    /// Bytes of the documents of `changes`.
    bytes: usize,
    pub(super) controls: Vec<Control>,
    pub(super) removals: Vec<Removal>,
    /// Memory of the snapshot rows among the changes; free again when they are published.
    pub(super) permits: Vec<MemoryPermit>,
    /// Repairs among the changes and removals; answered when they are published.
    pub(super) repairs: Vec<oneshot::Sender<()>>,
}

impl Draft {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.controls.is_empty() && self.repairs.is_empty() && self.removals.is_empty()
    }

    /// Whether more may join. Nothing follows a control: it comes after the changes of its own batch.
    pub(super) fn has_room(&self, bounds: &LogConfig) -> bool {
        self.controls.is_empty()
            && self.changes.len() < bounds.transaction_changes
            && (self.bytes as u64) < bounds.transaction_bytes.as_u64()
    }

    pub(super) fn add(&mut self, mut changes: Vec<Change>) {
        let documents = changes.iter().filter_map(|change| change.document.as_ref());
        self.bytes += documents.map(|document| document.as_bytes().len()).sum::<usize>();
        self.changes.append(&mut changes);
    }
}

/// A transaction that is on its way; what to do once it is committed.
pub(super) struct UnderWay {
    pub(super) frontier: Frontier,
    /// Snapshots that advance with it.
    pub(super) moved: Vec<SnapshotState>,
    /// Memory of the snapshot rows in it.
    pub(super) permits: Vec<MemoryPermit>,
    /// Repairs in it.
    pub(super) repairs: Vec<oneshot::Sender<()>>,
}

/// The tag that comes back with the rows of a read.
pub(super) enum Tag {
    /// A chunk of a snapshot.
    Chunk(SnapshotStep, MemoryPermit),
    /// Documents that are repaired, or removed.
    Repair(Ticket, oneshot::Sender<()>),
}

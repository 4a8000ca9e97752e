//! Publisher.

use super::{Error, SnapshotState, StoredState, StreamState, Topics};
use crate::{
    config::LogConfig,
    model::{Change, Control, Frontier},
};

/// What becomes visible at once, or not at all.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Changes, in the order of the stream.
    pub changes: Vec<Change>,
    /// Controls; each goes to every partition of its collection, after the changes.
    pub controls: Vec<Control>,
    /// How far the stream has come with these changes, and the source's wall clock in milliseconds when it stood there.
    pub frontier: Option<(Frontier, i64)>,
    /// Whether the frontier goes to partitions without changes too.
    pub idle: bool,
    /// Where to go on after this transaction.
    pub state: StreamState,
    /// Snapshots that moved on with these changes.
    pub snapshots: Vec<SnapshotState>,
}

/// The one writer of a source stream.
pub struct Publisher {
    _private: (),
}

impl Publisher {
    /// Fences every older publisher of this stream, waits until their transactions are decided, and reads what they left.
    ///
    /// # Errors
    /// [`Error::Faults`], [`Error::Kafka`], [`Error::Timeout`], and those of [`read_state`](super::read_state).
    pub async fn connect(_cfg: &LogConfig, _topics: &Topics) -> Result<(Self, StoredState), Error> {
        todo!()
    }

    /// Publishes a transaction and waits until it is committed.
    ///
    /// Not cancel-safe: a publisher whose `publish` was dropped answers [`Error::Unusable`] from then on.
    ///
    /// # Errors
    /// Any error means that the outcome is unknown: drop the publisher and go on from the stored state of the next one.
    /// [`Error::Fenced`] means that another one already does.
    pub async fn publish(&mut self, _transaction: Transaction) -> Result<(), Error> {
        todo!()
    }

    /// This publisher's generation: one more than the last that published.
    pub fn generation(&self) -> u64 {
        todo!()
    }
}

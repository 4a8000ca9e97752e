//! MongoDB: change stream, snapshot and reads at one cluster time.

mod connect;
mod cursor;
mod error;
mod event;
mod frontier;
mod id;
mod lookup;
mod merge;
mod reader;
mod segment;
mod snapshot;
mod stream;

pub use connect::{Server, Source};
pub use error::Error;
pub use event::{OnDrop, Scope};
pub use merge::{Merge, Released, Ticket};
pub use reader::{Chunk, Limits, Read, ReadTime, Reader};
pub use snapshot::{Progress, Snapshot, SnapshotItem, snapshot_changes};
pub use stream::{ChangeStream, Position, Start, StreamBatch};

use std::time::Duration;

use crate::{metrics, retry};

/// Tells that the source waits for something to come back.
fn stalled(error: &Error, delay: Duration) {
    ::metrics::counter!(metrics::RETRIES, "role" => "source").increment(1);
    ::metrics::gauge!(metrics::STALLED, "role" => "source").set(1.0);
    tracing::warn!(delay_ms = delay.as_millis() as u64, error = retry::chain(error), "source stalled");
}

//! MongoDB: change stream, snapshot and reads at one cluster time. The only user of the driver.
//!
//! ```text
//!             ┌─ stream ─────────────────────────────────────────────┐
//!   MongoDB ──┤  cursor ─▶ event ─▶ segment ◀─ lookup     progress   ├──▶ StreamBatch ──┐
//!      │      └──────────────────────────────────────────────────────┘                  ▼
//!      │                                                                              merge ──▶ log
//!      │      ┌─ snapshot ──────────────────────┐                                       ▲
//!      ├──────┤  scheduler ─▶ a few readers     ├──────────────────▶ SnapshotItem ──────┘
//!      │      └─────────────────────────────────┘
//!      ├──────── reader ──▶ reconciler
//!      └──────── keys ────▶ reconciler
//! ```
//! Reading order: [`merge`](Merge) (why stream and reads may run at once), `progress` with `frontier` and `frontier_holds` (what
//! a position proves), `stream`, `cursor`, `decoder`, `segment`, `reader`, `snapshot`; then `connect` and `check`.
//!
//! It never writes to MongoDB, never saves a position, and never decodes a document: documents stay the bytes they are.
//!
//! Invariants:
//! - A change carries the whole document as it was at its version or later, and says up to when; or it is a delete.
//! - Everything before [`Position::frontier`] was given. The frontier never goes backwards.
//! - The changes that come out of [`Merge`] never take a key's version backwards.
//! - Lost history halts. It never starts again from now.

mod batch;
mod check;
mod connect;
mod cursor;
mod deadline;
mod decoder;
mod described;
mod error;
mod event;
mod frontier;
mod frontier_holds;
mod id;
mod keys;
mod lookup;
mod merge;
mod progress;
mod read_changes;
mod reader;
mod recorded;
mod repair;
mod segment;
mod snapshot;
mod stream;
#[cfg(test)]
pub(crate) mod twin;

pub use batch::{Position, Start, StreamBatch};
pub use check::CollectionKind;
pub(crate) use check::{Facts, Fault};
pub use connect::Source;
pub(crate) use connect::{PRIMARY, Server};
pub(crate) use described::Described;
pub use error::Error;
pub use event::{OnDrop, Scope};
pub(crate) use id::id_of;
pub(crate) use keys::{KeyBatch, KeyStream};
pub use merge::Merge;
pub(crate) use merge::Ticket;
pub(crate) use read_changes::{deletes, snapshot_changes};
pub use reader::{Chunk, Limits, Range, ReadTime};
pub(crate) use reader::{Read, SnapshotReader};
pub(crate) use repair::{Reread, reread};
pub(crate) use snapshot::{ChunkSizer, Rate};
#[cfg(test)]
pub(crate) use snapshot::{KEYS, TwinReaders};
pub use snapshot::{MemoryPermit, Snapshot, SnapshotItem};
pub use stream::ChangeStream;

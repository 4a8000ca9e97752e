//! MongoDB: change stream, snapshot and reads at one cluster time. The only user of the driver.
//!
//! ```text
//!             ┌─ stream ─────────────────────────────────────────────┐
//!   MongoDB ──┤  cursor ─▶ event ─▶ segment ◀─ lookup     frontier   ├──▶ StreamBatch ──┐
//!      │      └──────────────────────────────────────────────────────┘                  ▼
//!      │                                                                              merge ──▶ log
//!      │      ┌─ snapshot ──────────────────────┐                                       ▲
//!      ├──────┤  board ─▶ a few × reader.range  ├──────────────────▶ SnapshotItem ──────┘
//!      │      └─────────────────────────────────┘
//!      └──────── reader ──▶ reconciler
//! ```
//! Reading order: [`merge`](Merge) (why stream and reads may run at once), `frontier` and `holds` (what a position proves),
//! `stream`, `cursor`, `segment`, `reader`, `snapshot`; then `connect` and `check`.
//!
//! It never writes to MongoDB, never saves a position, and never decodes a document: they stay the bytes they are.
//!
//! Invariants:
//! - A change carries the whole document as it was at its version or later, and says up to when; or it is a delete.
//! - Everything before [`Position::frontier`] was given. The frontier never goes backwards.
//! - What comes out of [`Merge`] never takes a key's version backwards.
//! - Lost history halts. It never starts again from now.

mod check;
mod connect;
mod cursor;
mod error;
mod event;
mod frontier;
mod holds;
mod id;
mod lookup;
mod merge;
mod reader;
mod repair;
mod segment;
mod snapshot;
mod stream;

pub use check::{CollectionKind, Facts, Fault, Oplog};
pub use connect::{PRIMARY, Server, Source};
pub use error::{Cause, Error};
pub use event::{OnDrop, Scope};
pub use id::id_of;
pub use merge::{Merge, Released, Ticket};
pub use reader::{Chunk, Limits, Range, Read, ReadTime, SnapshotReader};
pub use repair::{Reread, reread};
pub(crate) use snapshot::ChunkSizer;
pub use snapshot::{MemoryPermit, Snapshot, SnapshotItem, deletes, snapshot_changes};
pub use stream::{ChangeStream, Position, Start, StreamBatch};

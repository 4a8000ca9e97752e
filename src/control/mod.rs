//! Requests of operators, their state, and the status: rows of the schema `driftless`, never calls.
//!
//! Commands write requests, the leader of the source reads them and reports progress. Nothing here writes a replicated row.

pub(crate) mod applied;
pub(crate) mod chunks;
pub mod dead_letters;
pub(crate) mod evidence;
pub mod findings;
pub mod guard;
pub(crate) mod integrity;
pub(crate) mod journal;
pub(crate) mod lead;
pub mod load_indexes;
pub mod mapping;
pub mod pauses;
pub mod processes;
pub mod proofs;
pub mod proven;
pub(crate) mod reads;
pub mod repairs;
pub mod replay;
pub(crate) mod reset;
pub(crate) mod settled;
pub(crate) mod shadow;
pub(crate) mod siblings;
pub mod snapshots;
pub(crate) mod stale;
pub mod status;
pub(crate) mod uninstall;

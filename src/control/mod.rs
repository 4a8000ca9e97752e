//! What operators ask for and read, and what the source's leader hears of it: rows of the schema `driftless`, never calls.
//!
//! Nothing here writes a replicated row.

pub mod dead_letters;
pub mod load_indexes;
pub mod repairs;
pub mod replay;
pub mod snapshots;
pub mod stale;
pub mod status;

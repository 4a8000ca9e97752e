//! The sink against a real PostgreSQL: records go in as they lie in the log, rows come out.

mod constraints;
mod laws;
mod operate;
mod refusals;
mod worker;
pub(crate) mod world;

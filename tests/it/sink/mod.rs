//! The sink against a real PostgreSQL: records go in as they lie in the log, rows come out.

mod constraints;
mod copy;
mod deferrable;
mod deferred;
mod identity;
mod isolation;
mod keys;
mod laws;
mod locks;
mod operate;
mod refusals;
mod shapes;
mod target;
mod types;
mod worker;
pub(crate) mod world;

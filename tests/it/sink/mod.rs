//! The sink against a real PostgreSQL: records go in as they are in the log, rows come out.

mod applied;
mod constraints;
mod copy;
mod deferrable;
mod extra_rows;
mod findings;
mod identity;
mod isolation;
mod keys;
mod laws;
mod load_indexes;
mod locks;
mod operate;
mod refusals;
mod roles;
mod shapes;
mod target;
mod types;
mod worker;
pub(crate) mod world;

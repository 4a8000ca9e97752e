//! The sink against a real PostgreSQL: records go in as they lie in the log, rows come out.

mod constraints;
mod laws;
mod operate;
mod refusals;
mod types;
mod worker;
mod world;

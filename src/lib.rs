//! `driftless` keeps PostgreSQL equal to a live MongoDB and proves it.

pub mod config;
pub mod demo;
pub mod log;
pub mod mapping;
pub mod metrics;
pub mod model;
pub mod reconcile;
pub mod retry;
pub mod sink;
pub mod source;
pub mod status;
pub mod supervisor;
pub mod telemetry;

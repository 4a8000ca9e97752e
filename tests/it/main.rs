//! Tests of the parts against real servers: `deploy/local/stack up` starts them.

mod cli;
mod data;
mod demo;
mod dlq;
mod log;
mod sink;
mod snapshot;
mod source;

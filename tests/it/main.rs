//! Tests of the parts against real servers, which `deploy/local/stack up` starts.

mod cli;
mod data;
mod demo;
mod dlq;
mod guard;
mod integrity;
mod log;
mod runbooks;
mod sink;
mod snapshot;
mod source;

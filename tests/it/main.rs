//! Tests of the parts against real servers, which `deploy/local/stack up` starts.

mod cli;
mod dashboards;
mod data;
mod demo;
mod dlq;
mod dry_run;
mod guard;
mod init;
mod integrity;
mod log;
mod runbooks;
mod schema;
mod sink;
mod snapshot;
mod source;

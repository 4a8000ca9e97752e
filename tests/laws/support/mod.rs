//! Support for the tests of the laws alone: the demo application's writes, and the oracle.

pub(crate) mod authority;
pub(crate) mod closed_broker;
pub(crate) mod closed_postgres;
pub(crate) mod connect;
pub(crate) mod load;
pub(crate) mod oracle;
pub(crate) mod prometheus;
pub(crate) mod skip;
pub(crate) mod small_server;

pub(crate) use driftless_testing::{
    DEADLINE, daemon, drill, migration, packages, port, random, roles, stack, status, topic, wait,
};

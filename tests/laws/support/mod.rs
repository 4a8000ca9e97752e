//! What the tests of the laws need beyond the support of all suites: the demo application's writes, and a second opinion.

pub(crate) mod load;
pub(crate) mod oracle;

pub(crate) use driftless_testing::{DEADLINE, daemon, drill, migration, random, stack, status, topic, wait};

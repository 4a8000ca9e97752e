//! Odd inputs: each has a number, a line in `docs/inputs.md`, and a test here whose name carries the number.
//!
//! A test writes its value where an application would, into MongoDB, and reads what became of it out of PostgreSQL; the
//! built daemon runs in between. What MongoDB itself refuses is written to Kafka as a record, made by the product's own
//! encoder and then changed. Nothing is mocked, and every value is compared exactly.
//!
//! All tests share one migration and one daemon ([`world`]); each has `_id`s of its own, which begin with its number.
//! [`table`] says what each input is and what must become of it, and keeps the page equal to the tests.

#![allow(clippy::print_stderr, reason = "what a daemon logged belongs on the terminal of a failed test")]

#[allow(dead_code, reason = "shared with the tests of the laws, which use all of it")]
#[path = "../laws/support"]
mod support {
    pub(crate) mod daemon;
    pub(crate) mod migration;
    pub(crate) mod stack;
    pub(crate) mod status;
    pub(crate) mod topic;
    pub(crate) mod wait;

    /// Longest wait for anything that only takes as long as the machine is busy.
    pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
}

mod bytes;
mod table;
mod world;

mod applications;
mod constraints;
mod dates;
mod events;
mod keys;
mod numbers;
mod strings;
mod structure;
mod types;

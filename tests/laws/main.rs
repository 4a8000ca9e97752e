//! The laws, tested on the running program and real servers: one file per law.
//!
//! Each test starts the built `driftless` with a configuration of its own (own databases, topics, port), lets the demo
//! application write, does its worst to the daemon or to a server, and then lets [`support::oracle`] compare everything.
//! Nothing in here uses the product's mapping, sink or reconciler; what it expects is written down a second time.
//!
//! The servers are those of `deploy/local/stack`, instance `main` (`DRIFTLESS_INSTANCE` names another one). Tests that
//! kill servers have an instance of their own, so that they disturb nobody. `DRIFTLESS_DRILL=1` makes the tests of the
//! first law longer.

#![allow(clippy::print_stderr, reason = "seeds and the moments of kills belong on the terminal of a failed test")]

mod support;

mod breaker;
mod continuity;
mod law_10_identity;
mod law_1_crash;
mod law_2_replay;
mod law_3_order;
mod law_4_transactions;
mod law_5_leadership;
mod law_6_clearing;
mod law_7_dead_letters;
mod law_8_history;
mod metrics;
mod names;
mod now;
mod odd_ids;
mod one_document;
mod oracle;
mod roles;
mod schema_changes;
mod snapshots;
mod staleness;
mod stop;
mod unreachable;
mod verdict;

//! The laws of ARCHITECTURE.md ("What holds"), tested on the running program and real servers. Each file is named after the
//! words of its law, and its header names the law; other files test the behaviour of the daemon as a whole.
//!
//! Each test starts the built `driftless` with a configuration of its own (its own databases, topics and port), lets the demo
//! application write, disrupts the daemon or a server, and then lets [`support::oracle`] compare everything. Nothing in here
//! uses the product's mapping, sink or reconciler; the expectations are written down a second time.
//!
//! The servers are those of `deploy/local/stack`, instance `main` (`DRIFTLESS_INSTANCE` names another one). Tests that kill
//! servers have an instance of their own, so that they disturb no other test.
//!
//! `DRIFTLESS_DRILL=1` makes these longer: kills ([`durable_before_position`], [`whole_documents`], [`baseline`]), damage to 100,000
//! documents ([`drill`]), 500 passes beside writes ([`no_false_report`]), passes beside index builds ([`baseline`]).

#![allow(clippy::print_stderr, reason = "seeds and the moments of kills belong on the terminal of a failed test")]

mod support;

mod any_order;
mod application;
mod application_drill;
mod applied;
mod baseline;
mod bounds;
mod breaker;
mod compaction;
mod consumers;
mod continuity;
mod dashboards;
mod delta;
mod drill;
mod durable_before_position;
mod failpoints;
mod findings;
mod gate;
mod guard;
mod into;
mod least_privilege;
mod lost_entries;
mod lost_history;
mod mapping_change;
mod metrics;
mod names;
mod no_false_report;
mod nothing_vanishes;
mod now;
mod odd_ids;
mod odd_rows;
mod ofrep;
mod one_document;
mod one_transaction;
mod one_writer;
mod only_the_sink_writes;
mod oracle;
mod pause;
mod pipeline_faults;
mod reads;
mod reads_refused;
mod reconcile;
mod repair;
mod reset;
mod roles;
mod rows_follow_documents;
mod schema_changes;
mod secure;
mod snapshots;
mod status;
mod stop;
mod unreachable;
mod verdict;
mod voided;
mod whole_documents;
mod whose_state;

//! The examples of `config/examples`, each a whole migration: its documents, odd ones among them, are copied while the
//! application goes on writing; then both sides are compared twice, by the product and by what is written down here again.
//!
//! [`manual`] keeps `docs/mapping.md` true to the reader of mapping files. The servers are those of the other tests.

#![allow(clippy::print_stderr, reason = "the seed belongs on the terminal of a failed test")]

#[path = "../laws/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "made for the tests of the laws too, which use all of it")]
mod support;

mod draw;
mod harness;

mod business_plans;
mod crm;
mod learning;
mod manual;
mod planning;
mod skills_platform;

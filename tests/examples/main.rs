//! The examples of `config/examples`, each as a whole migration: its documents, odd ones among them, are copied while the
//! application continues to write. Then both sides are compared twice: by the product, and with expectations that are written
//! here independently.
//!
//! [`manual`] checks that `docs/mapping.md` is true for a reader who writes mapping files. The servers are those of the other
//! tests.

#![allow(clippy::print_stderr, reason = "seeds and counts belong on the terminal of a failed test")]

mod draw;
mod harness;
mod odd;
mod remarks;
mod writes;

mod business_plans;
mod crm;
mod drafted;
mod fitted;
mod learning;
mod manual;
mod planning;
mod shadow;
mod skills_platform;

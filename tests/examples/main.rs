//! The examples of `config/examples`, each a whole migration: its documents, odd ones among them, are copied while the
//! application goes on writing; then both sides are compared twice, by the product and by what is written down here again.
//!
//! [`manual`] keeps `docs/mapping.md` true to the reader of mapping files. The servers are those of the other tests.

mod draw;
mod harness;

mod business_plans;
mod crm;
mod learning;
mod manual;
mod planning;
mod skills_platform;

//! Analysis of documents and of what a mapping makes of them, before anything runs. Pure: documents go in, findings come out.
//!
//! ```text
//!                ┌─ shape:        paths, types, how often ─────────────┐
//!  documents ────┤                                                     ├──▶ findings: faults and warnings, each with
//!                └─ map each ─┬─ tally:       refusals, losses, filled ┤                its line of the mapping file
//!                             └─ constraints: hashes of key values ────┘
//! ```
//! Everything is bounded: paths by number, values by a number of their hashes. A note reports what a bound cut off.
//! No value of a document leaves this folder but the `_id` of an example.
//!
//! Reading order: `survey`, `seen`, `shape`, `unread`, `tally`, `constraints`, `conversion`, `findings`; `sampled` is for those who
//! have no plan yet; [`advice`] is a table of texts.

pub mod advice;
mod constraints;
mod conversion;
mod findings;
mod sampled;
mod seen;
mod shape;
mod survey;
mod tally;
mod unread;

pub use conversion::{Conversion, Lost, Orphans, Refused, TableRows};
pub use findings::{Finding, Findings, names};
pub use sampled::{Field, Sampled, sql_type};
pub use seen::Coverage;
pub use survey::{Mapped, Refusal, Survey};

#[cfg(test)]
mod tests;

//! The profile of a database: which paths its documents have, with which values, and how its collections refer to each other.
//! Needs no mapping. Pure: documents and the server's descriptions go in, an [`Analysis`] comes out.
//!
//! ```text
//!  documents ──▶ Tree of Nodes ── each with Values ──┐
//!                     └── Sketches of hashes ────────┼──▶ Analysis ──▶ JSON, table, page
//!  server's descriptions ──▶ Index, Validator ───────┤
//!  schemas of an ORM ──▶ Description ────────────────┘
//! ```
//! Everything is bounded, whatever documents come: paths by their number, values by a number of hashes. What a bound cut off is
//! said. A value fits a column type if the conversion of the daemon itself takes it without a loss, so nothing here is a second
//! opinion. Texts of documents are kept only where a path has few distinct ones; they appear in the report, never in a log.
//!
//! Reading order: `sketch`, `form`, `values`, `tree`, `kinds`, `database`, `links`, `natural`, `report`; `described` reads the server's
//! descriptions, `claims` those of an ORM too; `notes` and `page` show the result.

mod claims;
mod database;
mod described;
mod form;
mod kinds;
mod links;
mod natural;
mod notes;
mod page;
mod report;
mod sketch;
mod tree;
mod values;

pub use claims::{Author, Claim, Description, Fault, Preset, Referred, mongoose, prisma};
pub use database::{Database, Facts};
pub use described::{Index, Validator};
pub use form::{Form, IdForm};
pub(crate) use links::singular;
pub use notes::notes;
pub use page::{page, share};
pub use report::{Analysis, Collection, Distinct, Field, Kinds, Lengths, Path, Reference};

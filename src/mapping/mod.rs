//! The declared collection → tables: which document becomes which rows, decided before anything runs.
//!
//! ```text
//!  mapping file ──▶ MappingFile ─┐
//!                                ├─ Plan::compile ──▶ Plan ── CollectionPlan::map(document) ──▶ Rows, or Reject{reason}
//!  pg_catalog   ──▶ Catalog ─────┘
//! ```
//!
//! Owns every decision about a value: what each BSON value becomes in each column type, and under which reason it is
//! refused. A value either keeps its meaning exactly, or the document is refused, or the loss is one of the few that
//! [`Losses`] counts. Nothing here does I/O, waits, reads a clock or knows a driver: the same document gives the same bytes
//! in the sink, in the reconciler and in a test.
//!
//! Reading order: [`target`], [`file`](MappingFile), [`plan`](Plan), `compile`, `map`, `encode`, then the leaves.

mod fault;
mod file;
mod map;
mod path;
mod plan;
mod read;
mod row;
pub mod target;

pub use fault::{Fault, Location};
pub use file::{
    At, ChildFile, ChildIdFile, CollectionFile, ColumnFile, IdFile, IdRule, IdType, KeyFrom, MappingFile, OnDrop,
};
pub use map::digest;
pub use path::Path;
pub use plan::{CollectionPlan, Plan, PlanColumn, TablePlan};
pub use row::{Fields, Losses, Reject, Row, Rows};

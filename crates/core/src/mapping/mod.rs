//! The declared collection → tables: which document becomes which rows, decided before anything runs.
//!
//! ```text
//!  mapping file ──▶ MappingFile ─┐
//!                                ├─ Plan::compile ──▶ Plan ── CollectionPlan::map(document) ──▶ Rows, or Rejects
//!  pg_catalog   ──▶ Catalog ─────┘
//! ```
//!
//! Owns every decision about a value: what each BSON value becomes in each column type, and under which reason it is
//! refused. A value either keeps its meaning exactly, or the document is refused, or the loss is one of the few that
//! [`Losses`] counts. Nothing here does I/O, waits, reads a clock or knows a driver: the same document gives the same bytes
//! in the sink, in the reconciler and in a test.
//!
//! | folder | owns |
//! | --- | --- |
//! | `wanted` | the tables and columns that a mapping file names, beside those of a catalog |
//! | `plan` | a mapping file checked against a catalog: tables, their order, and the program of each collection |
//! | `rows` | the program of a collection, and a document mapped by it |
//! | `language` | the mapping file: its parser, paths, faults with their lines |
//! | `value` | a BSON value in a column of a type; every loss by its name |
//! | `target` | tables, columns and types, as `pg_catalog` says them |
//!
//! Imports point down this list only. Read it from the bottom to the top to learn how a value is decided, from the top to the
//! bottom to learn what becomes of a mapping file.

mod language;
mod plan;
mod rows;
pub mod target;
#[cfg(test)]
mod tests;
mod value;
pub mod wanted;

pub(crate) use language::file::{
    At, ChildFile, ChildIdFile, ColumnFile, ConditionFile, IdFile, KeyFrom, LookupFile, MapKeyFile, PolicyFile,
    ReferenceFile, RootsFile, Shape, SplitFile, TableFile, TestFile, Unlisted, VariantFile,
};
pub use language::{
    content::Setting,
    fault::{Fault, Location, near},
    file::{CollectionFile, MappingFile, OnDrop},
    path::Path,
};
pub(crate) use plan::used_paths::{Reached, Reads};
pub use plan::{
    CollectionPlan, Found, Plan, PlanColumn, TablePlan,
    changes::Gained,
    remapped::{Effect, Remapped, Written},
};
pub use rows::{
    digest,
    row::{Fields, Reject, Rejects, Row, Rows},
    rule::{ColumnRule, NoRule, value_at},
};
pub(crate) use value::{
    bson_type::{BsonTypes, type_name},
    convert,
    id::{Id, IdRule, IdStep, IdType, identity_text},
    policy::{Coerce, EmptyElements, Epoch, Misfit, REFUSING},
    raw::{Raw, Value},
};
pub use value::{
    id::Lookup,
    losses::{Entry as LossEntry, Loss, Losses},
};

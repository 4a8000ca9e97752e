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
//! Reading order: [`language`], [`plan`], [`rows`], [`value`]: the file, what it compiles to, how a document becomes rows, how a value
//! becomes the value of a column.

pub mod language;
pub mod plan;
pub mod rows;
pub mod value;

pub use language::fault::near;
pub use language::{
    fault::{Fault, Location},
    file::{
        At, ChildFile, ChildIdFile, CollectionFile, ColumnFile, ConditionFile, IdFile, IdRule, IdType, KeyFrom,
        LookupFile, MapKeyFile, MappingFile, OnDrop, ReferenceFile, RootsFile, Shape, SplitFile, TableFile, TestFile,
        Unlisted, VariantFile,
    },
    path::Path,
};
pub use plan::{
    CollectionPlan, Found, Lookup, Plan, PlanColumn, TablePlan, target,
    used_paths::{Reached, Reads},
};
pub use rows::{
    map::digest,
    row::{Fields, Reject, Rejects, Row, Rows},
};
pub use value::{
    bson_type::BsonTypes,
    losses::{Entry as LossEntry, Loss, Losses},
    policy::{Coerce, EmptyElements, Epoch, Misfit, PolicyFile},
};

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
//! Reading order: [`target`], [`file`](MappingFile), [`plan`](Plan), `compile`, `map`, `encode`, then the leaves.

mod array;
mod bson_type;
mod changes;
mod compile;
mod digits;
mod encode;
mod fault;
mod file;
mod ids;
mod interval;
mod iso;
mod json;
mod literal;
mod losses;
mod map;
mod number;
mod numeric;
mod order;
mod path;
mod plan;
mod policy;
mod prepare;
mod range;
mod read;
mod reads;
mod row;
mod shape;
pub mod target;
mod text;
mod time;
mod tree;
mod value;

pub use bson_type::BsonTypes;
pub(crate) use fault::near;
pub use fault::{Fault, Location};
pub use file::{
    At, ChildFile, ChildIdFile, CollectionFile, ColumnFile, ConditionFile, IdFile, IdRule, IdType, KeyFrom, LookupFile,
    MapKeyFile, MappingFile, OnDrop, ReferenceFile, RootsFile, Shape, SplitFile, TableFile, TestFile, Unlisted,
    VariantFile,
};
pub use losses::{Entry as LossEntry, Loss, Losses};
pub use map::digest;
pub use path::Path;
pub use plan::{CollectionPlan, Found, Lookup, Plan, PlanColumn, TablePlan};
pub use policy::{Coerce, EmptyElements, Epoch, Misfit, PolicyFile};
pub use reads::{Reached, Reads};
pub use row::{Fields, Reject, Rejects, Row, Rows};

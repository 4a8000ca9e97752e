//! The draft of a migration: target schema and mapping, decided from an [`Analysis`]. Pure.
//!
//! ```text
//!  Analysis ──▶ build ──▶ Root, Child, Table, Column ──┬──▶ sql:  schema.sql
//!  Choices  ──┘   │                                    └──▶ file: mapping.toml
//!                 └─ keys, scalar, names, claims, indexes, natural
//! ```
//! Every document that was analysed fits the draft: that a column takes a value is decided by the conversion of the daemon itself, see
//! [`crate::profile`]. A constraint that a later document could break is a comment beside its column, unless MongoDB itself enforces it
//! or an ORM or the choices ask for it. Each decision has a comment where it was made.
//!
//! Reading order: `names`, `model`, `scalar`, `keys`, `claims`, `build`, `constraints`, `indexes`, `natural`; then `sql` and `file`, which only print.

mod build;
mod claims;
mod constraints;
mod file;
mod indexes;
mod keys;
mod model;
mod names;
mod natural;
mod scalar;
mod sql;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    file::{key, text},
    names::{on_one_line, snake},
};
use crate::profile::Analysis;

/// The conventions of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// How tables and columns are called.
    pub names: Naming,
    /// The form that ObjectIds take.
    pub ids: ObjectIds,
    /// The schema of the tables.
    pub schema: String,
    /// Objects and arrays nested this deep become JSONB; 1 is a field of the document.
    pub jsonb_depth: usize,
    /// Whether `NOT NULL` and `CHECK` are demanded wherever all documents satisfy them.
    pub strict: bool,
    /// Whether each table has a column for the fields that nothing else reads.
    pub extra: bool,
}

/// How tables and columns are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `createdAt` becomes `created_at`.
    Snake,
    /// `createdAt` stays `"createdAt"`.
    AsIs,
}

/// The form that ObjectIds take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectIds {
    /// Version-5 UUIDs.
    Uuid5,
    /// UUIDs that begin with the bytes of the ObjectId, and so with its time, as version-7 UUIDs do.
    Ordered,
    /// UUIDs that are zeros and then their bytes.
    Padded,
    /// UUIDs that are the MD5 of their 24 digits.
    Md5,
    /// Texts of 24 digits.
    Text,
    /// Their 12 bytes.
    Native,
}

/// The two files of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The mapping file.
    pub mapping: String,
    /// The statements that make the tables.
    pub schema: String,
    /// Tables of the draft.
    pub tables: usize,
}

impl Draft {
    /// Drafts the migration of everything that was analysed.
    pub fn new(analysis: &Analysis, choices: &Choices) -> Self {
        let roots = build::roots(analysis, choices);
        Self {
            mapping: file::write(analysis, choices, &roots),
            schema: sql::write(analysis, choices, &roots),
            tables: roots.iter().map(|root| 1 + model::count(&root.children)).sum(),
        }
    }
}

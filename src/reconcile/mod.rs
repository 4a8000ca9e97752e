//! Compares both sides as of one cluster time.
//!
//! ```text
//!  source::SnapshotReader ─ documents at T ─┐
//!                                   ├─ compare (pure) ─▶ match | missing | extra | different | undecided ─▶ verdict (pure)
//!  target::TargetReader ─ ledger, rows, W ──┘
//! ```
//! Owns the judgement and nothing else: it changes neither side. Reading order: `compare`, `pass`, `verdict`.

pub mod compare;
mod pass;
pub mod verdict;

use thiserror::Error;

pub use pass::{Bounds, CollectionTarget, Coverage, Drifting, Finding, Pass, Report};

use crate::{
    postgres,
    retry::{Class, Classify},
    source,
};

/// What keeps a pass from its end.
#[derive(Debug, Error)]
pub enum Error {
    /// MongoDB.
    #[error("read documents to compare")]
    Source(#[from] source::Error),
    /// PostgreSQL.
    #[error("read rows to compare")]
    Target(#[from] postgres::Error),
    /// A document without an `_id`, which MongoDB does not allow.
    #[error("read documents of {collection}: one has no `_id`")]
    NoKey {
        /// The collection.
        collection: String,
    },
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Source(error) => error.class(),
            Self::Target(error) => error.class(),
            Self::NoKey { .. } => Class::Halt,
        }
    }
}

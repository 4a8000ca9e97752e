//! Compares both sides as of one cluster time.
//!
//! ```text
//!  MongoDB ───── documents at T ──┐
//!                                 ├─▶ examine ─▶ judgement of each ─▶ tally ─▶ report ─▶ proof ─▶ verdict
//!  PostgreSQL ── ledger, rows, W ─┘
//! ```
//! Nothing here changes either side. `judgement`, `tally`, `report`, `proof` and `verdict` are pure; `sides` defines every
//! request of a pass to the servers. Reading order: `judgement`, `examine`, `pass`, `proof`, `verdict`.

pub(crate) mod again;
mod back;
pub(crate) mod baseline;
pub(crate) mod blockers;
mod both;
mod bounds;
pub(crate) mod delta;
mod epochs;
pub(crate) mod evidence;
mod examine;
pub(crate) mod facts;
mod full;
pub(crate) mod gate;
mod judgement;
mod pass;
mod passes;
mod pending;
pub(crate) mod proof;
mod read;
mod report;
mod rows;
mod servers;
mod shadow;
mod sides;
#[cfg(test)]
mod simulation;
mod step;
mod tally;
pub(crate) mod verdict;

use thiserror::Error;

pub(crate) use self::{
    both::Both,
    bounds::Bounds,
    delta::{Delta, DeltaBounds, DeltaHandle},
    epochs::Epochs,
    full::{FullPass, Patience, Progress, Walked},
    pass::run,
    passes::{Pace, PassesTask},
    report::Report,
    rows::documents_of_rows,
};
use crate::{
    log, postgres,
    retry::{Class, Classify},
    source,
};

/// An error that ends a pass before it has compared everything.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// A read from MongoDB failed.
    #[error("read documents to compare")]
    Source(#[from] source::Error),
    /// A read from PostgreSQL failed.
    #[error("read rows to compare")]
    Target(#[from] postgres::Error),
    /// The epoch of the source could not be read.
    #[error("read the epoch of the source from the log")]
    Epoch(#[source] Box<log::Error>),
    /// A document without an `_id`, which MongoDB does not allow.
    #[error("read documents of {collection}: one has no `_id`")]
    NoKey {
        /// The collection.
        collection: String,
    },
}

impl Error {
    /// Returns the remedy, if a person can apply one.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Target(error) => error.hint(),
            Self::Epoch(error) => error.hint(),
            Self::NoKey { .. } => None,
        }
    }

    /// Returns the next step where trying again does not help until a person has acted.
    pub(crate) fn next_step(&self) -> Option<&'static str> {
        let next_step = || self.hint().unwrap_or("remove the cause; it is tried again until then");
        (self.class() != Class::Transient).then(next_step)
    }
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Source(error) => error.class(),
            Self::Target(error) => error.class(),
            Self::Epoch(error) => error.class(),
            Self::NoKey { .. } => Class::Halt,
        }
    }
}

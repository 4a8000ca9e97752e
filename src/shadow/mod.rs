//! Shadow reads: are the answers of both databases the same, and how fast are they?
//!
//! ```text
//!  file ──▶ compile (both servers) ──▶ Query ──▶ ask ─┬─ PostgreSQL: the statement, watermark W ── one snapshot S
//!             parameters drawn ──────────────────────▶ ├─ MongoDB: the command as of T, the last instant that W covers
//!                                                      └─ PostgreSQL: compares both answers in S ──▶ equal, or unequal
//!                                                              unequal ── did anything change in (T, U]? ──▶ different | undecided
//! ```
//! S holds every change up to T, and perhaps some after it; U is a time of the source that was read after S was taken, so S holds
//! none after U. If no collection that the pair reads has a change in (T, U], both answers are of the same state, and unequal answers
//! are a proof. Otherwise the pair is asked again, for a bounded time, and is then undecided. So a write during a comparison is never
//! reported as a difference.
//!
//! Nothing here writes to either side. `file`, `command`, `compare`, `explain`, `timing`, `report` and `page` are pure. Reading order:
//! `file`, `command`, `compile`, `columns`, `parameters`, `draw`, `ask`, `run`, `report`.

mod ask;
mod columns;
mod command;
mod compare;
mod compile;
mod draw;
mod explain;
mod file;
mod page;
mod parameters;
mod report;
mod run;
mod scan;
mod timing;

use thiserror::Error;

pub(crate) use self::{
    compile::{Checked, Compiled, compile},
    file::{Fault, ShadowFile},
    page::page,
    report::{Example, QueryReport, Report},
    run::{Bounds, run},
    timing::Timing,
};
use crate::{postgres, source};

/// An error that ends a comparison of answers.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// MongoDB failed.
    #[error("ask MongoDB")]
    Source(#[from] source::Error),
    /// PostgreSQL failed.
    #[error("ask PostgreSQL")]
    Target(#[from] postgres::Error),
}

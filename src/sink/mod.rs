//! The apply path: records of the log become rows. The only writer of replicated rows.
//!
//! ```text
//!  log::Consumer ─▶ batch_reader ─▶ plan (pure) ─▶ applier ─▶ apply: one transaction, BEGIN … COMMIT
//!     ▲  seek           │           newest per       retries      positions ▸ truncations ▸ ledger ▸ rows ▸ dead letters ▸ positions
//!     └── checkpoint ◀──┘            document                                               who wins?  bisect, write, owner
//! ```
//!
//! Invariants:
//! - Rows, ledger, dead letters and positions commit together. The positions in PostgreSQL are the only truth about what was
//!   applied; every worker reads them when it starts, after every reconnect, and checks them in every transaction.
//! - The ledger decides by version, so repetition, delay and reordering change nothing.
//! - A document's root row and child rows change together or not at all.
//! - A refused document is set aside with its record; the rest of its batch is applied. No row value is in an error.
//!
//! Reading order: [`plan`], `progress`, [`checkpoint`], `ledger`, `statements`, `rows`, `write`, `owner`, `bisect`, [`apply()`],
//! `applier`, `batch_reader`, [`Worker`], [`Workers`].

mod applier;
mod apply;
mod batch_reader;
mod batcher;
pub(crate) mod bisect;
mod breaker;
pub mod checkpoint;
pub mod dead_letter;
mod guards;
pub mod key_rule;
mod ledger;
mod locks;
mod obstacles;
mod outcome;
mod owner;
mod owner_statements;
pub(crate) mod page_statements;
mod parked;
pub mod plan;
mod planner;
mod prepared;
mod progress;
mod rate_limiter;
mod report;
pub(crate) mod row_documents;
mod rows;
mod statements;
mod stored_offsets;
mod stray_rows;
mod stray_statements;
mod truncate;
mod winner;
mod worker;
mod workers;
mod write;

pub use apply::apply;
pub use breaker::{Limits, Recent};
pub use outcome::Outcome;
pub use prepared::Prepared;
pub use worker::Worker;
pub use workers::{WorkerFailed, Workers};

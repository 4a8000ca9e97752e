//! The apply path: records of the log become rows. The only writer of replicated rows.
//!
//! ```text
//!  log::Consumer ─▶ worker ─▶ plan (pure) ─▶ apply: one transaction ──────────────────────────────▶ COMMIT
//!     ▲  seek          │       newest per       positions ▸ truncations ▸ ledger ▸ rows ▸ dead letters ▸ positions
//!     └── checkpoint ◀─┘       document                       who wins?   bisect, write, owner
//! ```
//!
//! What holds here:
//! - Rows, ledger, dead letters and positions commit together. The positions in PostgreSQL are the only truth about what was
//!   applied; every worker reads them when it starts, after every reconnect, and checks them in every transaction.
//! - The ledger decides by version, so repetition, delay and reordering change nothing.
//! - A document's root row and child rows change together or not at all.
//! - A refused document is set aside with its record; the rest of its batch is applied. No row value is in an error.
//!
//! Reading order: [`plan`], [`checkpoint`], `ledger`, [`statements`], `owner`, `write`, `bisect`, [`apply()`], `applier`, [`worker`].

mod applier;
pub mod apply;
mod batcher;
pub(crate) mod bisect;
pub mod checkpoint;
pub mod dead_letter;
mod guards;
pub mod key_rule;
mod ledger;
mod locks;
mod owner;
mod parked;
pub mod plan;
mod prepared;
mod rate_limiter;
pub mod statements;
mod stored_offsets;
pub mod worker;
mod write;

pub use apply::{Limits, Outcome, apply};
pub use prepared::Prepared;
pub use worker::Worker;

//! PostgreSQL: the only user of its client, and the only writer of replicated rows.
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
//! - Values are compared inside PostgreSQL ([`reader`]); no stored value is ever read out.
//!
//! Reading order: [`plan`], `checkpoint`, `ledger`, [`statements`], `params`, `owner`, `write`, `bisect`, [`apply()`],
//! `settle`, [`worker`]; then `connect`, `schema`, `catalog`; then what others use: [`reader`], [`status`], [`dead_letter`], `replay`.

mod applier;
pub mod apply;
mod batcher;
mod bisect;
mod catalog;
pub mod checkpoint;
mod checks;
mod connect;
pub mod dead_letter;
mod error;
mod fault;
mod guards;
pub mod identity;
pub mod key_rule;
mod ledger;
pub mod load_indexes;
mod locks;
mod owner;
mod params;
mod parked;
pub mod plan;
mod prepared;
mod printer;
mod rate_limiter;
pub mod reader;
pub mod repairs;
pub mod replay;
mod rights;
mod schema;
mod session;
pub mod snapshots;
mod sql;
pub mod stale;
pub mod statements;
pub mod status;
mod stored_offsets;
pub mod suited;
mod tls;
mod triggers;
mod url;
mod watch;
pub mod worker;
mod write;

pub use apply::{Limits, Outcome, apply};
pub use catalog::read_catalog;
pub use checks::{Checks, Violation};
pub use connect::{ConstraintMode, Postgres, Purpose};
pub use error::{Cause, Error, Refusal};
pub use fault::Fault;
pub use prepared::Prepared;
pub use printer::{Printed, print_rows};
pub use reader::{Difference, Entry, TargetReader, WaitingLetter};
pub use schema::{migrate, rehearse};
pub use session::Session;
pub use suited::faults as faults_of_target;
pub use triggers::{Trigger, triggers};
pub use watch::{Look, Tables, Watch};
pub use worker::Worker;

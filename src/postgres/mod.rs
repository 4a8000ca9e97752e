//! PostgreSQL itself: sessions, the catalog, the schema `driftless`, and the fitness of the target. The only user of its client.
//!
//! The sink, the readers of the target and the requests of operators all use this folder. The connection pins every setting,
//! values never reach an error, and every statement has a time limit.

pub(crate) mod catalog;
pub(crate) mod connect;
pub(crate) mod error;
pub(crate) mod fault;
pub mod identity;
mod lists;
pub(crate) mod params;
mod refusal;
pub(crate) mod rights;
pub(crate) mod schema;
mod script;
pub(crate) mod session;
pub(crate) mod sql;
pub mod suited;
pub(crate) mod tls;
pub(crate) mod triggers;
pub(crate) mod url;
pub(crate) mod watch;

pub use catalog::read_catalog;
pub use connect::{Postgres, Purpose};
pub use error::Error;
pub use fault::Fault;
pub use lists::read_lists;
pub use refusal::{Cause, Refusal};
pub use schema::{migrate, rehearse};
pub(crate) use script::statements_of;
pub use session::{ConstraintMode, Session};
pub use suited::faults as faults_of_target;
pub use triggers::{Trigger, triggers};
pub use watch::{Look, Tables, Watch};

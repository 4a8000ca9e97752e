//! `driftless` replicates a live MongoDB database to PostgreSQL tables and proves that both hold the same data.
//!
//! ```text
//!            change stream             Kafka topics              one transaction
//! MongoDB ──────────────────▶ source ───────────────▶ log ───────────────────▶ sink ──▶ PostgreSQL
//!    │  snapshot chunks          │  frontier records   │   offset + ledger       │          │
//!    │                           └── resume token ─────┘                         │          │
//!    └────────────────── reconciler: reads both sides as of one cluster time ◀───┴──────────┘
//! ```
//! `ARCHITECTURE.md` says what holds and why. Reading order: [`model`], [`mapping`], [`source`], [`log`], [`postgres`],
//! [`sink`], [`target`], [`control`], `reconcile`, [`pipeline`].

#[macro_use]
pub mod failpoints;

pub use driftless_core::{analyze, draft, fit, mapping, model, profile};

pub mod cli;
pub mod config;
pub mod control;
pub(crate) mod http;
pub mod log;
pub(crate) mod metrics;
pub(crate) mod pipeline;
pub mod postgres;
pub(crate) mod reads;
pub(crate) mod reconcile;
pub mod retry;
#[cfg(test)]
mod seeds;
pub(crate) mod shadow;
pub mod sink;
pub mod source;
pub mod status;
pub(crate) mod supervisor;
pub mod target;
pub(crate) mod tasks;
pub mod telemetry;

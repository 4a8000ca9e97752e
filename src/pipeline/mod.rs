//! The roles of the daemon as tasks, and what flows between them.
//!
//! A role runs in attempts (`attempts`). An error that only a person can fix ends the role, not the process, so that its status
//! can be read. Inside an attempt every further task has a name and an owner, see [`tasks`](crate::tasks).

pub(crate) mod applied;
mod attempts;
mod documents;
mod error;
pub(crate) mod facts;
mod fit;
mod guard_watch;
pub(crate) mod identity;
mod integrity;
mod log_lag;
mod log_watch;
mod overview;
mod own_mapping;
mod reconciler;
mod sink;
mod source;

pub(crate) use self::{
    attempts::{attempts, halt},
    documents::Sides,
    fit::namespaces,
    integrity::{Dangling, Integrity, integrity},
    reconciler::Comparison,
};
pub(crate) use self::{
    error::Error,
    log_lag::LogLagRole,
    log_watch::LogWatchRole,
    overview::{JOURNAL, Overview, OverviewRole},
    own_mapping::OwnMapping,
    reconciler::ReconcilerRole,
    sink::SinkRole,
    source::SourceRole,
};

//! The roles of the daemon as tasks, and what flows between them.
//!
//! A role runs in attempts: a transient error ends an attempt and is shown as a stall until the next one works; an error
//! that only a person can mend ends the role, not the process, so that its status can be read.

mod drift;
mod log_watch;
mod overview;
mod publish;
mod reconciler;
mod removal;
mod repairs;
mod sink;
mod snapshots;
mod source;
mod wishes;

use std::{future::Future, time::Duration};

use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use self::{
    log_watch::LogWatchRole,
    overview::{CollectionOverview, Overview, OverviewRole},
    reconciler::{Bench, ReconcilerRole},
    sink::SinkRole,
    source::SourceRole,
};
use crate::{
    config::{Config, RetryConfig},
    log,
    mapping::{self, Plan},
    model::Namespace,
    reconcile,
    retry::{self, Backoff, Class, Classify},
    sink as target, source as origin,
    status::{Role, Status},
};

/// What ends an attempt of a role.
#[derive(Debug, Error)]
pub enum Error {
    /// MongoDB.
    #[error("read the source")]
    Source(#[from] origin::Error),
    /// Kafka.
    #[error("use the log")]
    Log(#[from] log::Error),
    /// PostgreSQL.
    #[error("use the target")]
    Sink(#[from] target::Error),
    /// The comparison.
    #[error("compare both sides")]
    Reconcile(#[from] reconcile::Error),
    /// The source cannot be followed as it is.
    #[error("follow the source: {}", .0.iter().map(|fault| fault.what.as_str()).collect::<Vec<_>>().join("; "))]
    Unsuited(Vec<origin::Fault>),
    /// The mapping does not fit the target.
    #[error("fit the mapping to the target: {}", list(.0))]
    Mapping(Vec<mapping::Fault>),
    /// The stored state is of a later epoch than the configuration.
    #[error("go on from the stored state: it is of epoch {stored}, the configuration says {configured}")]
    EpochWentBack {
        /// `source.epoch`.
        configured: u32,
        /// In the state topic.
        stored: u32,
    },
}

impl Error {
    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint().map(str::to_owned),
            Self::Log(error) => error.hint().map(str::to_owned),
            Self::Sink(error) => error.hint().map(str::to_owned),
            Self::Unsuited(_) | Self::Mapping(_) => Some("run `driftless check`".to_owned()),
            Self::EpochWentBack { stored, .. } => {
                Some(format!("set source.epoch to {stored}, or choose another log.prefix"))
            }
            Self::Reconcile(_) => None,
        }
    }
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Source(error) => error.class(),
            Self::Log(error) => error.class(),
            Self::Sink(error) => error.class(),
            Self::Reconcile(error) => error.class(),
            Self::Unsuited(_) | Self::Mapping(_) | Self::EpochWentBack { .. } => Class::Halt,
        }
    }
}

/// The collections of a plan, in its order.
fn namespaces(config: &Config, plan: &Plan) -> Vec<Namespace> {
    plan.collections().iter().map(|plan| Namespace::new(&config.source.database, &plan.collection)).collect()
}

fn list(faults: &[mapping::Fault]) -> String {
    faults.iter().map(|fault| fault.what.as_str()).collect::<Vec<_>>().join("; ")
}

/// Repeats a role's attempts until it is cancelled. A halted role waits for the cancellation, for its status to be read.
async fn attempts<F>(
    role: Role,
    status: &Status,
    retry: RetryConfig,
    cancel: CancellationToken,
    attempt: impl FnMut() -> F,
) where
    F: Future<Output = Result<(), Error>>,
{
    let backoff = Backoff { min: retry.min, max: retry.max };
    let stalled = |error: &Error, delay: Duration| {
        let reason = retry::chain(error);
        tracing::warn!(role = role.as_str(), reason, retry_in = ?delay, "stalled");
        status.stalled(role, reason);
    };
    if let Err(error) = retry::until_settled(backoff, &cancel, stalled, attempt).await {
        let (reason, hint) = (retry::chain(&error), error.hint());
        tracing::error!(role = role.as_str(), reason, hint, "halted: a person must act, the position is intact");
        status.halted(role, reason, hint);
        cancel.cancelled().await;
    }
}

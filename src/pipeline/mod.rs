//! The roles of the daemon as tasks, and what flows between them.
//!
//! A role runs in attempts: a transient error ends an attempt and is shown as a stall until the next one works; an error
//! that only a person can mend ends the role, not the process, so that its status can be read.

mod drift;
mod fit;
pub mod identity;
mod log_watch;
mod overview;
mod publish;
mod reconciler;
mod removal;
mod repairs;
mod requests;
mod sink;
mod snapshots;
mod source;

use std::{future::Future, time::Duration};

use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub(crate) use self::reconciler::Comparison;
pub use self::{
    log_watch::LogWatchRole,
    overview::{CollectionOverview, Overview, OverviewRole},
    reconciler::ReconcilerRole,
    sink::SinkRole,
    source::SourceRole,
};
use crate::{
    config::Config,
    log,
    mapping::{self, Plan},
    model::{Mismatch, Namespace},
    postgres, reconcile,
    retry::{self, Backoff, Class, Classify},
    sink::WorkerFailed,
    source as origin,
    status::{Phase, Role, RoleStatus, Status},
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
    /// Both at once, which would else be told one after the other.
    #[error("read the source: {}; use the log: {}", retry::chain(&.0.0), retry::chain(&.0.1))]
    SourceAndLog(Box<(origin::Error, log::Error)>),
    /// PostgreSQL.
    #[error("use the target")]
    Sink(#[from] postgres::Error),
    /// A worker of the sink.
    #[error("use the target")]
    Worker(#[from] WorkerFailed),
    /// The comparison.
    #[error("compare both sides")]
    Reconcile(#[from] reconcile::Error),
    /// The source cannot be followed as it is.
    #[error("follow the source: {}", .0.iter().map(|fault| fault.what.as_str()).collect::<Vec<_>>().join("; "))]
    Unsuited(Vec<origin::Fault>),
    /// The mapping does not fit the target.
    #[error("fit the mapping to the target: {}", list(.0))]
    Mapping(Vec<mapping::Fault>),
    /// The target cannot be written as it is.
    #[error("write the target: {}", .0.iter().map(|fault| fault.what.as_str()).collect::<Vec<_>>().join("; "))]
    TargetUnsuited(Vec<postgres::Fault>),
    /// The stored state is of another source or target.
    #[error("go on with the stored state")]
    Mismatch(#[from] Mismatch),
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
    /// Whether another catalog, other rights or another setting of the target may be all that is needed.
    fn concerns_the_target(&self) -> bool {
        match self {
            Self::Mapping(_) | Self::TargetUnsuited(_) => true,
            Self::Sink(error) | Self::Reconcile(reconcile::Error::Target(error)) => error.concerns_the_target(),
            Self::Worker(WorkerFailed::Error { source, .. }) => source.concerns_the_target(),
            _ => false,
        }
    }

    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint().map(str::to_owned),
            Self::Log(error) => error.hint().map(str::to_owned),
            Self::SourceAndLog(both) => {
                let (source, log) = &**both;
                let hints: Vec<&str> = [source.hint(), log.hint()].into_iter().flatten().collect();
                (!hints.is_empty()).then(|| hints.join("; "))
            }
            Self::Sink(error) | Self::Worker(WorkerFailed::Error { source: error, .. }) => {
                error.hint().map(str::to_owned)
            }
            Self::Worker(WorkerFailed::Panicked(_)) => None,
            Self::Mismatch(mismatch) => Some(mismatch.hint().to_owned()),
            Self::Unsuited(_) => Some("run `driftless check`".to_owned()),
            Self::TargetUnsuited(faults) => Some(all(faults.iter().map(|fault| fault.hint.as_str()))),
            Self::Mapping(faults) => Some(all(faults.iter().map(|fault| fault.hint.as_str()))),
            Self::EpochWentBack { stored, .. } => {
                Some(format!("set source.epoch to {stored}, or choose another log.prefix"))
            }
            Self::Reconcile(_) => None,
        }
    }
}

#[cfg(feature = "failpoints")]
impl From<crate::failpoints::Injected> for Error {
    fn from(injected: crate::failpoints::Injected) -> Self {
        Self::Log(injected.into())
    }
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Source(error) => error.class(),
            Self::Log(error) => error.class(),
            Self::SourceAndLog(both) => match both.0.class() {
                Class::Transient => both.1.class(),
                class => class,
            },
            Self::Sink(error) => error.class(),
            Self::Worker(failed) => failed.class(),
            Self::Reconcile(error) => error.class(),
            Self::Mismatch(_)
            | Self::Unsuited(_)
            | Self::TargetUnsuited(_)
            | Self::Mapping(_)
            | Self::EpochWentBack { .. } => Class::Halt,
        }
    }
}

/// The collections of a plan, in its order.
fn namespaces(config: &Config, plan: &Plan) -> Vec<Namespace> {
    plan.collections().iter().map(|plan| Namespace::new(&config.source.database, &plan.collection)).collect()
}

/// Each with its place in the file.
fn list(faults: &[mapping::Fault]) -> String {
    let place = |fault: &mapping::Fault| match &fault.location {
        Some(location) => format!("{}, {location}", fault.what),
        None => fault.what.clone(),
    };
    faults.iter().map(place).collect::<Vec<_>>().join("; ")
}

/// Different hints, in their order, and where more is said.
fn all<'a>(hints: impl Iterator<Item = &'a str>) -> String {
    let mut all = Vec::new();
    for hint in hints {
        if !all.contains(&hint) {
            all.push(hint);
        }
    }
    format!("{}; `driftless check` names all of it", all.join("; "))
}

/// Repeats a role's attempts until it is cancelled. A halted role waits for the cancellation, for its status to be read; one that
/// the target has halted tries again at the pace of `config.sink.catalog_interval`, because the target may have been repaired.
async fn attempts<F>(
    role: Role,
    status: &Status,
    config: &Config,
    cancel: CancellationToken,
    mut attempt: impl FnMut() -> F,
) where
    F: Future<Output = Result<(), Error>>,
{
    let backoff = Backoff { min: config.retry.min, max: config.retry.max };
    let stalled = |error: &Error, delay: Duration| {
        let reason = retry::chain(error);
        tracing::warn!(role = role.as_str(), reason, retry_in = ?delay, "stalled");
        status.stalled(role, reason);
    };
    while let Err(error) = retry::retry_transient(backoff, &cancel, stalled, &mut attempt).await {
        halt(role, status, &error);
        if !error.concerns_the_target() {
            cancel.cancelled().await;
        }
        if cancel.run_until_cancelled(tokio::time::sleep(config.sink.catalog_interval)).await.is_none() {
            return;
        }
    }
}

/// Shows the role as halted; it is logged once, however often the same is met again.
fn halt(role: Role, status: &Status, error: &Error) {
    let (reason, hint) = (retry::chain(error), error.hint());
    let known = |line: &RoleStatus| line.phase == Phase::Halted && line.reason.as_ref() == Some(&reason);
    if status.read().roles.get(role.as_str()).is_some_and(known) {
        return;
    }
    tracing::error!(role = role.as_str(), reason, hint, "halted: a person must act, the position is intact");
    status.halted(role, reason, hint);
}

//! The errors that end an attempt of a role, their classes and their remedies.

use thiserror::Error;

use crate::{
    control::mapping::Recorded,
    log, mapping,
    model::Mismatch,
    postgres, reconcile,
    retry::{self, Class, Classify},
    sink::WorkerFailed,
    source,
    tasks::Panicked,
};

/// An error that ends an attempt of a role.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// MongoDB.
    #[error("read the source")]
    Source(#[from] source::Error),
    /// Kafka.
    #[error("use the log")]
    Log(#[from] log::Error),
    /// Both at once, which would otherwise be reported one after the other.
    #[error("read the source: {}; use the log: {}", retry::chain(&.0.0), retry::chain(&.0.1))]
    SourceAndLog(Box<(source::Error, log::Error)>),
    /// PostgreSQL.
    #[error("use the target")]
    Sink(#[from] postgres::Error),
    /// A worker of the sink.
    #[error("use the target")]
    Worker(#[from] WorkerFailed),
    /// An inner task panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The comparison.
    #[error("compare both sides")]
    Reconcile(#[from] reconcile::Error),
    /// The source cannot be followed as it is.
    #[error("follow the source: {}", .0.iter().map(|fault| fault.what.as_str()).collect::<Vec<_>>().join("; "))]
    Unsuited(Vec<source::Fault>),
    /// The mapping does not fit the target.
    #[error("fit the mapping to the target: {}", list(.0))]
    Mapping(Vec<mapping::Fault>),
    /// The target cannot be used as it is.
    #[error("use the target as it is: {}", .0.iter().map(|fault| fault.what.as_str()).collect::<Vec<_>>().join("; "))]
    TargetUnsuited(Vec<postgres::Fault>),
    /// The stored state is of another source or target.
    #[error("go on with the stored state")]
    Mismatch(#[from] Mismatch),
    /// The mapping of this process is not that of the migration.
    #[error(
        "use this mapping: that of the migration is another one, recorded by {} at {:.0}{}", .0.who, .0.at,
        .0.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
    )]
    OtherMapping(Box<Recorded>),
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
    pub(super) fn concerns_the_target(&self) -> bool {
        match self {
            Self::Mapping(_) | Self::TargetUnsuited(_) => true,
            Self::Sink(error) | Self::Reconcile(reconcile::Error::Target(error)) => error.concerns_the_target(),
            Self::Worker(WorkerFailed::Error { source, .. }) => source.concerns_the_target(),
            _ => false,
        }
    }

    /// Whether a person can remove the cause without a restart: something of the target, the mapping, or a right on one of the servers.
    pub(super) fn heals(&self) -> bool {
        let elsewhere = match self {
            Self::OtherMapping(_) => true,
            Self::Source(error) | Self::Reconcile(reconcile::Error::Source(error)) => error.is_denied(),
            Self::Log(error) => error.is_denied(),
            Self::SourceAndLog(both) => both.0.is_denied() || both.1.is_denied(),
            Self::Sink(postgres::Error::Log(error)) => error.is_denied(),
            Self::Worker(WorkerFailed::Error { source, .. }) => {
                matches!(&**source, postgres::Error::Log(error) if error.is_denied())
            }
            _ => false,
        };
        elsewhere || self.concerns_the_target()
    }

    /// Whether the sink, when it starts, does what is missing.
    pub(crate) fn awaits_the_sink(&self) -> bool {
        match self {
            Self::Sink(error) => error.awaits_the_sink(),
            Self::Log(log::Error::TopicsMissing { .. }) => true,
            _ => false,
        }
    }

    /// Returns the remedy, if a person can apply one.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint().map(str::to_owned),
            Self::Log(error) => error.hint().map(str::to_owned),
            Self::SourceAndLog(both) => {
                let (source, log) = &**both;
                let hints: Vec<&str> = [source.hint(), log.hint()].into_iter().flatten().collect();
                (!hints.is_empty()).then(|| hints.join("; "))
            }
            Self::Sink(error) => error.hint().map(str::to_owned),
            Self::Worker(WorkerFailed::Error { source, .. }) => source.hint().map(str::to_owned),
            Self::Mismatch(mismatch) => Some(mismatch.hint().to_owned()),
            Self::Unsuited(_) => Some("run `driftless check`".to_owned()),
            Self::TargetUnsuited(faults) => Some(all(faults.iter().map(|fault| fault.hint.as_str()))),
            Self::Mapping(faults) => Some(all(faults.iter().map(|fault| fault.hint.as_str()))),
            Self::EpochWentBack { stored, .. } => {
                Some(format!("set source.epoch to {stored}, or choose another log.prefix"))
            }
            Self::OtherMapping(_) => Some(
                "give this process that file, which it then takes up by itself; if its own file is the one to go on with, \
                 `driftless mapping apply` shows the difference and what it means for the rows"
                    .to_owned(),
            ),
            Self::Reconcile(error) => error.hint().map(str::to_owned),
            Self::Worker(WorkerFailed::Panicked(_)) | Self::Panicked(_) => None,
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
            Self::Reconcile(error) => error.class(),
            Self::Worker(failed) => failed.class(),
            Self::Panicked(panicked) => panicked.class(),
            Self::Mismatch(_)
            | Self::Unsuited(_)
            | Self::TargetUnsuited(_)
            | Self::Mapping(_)
            | Self::OtherMapping(_)
            | Self::EpochWentBack { .. } => Class::Halt,
        }
    }
}

/// Faults of the mapping, each with its place in the file.
fn list(faults: &[mapping::Fault]) -> String {
    let place = |fault: &mapping::Fault| match &fault.location {
        Some(location) => format!("{}, {location}", fault.what),
        None => fault.what.clone(),
    };
    faults.iter().map(place).collect::<Vec<_>>().join("; ")
}

/// The different hints, in their order, and where more is said.
fn all<'a>(hints: impl Iterator<Item = &'a str>) -> String {
    let mut all = Vec::new();
    for hint in hints {
        if !all.contains(&hint) {
            all.push(hint);
        }
    }
    format!("{}; `driftless check` names all of it", all.join("; ").trim_end_matches(';'))
}

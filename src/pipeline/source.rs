//! The source role: a candidate for the leadership that publishes while it leads.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Overview, attempts, identity,
    publish::{LAST_PUBLISH_TIMEOUT, Term},
    repairs, requests,
};
use crate::{
    config::Config,
    control::snapshots::SnapshotRequests,
    log::{self, Leadership, Topics},
    metrics as names,
    model::{ClusterTime, Identity, Namespace},
    retry::Backoff,
    source::{OnDrop, Scope, Source},
    status::{Phase, Role, Status},
};

/// Reads MongoDB and writes the log.
pub struct SourceRole {
    /// The configuration.
    pub config: Arc<Config>,
    /// The mapped collections, and what to do when one is dropped.
    pub collections: BTreeMap<String, OnDrop>,
    /// Where this role tells how it is.
    pub status: Status,
    /// What this process sees of the target, where it looks: a snapshot waits for a sink that is far behind.
    pub overview: Overview,
}

impl SourceRole {
    /// Runs until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        metrics::gauge!(names::SOURCE_LEADER).set(0);
        for collection in self.collections.keys() {
            // Counters are born at 0, so that their first step is seen as one.
            for counter in [names::SOURCE_LOOKUPS, names::SOURCE_LOOKUPS_MISSING] {
                metrics::counter!(counter, "collection" => collection.clone()).increment(0);
            }
        }
        attempts(Role::Source, &self.status, &self.config, cancel.clone(), || self.candidate(&cancel)).await;
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff { min: self.config.retry.min, max: self.config.retry.max }
    }

    pub(super) fn scope(&self, since: BTreeMap<String, ClusterTime>) -> Scope {
        Scope {
            database: self.config.source.database.clone(),
            collections: self.collections.clone(),
            epoch: self.config.source.epoch,
            since,
        }
    }

    /// An error of one server, with that of the other where both are away: they are told at once, not one after the other.
    async fn with_the_other(&self, error: Error, namespaces: &[Namespace]) -> Error {
        match error {
            Error::Source(source) => match Topics::check(&self.config.log, namespaces).await {
                Ok(_) => source.into(),
                Err(log) => Error::SourceAndLog(Box::new((source, log))),
            },
            Error::Log(log) => match Source::connect(&self.config.source).await {
                Ok(_) => log.into(),
                Err(source) => Error::SourceAndLog(Box::new((source, log))),
            },
            other => other,
        }
    }

    /// Stands by, leads, and stands by again, until cancelled.
    async fn candidate(&self, cancel: &CancellationToken) -> Result<(), Error> {
        let namespaces: Vec<Namespace> =
            self.collections.keys().map(|name| Namespace::new(&self.config.source.database, name)).collect();
        // Before it waits, and before anything is made: a standby of another migration must not take over one day.
        let identity = match identity::of_candidate(self).await {
            Ok(identity) => identity,
            Err(error) => return Err(self.with_the_other(error, &namespaces).await),
        };
        let topics = Topics::ensure(&self.config.log, &namespaces).await?;
        let (leadership, leads) = Leadership::join(&self.config.log)?;
        let candidacy = CancellationToken::new();
        let member = tokio::spawn(leadership.run(candidacy.clone()));
        let _leave = candidacy.clone().drop_guard();
        tokio::select! {
            biased;
            stood = self.stand(&topics, &identity, leads, cancel) => stood?,
            Err(changed) = topics.changed(&self.config.log) => {
                metrics::gauge!(names::SOURCE_LEADER).set(0);
                return Err(changed.into());
            }
        }
        candidacy.cancel();
        match member.await {
            Ok(left) => Ok(left?),
            Err(_) => Err(log::Error::Ended("leadership").into()),
        }
    }

    /// Stands by and leads in turn, until cancelled or no candidate any more.
    async fn stand(
        &self,
        topics: &Topics,
        identity: &Identity,
        mut leads: watch::Receiver<bool>,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        while !cancel.is_cancelled() {
            self.status.phase(Role::Source, Phase::Standby);
            let elected = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                elected = leads.wait_for(|leads| *leads) => elected.is_ok(),
            };
            if !elected {
                break;
            }
            self.status.phase(Role::Source, Phase::Starting);
            metrics::gauge!(names::SOURCE_LEADER).set(1);
            let led = tokio::select! {
                biased;
                // Leadership saves work; what protects the log is the fencing by the next leader's publisher.
                _ = leads.wait_for(|leads| !*leads) => Ok(()),
                led = self.lead(topics, identity, cancel) => led,
            };
            metrics::gauge!(names::SOURCE_LEADER).set(0);
            match led {
                Err(Error::Log(error)) if error.is_fenced() => tracing::info!("another process leads the source now"),
                led => led?,
            }
        }
        Ok(())
    }

    async fn lead(&self, topics: &Topics, identity: &Identity, cancel: &CancellationToken) -> Result<(), Error> {
        let (sender, wanted) = watch::channel(SnapshotRequests::new());
        let (repairing, repairs) = mpsc::channel(1);
        let begin = Term::begin(self, topics, identity, wanted, repairs);
        let Some(term) = cancel.run_until_cancelled(begin).await else { return Ok(()) };
        let mut term = term?;
        let collections = self.collections.keys().cloned().collect();
        let repairing = repairs::serve(self.config.clone(), term.source().clone(), collections, repairing);
        let ended = cancel.cancelled();
        tokio::select! {
            outcome = term.run(cancel) => outcome,
            () = requests::exchange(self.config.clone(), self.status.clone(), sender) => Ok(()),
            () = repairing => Ok(()),
            () = async { ended.await; tokio::time::sleep(LAST_PUBLISH_TIMEOUT).await } => Ok(()),
        }
    }
}

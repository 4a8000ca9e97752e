//! Leadership: a candidate is on standby until it is elected, leads for a term, and returns to standby.

use std::time::Duration;

use futures_util::TryFutureExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{open::open, oplog, repairs, requests, role::SourceRole};
use crate::{
    control::snapshots::SnapshotRequests,
    log::{Leadership, Topics},
    metrics as names,
    model::{Identity, Namespace},
    pipeline::{Error, attempts::attempts, identity},
    source::Source,
    status::{Phase, Role},
    tasks::Tasks,
};

/// How long a stopping term may take to publish its draft.
const LAST_PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

impl SourceRole {
    /// Runs until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        metrics::gauge!(names::SOURCE_LEADER).set(0);
        for collection in self.collections.keys() {
            // Counters are born at 0, so that their first step is seen as one.
            for counter in [names::SOURCE_LOOKUPS, names::SOURCE_LOOKUPS_MISSING] {
                metrics::counter!(counter, "collection" => collection.clone()).increment(0);
            }
        }
        let this = &self;
        let attempt = |stop| async move { this.candidate(&stop).await };
        attempts(Role::Source, &this.status, &this.overview, &this.config, cancel, attempt).await;
    }

    /// An error of one server, with that of the other where both are away: both are reported at once.
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

    /// Waits on standby, leads, and returns to standby, until cancelled.
    async fn candidate(&self, cancel: &CancellationToken) -> Result<(), Error> {
        let namespaces = self.namespaces();
        // Before it waits, and before anything is made: a standby of another migration must not take over one day.
        let collections = self.collections.keys().map(String::as_str);
        let identity = match identity::of_candidate(&self.config, collections).await {
            Ok(identity) => identity,
            Err(error) => return Err(self.with_the_other(error, &namespaces).await),
        };
        let topics = Topics::ensure(&self.config.log, &namespaces).await?;
        let (leadership, leads) = Leadership::join(&self.config.log)?;
        let candidacy = CancellationToken::new();
        let _leave = candidacy.clone().drop_guard();
        let mut member = Tasks::new();
        member.spawn("leadership", leadership.run(candidacy.clone()).map_err(Error::from));
        tokio::select! {
            biased;
            stood = self.stand(&topics, &identity, leads, cancel) => stood?,
            Err(changed) = topics.changed(&self.config.log) => {
                metrics::gauge!(names::SOURCE_LEADER).set(0);
                return Err(changed.into());
            }
        }
        candidacy.cancel();
        member.failure().await.map_or(Ok(()), Err)
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
            if !self.leads_again(&mut leads, cancel).await {
                self.status.phase(Role::Source, Phase::Standby);
            }
            let elected = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                elected = leads.wait_for(|leads| *leads) => elected.is_ok(),
            };
            if !elected {
                break;
            }
            if !self.status.is_halted(Role::Source) {
                self.status.phase(Role::Source, Phase::Starting);
            }
            metrics::gauge!(names::SOURCE_LEADER).set(1);
            let led = tokio::select! {
                biased;
                // Leadership saves work; what protects the log is the fencing by the next leader's publisher.
                _ = leads.wait_for(|leads| !*leads) => Ok(()),
                led = self.lead(topics, identity, cancel) => led,
            };
            metrics::gauge!(names::SOURCE_LEADER).set(0);
            self.status.led(None);
            match led {
                Err(Error::Log(error)) if error.is_fenced() => tracing::info!("another process leads the source now"),
                led => led?,
            }
        }
        Ok(())
    }

    /// Whether this role is tried again after a halt, and leads within the time in which a group elects: it is shown as halted then
    /// until it runs. Otherwise another process leads.
    async fn leads_again(&self, leads: &mut watch::Receiver<bool>, cancel: &CancellationToken) -> bool {
        if !self.status.is_halted(Role::Source) {
            return false;
        }
        let elected = tokio::time::timeout(self.config.log.session_timeout, leads.wait_for(|leads| *leads));
        matches!(cancel.run_until_cancelled(elected).await, Some(Ok(Ok(_))))
    }

    /// Publishes for one term, with what operators ask for beside it.
    async fn lead(&self, topics: &Topics, identity: &Identity, cancel: &CancellationToken) -> Result<(), Error> {
        let (sender, wanted) = watch::channel(SnapshotRequests::new());
        let (repairing, repairs) = mpsc::channel(1);
        let begin = open(self, topics, identity, wanted, repairs);
        let Some(opened) = cancel.run_until_cancelled(begin).await else { return Ok(()) };
        let (mut term, source) = opened?;
        let collections = self.collections.keys().cloned().collect();
        let mut tasks = Tasks::new();
        tasks.spawn("snapshot requests", requests::exchange(self.config.clone(), self.status.clone(), sender));
        tasks.spawn("oplog", oplog::watch(source.clone(), self.status.clone()));
        tasks.spawn("repairs", repairs::serve(self.config.clone(), source, collections, repairing));
        tokio::select! {
            biased;
            outcome = term.run(cancel) => outcome,
            Some(error) = tasks.failure() => Err(error),
            () = async { cancel.cancelled().await; tokio::time::sleep(LAST_PUBLISH_TIMEOUT).await } => Ok(()),
        }
    }
}

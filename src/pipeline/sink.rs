//! The sink role: as many apply workers as configured, each with a consumer and a connection of its own.
//!
//! While they work, the role watches the catalog of the target. When it has changed, they finish their batches, and the plan is made
//! again: between two batches, by the same process. A mapping that no longer fits halts the role, by name, until it fits again.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;

use super::{
    Error, Overview, attempts,
    attempts::interrupted,
    fit::{Fit, fit, outdated},
    halt, namespaces,
};
use crate::{
    config::Config,
    log::Topics,
    mapping::{MappingFile, Plan},
    metrics as names,
    postgres::{self, Watch},
    retry::Backoff,
    sink::{Prepared, Worker, WorkerFailed, Workers, checkpoint},
    status::{Phase, Role, Status},
};

/// Reads the log and writes PostgreSQL.
pub(crate) struct SinkRole {
    config: Arc<Config>,
    mapping: Arc<MappingFile>,
    status: Status,
    /// Hears of the plan.
    overview: Overview,
    /// The plan that was applied last.
    applied: Mutex<Option<Arc<Plan>>>,
}

/// Everything that the role works with until a part of it changes.
struct Ready {
    workers: Vec<(String, Worker)>,
    topics: Topics,
    watch: Watch,
    prepared: Arc<Prepared>,
    /// The collections that no worker reads, because an operator has paused them.
    paused: BTreeSet<String>,
}

impl SinkRole {
    /// A role that reports to `status`.
    pub(crate) fn new(config: Arc<Config>, mapping: Arc<MappingFile>, status: Status, overview: Overview) -> Self {
        metrics::gauge!(names::SINK_BREAKER).set(config.sink.breaker_dead_letters as f64);
        Self { config, mapping, status, overview, applied: Mutex::new(None) }
    }

    /// Runs until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let this = &self;
        let attempt = |stop| async move { this.apply(&stop).await };
        attempts(Role::Sink, &this.status, &this.overview, &this.config, cancel, attempt).await;
    }

    /// Applies with one plan after the other.
    async fn apply(&self, cancel: &CancellationToken) -> Result<(), Error> {
        while !cancel.is_cancelled() {
            let Some(ready) = cancel.run_until_cancelled(self.prepare()).await else { break };
            let Ready { workers, topics, watch, prepared, paused } = match ready {
                Err(Error::Sink(postgres::Error::CatalogChanged)) => continue,
                ready => ready?,
            };
            self.status.phase(Role::Sink, Phase::Running);
            if let Err(error) = self.work(workers, &topics, &watch, (&prepared, &paused), cancel).await {
                let halt = |error: &Error| halt(Role::Sink, &self.status, error);
                outdated(error, &watch, prepared.look(), halt, cancel).await?;
            }
            if !cancel.is_cancelled() {
                tracing::info!("the target or the paused collections have changed: the plan is made again");
            }
        }
        Ok(())
    }

    /// Works until cancelled, until the plan is older than the catalog, or until other collections are paused.
    async fn work(
        &self,
        workers: Vec<(String, Worker)>,
        topics: &Topics,
        watch: &Watch,
        (prepared, paused): (&Prepared, &BTreeSet<String>),
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        // The first error of one ends all: they share the target, and start again together.
        let all = cancel.child_token();
        let _end = all.clone().drop_guard();
        let mut running = Workers::new(all.clone());
        if workers.is_empty() {
            // Every collection is paused.
            running.spawn("idle".to_owned(), |stop| async move {
                stop.cancelled().await;
                Ok(())
            });
        }
        for (name, worker) in workers {
            running.spawn(name, |stop| worker.run(stop));
        }
        let mut pauses = self.overview.paused();
        let mut work = pin!(running.ended());
        let before = prepared.look();
        tokio::select! {
            biased;
            ended = &mut work => {
                if ended.as_ref().is_err_and(WorkerFailed::is_of_a_lost_offset) {
                    // The offsets of a topic that was made again meanwhile say nothing about its records.
                    topics.verify(&self.config.log).await?;
                }
                ended?;
            }
            () = watch.until(|look| !look.has_same_tables(&before)) => {
                all.cancel();
                work.await?;
            }
            () = interrupted(&mut pauses, |now| !now.collections.keys().eq(paused)) => {
                all.cancel();
                work.await?;
            }
            Err(changed) = topics.changed(&self.config.log) => {
                // Open batches are finished: the positions are still those of the topics that were found.
                all.cancel();
                work.await?;
                return Err(changed.into());
            }
        }
        Ok(())
    }

    async fn prepare(&self) -> Result<Ready, Error> {
        let config = &self.config;
        let fit = fit(config, &self.mapping).await?;
        self.compare(&fit)?;
        let topics = Topics::ensure(&config.log, &namespaces(config, fit.prepared.all())).await?;
        checkpoint::register(&fit.control, &topics.partitions()).await?;
        checkpoint::bind(&fit.control, topics.collections()).await?;
        self.overview.compiled(fit.prepared.all());
        let paused: BTreeSet<String> = self.overview.paused().borrow().collections.keys().cloned().collect();
        let watch = fit.watch(config);
        let Fit { target, prepared, .. } = fit;
        let prepared = Arc::new(prepared);
        let worker = |number: usize| {
            let name = format!("worker {number}");
            let worker = Worker {
                target: target.clone(),
                prepared: prepared.clone(),
                config: config.sink.clone(),
                log: config.log.clone(),
                topics: topics.clone(),
                paused: paused.clone(),
                backoff: Backoff { min: config.retry.min, max: config.retry.max },
                stalls: self.status.stalls(Role::Sink, &name),
                status: self.status.clone(),
            };
            (name, worker)
        };
        // A consumer of no topic would join no group.
        let count = if topics.without(&paused).collections().is_empty() { 0 } else { config.sink.workers };
        let workers = (1..=count).map(worker).collect();
        Ok(Ready { workers, topics, watch, prepared, paused })
    }

    /// Compares the new plan with the one that was applied last.
    ///
    /// # Errors
    /// [`Error::Mapping`] when a column is gone that was filled because a field has its name.
    fn compare(&self, fit: &Fit) -> Result<(), Error> {
        let plan = fit.prepared.all();
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = applied.as_ref() {
            let lost = plan.lost_since(before, &fit.catalog);
            if !lost.is_empty() {
                return Err(Error::Mapping(lost));
            }
            for gained in plan.gained_since(before) {
                tracing::warn!(
                    collection = gained.collection,
                    table = %gained.table,
                    columns = gained.columns.join(", "),
                    hint = format!("driftless replay --collection {} --to-earliest --execute --why 'a new column'", gained.collection),
                    "columns are filled from now on; older rows lack their values until the collection is replayed"
                );
            }
        }
        *applied = Some(plan.clone());
        Ok(())
    }
}

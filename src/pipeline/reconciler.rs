//! The reconciler role: one process of a migration leads and proves, the others stand by.
//!
//! The leader runs its tasks beside each other. Each has sessions of its own to read with; what it records goes through the
//! session that holds the lead.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    Error, Overview, attempts,
    fit::{Fit, find, outdated},
    guard_watch::GuardWatch,
    halt,
    integrity::IntegrityTask,
    namespaces,
};
use crate::{
    config::Config,
    control::{
        lead::{Candidate, Lead},
        proofs::{self, Planned},
    },
    log::Topics,
    mapping::{CollectionFile, MappingFile},
    metrics as names,
    postgres::{self, Purpose, Session, Watch},
    reconcile::{
        self, Both, Bounds, Delta, DeltaBounds, Epochs, FullPass, Pace, PassesTask, Patience, Progress, Report, Walked,
    },
    retry::{Backoff, Stalls},
    source::{Limits, OnDrop, Scope, Source},
    status::{Phase, Role, Status},
    target,
    tasks::Tasks,
};

/// Compares both sides.
pub(crate) struct ReconcilerRole {
    /// The configuration.
    pub(crate) config: Arc<Config>,
    /// The mapping.
    pub(crate) mapping: Arc<MappingFile>,
    /// Where this role reports its state.
    pub(crate) status: Status,
    /// Is given the plan that results have to be of.
    pub(crate) overview: Overview,
}

/// Both sides, ready to be compared.
pub(crate) struct Comparison {
    pub(super) both: Arc<Both>,
    pub(super) session: Session,
    watch: Watch,
    bounds: Bounds,
}

impl Comparison {
    /// Connects to both sides; changes neither.
    ///
    /// # Errors
    /// Those of either side, [`Error::Mapping`] when the mapping does not fit the target, and an error that
    /// [awaits the sink](Error::awaits_the_sink) while schema, collections or topics are missing.
    pub(crate) async fn connect(config: &Config, mapping: &MappingFile) -> Result<Self, Error> {
        let source = Source::connect(&config.source).await?;
        let collections = mapping.collections().map(CollectionFile::name);
        let fit = find(config, mapping, &source.identity(collections).await?).await?;
        let watch = fit.watch(config);
        let Fit { target, prepared, .. } = fit;
        let session = target.open(Purpose::Read).await?;
        let topics = Topics::find(&config.log, &namespaces(config, prepared.all())).await?;
        let limits = Limits {
            documents: config.source.chunk_documents,
            bytes: usize::try_from(config.source.chunk_bytes.as_u64()).unwrap_or(usize::MAX),
        };
        let bounds = Bounds {
            limits,
            read_time: config.source.chunk_time,
            wait: config.reconcile.wait,
            findings: Bounds::FINDINGS,
        };
        let reader = source.reader();
        let epochs = Epochs::new(config.source.epoch, config.log.clone());
        let findings_kept = config.reconcile.findings_kept;
        let rates = (config.reconcile.rate, config.reconcile.bytes_rate.as_u64());
        let both = Arc::new(Both { source, reader, target, prepared, topics, epochs, findings_kept, bounds, rates });
        Ok(Self { both, session, watch, bounds })
    }

    /// Both sides, for a command that reads them itself.
    pub(crate) fn both(&self) -> &Arc<Both> {
        &self.both
    }

    /// Lists more findings in its reports, or fewer.
    #[must_use]
    pub(crate) fn with_findings(mut self, findings: usize) -> Self {
        self.bounds.findings = findings;
        self
    }

    /// The mapped collections, by place.
    pub(crate) fn collections(&self) -> Vec<String> {
        self.both.prepared.all().collections().iter().map(|plan| plan.collection.clone()).collect()
    }

    /// The collections, by place, with their plans.
    fn planned(&self) -> Vec<Planned> {
        let plans = self.both.prepared.all().collections().iter().zip(self.both.prepared.ids());
        plans.map(|(plan, id)| Planned { collection: *id, plan: plan.digest() }).collect()
    }

    /// Compares everything of one collection, by place.
    ///
    /// # Errors
    /// Those of either side.
    pub(crate) async fn full(
        &self,
        collection: usize,
        patience: &mut Patience,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Walked, Error> {
        let pass = FullPass::new(&self.both, collection, self.bounds.findings);
        let walked = pass.run(patience, progress).await?;
        failpoint!(RECONCILE_WALK);
        Ok(walked)
    }

    /// Compares random documents of one collection, by place, in a session of its own; `None` while its snapshot is not applied.
    ///
    /// # Errors
    /// Those of either side.
    pub(crate) async fn sample(&self, collection: usize, size: usize) -> Result<Option<Report>, Error> {
        let session = self.session().await?;
        let (source, target) = (self.both.source_of(collection), self.both.target_of(&session, collection));
        let plan = target.plan();
        let report = reconcile::run(&source, &target, plan, size, self.bounds).await?;
        if let Some(report) = &report {
            metrics::counter!(names::RECONCILE_DOCUMENTS, "collection" => plan.collection.clone())
                .increment(report.proof.documents);
        }
        Ok(report)
    }

    /// Opens a session to read with.
    ///
    /// # Errors
    /// Those of PostgreSQL.
    pub(crate) async fn session(&self) -> Result<Session, Error> {
        Ok(self.both.session().await?)
    }

    /// Counts documents of the source, live ledger entries, and rows of each root table of a collection, by place.
    ///
    /// # Errors
    /// Those of either side.
    pub(crate) async fn counts(&self, collection: usize) -> Result<Vec<Count>, Error> {
        let plan = self.both.plan(collection);
        let mut counts = Vec::new();
        let mut push = |what: String, count, exact, (at, began): (Timestamp, Instant)| {
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            counts.push(Count { collection: plan.collection.clone(), what, count, exact, at, took_ms });
        };
        let now = || (Timestamp::now(), Instant::now());
        let began = now();
        push("documents".to_owned(), self.both.reader.estimate(&plan.collection).await?, false, began);
        // Its statements take as long as they take: a person waits for them.
        let session = self.both.target.open(Purpose::Control).await?;
        let began = now();
        let live = target::live_entries(&session, &self.both.prepared, collection).await?;
        push("live ledger entries".to_owned(), live, true, began);
        for (table, _) in self.both.prepared.roots(collection) {
            let began = now();
            let rows = target::rows(&session, &table.name, &table.count).await?;
            push(format!("rows of {}", table.name), rows, true, began);
        }
        Ok(counts)
    }
}

/// A number and how it came about.
#[derive(Debug, Serialize)]
pub(crate) struct Count {
    /// The collection.
    pub(crate) collection: String,
    /// The thing that was counted.
    pub(crate) what: String,
    /// The number.
    pub(crate) count: u64,
    /// Whether it is exact as of `at`, not an estimate of the server.
    pub(crate) exact: bool,
    /// When the count began.
    pub(crate) at: Timestamp,
    /// How long it took.
    pub(crate) took_ms: u64,
}

impl ReconcilerRole {
    /// Runs until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let this = &self;
        let attempt = |stop| async move { this.candidate(&stop).await };
        attempts(Role::Reconciler, &this.status, &this.overview, &this.config, cancel, attempt).await;
    }

    /// Proves with one plan after the other, once this process leads.
    async fn candidate(&self, cancel: &CancellationToken) -> Result<(), Error> {
        let mut lead = None;
        while !cancel.is_cancelled() {
            let connected = cancel.run_until_cancelled(Comparison::connect(&self.config, &self.mapping)).await;
            let comparison = match connected {
                None => break,
                Some(Err(Error::Sink(postgres::Error::CatalogChanged))) => continue,
                Some(comparison) => Arc::new(comparison?),
            };
            self.overview.compiled(comparison.both.prepared.all());
            let served = cancel.run_until_cancelled(self.serve(&comparison, &mut lead)).await;
            if let Some(Err(error)) = served {
                let halt = |error: &Error| halt(Role::Reconciler, &self.status, error);
                outdated(error, &comparison.watch, comparison.both.prepared.look(), halt, cancel).await?;
            }
        }
        Ok(())
    }

    /// Stands by until this process leads, and proves with one plan. Dropping it ends all its tasks.
    ///
    /// # Errors
    /// [`postgres::Error::CatalogChanged`] when the plan is older than the catalog; else the first of any task.
    async fn serve(&self, comparison: &Arc<Comparison>, lead: &mut Option<Arc<Lead>>) -> Result<(), Error> {
        let lead = match lead {
            Some(lead) => lead,
            None => lead.insert(Arc::new(self.stand_by(comparison).await?)),
        };
        proofs::plan(&*lead.session().await, &comparison.planned()).await?;
        self.status.phase(Role::Reconciler, Phase::Running);
        let mut tasks = Tasks::new();
        let integrity =
            IntegrityTask { config: self.config.clone(), comparison: comparison.clone(), lead: lead.clone() };
        tasks.spawn("integrity", async move { Ok(integrity.run().await?) });
        let (delta, following) =
            Delta::new(comparison.both.clone(), lead.clone(), self.scope(), self.delta_bounds(), self.stalls());
        tasks.spawn("delta", async move { Ok(following.run().await?) });
        let guard = GuardWatch { both: comparison.both.clone(), lead: lead.clone(), delta: delta.clone() };
        tasks.spawn("guard", async move { Ok(guard.run().await?) });
        let passes = PassesTask::new(comparison.both.clone(), lead.clone(), delta, self.pace(), self.stalls());
        tasks.spawn("baseline", async move { Ok(passes.run().await?) });
        tasks.failure().await.map_or(Ok(()), Err)
    }

    /// The mapped collections.
    fn scope(&self) -> Scope {
        let collections = self.mapping.collections().map(|file| (file.name().to_owned(), OnDrop::Ignore));
        let source = &self.config.source;
        let (database, epoch) = (source.database.clone(), source.epoch);
        Scope { database, collections: collections.collect(), epoch, since: BTreeMap::new() }
    }

    fn delta_bounds(&self) -> DeltaBounds {
        DeltaBounds {
            keys: self.config.reconcile.pending_keys,
            bytes: usize::try_from(self.config.reconcile.pending_bytes.as_u64()).unwrap_or(usize::MAX),
            backoff: Backoff { min: self.config.retry.min, max: self.config.retry.max },
        }
    }

    fn pace(&self) -> Pace {
        let config = &self.config.reconcile;
        Pace {
            every: config.baseline_every,
            backoff: Backoff { min: self.config.retry.min, max: self.config.retry.max },
        }
    }

    fn stalls(&self) -> Stalls {
        self.status.stalls(Role::Reconciler, Role::Reconciler.as_str())
    }

    /// Waits until no other process leads.
    async fn stand_by(&self, comparison: &Comparison) -> Result<Lead, Error> {
        let candidate = Candidate::new(comparison.both.session().await?).await?;
        let mut poll = tokio::time::interval(STANDBY_POLL_INTERVAL);
        while !candidate.ask().await? {
            self.status.phase(Role::Reconciler, Phase::Standby);
            poll.tick().await;
            comparison.both.prepared.still_fits(&comparison.session).await?;
        }
        // The one before may have lost the lead by a swap.
        comparison.both.prepared.still_fits(&comparison.session).await?;
        Ok(candidate.lead())
    }
}

/// Interval at which a process on standby asks for the lead: how long nobody proves after a leader has died.
const STANDBY_POLL_INTERVAL: Duration = Duration::from_secs(1);

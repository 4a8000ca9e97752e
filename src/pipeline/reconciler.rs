//! The reconciler role: pass after pass over all collections.

use std::{collections::HashMap, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{Error, attempts};
use crate::{
    config::Config,
    log::Topics,
    mapping::{MappingFile, Plan},
    metrics as names,
    model::{Key, Namespace, Version},
    reconcile::{Bounds, Coverage, Pass, Report},
    sink::{self, Purpose, Session, Target, read_catalog, status::ReconcileResult},
    source::{self, Limits, Source},
    status::{Phase, Role, Status},
};

/// Compares both sides.
pub struct ReconcilerRole {
    /// The configuration.
    pub config: Arc<Config>,
    /// The mapping.
    pub mapping: Arc<MappingFile>,
    /// Where this role tells how it is.
    pub status: Status,
}

/// Both sides, ready to be compared.
pub struct Bench {
    /// MongoDB.
    pub source: source::Reader,
    /// PostgreSQL.
    pub target: sink::Reader,
    /// Writes results down.
    pub notes: Session,
    /// What becomes of each collection.
    pub plan: Plan,
    /// Bounds of a pass.
    pub bounds: Bounds,
}

impl Bench {
    /// Connects to both sides.
    ///
    /// # Errors
    /// Those of either side, and [`Error::Mapping`] when the mapping does not fit the target.
    pub async fn connect(config: &Config, mapping: &MappingFile) -> Result<Self, Error> {
        let target = Target::new(&config.sink)?;
        let notes = target.open(Purpose::Read).await?;
        let plan = Plan::compile(mapping, &read_catalog(&notes).await?).map_err(Error::Mapping)?;
        let database = &config.source.database;
        let namespaces: Vec<Namespace> =
            plan.collections().iter().map(|plan| Namespace::new(database, &plan.collection)).collect();
        let topics = Topics::ensure(&config.log, &namespaces).await?;
        let reader = sink::Reader::connect(&target, &plan, &topics, database).await?;
        let source = Source::connect(&config.source).await?.reader();
        let limits = Limits {
            documents: config.source.chunk_documents,
            bytes: usize::try_from(config.source.chunk_bytes.as_u64()).unwrap_or(usize::MAX),
        };
        Ok(Self { source, target: reader, notes, plan, bounds: Bounds { limits, settle: config.reconcile.settle } })
    }

    /// Compares one collection and writes the result down; `None` while its snapshot is not applied.
    ///
    /// # Errors
    /// Those of either side.
    pub async fn pass(&mut self, collection: &str, coverage: Coverage) -> Result<Option<Report>, Error> {
        let Some(plan) = self.plan.collection(collection) else { return Ok(None) };
        let pass = Pass::run(&self.source, &mut self.target, plan, coverage, self.bounds);
        let Some(report) = pass.await? else { return Ok(None) };
        let result = ReconcileResult {
            collection: report.collection.clone(),
            at: report.proof.at,
            full: report.proof.full,
            documents: report.proof.documents,
            missing: report.proof.missing,
            extra: report.proof.extra,
            different: report.proof.different,
            undecided: report.proof.undecided,
        };
        let findings = serde_json::json!(report.findings);
        sink::status::store_result(&self.notes, &result, report.as_of, &findings).await?;
        Ok(Some(report))
    }
}

impl ReconcilerRole {
    /// Runs until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        attempts(Role::Reconciler, &self.status, self.config.retry, cancel.clone(), || self.passes(&cancel)).await;
    }

    async fn passes(&self, cancel: &CancellationToken) -> Result<(), Error> {
        let mut bench = Bench::connect(&self.config, &self.mapping).await?;
        let names: Vec<String> = bench.plan.collections().iter().map(|plan| plan.collection.clone()).collect();
        let mut drifting: HashMap<String, HashMap<Key, Option<Version>>> = HashMap::new();
        let mut beat = tokio::time::interval(self.config.reconcile.interval);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while cancel.run_until_cancelled(beat.tick()).await.is_some() {
            for name in &names {
                // A pass writes nothing but its result, so it can be dropped anywhere.
                let pass = bench.pass(name, Coverage::Sample(self.config.reconcile.sample));
                let Some(report) = cancel.run_until_cancelled(pass).await else { return Ok(()) };
                let report = report?;
                self.status.phase(Role::Reconciler, Phase::Running);
                let Some(report) = report else { continue };
                let before = drifting.insert(name.clone(), report.drifting.clone()).unwrap_or_default();
                self.watch_healing(&mut bench, name, before, &report).await?;
            }
        }
        Ok(())
    }

    /// Drift that is gone although its document was not written again was no drift: the watermark lied.
    async fn watch_healing(
        &self,
        bench: &mut Bench,
        collection: &str,
        before: HashMap<Key, Option<Version>>,
        report: &Report,
    ) -> Result<(), Error> {
        let gone: Vec<Key> =
            before.keys().filter(|key| report.proof.full && !report.drifting.contains_key(*key)).cloned().collect();
        if gone.is_empty() {
            return Ok(());
        }
        let found = bench.target.entries(collection, &gone).await?;
        for (key, entry) in gone.iter().zip(found.entries) {
            if entry.map(|entry| entry.version) == before.get(key).copied().flatten() {
                tracing::error!(collection, key = %key, "drift healed without a new version: the watermark was wrong, or somebody wrote the target");
                metrics::counter!(names::DRIFT_HEALED, "collection" => collection.to_owned()).increment(1);
            }
        }
        Ok(())
    }
}

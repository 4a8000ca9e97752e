//! The sink role: as many apply workers as configured, each with a consumer and a connection of its own.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use super::{Error, Overview, attempts, namespaces};
use crate::{
    config::Config,
    log::Topics,
    mapping::{MappingFile, Plan},
    model::SourceIdentity,
    retry::Backoff,
    sink::{Prepared, Purpose, Target, Worker, checkpoint, identity, migrate, read_catalog},
    status::{Phase, Role, Status},
};

/// Reads the log and writes PostgreSQL.
pub struct SinkRole {
    /// The configuration.
    pub config: Arc<Config>,
    /// The mapping.
    pub mapping: Arc<MappingFile>,
    /// Where this role tells how it is.
    pub status: Status,
    /// Hears of the plan.
    pub overview: Overview,
}

impl SinkRole {
    /// Runs until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        attempts(Role::Sink, &self.status, self.config.retry, cancel.clone(), || self.apply(&cancel)).await;
    }

    async fn apply(&self, cancel: &CancellationToken) -> Result<(), Error> {
        let Some(workers) = cancel.run_until_cancelled(self.prepare()).await else { return Ok(()) };
        let workers = workers?;
        self.status.phase(Role::Sink, Phase::Running);
        // The first error of one ends all: they share the target, and start again together.
        let all = cancel.child_token();
        let _end = all.clone().drop_guard();
        try_join_all(workers.into_iter().map(|worker| worker.run(all.clone()))).await?;
        Ok(())
    }

    async fn prepare(&self) -> Result<Vec<Worker>, Error> {
        let config = &self.config;
        let target = Target::new(&config.sink, &config.log.prefix)?;
        let control = target.open(Purpose::Control).await?;
        migrate(&control).await?;
        let source = SourceIdentity { database: config.source.database.clone(), ..SourceIdentity::default() };
        identity::claim(&control, &source).await?;
        let catalog = read_catalog(&control).await?;
        let plan = Plan::compile(&self.mapping, &catalog).map_err(Error::Mapping)?;
        let topics = Topics::ensure(&config.log, &namespaces(config, &plan)).await?;
        checkpoint::register(&control, &topics.partitions()).await?;
        self.overview.compiled(&plan);
        let prepared = Arc::new(Prepared::new(&control, Arc::new(plan), &catalog).await?);
        let worker = |number: usize| Worker {
            target: target.clone(),
            prepared: prepared.clone(),
            config: config.sink.clone(),
            log: config.log.clone(),
            topics: topics.clone(),
            backoff: Backoff { min: config.retry.min, max: config.retry.max },
            stalls: self.status.stalls(Role::Sink, &format!("worker {number}")),
            status: self.status.clone(),
        };
        Ok((1..=config.sink.workers).map(worker).collect())
    }
}

//! The target, found fit for the mapping: sink and reconciler begin here.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{error::Error, identity};
use crate::{
    config::Config,
    mapping::{MappingFile, Plan, target::Catalog},
    model::Namespace,
    postgres::{Look, Postgres, Purpose, Session, Watch, faults_of_target, migrate, read_catalog, suited::writable},
    sink::Prepared,
};

/// The target, and the plan made ready for it.
pub(super) struct Fit {
    pub(super) control: Session,
    pub(super) target: Postgres,
    pub(super) prepared: Prepared,
    pub(super) catalog: Catalog,
}

/// Looks at the target, brings the schema `driftless` up to date and makes the plan ready.
///
/// # Errors
/// [`Error::Mapping`] and [`Error::TargetUnsuited`] halt; those of the target by their cause.
pub(super) async fn fit(config: &Config, mapping: &MappingFile) -> Result<Fit, Error> {
    let target = Postgres::new(&config.sink, &config.log.prefix)?;
    let control = target.open(Purpose::Control).await?;
    writable(&control).await?;
    let catalog = read_catalog(&control).await?;
    let plan = Plan::compile(mapping, &catalog).map_err(Error::Mapping)?;
    let mut faults = faults_of_target(&control, &plan).await?;
    faults.retain(|fault| fault.stops);
    if !faults.is_empty() {
        return Err(Error::TargetUnsuited(faults));
    }
    migrate(&control).await?;
    identity::claim(config, &control, &identity::configured(config)).await?;
    let prepared = Prepared::new(&control, Arc::new(plan), &catalog).await?;
    Ok(Fit { control, target, prepared, catalog })
}

/// The collections of a plan, in its order.
pub(crate) fn namespaces(config: &Config, plan: &Plan) -> Vec<Namespace> {
    plan.collections().iter().map(|plan| Namespace::new(&config.source.database, &plan.collection)).collect()
}

impl Fit {
    /// Looks again and again whether the target has changed.
    pub(super) fn watch(&self, config: &Config) -> Watch {
        Watch::new(self.target.clone(), self.prepared.tables().clone(), config.sink.catalog_interval)
    }
}

/// Whether an attempt that ended so is to be made again at once, because the plan is older than the catalog. Where the target is as
/// it was, the role halts until something of it changes.
///
/// # Errors
/// The error itself, when nothing about the target can change it; that of looking at the target.
pub(super) async fn outdated(
    error: Error,
    watch: &Watch,
    before: Look,
    halt: impl FnOnce(&Error),
    cancel: &CancellationToken,
) -> Result<(), Error> {
    if !error.concerns_the_target() {
        return Err(error);
    }
    if watch.look().await? == before {
        halt(&error);
        cancel.run_until_cancelled(watch.until(|look| *look != before)).await;
    }
    Ok(())
}

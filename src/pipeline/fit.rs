//! The target, found fit for the mapping: sink and reconciler begin here. The sink makes what is missing; a reader waits for it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{error::Error, identity};
use crate::{
    config::Config,
    control::{self, mapping::Recorded},
    mapping::{MappingFile, Plan, target::Catalog},
    model::{Namespace, SourceIdentity},
    postgres::{
        self, Look, Postgres, Purpose, Refusal, Session, Watch, faults_of_target, migrate, read_catalog, schema,
        suited::{faults_of_reader, writable},
    },
    sink::Prepared,
};

/// The target, and the plan made ready for it.
pub(super) struct Fit {
    pub(super) control: Session,
    pub(super) target: Postgres,
    pub(super) prepared: Prepared,
    pub(super) catalog: Catalog,
}

/// For the sink: looks at the target, brings the schema `driftless` up to date and makes the plan ready.
///
/// # Errors
/// [`Error::Mapping`] and [`Error::TargetUnsuited`] halt; those of the target by their cause.
pub(super) async fn fit(config: &Config, mapping: &MappingFile) -> Result<Fit, Error> {
    let target = Postgres::new(&config.sink, &config.log.prefix)?;
    let control = target.open(Purpose::Control).await?;
    writable(&control).await?;
    is_no_other(&control, mapping).await?;
    let catalog = read_catalog(&control).await?;
    let plan = Plan::compile(mapping, &catalog).map_err(Error::Mapping)?;
    let mut faults = faults_of_target(&control, &plan).await?;
    faults.retain(|fault| fault.stops);
    if !faults.is_empty() {
        return Err(Error::TargetUnsuited(faults));
    }
    migrate(&control).await?;
    identity::claim(config, &control).await?;
    let recorded = is_recorded(mapping, control::mapping::claim(&control, mapping).await?)?;
    let prepared = Prepared::new(&control, Arc::new(plan), &catalog).await?;
    still_recorded(&prepared, recorded)?;
    Ok(Fit { control, target, prepared, catalog })
}

/// For a reader of both sides: looks at the target as the sink has prepared it. Changes nothing, and needs no right to write the
/// mapped tables.
///
/// # Errors
/// [`postgres::Error::SchemaBehind`] and [`postgres::Error::NotRegistered`] until the sink has done its part; else those of [`fit`].
pub(super) async fn find(config: &Config, mapping: &MappingFile, source: &SourceIdentity) -> Result<Fit, Error> {
    let target = Postgres::new(&config.sink, &config.log.prefix)?;
    let control = target.open(Purpose::Control).await?;
    writable(&control).await?;
    // First of all: what is missing in a target of another migration is not missing.
    let identity = postgres::identity::target(&control).await?;
    identity::compare(config, Some(source), Some(&identity)).await?;
    schema::exists(&control).await?;
    is_no_other(&control, mapping).await?;
    let catalog = read_catalog(&control).await?;
    let plan = Plan::compile(mapping, &catalog).map_err(Error::Mapping)?;
    let faults = faults_of_reader(&control, &plan).await?;
    if !faults.is_empty() {
        return Err(Error::TargetUnsuited(faults));
    }
    postgres::identity::compare(&control, source).await?;
    schema::is_current(&control).await?;
    let recorded = is_recorded(mapping, control::mapping::recorded(&control).await?)?;
    let prepared = Prepared::find(&control, Arc::new(plan), &catalog).await?;
    still_recorded(&prepared, recorded)?;
    Ok(Fit { control, target, prepared, catalog })
}

/// Makes sure that no other mapping is recorded, and that a replay into a schema was begun: what this one lacks in the target is not missing
/// then.
///
/// # Errors
/// [`Error::OtherMapping`] and [`postgres::Error::NoSuchSibling`] halt; [`Error::Sink`] by its cause.
async fn is_no_other(control: &Session, mapping: &MappingFile) -> Result<(), Error> {
    postgres::identity::is_begun(control).await?;
    match control::mapping::recorded(control).await {
        Ok(Some(recorded)) => is_recorded(mapping, Some(recorded)).map(|_| ()),
        Ok(None) => Ok(()),
        // The right to read it is told with all others that the role lacks.
        Err(error) if error.refusal().is_some_and(Refusal::is_of_a_right) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes sure that the file is the mapping of the migration, and returns the number of that.
///
/// # Errors
/// [`Error::OtherMapping`] halts; [`postgres::Error::NotRegistered`] until the sink has recorded one.
fn is_recorded(mapping: &MappingFile, recorded: Option<Recorded>) -> Result<i64, Error> {
    match recorded {
        None => Err(postgres::Error::NotRegistered("the mapping".to_owned()).into()),
        Some(recorded) if recorded.is(mapping) => Ok(recorded.number),
        Some(recorded) => Err(Error::OtherMapping(Box::new(recorded))),
    }
}

/// Makes sure that no other mapping was recorded before the plan was ready: its batches are written under the number of that look.
fn still_recorded(prepared: &Prepared, recorded: i64) -> Result<(), Error> {
    if prepared.look().mapping() == Some(recorded) { Ok(()) } else { Err(postgres::Error::CatalogChanged.into()) }
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

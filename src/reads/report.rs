//! The state of a unit as the status page, `cutover status` and the file show it.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Reads, Unit, Why};
use crate::{
    config::ShadowDemand,
    control::{
        reads::Share,
        shadow::{QueryResult, ShadowRun},
    },
};

/// The state of a unit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct UnitReport {
    /// Its name.
    pub(crate) unit: String,
    /// Its collections.
    pub(crate) collections: Vec<String>,
    /// Percentage of the keys whose reads go to PostgreSQL.
    pub(crate) share: Share,
    /// Until when they do, unless it is judged again; then all reads go to MongoDB. `None` while none go to PostgreSQL.
    pub(crate) valid_until: Option<Timestamp>,
    /// The percentage that an operator has asked for; `None` where it is not known.
    pub(crate) wish: Option<Share>,
    /// Whether it is tripped.
    pub(crate) tripped: bool,
    /// Why its share is less than the wish.
    pub(crate) reason: Option<String>,
    /// When it last changed.
    pub(crate) since: Option<Timestamp>,
    /// How often it has changed.
    pub(crate) epoch: i64,
}

impl UnitReport {
    /// Reports a unit as of now.
    pub(crate) fn new(unit: Unit, now: Timestamp) -> Self {
        let until = || now.checked_add(SignedDuration::try_from(unit.judged_for).ok()?).ok();
        let (valid_until, reason) = match unit.why() {
            Why::Share => (until(), None),
            Why::NotCutOver | Why::KeyMissing => (None, None),
            Why::Tripped(reason) | Why::Unknown(reason) => (None, Some(reason)),
        };
        Self {
            share: unit.share(),
            valid_until,
            wish: Some(unit.wish),
            tripped: unit.tripped.is_some(),
            reason,
            since: Timestamp::from_millisecond(unit.since_ms).ok().filter(|since| *since > Timestamp::UNIX_EPOCH),
            epoch: unit.epoch,
            unit: unit.name,
            collections: unit.collections,
        }
    }
}

/// The state of a unit with what its shadow reads have shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct UnitStatus {
    /// Its state.
    #[serde(flatten)]
    pub(crate) reads: UnitReport,
    /// The files of queries that it demands; `None` while their results are not known.
    pub(crate) shadow: Option<Vec<ShadowReport>>,
}

impl UnitStatus {
    /// Adds the last results of shadow reads to the report of a unit with these demands.
    pub(crate) fn new(reads: UnitReport, demands: &[ShadowDemand], runs: Option<&[ShadowRun]>) -> Self {
        Self { reads, shadow: runs.map(|runs| demands.iter().map(|demand| ShadowReport::new(demand, runs)).collect()) }
    }
}

/// The last result of a file of queries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ShadowReport {
    /// Name of the file, without its folder.
    pub(crate) file: String,
    /// How long ago its queries were compared; `None` if they never were.
    pub(crate) age_ms: Option<u64>,
    /// Its queries, in their order.
    pub(crate) queries: Vec<QueryResult>,
}

impl ShadowReport {
    fn new(demand: &ShadowDemand, runs: &[ShadowRun]) -> Self {
        let run = runs.iter().find(|run| run.file == demand.file);
        Self {
            file: demand.file.clone(),
            age_ms: run.map(|run| u64::try_from(run.age.as_millis()).unwrap_or(u64::MAX)),
            queries: run.map(|run| run.queries.clone()).unwrap_or_default(),
        }
    }
}

impl Reads {
    /// Reports every unit as of now, with the last results of the shadow reads that it demands.
    pub(crate) fn status(&self, runs: Option<&[ShadowRun]>) -> Vec<UnitStatus> {
        let reports = self.report().into_iter().zip(&self.0.units);
        reports.map(|(report, unit)| UnitStatus::new(report, &unit.shadow, runs)).collect()
    }

    /// Reports every unit as of now.
    pub(crate) fn report(&self) -> Vec<UnitReport> {
        let reason = match self.units() {
            Ok(units) => return units.into_iter().map(|unit| UnitReport::new(unit, Timestamp::now())).collect(),
            Err(reason) => reason,
        };
        let unknown = self.0.units.iter().map(|unit| UnitReport {
            unit: unit.name.clone(),
            collections: unit.collections.clone(),
            share: Share::NONE,
            valid_until: None,
            wish: None,
            tripped: false,
            reason: Some(reason.clone()),
            since: None,
            epoch: 0,
        });
        unknown.collect()
    }
}

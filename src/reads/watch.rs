//! Keeps [`Reads`] as PostgreSQL has it, judges the units that have a share, and trips those whose proof broke.
//!
//! Each process that reads the shared state judges for itself, and any of them may trip a unit. The others, and a process that runs only
//! `--role reads`, rely on those judgements for as long as they hold.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{Known, Reads, judge};
use crate::{
    config::Config,
    control::reads::{self, CHANNEL, Judged, Share, UnitRow},
    metrics as names,
    pipeline::Overview,
    postgres::{Error, Postgres, Purpose, Session},
    reconcile::{blockers::Blocker, facts::Facts},
    retry,
    status::Status,
};

/// Interval between two looks, and so between two judgements; a notification brings the next look at once.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Why a process knows nothing while its looks fail.
const UNREADABLE: &str = "the state of the units cannot be read from PostgreSQL";

/// The task that watches the units.
pub(crate) struct Watch {
    config: Arc<Config>,
    reads: Reads,
    overview: Overview,
    status: Status,
    session: Option<Session>,
    /// Since when something has stood against a unit without a break, under this epoch.
    against_since: BTreeMap<String, (i64, Instant)>,
}

impl Watch {
    /// Creates the task.
    pub(crate) fn new(config: &Arc<Config>, reads: &Reads, overview: &Overview, status: &Status) -> Self {
        for unit in reads.names() {
            // Counters start at 0, so that their first step is seen as an increase.
            metrics::counter!(names::READS_TRIPS, "unit" => unit.to_owned()).increment(0);
        }
        Self {
            config: config.clone(),
            reads: reads.clone(),
            overview: overview.clone(),
            status: status.clone(),
            session: None,
            against_since: BTreeMap::new(),
        }
    }

    /// Watches until cancelled.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        let mut knows = false;
        while let Some(known) = cancel.run_until_cancelled(self.know()).await {
            match (&known, knows) {
                (Known::Rows(..), false) => tracing::info!("the state of the units of reads is known"),
                (Known::Nothing(reason), true) => tracing::warn!(%reason, "all reads go to MongoDB"),
                _ => {}
            }
            knows = matches!(known, Known::Rows(..));
            self.reads.publish(known);
            export(&self.reads);
            let notified = async {
                match &self.session {
                    Some(session) => session.notified().await,
                    None => std::future::pending().await,
                }
            };
            // Whichever comes first; the end of the wait is no event.
            let wait = tokio::time::timeout(POLL_INTERVAL, notified);
            if cancel.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
    }

    /// Looks once; a connection that has ended since the last look is replaced at once.
    async fn know(&mut self) -> Known {
        let connected = self.session.is_some();
        let mut known = self.look().await;
        if connected && known.is_none() {
            known = self.look().await;
        }
        known.unwrap_or_else(|| Known::Nothing(UNREADABLE.to_owned()))
    }

    async fn look(&mut self) -> Option<Known> {
        let max_age = self.config.reads.max_age;
        let session = self.session.take();
        let looked = tokio::time::timeout(max_age, self.judge_and_read(session)).await;
        match looked {
            Ok(Ok((session, known))) => {
                self.session = Some(session);
                Some(known)
            }
            Ok(Err(error)) => {
                tracing::debug!(reason = retry::chain(&error), "the units of reads cannot be looked at");
                None
            }
            Err(_elapsed) => {
                tracing::debug!("PostgreSQL does not say in time where to read");
                None
            }
        }
    }

    async fn judge_and_read(&mut self, session: Option<Session>) -> Result<(Session, Known), Error> {
        let session = match session {
            Some(session) => session,
            None => {
                let session = Postgres::new(&self.config.sink, &self.config.log.prefix)?.open(Purpose::Read).await?;
                session.batch("listen for changes of reads", &format!("LISTEN {CHANNEL}")).await?;
                session
            }
        };
        let mut at = Instant::now();
        let mut rows = reads::units(&session).await?;
        let facts = self.overview.facts(&self.status, self.config.reads.max_age);
        if let Some((facts, age)) = facts
            && self.judge(&session, &facts, age, &rows).await?
        {
            at = Instant::now();
            rows = reads::units(&session).await?;
        }
        Ok((session, Known::Rows(at, rows)))
    }

    /// Judges every unit that has a share by facts of this age; returns whether anything was recorded.
    async fn judge(
        &mut self,
        session: &Session,
        facts: &Facts,
        age: Duration,
        rows: &[UnitRow],
    ) -> Result<bool, Error> {
        let shared = self.reads.0.clone();
        let undeclared: Vec<(&str, &[String])> = shared
            .units
            .iter()
            .filter(|unit| !rows.iter().any(|row| row.unit == unit.name))
            .map(|unit| (&*unit.name, &*unit.collections))
            .collect();
        reads::declare(session, &undeclared).await?;
        let who = self.overview.read().instance;
        let mut judged = Vec::new();
        let mut recovering = Vec::new();
        for unit in &shared.units {
            let Some(row) = rows.iter().find(|row| row.unit == unit.name && row.share > Share::NONE) else { continue };
            let Some(against) = judge::against(facts, &self.config, unit, row) else { continue };
            let green = against.is_empty();
            let ended = judge::ended(facts, age, &self.config, unit, row);
            judged.push(Judged { unit: unit.name.clone(), epoch: row.epoch, green, ended });
            let lasted = self.lasted(row, &against);
            match (&row.tripped, judge::trips(&against, lasted, unit.patience)) {
                (None, Some(why)) => trip(session, row, &who, &why).await?,
                (Some(_), _) if green => recovering.extend(unit.recover_after.map(|after| (row, after))),
                _ => {}
            }
        }
        if judged.is_empty() {
            return Ok(false);
        }
        reads::record(session, &judged, self.config.reads.max_age).await?;
        for (row, after) in recovering {
            if reads::recover(session, &row.unit, row.epoch, &who, after).await? {
                tracing::info!(unit = row.unit, share = %row.share, "reads go to PostgreSQL again");
            }
        }
        Ok(true)
    }

    /// How long something has stood against a unit without a break.
    fn lasted(&mut self, row: &UnitRow, against: &[Blocker]) -> Duration {
        let now = Instant::now();
        if against.is_empty() {
            self.against_since.remove(&row.unit);
            return Duration::ZERO;
        }
        let since = self.against_since.entry(row.unit.clone()).or_insert((row.epoch, now));
        if since.0 != row.epoch {
            *since = (row.epoch, now);
        }
        now.duration_since(since.1)
    }
}

async fn trip(session: &Session, row: &UnitRow, who: &str, why: &str) -> Result<(), Error> {
    if reads::trip(session, &row.unit, row.epoch, who, why).await? {
        metrics::counter!(names::READS_TRIPS, "unit" => row.unit.clone()).increment(1);
        tracing::error!(unit = row.unit, why, "the proof broke: all reads of the unit go to MongoDB");
    }
    Ok(())
}

fn export(reads: &Reads) {
    let units = reads.units();
    metrics::gauge!(names::READS_KNOWN).set(f64::from(units.is_ok()));
    let gauge =
        |name: &'static str, unit: &str, value: f64| metrics::gauge!(name, "unit" => unit.to_owned()).set(value);
    match units {
        Ok(units) => {
            for unit in units {
                gauge(names::READS_SHARE, &unit.name, unit.share().percent());
                gauge(names::READS_WISH, &unit.name, unit.wish.percent());
                gauge(names::READS_TRIPPED, &unit.name, f64::from(unit.tripped.is_some()));
            }
        }
        // The wish and a trip are as they were last seen.
        Err(_) => reads.names().for_each(|unit| gauge(names::READS_SHARE, unit, 0.0)),
    }
}

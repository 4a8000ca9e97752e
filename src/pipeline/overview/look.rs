//! The task that reads the shared state, and publishes what this process knows of its roles.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    Overview,
    events::Events,
    gauges::{Gauges, export_answers, export_pauses},
};
use crate::{
    config::Config,
    control::{
        journal, mapping, pauses,
        processes::{self, Process},
        siblings, snapshots, status,
    },
    pipeline::{
        Error, OwnMapping,
        facts::{assign_letters, collection, open_by_reason},
    },
    postgres::{Postgres, Session},
    reconcile::facts::CollectionFacts,
    status::{Role, Status},
};

/// The task that reads the shared state.
pub(crate) struct OverviewRole {
    config: Arc<Config>,
    collections: Vec<String>,
    overview: Overview,
    status: Status,
    instance: String,
    events: Events,
    /// `None` in a process that only reports its roles.
    gauges: Option<Gauges>,
    own: OwnMapping,
}

/// Interval between two reads, and so the usual age of the state.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Number of entries of the journal that are shown.
pub(crate) const JOURNAL: u32 = 20;
/// How long a stopping process may take to withdraw its report; the others forget it soon anyway.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

impl OverviewRole {
    /// Creates the task for these collections, in a process with these roles. A process that only runs the source does not depend
    /// on PostgreSQL, so it judges nothing.
    pub(crate) fn new(
        config: &Arc<Config>,
        collections: Vec<String>,
        overview: Overview,
        status: &Status,
        roles: &[Role],
        own: OwnMapping,
    ) -> Self {
        let instance = processes::instance();
        overview.write(|seen| seen.instance.clone_from(&instance));
        let gauges = roles.iter().any(|role| *role != Role::Source).then(|| {
            overview.judges(config, &collections);
            Gauges::new(&collections)
        });
        Self {
            config: config.clone(),
            collections,
            overview,
            status: status.clone(),
            events: Events::new(&instance),
            instance,
            gauges,
            own,
        }
    }

    /// Reads the shared state until cancelled. While PostgreSQL is away, the overview shows that.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        let mut session = None;
        let mut interval = tokio::time::interval(POLL_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while cancel.run_until_cancelled(interval.tick()).await.is_some() {
            if let Err(error) = self.look(&mut session).await {
                tracing::debug!(reason = crate::retry::chain(&error), "the target cannot be looked at");
                session = None;
                self.overview.take_pauses(None);
                self.overview.write(|seen| seen.at = None);
                if self.gauges.is_some() {
                    export_answers(false);
                }
            }
        }
        if let Some(session) = &session {
            // A report that is not withdrawn is forgotten after a while. It comes first: others wait for that, nobody for the journal.
            let left = async { tokio::join!(processes::leave(session, &self.instance), self.events.stop(session)) };
            let _ = tokio::time::timeout(LEAVE_TIMEOUT, left).await;
        }
    }

    async fn look(&mut self, session: &mut Option<Session>) -> Result<(), Error> {
        let open = Postgres::kept(session, &self.config.sink, &self.config.log.prefix).await?;
        let own = self.status.read();
        self.events.note(&own);
        processes::publish(open, &Process::new(&self.instance, own)).await?;
        if let Err(error) = self.events.record(open).await {
            // The journal is for people, so nothing waits for it, and a right that is missing is not asked for again and again.
            self.events.forget();
            tracing::debug!(reason = crate::retry::chain(&error), "the journal cannot be written");
        }
        let Some(gauges) = &mut self.gauges else {
            self.overview.take_pauses(Some(pauses::read(open).await?));
            self.own.compare(mapping::digest(open).await?);
            return Ok(());
        };
        let at = Instant::now();
        let (mut shared, journal, snapshots, siblings, digest) = tokio::try_join!(
            status::read(open, 0),
            journal::latest(open, JOURNAL),
            snapshots::list(open),
            siblings::all(open),
            mapping::digest(open)
        )?;
        assign_letters(&self.config, &self.collections, &mut shared.dead_letters);
        let plans = self.overview.read().plans;
        let collections: Vec<CollectionFacts> =
            self.collections.iter().map(|name| collection(&self.config, name, &shared, &plans)).collect();
        gauges.export(&collections, &shared.dead_letters);
        export_answers(true);
        export_pauses(&collections, &shared.pauses);
        self.overview.take_pauses(Some(shared.pauses));
        let dead_letters_by_reason = open_by_reason(&shared.dead_letters);
        self.overview.write(|seen| {
            seen.at = Some(at);
            seen.collections = collections;
            seen.partitions = shared.positions;
            seen.dead_letters_by_reason = dead_letters_by_reason;
            seen.processes = shared.processes;
            seen.shadow = shared.shadow;
            seen.snapshots = snapshots;
            seen.siblings = siblings;
            seen.journal = journal;
        });
        self.own.compare(digest);
        Ok(())
    }
}

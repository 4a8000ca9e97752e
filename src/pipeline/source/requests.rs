//! Exchanges requests for snapshots and their progress with operators: through PostgreSQL, about once a second.
//!
//! While PostgreSQL is away, the leader continues with the requests it knows; they are in the log's state topic as well, so a
//! restart forgets none of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    config::Config,
    control::snapshots::{self, SnapshotRequests},
    pipeline::Error,
    postgres::{Postgres, Session},
    status::{SnapshotStatus, Status},
};

/// How soon a request is seen: people make them.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Reads requests and reports progress until its owner ends it.
pub(super) async fn exchange(
    config: Arc<Config>,
    status: Status,
    requests: watch::Sender<SnapshotRequests>,
) -> Result<(), Error> {
    let mut session = None;
    let mut reported = BTreeMap::new();
    loop {
        let mut pause = POLL_INTERVAL;
        if let Err(error) = once(&config, &status, &requests, &mut session, &mut reported).await {
            tracing::debug!(reason = crate::retry::chain(&error), "requests for snapshots cannot be read");
            session = None;
            pause = config.retry.max.max(POLL_INTERVAL);
        }
        tokio::time::sleep(pause).await;
    }
}

async fn once(
    config: &Config,
    status: &Status,
    requests: &watch::Sender<SnapshotRequests>,
    session: &mut Option<Session>,
    reported: &mut BTreeMap<String, SnapshotStatus>,
) -> Result<(), Error> {
    let open = Postgres::kept(session, &config.sink, &config.log.prefix).await?;
    let wanted = snapshots::requests(open).await?;
    requests.send_if_modified(|known| {
        let news = *known != wanted;
        *known = wanted;
        news
    });
    // A finished snapshot is reported once.
    let lines = status.read().snapshots;
    let news: Vec<_> = lines.iter().filter(|(name, line)| !line.done || reported.get(*name) != Some(line)).collect();
    if !news.is_empty() {
        snapshots::report(open, news).await?;
        *reported = lines;
    }
    Ok(())
}

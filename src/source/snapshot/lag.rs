//! Compares the position of the stream with the source's own time: a snapshot that slows the stream down must wait.

use std::{sync::Arc, time::Duration};

use super::scheduler::SnapshotScheduler;
use crate::source::{Error, Source};

/// Interval between two requests for the source's time.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Compares the two while there is something to read.
pub(super) async fn watch(source: Source, scheduler: Arc<SnapshotScheduler>) -> Result<(), Error> {
    let max_lag = source.config().snapshot_max_lag;
    let mut polls = tokio::time::interval(POLL_INTERVAL);
    loop {
        polls.tick().await;
        // A source that does not answer stalls the readers and the stream, which report it.
        if scheduler.has_work()
            && let Ok(now) = source.now().await
        {
            scheduler.source_reached(now, max_lag);
        }
    }
}

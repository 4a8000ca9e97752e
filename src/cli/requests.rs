//! Follows requests to the leader of the source until they have ended.

use std::time::{Duration, Instant};

use super::print;
use crate::{
    control::repairs::{self, Progress},
    postgres::Session,
};

/// Pause between two reads of the progress of the requests.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Waits until all requests have ended, but no longer than `wait`.
pub(super) async fn follow(session: &Session, requests: &[i64], wait: Duration) -> anyhow::Result<Progress> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    loop {
        ticks.tick().await;
        let progress = repairs::progress(session, requests).await?;
        if progress.ended() || started.elapsed() >= wait {
            return Ok(progress);
        }
    }
}

/// Prints what requests wait for, and why some were refused.
pub(super) fn print_unfinished(progress: Progress, refusals: &[(String, i64)], wait: Duration) -> anyhow::Result<()> {
    let Progress { asked, logged, .. } = progress;
    if asked > 0 && !wait.is_zero() {
        print::line(format!(
            "No leader has accepted {asked} within {wait:?}: no daemon leads the source, or it cannot reach PostgreSQL. \
             The requests are kept and served as soon as one does."
        ));
    }
    for (why, count) in refusals {
        print::line(format!("{}, {why}", print::count(usize::try_from(*count)?, "request")));
    }
    if logged > 0 {
        print::line("The sink is behind or not running; it applies these requests when it reaches them in the log.");
    }
    Ok(())
}

/// Parses a time to wait.
pub(super) fn wait(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write a number and a unit, for example \"60s\"");
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(parsed).map_err(|_| wrong())
}

//! Waiting for what must happen within a bound.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Looks until there is something. A look without success returns what it has seen instead.
///
/// # Errors
/// Fails when a look fails, or with what was seen last when the time is over.
pub(crate) async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Result<T, String>>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    let mut beat = tokio::time::interval(POLL_INTERVAL);
    loop {
        beat.tick().await;
        match look().await.with_context(|| format!("wait for {what}"))? {
            Ok(found) => return Ok(found),
            Err(seen) if started.elapsed() > within => bail!("{what} takes more than {} s: {seen}", within.as_secs()),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_wait_ends_with_what_is_found_or_names_what_is_seen_instead() {
        let mut looks = 0;
        let found = until("a number", MINUTE, async || {
            looks += 1;
            Ok(if looks == 3 { Ok(looks) } else { Err("too small".to_owned()) })
        });
        assert_eq!(found.await.expect("found"), 3);
        let missing = until::<()>("a number", Duration::ZERO, async || Ok(Err("a letter".to_owned())));
        assert_eq!(missing.await.expect_err("nothing is found").to_string(), "a number takes more than 0 s: a letter");
        let failed = until::<()>("a number", MINUTE, async || Err(anyhow!("no server")));
        assert_eq!(format!("{:#}", failed.await.expect_err("the look fails")), "wait for a number: no server");
    }
}

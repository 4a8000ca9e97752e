//! Waiting for a condition: checks it at a short interval until it holds; if it never does, reports the last observation.

use std::{fmt::Display, time::Duration};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::DEADLINE;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until `look` returns a value. `Err` is the current observation; the last one is shown at the deadline.
///
/// # Panics
/// Panics if the deadline passes.
pub async fn until<T, E: Display>(
    what: impl Display,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + within;
    let mut beat = beat();
    let mut seen = String::from("nothing yet");
    loop {
        beat.tick().await;
        match timeout_at(deadline, look()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(state)) => seen = state.to_string(),
            Err(_) => {}
        }
        assert!(Instant::now() < deadline, "waited {within:?} until {what}; seen last: {seen}");
    }
}

/// Waits for the output of a future.
///
/// # Panics
/// Panics if the future is not ready before the deadline.
pub async fn soon<T>(what: &str, state: impl Future<Output = T>) -> T {
    timeout(DEADLINE, state).await.unwrap_or_else(|_| panic!("{what} did not happen within {DEADLINE:?}"))
}

/// Returns `Ok` if the condition holds, else `seen`.
pub fn holds(condition: bool, seen: impl Display) -> Result<(), String> {
    if condition { Ok(()) } else { Err(seen.to_string()) }
}

/// Acts at the same interval until `end` is cancelled; returns how often it did.
pub async fn repeat_until(end: &CancellationToken, mut act: impl AsyncFnMut()) -> u64 {
    let (mut beat, mut times) = (beat(), 0);
    while !end.is_cancelled() {
        beat.tick().await;
        act().await;
        times += 1;
    }
    times
}

fn beat() -> Interval {
    let mut beat = interval(POLL_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

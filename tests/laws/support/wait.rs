//! Patience: looks again at a short beat until something holds, and says what it saw last when it never does.

use std::{fmt::Display, time::Duration};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

const BEAT: Duration = Duration::from_millis(50);

/// Waits until `look` gives a value. `Err` is what is seen meanwhile; the last one is shown when the time is over.
///
/// # Panics
/// When the time is over.
pub(crate) async fn until<T, E: Display>(
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

/// `Ok` when it holds, else what is seen instead.
pub(crate) fn holds(condition: bool, seen: impl Display) -> Result<(), String> {
    if condition { Ok(()) } else { Err(seen.to_string()) }
}

/// Acts at the same beat until told to end; how often it did.
pub(crate) async fn repeat_until(end: &CancellationToken, mut act: impl AsyncFnMut()) -> u64 {
    let (mut beat, mut times) = (beat(), 0);
    while !end.is_cancelled() {
        beat.tick().await;
        act().await;
        times += 1;
    }
    times
}

fn beat() -> Interval {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

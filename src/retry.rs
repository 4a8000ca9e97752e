//! What an error means for the one who waits, and the one retry loop.

use std::{future::Future, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The world may mend itself: try again with back-off, visible as a stall.
    Transient,
    /// This one record cannot be taken: dead-letter it and go on.
    Poison,
    /// Only a person can mend it: stop with the position intact.
    Halt,
}

/// An error that knows what to do about it.
pub trait Classify: std::error::Error {
    /// The class of this error.
    fn class(&self) -> Class;
}

/// Bounds of the delays between attempts. The number of attempts has none: a server that is away comes back.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// First delay.
    pub min: Duration,
    /// Longest delay.
    pub max: Duration,
}

/// Runs `attempt` until it succeeds, fails for good, or the token is cancelled (then `None`).
///
/// `stalled` hears of each failure before the delay, so that the stall is visible while it lasts.
///
/// # Errors
/// The first error whose class is not [`Class::Transient`].
pub async fn until_settled<T, E, F>(
    backoff: Backoff,
    cancel: &CancellationToken,
    mut stalled: impl FnMut(&E, Duration),
    mut attempt: impl FnMut() -> F,
) -> Result<Option<T>, E>
where
    E: Classify,
    F: Future<Output = Result<T, E>>,
{
    let delays = ExponentialBuilder::default()
        .with_min_delay(backoff.min)
        .with_max_delay(backoff.max)
        .with_jitter()
        .without_max_times()
        .build();
    for delay in delays {
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(None),
            outcome = attempt() => outcome,
        };
        match outcome {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.class() != Class::Transient => return Err(error),
            Err(error) => stalled(&error, delay),
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(delay) => {}
        }
    }
    Ok(None)
}

/// An error and its causes as one sentence.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

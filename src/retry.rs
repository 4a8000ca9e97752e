//! What an error means for the one who waits, and the one retry loop.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

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

/// Where one named task reports that it waits, and that it goes on. Each task has a name of its own: one that works must not
/// hide another that waits. Cheap to clone.
#[derive(Clone)]
pub struct Stalls {
    task: Arc<str>,
    hear: Arc<Hear>,
}

/// Hears the name of a task and why it waits; `None`: it goes on.
type Hear = dyn Fn(&str, Option<String>) + Send + Sync;

impl Stalls {
    /// Those of the task of that name, which `hear` is told of.
    pub fn new(task: &str, hear: impl Fn(&str, Option<String>) + Send + Sync + 'static) -> Self {
        Self { task: task.into(), hear: Arc::new(hear) }
    }

    /// Those of another task, heard by the same.
    #[must_use]
    pub fn of(&self, task: &str) -> Self {
        Self { task: task.into(), hear: Arc::clone(&self.hear) }
    }

    /// The task waits for something to come back.
    pub fn waits(&self, reason: String) {
        (self.hear)(&self.task, Some(reason));
    }

    /// The task goes on.
    pub fn goes_on(&self) {
        (self.hear)(&self.task, None);
    }
}

/// Bounds of the delays between attempts. The number of attempts has none: a server that is away comes back.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// First delay.
    pub min: Duration,
    /// Longest delay.
    pub max: Duration,
}

impl Backoff {
    fn delays(self) -> impl Iterator<Item = Duration> {
        ExponentialBuilder::default()
            .with_min_delay(self.min)
            .with_max_delay(self.max)
            .with_jitter()
            .without_max_times()
            .build()
    }
}

/// Runs `attempt` until it succeeds, fails for good, or the token is cancelled (then `None`). A failure for good is an error
/// also after the cancellation: a stop must not hide that a person has to act.
///
/// An attempt in flight is not dropped by the cancellation: it watches the token itself, so that it can finish what is open.
/// `stalled` hears of each failure before the delay, so that the stall is visible while it lasts.
///
/// # Errors
/// The first error whose class is not [`Class::Transient`].
pub async fn retry_transient<T, E, F>(
    backoff: Backoff,
    cancel: &CancellationToken,
    mut stalled: impl FnMut(&E, Duration),
    mut attempt: impl FnMut() -> F,
) -> Result<Option<T>, E>
where
    E: Classify,
    F: Future<Output = Result<T, E>>,
{
    let mut delays = backoff.delays();
    loop {
        let started = Instant::now();
        match attempt().await {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.class() != Class::Transient => return Err(error),
            Err(_) if cancel.is_cancelled() => return Ok(None),
            Err(error) => {
                // What has worked for a while is not the failure that was waited for before.
                if started.elapsed() > backoff.max {
                    delays = backoff.delays();
                }
                // Jitter is added on top of the builder's own bound.
                let delay = delays.next().unwrap_or(backoff.max).min(backoff.max);
                stalled(&error, delay);
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Ok(None),
                    () = tokio::time::sleep(delay) => {}
                }
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("attempt")]
    struct Failed(Class);

    impl Classify for Failed {
        fn class(&self) -> Class {
            self.0
        }
    }

    const BACKOFF: Backoff = Backoff { min: Duration::from_millis(1), max: Duration::from_millis(2) };

    #[tokio::test]
    async fn transient_failures_are_repeated_and_heard() {
        let (mut attempts, mut heard) = (0, 0);
        let outcome = retry_transient(
            BACKOFF,
            &CancellationToken::new(),
            |_, _| heard += 1,
            || {
                attempts += 1;
                std::future::ready(if attempts < 4 { Err(Failed(Class::Transient)) } else { Ok(attempts) })
            },
        )
        .await;
        assert_eq!(outcome.expect("success"), Some(4));
        assert_eq!(heard, 3);
    }

    #[tokio::test]
    async fn other_failures_are_final() {
        for class in [Class::Poison, Class::Halt] {
            let outcome: Result<Option<()>, _> = retry_transient(
                BACKOFF,
                &CancellationToken::new(),
                |_, _| (),
                || std::future::ready(Err(Failed(class))),
            )
            .await;
            assert_eq!(outcome.expect_err("a failure").class(), class);
        }
    }

    #[tokio::test]
    async fn cancellation_ends_the_wait() {
        let cancel = CancellationToken::new();
        let outcome: Result<Option<()>, _> = retry_transient(
            Backoff { min: Duration::from_secs(3600), max: Duration::from_secs(3600) },
            &cancel,
            |_, _| cancel.cancel(),
            || std::future::ready(Err(Failed(Class::Transient))),
        )
        .await;
        assert_eq!(outcome.expect("no failure"), None);
    }

    #[tokio::test]
    async fn what_fails_while_stopping_is_an_error_unless_it_may_pass() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        for class in [Class::Transient, Class::Poison, Class::Halt] {
            let outcome: Result<Option<()>, _> =
                retry_transient(BACKOFF, &cancel, |_, _| (), || std::future::ready(Err(Failed(class)))).await;
            assert_eq!(outcome.err().map(|error| error.class()), (class != Class::Transient).then_some(class));
        }
    }
}

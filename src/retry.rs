//! The classes of errors, and the only retry loop.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

/// How to react to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The cause may pass: retry with back-off, visible as a stall.
    Transient,
    /// This record cannot be applied: write a dead letter and go on.
    Poison,
    /// Only a person can fix the cause: stop with the position intact.
    Halt,
}

/// An error that knows its class.
pub trait Classify: std::error::Error {
    /// Returns the class of this error.
    fn class(&self) -> Class;
}

/// Reports that a named task waits, and that it continues. Each task has its own name, so that a working task does not hide a
/// waiting one. Cheap to clone.
#[derive(Clone)]
pub struct Stalls {
    task: Arc<str>,
    hear: Arc<Hear>,
}

/// Why a task waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The reason.
    pub reason: String,
    /// The remedy, if a person can apply one.
    pub hint: Option<String>,
}

/// Receives the name of a task and why it waits; `None` means that it continues.
type Hear = dyn Fn(&str, Option<Wait>) + Send + Sync;

impl Stalls {
    /// Creates the reporter of the task of that name; `hear` receives its reports.
    pub fn new(task: &str, hear: impl Fn(&str, Option<Wait>) + Send + Sync + 'static) -> Self {
        Self { task: task.into(), hear: Arc::new(hear) }
    }

    /// Creates the reporter of another task with the same receiver.
    #[must_use]
    pub(crate) fn of(&self, task: &str) -> Self {
        Self { task: task.into(), hear: Arc::clone(&self.hear) }
    }

    /// Reports that the task waits, why, and the remedy.
    pub(crate) fn waits(&self, reason: String, hint: Option<&str>) {
        (self.hear)(&self.task, Some(Wait { reason, hint: hint.map(str::to_owned) }));
    }

    /// Reports that the task continues.
    pub(crate) fn goes_on(&self) {
        (self.hear)(&self.task, None);
    }
}

/// Bounds of the delays between attempts. The number of attempts is unbounded, because an unreachable server comes back.
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

/// Runs `attempt` until it succeeds, fails permanently, or the token is cancelled (then `None`). A permanent failure is returned
/// even after the cancellation, because a stop must not hide that a person has to act.
///
/// Cancellation does not drop an attempt in flight. The attempt watches the token itself, so that it can finish its open work.
/// `stalled` receives each failure before the delay, so that the stall is visible while it lasts.
///
/// # Errors
/// Fails with the first error whose class is not [`Class::Transient`].
pub(crate) async fn retry_transient<T, E, F>(
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
                // An attempt that worked for a while has ended the earlier failure, so the delays start again.
                if started.elapsed() > backoff.max {
                    delays = backoff.delays();
                }
                // The builder adds jitter on top of its bound.
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

/// Formats an error and its causes as one sentence.
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

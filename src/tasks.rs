//! The inner tasks of a role: each has a name, ends with its owner, and cannot die in silence.
//!
//! [`Supervisor`](crate::supervisor::Supervisor) runs the roles and ends all of them when one ends. Inside a role the owner of a
//! set of [`Tasks`] decides what depends on a task that failed: usually the attempt of the role, which is repeated from what is
//! stored. A panic reaches the owner as an error with the name of the task and the text of the panic.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::FutureExt;
use thiserror::Error;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

use crate::retry::{Class, Classify};

/// A task panicked.
#[derive(Debug, Error)]
#[error("run the task {task}: it panicked: {reason}")]
pub struct Panicked {
    task: String,
    reason: String,
}

impl Panicked {
    fn new(task: impl Into<String>, payload: &(dyn Any + Send)) -> Self {
        Self { task: task.into(), reason: text(payload).to_owned() }
    }
}

impl Classify for Panicked {
    fn class(&self) -> Class {
        // The next attempt shares nothing with this one but what is stored. A panic that comes back shows as a stall.
        Class::Transient
    }
}

/// Runs a task to its end; a panic in it becomes an error that names it.
///
/// # Errors
/// [`Panicked`] (transient).
pub(crate) async fn named<T>(task: impl Into<String>, running: impl Future<Output = T>) -> Result<T, Panicked> {
    // State that a panic may have left half-changed is dropped with the task, and its owner starts anew.
    let ended = AssertUnwindSafe(running).catch_unwind().await;
    ended.map_err(|payload| Panicked::new(task, &*payload))
}

/// Runs calls on this thread; a panic in them becomes an error that names the task.
///
/// # Errors
/// [`Panicked`] (transient).
pub(crate) fn caught<T>(task: impl Into<String>, calls: impl FnOnce() -> T) -> Result<T, Panicked> {
    // As above: who calls this drops the state of the calls, or only reads it.
    catch_unwind(AssertUnwindSafe(calls)).map_err(|payload| Panicked::new(task, &*payload))
}

/// Starts calls that block on a thread outside of the runtime's. They run to their end, also when the result is dropped.
pub(crate) fn blocking<T: Send + 'static>(
    task: &'static str,
    calls: impl FnOnce() -> T + Send + 'static,
) -> Blocking<T> {
    Blocking { task, handle: spawn_blocking(calls) }
}

/// Waits for calls that block; a panic in them becomes an error that names the task. Cancel-safe.
#[derive(Debug)]
pub(crate) struct Blocking<T> {
    task: &'static str,
    handle: JoinHandle<T>,
}

impl<T> Future for Blocking<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(Pin::new(&mut self.handle).poll(context)) {
            Ok(value) => Poll::Ready(Ok(value)),
            Err(ended) => match ended.try_into_panic() {
                Ok(payload) => Poll::Ready(Err(Panicked::new(self.task, &*payload))),
                // Only the end of the runtime cancels the calls, and it drops this future as well.
                Err(_cancelled) => Poll::Pending,
            },
        }
    }
}

/// The text of a panic.
fn text(payload: &(dyn Any + Send)) -> &str {
    let formatted = || payload.downcast_ref::<String>().map(String::as_str);
    payload.downcast_ref::<&str>().copied().or_else(formatted).unwrap_or("it gave no reason")
}

/// Tasks that end with their owner: dropping the set ends all of them at their next await.
#[derive(Debug)]
pub(crate) struct Tasks<E>(JoinSet<Result<(), E>>);

impl<E: From<Panicked> + Send + 'static> Tasks<E> {
    /// An empty set.
    pub(crate) fn new() -> Self {
        Self(JoinSet::new())
    }

    /// Starts a task under a name that is unique in its role.
    pub(crate) fn spawn(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let name = name.into();
        self.0.spawn(async move { named(name, task).await? });
    }

    /// Waits for the first task that fails or panics; `None` when all have ended without. Cancel-safe.
    pub(crate) async fn failure(&mut self) -> Option<E> {
        while let Some(ended) = self.0.join_next().await {
            // A task that was aborted has no outcome; only dropping the set aborts any.
            if let Ok(Err(error)) = ended {
                return Some(error);
            }
        }
        None
    }
}

impl<E: From<Panicked> + Send + 'static> Default for Tasks<E> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::chain;

    #[derive(Debug, Error)]
    enum Failed {
        #[error("read the disk")]
        Disk,
        #[error(transparent)]
        Panicked(#[from] Panicked),
    }

    #[tokio::test]
    async fn a_panic_has_the_name_of_its_task_and_its_reason() {
        let mut tasks = Tasks::<Failed>::new();
        tasks.spawn("idle", std::future::pending());
        tasks.spawn("reader 1", async { panic!("broken invariant") });
        let error = tasks.failure().await.expect("a failure");
        assert_eq!(chain(&error), "run the task reader 1: it panicked: broken invariant");
        let formatted = named("reader 2", async { panic!("{} is missing", 7) as () }).await.expect_err("a panic");
        assert_eq!(chain(&formatted), "run the task reader 2: it panicked: 7 is missing");
        assert_eq!(formatted.class(), Class::Transient);
    }

    #[tokio::test]
    async fn a_panic_on_a_thread_has_the_name_of_its_task_and_its_reason() {
        let error = blocking("publisher", || panic!("broken invariant") as u8).await.expect_err("a panic");
        assert_eq!(chain(&error), "run the task publisher: it panicked: broken invariant");
        let error = caught("consumer", || panic!("{} is missing", 7) as u8).expect_err("a panic");
        assert_eq!(chain(&error), "run the task consumer: it panicked: 7 is missing");
        assert!(matches!((blocking("publisher", || 1).await, caught("consumer", || 2)), (Ok(1), Ok(2))));
    }

    #[tokio::test]
    async fn tasks_that_end_are_no_failure_and_errors_are() {
        let mut tasks = Tasks::<Failed>::new();
        tasks.spawn("short", async { Ok(()) });
        assert!(tasks.failure().await.is_none());
        tasks.spawn("broken", async { Err(Failed::Disk) });
        assert!(matches!(tasks.failure().await, Some(Failed::Disk)));
    }

    #[tokio::test]
    async fn tasks_end_with_their_owner() {
        let (sender, ended) = tokio::sync::oneshot::channel::<()>();
        let mut tasks = Tasks::<Failed>::new();
        tasks.spawn("endless", async move {
            let _sender = sender;
            std::future::pending().await
        });
        drop(tasks);
        assert!(ended.await.is_err(), "the task is dropped");
    }
}

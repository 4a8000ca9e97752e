//! Runs the named tasks of the daemon and ends them together.
//!
//! Every task runs until its token is cancelled. A task that returns earlier, fails or panics is the reason to stop all
//! others: half a daemon is worse than none. Work that is open when the grace time ends is dropped, which loses nothing,
//! because no position is saved before the changes that it covers.

use std::{future::Future, time::Duration};

use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    retry::{Class, Classify},
    tasks::{self, Panicked},
};

/// The error with which a task may end.
pub(crate) type BoxError = Box<dyn Classify + Send + Sync>;

/// The error of a task that cannot fail.
#[derive(Debug, Error)]
pub(crate) enum Never {}

impl Classify for Never {
    fn class(&self) -> Class {
        match *self {}
    }
}

/// Why the daemon stopped although nobody asked it to.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// A task failed for good.
    #[error("run the {task} task")]
    Failed {
        /// Name of the task.
        task: &'static str,
        /// Why.
        source: BoxError,
    },
    /// A task returned although nobody asked it to.
    #[error("keep the {task} task running: it ended on its own")]
    Ended {
        /// Name of the task.
        task: &'static str,
    },
    /// A task panicked.
    #[error(transparent)]
    Panicked(Panicked),
    /// Tasks were still busy when the grace time was over.
    #[error("stop within the grace time: {left} tasks were still busy")]
    Grace {
        /// How many.
        left: usize,
    },
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Failed { source, .. } => source.class(),
            Self::Ended { .. } | Self::Panicked(_) => Class::Halt,
            Self::Grace { .. } => Class::Transient,
        }
    }
}

impl std::error::Error for BoxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        (**self).source()
    }
}

/// A set of tasks that share one fate.
pub(crate) struct Supervisor {
    tasks: JoinSet<Result<&'static str, Error>>,
    cancel: CancellationToken,
}

impl Supervisor {
    /// Tasks end when `cancel` is cancelled, and cancel it when one of them ends.
    pub(crate) fn new(cancel: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), cancel }
    }

    /// Starts a task; it gets a token of its own that follows the common one.
    pub(crate) fn spawn<F, E>(&mut self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Classify + Send + Sync + 'static,
    {
        let running = task(self.cancel.child_token());
        self.tasks.spawn(async move {
            let ended = tasks::named(name, running).await.map_err(Error::Panicked)?;
            ended.map(|()| name).map_err(|error| Error::Failed { task: name, source: Box::new(error) })
        });
    }

    /// Waits until all tasks have ended; after the cancellation for at most `grace`.
    ///
    /// # Errors
    /// The first reason to stop that was not the cancellation from outside.
    pub(crate) async fn run(mut self, grace: Duration) -> Result<(), Error> {
        let ended = tokio::select! {
            biased;
            // First: a task that ended because of it is no reason.
            () = self.cancel.cancelled() => None,
            ended = self.tasks.join_next() => ended.and_then(Result::ok),
        };
        self.cancel.cancel();
        let mut reason = ended.map(|ended| match ended {
            Ok(task) => Error::Ended { task },
            Err(error) => error,
        });
        let drain = async {
            while let Some(ended) = self.tasks.join_next().await {
                reason = reason.take().or(ended.ok().and_then(Result::err));
            }
        };
        let in_time = tokio::time::timeout(grace, drain).await.is_ok();
        let left = self.tasks.len();
        self.tasks.abort_all();
        match reason {
            Some(reason) => Err(reason),
            None if !in_time => Err(Error::Grace { left }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Error)]
    #[error("read the disk")]
    struct Broken;

    impl Classify for Broken {
        fn class(&self) -> Class {
            Class::Halt
        }
    }

    async fn until_cancelled(cancel: CancellationToken) -> Result<(), Broken> {
        cancel.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn a_failing_task_stops_the_others_and_is_named() {
        let mut supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn("sink", until_cancelled);
        supervisor.spawn("source", |_| async { Err(Broken) });
        let error = supervisor.run(Duration::from_secs(5)).await.expect_err("a reason");
        assert_eq!(crate::retry::chain(&error), "run the source task: read the disk");
        assert_eq!(error.class(), Class::Halt);
    }

    #[tokio::test]
    async fn a_task_that_ends_early_or_panics_stops_the_others() {
        let mut supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn("sink", until_cancelled);
        supervisor.spawn("source", |_| async { Ok::<_, Broken>(()) });
        assert!(matches!(supervisor.run(Duration::from_secs(5)).await, Err(Error::Ended { task: "source" })));

        let mut supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn("sink", until_cancelled);
        supervisor.spawn("source", |_| async { panic!("broken invariant") as Result<(), Broken> });
        let error = supervisor.run(Duration::from_secs(5)).await.expect_err("a reason");
        assert_eq!(crate::retry::chain(&error), "run the task source: it panicked: broken invariant");
        assert_eq!(error.class(), Class::Halt);
    }

    #[tokio::test]
    async fn cancellation_from_outside_is_no_error() {
        let cancel = CancellationToken::new();
        let mut supervisor = Supervisor::new(cancel.clone());
        supervisor.spawn("sink", until_cancelled);
        cancel.cancel();
        assert!(supervisor.run(Duration::from_secs(5)).await.is_ok());
    }

    #[tokio::test]
    async fn a_task_that_ended_because_of_the_cancellation_is_no_reason() {
        let cancel = CancellationToken::new();
        let mut supervisor = Supervisor::new(cancel.clone());
        let (sender, ended) = tokio::sync::oneshot::channel::<()>();
        supervisor.spawn("sink", |cancel| async move {
            until_cancelled(cancel).await?;
            drop(sender);
            Ok::<_, Broken>(())
        });
        cancel.cancel();
        assert!(ended.await.is_err(), "the task ends before the supervisor looks");
        assert!(supervisor.run(Duration::from_secs(5)).await.is_ok());
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_left_after_the_grace_time() {
        let cancel = CancellationToken::new();
        let mut supervisor = Supervisor::new(cancel.clone());
        supervisor.spawn("sink", |_| std::future::pending::<Result<(), Broken>>());
        cancel.cancel();
        assert!(matches!(supervisor.run(Duration::from_millis(1)).await, Err(Error::Grace { left: 1 })));
    }
}

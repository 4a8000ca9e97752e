//! The workers of the sink: each is a task with a name, and all of them stop together.
//!
//! A task of its own for each worker, so that as many cores work as there are workers. When one fails or panics, the others are
//! asked to stop: they finish the batch that is open and begin no other. None is aborted in the middle of a batch, unless the
//! set itself is dropped.

use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    log, postgres,
    retry::{self, Class, Classify},
    tasks::{self, Panicked},
};

/// Why a worker ended.
#[derive(Debug, Error)]
pub enum WorkerFailed {
    /// It met an error that it does not wait for.
    #[error("run {worker}")]
    Error {
        /// Its name.
        worker: String,
        /// The error.
        source: Box<postgres::Error>,
    },
    /// It panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl WorkerFailed {
    /// Whether the log does not hold the offset from which the worker was to go on.
    pub fn is_of_a_lost_offset(&self) -> bool {
        matches!(self, Self::Error { source, .. } if matches!(**source, postgres::Error::Log(log::Error::OffsetLost { .. })))
    }
}

impl Classify for WorkerFailed {
    fn class(&self) -> Class {
        match self {
            Self::Error { source, .. } => source.class(),
            Self::Panicked(panicked) => panicked.class(),
        }
    }
}

/// Workers that run until their common token is cancelled.
pub struct Workers {
    tasks: JoinSet<Result<(), WorkerFailed>>,
    stop: CancellationToken,
}

impl Workers {
    /// No worker yet; `stop` stops all of them, and is cancelled when one fails.
    pub fn new(stop: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), stop }
    }

    /// Starts a worker. It is to finish what is open when its token is cancelled.
    pub fn spawn<F>(&mut self, name: String, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), postgres::Error>> + Send + 'static,
    {
        let running = run(self.stop.clone());
        self.tasks.spawn(async move {
            let ended = tasks::named(name.clone(), running).await?;
            ended.map_err(|source| WorkerFailed::Error { worker: name, source: Box::new(source) })
        });
    }

    /// Waits until all workers have ended. The first that fails stops the others.
    ///
    /// # Errors
    /// The first failure; those of workers that were stopping are logged.
    pub async fn ended(&mut self) -> Result<(), WorkerFailed> {
        let mut first = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            // A task that was aborted has no outcome; only dropping the set aborts any.
            let Ok(Err(failed)) = ended else { continue };
            self.stop.cancel();
            if first.is_ok() {
                first = Err(failed);
            } else {
                warn!(reason = retry::chain(&failed), "another worker failed while it stopped");
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    /// Starts a worker whose batch is open when the other fails, and fails with this; gives the reason, and whether that batch was
    /// finished.
    async fn beside_an_open_batch(failure: fn() -> Result<(), postgres::Error>) -> (String, bool) {
        let committed = Arc::new(AtomicBool::new(false));
        let mut workers = Workers::new(CancellationToken::new());
        let open = committed.clone();
        workers.spawn("worker 1".to_owned(), |stop| async move {
            stop.cancelled().await;
            // Later than the failure, as a statement that was on its way.
            tokio::task::yield_now().await;
            open.store(true, Ordering::Relaxed);
            Ok(())
        });
        workers.spawn("worker 2".to_owned(), move |_| async move { failure() });
        let failed = workers.ended().await.expect_err("a reason");
        (retry::chain(&failed), committed.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_failure_names_its_worker_and_lets_the_others_finish() {
        let (reason, committed) = beside_an_open_batch(|| Err(postgres::Error::CatalogChanged)).await;
        assert_eq!(reason, "run worker 2: use the plan: the catalog of the target has changed since it was made");
        assert!(committed);
    }

    #[tokio::test]
    async fn a_panic_names_its_worker_and_lets_the_others_finish() {
        let (reason, committed) = beside_an_open_batch(|| panic!("broken invariant")).await;
        assert_eq!(reason, "run the task worker 2: it panicked: broken invariant");
        assert!(committed);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_worker_has_a_thread() {
        // Both block their thread until the other has come: on one thread that would never end.
        let barrier = Arc::new(std::sync::Barrier::new(2));
        let mut workers = Workers::new(CancellationToken::new());
        for name in ["worker 1", "worker 2"] {
            let barrier = barrier.clone();
            workers.spawn(name.to_owned(), |_| async move {
                barrier.wait();
                Ok(())
            });
        }
        assert!(workers.ended().await.is_ok());
    }
}

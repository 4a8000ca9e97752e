//! The change stream as a source of batches.
//!
//! ```text
//!   MongoDB ──getMore──▶ reader ──replies──▶ decoder ─▶ segments ──lookups──▶ batches ──▶ next_batch()
//!                       (cursor.rs) bounded                │                     1 batch
//!                           ▲                              └──find {_id: {$in}}──▶ MongoDB
//!                           └── reopens behind the last reply it handed on
//! ```
//! Two tasks, so that the server prepares the next reply while images of the last one are read. Both end with the
//! [`ChangeStream`], and a panic in either comes out of it.
//!
//! The stream saves nothing: a position is the caller's to save once its batch is durable.

use tokio::sync::mpsc;

use super::{
    Error, Scope, Source,
    batch::{Start, StreamBatch},
    cursor::{CursorReader, Place, Width},
    decoder::Decoder,
    progress::Progress,
};
use crate::{retry::Backoff, tasks::Tasks};

/// Replies that may wait. `source.stream_bytes` bounds their bytes, so this bound is only met by replies of a few bytes, and each
/// answer of an idle server is one.
const MAX_REPLIES: usize = 64;

/// A running change stream. Dropping it stops it.
#[derive(Debug)]
pub struct ChangeStream {
    batches: mpsc::Receiver<Result<StreamBatch, Error>>,
    tasks: Tasks<Error>,
}

impl ChangeStream {
    /// Starts to read; all errors come out of [`ChangeStream::next_batch`].
    ///
    /// Transient errors are retried with back-off, without a limit: the stream opens again where it was.
    pub fn open(source: &Source, scope: Scope, start: Start, backoff: Backoff) -> Self {
        let (send_reply, replies) = mpsc::channel(MAX_REPLIES);
        let (send_batch, batches) = mpsc::channel(1);
        let progress = Progress::new(&start, source.server().completes_instants());
        let place = match start {
            Start::After { token, .. } => Place::After(token),
            Start::At(time) => Place::At(time),
        };
        let reader =
            CursorReader::new(source.of_task("change stream"), scope.clone(), place, Width::Whole, backoff, send_reply);
        let decoder = Decoder::new(source.clone(), scope, progress, backoff, send_batch);
        let mut tasks = Tasks::new();
        tasks.spawn("change stream reader", async move {
            reader.run().await;
            Ok(())
        });
        tasks.spawn("change stream decoder", async move {
            decoder.run(replies).await;
            Ok(())
        });
        Self { batches, tasks }
    }

    /// Waits for the next batch; an idle stream gives an empty one about every `max_await`. Cancel-safe.
    ///
    /// # Errors
    /// The error that ended the stream: one that is not transient, or [`Error::Panicked`] (transient).
    pub async fn next_batch(&mut self) -> Result<StreamBatch, Error> {
        match self.batches.recv().await {
            Some(batch) => batch,
            None => Err(self.tasks.failure().await.unwrap_or(Error::Ended)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::{Class, Classify, chain};

    #[tokio::test]
    async fn a_panic_in_a_task_of_the_stream_is_reported_by_name() {
        for panicking in ["change stream reader", "change stream decoder"] {
            let (send_batch, batches) = mpsc::channel(1);
            let mut tasks = Tasks::new();
            tasks.spawn(panicking, async move {
                let _send_batch = send_batch;
                panic!("broken invariant")
            });
            let mut stream = ChangeStream { batches, tasks };
            let error = stream.next_batch().await.expect_err("the panic");
            assert_eq!(chain(&error), format!("run the task {panicking}: it panicked: broken invariant"));
            assert_eq!(error.class(), Class::Transient);
        }
    }
}

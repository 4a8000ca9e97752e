//! The batches that the stream gives, and its start.

use crate::model::{Change, ClusterTime, Control, Frontier, Held, ResumeToken};

/// Where the stream starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// Right behind a saved position.
    After {
        /// Its token.
        token: ResumeToken,
        /// Its frontier: the stream announces no earlier one.
        frontier: Frontier,
        /// The changes that were given beyond the token, and are not given again.
        held: Option<Box<Held>>,
    },
    /// At a cluster time; its own changes are given too. For the first start: `Source::now`, before the first read.
    At(ClusterTime),
}

impl Start {
    /// Everything that was ever given lies at or before this.
    pub(crate) fn time(&self) -> ClusterTime {
        match self {
            Self::At(time) => *time,
            Self::After { token, held, .. } => held.as_ref().map_or(token, |held| &held.given).time(),
        }
    }
}

/// How far a stream has come. Only `progress.rs` makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Where to resume.
    pub token: ResumeToken,
    /// Everything before it was given.
    pub frontier: Frontier,
    /// Wall clock, milliseconds since 1970, as of which everything was given.
    pub as_of_ms: i64,
    /// While the position is held back: what was given beyond it. To be saved with it.
    pub held: Option<Box<Held>>,
}

impl Position {
    /// The cluster time that the stream has come to; everything that was given lies at or before it.
    pub(crate) fn time(&self) -> ClusterTime {
        self.held.as_ref().map_or(&self.token, |held| &held.given).time()
    }
}

/// Consecutive changes; `position` may lie before them, while an image is missing whose delete is still to come.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamBatch {
    /// In the order of the stream. A key occurs with ascending versions.
    pub changes: Vec<Change>,
    /// Events of whole collections, after all of `changes`.
    pub controls: Vec<Control>,
    /// To be saved once `changes` and `controls` are durable.
    pub position: Position,
}

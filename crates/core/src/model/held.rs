//! What was given beyond a position that is held back: saved beside it, so that a restart gives none of it again.

use super::{ClusterTime, Key, Namespace, ResumeToken};

/// What lies between a held position and the place where the stream really was.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Everything up to here was given, but for what is missing.
    pub given: ResumeToken,
    /// The missing documents were gone by this cluster time: their deletes are at or before it.
    pub by: ClusterTime,
    /// Documents whose deletes end the hold; none when they are too many to save, so that only the time ends it.
    pub missing: Vec<(Namespace, Key)>,
}

impl Held {
    /// Most documents that are saved: some 5 kB of usual keys in each record of the state.
    pub const MAX_REMEMBERED: usize = 100;
}

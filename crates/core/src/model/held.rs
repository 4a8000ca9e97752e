//! Changes published beyond a position that is held back. They are saved beside it, so that a restart publishes none of them again.

use super::{ClusterTime, Key, Namespace, ResumeToken};

/// The changes between a held position and the place that the stream had reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Everything up to here was published, except for the missing documents.
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

//! The observations of a survey on one collection.

use super::{shape::Shape, tally::Tally};

/// Which documents a survey sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Some of them.
    Sample,
    /// All documents of some collections.
    Collections,
    /// All of them.
    All,
}

/// The observations on one collection.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) shape: Shape,
    pub(super) tally: Tally,
}

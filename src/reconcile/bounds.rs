//! The bounds of a pass.

use std::time::Duration;

use crate::source::Limits;

/// Bounds of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Documents that are read and compared at once, and their bytes.
    pub(crate) limits: Limits,
    /// Time that a read should not exceed.
    pub(crate) read_time: Duration,
    /// Maximum wait for the watermark, and for undecided documents to become decidable.
    pub(crate) wait: Duration,
    /// Maximum number of findings that a report lists; the counts always include all.
    pub(crate) findings: usize,
}

impl Bounds {
    /// Default of `findings`. A wrong mapping makes every document drift, so a report needs a bound.
    pub(crate) const FINDINGS: usize = 100;
}

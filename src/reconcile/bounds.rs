//! How much a pass compares, and what bounds it.

use std::time::Duration;

use crate::source::Limits;

/// How much of a collection a pass compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// That many random members of each side; everything when there are no more.
    Sample(usize),
    /// Every document and every live ledger entry.
    Full,
}

/// Bounds of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Documents read and compared at once, and their bytes.
    pub(crate) limits: Limits,
    /// Time that a read should not exceed.
    pub(crate) read_time: Duration,
    /// Longest wait for the watermark, and for undecided documents to become decidable.
    pub(crate) wait: Duration,
    /// Most findings that a report lists; the numbers always count all.
    pub(crate) findings: usize,
}

impl Bounds {
    /// Findings listed unless more are asked for: a wrong mapping makes every document drift.
    pub(crate) const FINDINGS: usize = 100;
}

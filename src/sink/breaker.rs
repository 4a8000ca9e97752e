//! The breaker: so many dead letters within a while mean a wrong mapping, not wrong documents, and stop the sink.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{model::Reason, postgres::Error};

/// Bounds of what a batch may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Dead letters that this batch may still add.
    pub dead_letters_left: usize,
    /// Dead letters allowed within `window`.
    pub dead_letters: usize,
    /// See `dead_letters`.
    pub window: Duration,
    /// Attempts of a parked document before it becomes a dead letter.
    pub parked_attempts: u32,
}

impl Limits {
    /// # Errors
    /// [`Error::Breaker`] when there are more new dead letters than may still be.
    pub(super) fn check(&self, lost: usize, reason: Reason) -> Result<(), Error> {
        if lost <= self.dead_letters_left {
            return Ok(());
        }
        let count = self.dead_letters - self.dead_letters_left.min(self.dead_letters) + lost;
        Err(Error::Breaker { count, limit: self.dead_letters, window: self.window, reason })
    }
}

/// The dead letters of a worker, for as long as they count.
pub(super) struct Breaker {
    limit: usize,
    window: Duration,
    /// When some were written, and how many.
    recent: VecDeque<(Instant, usize)>,
}

impl Breaker {
    /// A breaker that allows `limit` dead letters within `window`.
    pub(super) fn new(limit: usize, window: Duration) -> Self {
        Self { limit, window, recent: VecDeque::new() }
    }

    /// Takes note of dead letters that were written.
    pub(super) fn note(&mut self, now: Instant, dead_letters: usize) {
        if dead_letters > 0 {
            self.recent.push_back((now, dead_letters));
        }
    }

    /// The bounds of the next batch.
    pub(super) fn limits(&mut self, now: Instant, parked_attempts: u32) -> Limits {
        while self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > self.window) {
            self.recent.pop_front();
        }
        let recent = self.recent.iter().map(|(_, count)| count).sum::<usize>();
        Limits {
            dead_letters_left: self.limit.saturating_sub(recent),
            dead_letters: self.limit,
            window: self.window,
            parked_attempts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_count_as_long_as_the_window_and_no_longer() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut breaker = Breaker::new(10, Duration::from_secs(60));
        breaker.note(at(0), 6);
        breaker.note(at(30), 3);
        let left = [59, 61, 91].map(|seconds| breaker.limits(at(seconds), 1).dead_letters_left);
        assert_eq!(left, [1, 7, 10]);
    }

    #[test]
    fn the_error_counts_the_dead_letters_of_the_window_and_those_of_the_batch() {
        let mut breaker = Breaker::new(10, Duration::from_secs(60));
        breaker.note(Instant::now(), 6);
        let limits = breaker.limits(Instant::now(), 1);
        assert!(limits.check(4, Reason::NotNull).is_ok());
        assert!(matches!(limits.check(5, Reason::NotNull), Err(Error::Breaker { count: 11, limit: 10, .. })));
    }
}

//! Limits how many changes a second the target has to take. Pure: the caller passes the time.

use std::time::{Duration, Instant};

/// Spaces batches out so that a second holds no more changes than it may, on average.
pub(super) struct RateLimiter {
    /// Changes a second; none without a limit.
    rate: Option<usize>,
    /// When the batches that were let through have used up their time.
    free_at: Option<Instant>,
}

impl RateLimiter {
    pub(super) fn new(rate: Option<usize>) -> Self {
        Self { rate, free_at: None }
    }

    /// When a batch of so many changes may begin.
    pub(super) fn next(&mut self, now: Instant, changes: usize) -> Instant {
        let begin = self.free_at.map_or(now, |free| free.max(now));
        if let Some(rate) = self.rate {
            self.free_at = Some(begin + Duration::from_secs_f64(changes as f64 / rate.max(1) as f64));
        }
        begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_limit_everything_begins_at_once() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(None);
        assert_eq!([limiter.next(now, 5_000), limiter.next(now, 5_000)], [now, now]);
    }

    #[test]
    fn a_batch_begins_when_the_one_before_has_used_its_time() {
        let now = Instant::now();
        let after = |ms| now + Duration::from_millis(ms);
        let mut limiter = RateLimiter::new(Some(100));
        assert_eq!(limiter.next(now, 50), now);
        assert_eq!(limiter.next(now, 10), after(500));
        assert_eq!(limiter.next(after(550), 1), after(600));
        // Time that was not used is not saved up.
        assert_eq!(limiter.next(after(5_000), 100), after(5_000));
        assert_eq!(limiter.next(after(5_000), 1), after(6_000));
    }
}

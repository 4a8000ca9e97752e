//! The breaker: so many dead letters within a while mean a wrong mapping, not wrong documents, and stop the sink. So do as many over
//! any time, if they are nearly all documents of their collection: a slow stream must not dead-letter a table either.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::Outcome;
use crate::{config::SinkConfig, model::Reason, postgres::Error};

/// Bounds of what a batch may do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Dead letters that this batch may still add.
    pub dead_letters_left: usize,
    /// Dead letters allowed within `window`.
    pub dead_letters: usize,
    /// See `dead_letters`.
    pub window: Duration,
    /// Share of refused documents of a collection from which on `dead_letters` count over any time.
    pub share: f64,
    /// The recent documents of each collection.
    pub recent: BTreeMap<String, Recent>,
    /// Attempts of a parked document before it becomes a dead letter.
    pub parked_attempts: u32,
}

/// The recent documents of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Applied.
    applied: u64,
    /// Dead-lettered.
    refused: u64,
}

impl Recent {
    /// With those of an outcome.
    fn and(self, outcome: &Outcome, collection: &str) -> Self {
        let applied = outcome.counts.get(collection).map_or(0, |counts| counts.applied);
        let letters = outcome.dead_letters.iter().filter(|((owner, _), _)| owner == collection);
        let refused = letters.map(|(_, count)| *count as u64).sum::<u64>();
        Self { applied: self.applied + applied, refused: self.refused + refused }
    }
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

    /// # Errors
    /// [`Error::MostRefused`] when a collection has more dead letters than may be, and few other documents.
    pub(super) fn check_share(&self, outcome: &Outcome) -> Result<(), Error> {
        for (collection, reason) in outcome.dead_letters.keys() {
            let before = self.recent.get(collection).copied().unwrap_or_default();
            let Recent { applied, refused } = before.and(outcome, collection);
            let of = applied + refused;
            if refused > self.dead_letters as u64 && refused as f64 >= of as f64 * self.share {
                let (collection, limit) = (collection.clone(), self.dead_letters);
                return Err(Error::MostRefused { collection, refused, of, limit, reason: *reason });
            }
        }
        Ok(())
    }
}

/// The dead letters of a worker, for as long as they count.
pub(super) struct Breaker {
    limit: usize,
    window: Duration,
    share: f64,
    /// When some were written, and how many.
    written: VecDeque<(Instant, usize)>,
    recent: BTreeMap<String, Recent>,
}

impl Breaker {
    /// A breaker of these bounds that has seen nothing.
    pub(super) fn new(config: &SinkConfig) -> Self {
        let (limit, window) = (config.breaker_dead_letters, config.breaker_window);
        Self { limit, window, share: config.breaker_share, written: VecDeque::new(), recent: BTreeMap::new() }
    }

    /// Takes note of what a batch has done. A retry is a choice among refused documents, so it says nothing about the share.
    pub(super) fn note(&mut self, now: Instant, outcome: &Outcome, retry: bool) {
        let dead_letters = outcome.new_dead_letters();
        if dead_letters > 0 {
            self.written.push_back((now, dead_letters));
        }
        for collection in outcome.counts.keys().filter(|_| !retry) {
            let recent = self.recent.entry(collection.clone()).or_default();
            *recent = recent.and(outcome, collection);
            // Old documents weigh less and less, so that a collection that was right for a year can become wrong within minutes.
            while recent.applied + recent.refused > 2 * self.limit as u64 {
                *recent = Recent { applied: recent.applied / 2, refused: recent.refused / 2 };
            }
        }
    }

    /// The bounds of the next batch.
    pub(super) fn limits(&mut self, now: Instant, parked_attempts: u32) -> Limits {
        while self.written.front().is_some_and(|(at, _)| now.duration_since(*at) > self.window) {
            self.written.pop_front();
        }
        let written = self.written.iter().map(|(_, count)| count).sum::<usize>();
        Limits {
            dead_letters_left: self.limit.saturating_sub(written),
            dead_letters: self.limit,
            window: self.window,
            share: self.share,
            recent: self.recent.clone(),
            parked_attempts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::outcome::Counts;

    fn breaker(extra: &str) -> Breaker {
        Breaker::new(&toml::from_str(&format!("breaker_dead_letters = 10\n{extra}")).expect("a configuration"))
    }

    fn outcome(applied: u64, refused: usize) -> Outcome {
        let collection = "plans".to_owned();
        let counts = Counts { applied, dead_lettered: refused as u64, ..Counts::default() };
        let letters = (refused > 0).then(|| ((collection.clone(), Reason::NotNull), refused));
        Outcome {
            counts: BTreeMap::from([(collection, counts)]),
            dead_letters: letters.into_iter().collect(),
            ..Outcome::default()
        }
    }

    /// Applies batches of these numbers of applied and refused documents, one a minute; returns the number of the batch that stops the
    /// sink.
    fn stopped_at(breaker: &mut Breaker, batches: impl IntoIterator<Item = (u64, usize)>) -> Option<usize> {
        let start = Instant::now();
        batches.into_iter().enumerate().find_map(|(number, (applied, refused))| {
            let now = start + Duration::from_secs(61) * number as u32;
            let outcome = outcome(applied, refused);
            let limits = breaker.limits(now, 1);
            assert!(limits.check(refused, Reason::NotNull).is_ok(), "the count alone does not stop it");
            let checked = limits.check_share(&outcome);
            breaker.note(now, &outcome, false);
            checked.is_err().then_some(number)
        })
    }

    #[test]
    fn dead_letters_count_as_long_as_the_window_and_no_longer() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut breaker = breaker("breaker_window = \"60s\"");
        breaker.note(at(0), &outcome(0, 6), false);
        breaker.note(at(30), &outcome(0, 3), false);
        let left = [59, 61, 91].map(|seconds| breaker.limits(at(seconds), 1).dead_letters_left);
        assert_eq!(left, [1, 7, 10]);
    }

    #[test]
    fn the_error_counts_the_dead_letters_of_the_window_and_those_of_the_batch() {
        let mut breaker = breaker("");
        breaker.note(Instant::now(), &outcome(0, 6), false);
        let limits = breaker.limits(Instant::now(), 1);
        assert!(limits.check(4, Reason::NotNull).is_ok());
        assert!(matches!(limits.check(5, Reason::NotNull), Err(Error::Breaker { count: 11, limit: 10, .. })));
    }

    #[test]
    fn a_collection_whose_documents_are_all_refused_stops_the_sink_however_slowly_they_come() {
        assert_eq!(stopped_at(&mut breaker(""), (0..100).map(|_| (0, 1))), Some(10));
        // After many that were right, too.
        let turned = (0..100).map(|_| (1_000, 0)).chain((0..1_000).map(|_| (0, 1)));
        assert!(stopped_at(&mut breaker(""), turned).is_some());
    }

    #[test]
    fn refused_documents_among_others_do_not_stop_it() {
        assert_eq!(stopped_at(&mut breaker(""), (0..1_000).map(|_| (1, 1))), None);
        assert_eq!(stopped_at(&mut breaker("breaker_share = 0.5"), (0..1_000).map(|_| (1, 1))), Some(10));
    }

    #[test]
    fn a_retry_of_refused_documents_says_nothing_about_the_share() {
        let mut breaker = breaker("");
        (0..5).for_each(|_| breaker.note(Instant::now(), &outcome(0, 10), true));
        assert!(breaker.limits(Instant::now(), 1).check_share(&outcome(0, 1)).is_ok());
    }
}

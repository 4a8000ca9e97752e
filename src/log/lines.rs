//! Folds the log lines of the client library: each of our clients repeats the same lines about the same broker, for as long as it is
//! away. The first one is logged, the others are counted, and the end is logged with their number.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The lines of all clients of this process.
pub(super) static LINES: Lines = Lines::new();

/// The library repeats a line after 30 s while nothing changes; one that was not repeated for longer has ended.
const QUIET: Duration = Duration::from_secs(60);
/// The most different lines that are remembered; there are a few for each broker.
const KINDS: usize = 1_000;

/// The lines that were heard lately.
#[derive(Debug)]
pub(super) struct Lines(Mutex<BTreeMap<(String, String), Heard>>);

#[derive(Clone, Copy, Debug)]
struct Heard {
    first: Instant,
    last: Instant,
    repeats: u64,
}

/// A line that is not repeated any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// The facility of the library.
    pub(super) facility: String,
    /// The line, without what differs from one time to the next.
    pub(super) message: String,
    /// How often it was repeated.
    pub(super) repeats: u64,
    /// From the first to the last time.
    pub(super) lasted: Duration,
}

impl Lines {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Returns whether the line is to be logged: it was not heard lately.
    pub(super) fn is_new(&self, now: Instant, facility: &str, message: &str) -> bool {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = (facility.to_owned(), essence(message).to_owned());
        match lines.get_mut(&line) {
            Some(heard) => {
                (heard.last, heard.repeats) = (now, heard.repeats + 1);
                false
            }
            None => {
                if lines.len() < KINDS {
                    lines.insert(line, Heard { first: now, last: now, repeats: 0 });
                }
                true
            }
        }
    }

    /// Forgets the lines that are not repeated any more; returns those that were repeated at all.
    pub(super) fn ended(&self, now: Instant) -> Vec<Ended> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = lines.extract_if(.., |_, heard| now.saturating_duration_since(heard.last) > QUIET);
        over.filter(|(_, heard)| heard.repeats > 0)
            .map(|((facility, message), Heard { first, last, repeats })| Ended {
                facility,
                message,
                repeats,
                lasted: last.saturating_duration_since(first),
            })
            .collect()
    }
}

/// The message without the name of its thread in front, and without times and counts at its end:
/// `[thrd:…]: ADDRESS: REASON (after 3ms in state CONNECT, 12 identical error(s) suppressed)`.
fn essence(message: &str) -> &str {
    let said = match message.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")) {
        Some((_, said)) => said,
        None => message,
    };
    said.rfind(" (after ").map_or(said, |end| &said[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "127.0.0.1:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused";

    fn line(client: u8, millis: u64) -> String {
        format!(
            "[thrd:{client}]: {REFUSED} (after {millis}ms in state CONNECT, {millis} identical error(s) suppressed)"
        )
    }

    #[test]
    fn the_first_of_the_same_lines_is_logged_and_the_end_says_how_many_there_were() {
        let lines = Lines::new();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(lines.is_new(at(0), "FAIL", &line(1, 0)));
        for (second, client) in [(1, 2), (30, 1), (31, 2), (90, 1)] {
            assert!(!lines.is_new(at(second), "FAIL", &line(client, second)));
            assert_eq!(lines.ended(at(second)), []);
        }
        assert!(lines.is_new(at(91), "FAIL", "another broker"));
        let lasted = Duration::from_secs(90);
        let ended = Ended { facility: "FAIL".to_owned(), message: REFUSED.to_owned(), repeats: 4, lasted };
        assert_eq!(lines.ended(at(151)), [ended]);
        assert_eq!(lines.ended(at(200)), [], "a line that was not repeated needs no end");
        assert!(lines.is_new(at(201), "FAIL", &line(1, 0)), "a new outage is told");
    }

    #[test]
    fn only_what_differs_from_time_to_time_is_left_out() {
        assert_eq!(essence("plain"), "plain");
        assert_eq!(essence("[thrd:main]: (after all)"), "(after all)");
        assert_eq!(essence(&line(1, 7)), REFUSED);
    }
}

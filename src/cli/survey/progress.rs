//! The progress of a survey: a line on a terminal, else a log line now and then.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;

use crate::cli::print;

/// Time between two log lines: often enough to see that it goes on, and seldom enough to read.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The progress of one collection.
pub(super) struct Progress {
    collection: String,
    /// About how many documents there are.
    estimate: u64,
    bar: ProgressBar,
    is_terminal: bool,
    began: Instant,
    logged: Instant,
}

impl Progress {
    pub(super) fn new(collection: &str, estimate: u64) -> Self {
        let template = "{prefix} {bar:24} {pos} of about {len} documents, {per_sec}, {eta} left";
        let now = Instant::now();
        Self {
            collection: collection.to_owned(),
            estimate,
            bar: print::bar(collection, estimate, template),
            is_terminal: std::io::stderr().is_terminal(),
            began: now,
            logged: now,
        }
    }

    pub(super) fn seen(&mut self, documents: u64) {
        self.bar.set_length(self.estimate.max(documents));
        self.bar.set_position(documents);
        let now = Instant::now();
        if self.is_terminal || now - self.logged < LOG_INTERVAL {
            return;
        }
        self.logged = now;
        let per_second = (documents as f64 / (now - self.began).as_secs_f64()) as u64;
        tracing::info!(collection = self.collection, documents, estimate = self.estimate, per_second, "converted");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

//! The progress of a comparison, on a terminal only.

use indicatif::ProgressBar;

use crate::{cli::print, reconcile::Progress};

/// The line of one collection.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(collection: &str) -> Self {
        Self(print::bar(collection, 1, "{prefix} {bar:24} {msg}"))
    }

    pub(super) fn show(&self, Progress { phase, looked, documents }: Progress) {
        self.0.set_length(documents.max(looked).max(1));
        self.0.set_position(looked);
        self.0.set_message(format!("{} {looked}", phase.as_str()));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

//! The progress of a comparison, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::reconcile::Progress;

/// A line of standard error; invisible where that is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(collection: &str) -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:24} {msg}");
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar.with_prefix(collection.to_owned()))
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

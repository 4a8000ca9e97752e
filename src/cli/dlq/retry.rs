//! `driftless dlq retry`.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::which::Which;
use crate::{
    cli::{
        Exit, print, requests,
        setup::{Setup, operator},
    },
    control::{
        dead_letters::{self, Filter, Retried},
        repairs::{self, Progress},
    },
    postgres::Session,
};

/// Read the documents of dead letters again, in their present state, and apply them.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    which: Which,
    /// Wait this long for the outcome; `0s` does not wait.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = requests::wait)]
    wait: Duration,
    /// Print which letters would be retried, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The outcome of a retry.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    /// The letters that are retried.
    letters: Vec<i64>,
    /// Letters that name no document.
    unreadable: Vec<i64>,
    /// Progress of the requests for their documents.
    #[serde(flatten)]
    progress: Progress,
    /// Reasons of refused requests, with the number of each.
    refusals: Vec<(String, i64)>,
    /// Letters of these documents that remain at the end: refused again, or not reached yet.
    left: Vec<i64>,
}

impl Retry {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let session = super::open(setup).await?;
        let (wait, json, dry_run) = (self.wait, self.json, self.dry_run);
        let filter = self.which.filter(&[]);
        if dry_run {
            return preview(&session, &filter, json).await;
        }
        let Retried { letters, requests: asked, unreadable } =
            dead_letters::retry(&session, &filter, &operator()).await?;
        let progress = requests::follow(&session, &asked, wait).await?;
        let left = repairs::letters(&session, &asked).await?;
        let refusals = repairs::refusals(&session, &asked).await?;
        let report = Report { dry_run, letters, unreadable, progress, refusals, left };
        // Without a wait, asking is all there is to do.
        let done = wait.is_zero() || (report.left.is_empty() && progress.ended() && progress.refused == 0);
        if json {
            print::json(&report)?
        } else {
            report.print(&session, wait).await?
        }
        Ok(if done && report.unreadable.is_empty() { Exit::Success } else { Exit::Failure })
    }
}

async fn preview(session: &Session, filter: &Filter, json: bool) -> anyhow::Result<Exit> {
    if json {
        let letters = dead_letters::list(session, filter, u32::MAX).await?;
        let (read, unread): (Vec<_>, Vec<_>) = letters.iter().partition(|letter| letter.key.is_some());
        let ids = |letters: Vec<&dead_letters::Listed>| letters.iter().map(|letter| letter.id).collect();
        let (letters, unreadable) = (ids(read), ids(unread));
        let (progress, refusals, left) = (Progress::default(), Vec::new(), Vec::new());
        print::json(&Report { dry_run: true, letters, unreadable, progress, refusals, left })?;
    } else {
        super::list::print_groups(&dead_letters::groups(session, filter, u32::MAX).await?);
        print::line("Nothing was retried (--dry-run).");
    }
    Ok(Exit::Success)
}

impl Report {
    async fn print(&self, session: &Session, wait: Duration) -> anyhow::Result<()> {
        let Progress { asked, logged, applied, refused } = self.progress;
        let documents = print::count(usize::try_from(asked + logged + applied + refused)?, "document");
        print::line(format!(
            "{} retried: {documents} to be read again; {applied} applied, {logged} in the log and not applied yet, \
             {asked} not accepted, {refused} refused.",
            print::count(self.letters.len(), "dead letter")
        ));
        requests::print_unfinished(self.progress, &self.refusals, wait)?;
        if self.progress.ended() && !self.left.is_empty() {
            print::line("Refused again:");
            let filter = Filter { ids: self.left.clone(), ..Filter::default() };
            super::list::print_groups(&dead_letters::groups(session, &filter, u32::MAX).await?);
        }
        if !self.unreadable.is_empty() {
            print::line(format!(
                "{} cannot be retried: the record cannot be decoded, so its document is unknown ({}). If a newer driftless can \
                 decode it, apply it with `driftless replay --collection C --partition P --to-offset N --execute --why …` (`dlq show` prints them); otherwise give it \
                 up with `driftless dlq discard`.",
                print::count(self.unreadable.len(), "dead letter"),
                self.unreadable.iter().map(|id| format!("--id {id}")).collect::<Vec<_>>().join(" ")
            ));
        }
        Ok(())
    }
}

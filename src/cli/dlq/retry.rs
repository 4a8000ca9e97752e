//! `driftless dlq retry`.

use clap::Args;

use super::which::Which;
use crate::{
    cli::{
        Exit, print,
        setup::{Setup, operator},
    },
    log::{RawRecord, republish},
    sink::dead_letter::{self, Filter},
};

/// Send dead letters through the log again; each loses to a newer version of its document.
#[derive(Debug, Args)]
pub struct Retry {
    #[command(flatten)]
    which: Which,
    /// Only tell which they are.
    #[arg(long)]
    dry_run: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Dead letters sent in one go.
const PAGE: u32 = 500;

impl Retry {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let session = super::open(setup).await?;
        let filter = self.which.filter(&[]);
        let letters = dead_letter::list(&session, &filter, u32::MAX).await?;
        let ids: Vec<i64> = letters.iter().map(|letter| letter.id).collect();
        if !self.dry_run {
            if !ids.is_empty() {
                dead_letter::note_retry(&session, &filter, &operator(), &ids).await?;
            }
            for page in ids.chunks(PAGE as usize) {
                // Those that were settled meanwhile are left out.
                let filter = Filter { ids: page.to_vec(), ..Filter::default() };
                let records = dead_letter::records(&session, &filter, PAGE).await?;
                let records = records.into_iter().map(|(_, record)| RawRecord {
                    topic: record.topic.to_string(),
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                });
                republish(&setup.config.log, records.collect()).await?;
            }
        }
        if self.json {
            print::json(&serde_json::json!({ "dry_run": self.dry_run, "letters": ids }))?;
            return Ok(Exit::Success);
        }
        let count = print::count(ids.len(), "dead letter");
        if self.dry_run {
            super::list::print_groups(&dead_letter::groups(&session, &filter, u32::MAX).await?);
            print::line("Nothing was sent (--dry-run).");
        } else {
            print::line(format!("{count} sent through the log again."));
        }
        Ok(Exit::Success)
    }
}

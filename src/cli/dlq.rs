//! `driftless dlq`: look at dead letters, and give them another try. Contents are never shown.

use std::path::Path;

use clap::{Args, Subcommand};

use super::{Exit, print, setup::Setup};
use crate::{
    log::{RawRecord, republish},
    sink::{
        Purpose, Target,
        dead_letter::{self, Filter},
    },
};

/// Look at dead letters, and give them another try.
#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// List open dead letters and parked documents.
    List(List),
    /// Send dead letters through the log again; each loses to a newer version of its document.
    Retry(Which),
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct Which {
    /// Only of this collection.
    #[arg(long)]
    collection: Option<String>,
    /// Only with this reason, such as `NUL_IN_TEXT`.
    #[arg(long)]
    reason: Option<String>,
    /// Only with this number; may be given several times.
    #[arg(long = "id")]
    ids: Vec<i64>,
}

impl Which {
    fn filter(self) -> Filter {
        Filter { collection: self.collection, reason: self.reason, ids: self.ids }
    }
}

/// How to list them.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    which: Which,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Dead letters sent in one go.
const PAGE: u32 = 500;

impl Dlq {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        match self {
            Self::List(list) => list.execute(setup).await,
            Self::Retry(which) => retry(which, setup).await,
        }
    }
}

impl List {
    async fn execute(self, setup: Setup) -> anyhow::Result<Exit> {
        let session = Target::new(&setup.config.sink)?.open(Purpose::Control).await?;
        let listed = dead_letter::list(&session, &self.which.filter(), self.limit).await?;
        if self.json {
            print::json(&listed)?;
            return Ok(Exit::Success);
        }
        let mut table =
            print::table(["id", "state", "collection", "key", "reason", "detail", "topic", "partition", "offset"]);
        for letter in &listed {
            table.add_row([
                letter.id.to_string(),
                letter.state.as_str().to_owned(),
                letter.collection.clone().unwrap_or_default(),
                letter.key.clone().unwrap_or_default(),
                letter.reason.clone(),
                letter.detail.clone().unwrap_or_default(),
                letter.topic.clone(),
                letter.partition.to_string(),
                letter.offset.to_string(),
            ]);
        }
        print::line(table);
        print::line(print::count(listed.len(), "dead letter"));
        Ok(Exit::Success)
    }
}

async fn retry(which: Which, setup: Setup) -> anyhow::Result<Exit> {
    let session = Target::new(&setup.config.sink)?.open(Purpose::Control).await?;
    let letters = dead_letter::list(&session, &which.filter(), u32::MAX).await?;
    let ids: Vec<i64> = letters.iter().map(|letter| letter.id).collect();
    for page in ids.chunks(PAGE as usize) {
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
    print::line(format!("{} sent through the log again.", print::count(ids.len(), "dead letter")));
    Ok(Exit::Success)
}

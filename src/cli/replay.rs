//! `driftless replay`: apply a topic again from an earlier offset, while the daemon runs.

use std::path::Path;

use clap::Args;

use super::{
    Exit, print,
    setup::{Setup, operator},
};
use crate::{log::topic_name, model::Namespace, sink::replay};

/// Apply a topic again from an earlier offset, while the daemon runs.
#[derive(Debug, Args)]
pub struct Replay {
    /// The collection.
    #[arg(long)]
    collection: String,
    /// Only this partition of its topic.
    #[arg(long)]
    partition: Option<i32>,
    #[command(flatten)]
    to: To,
    /// Only tell what would be done.
    #[arg(long)]
    dry_run: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct To {
    /// From this offset on.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// From the first record there is.
    #[arg(long)]
    to_earliest: bool,
}

impl Replay {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        if !setup.collections().contains_key(&self.collection) {
            let known = setup.collections().into_keys().collect::<Vec<_>>().join(", ");
            anyhow::bail!("find collection {} in the mapping: it has {known}", self.collection);
        }
        let config = &setup.config;
        let topic = topic_name(&config.log.prefix, &Namespace::new(&config.source.database, &self.collection));
        let session = setup.session().await?;
        let to = self.to.to_offset.map_or(replay::To::Earliest, replay::To::Offset);
        let who = operator();
        let request =
            replay::Request { topic: &topic, partition: self.partition, to, who: &who, dry_run: self.dry_run };
        let moved = replay::replay(&session, &request).await?;
        if moved.is_empty() {
            anyhow::bail!("find a partition of {topic} that has been applied beyond that offset");
        }
        if self.json {
            print::json(&moved)?;
            return Ok(Exit::Success);
        }
        let mut table = print::table(["topic", "partition", "next offset", "moved to"]);
        let shown = |offset: Option<i64>| offset.map_or("earliest".to_owned(), |offset| offset.to_string());
        for row in &moved {
            table.add_row([topic.clone(), row.partition.to_string(), shown(row.from), shown(row.to)]);
        }
        print::line(table);
        print::line(if self.dry_run {
            "Nothing was moved (--dry-run)."
        } else {
            "Moved. The running sink goes on from there within about a second."
        });
        Ok(Exit::Success)
    }
}

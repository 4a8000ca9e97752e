//! `driftless dlq discard`.

use clap::Args;

use super::which::Which;
use crate::{
    cli::{
        Exit, print,
        setup::{Setup, operator},
    },
    control::dead_letters,
};

/// Give dead letters up; who did it and why is written down.
#[derive(Debug, Args)]
pub struct Discard {
    #[command(flatten)]
    which: Which,
    /// Why, in your words, for the one who asks later.
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    why: Option<String>,
    /// Only tell which they are.
    #[arg(long)]
    dry_run: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Discard {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        if self.which.is_everything() {
            anyhow::bail!(
                "discard dead letters: say which ones, by --id, --collection, --reason, --since or --until; see them with \
                 `driftless dlq list`"
            );
        }
        let session = super::open(setup).await?;
        let filter = self.which.filter(&[]);
        let groups = dead_letters::groups(&session, &filter, u32::MAX).await?;
        let ids = match self.why.filter(|_| !self.dry_run) {
            Some(why) => dead_letters::discard(&session, &filter, &operator(), &why).await?,
            None => dead_letters::list(&session, &filter, u32::MAX).await?.iter().map(|letter| letter.id).collect(),
        };
        if self.json {
            print::json(&serde_json::json!({ "dry_run": self.dry_run, "letters": ids }))?;
            return Ok(Exit::Success);
        }
        super::list::print_groups(&groups);
        if self.dry_run {
            print::line("Nothing was discarded (--dry-run).");
        } else {
            print::line(format!(
                "{} discarded. The documents stay unequal until they change or are repaired.",
                print::count(ids.len(), "dead letter")
            ));
        }
        Ok(Exit::Success)
    }
}

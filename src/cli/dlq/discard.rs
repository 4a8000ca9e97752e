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

/// Give dead letters up, and record who did so and why.
#[derive(Debug, Args)]
pub(crate) struct Discard {
    #[command(flatten)]
    which: Which,
    /// The reason, in your words; it is recorded.
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    why: Option<String>,
    /// Print which letters would be discarded, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Discard {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        if self.which.is_everything() {
            anyhow::bail!(
                "discard dead letters: choose them with --id, --collection, --reason, --since or --until; list them with \
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
                "{} discarded. Their documents differ from the source until they change or are repaired.",
                print::count(ids.len(), "dead letter")
            ));
        }
        Ok(Exit::Success)
    }
}

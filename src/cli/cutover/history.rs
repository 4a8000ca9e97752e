//! `driftless cutover history`: the journal of the units.

use clap::Args;
use jiff::Timestamp;

use crate::{
    cli::{Exit, print, setup::Setup},
    control::reads::{self, Change},
};

/// Show the changes of the units.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Show only those of this unit.
    #[arg(long)]
    unit: Option<String>,
    /// Show this many, the newest first.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl History {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let session = setup.session().await?;
        let changes = reads::history(&session, self.unit.as_deref(), self.limit).await?;
        if self.json {
            print::json(&changes)?;
        } else {
            table(&changes);
        }
        Ok(Exit::Success)
    }
}

fn table(changes: &[Change]) {
    let mut table = print::table(["at", "unit", "what", "wish", "verified as of", "who", "why"]);
    for change in changes {
        let time = |ms| Timestamp::from_millisecond(ms).map(print::time).unwrap_or_default();
        let verified = change.verified.map_or("never".to_owned(), |at| time(i64::from(at.t) * 1000));
        let forced = if change.forced { " (forced)" } else { "" };
        table.add_row([
            time(change.at_ms),
            change.unit.clone(),
            format!("{}{forced}", change.action),
            change.share.to_string(),
            verified,
            change.who.clone(),
            change.why.clone().unwrap_or_default(),
        ]);
    }
    print::line(table);
}

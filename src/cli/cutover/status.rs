//! `driftless cutover status`: where the reads of each unit go now.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    cli::{Exit, print, setup::Setup},
    control::reads::{self, Share},
    reads::{Unit, Why},
};

/// Show where the reads of each unit go now.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A unit as it is printed.
#[derive(Debug, Serialize)]
struct Line {
    unit: String,
    collections: Vec<String>,
    /// Percentage of the keys that read from PostgreSQL.
    share: Share,
    /// Percentage that an operator has asked for.
    wish: Share,
    tripped: bool,
    /// Why less than the wish.
    reason: Option<String>,
    since: Option<Timestamp>,
    epoch: i64,
}

impl Status {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let session = setup.session().await?;
        let rows = reads::units(&session).await?;
        let lines = setup.units().into_iter().map(|unit| {
            let row = rows.iter().find(|row| row.unit == unit.name);
            line(Unit::new(&unit.name, &unit.collections, row, Duration::ZERO), row.is_some())
        });
        let lines: Vec<Line> = lines.collect();
        if self.json {
            print::json(&lines)?;
        } else {
            table(&lines);
        }
        Ok(Exit::Success)
    }
}

fn line(unit: Unit, exists: bool) -> Line {
    let reason = match unit.why() {
        Why::Tripped(reason) | Why::Unknown(reason) => Some(reason),
        Why::Share | Why::NotCutOver | Why::KeyMissing => None,
    };
    Line {
        share: unit.share(),
        wish: unit.wish,
        tripped: unit.tripped.is_some(),
        reason,
        since: Timestamp::from_millisecond(unit.since_ms).ok().filter(|_| exists),
        epoch: unit.epoch,
        unit: unit.name,
        collections: unit.collections,
    }
}

fn table(lines: &[Line]) {
    let mut table = print::table(["unit", "collections", "reads on PostgreSQL", "wish", "since", "why"]);
    for line in lines {
        let state = if line.tripped { "tripped: " } else { "" };
        table.add_row([
            line.unit.clone(),
            line.collections.join(", "),
            line.share.to_string(),
            line.wish.to_string(),
            line.since.map(print::time).unwrap_or_default(),
            line.reason.as_ref().map(|reason| format!("{state}{reason}")).unwrap_or_default(),
        ]);
    }
    print::line(table);
}

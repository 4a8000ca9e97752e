//! `driftless cutover status`: where the reads of each unit go now.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use crate::{
    cli::{Exit, print, setup::Setup},
    control::reads,
    reads::{Unit, UnitReport},
};

/// Show where the reads of each unit go now.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let session = setup.session().await?;
        let rows = reads::units(&session).await?;
        let units = setup.units().into_iter().map(|unit| Unit::among(&unit, &rows, Duration::ZERO));
        let reports = units.map(|unit| UnitReport::new(unit, Timestamp::now()));
        let reports: Vec<UnitReport> = reports.collect();
        if self.json {
            print::json(&reports)?;
        } else {
            table(&reports);
        }
        Ok(Exit::Success)
    }
}

fn table(reports: &[UnitReport]) {
    let mut table = print::table(["unit", "collections", "reads on PostgreSQL", "wish", "since"]);
    for report in reports {
        table.add_row([
            report.unit.clone(),
            report.collections.join(", "),
            report.share.to_string(),
            report.wish.unwrap_or_default().to_string(),
            report.since.map(print::time).unwrap_or_default(),
        ]);
    }
    print::line(table);
    for report in reports {
        if let Some(reason) = &report.reason {
            let state = if report.tripped { "tripped" } else { "unknown" };
            print::line(format!("{} is {state}: {reason}", report.unit));
        }
    }
}

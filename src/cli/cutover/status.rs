//! `driftless cutover status`: where the reads of each unit go now, and what its shadow reads have shown.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use crate::{
    cli::{Exit, print, setup::Setup},
    config,
    control::{reads, shadow},
    postgres::{self, Session},
    reads::{Unit, UnitReport, UnitStatus},
    reconcile::blockers::span,
};

/// Show where the reads of each unit go now, and what its shadow reads have shown.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let units = units(setup, &setup.session().await?).await?;
        if self.json {
            print::json(&units)?;
        } else {
            reads_table(&units);
            shadow_table(&units);
        }
        Ok(Exit::Success)
    }
}

/// Reads where the reads of each unit go, and what its shadow reads have shown.
pub(crate) async fn units(setup: &Setup, session: &Session) -> Result<Vec<UnitStatus>, postgres::Error> {
    let rows = reads::units(session).await?;
    let runs = shadow::latest(session).await?;
    let status = |unit: config::Unit| {
        let report = UnitReport::new(Unit::among(&unit, &rows, Duration::ZERO), Timestamp::now());
        UnitStatus::new(report, &unit.shadow, Some(&runs))
    };
    Ok(setup.units().into_iter().map(status).collect())
}

fn reads_table(units: &[UnitStatus]) {
    let mut table = print::table(["unit", "collections", "reads on PostgreSQL", "wish", "since"]);
    for UnitStatus { reads: report, .. } in units {
        table.add_row([
            report.unit.clone(),
            report.collections.join(", "),
            report.share.to_string(),
            report.wish.unwrap_or_default().to_string(),
            report.since.map(print::time).unwrap_or_default(),
        ]);
    }
    print::line(table);
    for UnitStatus { reads: report, .. } in units {
        if let Some(reason) = &report.reason {
            let state = if report.tripped { "tripped" } else { "unknown" };
            print::line(format!("{} is {state}: {reason}", report.unit));
        }
    }
}

fn shadow_table(units: &[UnitStatus]) {
    let mut table = print::table(["unit", "file", "query", "answers", "compared", "PostgreSQL p50", "MongoDB p50"]);
    for unit in units {
        for file in unit.shadow.iter().flatten() {
            let place = [unit.reads.unit.clone(), file.file.clone()];
            let age = file.age_ms.map(|ms| format!("{} ago", span(Duration::from_millis(ms))));
            if age.is_none() {
                table.add_row(place.iter().map(String::as_str).chain(["", "", "never", "", ""]));
            }
            for query in &file.queries {
                let cells = [query.name.clone(), query.outcome.as_str().to_owned(), age.clone().unwrap_or_default()];
                let latencies = [query.postgresql, query.mongodb].map(|side| format!("{:.2} ms", side.p50_ms));
                table.add_row(place.iter().chain(&cells).chain(&latencies));
            }
        }
    }
    if !table.is_empty() {
        print::line(table);
    }
}

//! The live table that shows both sides becoming equal.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

use anyhow::ensure;
use comfy_table::{Table, presets::ASCII_FULL_CONDENSED};
use driftless_demo::Collection;
use indicatif::ProgressBar;
use jiff::Timestamp;
use mongodb::{Database, bson::Document};

use crate::{
    daemon::{Daemon, StatusPage},
    say,
    stage::Stage,
};

/// Redraws the table: in place on a terminal, from time to time elsewhere.
pub(crate) struct Live<'a> {
    daemon: &'a Daemon,
    source: Database,
    target: tokio_postgres::Client,
    screen: ProgressBar,
    applied: BTreeMap<String, f64>,
    looked: Instant,
}

impl<'a> Live<'a> {
    /// Connects to both sides to count their documents and rows.
    pub(crate) async fn new(stage: &Stage, daemon: &'a Daemon) -> anyhow::Result<Self> {
        Ok(Self {
            daemon,
            source: stage.database().await?,
            target: stage.postgres(false).await?,
            screen: ProgressBar::new_spinner().with_style(indicatif::ProgressStyle::with_template("{msg}")?),
            applied: BTreeMap::new(),
            looked: Instant::now(),
        })
    }

    /// Redraws the table until this long has passed and both sides are in sync; leaves the last one on the screen.
    ///
    /// # Errors
    /// Fails when they are not in sync within `bound`.
    pub(crate) async fn watch(&mut self, duration: Duration, bound: Duration) -> anyhow::Result<StatusPage> {
        let terminal = std::io::stderr().is_terminal();
        let pause = if terminal { Duration::ZERO } else { Duration::from_secs(10) };
        let started = Instant::now();
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        loop {
            beat.tick().await;
            let status = self.daemon.status().await?;
            let reason = status.blockers.first().map_or(String::new(), |blocker| format!(" ({blocker})"));
            let verdict = format!("{}{reason}", status.verdict);
            let ends = started.elapsed() >= duration && status.verdict == "in_sync";
            if ends || self.looked.elapsed() >= pause {
                let table = self.draw(&status).await?;
                let text = format!("{table}\nverdict after {} s: {verdict}", started.elapsed().as_secs());
                if terminal {
                    self.screen.set_message(text);
                    self.screen.tick();
                } else {
                    say(&text);
                }
            }
            if ends {
                self.screen.abandon();
                return Ok(status);
            }
            ensure!(started.elapsed() < bound, "the first proof takes more than {} s: {verdict}", bound.as_secs());
        }
    }

    async fn draw(&mut self, status: &StatusPage) -> anyhow::Result<Table> {
        let applied: BTreeMap<String, f64> = self.daemon.applied().await?.into_iter().collect();
        let elapsed = self.looked.elapsed().as_secs_f64().max(f64::EPSILON);
        let mut table = Table::new();
        table.load_style(ASCII_FULL_CONDENSED).set_header([
            "collection",
            "documents",
            "rows",
            "snapshot",
            "applied/s",
            "staleness",
            "drift",
        ]);
        for collection in Collection::ALL {
            let name = collection.name();
            let documents = self.source.collection::<Document>(name).estimated_document_count().await?;
            let rows: i64 = self.target.query_one(&format!("SELECT count(*) FROM app.{name}"), &[]).await?.get(0);
            let before = self.applied.get(name).copied().unwrap_or(0.0);
            let rate = (applied.get(name).copied().unwrap_or(0.0) - before) / elapsed;
            table.add_row([
                name.to_owned(),
                documents.to_string(),
                rows.to_string(),
                snapshot(status, name),
                format!("{rate:.0}"),
                staleness(status, name),
                drift(status, name),
            ]);
        }
        self.applied = applied;
        self.looked = Instant::now();
        Ok(table)
    }
}

fn snapshot(status: &StatusPage, collection: &str) -> String {
    match status.process.snapshots.get(collection) {
        Some(snapshot) if snapshot.done => "done".to_owned(),
        Some(snapshot) if snapshot.estimated > 0 => {
            format!("{} %", (100 * snapshot.documents / snapshot.estimated).min(99))
        }
        _ => "waiting".to_owned(),
    }
}

fn staleness(status: &StatusPage, collection: &str) -> String {
    let as_of = status.collections.iter().find(|line| line.name == collection).and_then(|line| line.as_of);
    match as_of {
        Some(as_of) => format!("{:.1} s", Timestamp::now().duration_since(as_of).as_secs_f64().max(0.0)),
        None => "unknown".to_owned(),
    }
}

fn drift(status: &StatusPage, collection: &str) -> String {
    let Some(line) = status.collections.iter().find(|line| line.name == collection) else {
        return "unknown".to_owned();
    };
    let drift = line.findings.values().sum::<u64>() + line.dead_letters;
    match (&line.baseline, drift) {
        (None, 0) => "unknown".to_owned(),
        _ => drift.to_string(),
    }
}

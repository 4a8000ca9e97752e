//! `driftless check`: reports every fault of configuration, mapping, servers and data at once, each with its remedy.

mod data;
mod names;
mod servers;

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{Exit, finding::Finding, print, setup::Setup};

/// Check configuration, mapping, servers and data, and report all faults at once.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Check only the files.
    #[arg(long)]
    offline: bool,
    /// Check this many random documents of each collection; 0 checks none.
    #[arg(long, value_name = "N", default_value_t = 1_000, conflicts_with_all = ["all", "offline"])]
    sample: usize,
    /// Check every document, for exact numbers and for foreign keys; this takes as long as reading everything.
    #[arg(long, conflicts_with = "offline")]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Report {
    faults: Vec<Finding>,
    warnings: Vec<Finding>,
    notes: Vec<String>,
}

impl Report {
    fn fault(&mut self, place: &str, what: impl Into<String>, hint: impl Into<String>) {
        self.faults.push(Finding { place: place.to_owned(), what: what.into(), hint: hint.into() });
    }

    fn extend(&mut self, other: Self) {
        self.faults.extend(other.faults);
        self.warnings.extend(other.warnings);
        self.notes.extend(other.notes);
    }
}

impl Check {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let mut report = Report::default();
        match Setup::read(path) {
            Err(faults) => report.faults = faults,
            Ok(setup) if !self.offline => self.online(&setup, &mut report).await,
            Ok(_) => {}
        }
        let exit = if report.faults.is_empty() { Exit::Success } else { Exit::Faults };
        if self.json {
            print::json(&report)?;
        } else {
            report.notes.iter().for_each(print::line);
            print::findings(&report.faults, &report.warnings);
        }
        Ok(exit)
    }

    async fn online(&self, setup: &Setup, report: &mut Report) {
        // Concurrently: each server that does not answer takes a timeout, and there may be several.
        let (mut log, mut sink) = (Report::default(), Report::default());
        let (source, (), target) = tokio::join!(
            servers::source(setup, report),
            servers::log(setup, &mut log),
            servers::sink(setup, &mut sink)
        );
        report.extend(log);
        report.extend(sink);
        servers::state(setup, source.as_ref().map(|(source, _)| source), report).await;
        let extent = match (self.all, self.sample) {
            (true, _) => data::Extent::All,
            (false, 0) => return,
            (false, n) => data::Extent::Sample(n),
        };
        if let (Some((source, names)), Some(target)) = (source, target) {
            data::survey(setup, (&source, &names), &target, extent, report).await;
        }
    }
}

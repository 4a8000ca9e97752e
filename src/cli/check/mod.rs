//! `driftless check`: reports every fault of configuration, mapping, servers and data at once, each with its remedy.

mod data;
pub(super) mod names;
pub(super) mod servers;

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{
    Exit,
    finding::Finding,
    print,
    setup::{IntoArgs, Setup},
    survey::{Extent, Whole},
};
use crate::analyze::Conversion;

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
    #[command(flatten)]
    whole: Whole,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Everything that a check has found.
#[derive(Default, Serialize)]
pub(super) struct Report {
    pub(super) faults: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
    pub(super) notes: Vec<String>,
    /// The result of converting the documents, for each collection.
    conversions: Vec<Conversion>,
}

impl Report {
    pub(super) fn fault(&mut self, place: &str, what: impl Into<String>, hint: impl Into<String>) {
        self.faults.push(Finding { place: place.to_owned(), what: what.into(), hint: hint.into() });
    }

    fn extend(&mut self, other: Self) {
        self.faults.extend(other.faults);
        self.warnings.extend(other.warnings);
        self.notes.extend(other.notes);
        self.conversions.extend(other.conversions);
    }
}

impl Check {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let (setup, faults) = Setup::read_partly(path, &IntoArgs::default());
        let is_whole = faults.is_empty();
        let mut report = Report { faults, ..Report::default() };
        if let Some(setup) = setup.filter(|_| !self.offline) {
            self.online(&setup, is_whole, &mut report).await;
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

    /// Checks the servers and the data, for the collections whose part of the mapping has no fault; `is_whole` if those are all.
    async fn online(&self, setup: &Setup, is_whole: bool, report: &mut Report) {
        // Concurrently: each server that does not answer takes a timeout, and there may be several.
        let (mut log, mut sink) = (Report::default(), Report::default());
        let (source, (), target) = tokio::join!(
            servers::source(setup, report),
            servers::log(setup, &mut log),
            servers::sink(setup, &mut sink)
        );
        report.extend(log);
        report.extend(sink);
        // The state belongs to the whole mapping.
        if is_whole {
            servers::state(setup, source.as_ref().map(|(source, _)| source), report).await;
        }
        let extent = match (self.all, self.sample) {
            (true, _) => Extent::Whole(Vec::new()),
            (false, 0) => return,
            (false, n) => Extent::Sample(n),
        };
        if let (Some((source, names)), Some(target)) = (source, target) {
            data::survey(setup, (&source, &names), &target, (&extent, self.whole.bounds()), report).await;
        }
    }
}

//! `driftless check`: every fault of configuration, mapping and servers at once, each with what to do.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{
    Exit, print,
    setup::{Finding, Setup},
};
use crate::{
    log::Topics,
    mapping::Plan,
    model::Namespace,
    retry,
    sink::{Purpose, Target, missing_rights, read_catalog},
    source::Source,
};

/// Look for faults in configuration, mapping and servers; name all of them at once.
#[derive(Debug, Args)]
pub struct Check {
    /// Only look at the files.
    #[arg(long)]
    offline: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Report {
    faults: Vec<Finding>,
    notes: Vec<String>,
}

impl Report {
    fn fault(&mut self, place: &str, what: impl Into<String>, hint: impl Into<String>) {
        self.faults.push(Finding { place: place.to_owned(), what: what.into(), hint: hint.into() });
    }
}

/// An oplog shorter than this loses its history over a weekend.
const OPLOG_SECONDS: u32 = 48 * 3600;

impl Check {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let mut report = Report::default();
        match Setup::read(path) {
            Err(faults) => report.faults = faults,
            Ok(setup) if !self.offline => {
                source(&setup, &mut report).await;
                log(&setup, &mut report).await;
                sink(&setup, &mut report).await;
            }
            Ok(_) => {}
        }
        let exit = if report.faults.is_empty() { Exit::Success } else { Exit::Faults };
        if self.json {
            print::json(&report)?;
        } else {
            report.notes.iter().for_each(print::line);
            print::faults(&report.faults);
        }
        Ok(exit)
    }
}

async fn source(setup: &Setup, report: &mut Report) {
    const PLACE: &str = "source";
    let collections = setup.collections();
    let names = || collections.keys().map(String::as_str);
    let outcome = async {
        let source = Source::connect(&setup.config.source).await?;
        Ok::<_, crate::source::Error>((source.facts(names()).await?, source.faults(names()).await?))
    };
    match outcome.await {
        Ok((facts, faults)) => {
            let [major, minor, patch] = facts.server.version;
            report.notes.push(format!("source: MongoDB {major}.{minor}.{patch}"));
            if let Some(oplog) = facts.oplog {
                let seconds = oplog.window_seconds();
                report.notes.push(format!("source: the oplog spans {:.1} h", f64::from(seconds) / 3600.0));
                if seconds < OPLOG_SECONDS {
                    report.notes.push(
                        "source: a daemon that is down for longer than the oplog spans needs a new snapshot; 48 h are \
                         comfortable"
                            .to_owned(),
                    );
                }
            }
            faults.into_iter().for_each(|fault| report.fault(PLACE, fault.what, fault.hint));
        }
        Err(error) => {
            let hint = error.hint().unwrap_or("is the server up, and is the connection string right?").to_owned();
            report.fault(PLACE, retry::chain(&error), hint);
        }
    }
}

async fn log(setup: &Setup, report: &mut Report) {
    const PLACE: &str = "log";
    let database = &setup.config.source.database;
    let namespaces: Vec<Namespace> = setup.collections().keys().map(|name| Namespace::new(database, name)).collect();
    match Topics::check(&setup.config.log, &namespaces).await {
        Ok(faults) => {
            report.notes.push(format!("log: Kafka at {}", setup.config.log.brokers));
            faults.into_iter().for_each(|fault| report.fault(PLACE, fault.what, fault.hint));
        }
        Err(error) => {
            let hint = error.hint().unwrap_or("are the brokers up, and is log.brokers right?").to_owned();
            report.fault(PLACE, retry::chain(&error), hint);
        }
    }
}

async fn sink(setup: &Setup, report: &mut Report) {
    const PLACE: &str = "sink";
    let outcome = async {
        // A connection that applies has the rights to show: session_replication_role among them.
        let session = Target::new(&setup.config.sink)?.open(Purpose::Apply).await?;
        let plan = Plan::compile(&setup.mapping, &read_catalog(&session).await?);
        let missing = match &plan {
            Ok(plan) => missing_rights(&session, plan).await?,
            Err(_) => Vec::new(),
        };
        Ok::<_, crate::sink::Error>((session.constraint_mode(), plan, missing))
    };
    match outcome.await {
        Ok((mode, plan, missing)) => {
            report.notes.push(format!("sink: constraints and triggers in {mode:?} mode"));
            missing.into_iter().for_each(|right| report.fault(PLACE, right.what, right.hint));
            match plan {
                Ok(plan) => {
                    let tables: usize = plan.collections().iter().map(|plan| plan.tables.len()).sum();
                    report.notes.push(format!(
                        "mapping: {} to {}",
                        print::count(plan.collections().len(), "collection"),
                        print::count(tables, "table")
                    ));
                    report.notes.extend(plan.warnings().iter().map(|warning| format!("mapping: {warning}")));
                }
                Err(faults) => report.faults.extend(faults.into_iter().map(Finding::from)),
            }
        }
        Err(error) => {
            let hint = error.hint().unwrap_or("is the server up, and is the connection string right?").to_owned();
            report.fault(PLACE, retry::chain(&error), hint);
        }
    }
}

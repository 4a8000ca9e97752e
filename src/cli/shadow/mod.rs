//! `driftless shadow`: whether the queries of an application give the same answers on both sides, and how fast.

mod report;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use self::report::{as_value, print_checked, print_report};
use super::{
    Exit,
    finding::Finding,
    print, requests,
    setup::{Setup, operator},
};
use crate::{
    control::shadow::{self as results, NewRun, Outcome},
    pipeline::Comparison,
    postgres::Session,
    retry::Backoff,
    shadow::{self, Bounds, Compiled, QueryReport, Report, ShadowFile},
};

/// Compare the answers of both databases to the queries of an application.
#[derive(Debug, Subcommand)]
pub(crate) enum Shadow {
    /// Ask both databases the queries of a file, again and again, and compare the answers and their latencies.
    ///
    /// Parameters come from random documents. PostgreSQL is asked first, in one snapshot; MongoDB is asked as of the cluster time of that
    /// snapshot. Answers are equal, different (proven), or undecided, because the collections change all the time. The result is kept
    /// in PostgreSQL, where the gate finds it. Rows are named by their keys; values are shown only with `--reveal`.
    ///
    /// The exit code is 0 if all answers are equal, 4 if one is proven different, and 5 if one could not be judged.
    Run(Run),
    /// Check a file of queries: every query fits both databases, and every parameter and column has its conversion.
    ///
    /// No query is run. The exit code is 0 if the file has no faults, and 2 if it has.
    Check(Check),
}

/// Compare answers.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The file of queries; docs/shadow.md describes it.
    file: PathBuf,
    /// How often each query is asked [default: shadow.runs].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// How often each query is asked before, without being measured [default: shadow.warm_up].
    #[arg(long)]
    warm_up: Option<u32>,
    /// How long a query may be asked again, in all, because its answers cannot be judged [default: shadow.wait].
    #[arg(long, value_name = "DURATION", value_parser = requests::wait)]
    wait: Option<Duration>,
    /// Show the values of parameters and of rows that differ.
    #[arg(long)]
    reveal: bool,
    /// Write the report as one page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Check a file.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The file of queries.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Shadow {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        match self {
            Self::Run(run) => run.execute(&setup).await,
            Self::Check(check) => check.execute(&setup).await,
        }
    }
}

/// The queries of a file on both servers, or the faults of the file.
async fn compiled(
    setup: &Setup,
    file: &Path,
    draws: usize,
) -> anyhow::Result<Result<(Comparison, Session, Compiled), Vec<Finding>>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let findings = |faults: Vec<shadow::Fault>| -> Vec<Finding> {
        let place = |line| format!("{}:{line}", file.display());
        let finding = |shadow::Fault { line, what, hint }| Finding { place: place(line), what, hint };
        faults.into_iter().map(finding).collect()
    };
    let parsed = match ShadowFile::parse(&text) {
        Ok(parsed) => parsed,
        Err(faults) => return Ok(Err(findings(faults))),
    };
    let comparison = Comparison::connect(&setup.config, &setup.mapping).await?;
    let session = comparison.session().await?;
    let above = setup.config.shadow.scan_above.as_u64();
    let outcome = shadow::compile(comparison.both(), &session, parsed, draws, above).await?;
    Ok(outcome.map(|compiled| (comparison, session, compiled)).map_err(findings))
}

impl Check {
    async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let (faults, queries) = match compiled(setup, &self.file, 1).await? {
            Ok((comparison, _, compiled)) => (Vec::new(), compiled.checked(comparison.both())),
            Err(faults) => (faults, Vec::new()),
        };
        if self.json {
            print::json(&serde_json::json!({ "faults": faults, "queries": queries }))?;
        } else if faults.is_empty() {
            print_checked(&queries);
        } else {
            print::faults(&faults);
        }
        Ok(if faults.is_empty() { Exit::Success } else { Exit::Faults })
    }
}

impl Run {
    async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let config = &setup.config.shadow;
        let count =
            |given: Option<u32>, default| given.and_then(|given| usize::try_from(given).ok()).unwrap_or(default);
        let bounds = Bounds {
            runs: count(self.runs, config.runs),
            warm_up: count(self.warm_up, config.warm_up),
            wait: self.wait.unwrap_or(config.wait),
            backoff: Backoff { min: setup.config.retry.min, max: setup.config.retry.max },
            reveal: self.reveal,
        };
        let (comparison, session, compiled) = match compiled(setup, &self.file, bounds.runs).await? {
            Ok(compiled) => compiled,
            Err(faults) => {
                print::faults(&faults);
                return Ok(Exit::Faults);
            }
        };
        let began_at = Timestamp::now();
        let queries = shadow::run(comparison.both(), &session, &compiled, bounds).await?;
        let file = self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let report = Report { file, began_at, ended_at: Timestamp::now(), runs: bounds.runs, queries };
        keep(setup, &comparison, &report).await?;
        if let Some(html) = &self.html {
            std::fs::write(html, shadow::page(&report)).with_context(|| format!("write {}", html.display()))?;
        }
        if self.json {
            print::json(&as_value(&report)?)?;
        } else {
            print_report(&report);
        }
        Ok(match report.outcome() {
            Outcome::Equal => Exit::Success,
            Outcome::Undecided => Exit::Unproven,
            Outcome::Different => Exit::Drift,
        })
    }
}

/// Keeps a result in PostgreSQL, without values.
async fn keep(setup: &Setup, comparison: &Comparison, report: &Report) -> anyhow::Result<()> {
    let both = comparison.both();
    let of = |wanted: Outcome| {
        let queries = report.queries.iter().filter(move |query| query.outcome() == wanted);
        queries.map(|query| query.name.as_str()).collect()
    };
    let digest = |name: &String| {
        let place = comparison.named(name)?;
        Some((name.clone(), hex::encode(both.plan(place).digest())))
    };
    let collections = report.queries.iter().flat_map(|query: &QueryReport| &query.collections);
    let plans: BTreeMap<String, String> = collections.filter_map(digest).collect();
    let run = NewRun {
        file: &report.file,
        who: &operator(),
        began_at: report.began_at,
        different: of(Outcome::Different),
        undecided: of(Outcome::Undecided),
        plans,
        report: as_value(&report.without_values())?,
    };
    results::store(&setup.session().await?, &run).await.context("keep the result")
}

//! `driftless status`: what the status page shows, on a terminal.

mod show;
mod view;

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use self::view::View;
use super::{
    Exit, ask,
    cutover::units,
    print,
    setup::{IntoArgs, Setup},
};
use crate::{
    control::{journal, siblings, snapshots, status},
    http::{Report, Shared, Whose},
    mapping::Plan,
    pipeline::{JOURNAL, facts},
    postgres::{Session, read_catalog},
    reconcile::{
        blockers::Bounds,
        facts::Facts,
        gate::{self, GatedUnit},
        verdict::{self, Judged},
    },
    retry,
    status::Phase,
};

/// Show whether both sides are in sync, what blocks, how far everything is, and what to do.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Address of the daemon to ask [default: http.listen].
    #[arg(long, value_name = "HOST:PORT")]
    daemon: Option<String>,
    /// Show it again every two seconds, until interrupted.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Print JSON, as `/api/v1/status` answers.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    into: IntoArgs,
}

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// Clears a terminal and returns to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

impl Status {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load_into(path, &self.into) else { return Ok(Exit::Faults) };
        loop {
            let status = self.read(&setup).await;
            if self.watch {
                let text = match status {
                    Ok(status) => show::show(&serde_json::from_value(status)?),
                    Err(error) => format!("{}: {}", print::time(Timestamp::now()), retry::chain(&*error)),
                };
                print::line(format!("{CLEAR}{text}"));
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let status = status?;
            if self.json {
                print::json(&status)?;
            }
            let view: View =
                serde_json::from_value(status).context("read the status: the daemon is of another version")?;
            if !self.json {
                print::line(show::show(&view));
            }
            return Ok(exit(&view));
        }
    }

    /// The status of the daemon, or what the target says where none answers, or none that can judge.
    async fn read(&self, setup: &Setup) -> anyhow::Result<Value> {
        if setup.into.is_some() && self.daemon.is_none() {
            // The daemon at `http.listen` is that of the running migration, unless somebody says otherwise.
            return of_target(setup).await;
        }
        let address = self.daemon.clone().unwrap_or_else(|| ask::reachable(setup.config.http.listen).to_string());
        match asked(&address, &Whose::of(&setup.config)).await {
            Ok(status) if judges(&status) => Ok(status),
            Ok(status) => Ok(of_target(setup).await.unwrap_or(status)),
            Err(error) if self.daemon.is_some() => Err(error.context(format!("ask the daemon at {address}"))),
            Err(error) => {
                let silent =
                    format!("no daemon of this migration answers at {address} ({error}), so the target was asked");
                of_target(setup).await.context(silent)
            }
        }
    }
}

/// Whether the process reads the shared state: one that runs only the source does not.
fn judges(status: &Value) -> bool {
    status["cutover"].as_object().is_some_and(|units| !units.is_empty())
}

/// The status of the daemon at the address, which must be one of this migration.
async fn asked(address: &str, own: &Whose) -> anyhow::Result<Value> {
    let answer = ask::ask(address, "/api/v1/status").await?;
    if answer.status != 200 {
        bail!("it answers {}: {}", answer.status, answer.text.trim());
    }
    let status: Value = serde_json::from_str(&answer.text).context("the answer is no status")?;
    let of = Whose::deserialize(&status["migration"]).context("it does not say of which migration it is")?;
    if !of.is(own) {
        bail!("it is of another {of}; this configuration is of {own}");
    }
    Ok(status)
}

/// The same out of PostgreSQL, as the daemons have reported it there.
async fn of_target(setup: &Setup) -> anyhow::Result<Value> {
    let session = setup.session().await?;
    let (facts, unfit) = read_facts(setup, &session).await?;
    let reads = units(setup, &session).await?;
    let (state, journal, snapshots, siblings) = tokio::try_join!(
        status::read(&session, 0),
        journal::latest(&session, JOURNAL),
        snapshots::list(&session),
        siblings::all(&session)
    )?;
    let judged = judged(setup, &facts, unfit);
    let gates = gate::judge(&facts, &GatedUnit::all(&setup.config, &setup.names()));
    let shared = Shared {
        collections: facts.collections,
        processes: facts.processes,
        partitions: state.positions,
        dead_letters: facts::open_by_reason(&state.dead_letters),
        snapshots,
        siblings,
        journal,
    };
    Ok(serde_json::to_value(Report::new(Whose::of(&setup.config), Some(0), (judged, &gates), None, shared, reads))?)
}

/// Judges what the target says.
pub(super) async fn judge(setup: &Setup, session: &Session) -> anyhow::Result<Judged> {
    let (facts, unfit) = read_facts(setup, session).await?;
    Ok(judged(setup, &facts, unfit))
}

fn judged(setup: &Setup, facts: &Facts, unfit: Option<String>) -> Judged {
    let mut judged = verdict::judge(facts, &Bounds::of_verdict(&setup.config));
    judged.blockers.splice(0..0, unfit);
    judged
}

/// Reads all facts, also while the mapping does not fit the target: nothing counts as proven then, and the reason is a blocker.
async fn read_facts(setup: &Setup, session: &Session) -> anyhow::Result<(Facts, Option<String>)> {
    let catalog = read_catalog(session).await?;
    let (plans, unfit) = match Plan::compile(&setup.mapping, &catalog) {
        Ok(plan) => (facts::plans(&plan), None),
        Err(faults) => {
            let faults: Vec<String> = faults.into_iter().map(|fault| fault.what).collect();
            let what =
                format!("the mapping does not fit the target: {}; next: run `driftless check`", faults.join("; "));
            (facts::Plans::new(), Some(what))
        }
    };
    Ok((facts::read(&setup.config, &setup.names(), &plans, session).await?, unfit))
}

/// The exit code: inequality is the worst, then a role that has halted.
fn exit(view: &View) -> Exit {
    let halted =
        view.processes.iter().flat_map(|process| process.roles.values()).any(|role| role.phase == Phase::Halted);
    match view.verdict.as_str() {
        "drift" => Exit::Drift,
        _ if halted => Exit::Halted,
        "in_sync" => Exit::Success,
        _ => Exit::Unproven,
    }
}

//! `driftless uninstall`: removes everything that a migration has made on the three servers, and says what.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{
    Exit, print,
    setup::{Setup, operator},
};
use crate::{
    control::{guard, processes, uninstall},
    log::removal,
};

/// Remove everything that this migration has made on the three servers.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// The prefix of the migration (`log.prefix`). Without it the command prints what it would remove.
    #[arg(long, value_name = "PREFIX")]
    confirm: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Everything that is removed, or would be.
#[derive(Debug, Serialize)]
struct Report {
    executed: bool,
    /// Triggers of the guard, as statements.
    guard: Vec<String>,
    /// Why triggers could not be removed.
    problems: Vec<String>,
    /// The state in PostgreSQL; `None`: there is none.
    state: Option<&'static str>,
    topics: Vec<String>,
    groups: Vec<String>,
}

impl Uninstall {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        setup.only_running("uninstall")?;
        let log = &setup.config.log;
        if let Some(wrong) = self.confirm.as_ref().filter(|confirmed| **confirmed != log.prefix) {
            anyhow::bail!("uninstall {}: --confirm names {wrong}", log.prefix);
        }
        let session = setup.session().await?;
        let made = uninstall::find(&session).await?;
        let known = made.clone().unwrap_or_default();
        let remains = removal::find(log, &known.topics).await?;
        let executed = self.confirm.is_some();
        if made.is_some() && executed {
            if let Some(schema) = known.siblings.first() {
                anyhow::bail!(
                    "uninstall {}: a replay into {} is beside it; drop it first: `driftless replay --into {schema} --drop`",
                    log.prefix,
                    known.siblings.join(", ")
                );
            }
            let running = processes::live(&session).await?;
            if !running.is_empty() {
                let names = running.iter().map(|process| process.instance.as_str()).collect::<Vec<_>>().join(", ");
                anyhow::bail!("uninstall {}: stop its processes first: {names}", log.prefix);
            }
            if !known.dropped.is_empty() {
                anyhow::bail!(
                    "uninstall {}: `driftless schema apply --before-load` has dropped {}; build them again first: \
                     `driftless schema apply --after-load`",
                    log.prefix,
                    known.dropped.join(", ")
                );
            }
        }
        let changed = match made {
            Some(_) => guard::remove(&session, &operator(), !executed).await?,
            None => Vec::new(),
        };
        let problem = |changed: &guard::Changed| Some(format!("{}: {}", changed.relation, changed.problem.as_ref()?));
        let report = Report {
            executed,
            problems: changed.iter().filter_map(problem).collect(),
            guard: changed.into_iter().flat_map(|changed| changed.sql).collect(),
            state: made.as_ref().map(|made| match made.shared {
                true => "the rows of this migration in the schema driftless, which others use too",
                false => "the schema driftless",
            }),
            topics: remains.topics.clone(),
            groups: remains.groups.clone(),
        };
        // Triggers without the schema of their function would refuse every write to their table.
        let blocked = executed && !report.problems.is_empty();
        if executed && !blocked {
            // First the log: the topics are known only as long as the state is there.
            removal::remove(log, &remains).await?;
            if made.is_some() {
                uninstall::remove(&session, known.shared).await?;
            }
        }
        if self.json {
            print::json(&report)?
        } else {
            report.print(&log.prefix, blocked)
        }
        Ok(if blocked { Exit::Failure } else { Exit::Success })
    }
}

impl Report {
    fn print(&self, prefix: &str, blocked: bool) {
        let list = |what: &str, names: &[String]| {
            names.iter().for_each(|name| print::line(format!("{what} {name}")));
        };
        list("PostgreSQL: guard:", &self.guard);
        if let Some(state) = self.state {
            print::line(format!("PostgreSQL: {state}"));
        }
        list("Kafka: topic", &self.topics);
        list("Kafka: consumer group", &self.groups);
        print::line("MongoDB: nothing; driftless only reads there");
        list("not removed:", &self.problems);
        print::line(match (self.executed, blocked) {
            (_, true) => "The owner of these tables has to remove their triggers; nothing else was removed.".to_owned(),
            (true, false) => "Removed. The tables of the application and their rows stay. Kafka forgets the transactional ids by itself, \
                              after `transactional.id.expiration.ms`."
                .to_owned(),
            (false, false) => format!("Nothing was removed. Add `--confirm {prefix}` to remove all of this; the tables of the application and their rows stay."),
        });
    }
}

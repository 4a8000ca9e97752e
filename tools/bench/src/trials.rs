//! The two trials that every program goes through in the same way: a snapshot, and a backlog that exists before its start.

use std::time::Instant;

use crate::{
    changes::Backlog,
    daemon::Daemon,
    debezium::Debezium,
    machine,
    process::{Process, Usage},
    report::Chapter,
    servers::{Servers, Trial},
    users::USERS,
    watch::{self, Span},
};

/// The program that moves the rows.
pub(crate) enum Mover {
    /// The daemon.
    Driftless,
    /// The pair of connectors.
    Debezium(Debezium),
}

/// The result of a trial.
pub(crate) struct Outcome {
    /// Seconds from the start of the process to the first row.
    first: f64,
    /// Seconds from the start of the process to the last row.
    last: f64,
    /// Rows or changes a second between the two.
    rate: Option<f64>,
    /// The number of rows or changes.
    changes: u64,
    /// The resources that the process has used from its start to the last row.
    usage: Usage,
    /// Processor seconds of each server in that time.
    servers: Vec<(&'static str, f64)>,
    /// Bytes in the topics.
    log_bytes: u64,
}

impl Mover {
    /// Returns its name in the figures.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Driftless => "driftless",
            Self::Debezium(_) => "debezium",
        }
    }

    /// Starts it; it continues where its last run ended.
    pub(crate) fn start(&self, servers: &Servers, trial: &Trial) -> anyhow::Result<Process> {
        match self {
            Self::Driftless => Ok(Daemon::start(trial, &[])?.process),
            Self::Debezium(debezium) => debezium.start(servers, trial),
        }
    }
}

/// The servers' use of processor and disk before a program is started.
pub(crate) struct Before {
    /// Processor seconds by server.
    cpu: Vec<(&'static str, f64)>,
    /// Bytes in the topics.
    log_bytes: u64,
}

impl Before {
    /// Records the current use.
    pub(crate) fn look(servers: &Servers, trial: &Trial) -> anyhow::Result<Self> {
        Ok(Self { cpu: servers.cpu()?, log_bytes: servers.topic_bytes(&trial.prefix)? })
    }
}

/// Starts it on an empty target and waits for all rows; leaves it running.
pub(crate) async fn snapshot(
    servers: &Servers,
    mover: &Mover,
    trial: &Trial,
    rows: u64,
) -> anyhow::Result<(Process, Outcome)> {
    let client = servers.postgres(&trial.target).await?;
    let before = Before::look(servers, trial)?;
    let mut process = mover.start(servers, trial)?;
    let span = watch::span(&client, &mut process, &format!("SELECT count(*) FROM {USERS}"), rows).await?;
    let outcome = Outcome::new(servers, trial, &process, before, (span.first, span, rows))?;
    Ok((process, outcome))
}

/// Starts it on a backlog and waits until all of it is applied; leaves it running.
pub(crate) async fn backlog(
    servers: &Servers,
    mover: &Mover,
    trial: &Trial,
    backlog: &Backlog,
) -> anyhow::Result<(Process, Outcome)> {
    let before = Before::look(servers, trial)?;
    let mut process = mover.start(servers, trial)?;
    let outcome = drained(servers, trial, &mut process, backlog, before).await?;
    Ok((process, outcome))
}

/// Waits until a program that was just started has applied all of a backlog.
pub(crate) async fn drained(
    servers: &Servers,
    trial: &Trial,
    process: &mut Process,
    backlog: &Backlog,
    before: Before,
) -> anyhow::Result<Outcome> {
    let client = servers.postgres(&trial.target).await?;
    let seen = watch::markers(&client, process, backlog.head, false).await?;
    let first = Instant::now();
    let already = client.query_one(&backlog.applied, &[]).await?.get::<_, i64>(0) as u64;
    let last = watch::markers(&client, process, backlog.tail, true).await?;
    Outcome::new(servers, trial, process, before, (seen, Span { first, already, last }, backlog.changes))
}

impl Outcome {
    /// Creates the outcome of a trial whose rows or changes were all there after `span`; the first was seen at `seen`.
    fn new(
        servers: &Servers,
        trial: &Trial,
        process: &Process,
        before: Before,
        (seen, span, changes): (Instant, Span, u64),
    ) -> anyhow::Result<Self> {
        let used = servers.cpu()?.into_iter().zip(before.cpu).map(|((name, now), (_, then))| (name, now - then));
        Ok(Self {
            first: (seen - process.started).as_secs_f64(),
            last: (span.last - process.started).as_secs_f64(),
            rate: span.rate(changes),
            changes,
            usage: process.usage()?,
            servers: used.collect(),
            log_bytes: servers.topic_bytes(&trial.prefix)?.saturating_sub(before.log_bytes),
        })
    }

    /// Adds the figures of one run: `<id>.rate` and so on.
    pub(crate) fn add_to(&self, chapter: &mut Chapter, id: &str, what: &str) {
        let changes = self.changes as f64;
        let mut add = |name: &str, text: &str, unit, value| {
            chapter.add(format!("{id}.{name}"), format!("{what}: {text}"), unit, value);
        };
        if let Some(rate) = self.rate {
            add("rate", "first row to last", "changes/s", rate);
        }
        add("rate_from_start", "process start to last row", "changes/s", changes / self.last);
        add("first_row", "process start to first row", "s", self.first);
        add("cpu", "processor time of the process", "s per million", self.usage.cpu_seconds / changes * 1e6);
        for (name, seconds) in &self.servers {
            let text = format!("processor time of {name} meanwhile");
            add(&format!("cpu.{}", name.to_lowercase()), &text, "s per million", seconds / changes * 1e6);
        }
        let all: f64 = self.servers.iter().map(|(_, seconds)| seconds).sum();
        let text = "where the servers' processor time alone would fill every core";
        add("servers_alone", text, "changes/s", machine::processors() as f64 * changes / all);
        add("memory", "peak memory", "MB", self.usage.peak_mb);
        if self.log_bytes > 0 {
            add("log_bytes", "bytes in Kafka's files", "bytes per change", self.log_bytes as f64 / changes);
        }
    }
}

//! The two trials that every program goes through in the same way: a snapshot, and a backlog that waits for its start.

use std::time::Instant;

use crate::{
    changes::Backlog,
    daemon::Daemon,
    debezium::Debezium,
    process::{Process, Usage},
    report::Chapter,
    servers::{Servers, Trial},
    users::USERS,
    watch::{self, Span},
};

/// Who moves the rows.
pub(crate) enum Mover {
    /// The daemon.
    Driftless,
    /// The pair of connectors.
    Debezium(Debezium),
}

/// What a trial showed.
pub(crate) struct Outcome {
    /// Seconds from the start of the process to the first row.
    first: f64,
    /// Seconds from the start of the process to the last row.
    last: f64,
    /// Rows or changes a second between the two.
    rate: Option<f64>,
    /// Rows or changes.
    changes: u64,
    /// What the process has used from its start to the last row.
    usage: Usage,
    /// Bytes in the topics.
    log_bytes: u64,
}

impl Mover {
    /// Its name in the figures.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Driftless => "driftless",
            Self::Debezium(_) => "debezium",
        }
    }

    /// Starts it where its last run ended.
    pub(crate) fn start(&self, servers: &Servers, trial: &Trial) -> anyhow::Result<Process> {
        match self {
            Self::Driftless => Ok(Daemon::start(trial, &[])?.process),
            Self::Debezium(debezium) => debezium.start(servers, trial),
        }
    }
}

/// Starts it on an empty target and waits for all rows; it goes on running.
pub(crate) async fn snapshot(
    servers: &Servers,
    mover: &Mover,
    trial: &Trial,
    rows: u64,
) -> anyhow::Result<(Process, Outcome)> {
    let client = servers.postgres(&trial.target).await?;
    let mut process = mover.start(servers, trial)?;
    let span = watch::span(&client, &mut process, &format!("SELECT count(*) FROM {USERS}"), rows).await?;
    let outcome = Outcome {
        first: (span.first - process.started).as_secs_f64(),
        last: (span.last - process.started).as_secs_f64(),
        rate: span.rate(rows),
        changes: rows,
        usage: process.usage()?,
        log_bytes: servers.topic_bytes(&trial.prefix)?,
    };
    Ok((process, outcome))
}

/// Starts it before a backlog and waits until all of it is applied; it goes on running.
pub(crate) async fn backlog(
    servers: &Servers,
    mover: &Mover,
    trial: &Trial,
    backlog: &Backlog,
) -> anyhow::Result<(Process, Outcome)> {
    let before = servers.topic_bytes(&trial.prefix)?;
    let mut process = mover.start(servers, trial)?;
    let outcome = drained(servers, trial, &mut process, backlog, before).await?;
    Ok((process, outcome))
}

/// Waits until all of a backlog is applied by a program that was just started.
pub(crate) async fn drained(
    servers: &Servers,
    trial: &Trial,
    process: &mut Process,
    backlog: &Backlog,
    log_bytes_before: u64,
) -> anyhow::Result<Outcome> {
    let client = servers.postgres(&trial.target).await?;
    let seen = watch::markers(&client, process, backlog.head, false).await?;
    let first = Instant::now();
    let already = client.query_one(&backlog.applied, &[]).await?.get::<_, i64>(0) as u64;
    let last = watch::markers(&client, process, backlog.tail, true).await?;
    Ok(Outcome {
        first: (seen - process.started).as_secs_f64(),
        last: (last - process.started).as_secs_f64(),
        rate: Span { first, already, last }.rate(backlog.changes),
        changes: backlog.changes,
        usage: process.usage()?,
        log_bytes: servers.topic_bytes(&trial.prefix)?.saturating_sub(log_bytes_before),
    })
}

impl Outcome {
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
        add("memory", "peak memory", "MB", self.usage.peak_mb);
        if self.log_bytes > 0 {
            add("log_bytes", "bytes in Kafka's files", "bytes per change", self.log_bytes as f64 / changes);
        }
    }
}

//! The two trials that every program goes through in the same way: a snapshot, and a backlog that waits for its start.

use tokio_postgres::Client;

use crate::{
    changes::Backlog,
    daemon::Daemon,
    debezium::Debezium,
    process::{Process, Usage},
    report::Chapter,
    servers::{Servers, Trial},
    users::USERS,
    watch,
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
    pub(crate) first: f64,
    /// Seconds from the first row to the last.
    pub(crate) moving: f64,
    /// Rows or changes.
    pub(crate) changes: u64,
    /// What the process has used from its start to the last row.
    pub(crate) usage: Usage,
    /// Bytes in the topics.
    pub(crate) log_bytes: u64,
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
    let first = watch::first_row(&client, &mut process).await?;
    let last = watch::rows(&client, &mut process, &[USERS], rows).await?;
    let outcome = Outcome {
        first: (first - process.started).as_secs_f64(),
        moving: (last - first).as_secs_f64(),
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
    let client = servers.postgres(&trial.target).await?;
    let before = servers.topic_bytes(&trial.prefix)?;
    let mut process = mover.start(servers, trial)?;
    let outcome = drained(servers, trial, &client, &mut process, backlog, before).await?;
    Ok((process, outcome))
}

/// Waits until all of a backlog is applied by a program that was just started.
pub(crate) async fn drained(
    servers: &Servers,
    trial: &Trial,
    client: &Client,
    process: &mut Process,
    backlog: &Backlog,
    log_bytes_before: u64,
) -> anyhow::Result<Outcome> {
    let first = watch::markers(client, process, backlog.head, false).await?;
    let last = watch::markers(client, process, backlog.tail, true).await?;
    Ok(Outcome {
        first: (first - process.started).as_secs_f64(),
        moving: (last - first).as_secs_f64(),
        changes: backlog.changes,
        usage: process.usage()?,
        log_bytes: servers.topic_bytes(&trial.prefix)?.saturating_sub(log_bytes_before),
    })
}

impl Outcome {
    /// Changes a second, from the first row to the last.
    pub(crate) fn rate(&self) -> f64 {
        self.changes as f64 / self.moving.max(0.001)
    }

    /// Adds the figures of one run: `<id>.rate` and so on.
    pub(crate) fn add_to(&self, chapter: &mut Chapter, id: &str, what: &str) {
        let changes = self.changes as f64;
        let mut add = |name: &str, text: &str, unit, value| {
            chapter.add(format!("{id}.{name}"), format!("{what}: {text}"), unit, value);
        };
        add("rate", "first row to last", "changes/s", self.rate());
        add("rate_from_start", "process start to last row", "changes/s", changes / (self.first + self.moving));
        add("first_row", "process start to first row", "s", self.first);
        add("cpu", "processor time of the process", "s per million", self.usage.cpu_seconds / changes * 1e6);
        add("memory", "peak memory", "MB", self.usage.peak_mb);
        if self.log_bytes > 0 {
            add("log_bytes", "bytes in Kafka's files", "bytes per change", self.log_bytes as f64 / changes);
        }
    }
}

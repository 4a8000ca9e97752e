//! `driftless snapshot`: requests and progress of snapshots. All of it goes through PostgreSQL, so the command works anywhere.

mod follow;
mod line;

use std::path::Path;

use clap::{Args, Subcommand};

use self::line::Line;
use super::{
    Exit, print,
    setup::{Setup, operator},
};
use crate::{
    control::snapshots::{self, SnapshotCommand},
    postgres::{Session, migrate},
};

/// Restart, pause or resume snapshots, and show their progress.
#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Read collections again from the beginning.
    ///
    /// A collection that is new in the mapping starts by itself. A snapshot never overwrites newer data, and the stream goes on
    /// meanwhile. Until the snapshot is done, the collection does not count as complete.
    Start(Which),
    /// Show the progress of snapshots.
    Status(Status),
    /// Pause snapshots. Documents that were read are kept, and the stream goes on.
    Pause(Which),
    /// Resume paused snapshots where they stopped.
    Resume(Which),
}

/// Which collections.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Collections of the mapping [default: all].
    collections: Vec<String>,
}

/// Show the progress of snapshots.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    which: Which,
    /// Print JSON.
    #[arg(long, conflicts_with = "follow")]
    json: bool,
    /// Show progress until all are done: bars on a terminal, otherwise a line now and then.
    #[arg(long)]
    follow: bool,
}

impl Snapshot {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        setup.only_running("snapshot")?;
        match self {
            Self::Start(which) => which.ask(&setup, SnapshotCommand::Start, "start").await,
            Self::Pause(which) => which.ask(&setup, SnapshotCommand::Pause, "pause").await,
            Self::Resume(which) => which.ask(&setup, SnapshotCommand::Resume, "resume").await,
            Self::Status(status) => status.execute(&setup).await,
        }
    }
}

impl Which {
    /// Returns the chosen collections in the order of their names.
    fn collections(&self, setup: &Setup) -> anyhow::Result<Vec<String>> {
        let mapped: Vec<String> = setup.collections().into_keys().collect();
        let unknown: Vec<_> =
            self.collections.iter().filter(|name| !mapped.contains(name)).map(String::as_str).collect();
        if !unknown.is_empty() {
            anyhow::bail!("find {} in the mapping: it has {}", unknown.join(", "), mapped.join(", "));
        }
        let chosen = |name: &String| self.collections.is_empty() || self.collections.contains(name);
        Ok(mapped.into_iter().filter(chosen).collect())
    }

    async fn ask(&self, setup: &Setup, ask: SnapshotCommand, verb: &str) -> anyhow::Result<Exit> {
        let collections = self.collections(setup)?;
        let session = open(setup).await?;
        // The request may come before the daemon has run for the first time.
        migrate(&session).await?;
        snapshots::ask(&session, ask, &collections, &operator(), None).await?;
        print::line(format!("Asked to {verb}: {}.", collections.join(", ")));
        print::line(
            "The daemon that leads the source acts within about a second; `snapshot status` shows the progress.",
        );
        Ok(Exit::Success)
    }
}

impl Status {
    async fn execute(&self, setup: &Setup) -> anyhow::Result<Exit> {
        let collections = self.which.collections(setup)?;
        let session = open(setup).await?;
        if self.follow {
            follow::follow(&session, &collections).await?;
            return Ok(Exit::Success);
        }
        let lines = look(&session, &collections).await?;
        if self.json {
            print::json(&lines)?;
            return Ok(Exit::Success);
        }
        let mut table =
            print::table(["collection", "phase", "documents", "of about", "%", "rate", "left", "parts", "note"]);
        for line in &lines {
            table.add_row(line.cells());
        }
        print::line(table);
        Ok(Exit::Success)
    }
}

async fn open(setup: &Setup) -> anyhow::Result<Session> {
    Ok(setup.session().await?)
}

/// Returns one line for each collection.
async fn look(session: &Session, collections: &[String]) -> anyhow::Result<Vec<Line>> {
    let listed = snapshots::list(session).await?;
    let line = |name: &String| Line::of(name, listed.iter().find(|listed| listed.collection == *name));
    Ok(collections.iter().map(line).collect())
}

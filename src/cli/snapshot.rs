//! `driftless snapshot`: what is wanted of the snapshots, and how far they are. Through PostgreSQL, so from anywhere.

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

/// Start snapshots again, let them stand still or go on, and see how far they are.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Read collections again from their beginning.
    ///
    /// A collection that the mapping names for the first time needs no start: it begins by itself. Rows never grow older by it,
    /// and the stream goes on meanwhile; until it is done, the collection does not count as complete.
    Start(Which),
    /// Show how far snapshots are.
    Status(Status),
    /// Let snapshots stand still; what has been read stays. The stream goes on.
    Pause(Which),
    /// Let paused snapshots go on where they stand.
    Resume(Which),
}

/// Which collections.
#[derive(Debug, Args)]
pub struct Which {
    /// Collections of the mapping [default: all].
    collections: Vec<String>,
}

/// Show how far snapshots are.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    which: Which,
    /// As JSON.
    #[arg(long, conflicts_with = "follow")]
    json: bool,
    /// Go on showing it until all of them are done: bars on a terminal, else a line now and then.
    #[arg(long)]
    follow: bool,
}

impl Snapshot {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        match self {
            Self::Start(which) => which.ask(&setup, SnapshotCommand::Start, "start").await,
            Self::Pause(which) => which.ask(&setup, SnapshotCommand::Pause, "pause").await,
            Self::Resume(which) => which.ask(&setup, SnapshotCommand::Resume, "resume").await,
            Self::Status(status) => status.execute(&setup).await,
        }
    }
}

impl Which {
    /// The collections that are meant, in the order of their names.
    fn collections(&self, setup: &Setup) -> anyhow::Result<Vec<String>> {
        let mapped: Vec<String> = setup.collections().into_keys().collect();
        let unknown: Vec<_> =
            self.collections.iter().filter(|name| !mapped.contains(name)).map(String::as_str).collect();
        if !unknown.is_empty() {
            anyhow::bail!("find {} in the mapping: it has {}", unknown.join(", "), mapped.join(", "));
        }
        let meant = |name: &String| self.collections.is_empty() || self.collections.contains(name);
        Ok(mapped.into_iter().filter(meant).collect())
    }

    async fn ask(&self, setup: &Setup, ask: SnapshotCommand, verb: &str) -> anyhow::Result<Exit> {
        let collections = self.collections(setup)?;
        let session = open(setup).await?;
        // It may be asked before the daemon has run for the first time.
        migrate(&session).await?;
        snapshots::ask(&session, ask, &collections, &operator()).await?;
        print::line(format!("Asked to {verb}: {}.", collections.join(", ")));
        print::line("The daemon that leads the source does it within about a second; `snapshot status` shows it.");
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

/// One line for each collection.
async fn look(session: &Session, collections: &[String]) -> anyhow::Result<Vec<Line>> {
    let listed = snapshots::list(session).await?;
    let line = |name: &String| Line::of(name, listed.iter().find(|listed| listed.collection == *name));
    Ok(collections.iter().map(line).collect())
}

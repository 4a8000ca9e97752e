//! Keeps a file up to date with the state of all units, for applications that share a volume with this process.
//!
//! The file is replaced in one step, about once a second. It says until when a share holds: a reader that comes later, because this
//! process is gone, reads from MongoDB.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Reads, Unit, Why};
use crate::control::reads::Share;

/// The task that writes the file.
pub(crate) struct File {
    reads: Reads,
    path: PathBuf,
}

/// The content of the file.
#[derive(Debug, Serialize)]
struct Content {
    /// When it was written.
    at: Timestamp,
    /// The units by name.
    units: BTreeMap<String, UnitContent>,
}

#[derive(Debug, Serialize)]
struct UnitContent {
    /// Percent of the keys whose reads go to PostgreSQL.
    share: Share,
    /// Until when they do; then all reads go to MongoDB.
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<Timestamp>,
    /// Why no reads do, although an operator wishes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How often the unit has changed.
    epoch: i64,
}

impl File {
    /// Creates the task.
    pub(crate) fn new(reads: Reads, path: PathBuf) -> Self {
        Self { reads, path }
    }

    /// Writes the file whenever the state is read, until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let mut known = self.reads.subscribe();
        let mut writes = true;
        while let Some(Ok(())) = cancel.run_until_cancelled(known.changed()).await {
            let written = self.write().await;
            match (&written, writes) {
                (Err(error), true) => {
                    let path = self.path.display();
                    tracing::error!(%path, %error, "the file of reads cannot be written; its readers stay on MongoDB");
                }
                (Ok(()), false) => tracing::info!(path = %self.path.display(), "the file of reads is written again"),
                _ => {}
            }
            writes = written.is_ok();
        }
    }

    async fn write(&self) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(&content(&self.reads, Timestamp::now()))?;
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        tokio::fs::write(&fresh, text).await?;
        tokio::fs::rename(&fresh, &self.path).await
    }
}

fn content(reads: &Reads, at: Timestamp) -> Content {
    let units = match reads.units() {
        Ok(units) => units.iter().map(|unit| (unit.name.clone(), of(unit, at))).collect(),
        Err(reason) => {
            let unknown =
                || UnitContent { share: Share::NONE, valid_until: None, reason: Some(reason.clone()), epoch: 0 };
            reads.names().map(|name| (name.to_owned(), unknown())).collect()
        }
    };
    Content { at, units }
}

fn of(unit: &Unit, at: Timestamp) -> UnitContent {
    let until = || at.checked_add(SignedDuration::try_from(unit.judged_for).ok()?).ok();
    let (valid_until, reason) = match unit.why() {
        Why::Share => (until(), None),
        Why::NotCutOver | Why::KeyMissing => (None, None),
        Why::Tripped(reason) | Why::Unknown(reason) => (None, Some(reason)),
    };
    UnitContent { share: unit.share(), valid_until, reason, epoch: unit.epoch }
}

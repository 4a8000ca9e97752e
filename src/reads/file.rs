//! Keeps a file up to date with the state of all units, for applications that share a volume with this process.
//!
//! The file is replaced in one step, about once a second. It says until when a share holds: a reader that comes later, because this
//! process is gone, reads from MongoDB.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Reads, report::UnitReport};

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
    units: BTreeMap<String, UnitReport>,
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
        let units = self.reads.report().into_iter().map(|report| (report.unit.clone(), report)).collect();
        let text = serde_json::to_vec_pretty(&Content { at: Timestamp::now(), units })?;
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        tokio::fs::write(&fresh, text).await?;
        tokio::fs::rename(&fresh, &self.path).await
    }
}

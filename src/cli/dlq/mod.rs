//! `driftless dlq`: lists, retries, discards and exports dead letters. Contents are shown only on request.

mod contents;
mod discard;
mod export;
mod list;
mod retry;
mod show;
mod which;

use std::path::Path;

use clap::Subcommand;

use super::{Exit, setup::Setup};
use crate::postgres::Session;

/// List, retry, discard or export dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// List dead letters, or group them by reason.
    List(list::List),
    /// Show everything about one dead letter, with its remedy.
    Show(show::Show),
    /// Read the documents of dead letters again, in their present state, and apply them.
    ///
    /// Use it after you have fixed the mapping, the target or a referenced document. The daemon that leads the source reads each
    /// document and sends it through the log like any other change, so newer data is never overwritten. A letter closes when its
    /// document is applied; a document that is refused again gets a new letter.
    Retry(retry::Retry),
    /// Give dead letters up, and record who did so and why.
    ///
    /// The rows in the target stay as they are, so the reconciler still reports the documents as drift. A newer version of such
    /// a document is applied like any other.
    Discard(discard::Discard),
    /// Write dead letters to a file or to standard output.
    Export(export::Export),
}

impl Dlq {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        match self {
            Self::List(list) => list.execute(&setup).await,
            Self::Show(show) => show.execute(&setup).await,
            Self::Retry(retry) => retry.execute(&setup).await,
            Self::Discard(discard) => discard.execute(&setup).await,
            Self::Export(export) => export.execute(&setup).await,
        }
    }
}

async fn open(setup: &Setup) -> anyhow::Result<Session> {
    Ok(setup.session().await?)
}

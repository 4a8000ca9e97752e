//! `driftless dlq`: dead letters, from the first look to the decision. Contents are shown only when asked for.

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

/// Look at dead letters, try them again, or give them up.
#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// List dead letters, or group them by what went wrong.
    List(list::List),
    /// Show everything about one dead letter, and what to do about it.
    Show(show::Show),
    /// Read the documents of dead letters again, as they are now, and apply them.
    ///
    /// Do it after the mapping, the target or what a document refers to was repaired. The daemon that leads the source reads
    /// each document and sends it through the log like any other change, so nothing newer is overwritten. A letter closes
    /// itself when its document is applied; a document that is refused again gets a new letter.
    Retry(retry::Retry),
    /// Give dead letters up; who did it and why is written down.
    ///
    /// The documents stay as they are in the target, so the reconciler goes on naming them as drift. A newer version of such a
    /// document is applied like any other.
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

//! `driftless health`: asks a running daemon how it is, for images that have no other program to ask with.

use std::path::Path;

use clap::Args;

use super::{Exit, ask, print, setup::Setup};

/// Ask the daemon at `http.listen` whether it is ready, or only whether it lives.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Ask only whether the process answers, whatever its roles wait for.
    #[arg(long)]
    live: bool,
}

impl Health {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(config) = Setup::load_config(path) else { return Ok(Exit::Faults) };
        let address = ask::reachable(config.http.listen).to_string();
        let answer = ask::ask(&address, if self.live { "/livez" } else { "/readyz" }).await?;
        print::line(answer.text.trim_end());
        Ok(if answer.status == 200 { Exit::Success } else { Exit::Failure })
    }
}

//! `driftless mapping`: the mapping file beside the mapping of the running migration, and the change from one to the other.
//!
//! ```text
//!  recorded mapping ─┐
//!  mapping file ─────┼─▶ Compared ─▶ report ─▶ with --execute: recorded, with replays and snapshots, in one transaction
//!  catalog, log ─────┘
//! ```

mod apply;
mod compare;
mod report;
mod route;

use std::path::Path;

use clap::{Args, Subcommand};

use self::{compare::Compared, report::Report};
use super::{Exit, print, setup::Setup};

/// A command on the mapping of a running migration.
#[derive(Debug, Subcommand)]
pub(crate) enum Mapping {
    /// Show the difference between the mapping file and the mapping of the running migration, and what it means for the rows.
    ///
    /// The exit code is 2 if the mapping does not fit the target, or cannot be changed in place.
    Diff(Diff),
    /// Let the running migration go on with the mapping file, and have the rows written again that it changes.
    ///
    /// Everything is checked first, and all faults are reported at once. Without `--execute` the command prints what it would do. With it,
    /// the mapping is recorded, and in the same transaction the rows of the changed collections are ordered: by a replay of their topic,
    /// or by a snapshot where the log no longer holds all of it. Other collections go on, with their proof. A process takes the mapping up
    /// as soon as it has the file; until then its sink and its reconciler rest.
    Apply(apply::Apply),
}

/// Show the difference between the mapping file and the mapping of the running migration.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Mapping {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        setup.only_running("mapping")?;
        match self {
            Self::Diff(Diff { json }) => {
                let session = setup.session().await?;
                let compared = Compared::read(&setup, &session).await?;
                show(&Report::new(&compared, false), json)
            }
            Self::Apply(apply) => apply.execute(&setup).await,
        }
    }
}

fn show(report: &Report, json: bool) -> anyhow::Result<Exit> {
    if json {
        print::json(report)?;
    } else {
        report.print();
    }
    Ok(if report.has_faults() { Exit::Faults } else { Exit::Success })
}

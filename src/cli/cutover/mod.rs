//! `driftless cutover`: whether reads may be cut over, the evidence of it, and the cutover of reads itself.

mod back;
mod check;
mod evidence;
mod history;
mod reads;
mod status;
mod verify;

use std::path::Path;

use clap::Subcommand;

pub(super) use self::{check::read as read_facts, status::units};
use super::{Exit, setup::Setup};

/// Decide whether reads may be cut over, cut them over, and take them back.
#[derive(Debug, Subcommand)]
pub(crate) enum Cutover {
    /// Say `ready`, or everything that stands in the way, each with its next step.
    ///
    /// A unit is a set of collections that the configuration names, a collection where it names none, or `all` of them. The judgement is the one of the daemon, and rests on what it wrote to PostgreSQL;
    /// MongoDB and Kafka are not asked. The exit code is 0 if ready, 4 if both sides are proven unequal, and 5 if something else
    /// is not proven.
    Check(check::Check),
    /// Verify a file of evidence against itself: its digest, and that its chunks cover everything, in order, and add up.
    ///
    /// Nothing is asked but the file. The exit code is 0 if it agrees with itself, and 2 if it has faults.
    Verify(verify::Verify),
    /// Send a share of the reads of a unit to PostgreSQL.
    ///
    /// The gate is asked first: while anything stands in the way, the share stays as it is, and the exit code is that of `cutover
    /// check`. The same key always reads from the same side, and a growing share only adds keys. A share ends by itself when the
    /// proof breaks: the unit trips, and all its reads go to MongoDB until this command is run again.
    Reads(reads::Reads),
    /// Send all reads of a unit to MongoDB, at once.
    ///
    /// This needs nothing but PostgreSQL, and asks nobody whether the sides are equal.
    Back(back::Back),
    /// Show where the reads of each unit go now.
    Status(status::Status),
    /// Show the changes of the units: who, when, why, and what was proven then.
    History(history::History),
}

impl Cutover {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        match self {
            Self::Check(check) => with(path, async |setup| check.execute(setup).await).await,
            Self::Verify(verify) => verify.execute(),
            Self::Reads(reads) => with(path, async |setup| reads.execute(setup).await).await,
            Self::Back(back) => back.execute(path).await,
            Self::Status(status) => with(path, async |setup| status.execute(setup).await).await,
            Self::History(history) => with(path, async |setup| history.execute(setup).await).await,
        }
    }
}

/// Runs a command that needs configuration and mapping.
async fn with(path: &Path, command: impl AsyncFnOnce(&Setup) -> anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    match Setup::load(path) {
        Some(setup) => command(&setup).await,
        None => Ok(Exit::Faults),
    }
}

//! `driftless cutover`: whether reads may be cut over, and the evidence of it.

mod check;
mod evidence;
mod verify;

use std::path::Path;

use clap::Subcommand;

pub(super) use self::check::read as read_facts;
use super::{Exit, setup::Setup};

/// Decide whether reads may be cut over.
#[derive(Debug, Subcommand)]
pub(crate) enum Cutover {
    /// Say `ready`, or everything that stands in the way, each with its next step.
    ///
    /// A unit is a collection, or `all` of them. The judgement is the one of the daemon, and rests on what it wrote to PostgreSQL;
    /// MongoDB and Kafka are not asked. The exit code is 0 if ready, 4 if both sides are proven unequal, and 5 if something else
    /// is not proven.
    Check(check::Check),
    /// Verify a file of evidence against itself: its digest, and that its chunks cover everything, in order, and add up.
    ///
    /// Nothing is asked but the file. The exit code is 0 if it agrees with itself, and 2 if it has faults.
    Verify(verify::Verify),
}

impl Cutover {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        match self {
            Self::Check(check) => match Setup::load(path) {
                Some(setup) => check.execute(&setup).await,
                None => Ok(Exit::Faults),
            },
            Self::Verify(verify) => verify.execute(),
        }
    }
}

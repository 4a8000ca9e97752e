//! `driftless cutover back`: all reads of a unit go to MongoDB.

use std::path::Path;

use anyhow::bail;
use clap::Args;

use crate::{
    cli::{
        Exit, print,
        setup::{Setup, operator},
    },
    config::ALL,
    control::reads,
    postgres::{Postgres, Purpose},
};

/// Send all reads of a unit to MongoDB, at once.
#[derive(Debug, Args)]
pub(crate) struct Back {
    /// The unit; `all` takes back the reads of every unit.
    #[arg(long)]
    unit: String,
    /// Why; the journal keeps it.
    #[arg(long)]
    why: Option<String>,
    /// Who decides [default: user@machine].
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
}

impl Back {
    /// Needs no mapping, because one that is being edited must keep nobody from taking reads back.
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(config) = Setup::load_config(path) else { return Ok(Exit::Faults) };
        let session = Postgres::new(&config.sink, &config.log.prefix)?.open(Purpose::Control).await?;
        let known: Vec<String> = reads::units(&session).await?.into_iter().map(|row| row.unit).collect();
        let every = self.unit == ALL;
        if !(every || known.contains(&self.unit)) {
            bail!("find the unit {}: there are only {}", self.unit, known.join(", "));
        }
        let who = self.by.unwrap_or_else(operator);
        let unit = (!every).then_some(&*self.unit);
        let back = reads::take_back(&session, unit, &who, self.why.as_deref()).await?;
        for unit in &back {
            print::line(format!("All reads of {unit} go to MongoDB."));
        }
        if back.is_empty() {
            print::line(format!("All reads of {} went to MongoDB already.", self.unit));
        }
        Ok(Exit::Success)
    }
}

//! `driftless cutover reads`: a share of the reads of a unit goes to PostgreSQL.

use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::check::{self, find};
use crate::{
    cli::{
        Exit, print,
        setup::{Setup, operator},
    },
    control::reads::{self, Give, Share},
    postgres::Session,
    reads::accepted,
    reconcile::gate::{self, Gate, GatedUnit},
};

/// Send a share of the reads of a unit to PostgreSQL.
#[derive(Debug, Args)]
pub(crate) struct Reads {
    /// The unit.
    #[arg(long)]
    unit: String,
    /// Percentage of the keys, such as `5%`; `100%` moves all reads.
    #[arg(long)]
    share: Share,
    /// Why; the journal keeps it.
    #[arg(long)]
    why: Option<String>,
    /// Who decides [default: user@machine].
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// Give the share although the gate is not ready. What stands in the way now does not trip the unit for as long as it lasts.
    #[arg(long, requires = "why")]
    force: bool,
}

/// How long the command waits for a process that judges the unit: it does so about once a second.
const JUDGED_WITHIN: Duration = Duration::from_secs(5);
/// Interval between two looks at the judgement, a fraction of the time between two judgements.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

impl Reads {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        if self.share == Share::NONE {
            bail!("send no reads to PostgreSQL: that is `driftless cutover back --unit {}`", self.unit);
        }
        let session = setup.session().await?;
        let unit = find(GatedUnit::all(&setup.config, &setup.names()), &self.unit)?;
        // Read before the gate is asked, so that a trip or a command in between is noticed.
        let epoch = row(&session, &unit.name).await?.map_or(0, |row| row.epoch);
        let facts = check::read(setup, &session).await?;
        let gates = gate::judge(&facts, std::slice::from_ref(&unit));
        let blockers = gates.iter().flat_map(|gate| &gate.blockers).cloned().collect::<Vec<_>>();
        if !(blockers.is_empty() || self.force) {
            return Ok(refused(&gates));
        }
        let give = Give {
            unit: &unit.name,
            collections: &unit.collections,
            share: self.share,
            accepted: &accepted(&blockers),
            epoch,
            who: &self.by.unwrap_or_else(operator),
            why: self.why.as_deref(),
        };
        if !reads::give(&session, &give).await? {
            bail!(
                "give {} to {}: it was changed meanwhile, so look at `driftless cutover status` and run the command again",
                self.share,
                unit.name
            );
        }
        gates.iter().for_each(check::blockers);
        report(&session, &unit.name, self.share).await
    }
}

fn refused(gates: &[Gate]) -> Exit {
    gates.iter().for_each(check::blockers);
    print::line("Not ready: the reads stay where they are.");
    check::exit(gates)
}

async fn row(session: &Session, unit: &str) -> anyhow::Result<Option<reads::UnitRow>> {
    Ok(reads::units(session).await?.into_iter().find(|row| row.unit == unit))
}

/// Waits a while until the share holds, and says what is so.
async fn report(session: &Session, unit: &str, share: Share) -> anyhow::Result<Exit> {
    let judged = async {
        loop {
            let row = row(session, unit).await?.unwrap_or_default();
            if row.tripped.is_some() || !row.judged_for.is_zero() {
                return Ok::<_, anyhow::Error>(row);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let (text, exit) = match tokio::time::timeout(JUDGED_WITHIN, judged).await {
        Ok(row) => match row?.tripped {
            Some(reason) => (format!("{unit} has tripped: {reason}"), Exit::Unproven),
            None => (format!("{share} of the reads of {unit} go to PostgreSQL."), Exit::Success),
        },
        Err(_elapsed) => {
            let text = format!(
                "{share} of the reads of {unit} go to PostgreSQL once a process with the sink or the reconciler judges it; \
                 until then all go to MongoDB."
            );
            (text, Exit::Unproven)
        }
    };
    print::line(text);
    Ok(exit)
}

//! `driftless cutover check`.

use anyhow::{Context, bail};
use clap::Args;

use crate::{
    cli::{Exit, print, setup::Setup},
    mapping::Plan,
    pipeline::facts,
    postgres::read_catalog,
    reconcile::{
        blockers::{Bounds, span},
        facts::Facts,
        gate::{self, Gate},
    },
};

/// Say `ready`, or everything that stands in the way, each with its next step.
#[derive(Debug, Args)]
pub struct Check {
    /// Judge only this unit: a collection, or `all` [default: every unit].
    #[arg(long)]
    unit: Option<String>,
    /// Print JSON, as `/api/v1/cutover` answers.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let facts = read(setup).await?;
        let mut gates = gate::judge(&facts, &Bounds::of_gate(&setup.config));
        if let Some(unit) = &self.unit {
            let units: Vec<String> = gates.iter().map(|gate| gate.unit.clone()).collect();
            gates.retain(|gate| gate.unit == *unit);
            if gates.is_empty() {
                bail!("find the unit {unit}: there are only {}", units.join(", "));
            }
        }
        if self.json {
            print::json(&gates)?;
        } else {
            table(&gates);
        }
        Ok(exit(&gates))
    }
}

/// Reads all facts from PostgreSQL, as the daemon does.
async fn read(setup: &Setup) -> anyhow::Result<Facts> {
    let session = setup.session().await?;
    if !session.has_table("find the state of the migration", "driftless.process").await? {
        bail!("read the state of the migration: there is none yet in this database, so run the daemon first");
    }
    let catalog = read_catalog(&session).await?;
    let plan = Plan::compile(&setup.mapping, &catalog).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(|fault| fault.what.clone()).collect();
        anyhow::anyhow!("{}", faults.join("; ")).context("fit the mapping to the target (`driftless check` says more)")
    })?;
    let names: Vec<String> = setup.collections().into_keys().collect();
    let facts = facts::read(&setup.config, &names, &facts::plans(&plan), &session).await;
    facts.context("read the facts about the migration")
}

fn exit(gates: &[Gate]) -> Exit {
    if gates.iter().all(|gate| gate.ready) {
        Exit::Success
    } else if gates.iter().any(Gate::drifts) {
        Exit::Drift
    } else {
        Exit::Unproven
    }
}

/// Prints a line for each unit, then the blockers of the largest one, which are those of all.
fn table(gates: &[Gate]) {
    let mut table = print::table(["unit", "ready", "blockers", "verified as of", "age"]);
    for gate in gates {
        let verified = gate.verified.as_ref();
        table.add_row([
            gate.unit.clone(),
            if gate.ready { "yes" } else { "no" }.to_owned(),
            gate.blockers.len().to_string(),
            verified.map_or("never".to_owned(), |verified| print::time(verified.at)),
            verified.map_or(String::new(), |verified| span(verified.age)),
        ]);
    }
    print::line(table);
    let Some(largest) = gates.last() else { return };
    for blocker in &largest.blockers {
        let of = blocker.collection.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        print::line(format!("{of}{}\n    next: {}", blocker.what, blocker.next));
    }
    if largest.ready {
        print::line("Ready: everything is proven equal, and nothing stands in the way.");
    }
}

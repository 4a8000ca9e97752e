//! `driftless cutover check`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use super::evidence;
use crate::{
    cli::{Exit, print, setup::Setup},
    mapping::Plan,
    pipeline::facts,
    postgres::{Session, read_catalog},
    reconcile::{
        blockers::span,
        facts::Facts,
        gate::{self, Gate, GatedUnit},
    },
};

/// Say `ready`, or everything that stands in the way, each with its next step.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Judge only this unit; `all` is the unit of all collections [default: every unit].
    #[arg(long)]
    unit: Option<String>,
    /// Print JSON, as `/api/v1/cutover` answers.
    #[arg(long)]
    json: bool,
    /// Write what the judgement rests on to this file; of all units, if none is named.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    evidence: Option<PathBuf>,
}

impl Check {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        let session = setup.session().await?;
        // One snapshot of the target, so that what is written belongs together.
        session.batch(READ, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
        let facts = read(setup, &session).await?;
        let mut units = GatedUnit::all(&setup.config, &setup.names());
        if let Some(unit) = &self.unit {
            units = vec![find(units, unit)?];
        }
        let gates = gate::judge(&facts, &units);
        if self.json {
            print::json(&gates)?;
        } else {
            table(&gates);
        }
        if let (Some(path), Some(unit), Some(gate)) = (&self.evidence, units.last(), gates.last()) {
            evidence::write(path, setup, &session, &facts, (gate, &unit.bounds)).await?;
        }
        Ok(exit(&gates))
    }
}

const READ: &str = "read the state of the migration";

/// Returns the unit of this name.
pub(super) fn find(units: Vec<GatedUnit>, name: &str) -> anyhow::Result<GatedUnit> {
    let names: Vec<String> = units.iter().map(|unit| unit.name.clone()).collect();
    let found = units.into_iter().find(|unit| unit.name == name);
    found.with_context(|| format!("find the unit {name}: there are only {}", names.join(", ")))
}

/// Reads all facts from PostgreSQL, as the daemon does.
pub(crate) async fn read(setup: &Setup, session: &Session) -> anyhow::Result<Facts> {
    if !session.has_table(READ, "driftless.process").await? {
        bail!("{READ}: there is none yet in this database, so run the daemon first");
    }
    let catalog = read_catalog(session).await?;
    let plan = Plan::compile(&setup.mapping, &catalog).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(|fault| fault.what.clone()).collect();
        anyhow::anyhow!("{}", faults.join("; ")).context("fit the mapping to the target (`driftless check` says more)")
    })?;
    let facts = facts::read(&setup.config, &setup.names(), &facts::plans(&plan), session).await;
    facts.context("read the facts about the migration")
}

/// The exit code of these judgements.
pub(super) fn exit(gates: &[Gate]) -> Exit {
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
    blockers(largest);
    if largest.ready {
        print::line("Ready: everything is proven equal, and nothing stands in the way.");
    }
}

/// Prints everything that stands in the way of a unit, each with its next step.
pub(super) fn blockers(gate: &Gate) {
    for blocker in &gate.blockers {
        print::line(format!("{}\n    next: {}", blocker.reason(), blocker.next));
    }
}

//! `driftless reconcile`: compares both sides now, or tells what is proven.

mod counts;
mod progress;
mod report;
mod status;

use std::path::Path;

use clap::{Args, Subcommand};

use self::{
    progress::Bar,
    report::{Compared, Outcome},
};
use super::{Exit, setup::Setup};
use crate::{
    control,
    pipeline::{self, Comparison, facts},
    reconcile::{Bounds, Patience, Walked},
    retry,
};

/// Compare both sides now, column by column, while writes go on.
///
/// The exit code is 0 if everything was compared and is equal, 4 if something is proven unequal or a dead letter is open, and 5 if
/// equality is not proven. What `--full` finds is recorded as the findings of the daemon are, and what it finds equal ends them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Reconcile {
    #[command(subcommand)]
    command: Option<Command>,
    /// Compare only this collection; may be repeated.
    #[arg(long = "collection")]
    collections: Vec<String>,
    /// Compare every document and every row.
    #[arg(long, conflicts_with_all = ["sample", "counts"])]
    full: bool,
    /// Compare this many random documents of each collection [default: reconcile.sample].
    #[arg(long, conflicts_with = "counts")]
    sample: Option<usize>,
    /// Only count documents, ledger entries and rows. Counts are no proof: equal numbers may hide any difference, and numbers of a
    /// live system are of different times.
    #[arg(long)]
    counts: bool,
    /// List at most this many findings of each collection; the counts include all of them.
    #[arg(long, value_name = "NUMBER", default_value_t = Bounds::FINDINGS)]
    findings: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A command that compares nothing.
#[derive(Debug, Subcommand)]
enum Command {
    /// Tell what the daemon has proven of each collection, and what stands against it.
    Status(status::Status),
}

impl Reconcile {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load(path) else { return Ok(Exit::Faults) };
        if let Some(Command::Status(status)) = self.command {
            return status.execute(&setup).await;
        }
        let comparison = Comparison::connect(&setup.config, &setup.mapping).await?.with_findings(self.findings);
        let known = comparison.collections();
        if let Some(unknown) = self.collections.iter().find(|name| !known.contains(name)) {
            anyhow::bail!("find collection {unknown} in the mapping: it has only {}", known.join(", "));
        }
        let wanted = |(_, name): &(usize, String)| self.collections.is_empty() || self.collections.contains(name);
        let wanted: Vec<(usize, String)> = known.iter().cloned().enumerate().filter(wanted).collect();
        if self.counts {
            return counts::print(&comparison, &wanted, self.json).await;
        }
        let mut compared = Vec::with_capacity(wanted.len());
        let mut patience = Patience::new(setup.config.reconcile.wait);
        for (place, collection) in wanted {
            let outcome = if self.full {
                let bar = Bar::new(&collection);
                full(&comparison, place, &mut patience, &bar).await
            } else {
                let size = self.sample.unwrap_or(setup.config.reconcile.sample);
                sample(&comparison, place, size).await
            };
            compared.push(Compared { collection, outcome, dead_letters: 0 });
        }
        let mut letters = control::status::dead_letters(&comparison.session().await?).await?;
        facts::assign_letters(&setup.config, &known, &mut letters);
        for compared in &mut compared {
            let own = letters.iter().filter(|letters| letters.collection == compared.collection);
            compared.dead_letters = own.filter(|letters| letters.state == facts::OPEN).map(facts::count).sum();
        }
        report::print(&compared, self.json)?;
        Ok(report::exit(&compared))
    }
}

async fn full(comparison: &Comparison, place: usize, patience: &mut Patience, bar: &Bar) -> Outcome {
    match comparison.full(place, patience, &mut |progress| bar.show(progress)).await {
        Ok(Walked::Whole(report)) => Outcome::Report(report),
        Ok(Walked::Waits(waits)) => Outcome::Unproven(waits.as_str().to_owned()),
        Err(error) => failed(&error),
    }
}

async fn sample(comparison: &Comparison, place: usize, size: usize) -> Outcome {
    match comparison.sample(place, size).await {
        Ok(Some(report)) => Outcome::Report(Box::new(report)),
        Ok(None) => Outcome::Unproven(report::SNAPSHOT_UNFINISHED.to_owned()),
        Err(error) => failed(&error),
    }
}

fn failed(error: &pipeline::Error) -> Outcome {
    Outcome::Failed(retry::chain(error))
}

//! `driftless run --dry-run`: converts every document, writes nothing, and reports what would become of each collection.

use clap::Args;
use serde::Serialize;

use super::{
    Exit,
    check::{Report, servers},
    finding::Finding,
    print,
    setup::Setup,
    survey::{self, Bounds, Extent, MEMORY, Outcome, Surveyed},
};
use crate::analyze::{Conversion, Lost, Orphans, Refused};

/// Options of a dry run. They are those of `check --all`, which need no `--dry-run` there.
#[derive(Debug, Args)]
pub(super) struct DryRun {
    /// With `--dry-run`, convert only this collection; may be repeated.
    #[arg(long = "collection", value_name = "NAME", requires = "dry_run")]
    collections: Vec<String>,
    /// With `--dry-run`, read at most this many documents per second; 0 means no limit [default: `source.snapshot_rate`].
    #[arg(long, value_name = "DOCUMENTS", requires = "dry_run")]
    rate: Option<u64>,
    /// With `--dry-run`, the most memory for the values of unique constraints and foreign keys; beyond it, some duplicates are not
    /// found.
    #[arg(long, value_name = "BYTES", default_value = MEMORY, requires = "dry_run")]
    memory: bytesize::ByteSize,
    /// With `--dry-run`, print JSON.
    #[arg(long, requires = "dry_run")]
    json: bool,
}

/// The result of a dry run.
#[derive(Serialize)]
struct Rehearsed {
    /// Faults of the servers, and collections that could not be read.
    faults: Vec<Finding>,
    notes: Vec<String>,
    /// Whether foreign keys are enforced while rows are written, so that orphans would become dead letters.
    foreign_keys_enforced: bool,
    documents: u64,
    dead_letters: u64,
    conversions: Vec<Conversion>,
}

impl DryRun {
    pub(super) async fn execute(self, setup: &Setup) -> anyhow::Result<Exit> {
        for name in &self.collections {
            let known = setup.names();
            anyhow::ensure!(known.contains(name), "find collection {name} in the mapping: it has {}", known.join(", "));
        }
        let (mut report, mut sink) = (Report::default(), Report::default());
        let (source, target) = tokio::join!(servers::source(setup, &mut report), servers::sink(setup, &mut sink));
        let mut faults = [report.faults, sink.faults].concat();
        let (Some((source, _)), Some(target)) = (source, target) else {
            print::faults(&faults);
            return Ok(Exit::Faults);
        };
        let session = target.reading(setup).await?;
        let extent = Extent::Whole(self.collections);
        let bounds = Bounds { rate: self.rate, memory: self.memory };
        let target_side = (&session, &target.plan, &target.catalog);
        let Surveyed { survey, collections } = survey::survey(setup, &source, target_side, (&extent, bounds)).await;
        let (mut conversions, mut notes) = (Vec::new(), Vec::new());
        for (conversion, outcome) in survey.conversions().into_iter().zip(&collections) {
            match outcome {
                Outcome::LeftOut => continue,
                Outcome::Seen { cut } => notes.extend(cut.iter().map(|table| survey::cut(table))),
                Outcome::Failed(failed) => {
                    let (server, what, hint) = failed.described();
                    let hint = hint.unwrap_or("what was converted until then is reported").to_owned();
                    faults.push(Finding {
                        place: server.to_owned(),
                        what: format!("{}: {what}", conversion.collection),
                        hint,
                    });
                }
            }
            conversions.push(conversion);
        }
        notes.extend(survey.cut_note());
        let rehearsed = Rehearsed {
            faults,
            notes,
            foreign_keys_enforced: target.enforced,
            documents: conversions.iter().map(|conversion| conversion.documents).sum(),
            dead_letters: conversions.iter().map(|conversion| conversion.dead_letters).sum(),
            conversions,
        };
        if self.json {
            print::json(&rehearsed)?;
        } else {
            rehearsed.print();
        }
        Ok(rehearsed.exit())
    }
}

impl Rehearsed {
    fn exit(&self) -> Exit {
        let orphans = self.conversions.iter().any(|conversion| !conversion.orphans.is_empty());
        let refused = self.dead_letters > 0 || (self.foreign_keys_enforced && orphans);
        if refused || !self.faults.is_empty() { Exit::Faults } else { Exit::Success }
    }

    fn print(&self) {
        let mut counts = print::table(["collection", "documents", "left out", "dead letters", "rows"]);
        for conversion in &self.conversions {
            let Conversion { collection, documents, without_rows, dead_letters, tables, .. } = conversion;
            let rows: Vec<_> = tables.iter().map(|table| format!("{} {}", table.table, table.rows)).collect();
            let mut cells = vec![collection.clone()];
            cells.extend([documents, without_rows, dead_letters].map(ToString::to_string));
            cells.push(rows.join("\n"));
            counts.add_row(cells);
        }
        print::line(counts);
        self.print_refused();
        self.print_losses();
        self.print_orphans();
        self.notes.iter().for_each(print::line);
        for Finding { place, what, hint } in &self.faults {
            print::line(format!("{place}: {what}\n    hint: {hint}"));
        }
        print::line(format!(
            "{} of {} would become dead letters. Nothing was written.",
            self.dead_letters,
            print::count(usize::try_from(self.documents).unwrap_or(usize::MAX), "document")
        ));
    }

    fn print_refused(&self) {
        let mut table = print::table(["dead letters", "reason", "column", "path", "documents", "for example"]);
        for conversion in &self.conversions {
            for Refused { reason, table: name, columns, path, constraint, documents, example } in &conversion.refused {
                let column = match (name, columns.as_slice()) {
                    (Some(name), []) => name.clone(),
                    (Some(name), columns) => format!("{name}: {}", columns.join(", ")),
                    (None, columns) => columns.join(", "),
                };
                let reason = match constraint {
                    Some(constraint) => format!("{reason} by {constraint}"),
                    None => reason.to_string(),
                };
                table.add_row([
                    conversion.collection.clone(),
                    reason,
                    column,
                    path.clone().unwrap_or_default(),
                    documents.to_string(),
                    example.clone().unwrap_or_default(),
                ]);
            }
        }
        if !table.is_empty() {
            print::line(table);
        }
    }

    fn print_losses(&self) {
        let mut table = print::table(["given up or changed", "column", "kind", "times"]);
        for conversion in &self.conversions {
            for Lost { loss, table: name, column, times } in &conversion.losses {
                let place = column.as_ref().map_or_else(|| name.clone(), |column| format!("{name}: {column}"));
                table.add_row([conversion.collection.clone(), place, loss.to_string(), times.to_string()]);
            }
        }
        if !table.is_empty() {
            print::line(table);
        }
    }

    fn print_orphans(&self) {
        for Orphans { constraint, table, columns, parent, rows } in self.conversions.iter().flat_map(|one| &one.orphans)
        {
            let columns = columns.join(", ");
            let then = if self.foreign_keys_enforced {
                "they would become dead letters (FK_MISSING)"
            } else {
                "they will break it quietly"
            };
            let rows = print::count(usize::try_from(*rows).unwrap_or(usize::MAX), "row");
            print::line(format!(
                "{rows} of {table} would refer by ({columns}) to a row of {parent} that no document becomes ({constraint}): {then}"
            ));
        }
    }
}

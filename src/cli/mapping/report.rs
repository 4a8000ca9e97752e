//! The report of a changed mapping: what is other, what it means for the rows, and what stands against it.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    compare::{Changed, Compared},
    route::Route,
};
use crate::{
    cli::{finding::Finding, print},
    mapping::{Effect, Written},
};

/// The effect of a mapping, applied or only compared.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    executed: bool,
    /// Who recorded the mapping that it is compared with, and when.
    recorded_by: String,
    recorded_at: Timestamp,
    /// Whether the file has the content of the recorded mapping.
    is_recorded: bool,
    collections: Vec<Line>,
    /// Statements that add the tables and columns that the target lacks.
    statements: Vec<String>,
    /// Tables and columns that the target lacks and whose types nobody knows.
    unknown: Vec<String>,
    faults: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Line {
    collection: String,
    /// The settings of the file that are other.
    settings: Vec<String>,
    /// Tables and columns that are written from then on.
    written: Vec<String>,
    /// Tables and columns that are not written any more.
    left: Vec<String>,
    /// `new`, `gone`, `same rows`, `rewritten`, `not in place` or `unfit`.
    effect: &'static str,
    /// `replay` or `snapshot`.
    route: Option<&'static str>,
    /// Why a replay is not enough.
    because: Option<String>,
    /// Its documents that have rows.
    documents: i64,
    /// Records of the log that are applied again, at most.
    records: Option<u64>,
}

impl Report {
    pub(super) fn new(compared: &Compared, executed: bool) -> Self {
        Self {
            executed,
            recorded_by: compared.recorded.who.clone(),
            recorded_at: compared.recorded.at,
            is_recorded: compared.is_recorded,
            collections: compared.collections.iter().map(Line::new).collect(),
            statements: compared.statements.clone(),
            unknown: compared.unknown.clone(),
            faults: compared.faults.clone(),
        }
    }

    pub(super) fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    pub(super) fn print(&self) {
        print::line(format!(
            "The mapping of the migration was recorded by {} at {}.",
            self.recorded_by,
            print::time(self.recorded_at)
        ));
        self.collections.iter().for_each(Line::print);
        if !self.statements.is_empty() || !self.unknown.is_empty() {
            print::line("The target lacks tables or columns; `--execute --schema` creates them with these statements:");
            self.statements.iter().for_each(|statement| print::line(format!("  {statement};")));
            self.unknown.iter().for_each(|unknown| print::line(format!("  -- {unknown}")));
        }
        if self.has_faults() {
            print::faults(&self.faults);
        }
        print::line(self.end());
    }

    fn end(&self) -> &'static str {
        match (self.is_recorded, self.executed, self.has_faults()) {
            (_, false, true) => "Nothing was recorded.",
            (true, ..) if self.collections.is_empty() => {
                "The file has the content of that mapping: there is nothing to apply."
            }
            (true, ..) => "No row depends on this difference: there is nothing to apply, and a restart takes it up.",
            (false, false, _) => "Nothing was recorded. Add `--execute --why TEXT` to `driftless mapping apply`.",
            (false, true, _) => {
                "Recorded. A process whose file has this content takes it up within about a second; the sink and the reconciler of any \
                 other rest until it has. `driftless status` shows when both sides are in sync again."
            }
        }
    }
}

impl Line {
    fn new(changed: &Changed) -> Self {
        let remapped = &changed.remapped;
        let written = |all: &[Written]| all.iter().flat_map(names).collect();
        let (route, because, records) = match &changed.route {
            None => (None, None, None),
            Some(Route::Replay { records, .. }) => (Some("replay"), None, Some(*records)),
            Some(Route::Snapshot(because)) => (Some("snapshot"), Some(because.clone()), None),
        };
        let effect = match remapped.effect {
            Effect::New => "new",
            Effect::Gone => "gone",
            Effect::SameRows => "same rows",
            Effect::Rewritten => "rewritten",
            Effect::OtherRows(_) => "not in place",
            Effect::Unfit => "unfit",
        };
        Self {
            collection: remapped.collection.clone(),
            settings: remapped.settings.iter().map(ToString::to_string).collect(),
            written: written(&remapped.gained),
            left: written(&remapped.left),
            effect,
            route,
            because,
            documents: changed.documents,
            records,
        }
    }

    fn print(&self) {
        print::line(format!("{}:", self.collection));
        self.settings.iter().for_each(|setting| print::line(format!("  {setting}")));
        if self.settings.is_empty() {
            print::line("  its part of the file is the same; its rows depend on a collection that is other");
        }
        if self.effect != "new" && !self.written.is_empty() {
            print::line(format!("  written from then on: {}", self.written.join(", ")));
        }
        if !self.left.is_empty() {
            let left = self.left.join(", ");
            print::line(format!("  not written any more: {left}; what is there stays, and is not compared"));
        }
        print::line(format!("  → {}", self.meaning()));
    }

    fn meaning(&self) -> String {
        let documents = print::count(usize::try_from(self.documents).unwrap_or_default(), "document");
        match (self.effect, &self.because) {
            ("new", _) => "a snapshot reads it, by itself".to_owned(),
            ("gone", _) => format!("nothing is done: the rows of {documents} stay as they are"),
            ("same rows", _) => "no row has to be written again; its proof begins anew".to_owned(),
            ("rewritten", Some(because)) => {
                format!("the rows of {documents} are written again by a snapshot, because {because}")
            }
            ("rewritten", None) => {
                let records =
                    print::count(usize::try_from(self.records.unwrap_or_default()).unwrap_or(usize::MAX), "record");
                format!(
                    "the rows of {documents} are written again by a replay of up to {records}: the log holds all of them"
                )
            }
            ("not in place", _) => format!("not possible in place: {documents} have rows"),
            _ => "it does not fit the target yet".to_owned(),
        }
    }
}

/// The names of columns, or of a table where all of it is meant.
fn names(written: &Written) -> Vec<String> {
    match written.whole {
        true => vec![written.table.label()],
        false => written.columns.iter().map(|column| written.table.column_label(column)).collect(),
    }
}

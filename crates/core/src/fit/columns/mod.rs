//! The columns of one table: which path fills each. The surest evidence goes first, and what it takes is no candidate any more.
//!
//! `steps` fills columns by names, keys and elements, `others` by their role, by the rows around and by turns, `finish` says what is
//! left open.

mod finish;
mod others;
mod steps;

use super::{
    Fitter,
    ids::Fit,
    model::Line,
    words::{Likeness, Words, likeness},
};
use crate::{
    draft::text,
    mapping::target::{Column, ColumnType, Filled, Table, TableName},
    profile::Field,
};

/// A path that may fill a column.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    /// The names from the document or element; none for the element itself.
    pub(super) names: Vec<&'a str>,
    pub(super) field: &'a Field,
    /// The fields of the same object.
    around: Vec<&'a Field>,
    pub(super) used: bool,
}

/// The source of a column.
#[derive(Clone, Debug)]
enum Slot {
    Open,
    /// A rule fills it.
    Ruled,
    /// PostgreSQL fills it.
    Foreign,
    Line {
        line: Line,
        paths: Vec<usize>,
    },
}

/// A table whose columns are being filled.
#[derive(Clone, Debug)]
pub(super) struct Bench<'a> {
    pub(super) table: &'a Table,
    /// The words by which its rows call themselves.
    pub(super) own: Words,
    pub(super) candidates: Vec<Candidate<'a>>,
    /// Documents or elements that were read.
    total: u64,
    slots: Vec<Slot>,
    /// Tables of embedded rows that columns refer to.
    rows: Vec<TableName>,
    /// Paths that say what kind of document or reference it is, and so are read although they fill no column.
    kinds: Vec<String>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(table: &'a Table, own: Words, fields: &'a [Field], whole: Option<&'a Field>, total: u64) -> Self {
        let mut candidates = Vec::new();
        collect(fields, &mut Vec::new(), &mut candidates);
        candidates.extend(whole.map(|field| Candidate { names: Vec::new(), field, around: Vec::new(), used: false }));
        let slot = |column: &Column| if column.filled == Filled::ByUs { Slot::Open } else { Slot::Foreign };
        let slots = table.columns.iter().map(slot).collect();
        Self { table, own, candidates, total, slots, rows: Vec::new(), kinds: Vec::new() }
    }

    /// Notes a path that says what kind of document it is.
    pub(super) fn tells_kind(&mut self, path: String) {
        self.kinds.push(path);
    }

    /// Leaves a column to a rule of the mapping.
    pub(super) fn rule(&mut self, column: &str) {
        if let Some(at) = self.table.columns.iter().position(|known| known.name == column) {
            self.slots[at] = Slot::Ruled;
        }
    }

    /// The columns that have no source yet.
    pub(super) fn open(&self) -> Vec<&'a Column> {
        let columns = self.table.columns.iter().zip(&self.slots);
        columns.filter(|(_, slot)| matches!(slot, Slot::Open)).map(|(column, _)| column).collect()
    }

    /// Whether a column has a source.
    pub(super) fn is_filled(&self, column: &str) -> bool {
        let at = self.table.columns.iter().position(|known| known.name == column);
        at.is_some_and(|at| matches!(self.slots[at], Slot::Ruled | Slot::Line { .. }))
    }

    /// The source of a column, if a path fills it.
    fn line(&self, column: &str) -> Option<&Line> {
        let at = self.table.columns.iter().position(|known| known.name == column)?;
        match &self.slots[at] {
            Slot::Line { line, .. } => Some(line),
            _ => None,
        }
    }

    fn likeness(&self, column: &Column, candidate: &Candidate<'_>) -> Likeness {
        match likeness(&column.name, &candidate.names, &self.own) {
            Likeness::Instant if !is_instant_type(&column.kind) => Likeness::None,
            likeness => likeness,
        }
    }

    fn fit(&self, fitter: &Fitter<'_>, column: &Column, candidate: &Candidate<'_>) -> Option<Fit> {
        fitter.fit(self.table, column, candidate.field, &candidate.around)
    }

    /// Whether some path is surely that of the column by its name.
    pub(super) fn has(&self, fitter: &Fitter<'_>, column: &Column, least: Likeness) -> bool {
        self.candidates.iter().any(|candidate| {
            let alike = self.likeness(column, candidate);
            alike >= least
                && self.fit(fitter, column, candidate).is_some_and(|fit| fit.needs.is_none_or(|needs| needs <= alike))
        })
    }

    /// Sets a column to the same text in every row.
    pub(super) fn constant(&mut self, column: &str, value: &str, why: &str) {
        if let Some(at) = self.table.columns.iter().position(|known| known.name == column) {
            let source = format!("{{ constant = {} }}", text(value));
            let line = Line { column: column.to_owned(), source, remarks: vec![why.to_owned()] };
            self.slots[at] = Slot::Line { line, paths: Vec::new() };
        }
    }
}

fn is_instant_type(kind: &ColumnType) -> bool {
    matches!(kind.base(), ColumnType::Date | ColumnType::Timestamp { .. } | ColumnType::Timestamptz { .. })
}

/// How many values a path has.
pub(super) fn values(field: &Field) -> u64 {
    field.types.values().sum::<u64>() - field.count(&["null", "undefined"])
}

fn collect<'a>(fields: &'a [Field], names: &mut Vec<&'a str>, candidates: &mut Vec<Candidate<'a>>) {
    let is_document = names.is_empty();
    for field in fields.iter().filter(|field| !(field.name.is_empty() || is_document && field.name == "_id")) {
        names.push(&field.name);
        let around = fields.iter().filter(|other| names.len() == 1 && other.name != field.name).collect();
        candidates.push(Candidate { names: names.clone(), field, around, used: false });
        if !field.map {
            collect(&field.fields, names, candidates);
        }
        names.pop();
    }
}

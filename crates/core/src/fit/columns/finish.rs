//! A table as it is written, and the reason for every column that is not.

use std::cmp::Reverse;

use super::{Bench, Candidate, Slot, values};
use crate::{
    fit::{
        Fitter,
        model::Level,
        words::{Likeness, shares_a_word},
    },
    mapping::{
        Path,
        target::{Column, ColumnType},
    },
    profile::Field,
};

/// Most candidates that a comment lists.
const LISTED: usize = 4;

impl<'a> Bench<'a> {
    /// The table as it is written; the tables of embedded rows that it refers to are entered.
    pub(in crate::fit) fn finish(self, fitter: &mut Fitter<'a>) -> Level {
        let mut level = Level {
            table: self.table.name.clone(),
            key: Vec::new(),
            shared: false,
            ignore: Vec::new(),
            lines: Vec::new(),
            ruled: 0,
            open: Vec::new(),
            children: Vec::new(),
        };
        for (at, column) in self.table.columns.iter().enumerate() {
            match &self.slots[at] {
                Slot::Foreign => {}
                Slot::Ruled => level.ruled += 1,
                Slot::Line { line, paths } => {
                    let mut line = line.clone();
                    line.remarks.extend(self.missing(column, paths));
                    level.lines.push(line);
                }
                Slot::Open => {
                    let (comment, ignored) = self.left_open(fitter, column);
                    level.open.push(comment);
                    level.ignore.extend(ignored.then(|| column.name.clone()));
                }
            }
        }
        fitter.by_rule.extend(self.rows);
        level
    }

    /// Values that a column refuses because there are none.
    fn missing(&self, column: &Column, paths: &[usize]) -> Option<String> {
        if !column.not_null || paths.is_empty() {
            return None;
        }
        let have: u64 = paths.iter().map(|place| values(self.candidates[*place].field)).sum();
        let lack = self.total.saturating_sub(have);
        (lack > 0).then(|| format!("NOT NULL, and {lack} of {} have no value: they need a default", self.total))
    }

    /// Why a column has no source, and whether it is left to the target.
    fn left_open(&self, fitter: &Fitter<'_>, column: &Column) -> (String, bool) {
        let is_namesake = |candidate: &&Candidate<'_>| candidate.names == [column.name.as_str()];
        let namesake = self.candidates.iter().find(is_namesake);
        let mut near: Vec<Near> =
            self.candidates.iter().filter_map(|candidate| self.near(fitter, column, candidate)).collect();
        near.sort();
        let possible: Vec<&str> =
            near.iter().filter(|near| !near.is_impossible).map(|near| near.path.as_str()).collect();
        let why = match (namesake, &possible[..], near.first()) {
            (Some(namesake), ..) if self.fit(fitter, column, namesake).is_none() => {
                format!("the field of this name has values of other types: {}", namesake.field.kinds().join(", "))
            }
            (_, [], Some(near)) => format!("{} is taken, or has values of other types", near.path),
            (_, [], None) => "no field fits".to_owned(),
            (_, [one], _) => format!("{one} would fit, but its name does not say so"),
            (_, several, _) if several.len() > LISTED => {
                let (listed, more) = several.split_at(LISTED);
                format!("several would fit: {}; and {} more", listed.join(", "), more.len())
            }
            (_, several, _) => format!("several would fit: {}", several.join(", ")),
        };
        let unsupported = matches!(column.kind.base(), ColumnType::Unsupported(_));
        let must = column.not_null && !column.has_default;
        let ignored = !must && (column.has_default || namesake.is_some() || unsupported);
        let then = match (must, ignored) {
            (true, _) => "; NOT NULL, so `check` refuses every document until it has a source",
            (_, true) => "; ignored",
            _ => "",
        };
        (format!("{}: {}: {why}{then}", column.name, column.sql_type), ignored)
    }

    /// A path that a comment may name, because of its name or of its values.
    fn near(&self, fitter: &Fitter<'_>, column: &Column, candidate: &Candidate<'_>) -> Option<Near> {
        let alike = self.likeness(column, candidate);
        let is_possible = !candidate.used && self.fit(fitter, column, candidate).is_some();
        let path = Path::fields(&candidate.names).to_string();
        let is_telling = is_telling(&column.kind, candidate.field) && !self.kinds.contains(&path);
        (alike >= Likeness::Part || (is_possible && is_telling)).then(|| Near {
            is_impossible: !is_possible,
            alike: Reverse(alike),
            is_strange: !shares_a_word(&column.name, &candidate.names, &self.own),
            depth: candidate.names.len(),
            path,
        })
    }
}

/// A path that a comment may name; the likeliest is the least.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Near {
    is_impossible: bool,
    alike: Reverse<Likeness>,
    /// Whether its name shares not even a word with that of the column.
    is_strange: bool,
    depth: usize,
    path: String,
}

/// Whether it says anything that the values fit: JSON takes every value, a text column numbers and dates too, and texts are read as
/// values of most other types only if the mapping says so.
fn is_telling(kind: &ColumnType, field: &Field) -> bool {
    match kind.base() {
        ColumnType::Json | ColumnType::Jsonb => false,
        ColumnType::Text | ColumnType::Varchar(_) | ColumnType::Bpchar(_) | ColumnType::Citext => {
            field.kinds() == ["string"]
        }
        ColumnType::Array(element) => field.elements.as_deref().is_none_or(|elements| is_telling(element, elements)),
        ColumnType::Uuid | ColumnType::Enum { .. } => true,
        _ => field.count(&["string"]) == 0,
    }
}

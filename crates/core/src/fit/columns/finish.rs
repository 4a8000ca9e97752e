//! A table as it is written, and the reason for every column that is not.

use super::{Bench, Candidate, Slot, values};
use crate::{
    fit::{Fitter, model::Level, words::Likeness},
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
        let mut near: Vec<(Likeness, String, bool)> = self
            .candidates
            .iter()
            .filter_map(|candidate| {
                let alike = self.likeness(column, candidate);
                let possible = !candidate.used && self.fit(fitter, column, candidate).is_some();
                let path = Path::fields(&candidate.names).to_string();
                let is_telling = is_telling(&column.kind, candidate.field) && !self.kinds.contains(&path);
                (alike >= Likeness::Part || (possible && is_telling)).then_some((alike, path, possible))
            })
            .collect();
        near.sort_by(|a, b| (b.2, b.0, &a.1).cmp(&(a.2, a.0, &b.1)));
        let possible: Vec<&str> = near.iter().filter(|near| near.2).map(|near| near.1.as_str()).take(LISTED).collect();
        let why = match (namesake, &possible[..], near.first()) {
            (Some(namesake), ..) if self.fit(fitter, column, namesake).is_none() => {
                format!("the field of this name has values of other types: {}", namesake.field.kinds().join(", "))
            }
            (_, [], Some((_, path, _))) => format!("{path} is taken, or has values of other types"),
            (_, [], None) => "no field fits".to_owned(),
            (_, [one], _) => format!("{one} would fit, but its name does not say so"),
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
}

/// Whether it says anything that the values fit: JSON takes every value, and a text column numbers and dates too.
fn is_telling(kind: &ColumnType, field: &Field) -> bool {
    match kind.base() {
        ColumnType::Json | ColumnType::Jsonb => false,
        ColumnType::Text | ColumnType::Varchar(_) => field.kinds() == ["string"],
        _ => true,
    }
}

//! Columns by their role, by the rows around, and by fields that take turns.

use super::{Bench, Candidate, Slot, values};
use crate::{
    draft::text,
    fit::{
        Fitter,
        ids::{Fit, foreign_key},
        model::Line,
        words::{Likeness, Words, core, words},
    },
    mapping::{
        Path,
        target::{Column, ColumnType, Table},
    },
};

/// Names of columns that hold the whole document, and of those that hold what nothing else reads.
const WHOLE: [&str; 5] = ["raw", "document", "doc", "original", "raw_document"];
const REST: [&str; 6] = ["extra", "extras", "rest", "other", "others", "unmapped"];
/// Fewer documents than this prove nothing about which fields take turns.
const MIN_TURNS: u64 = 8;

impl<'a> Bench<'a> {
    /// Fills columns of JSON that are called like the whole document, or like what nothing else reads.
    pub(in crate::fit) fn by_role(&mut self, fitter: &Fitter<'_>, is_document: bool) {
        for at in 0..self.slots.len() {
            let column = &self.table.columns[at];
            let is_json = matches!(column.kind.base(), ColumnType::Json | ColumnType::Jsonb);
            if !matches!(self.slots[at], Slot::Open) || !is_json || self.has(fitter, column, Likeness::Inner) {
                continue;
            }
            let name = words(&column.name).join("_");
            let (source, why) = if is_document && WHOLE.contains(&name.as_str()) {
                ("\"$\"", "the whole document")
            } else if REST.contains(&name.as_str()) {
                ("{ rest = true }", "the fields that nothing else reads")
            } else {
                continue;
            };
            let remarks = vec![why.to_owned()];
            let line = Line { column: column.name.clone(), source: source.to_owned(), remarks };
            self.slots[at] = Slot::Line { line, paths: Vec::new() };
        }
    }

    /// Fills columns that repeat a value of the rows around, the innermost last: `stage_title` is the `title` of the stage.
    pub(in crate::fit) fn by_ancestors(&mut self, fitter: &Fitter<'_>, around: &[Bench<'a>]) {
        for at in 0..self.slots.len() {
            let column = &self.table.columns[at];
            if !matches!(self.slots[at], Slot::Open) || self.has(fitter, column, Likeness::Inner) {
                continue;
            }
            let wanted = core(&words(&column.name));
            let found = around.iter().rev().enumerate().find_map(|(up, outer)| {
                let prefix = "^".repeat(up + 1);
                // A column of the key around that both tables have.
                if outer.table.primary_key.contains(&column.name)
                    && foreign_key(self.table, &column.name).map(|key| &key.parent)
                        == foreign_key(outer.table, &column.name).map(|key| &key.parent)
                {
                    let line = outer.line(&column.name)?;
                    return Some((upwards(&line.source, &prefix)?, None));
                }
                let mut named = outer.candidates.iter().filter(|candidate| {
                    let path = core(&candidate.names.iter().flat_map(|name| words(name)).collect::<Vec<_>>());
                    outer.own.iter().any(|own| {
                        let whole: Words = path.iter().cloned().chain([own.clone()]).collect();
                        whole.len() > path.len() && whole == wanted
                    })
                });
                let candidate = named.next().filter(|_| named.next().is_none())?;
                let fit = outer.fit_in(fitter, self.table, column, candidate)?;
                let path = text(&format!("{prefix}.{}", Path::fields(&candidate.names)));
                let source = if fit.settings.is_empty() {
                    path
                } else {
                    format!("{{ path = {path}, {} }}", fit.settings.join(", "))
                };
                Some((source, Some(fit)))
            });
            if let Some((source, fit)) = found {
                let mut remarks = vec!["from the row around".to_owned()];
                remarks.extend(fit.into_iter().flat_map(|fit| fit.remarks));
                let line = Line { column: column.name.clone(), source, remarks };
                self.slots[at] = Slot::Line { line, paths: Vec::new() };
            }
        }
    }

    fn fit_in(&self, fitter: &Fitter<'_>, table: &Table, column: &Column, candidate: &Candidate<'_>) -> Option<Fit> {
        fitter
            .fit(table, column, candidate.field, &candidate.around)
            .filter(|fit| fit.needs.is_none_or(|needs| needs <= Likeness::Core))
    }

    /// Adds, to a column that must have a value, the one path that has a value exactly where the others have none.
    pub(in crate::fit) fn by_turns(&mut self, fitter: &Fitter<'_>) {
        for at in 0..self.slots.len() {
            let column = &self.table.columns[at];
            let Slot::Line { line, paths } = &self.slots[at] else { continue };
            let have: u64 = paths.iter().map(|place| values(self.candidates[*place].field)).sum();
            let [first, ..] = paths[..] else { continue };
            if !column.not_null || self.total < MIN_TURNS || have >= self.total || have == 0 {
                continue;
            }
            let kinds = self.candidates[first].field.kinds();
            let depth = self.candidates[first].names.len();
            let others: Vec<(usize, Fit)> = self
                .candidates
                .iter()
                .enumerate()
                .filter(|(_, other)| {
                    let other_kinds = other.field.kinds();
                    !other.used
                        && other.names.len() == depth
                        && have + values(other.field) == self.total
                        && other_kinds.iter().any(|kind| kinds.contains(kind))
                })
                .filter_map(|(place, other)| Some((place, self.fit(fitter, column, other)?)))
                .collect();
            let [(other, fit)] = &others[..] else { continue };
            let (mut paths, mut line) = (paths.clone(), line.clone());
            paths.push(*other);
            let mut settings =
                self.fit(fitter, column, &self.candidates[first]).map(|fit| fit.settings).unwrap_or_default();
            settings.extend(fit.settings.iter().filter(|line| !settings.contains(line)).cloned().collect::<Vec<_>>());
            line.source = self.source(&paths, &settings);
            line.remarks.push("each has a value where the other has none".to_owned());
            self.candidates[*other].used = true;
            self.slots[at] = Slot::Line { line, paths };
        }
    }
}

/// The source with its paths one level further up; `None` for one that is no path.
fn upwards(source: &str, prefix: &str) -> Option<String> {
    match source.strip_prefix('"') {
        Some(rest) => Some(format!("\"{prefix}.{rest}")),
        None => source.strip_prefix("{ path = \"").map(|rest| format!("{{ path = \"{prefix}.{rest}")),
    }
}

//! Counts turned into sentences: the finding, its place in the mapping file, and a hint.
//!
//! A fault is a document that would become a dead letter. Everything else that data shows is a warning.

use super::{
    advice,
    constraints::{Broken, How},
    seen::{Coverage, Seen},
    shape::{Node, Step},
    survey::Values,
    tally::{Refusals, Refused, Tally, Violated},
    unread::{is_read, unread},
};
use crate::{
    ejson,
    mapping::{CollectionPlan, Location, Loss, PlanColumn, TablePlan},
    model::Reason,
};

/// Something that data shows about a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line of the mapping file that it is about.
    pub place: Option<Location>,
    /// The finding.
    pub what: String,
    /// A hint for fixing it.
    pub hint: String,
}

/// Everything that a survey found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Documents that would become dead letters.
    pub faults: Vec<Finding>,
    /// Data that is legal and suspicious.
    pub warnings: Vec<Finding>,
    /// Notes on the data that was examined, and on the data that was not.
    pub notes: Vec<String>,
}

/// Most paths of one collection that are named.
const PATHS: usize = 40;

/// One collection and what was seen of it.
pub(super) struct Collection<'a> {
    pub(super) plan: &'a CollectionPlan,
    pub(super) seen: &'a Seen,
    /// Where the mapping file begins with it.
    pub(super) place: Option<Location>,
    pub(super) coverage: Coverage,
    /// How many values each column has, of all collections that write it.
    pub(super) values: &'a Values<'a>,
}

impl Collection<'_> {
    /// Adds the findings about the collection.
    pub(super) fn report(&self, findings: &mut Findings) {
        let name = &self.plan.collection;
        let tally = &self.seen.tally;
        let looked_at = match (self.coverage, tally.documents) {
            (_, 0) => format!("data: {name} has no documents"),
            (Coverage::All | Coverage::Collections, n) => format!("data: {name}: {}", count(n, "document")),
            (Coverage::Sample, n) => format!("data: {name}: {} at random", count(n, "document")),
        };
        let of_them = |n: u64, what: &str| if n == 0 { String::new() } else { format!(", {n} of them {what}") };
        let (aside, dead) =
            (of_them(tally.without_rows, "without rows by the mapping"), of_them(tally.dead, "refused"));
        findings.notes.push(looked_at + &aside + &dead);
        if self.seen.shape.is_cut() {
            findings.notes.push(format!("data: {name} has more paths than are counted; the first ones are named"));
        }
        findings.faults.extend(tally.refused.iter().map(|(why, how_many)| self.refused(why, how_many)));
        findings.faults.extend(tally.violated.iter().map(|(what, how_many)| self.violated(what, how_many)));
        let look_alikes = self.look_alikes();
        self.unread(&look_alikes, &mut findings.warnings);
        findings.warnings.extend(look_alikes.into_iter().map(|(twin, name)| self.look_alike(twin, name)));
        findings.warnings.extend(self.without_rows());
        findings.warnings.extend(self.empty_columns());
        findings.warnings.extend(self.losses());
    }

    fn refused(&self, why: &Refused, Refusals { documents: refused, example, .. }: &Refusals) -> Finding {
        let Refused { table, column, path, reason } = why;
        let table = table.and_then(|at| self.plan.tables.get(at));
        let mut what = format!(
            "{refused} of {} of {} would become dead letters: {reason}",
            count(self.seen.tally.documents, "document"),
            self.plan.collection
        );
        if let Some(column) = column {
            what += &format!(" in column {column:?}");
            if let Some(table) = table {
                what += &format!(" of {}", table.table.label());
            }
        }
        let mut nothing_there = false;
        if let Some(path) = path {
            let types = self.seen.shape.types_at(names(path).iter().map(String::as_str));
            nothing_there = types.is_empty();
            what += &format!(" at path {path:?}, where {}", seen_there(&types));
        }
        if let Some(key) = example {
            what += &format!("; for example `_id` {}", ejson::id_text(key));
        }
        let named = table.zip(column.as_ref()).and_then(|(table, name)| table.columns.iter().find(|c| c.name == *name));
        let hint = match named {
            Some(column) if column.coerced && *reason == Reason::TypeMismatch => advice::COERCED,
            _ => advice::of(*reason).1,
        };
        let meant = path.as_deref().filter(|_| nothing_there && *reason == Reason::NotNull);
        let hint = match meant.and_then(|path| self.look_alike_of(path)) {
            Some(other) => format!("the documents have {other:?}, which nothing reads: is that its path?"),
            None => hint.to_owned(),
        };
        let place = named.and_then(|column| column.place.clone()).or_else(|| self.place.clone());
        Finding { place, what, hint }
    }

    fn violated(
        &self,
        Violated { table, constraint, columns, reason }: &Violated,
        Refusals { rows, example, .. }: &Refusals,
    ) -> Finding {
        let table = self.plan.tables.get(*table);
        let mut what = format!(
            "{} of {} would be refused by the target: {reason}",
            count(*rows, "row"),
            table.map(|table| table.table.label()).unwrap_or_default()
        );
        if let Some(constraint) = constraint {
            what += &format!(" by {constraint}");
        }
        if !columns.is_empty() {
            what += &format!(" in ({})", columns.join(", "));
        }
        if let Some(key) = example {
            what += &format!("; for example `_id` {}", ejson::id_text(key));
        }
        let first = columns.first();
        let column = table.and_then(|table| table.columns.iter().find(|column| Some(&column.name) == first));
        let place = column.and_then(|column| column.place.clone()).or_else(|| self.place.clone());
        Finding { place, what, hint: advice::of(*reason).1.to_owned() }
    }

    /// Fields side by side whose names differ only in case and separators: one that the mapping reads and one that it does not.
    fn look_alikes(&self) -> Vec<(&str, &str)> {
        let names = self.seen.shape.root().names();
        let (read, unread): (Vec<&str>, Vec<&str>) =
            names.into_iter().partition(|name| is_read(self.plan.reads(), name));
        let twin = |name: &&str| read.iter().find(|other| plain(other) == plain(name)).copied();
        unread.iter().filter_map(|name| Some((twin(name)?, *name))).collect()
    }

    fn look_alike(&self, twin: &str, name: &str) -> Finding {
        let times = |name: &str| count(self.seen.shape.root().field(name).map_or(0, Node::count), "time");
        let (collection, twins, names) = (&self.plan.collection, times(twin), times(name));
        Finding {
            place: self.place.clone(),
            what: format!("{collection} has {twin:?} ({twins}) and {name:?} ({names}); only the first is read"),
            hint: format!("if both are the same field, give its column the path [{twin:?}, {name:?}]"),
        }
    }

    fn look_alike_of(&self, path: &str) -> Option<String> {
        let names = self.seen.shape.root().names().into_iter();
        let mut names = names.filter(|name| !is_read(self.plan.reads(), name));
        names.find(|name| plain(name) == plain(path)).map(str::to_owned)
    }

    fn unread(&self, look_alikes: &[(&str, &str)], warnings: &mut Vec<Finding>) {
        let mut unread = unread(&self.seen.shape, self.plan.reads());
        let reported = |name: &str| name == "_id" || look_alikes.iter().any(|(_, other)| *other == name);
        unread.retain(|unread| !matches!(&unread.path.0[..], [Step::Field(name)] if reported(name)));
        let hint = "map it to a column, keep it with `{ rest = true }` in a json column, or leave it behind";
        let warning = |what| Finding { place: self.place.clone(), what, hint: hint.to_owned() };
        for unread in unread.iter().take(PATHS) {
            let types = seen_there(&unread.types);
            warnings
                .push(warning(format!("path \"{}\" of {} is not read: {types}", unread.path, self.plan.collection)));
        }
        if unread.len() > PATHS {
            let more = unread.len() - PATHS;
            warnings.push(warning(format!("{more} more paths of {} are not read", self.plan.collection)));
        }
    }

    /// A condition that leaves every document out is usually a mistake.
    fn without_rows(&self) -> Option<Finding> {
        let Tally { documents, without_rows, .. } = &self.seen.tally;
        (*documents > 0 && documents == without_rows).then(|| Finding {
            place: self.place.clone(),
            what: format!("no document of {} has rows: the mapping leaves all of them out", self.plan.collection),
            hint: "are the values of its `filter` or `split` written as the documents have them?".to_owned(),
        })
    }

    fn empty_columns(&self) -> Vec<Finding> {
        let tables = self.plan.tables.iter().zip(&self.seen.tally.tables).filter(|(_, filled)| filled.rows > 0);
        let columns =
            tables.flat_map(|(table, filled)| table.columns.iter().map(move |column| (table, column, filled.rows)));
        let is_empty = |(table, column, _): &(&TablePlan, &PlanColumn, u64)| {
            self.values.get(&(&table.table, column.name.as_str())).is_none_or(|count| *count == 0)
        };
        columns.filter(is_empty).filter_map(|(table, column, rows)| self.empty(table, column, rows)).collect()
    }

    /// Whether documents have values for a column. Those that are refused make no rows, and may have the only ones.
    fn has_values(&self, table: &TablePlan, column: &PlanColumn) -> bool {
        let paths = self.plan.paths_of(&table.table, &column.name).into_iter();
        let mut types = paths.flat_map(|path| self.seen.shape.types_at(names(path).iter().map(String::as_str)));
        types.any(|(kind, _)| !matches!(kind, "null" | "undefined"))
    }

    /// A column that is NULL in every row; `None` where documents that are refused may have its only values.
    fn empty(&self, table: &TablePlan, column: &PlanColumn, rows: u64) -> Option<Finding> {
        let (name, label) = (&column.name, table.table.label());
        let place = column.place.clone().or_else(|| self.place.clone());
        if self.has_values(table, column) {
            let what =
                format!("column {name:?} of {label} is NULL in {}, although documents have its path", all_rows(rows));
            let hint = "does its `when` or `filter` hold, and do `misfit`, `empty` and `null_values` leave a value?";
            return (self.seen.tally.dead == 0).then(|| Finding { place, what, hint: hint.to_owned() });
        }
        let hint = match self.look_alike_of(name) {
            Some(other) => format!("the documents have {other:?}, which nothing reads: is that its path?"),
            None => "is its path right? if there is nothing to fill it, list it in `ignore`".to_owned(),
        };
        Some(Finding {
            place,
            what: format!("no document fills column {name:?} of {label}: NULL in {}", all_rows(rows)),
            hint,
        })
    }

    fn losses(&self) -> Vec<Finding> {
        let mut entries: Vec<_> = self.seen.tally.losses.iter().collect();
        entries.sort_by_key(|entry| (entry.table, entry.column, entry.loss));
        let findings = entries.into_iter().filter_map(|entry| {
            let table = self.plan.tables.get(entry.table)?;
            let column = table.columns.get(entry.column);
            let named = column.filter(|_| !entry.loss.is_of_a_whole());
            let place = named.map(|column| format!("column {:?} of ", column.name));
            let (times, table) = (count(entry.count, "time"), table.table.label());
            Some(Finding {
                place: column.and_then(|column| column.place.clone()).or_else(|| self.place.clone()),
                what: format!("{}{table}: {} {times}", place.unwrap_or_default(), entry.loss),
                hint: lost(entry.loss).to_owned(),
            })
        });
        findings.collect()
    }
}

impl Findings {
    /// Adds a constraint that the data breaks.
    pub(super) fn constraint(&mut self, place: Option<Location>, broken: &Broken, enforced: bool) {
        let Broken { table, columns, how } = broken;
        let (names, table) = (columns.join(", "), table.label());
        match how {
            How::Duplicate { rows, example, .. } => {
                let example = example.as_ref().map(|key| format!("; for example `_id` {}", ejson::id_text(key)));
                self.faults.push(Finding {
                    place,
                    what: format!(
                        "{} would have a value of ({names}) that another row of {table} has: UNIQUE_CONFLICT{}",
                        count(*rows, "row"),
                        example.unwrap_or_default()
                    ),
                    hint: "fix the duplicates in MongoDB, or drop the constraint in the target".to_owned(),
                });
            }
            How::Orphan { rows, name, parent } => {
                let what = format!(
                    "{} of {table} would refer by ({names}) to a row of {} that no document becomes (constraint {name})",
                    count(*rows, "row"),
                    parent.label()
                );
                if enforced {
                    let hint =
                        "fix the references in MongoDB, or give the column `misfit` or `when`, or drop the constraint";
                    self.faults.push(Finding { place, what: what + ": FK_MISSING", hint: hint.to_owned() });
                } else {
                    let hint =
                        "foreign keys are not enforced while rows are written, so these rows will break it quietly";
                    self.warnings.push(Finding { place, what, hint: hint.to_owned() });
                }
            }
        }
    }
}

/// The meaning of a loss for the operator.
fn lost(loss: Loss) -> &'static str {
    match loss {
        Loss::ZeroSign => "PostgreSQL knows one zero there; nothing to do",
        Loss::TimeOfDay => "the column is a date: use timestamptz to keep the time of day",
        Loss::DuplicateName => "a name came twice in one document; the last one is kept",
        Loss::BinarySubtype => "the bytes are kept, the subtype is not",
        Loss::EmptyArray => "an array of empty arrays is an empty array in PostgreSQL",
        Loss::Nulled
        | Loss::Truncated
        | Loss::Rounded
        | Loss::Clamped
        | Loss::Replaced
        | Loss::Coerced
        | Loss::FellBack
        | Loss::Trimmed
        | Loss::Emptied
        | Loss::Dropped
        | Loss::Collapsed
        | Loss::Unlisted => "the mapping says so; look at some with `driftless preview`",
    }
}

/// The field names of a path as the mapping prints it, without indexes.
pub fn names(path: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '.' => names.push(String::new()),
            '[' => drop(letters.by_ref().find(|letter| *letter == ']')),
            '\\' => names.last_mut().into_iter().for_each(|name| name.extend(letters.next())),
            other => names.last_mut().into_iter().for_each(|name| name.push(other)),
        }
    }
    names.retain(|name| !name.is_empty() && name != "$");
    names
}

/// A name without what people vary: case and separators.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| !matches!(letter, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

fn seen_there(types: &[(&str, u64)]) -> String {
    if types.is_empty() {
        return "no document has anything".to_owned();
    }
    types.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

fn all_rows(rows: u64) -> String {
    if rows == 1 { "its one row".to_owned() } else { format!("all {rows} rows") }
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a.b", &["a", "b"])]
    #[case(r"a\.b", &["a.b"])]
    #[case("a[0].b", &["a", "b"])]
    #[case(r"a\[x", &["a[x"])]
    #[case("list.$", &["list"])]
    #[case("$", &[])]
    fn names_of_a_printed_path(#[case] path: &str, #[case] expected: &[&str]) {
        assert_eq!(names(path), expected);
    }

    #[rstest]
    #[case("createdBy", "created_by", true)]
    #[case("created-by", "CreatedBy", true)]
    #[case("created", "updated", false)]
    fn look_alikes(#[case] a: &str, #[case] b: &str, #[case] expected: bool) {
        assert_eq!(plain(a) == plain(b), expected);
    }
}

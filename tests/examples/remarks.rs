//! What `init --target` leaves open in its file, beside what `check` says about the same file.

use std::collections::BTreeSet;

use serde_json::Value;

/// A comment about a column that has no source.
struct Remark {
    collection: String,
    table: String,
    is_root: bool,
    column: String,
    why: String,
}

/// The report of `check --json`.
pub(crate) struct Checked(Value);

impl Checked {
    /// Reads a report, every fault of which must concern documents: the mapping itself has none.
    pub(crate) fn read(report: &str) -> Self {
        const OF_DOCUMENTS: [&str; 4] =
            ["would become dead letters", "would be refused by the target", "would have a value of", "would refer by"];
        let checked = Self(serde_json::from_str(report).unwrap_or_else(|error| panic!("{error}: {report}")));
        for fault in checked.said("faults") {
            assert!(OF_DOCUMENTS.iter().any(|part| fault.contains(part)), "{fault}");
        }
        checked
    }

    /// Compares every remark about a column with the report. Returns how many could be, and those that it contradicts.
    pub(crate) fn compare(&self, file: &str, is_column: impl Fn(&str, &str) -> bool) -> (usize, Vec<String>) {
        let remarks: Vec<Remark> = remarks(file).filter(|remark| is_column(&remark.table, &remark.column)).collect();
        let (mut compared, mut wrong) = (0, Vec::new());
        for remark in &remarks {
            let Remark { collection, table, column, why, .. } = remark;
            let own = format!("column {column:?} of {table}");
            let (list, expected) = match why {
                why if why.ends_with("; ignored") => continue,
                // A table without elements refuses none.
                why if why.contains("; NOT NULL") && remark.is_root => ("faults", format!("NOT_NULL in {own}")),
                // A column that another collection fills is not empty.
                _ if self.rows(collection, table) == 0 || writers(file, table) > 1 => continue,
                _ => ("warnings", own),
            };
            compared += 1;
            if !self.said(list).any(|what| what.contains(&expected)) {
                wrong.push(format!("{collection}: {table}.{column}: {why}: no word in {list}"));
            }
            for field in possible(why).filter(|_| remark.is_root) {
                if !self.is_unread(collection, field) {
                    wrong.push(format!("{collection}: {table}.{column}: {why}: {field} is read"));
                }
            }
        }
        (compared, wrong)
    }

    fn said(&self, list: &str) -> impl Iterator<Item = &str> {
        self.0[list].as_array().expect("a list").iter().map(|finding| finding["what"].as_str().expect("a text"))
    }

    fn rows(&self, collection: &str, table: &str) -> u64 {
        let conversions = self.0["conversions"].as_array().expect("a list").iter();
        let own = conversions.filter(|conversion| conversion["collection"] == collection);
        let tables = own.flat_map(|conversion| conversion["tables"].as_array().expect("a list"));
        tables.filter(|rows| rows["table"] == table).map(|rows| rows["rows"].as_u64().expect("a number")).sum()
    }

    /// Whether the report says that nothing reads a field, or something around it.
    fn is_unread(&self, collection: &str, field: &str) -> bool {
        let ends = field.match_indices('.').map(|(end, _)| end).chain([field.len()]);
        let mut around = ends.map(|end| &field[..end]);
        around.any(|path| {
            let unread = format!("path \"{path}\" of {collection} is not read");
            let look_alike = format!(" and {path:?} (");
            self.said("warnings")
                .any(|what| what.contains(&unread) || (what.starts_with(collection) && what.contains(&look_alike)))
        })
    }
}

/// The fields that a remark offers.
fn possible(why: &str) -> impl Iterator<Item = &str> {
    let one = why.split_once(" would fit, but").map(|(field, _)| field);
    let several = why.strip_prefix("several would fit: ").and_then(|list| list.split(';').next());
    one.or(several).into_iter().flat_map(|list| list.split(", "))
}

/// How many collections write a table.
fn writers(file: &str, table: &str) -> usize {
    let of = sections(file).filter(|(_, lines)| table_of(lines) == Some(table));
    of.map(|(header, _)| collection_of(header)).collect::<BTreeSet<_>>().len()
}

/// The remarks of the sections that name a table.
fn remarks(file: &str) -> impl Iterator<Item = Remark> {
    sections(file).flat_map(|(header, lines)| {
        let table = table_of(&lines).unwrap_or_default().to_owned();
        let remark = move |line: &str| {
            let (column, rest) = line.strip_prefix("# ")?.split_once(": ")?;
            let (_, why) = rest.split_once(": ")?;
            Some(Remark {
                collection: collection_of(header),
                table: table.clone(),
                is_root: !header.contains(".children."),
                column: column.to_owned(),
                why: why.to_owned(),
            })
        };
        lines.into_iter().filter_map(remark).collect::<Vec<_>>()
    })
}

/// The sections of the file: header and lines up to the next empty one.
fn sections(file: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    file.split("\n\n").filter_map(|section| {
        let mut lines = section.lines();
        let header = lines.next()?.strip_prefix("[collections.")?;
        Some((header, lines.collect()))
    })
}

fn table_of<'f>(lines: &[&'f str]) -> Option<&'f str> {
    lines.iter().find_map(|line| line.strip_prefix("table = \"")?.strip_suffix('"'))
}

fn collection_of(header: &str) -> String {
    let quoted = header.strip_prefix('"').and_then(|rest| rest.split_once('"'));
    quoted.map_or_else(|| header.split(['.', ']']).next(), |(name, _)| Some(name)).unwrap_or_default().to_owned()
}

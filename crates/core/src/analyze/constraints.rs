//! Unique constraints and foreign keys that the data would break, found by hashes of the encoded values.
//!
//! Values are compared as the target would: texts without case where it has none, integers of every width by value. 64 bits
//! of hash among the most values that are kept make a wrong finding less likely than one in ten thousand.

use std::collections::{HashMap, HashSet};

use crate::{
    mapping::{
        Plan, Row, Rows, TablePlan,
        target::{Catalog, ColumnType, Table, TableName},
    },
    model::Key,
};

/// Most bytes that a hash of a unique value takes in its set: a set that has just grown is half empty, and while it grows the
/// smaller one is there too.
const UNIQUE_BYTES: usize = 32;
/// The same for the hash of a reference, which has a count.
const REFERENCE_BYTES: usize = 64;

/// Every constraint whose columns the mapping writes.
#[derive(Debug, Default)]
pub(super) struct Constraints {
    uniques: Vec<Unique>,
    references: Vec<Reference>,
    /// By collection and table of the plan.
    uses: Vec<Vec<Uses>>,
    /// Bytes left for hashes.
    room: usize,
    /// Whether there were more values than there was room for.
    cut: bool,
}

/// The constraints of one planned table.
#[derive(Debug, Default)]
struct Uses {
    uniques: Vec<(usize, Vec<Field>)>,
    references: Vec<(usize, Vec<Field>)>,
}

/// A unique constraint, and the values seen.
#[derive(Debug)]
struct Unique {
    table: TableName,
    columns: Vec<String>,
    seen: HashSet<u64>,
    /// Rows whose value another row has.
    duplicates: u64,
    /// Their documents.
    documents: u64,
    example: Option<Key>,
}

/// A foreign key, and how often each value was seen.
#[derive(Debug)]
struct Reference {
    table: TableName,
    columns: Vec<String>,
    name: String,
    /// The unique constraint that it points to, by place.
    parent: usize,
    seen: HashMap<u64, u32>,
}

/// A column of a constraint.
#[derive(Debug)]
struct Field {
    at: usize,
    form: Form,
}

/// How values of a column are made comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bytes,
    NoCase,
    Padded,
    Integer,
    Numeric,
    Float,
}

/// A constraint that the data breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) table: TableName,
    pub(super) columns: Vec<String>,
    pub(super) how: How,
}

/// How a constraint is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// So many rows, of so many documents, have a value that another row has; one of the documents.
    Duplicate { rows: u64, documents: u64, example: Option<Key> },
    /// So many rows refer to a row that no document becomes.
    Orphan { rows: u64, name: String, parent: TableName },
}

impl Constraints {
    /// The constraints of the plan. References are kept only where every document is seen: else what they point to may be
    /// among those that are not. `room` is the most bytes that hashes may take.
    pub(super) fn new(plan: &Plan, catalog: &Catalog, references: bool, room: usize) -> Self {
        let mut constraints = Self { room, ..Self::default() };
        for collection in plan.collections() {
            let uses = collection.tables.iter().map(|table| constraints.uniques_of(table, catalog)).collect();
            constraints.uses.push(uses);
        }
        if references {
            for (place, collection) in plan.collections().iter().enumerate() {
                for (at, table) in collection.tables.iter().enumerate() {
                    constraints.uses[place][at].references = constraints.references_of(table, plan, catalog);
                }
            }
        }
        constraints
    }

    fn uniques_of(&mut self, plan: &TablePlan, catalog: &Catalog) -> Uses {
        let Some(table) = catalog.table(&plan.table) else { return Uses::default() };
        let all = std::iter::once(&table.primary_key).chain(&table.uniques);
        let uniques = all.filter_map(|columns| Some((self.unique(plan, columns), fields(plan, table, columns)?)));
        Uses { uniques: uniques.collect(), references: Vec::new() }
    }

    /// The place of a unique constraint; a table that several collections write has each once.
    fn unique(&mut self, plan: &TablePlan, columns: &[String]) -> usize {
        let known = self.uniques.iter().position(|unique| unique.is(&plan.table, columns));
        known.unwrap_or_else(|| {
            let (table, columns) = (plan.table.clone(), columns.to_vec());
            self.uniques.push(Unique {
                table,
                columns,
                seen: HashSet::new(),
                duplicates: 0,
                documents: 0,
                example: None,
            });
            self.uniques.len() - 1
        })
    }

    fn references_of(&mut self, plan: &TablePlan, whole: &Plan, catalog: &Catalog) -> Vec<(usize, Vec<Field>)> {
        let Some(table) = catalog.table(&plan.table) else { return Vec::new() };
        let mut found = Vec::new();
        for key in &table.foreign_keys {
            let Some(fields) = fields(plan, table, &key.columns) else { continue };
            let Some(parent) = self.uniques.iter().position(|unique| unique.is(&key.parent, &key.parent_columns))
            else {
                continue;
            };
            // Values that are translated by a table of the target, or of types that travel differently, say nothing here.
            let mut tables = whole.collections().iter().flat_map(|collection| &collection.tables);
            let parent_plan = tables.find(|table| table.table == key.parent);
            let parent_fields = parent_plan
                .zip(catalog.table(&key.parent))
                .and_then(|(plan, table)| Some((plan, self::fields(plan, table, &key.parent_columns)?)));
            let alike = parent_fields.is_some_and(|(parent, parent_fields)| {
                let forms = fields.iter().zip(&parent_fields).all(|(a, b)| a.form == b.form);
                let plain = |plan: &TablePlan, field: &Field| plan.columns[field.at].lookup.is_none();
                forms
                    && fields.iter().all(|field| plain(plan, field))
                    && parent_fields.iter().all(|field| plain(parent, field))
            });
            if alike {
                let (table, columns, name) = (plan.table.clone(), key.columns.clone(), key.name.clone());
                found.push((self.references.len(), fields));
                self.references.push(Reference { table, columns, name, parent, seen: HashMap::new() });
            }
        }
        found
    }

    /// Takes the rows of a document in. Returns whether one of them has a unique value that an earlier row has.
    pub(super) fn add(&mut self, collection: usize, key: Option<&Key>, rows: &Rows) -> bool {
        let Self { uniques, references, uses, room, cut } = self;
        let mut repeats = false;
        for (uses, rows) in uses[collection].iter().zip(&rows.tables) {
            for (place, fields) in &uses.uniques {
                let unique = &mut uniques[*place];
                let before = unique.duplicates;
                for hash in rows.iter().filter_map(|row| hash(row, fields)) {
                    unique.see(hash, key, room, cut);
                }
                unique.documents += u64::from(unique.duplicates > before);
                repeats |= unique.duplicates > before;
            }
            for (place, fields) in &uses.references {
                for hash in rows.iter().filter_map(|row| hash(row, fields)) {
                    references[*place].see(hash, room, cut);
                }
            }
        }
        repeats
    }

    /// Whether there were more values than are kept.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Every constraint that is broken. Orphans are known only while nothing was cut off.
    pub(super) fn broken(&self) -> Vec<Broken> {
        let duplicates = self.uniques.iter().filter(|unique| unique.duplicates > 0).map(|unique| Broken {
            table: unique.table.clone(),
            columns: unique.columns.clone(),
            how: How::Duplicate {
                rows: unique.duplicates,
                documents: unique.documents,
                example: unique.example.clone(),
            },
        });
        let orphans = self.references.iter().filter(|_| !self.is_cut()).filter_map(|reference| {
            let parents = &self.uniques[reference.parent];
            let missing = reference.seen.iter().filter(|(hash, _)| !parents.seen.contains(hash));
            let rows: u64 = missing.map(|(_, count)| u64::from(*count)).sum();
            (rows > 0).then(|| Broken {
                table: reference.table.clone(),
                columns: reference.columns.clone(),
                how: How::Orphan { rows, name: reference.name.clone(), parent: parents.table.clone() },
            })
        });
        duplicates.chain(orphans).collect()
    }
}

impl Unique {
    fn is(&self, table: &TableName, columns: &[String]) -> bool {
        self.table == *table && self.columns == columns
    }

    fn see(&mut self, hash: u64, key: Option<&Key>, room: &mut usize, cut: &mut bool) {
        if self.seen.contains(&hash) {
            self.duplicates += 1;
            self.example = self.example.take().or_else(|| key.cloned());
        } else if takes(room, UNIQUE_BYTES, cut) {
            self.seen.insert(hash);
        }
    }
}

impl Reference {
    fn see(&mut self, hash: u64, room: &mut usize, cut: &mut bool) {
        if let Some(count) = self.seen.get_mut(&hash) {
            *count = count.saturating_add(1);
        } else if takes(room, REFERENCE_BYTES, cut) {
            self.seen.insert(hash, 1);
        }
    }
}

/// Takes bytes of the room where there are enough, and notes where there are not.
fn takes(room: &mut usize, bytes: usize, cut: &mut bool) -> bool {
    let left = room.checked_sub(bytes);
    *cut |= left.is_none();
    *room = left.unwrap_or(*room);
    left.is_some()
}

/// The columns of a constraint in a planned row; `None` unless all are written, and for one that has no columns of its own.
fn fields(plan: &TablePlan, table: &Table, columns: &[String]) -> Option<Vec<Field>> {
    let field = |name: &String| {
        let at = plan.columns.iter().position(|column| column.name == *name)?;
        Some(Field { at, form: Form::of(&table.column(name)?.kind) })
    };
    columns.iter().map(field).collect::<Option<Vec<_>>>().filter(|fields| !fields.is_empty())
}

/// `None` where a field is NULL: such a row has no duplicate and no parent.
fn hash(row: &Row, fields: &[Field]) -> Option<u64> {
    let values: Vec<_> = row.fields().collect();
    let mut bytes = Vec::new();
    for Field { at, form } in fields {
        let from = bytes.len();
        form.write((*values.get(*at)?)?, &mut bytes);
        // Two texts side by side: where one ends is part of the value.
        bytes.extend_from_slice(&(bytes.len() - from).to_be_bytes());
    }
    Some(xxhash_rust::xxh3::xxh3_64(&bytes))
}

impl Form {
    fn of(kind: &ColumnType) -> Self {
        match kind.base() {
            ColumnType::Citext => Self::NoCase,
            ColumnType::Bpchar(_) => Self::Padded,
            ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => Self::Integer,
            ColumnType::Numeric { .. } => Self::Numeric,
            ColumnType::Float4 | ColumnType::Float8 => Self::Float,
            _ => Self::Bytes,
        }
    }

    fn write(self, value: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Bytes => out.extend_from_slice(value),
            Self::NoCase => out.extend_from_slice(String::from_utf8_lossy(value).to_lowercase().as_bytes()),
            Self::Padded => out.extend_from_slice(value.trim_ascii_end()),
            Self::Integer => {
                let fill = if value.first().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
                out.extend(std::iter::repeat_n(fill, 8usize.saturating_sub(value.len())));
                out.extend_from_slice(value);
            }
            // Digits, weight, sign, then the number of digits to show, which is no part of the value.
            Self::Numeric => {
                out.extend_from_slice(value.get(..6).unwrap_or(value));
                out.extend_from_slice(value.get(8..).unwrap_or_default());
            }
            Self::Float if value.iter().skip(1).all(|byte| *byte == 0) && value.first() == Some(&0x80) => {
                out.resize(out.len() + value.len(), 0);
            }
            Self::Float => out.extend_from_slice(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Form::Bytes, b"a", b"A", false)]
    #[case(Form::NoCase, b"a", b"A", true)]
    #[case(Form::Padded, b"a", b"a  ", true)]
    #[case(Form::Bytes, b"a", b"a ", false)]
    #[case(Form::Integer, &5i16.to_be_bytes(), &5i64.to_be_bytes(), true)]
    #[case(Form::Integer, &(-5i32).to_be_bytes(), &(-5i64).to_be_bytes(), true)]
    #[case(Form::Integer, &(-5i32).to_be_bytes(), &5i32.to_be_bytes(), false)]
    #[case(Form::Numeric, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 7], &[0, 1, 0, 0, 0, 0, 0, 2, 0, 7], true)]
    #[case(Form::Float, &0f64.to_be_bytes(), &(-0f64).to_be_bytes(), true)]
    #[case(Form::Float, &1f64.to_be_bytes(), &(-1f64).to_be_bytes(), false)]
    fn values_are_equal_as_for_the_target(
        #[case] form: Form,
        #[case] a: &[u8],
        #[case] b: &[u8],
        #[case] expected: bool,
    ) {
        let written = |value| {
            let mut out = Vec::new();
            form.write(value, &mut out);
            out
        };
        assert_eq!(written(a) == written(b), expected);
    }
}

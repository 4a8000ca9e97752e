//! The mapping that fits tables which exist: placed by evidence from an [`Analysis`] of the documents and the catalog of the target.
//! Pure.
//!
//! ```text
//!  Analysis ──▶ tables ── a table for each collection ──▶ columns, children ── a source for each column ──▶ file: mapping.toml
//!  Target   ──┘              └── ids: keys, references         └── values: does it fit?                        │
//!                                                            a comment for what is not sure ◀── compiled ◀─────┘
//! ```
//! A column has a source only if one path fits it and no other does as well: names decide first, then foreign keys and the ids that the
//! documents hold, then what is left. Types and values can only say no. What is left open is a comment with its reason, never a guess.
//! The file is compiled as `check` compiles it; a collection with a fault is a comment, too.
//!
//! Reading order: `words`, `values`, `ids`, `tables`, `columns`, `embedded`, `children`, `model`, `checked`; `file` only prints.

mod checked;
mod children;
mod columns;
mod embedded;
mod file;
mod ids;
mod model;
mod tables;
#[cfg(test)]
mod tests;
mod values;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use self::{
    columns::Bench,
    ids::{Claim, row_key},
    model::{Level, Place, Root, Variant},
    tables::{Assigned, Kind},
    words::Likeness,
};
use crate::{
    draft::ObjectIds,
    mapping::{
        Path,
        target::{Catalog, ColumnType, Table, TableName},
    },
    profile::{Analysis, Collection},
};

/// The tables that exist.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Tables, columns and constraints.
    pub catalog: Catalog,
    /// The columns that a CHECK limits to a list of texts.
    pub lists: Vec<List>,
}

/// A column that a CHECK limits to a list of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Its table.
    pub table: TableName,
    /// Its name.
    pub column: String,
    /// The texts.
    pub texts: Vec<String>,
}

impl Target {
    fn allowed(&self, table: &TableName, column: &str) -> Option<&[String]> {
        let list = self.lists.iter().find(|list| list.table == *table && list.column == column);
        list.map(|list| list.texts.as_slice())
    }
}

/// The mapping that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// The mapping file.
    pub mapping: String,
    /// Collections with a table.
    pub collections: usize,
    /// Tables that the mapping writes.
    pub tables: usize,
    /// Columns with a source.
    pub placed: usize,
    /// Columns of those tables without one.
    pub open: usize,
}

impl Fitted {
    /// Fits a mapping to the target; `ids` is what ObjectIds become in columns of UUIDs.
    pub fn new(analysis: &Analysis, target: &Target, ids: ObjectIds) -> Self {
        let mut fitter = Fitter {
            analysis,
            target,
            ids,
            claims: BTreeMap::new(),
            by_rule: BTreeSet::new(),
            notes: Vec::new(),
            refused: BTreeMap::new(),
        };
        let mut roots = fitter.roots();
        for root in &mut roots {
            root.levels_mut().into_iter().for_each(|level| fitter.apply_rules(level));
        }
        fitter.checked(&roots)
    }
}

/// The mark that tells the documents of a collection in a table from others.
enum Told<'n> {
    /// There are no others in either.
    Alone,
    /// The field that says which table a document belongs to.
    Field(&'n str),
    /// The column that has this text in the rows of this collection, and another in those of another.
    Column(&'n str, &'n str),
}

/// A mapping in the making.
#[derive(Debug)]
struct Fitter<'a> {
    analysis: &'a Analysis,
    target: &'a Target,
    ids: ObjectIds,
    /// Who writes which table.
    claims: BTreeMap<TableName, Claim>,
    /// Tables of embedded rows that other rows name by the `_id` of the element alone.
    by_rule: BTreeSet<TableName>,
    notes: Vec<String>,
    /// Collections that become comments, each with the reason.
    refused: BTreeMap<String, String>,
}

impl<'a> Fitter<'a> {
    fn roots(&mut self) -> Vec<Root> {
        let assigned = self.assign();
        let mut roots = Vec::new();
        let mut without = Vec::new();
        for collection in &self.analysis.collections {
            match assigned.get(collection.name.as_str()) {
                None => without.push(collection),
                Some(Assigned::One(table)) => {
                    let level = self.level(collection, table, collection.seen, Told::Alone);
                    roots.push(self.root(collection, Place::One(level), Vec::new()));
                }
                Some(Assigned::Split { by, kinds, unlisted }) => {
                    let (place, open) = self.split(collection, by, kinds, unlisted);
                    roots.push(self.root(collection, place, open));
                }
            }
        }
        for collection in without {
            match self.shared(collection) {
                Some((table, column, label)) => {
                    let level = self.level(collection, table, collection.seen, Told::Column(&column, &label));
                    let levels = roots.iter_mut().flat_map(Root::levels_mut);
                    levels.filter(|level| level.table == table.name).for_each(|level| level.shared = true);
                    let place = Place::One(Level { shared: true, ..level });
                    roots.push(self.root(
                        collection,
                        place,
                        vec![format!("its documents are the {label} of a table of several collections")],
                    ));
                }
                None => {
                    self.notes.push(format!("collection {}: no table has its name or its columns", collection.name))
                }
            }
        }
        roots.sort_by(|a, b| a.collection.cmp(&b.collection));
        roots
    }

    /// The collection; one whose key nothing fills is refused.
    fn root(&mut self, collection: &Collection, place: Place, open: Vec<String>) -> Root {
        let id = match &place {
            Place::One(level) => self.table(&level.table).and_then(|table| self.id(collection, table)),
            Place::Split { variants, .. } => {
                variants.iter().find_map(|variant| self.id(collection, self.table(&variant.level.table)?))
            }
        };
        let root = Root { collection: collection.name.clone(), rule: id.map(|id| id.rule), place, open };
        let lacking = root.levels().into_iter().find_map(|level| {
            let table = self.table(&level.table)?;
            let key = if level.key.is_empty() { &table.primary_key } else { &level.key };
            let is_filled = |name: &String| {
                level.lines.iter().any(|line| line.column == *name)
                    || (root.rule.is_some() && table.primary_key == [name.clone()])
            };
            let lacks: Vec<&String> = key.iter().filter(|name| !is_filled(name)).collect();
            match (key.is_empty(), &lacks[..]) {
                (true, _) => Some(format!(
                    "table {} has neither a primary key nor a unique constraint over columns that are NOT NULL",
                    table.name.label()
                )),
                (false, []) => None,
                (false, lacks) => {
                    let names = lacks.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
                    let kinds: Vec<String> = lacks
                        .iter()
                        .filter_map(|name| table.column(name))
                        .map(|column| column.sql_type.clone())
                        .collect();
                    Some(format!(
                        "table {}: nothing fills {names} ({}) of its key, and no rule makes it of `_id`{}",
                        table.name.label(),
                        kinds.join(", "),
                        self.padded(collection, table, lacks).unwrap_or_default()
                    ))
                }
            }
        });
        if let Some(why) = lacking {
            let is_own =
                |claim: &Claim| matches!(claim, Claim::Documents { collection: name, .. } if *name == collection.name);
            self.claims.retain(|_, claim| !is_own(claim));
            self.refused.insert(collection.name.clone(), why);
        }
        root
    }

    /// Returns the remedy for a key column that no rule fills only because its type pads.
    fn padded(&self, collection: &Collection, table: &Table, lacks: &[&String]) -> Option<String> {
        let [name] = lacks else { return None };
        let ColumnType::Bpchar(length) = table.column(name)?.kind.base() else { return None };
        ids::rule(collection, &ColumnType::Varchar(*length), self.ids)?;
        let to = length.map_or_else(|| "varchar".to_owned(), |length| format!("varchar({length})"));
        Some(format!(
            ": char(n) pads with spaces, which comparisons ignore, so two ids could be equal there; \
             ALTER TABLE {} ALTER COLUMN {name:?} TYPE {to}, and likewise the columns that refer to it",
            table.name
        ))
    }

    /// The columns and children of a table of documents.
    fn level(&mut self, collection: &'a Collection, table: &'a Table, total: u64, told: Told<'_>) -> Level {
        let own = words::own(&[&collection.name, &table.name.name]);
        let mut bench = Bench::new(table, own, &collection.fields, None, total);
        if let Some(id) = self.id(collection, table) {
            bench.rule(&id.column);
        }
        match told {
            Told::Alone => {}
            Told::Field(by) => bench.tells_kind(Path::field(by).to_string()),
            Told::Column(column, label) => {
                bench.constant(column, label, "tells its rows from those of other collections");
            }
        }
        bench.by_names(self, Likeness::Same, Likeness::Synonym);
        bench.by_keys(self);
        bench.by_role(self, true);
        let mut around = vec![bench];
        let children = self.children(&mut around);
        let Some(mut bench) = around.pop() else { unreachable!("children leave the rows around as they were") };
        bench.by_names(self, Likeness::Part, Likeness::Instant);
        bench.by_keys(self);
        bench.by_turns(self);
        let mut level = bench.finish(self);
        level.children = children;
        if table.primary_key.is_empty() {
            level.key = row_key(table).to_vec();
        }
        level
    }

    fn split(
        &mut self,
        collection: &'a Collection,
        by: &str,
        kinds: &[Kind<'a>],
        unlisted: &[String],
    ) -> (Place, Vec<String>) {
        let field = collection.fields.iter().find(|field| field.name == by);
        let seen = |is: &[String]| {
            let few = field.and_then(|field| field.few.as_ref());
            is.iter().filter_map(|value| few?.get(value)).sum::<u64>()
        };
        let variants = kinds
            .iter()
            .map(|(name, is, table)| Variant {
                name: name.clone(),
                is: is.clone(),
                level: self.level(collection, table, seen(is), Told::Field(by)),
            })
            .collect();
        let mut open = Vec::new();
        if !unlisted.is_empty() {
            open.push(format!(
                "no table has the documents whose {by} is {}: they are refused; unlisted = \"ignore\" in `split` leaves them out",
                unlisted.join(", ")
            ));
        }
        if field.is_some_and(crate::profile::Field::is_optional) {
            open.push(format!("some documents have no {by}: they are refused without a variant for them"));
        }
        (Place::Split { by: Path::field(by).to_string(), variants }, open)
    }

    /// The table of other documents in which a column has the collection's name as one of its values: `announcement` for `announcements`.
    fn shared(&mut self, collection: &Collection) -> Option<(&'a Table, String, String)> {
        let own: Vec<String> = words::words(&collection.name).iter().map(|word| words::stem(word)).collect();
        let is_own = |label: &&String| words::words(label).iter().map(|word| words::stem(word)).eq(own.iter().cloned());
        let target = self.target;
        let mut found =
            target.catalog.tables.iter().filter(|table| self.claims.contains_key(&table.name)).flat_map(|table| {
                table.columns.iter().filter_map(move |column| {
                    let labels = match column.kind.base() {
                        ColumnType::Enum { labels, .. } => labels.as_slice(),
                        _ => target.allowed(&table.name, &column.name)?,
                    };
                    labels.iter().find(is_own).map(|label| (table, column.name.clone(), label.clone()))
                })
            });
        let only = found.next().filter(|_| found.next().is_none())?;
        let Some(Claim::Documents { collection: other, id: Some(theirs) }) = self.claims.get(&only.0.name) else {
            return None;
        };
        // The ids of both must not meet.
        let id = self.id(collection, only.0)?;
        (id.rule == theirs.rule && other != &collection.name).then_some(only)
    }

    fn apply_rules(&self, level: &mut Level) {
        for child in &mut level.children {
            child.by_rule = self.by_rule.contains(&child.level.table) && child.id.is_some();
            self.apply_rules(&mut child.level);
        }
    }
}

//! Which table each collection has: by name, by the kinds that a field names, and by the columns where no name says it.

use std::collections::BTreeMap;

use super::{
    Fitter,
    ids::{Claim, Id, foreign_key, rule},
    values,
    words::{self, Likeness, TableLikeness, stem, table_likeness},
};
use crate::{
    mapping::target::{Filled, Table, TableName},
    profile::{Collection, Field},
};

/// The share of a table's columns that fields must name where names of tables say something, and where they say nothing.
const SOME: f64 = 0.3;
const MOST: f64 = 0.6;
/// How much better than any other such a table must be.
const MARGIN: f64 = 0.2;
/// Fewer columns than this say nothing by themselves.
const MIN_COLUMNS: usize = 3;

/// A kind of document: its name, the values of the field that names it, and its table.
pub(super) type Kind<'a> = (String, Vec<String>, &'a Table);

/// The tables of a collection's documents.
#[derive(Clone, Debug)]
pub(super) enum Assigned<'a> {
    One(&'a Table),
    /// The field that names the kind; the kinds with their values; the values without a table.
    Split {
        by: &'a str,
        kinds: Vec<Kind<'a>>,
        unlisted: Vec<String>,
    },
}

impl<'a> Fitter<'a> {
    /// Assigns tables to collections, the surest first. What stays without one is not in the answer.
    pub(super) fn assign(&mut self) -> BTreeMap<&'a str, Assigned<'a>> {
        let mut assigned = BTreeMap::new();
        self.by_names(&mut assigned, TableLikeness::Same);
        self.by_kinds(&mut assigned);
        self.by_names(&mut assigned, TableLikeness::Behind);
        self.by_names(&mut assigned, TableLikeness::Part);
        self.by_columns(&mut assigned);
        assigned
    }

    fn without<'c>(
        &self,
        assigned: &'c BTreeMap<&'a str, Assigned<'a>>,
    ) -> impl Iterator<Item = &'a Collection> + use<'a, 'c> {
        let analysis = self.analysis;
        analysis.collections.iter().filter(move |collection| !assigned.contains_key(collection.name.as_str()))
    }

    fn free(&self) -> impl Iterator<Item = &'a Table> + use<'a, '_> {
        let target = self.target;
        target.catalog.tables.iter().filter(move |table| !self.claims.contains_key(&table.name))
    }

    fn by_names(&mut self, assigned: &mut BTreeMap<&'a str, Assigned<'a>>, least: TableLikeness) {
        let fits = |collection: &Collection, table: &Table| {
            table_likeness(&collection.name, &table.name.name) >= least
                && (least == TableLikeness::Same || share(collection, table).0 >= SOME)
        };
        let pairs: Vec<(&'a Collection, &'a Table)> = self
            .without(assigned)
            .filter_map(|collection| {
                let mut tables: Vec<&'a Table> = self.free().filter(|table| fits(collection, table)).collect();
                // Of tables of one name in several schemas, the one whose columns are clearly more alike.
                tables.sort_by(|a, b| share(collection, b).0.total_cmp(&share(collection, a).0));
                match tables[..] {
                    [one] => Some((collection, one)),
                    [best, next, ..] if share(collection, best).0 >= share(collection, next).0 + MARGIN => {
                        Some((collection, best))
                    }
                    _ => None,
                }
            })
            .collect();
        for (collection, table) in &pairs {
            if pairs.iter().filter(|(_, other)| other.name == table.name).count() == 1 {
                self.claim(collection, table);
                assigned.insert(&collection.name, Assigned::One(table));
            }
        }
    }

    /// Collections whose documents a field divides into kinds that have tables.
    fn by_kinds(&mut self, assigned: &mut BTreeMap<&'a str, Assigned<'a>>) {
        let collections: Vec<&'a Collection> = self.without(assigned).collect();
        for collection in collections {
            let mut found: Vec<(&'a Field, Vec<Kind<'a>>)> = collection
                .fields
                .iter()
                .filter(|field| field.kinds() == ["string"])
                .filter_map(|field| Some((field, self.kinds(collection, field)?)))
                .collect();
            found.sort_by_key(|(_, kinds)| std::cmp::Reverse(kinds.len()));
            let Some((field, kinds)) = found.into_iter().next().filter(|(_, kinds)| kinds.len() > 1) else { continue };
            let has = |value: &&String| !kinds.iter().any(|(_, is, _)| is.contains(value));
            let unlisted = field.few.iter().flat_map(|few| few.keys()).filter(has).cloned().collect();
            kinds.iter().for_each(|(_, _, table)| self.claim(collection, table));
            assigned.insert(&collection.name, Assigned::Split { by: &field.name, kinds, unlisted });
        }
    }

    fn kinds(&self, collection: &Collection, field: &'a Field) -> Option<Vec<Kind<'a>>> {
        let few = field.few.as_ref()?;
        let is_anothers = |table: &Table| {
            let mut collections = self.analysis.collections.iter();
            collections.any(|other| table_likeness(&other.name, &table.name.name) >= TableLikeness::Behind)
        };
        let one = |is: &dyn Fn(&Table) -> bool| {
            let mut tables = self.free().filter(|table| is(table) && !is_anothers(table));
            tables.next().filter(|_| tables.next().is_none())
        };
        let mut kinds = Vec::new();
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for value in few.keys() {
            match one(&|table| table_likeness(value, &table.name.name) == TableLikeness::Same) {
                Some(table) => kinds.push((value.clone(), vec![value.clone()], table)),
                None => {
                    let first = words::words(value).first().map(|word| stem(word)).unwrap_or_default();
                    groups.entry(first).or_default().push(value.clone());
                }
            }
        }
        // `task_created` and `task_completed` of `analytics_events` are `task_events`.
        let last = words::words(&collection.name).last().map(|word| stem(word))?;
        for (first, values) in groups {
            let wanted = [first.clone(), last.clone()];
            let is =
                |table: &Table| words::words(&table.name.name).iter().map(|word| stem(word)).eq(wanted.iter().cloned());
            if let Some(table) = one(&is).filter(|_| !kinds.is_empty()) {
                kinds.push((first, values, table));
            }
        }
        Some(kinds)
    }

    /// Collections whose fields are those of one table and of no other.
    fn by_columns(&mut self, assigned: &mut BTreeMap<&'a str, Assigned<'a>>) {
        let mut pairs: Vec<(f64, &'a Collection, &'a Table)> = Vec::new();
        for collection in self.without(assigned) {
            let scored = self.free().map(|table| (share(collection, table), table));
            pairs.extend(
                scored
                    .filter(|((share, found), _)| *share >= MOST && *found >= MIN_COLUMNS)
                    .map(|((share, _), table)| (share, collection, table)),
            );
        }
        for (share, collection, table) in &pairs {
            let rival = pairs.iter().any(|(theirs, other, wanted)| {
                let same = other.name == collection.name && wanted.name == table.name;
                !same && (other.name == collection.name || wanted.name == table.name) && theirs + MARGIN > *share
            });
            if !rival {
                self.claim(collection, table);
                assigned.insert(&collection.name, Assigned::One(table));
            }
        }
    }

    pub(super) fn claim(&mut self, collection: &Collection, table: &Table) {
        let id = self.id(collection, table);
        self.claims.insert(table.name.clone(), Claim::Documents { collection: collection.name.clone(), id });
    }

    /// The key of a collection's rows, if `_id` makes it and columns do not.
    pub(super) fn id(&self, collection: &Collection, table: &Table) -> Option<Id> {
        let [name] = table.primary_key.as_slice() else { return None };
        let column = table.column(name).filter(|column| column.filled == Filled::ByUs && !column.folds)?;
        let is_field = collection.fields.iter().any(|field| field.name == *name);
        if foreign_key(table, name).is_some() || (is_field && name != "id") {
            return None;
        }
        let (rule, sort) = rule(collection, &column.kind, self.ids)?;
        Some(Id { column: name.clone(), rule, sort })
    }

    /// The table that already has its documents, if it is theirs alone.
    pub(super) fn table(&self, name: &TableName) -> Option<&'a Table> {
        self.target.catalog.table(name)
    }
}

/// The share of a table's columns that fields of a collection name and fit, and how many those are. The primary key counts only
/// where a field names it.
fn share(collection: &Collection, table: &Table) -> (f64, usize) {
    let own = words::own(&[&collection.name, &table.name.name]);
    let mut paths: Vec<(Vec<&str>, &Field)> = Vec::new();
    paths_of(&collection.fields, &mut Vec::new(), &mut paths);
    let named = |name: &str| {
        let column = table.column(name)?;
        let is_key = foreign_key(table, name).is_some();
        let fits = |(path, field): &(Vec<&str>, &Field)| {
            words::likeness(name, path, &own) >= Likeness::Inner
                && (is_key
                    || column.kind.base() == &crate::mapping::target::ColumnType::Uuid
                    || values::taken(&column.kind, field, None).is_some())
        };
        paths.iter().any(fits).then_some(())
    };
    let columns = table
        .columns
        .iter()
        .filter(|column| column.filled == Filled::ByUs && table.primary_key != [column.name.clone()]);
    let (all, found) =
        columns.fold((0, 0), |(all, found), column| (all + 1, found + usize::from(named(&column.name).is_some())));
    (if all == 0 { 0.0 } else { found as f64 / all as f64 }, found)
}

fn paths_of<'a>(fields: &'a [Field], names: &mut Vec<&'a str>, paths: &mut Vec<(Vec<&'a str>, &'a Field)>) {
    for field in fields.iter().filter(|field| field.name != "_id") {
        names.push(&field.name);
        paths.push((names.clone(), field));
        if !field.map {
            paths_of(&field.fields, names, paths);
        }
        names.pop();
    }
}

//! Embedded arrays, maps and objects: which table each has, and which columns of it are filled by rules.
//!
//! A child table has the key of the row around, by a foreign key or by a column of the same name. Among those tables the one is taken
//! that is called like the field, or whose columns are those of the elements, if no other is as good.

use super::{
    Fitter,
    columns::Bench,
    embedded::{Embedded, embedded},
    ids::{Claim, foreign_key, row_key},
    model::{Child, From, Shape},
    words::{Likeness, Words, core, likeness, meaning, own, stem, words},
};
use crate::{
    mapping::{
        Path,
        target::{Column, ColumnType, Filled, Table},
    },
    profile::Field,
};

/// The least score of a table to be that of an embedded field: a name, or most of its columns.
const LEAST: f64 = 1.0;
/// How much better than any other it must be.
const MARGIN: f64 = 0.2;
/// A foreign key that belongs to the ids of a list.
const PROVEN: f64 = 1.0;

/// The columns of a child table that rules fill.
#[derive(Clone, Debug, Default)]
struct Rules {
    parent: Option<String>,
    root: Option<String>,
    order: Option<String>,
    map_key: Option<String>,
    id: Option<(String, From)>,
}

impl<'a> Fitter<'a> {
    /// Finds the tables of what is embedded in the rows of a table; `around` are the rows around, the document's first, and that table's
    /// own last.
    pub(super) fn children(&mut self, around: &mut Vec<Bench<'a>>) -> Vec<Child> {
        let Some(bench) = around.last() else { return Vec::new() };
        let embedded: Vec<Embedded<'a>> = (0..bench.candidates.len())
            .filter(|at| !bench.candidates[*at].used)
            .filter_map(|at| embedded(bench, at))
            .collect();
        let mut pairs: Vec<(f64, Embedded<'a>, &'a Table)> = Vec::new();
        for one in &embedded {
            for table in &self.target.catalog.tables {
                if let Some(score) = self.score(one, table, around).filter(|score| *score >= LEAST) {
                    pairs.push((score, *one, table));
                }
            }
        }
        let mut found: Vec<(Embedded<'a>, &'a Table)> = Vec::new();
        for (score, one, table) in &pairs {
            let rival = pairs.iter().any(|(theirs, other, wanted)| {
                let same = other.at == one.at && wanted.name == table.name;
                !same && (other.at == one.at || wanted.name == table.name) && theirs + MARGIN > *score
            });
            if !rival {
                found.push((*one, table));
            }
        }
        for (_, table) in &found {
            self.claims.insert(table.name.clone(), Claim::Embedded);
        }
        found.into_iter().filter_map(|(one, table)| self.child(one, table, around)).collect()
    }

    /// How likely the table is that of the field; `None` if it cannot be.
    fn score(&self, one: &Embedded<'a>, table: &'a Table, around: &[Bench<'a>]) -> Option<f64> {
        let bench = around.last()?;
        if self.claims.contains_key(&table.name) {
            return None;
        }
        let container = *bench.candidates[one.at].names.last()?;
        let parents = parents(table, bench);
        if parents.is_empty() && !has_key_of(table, bench) {
            return None;
        }
        let name = meaning(&core(&words(&table.name.name)));
        let field = meaning(&core(&words(container)));
        let singular: Words = meaning(&bench.own);
        let rest: Words = name.difference(&singular).cloned().collect();
        let is_named =
            !rest.is_empty() && (rest == field || rest.is_subset(&field) || field.is_subset(&rest)) || name == field;
        let mut score = if is_named { 1.0 } else { 0.0 };
        let rules = self.rules(one, table, around)?;
        let mut inner = self.bench(one, table, container, &rules);
        let all = inner.open().len();
        match one.whole {
            Some(whole) => {
                let ids = whole.reference.as_ref().map(|reference| &reference.collection);
                let proven = inner.open().iter().any(|column| {
                    let foreign = foreign_key(table, &column.name);
                    let claim = foreign.and_then(|foreign| self.claims.get(&foreign.parent));
                    matches!((claim, ids), (Some(Claim::Documents { collection, .. }), Some(to)) if collection == to)
                });
                if ids.is_some() && !proven {
                    return None;
                }
                score += if proven { PROVEN } else { 0.0 };
                inner.by_element(self, container);
                (inner.open().len() < all).then_some(score)
            }
            None => {
                inner.by_names(self, Likeness::Same, Likeness::Synonym);
                inner.by_keys(self);
                let found = all - inner.open().len();
                (all > 0 && found > 0)
                    .then(|| score + found as f64 / all as f64)
                    .or(Some(score).filter(|_| all == 0 && is_named))
            }
        }
    }

    fn bench(&self, one: &Embedded<'a>, table: &'a Table, container: &str, rules: &Rules) -> Bench<'a> {
        let mut bench = Bench::new(table, own(&[container, &table.name.name]), one.fields, one.whole, one.total);
        let ruled = [&rules.parent, &rules.root, &rules.order, &rules.map_key];
        ruled
            .into_iter()
            .flatten()
            .chain(rules.id.as_ref().map(|(column, _)| column))
            .for_each(|column| bench.rule(column));
        bench
    }

    /// The columns that rules fill; `None` if the row around cannot be told from another.
    fn rules(&self, one: &Embedded<'a>, table: &'a Table, around: &[Bench<'a>]) -> Option<Rules> {
        let (bench, root) = (around.last()?, around.first()?);
        let container = *bench.candidates[one.at].names.last()?;
        let mut rules = Rules::default();
        let parents = parents(table, bench);
        rules.parent = match &parents[..] {
            [] => None,
            [one] => Some(one.name.clone()),
            several => {
                // Called like the row around, and not like something else of the same table.
                let mut named = several.iter().filter(|column| core(&words(&column.name)).is_subset(&bench.own));
                Some(named.next().filter(|_| named.next().is_none())?.name.clone())
            }
        };
        let probe = Bench::new(table, own(&[container, &table.name.name]), one.fields, one.whole, one.total);
        let free = |rules: &Rules, column: &Column| {
            let taken = [&rules.parent, &rules.root, &rules.order, &rules.map_key];
            column.filled == Filled::ByUs
                && !taken.into_iter().flatten().any(|name| *name == column.name)
                && !probe.has(self, column, Likeness::Inner)
        };
        if around.len() > 1 {
            let keys = table.foreign_keys.iter().filter(|key| key.parent == root.table.name);
            let columns: Vec<&Column> = keys.filter_map(|key| table.column(key.columns.first()?)).collect();
            let called = |column: &&Column| free(&rules, column) && core(&words(&column.name)).is_subset(&root.own);
            let mut called = columns.into_iter().filter(called);
            rules.root = called.next().filter(|_| called.next().is_none()).map(|column| column.name.clone());
        }
        if one.shape == Shape::Array {
            let is_place = |column: &&Column| {
                let whole = matches!(column.kind.base(), ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8);
                let names = meaning(&core(&words(&column.name)));
                whole
                    && free(&rules, column)
                    && ["position", "idx", "seq", "sequence"]
                        .iter()
                        .any(|name| names.len() == 1 && names.contains(*name))
            };
            let mut places = table.columns.iter().filter(is_place);
            rules.order = places.next().filter(|_| places.next().is_none()).map(|column| column.name.clone());
        }
        if one.shape == Shape::Map {
            let is_key = |column: &&Column| {
                let takes =
                    matches!(column.kind.base(), ColumnType::Text | ColumnType::Varchar(_) | ColumnType::Enum { .. });
                takes
                    && table.primary_key.contains(&column.name)
                    && free(&rules, column)
                    && foreign_key(table, &column.name).is_none()
            };
            let mut keys = table.columns.iter().filter(is_key);
            rules.map_key = keys.next().filter(|_| keys.next().is_none()).map(|column| column.name.clone());
            rules.map_key.as_ref()?;
        }
        if let [name] = table.primary_key.as_slice()
            && let Some(column) = table.column(name)
            && foreign_key(table, name).is_none()
            && free(&rules, column)
            && matches!(column.kind.base(), ColumnType::Uuid | ColumnType::Text)
        {
            rules.id = Some((name.clone(), self.identity(one, table, &rules)));
        }
        Some(rules)
    }

    /// The source of an element's id: its own, a field that is unique in the row around, or its place.
    fn identity(&self, one: &Embedded<'a>, table: &Table, rules: &Rules) -> From {
        if one.shape != Shape::Array || one.fields.iter().any(|field| field.name == "_id") {
            return From::Own;
        }
        let unique = |field: &&Field| {
            let always = field.present == one.total
                && !field.is_optional()
                && field.elements.is_none()
                && field.fields.is_empty();
            let column = table
                .columns
                .iter()
                .find(|column| likeness(&column.name, &[&field.name], &Words::new()) >= Likeness::Core);
            let pair = column.zip(rules.parent.as_ref()).map(|(column, parent)| [parent.clone(), column.name.clone()]);
            always
                && pair.is_some_and(|pair| {
                    table
                        .uniques
                        .iter()
                        .any(|unique| unique.len() == 2 && pair.iter().all(|name| unique.contains(name)))
                })
        };
        let field = one.fields.iter().find(unique);
        field.map_or(From::Index, |field| From::Field(Path::field(field.name.clone()).to_string()))
    }

    fn child(&mut self, one: Embedded<'a>, table: &'a Table, around: &mut Vec<Bench<'a>>) -> Option<Child> {
        let bench = around.last()?;
        let names = bench.candidates[one.at].names.clone();
        let container = *names.last()?;
        let rules = self.rules(&one, table, around)?;
        let mut inner = self.bench(&one, table, container, &rules);
        inner.by_element(self, container);
        inner.by_names(self, Likeness::Same, Likeness::Inner);
        inner.by_ancestors(self, around);
        inner.by_names(self, Likeness::Synonym, Likeness::Synonym);
        inner.by_keys(self);
        inner.by_role(self, false);
        around.push(inner);
        let children = self.children(around);
        let mut inner = around.pop()?;
        inner.by_names(self, Likeness::Part, Likeness::Instant);
        inner.by_turns(self);
        let lacks: Vec<String> = row_key(table).iter().filter(|name| !inner.is_filled(name)).cloned().collect();
        if row_key(table).is_empty() || !lacks.is_empty() {
            self.claims.remove(&table.name);
            let why = if lacks.is_empty() {
                "it has no key".to_owned()
            } else {
                format!("nothing fills {} of its key", lacks.join(", "))
            };
            self.notes.push(format!(
                "{} of {} looks like table {}, but {why}",
                Path::fields(&names),
                around.first()?.table.name.label(),
                table.name.label()
            ));
            return None;
        }
        let is_pair = one.whole.is_some()
            && rules.order.as_ref().is_none_or(|order| !row_key(table).contains(order))
            && rules.id.is_none()
            && one.shape == Shape::Array;
        let outer = around.last_mut()?;
        outer.candidates[one.at].used = true;
        for candidate in &mut outer.candidates {
            candidate.used |= candidate.names.starts_with(&names);
        }
        let mut level = inner.finish(self);
        level.children = children;
        if table.primary_key.is_empty() {
            level.key = row_key(table).to_vec();
        }
        Some(Child {
            name: names.join("_"),
            path: Path::fields(&names).to_string(),
            shape: one.shape,
            parent: rules.parent,
            root: rules.root,
            order: rules.order,
            map_key: rules.map_key,
            id: rules.id,
            by_rule: false,
            distinct: is_pair,
            level,
        })
    }
}

/// The columns of a table whose foreign key leads to the row around.
fn parents<'t>(table: &'t Table, around: &Bench<'_>) -> Vec<&'t Column> {
    let [key] = around.table.primary_key.as_slice() else { return Vec::new() };
    let leads = table.foreign_keys.iter().filter(|foreign| {
        foreign.parent == around.table.name && foreign.parent_columns == [key.as_str()] && foreign.columns.len() == 1
    });
    leads.filter_map(|foreign| table.column(&foreign.columns[0])).collect()
}

/// Whether a table has the key of the row around under the same names, with the same foreign keys, and one column more.
fn has_key_of(table: &Table, around: &Bench<'_>) -> bool {
    let key = &around.table.primary_key;
    let same = |name: &String| {
        let ours = foreign_key(around.table, name).map(|foreign| &foreign.parent);
        ours.is_some()
            && foreign_key(table, name).map(|foreign| &foreign.parent) == ours
            && table.primary_key.contains(name)
    };
    !key.is_empty() && key.iter().all(same) && table.primary_key.len() > key.len() && shares_a_word(table, around)
}

/// Whether a table is called like the one around: `momentum_days` beside `momentum`.
fn shares_a_word(table: &Table, around: &Bench<'_>) -> bool {
    let stems = |name: &str| words(name).iter().map(|word| stem(word)).collect::<Words>();
    stems(&table.name.name).intersection(&stems(&around.table.name.name)).next().is_some()
}

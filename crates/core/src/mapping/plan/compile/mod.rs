//! A mapping file against the target's catalog: what would fail or lose later is a fault now, all of them at once.
//!
//! ```text
//!  CollectionFile ── drafts (columns, keys, children) ──▶ Draft tree, with paths ── finish ──▶ Level tree, with slots
//! ```
//!
//! Two steps, because a path of a child may lead up to what is around it: only when all columns of all levels are known is
//! it known which paths are read of a document or element.

use super::{
    order,
    target::{Catalog, Column, ColumnType, Filled, Table, TableName},
};
use crate::mapping::{
    At, CollectionFile, CollectionPlan, ConditionFile, Fault, IdFile, Location, MappingFile, Path, Plan, RootsFile,
    SplitFile, TableFile, TestFile,
    language::fault::{each_cause_once, nearest},
    rows::{
        ids::IdStep,
        map::{Condition, Kind, Literal, Place, Program, Split, Test},
        tree::Tree,
    },
};

mod children;
mod columns;
mod draft;
mod finish;
mod keys;
mod shares;

use draft::{Around, Draft};
use finish::Finisher;

impl Plan {
    /// Checks a mapping file against the target's catalog and compiles it.
    ///
    /// # Errors
    /// Every fault, in the order of the file.
    pub fn compile(file: &MappingFile, catalog: &Catalog) -> Result<Self, Vec<Fault>> {
        let mut compiler = Compiler { file, catalog, faults: Vec::new(), warnings: Vec::new() };
        compiler.check_shares();
        let mut collections: Vec<_> =
            file.collections.iter().filter_map(|collection| compiler.collection(collection)).collect();
        let Compiler { faults, warnings, .. } = compiler;
        if !faults.is_empty() {
            return Err(each_cause_once(faults));
        }
        rank(&mut collections, catalog);
        Ok(Self { collections, warnings: each_cause_once(warnings) })
    }
}

/// Sets the depths. A child table comes after the table around it, foreign key or not.
fn rank(collections: &mut [CollectionPlan], catalog: &Catalog) {
    let references: Vec<_> = collections
        .iter()
        .flat_map(|collection| {
            let around = collection.program.tables_around();
            collection.tables.iter().zip(around).map(|(plan, around)| {
                let parents = catalog.table(&plan.table).into_iter().flat_map(|table| &table.foreign_keys);
                let mut parents: Vec<_> = parents.map(|key| key.parent.clone()).collect();
                let around = around.and_then(|at| collection.tables.get(at)).map(|around| around.table.clone());
                parents.extend(around.filter(|around| *around != plan.table));
                (plan.table.clone(), parents)
            })
        })
        .collect();
    let tables = collections.iter_mut().flat_map(|collection| &mut collection.tables);
    for (plan, depth) in tables.zip(order::ranks(&references)) {
        plan.depth = depth;
    }
}

struct Compiler<'a> {
    file: &'a MappingFile,
    catalog: &'a Catalog,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

/// A root table and what makes its id.
struct Root<'a> {
    file: &'a TableFile,
    /// The column that the mapping names for the id.
    id_column: Option<&'a At<String>>,
}

impl<'a> Compiler<'a> {
    fn collection(&mut self, collection: &'a CollectionFile) -> Option<CollectionPlan> {
        let roots: Vec<Root<'a>> = match &collection.tables {
            RootsFile::One(file) => vec![Root { file, id_column: None }],
            RootsFile::Split(split) => {
                let variants = split.variants.iter();
                variants.map(|variant| Root { file: &variant.table, id_column: variant.id_column.as_ref() }).collect()
            }
        };
        let split = match &collection.tables {
            RootsFile::One(_) => None,
            RootsFile::Split(split) => Some(self.split(collection, split)?),
        };
        let drafts: Vec<_> = roots.iter().map(|root| self.root(collection, root)).collect();
        let mut finisher = Finisher::default();
        let mut kinds = Vec::new();
        for (position, draft) in drafts.into_iter().enumerate() {
            let draft = draft?;
            let by_id = draft.found_by_id();
            let id_column = draft.id_column();
            let level = finisher.root(draft, by_id.then_some(position));
            let id_slot = level.tree.slot(&Path::field("_id"))?;
            let namespace = collection.namespace.unwrap_or_default();
            kinds.push(Kind { level, id_slot, id_column, by_id, namespace });
        }
        if let RootsFile::Split(split) = &collection.tables {
            finisher.reads.add(&[], &split.by.value, true);
        }
        for condition in &collection.filter {
            finisher.reads.add(&[], &condition.path.value, true);
        }
        let id = collection.id.as_ref().map(|id| IdStep::new(&id.value));
        Some(CollectionPlan {
            collection: collection.name.value.clone(),
            on_drop: collection.on_drop,
            may_be_empty: collection.may_be_empty,
            tables: finisher.tables,
            program: Program { id, split, kinds, reads: finisher.reads },
        })
    }

    /// How the kinds of documents are told apart.
    fn split(&mut self, collection: &'a CollectionFile, split: &'a SplitFile) -> Option<Split> {
        self.reaches(&split.by, 0);
        let filter = self.conditions(&collection.filter, 0);
        let mut values: Vec<(Literal, usize)> = Vec::new();
        let mut missing: Option<usize> = None;
        for (kind, variant) in split.variants.iter().enumerate() {
            for value in &variant.is {
                let Some(literal) = Literal::new((&value.value).into()) else { continue };
                match values.iter().find(|(other, _)| *other == literal).and_then(|(_, at)| split.variants.get(*at)) {
                    Some(other) => {
                        let what = format!(
                            "variant `{}` never gets this value: it means `{}`",
                            variant.name.value, other.name.value
                        );
                        self.fault(value, what, "a value means one variant");
                    }
                    None => values.push((literal, kind)),
                }
            }
        }
        for (kind, variant) in split.variants.iter().enumerate().filter(|(_, variant)| variant.missing) {
            match missing.and_then(|at| split.variants.get(at)) {
                Some(other) => {
                    let what = format!(
                        "variant `{}` never gets a document without `{}`: it means `{}`",
                        variant.name.value, split.by.value, other.name.value
                    );
                    self.fault(
                        &variant.name,
                        what,
                        "let one variant say so; a variant named `missing` does without `is`",
                    );
                }
                None => missing = Some(kind),
            }
        }
        if split.variants.is_empty() {
            let hint = "add a table [….variants.<value>] for each kind of document";
            self.fault(&split.by, "`split` has no variants", hint);
            return None;
        }
        let mut paths = vec![split.by.value.clone()];
        paths.extend(filter.iter().map(|condition| condition.at.clone()));
        let tree = Tree::new(paths);
        let place = |path: Path| Place { up: 0, slot: tree.slot(&path).unwrap_or(usize::MAX), path: path.to_string() };
        let by = place(split.by.value.clone());
        let filter = filter.into_iter().map(|condition| condition.resolve(&place)).collect();
        Some(Split { filter, by, values, missing, unlisted: split.unlisted, tree })
    }

    fn root(&mut self, collection: &'a CollectionFile, root: &Root<'a>) -> Option<Draft<'a>> {
        let table = self.table(&root.file.table)?;
        let key = self.key(root.file, table);
        let id = self.root_id(collection, root, table, key.as_deref());
        let key = key?;
        let filter = self.conditions(&root.file.filter, 0);
        let columns = self.columns(root.file, table, id.into_iter().collect(), 0);
        self.root_key(collection, root.file, table, &key, &columns);
        let mut draft = Draft::new(root.file, table, key, filter, columns);
        draft.reads_id = collection.id.is_some();
        let around = vec![Around::root(collection, &draft)];
        draft.children = root.file.children.iter().filter_map(|child| self.child(collection, child, &around)).collect();
        Some(draft)
    }

    /// The table of that name.
    fn table(&mut self, name: &'a At<TableName>) -> Option<&'a Table> {
        let found = self.catalog.table(&name.value);
        if found.is_none() {
            let hint = match self.meant(&name.value) {
                Some(meant) => format!("did you mean `{}.{}`?", meant.schema, meant.name),
                None => "create it, or correct the name; upper and lower case count".to_owned(),
            };
            self.fault(name, format!("table {} does not exist", name.value), hint);
        }
        found
    }

    /// The table that may be meant by a name: of its own name in another schema, else of a name near to it. That the schema is the
    /// same makes no name near.
    fn meant(&self, name: &TableName) -> Option<&'a TableName> {
        let others = || self.catalog.tables.iter().map(|table| &table.name);
        let same = others().find(|other| other.name == name.name);
        same.or_else(|| {
            let here = others().filter(|other| other.schema == name.schema).map(|other| other.name.as_str());
            let meant =
                nearest(&name.name, here).or_else(|| nearest(&name.name, others().map(|other| other.name.as_str())))?;
            others().filter(|other| other.name == meant).max_by_key(|other| other.schema == name.schema)
        })
    }

    /// The conditions of a table that is so many levels below the document.
    fn conditions(&mut self, conditions: &[ConditionFile], level: usize) -> Vec<Condition<Path>> {
        let literals = |values: &[At<bson::raw::RawBson>]| {
            values.iter().filter_map(|value| Literal::new((&value.value).into())).collect()
        };
        let mut compiled = Vec::new();
        for condition in conditions {
            self.reaches(&condition.path, level);
            let test = match &condition.test {
                TestFile::Is(values) => Test::Is(literals(values)),
                TestFile::Not(values) => Test::Not(literals(values)),
                TestFile::Exists(wanted) => Test::Exists(*wanted),
                TestFile::Type(types) => Test::Type(*types),
            };
            compiled.push(Condition { at: condition.path.value.clone(), test });
        }
        compiled
    }

    /// Faults a path that leads further up than the document.
    fn reaches(&mut self, path: &At<Path>, level: usize) {
        if path.value.up() > level {
            let hint = if level == 0 { "only a child has something around it" } else { "use fewer `^`" };
            self.fault(path, format!("`{}` leads above the document", path.value), hint);
        }
    }

    fn column(&mut self, table: &'a Table, name: &At<String>) -> Option<&'a Column> {
        let found = table.column(&name.value);
        if found.is_none() {
            let known = table.columns.iter().map(|column| column.name.as_str());
            let hint = match nearest(&name.value, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => {
                    let has = table.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
                    format!("add it to the table, or remove it here; the table has {has}")
                }
            };
            self.fault(name, format!("table {} has no column {:?}", table.name, name.value), hint);
        }
        found
    }

    /// A column that a rule fills: it must be there and ours to write.
    fn ruled(&mut self, table: &'a Table, name: &At<String>) -> Option<&'a Column> {
        let column = self.column(table, name)?;
        if column.filled == Filled::ByUs {
            return Some(column);
        }
        self.fault(
            name,
            format!("column {:?} of {} is filled by PostgreSQL", column.name, table.name),
            "name another one",
        );
        None
    }

    fn fault<T>(&mut self, at: &At<T>, what: impl Into<String>, hint: impl Into<String>) {
        self.faults.push(self.file.fault(at, what, hint));
    }
}

#[cfg(test)]
mod tests;

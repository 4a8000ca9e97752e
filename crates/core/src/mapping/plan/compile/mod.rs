//! A mapping file against the target's catalog. Everything that would fail or be lost later is a fault now, all of them at once.
//!
//! ```text
//!  CollectionFile ── drafts (columns, keys, children) ──▶ Draft tree, with paths ── finish ──▶ Level tree, with slots
//! ```
//!
//! There are two steps, because a path of a child may lead up to the document around it: the paths that are read in a document
//! or element are known only when all columns of all levels are known.

use super::{CollectionPlan, Plan, order};
use crate::mapping::{
    CollectionFile, Fault, MappingFile, Path, RootsFile, SplitFile,
    language::fault::each_cause_once,
    rows::{
        condition::Literal,
        program::{Kind, Program, Split},
        scope::Place,
        tree::Tree,
    },
    target::Catalog,
};

mod children;
mod columns;
mod compiler;
mod draft;
mod finish;
mod keys;
mod names;
mod policy;
mod shares;

use compiler::Compiler;
use draft::{Around, Draft, Root};
use finish::Finisher;

impl Plan {
    /// Checks a mapping file against the target's catalog and compiles it.
    ///
    /// # Errors
    /// Every fault, in the order of the file.
    pub fn compile(file: &MappingFile, catalog: &Catalog) -> Result<Self, Vec<Fault>> {
        let (plan, faults) = Self::compile_partly(file, catalog);
        if faults.is_empty() { Ok(plan) } else { Err(faults) }
    }

    /// Compiles the collections that have no fault, and returns every fault of the others in the order of the file. Of collections
    /// whose part of the file has faults already, only the names of tables and columns are checked.
    pub fn compile_partly(file: &MappingFile, catalog: &Catalog) -> (Self, Vec<Fault>) {
        let mut compiler = Compiler { file, catalog, faults: Vec::new(), warnings: Vec::new(), is_complete: true };
        compiler.check_shares();
        let mut collections: Vec<_> =
            file.collections.iter().filter_map(|collection| compiler.whole(collection)).collect();
        file.doubtful.iter().for_each(|collection| compiler.check_names_of(collection));
        let Compiler { faults, warnings, .. } = compiler;
        rank(&mut collections, catalog);
        (Self { collections, warnings: each_cause_once(warnings) }, each_cause_once(faults))
    }
}

/// Sets the depths. A child table comes after the table around it, with or without a foreign key.
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

impl<'a> Compiler<'a> {
    /// The plan of a collection without faults, of its own or of collections that it refers to.
    fn whole(&mut self, collection: &'a CollectionFile) -> Option<CollectionPlan> {
        let before = self.faults.len();
        self.is_complete = true;
        let plan = self.collection(collection);
        plan.filter(|_| self.is_complete && self.faults.len() == before)
    }

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
        let id = collection.id.as_ref().map(|id| id.value.step());
        Some(CollectionPlan {
            collection: collection.name.value.clone(),
            on_drop: collection.on_drop,
            may_be_empty: collection.may_be_empty,
            program: Program { tables: finisher.tables.len(), id, split, kinds },
            tables: finisher.tables,
            reads: finisher.reads,
        })
    }

    /// How the kinds of documents are distinguished.
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
                            "variant `{}` never gets this value, which belongs to `{}`",
                            variant.name.value, other.name.value
                        );
                        self.fault(value, what, "a value belongs to one variant");
                    }
                    None => values.push((literal, kind)),
                }
            }
        }
        for (kind, variant) in split.variants.iter().enumerate().filter(|(_, variant)| variant.missing) {
            match missing.and_then(|at| split.variants.get(at)) {
                Some(other) => {
                    let what = format!(
                        "variant `{}` never gets a document without `{}`, which belongs to `{}`",
                        variant.name.value, split.by.value, other.name.value
                    );
                    self.fault(
                        &variant.name,
                        what,
                        "declare it in one variant; a variant named `missing` needs no `is`",
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
}

#[cfg(test)]
mod tests;

//! A mapping file against the target's catalog: what would fail or lose later is a fault now, all of them at once.

use std::collections::HashMap;

use bson::raw::RawBsonRef;

use super::{
    At, ChildFile, CollectionFile, CollectionPlan, ColumnFile, Fault, Found, KeyFrom, Losses, MappingFile, Path, Plan,
    PlanColumn, TablePlan, encode,
    fault::nearest,
    ids::IdStep,
    map::{Child, ElementKey, Program, Source, Step},
    order,
    policy::Policy,
    target::{Catalog, Column, ColumnType, Filled, Table, TableName},
    tree::Tree,
};

impl Plan {
    /// Checks a mapping file against the target's catalog and compiles it.
    ///
    /// # Errors
    /// Every fault, in the order of the file.
    pub fn compile(file: &MappingFile, catalog: &Catalog) -> Result<Self, Vec<Fault>> {
        let mut compiler = Compiler { file, catalog, faults: Vec::new(), warnings: Vec::new(), owners: HashMap::new() };
        let mut collections: Vec<_> =
            file.collections.iter().filter_map(|collection| compiler.collection(collection)).collect();
        let Compiler { mut faults, warnings, .. } = compiler;
        if !faults.is_empty() {
            faults.sort_by(|a, b| a.location.cmp(&b.location));
            return Err(faults);
        }
        rank(&mut collections, catalog);
        Ok(Self { collections, warnings })
    }
}

/// Sets the depths. A child table comes after its root, foreign key or not.
fn rank(collections: &mut [CollectionPlan], catalog: &Catalog) {
    let references: Vec<_> = collections
        .iter()
        .flat_map(|collection| {
            let root = collection.tables.first().map(|root| root.table.clone());
            collection.tables.iter().map(move |plan| {
                let parents = catalog.table(&plan.table).into_iter().flat_map(|table| &table.foreign_keys);
                let mut parents: Vec<_> = parents.map(|key| key.parent.clone()).collect();
                parents.extend(root.clone().filter(|root| *root != plan.table));
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
    /// Which collection writes a table.
    owners: HashMap<&'a TableName, &'a str>,
}

/// A column that is written: what PostgreSQL says about it and where its value comes from.
struct Draft<'a> {
    column: &'a Column,
    origin: Origin,
    reference: Option<IdStep>,
    default: Option<Vec<u8>>,
    policy: Policy,
}

enum Origin {
    Root,
    Index,
    Element,
    Field(Path),
}

/// A column that the mapping fills by a rule.
struct Ruled<'a> {
    name: &'a str,
    origin: Origin,
}

impl<'a> Compiler<'a> {
    fn collection(&mut self, collection: &'a CollectionFile) -> Option<CollectionPlan> {
        let name = collection.name.value.as_str();
        let id = IdStep::new(&collection.id.value);
        let table = self.table(&collection.table, name);
        let key = table.and_then(|table| self.root_key(collection, table, &id));
        let children: Vec<_> =
            collection.children.iter().filter_map(|child| self.child(collection, child, key)).collect();
        let table = table?;
        let ruled = key.iter().map(|key| Ruled { name: &key.name, origin: Origin::Root }).collect();
        let drafts = self.columns(table, &collection.table, &collection.ignore, &collection.columns, ruled);
        let id_path = Path::field("_id");
        let mut paths = vec![id_path.clone()];
        paths.extend(collection.children.iter().map(|child| child.path.value.clone()));
        paths.extend(field_paths(&drafts));
        let tree = Tree::new(paths);
        let id_slot = tree.slot(&id_path)?;
        let (root, steps) = finish(table, drafts, &tree);
        let key = *root.key.first()?;
        let root = TablePlan { found: Found::ById { key: 0, column: key }, ..root };
        let (mut tables, mut programs) = (vec![root], Vec::new());
        for (path, plan, mut program) in children {
            program.slot = tree.slot(path)?;
            tables.push(plan);
            programs.push(program);
        }
        Some(CollectionPlan {
            collection: name.to_owned(),
            on_drop: collection.on_drop,
            tables,
            program: Program { tree, id, id_slot, steps, key, children: programs },
        })
    }

    /// The table of that name, claimed for the collection.
    fn table(&mut self, name: &'a At<TableName>, collection: &'a str) -> Option<&'a Table> {
        if let Some(owner) = self.owners.insert(&name.value, collection) {
            let what = format!("table {} is written twice, for `{owner}` and for `{collection}`", name.value);
            self.fault(name, what, "a row has one document: give each its own table");
        }
        let found = self.catalog.table(&name.value);
        if found.is_none() {
            let known: Vec<_> = self.catalog.tables.iter().map(|table| plain(&table.name)).collect();
            let hint = match nearest(&plain(&name.value), known.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "create it, or correct the name; upper and lower case count".to_owned(),
            };
            self.fault(name, format!("table {} does not exist", name.value), hint);
        }
        found
    }

    /// The root table's primary key column, if the id rule can fill it.
    fn root_key(&mut self, collection: &'a CollectionFile, table: &'a Table, id: &IdStep) -> Option<&'a Column> {
        let at = &collection.id;
        let [name] = table.primary_key.as_slice() else {
            let (what, hint) = if table.primary_key.is_empty() {
                ("no primary key", "add one: without it, no row can be found again")
            } else {
                (
                    "a primary key of several columns",
                    "the row of a document is found by its `_id` alone: make it one column",
                )
            };
            self.fault(&collection.table, format!("table {} has {what}", table.name), hint);
            return None;
        };
        let column = table.column(name)?;
        if let Some(given) = &at.value.column
            && given.value != *name
        {
            let what = format!("`_id` goes into {:?}, but the primary key of {} is {name:?}", given.value, table.name);
            self.fault(given, what, "leave `column` out");
            return None;
        }
        if column.filled != Filled::ByUs {
            let what = format!("the primary key {name:?} of {} is filled by PostgreSQL", table.name);
            self.fault(at, what, "drop its identity or expression: its value must follow from `_id`");
            return None;
        }
        if !id.fits(&column.kind) {
            let what = format!(
                "the primary key {name:?} of {} is {}, which this id rule cannot fill",
                table.name, column.kind
            );
            self.fault(at, what, format!("it needs {}", id.wants()));
            return None;
        }
        Some(column)
    }

    /// A child table and what fills it, with the path of its array.
    fn child(
        &mut self,
        collection: &'a CollectionFile,
        child: &'a ChildFile,
        root_key: Option<&'a Column>,
    ) -> Option<(&'a Path, TablePlan, Child)> {
        let table = self.table(&child.table, &collection.name.value)?;
        let id = IdStep::new(&collection.id.value);
        if child.path.value.segments().is_empty() {
            self.fault(&child.path, "`$` is the document itself, not an array in it", "name the array's field");
        }
        let mut ruled = Vec::new();
        if let Some(column) = self.ruled(table, &child.parent) {
            let other = root_key.filter(|key| !id.fits(&column.kind) || column.kind.param() != key.kind.param());
            if let Some(key) = other {
                let what = format!(
                    "the parent column {:?} of {} is {}, but the primary key it takes is {}",
                    column.name, table.name, column.kind, key.kind
                );
                self.fault(&child.parent, what, "give both the same type");
            }
            ruled.push(Ruled { name: &column.name, origin: Origin::Root });
        }
        if let Some(order) = &child.order
            && let Some(column) = self.ruled(table, order)
        {
            if encode::integer(0, &column.kind).is_err() {
                let what = format!("the order column {:?} of {} is {}", column.name, table.name, column.kind);
                self.fault(order, what, "it takes the element's index: make it integer");
            }
            ruled.push(Ruled { name: &column.name, origin: Origin::Index });
        }
        if let Some(own) = &child.id
            && let Some(column) = self.ruled(table, &own.column)
        {
            if !matches!(column.kind.base(), ColumnType::Uuid | ColumnType::Text | ColumnType::Varchar(None)) {
                let what = format!("the id column {:?} of {} is {}", column.name, table.name, column.kind);
                self.fault(&own.column, what, "ids of child rows are UUIDs: make it uuid or text");
            }
            if id.lacks_namespace() {
                let hint = "set `namespace` at the top of the file: dns, url, oid, x500 or a UUID";
                self.fault(&own.column, "ids of child rows need a namespace", hint);
            }
            ruled.push(Ruled { name: &column.name, origin: Origin::Element });
        }
        for (at, one) in ruled.iter().enumerate() {
            if ruled[..at].iter().any(|other| other.name == one.name) {
                self.fault(&child.path, format!("column {:?} is filled by two rules", one.name), "name it once");
            }
        }
        let drafts = self.columns(table, &child.table, &child.ignore, &child.columns, ruled);
        self.child_key(child, table, &drafts);
        let (key_path, key_from): (Option<Path>, fn(usize) -> ElementKey) = match child.id.as_ref().map(|id| &id.from) {
            Some(KeyFrom::Auto) => (Some(Path::field("_id")), ElementKey::SlotOrIndex),
            Some(KeyFrom::Field(path)) => (Some(path.clone()), ElementKey::Slot),
            Some(KeyFrom::Index) | None => (None, |_| ElementKey::Index),
        };
        // `_id` of an element is looked for in documents only: an array of scalars has none, and is no fault.
        let scalar =
            drafts.iter().all(|draft| !matches!(&draft.origin, Origin::Field(path) if !path.segments().is_empty()));
        let key_path = key_path.filter(|path| !(scalar && *path == Path::field("_id")));
        let tree = Tree::new(field_paths(&drafts).chain(key_path.clone()).collect());
        let element = key_path.and_then(|path| tree.slot(&path)).map_or(ElementKey::Index, key_from);
        let unique = drafts.iter().any(|draft| {
            let by_index = matches!(draft.origin, Origin::Index)
                || (matches!(draft.origin, Origin::Element) && element == ElementKey::Index);
            by_index && table.primary_key.contains(&draft.column.name)
        });
        let parent = drafts.iter().position(|draft| draft.column.name == child.parent.value);
        let found = parent.map_or(Found::Remembered, |column| Found::ById { key: 0, column });
        let (plan, steps) = finish(table, drafts, &tree);
        let key = (!unique).then(|| plan.key.clone());
        // The slot is the root tree's to say, which is made when all children are known.
        let program = Child { path: child.path.value.to_string(), slot: 0, tree, steps, element, key };
        Some((&child.path.value, TablePlan { root: false, found, ..plan }, program))
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

    /// A child's primary key must be among what is written, and tell the elements of one document apart.
    fn child_key(&mut self, child: &ChildFile, table: &Table, drafts: &[Draft<'_>]) {
        if table.primary_key.is_empty() {
            let what = format!("table {} has no primary key", table.name);
            self.fault(&child.table, what, "add one: without it, no row can be found again");
        }
        let written = |name: &String| drafts.iter().find(|draft| draft.column.name == *name);
        for name in &table.primary_key {
            if written(name).is_none() {
                let what = format!("the primary key column {name:?} of {} is not written", table.name);
                self.fault(&child.table, what, "fill it by `id`, `order`, `parent` or a column");
            }
        }
        let only_parent = |name: &String| matches!(written(name), Some(Draft { origin: Origin::Root, .. }));
        if !table.primary_key.is_empty() && table.primary_key.iter().all(only_parent) {
            let what = format!("the primary key of {} is the same for every element", table.name);
            self.fault(&child.table, what, "add a column to it: the one of `order` or of `id`");
        }
    }

    /// The columns of a table that are written, in the table's order.
    fn columns(
        &mut self,
        table: &'a Table,
        at: &At<TableName>,
        ignore: &[At<String>],
        columns: &'a [ColumnFile],
        ruled: Vec<Ruled<'_>>,
    ) -> Vec<Draft<'a>> {
        for name in ignore {
            if let Some(column) = self.column(table, name) {
                let what = if ruled.iter().any(|ruled| ruled.name == name.value) {
                    "filled by a rule of this mapping"
                } else if columns.iter().any(|column| column.name.value == name.value) {
                    "also mapped"
                } else if column.not_null && !column.has_default && column.filled == Filled::ByUs {
                    "NOT NULL and has no default"
                } else {
                    continue;
                };
                let what = format!("column {:?} of {} is ignored, but it is {what}", name.value, table.name);
                self.fault(name, what, "take it off `ignore`");
            }
        }
        for column in columns {
            if self.column(table, &column.name).is_some() && ruled.iter().any(|ruled| ruled.name == column.name.value) {
                let what = format!("column {:?} of {} is already filled by a rule", column.name.value, table.name);
                self.fault(&column.name, what, "remove it from `columns`");
            }
        }
        let mut ruled = ruled;
        table
            .columns
            .iter()
            .filter(|column| !ignore.iter().any(|name| name.value == column.name))
            .filter_map(|column| {
                let file = columns.iter().find(|file| file.name.value == column.name);
                if let Some(rule) = ruled.iter().position(|ruled| ruled.name == column.name) {
                    let origin = ruled.swap_remove(rule).origin;
                    return Some(Draft { column, origin, reference: None, default: None, policy: Policy::default() });
                }
                self.draft(table, at, column, file)
            })
            .collect()
    }

    /// A column that takes a field.
    fn draft(
        &mut self,
        table: &Table,
        at: &At<TableName>,
        column: &'a Column,
        file: Option<&ColumnFile>,
    ) -> Option<Draft<'a>> {
        let at = file.map_or_else(|| at.with(()), |file| file.name.with(()));
        let name = format!("column {:?} of {}", column.name, table.name);
        if column.filled != Filled::ByUs {
            // Only a fault where somebody wants to write it.
            file?;
            self.fault(&at, format!("{name} is filled by PostgreSQL"), "remove it from `columns`");
            return None;
        }
        if let Some(unsupported) = unsupported(&column.kind) {
            let hint = "list it in `ignore`, or give it a type that this version writes";
            self.fault(&at, format!("{name} has type {unsupported}, which is not supported"), hint);
            return None;
        }
        if matches!(column.kind.base(), ColumnType::Timestamp { .. }) {
            let what = format!("{name} has no time zone: instants are stored in UTC");
            let fault = self.file.fault(&at, what, "timestamp with time zone says so itself");
            self.warnings.push(fault);
        }
        let reference = file.and_then(|file| file.reference.as_ref()).and_then(|name| self.reference(name, column));
        let default = file.and_then(|file| file.default.as_ref()).and_then(|default| {
            let mut bytes = Vec::new();
            let value = RawBsonRef::from(&default.value).into();
            match encode::write(value, &column.kind, None, &Policy::default(), &mut Losses::default(), &mut bytes) {
                Ok(_) => Some(bytes),
                Err(reason) => {
                    let what = format!("{name} is {} and cannot take this default: {reason}", column.kind);
                    self.fault(default, what, "write it as a document would hold it");
                    None
                }
            }
        });
        let policy = match file.map(|file| Policy::compile(&file.policy, &column.kind)) {
            None => Policy::default(),
            Some(Ok(policy)) => policy,
            Some(Err(faults)) => {
                for fault in faults {
                    let (what, hint) = fault.value.clone();
                    self.fault(&fault, what, hint);
                }
                return None;
            }
        };
        let path = file.and_then(|file| file.path.as_ref());
        let path = path.map_or_else(|| Path::field(column.name.clone()), |path| path.value.clone());
        Some(Draft { column, origin: Origin::Field(path), reference, default, policy })
    }

    /// The id rule of the collection that a column refers to.
    fn reference(&mut self, name: &At<String>, column: &Column) -> Option<IdStep> {
        let known = || self.file.collections.iter().map(|collection| collection.name.value.as_str());
        let Some(collection) = self.file.collections.iter().find(|collection| collection.name.value == name.value)
        else {
            let hint = match nearest(&name.value, known()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("mapped are: {}", known().collect::<Vec<_>>().join(", ")),
            };
            self.fault(name, format!("the reference points to `{}`, which is not mapped", name.value), hint);
            return None;
        };
        let id = IdStep::new(&collection.id.value);
        let kind = match column.kind.base() {
            ColumnType::Array(element) => element,
            kind => kind,
        };
        if !id.fits(kind) {
            let what =
                format!("column {:?} is {}, which cannot hold an id of `{}`", column.name, column.kind, name.value);
            self.fault(name, what, format!("it needs {}", id.wants()));
            return None;
        }
        Some(id)
    }

    fn column(&mut self, table: &'a Table, name: &At<String>) -> Option<&'a Column> {
        let found = table.column(&name.value);
        if found.is_none() {
            let known = table.columns.iter().map(|column| column.name.as_str());
            let hint = match nearest(&name.value, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "add it to the table, or remove it here".to_owned(),
            };
            self.fault(name, format!("table {} has no column {:?}", table.name, name.value), hint);
        }
        found
    }

    fn fault<T>(&mut self, at: &At<T>, what: impl Into<String>, hint: impl Into<String>) {
        self.faults.push(self.file.fault(at, what, hint));
    }
}

fn plain(name: &TableName) -> String {
    format!("{}.{}", name.schema, name.name)
}

fn field_paths<'d>(drafts: &'d [Draft<'_>]) -> impl Iterator<Item = Path> + 'd {
    drafts.iter().filter_map(|draft| match &draft.origin {
        Origin::Field(path) => Some(path.clone()),
        Origin::Root | Origin::Index | Origin::Element => None,
    })
}

/// What of a type is not supported.
fn unsupported(kind: &ColumnType) -> Option<&ColumnType> {
    match kind.base() {
        ColumnType::Array(element) => match element.base() {
            ColumnType::Array(_) => Some(kind),
            element => unsupported(element),
        },
        kind @ ColumnType::Unsupported(_) => Some(kind),
        _ => None,
    }
}

/// The plan of a table and its steps. The parent's position and the depth are set by the caller.
fn finish(table: &Table, drafts: Vec<Draft<'_>>, tree: &Tree) -> (TablePlan, Vec<Step>) {
    let columns: Vec<_> = drafts
        .iter()
        .map(|draft| {
            let (param_type, oid) = draft.column.kind.param();
            PlanColumn {
                name: draft.column.name.clone(),
                sql_type: draft.column.sql_type.clone(),
                param_type: param_type.to_owned(),
                param_oid: Some(oid),
                lookup: None,
                place: None,
            }
        })
        .collect();
    let key =
        table.primary_key.iter().filter_map(|name| columns.iter().position(|column| column.name == *name)).collect();
    let plan = TablePlan {
        table: table.name.clone(),
        columns,
        key,
        root: true,
        found: Found::Remembered,
        uniques: !table.uniques.is_empty(),
        depth: 0,
    };
    let steps = drafts
        .into_iter()
        .map(|draft| Step {
            column: draft.column.name.clone(),
            source: match draft.origin {
                Origin::Root => Source::Root,
                Origin::Index => Source::Index,
                Origin::Element => Source::Element,
                // Every path of a draft is in the tree; one that were not would read as absent.
                Origin::Field(path) => {
                    Source::Field { slot: tree.slot(&path).unwrap_or(usize::MAX), path: path.to_string() }
                }
            },
            kind: draft.column.kind.clone(),
            not_null: draft.column.not_null,
            reference: draft.reference,
            default: draft.default,
            policy: draft.policy,
        })
        .collect();
    (plan, steps)
}

#[cfg(test)]
mod tests;

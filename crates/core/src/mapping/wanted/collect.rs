//! Collects the tables of a mapping file.

use super::{ELEMENT, Kind, WantedColumn, WantedTable, kinds};
use crate::mapping::{
    At, ChildFile, CollectionFile, ColumnFile, IdFile, KeyFrom, MappingFile, Path, ReferenceFile, RootsFile, Shape,
    TableFile,
    language::path::Segment,
    target::{Catalog, TableName},
};

/// Name of the key where neither the mapping nor the target says one.
const ID: &str = "id";
/// Every name of a map.
const EVERY_NAME: &str = "*";

impl MappingFile {
    /// The tables that this mapping writes, each once, in the order of their names. The catalog gives the keys of those that exist.
    pub fn wanted(&self, catalog: &Catalog) -> Vec<WantedTable> {
        let mut collector = Collector { file: self, catalog, tables: Vec::new() };
        for collection in &self.collections {
            match &collection.tables {
                RootsFile::One(file) => collector.root(collection, file, None),
                RootsFile::Split(split) => split.variants.iter().for_each(|variant| {
                    collector.root(collection, &variant.table, variant.id_column.as_ref());
                }),
            }
        }
        collector.tables.sort_by(|a, b| a.table.cmp(&b.table));
        collector.tables
    }
}

struct Collector<'a> {
    file: &'a MappingFile,
    catalog: &'a Catalog,
    tables: Vec<WantedTable>,
}

/// A row that children are below.
#[derive(Clone)]
struct Around {
    table: TableName,
    /// Its id: column and type.
    id: Option<(String, Kind)>,
    /// Its path from the document.
    names: Vec<String>,
}

impl<'a> Collector<'a> {
    fn root(&mut self, collection: &'a CollectionFile, file: &'a TableFile, id_column: Option<&At<String>>) {
        let name = &collection.name.value;
        let id = collection.id.as_ref().map(|id| {
            let column = id_column.or(id.value.column.as_ref()).map(|column| column.value.clone());
            let kind = kinds::of_id(&id.value).map_or(Kind::Unknown, |kind| Kind::Said(kind.to_owned()));
            (column.unwrap_or_else(|| self.key_of(&file.table.value)), kind)
        });
        let mut columns: Vec<_> = id.iter().map(|(column, kind)| said(column, "_id", kind.clone(), None)).collect();
        let around = Around { table: file.table.value.clone(), id: id.clone(), names: Vec::new() };
        let outer = [around];
        columns.extend(file.columns.iter().map(|column| self.column(name, column, &outer)));
        let key = match (file.key.as_slice(), id) {
            ([], Some((column, _))) => vec![column],
            (key, _) => key.iter().map(|column| column.value.clone()).collect(),
        };
        self.add(name, file, columns, key);
        file.children.iter().for_each(|child| self.child(name, child, &outer));
    }

    /// Name of the only column of a table's key, or the usual one.
    fn key_of(&self, table: &TableName) -> String {
        match self.catalog.table(table).map(|table| table.primary_key.as_slice()) {
            Some([column]) => column.clone(),
            _ => ID.to_owned(),
        }
    }

    fn child(&mut self, collection: &str, child: &'a ChildFile, around: &[Around]) {
        let (Some(parent), Some(root)) = (around.last(), around.first()) else { return };
        let mut names = joined(&parent.names, &child.path.value);
        match child.shape {
            Shape::Map => names.push(EVERY_NAME.to_owned()),
            Shape::Array => names.push(ELEMENT.to_owned()),
            Shape::Document => {}
        }
        let mut columns = Vec::new();
        let mut key = Vec::new();
        let mut own = None;
        for (column, row) in [(&child.parent, parent), (&child.root, root)] {
            if let Some(column) = column {
                let kind = row.id.as_ref().map_or(Kind::Unknown, |(_, kind)| kind.clone());
                let words = format!("the id of {}", row.table.label());
                columns.push(said(&column.value, &words, kind, Some(row.table.clone())));
            }
        }
        key.extend(child.parent.iter().map(|column| column.value.clone()));
        if let Some(column) = &child.order {
            columns.push(said(&column.value, "the index in the array", Kind::Said("integer".to_owned()), None));
            key.push(column.value.clone());
        }
        if let Some(map) = &child.map_key {
            let refers = map.reference.as_ref().and_then(|name| self.table_of(&name.value));
            let id = map.id.as_ref().or_else(|| map.reference.as_ref().and_then(|name| self.id_of(&name.value)));
            let kind = id.map_or(Some("text"), |id| kinds::of_id(&id.value));
            let kind = kind.map_or(Kind::Unknown, |kind| Kind::Said(kind.to_owned()));
            columns.push(said(&map.column.value, "the key in the map", kind, refers));
            key.push(map.column.value.clone());
        }
        if let Some(id) = &child.id {
            let kind = id.rule.as_ref().map_or(Some("uuid"), |rule| kinds::of_id(&rule.value));
            let kind = kind.map_or(Kind::Unknown, |kind| Kind::Said(kind.to_owned()));
            let from = match &id.from {
                KeyFrom::Field(path) => format!("the element's {path}"),
                KeyFrom::Index => "the element's index".to_owned(),
                KeyFrom::Name => "the element's key".to_owned(),
                KeyFrom::Auto => "the element".to_owned(),
            };
            columns.push(said(&id.column.value, &format!("an id made of {from}"), kind.clone(), None));
            key = vec![id.column.value.clone()];
            own = Some((id.column.value.clone(), kind));
        }
        let mut inner = around.to_vec();
        inner.push(Around { table: child.table.table.value.clone(), id: own, names });
        let named = child.table.columns.iter().map(|column| self.column(collection, column, &inner));
        columns.extend(named);
        let is_placed = child.order.is_some() || child.map_key.is_some() || child.id.is_some();
        if !is_placed && child.shape != Shape::Document {
            let whole = |column: &&ColumnFile| column.paths.iter().any(|path| path.value.is_whole());
            key.extend(child.table.columns.iter().filter(whole).map(|column| column.name.value.clone()));
        }
        if !child.table.key.is_empty() {
            key = child.table.key.iter().map(|column| column.value.clone()).collect();
        }
        self.add(collection, &child.table, columns, key);
        child.table.children.iter().for_each(|child| self.child(collection, child, &inner));
    }

    fn column(&self, collection: &str, column: &ColumnFile, around: &[Around]) -> WantedColumn {
        let name = &column.name.value;
        let own = vec![Path::field(name.clone())];
        let paths =
            if column.paths.is_empty() { own } else { column.paths.iter().map(|path| path.value.clone()).collect() };
        let words = paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        if column.rest.is_some() {
            return said(name, "the fields that nothing else reads", Kind::Said("jsonb".to_owned()), None);
        }
        if let Some(value) = &column.constant {
            let kind = kinds::of_value(&value.value).map_or(Kind::Unknown, |kind| Kind::Said(kind.to_owned()));
            return said(name, "a constant", kind, None);
        }
        let names: Vec<Vec<String>> = paths.iter().filter_map(|path| absolute(path, around)).collect();
        if names.iter().any(Vec::is_empty) && around.len() == 1 {
            return said(name, "the whole document", Kind::Said("jsonb".to_owned()), None);
        }
        let (id, refers) = match (&column.id, &column.reference) {
            (Some(id), _) => (Some(id), None),
            (None, Some(ReferenceFile::To(to))) => (self.id_of(&to.value), self.table_of(&to.value)),
            (None, Some(ReferenceFile::By { to, .. })) => (to.iter().find_map(|(_, to)| self.id_of(&to.value)), None),
            (None, None) => (None, None),
        };
        let is_id = column.id.is_some() || column.reference.is_some();
        let policy = &column.policy;
        let said_kind = match id {
            Some(id) => kinds::of_id(&id.value).map(str::to_owned),
            None if is_id => None,
            None if policy.epoch.is_some() => Some("timestamp with time zone".to_owned()),
            None if !policy.coerce.is_empty() => Some(kinds::of_coercion(policy.coerce[0].value).to_owned()),
            None if !policy.translate.is_empty() => kinds::of_value(&policy.translate[0].1.value).map(str::to_owned),
            None => None,
        };
        let kind = match said_kind {
            Some(kind) => Kind::Said(kind),
            None if is_id => Kind::Unknown,
            None => Kind::OfPaths(collection.to_owned(), names),
        };
        said(name, &words, kind, refers)
    }

    fn collection(&self, name: &str) -> Option<&'a CollectionFile> {
        self.file.collections.iter().find(|collection| collection.name.value == name)
    }

    fn id_of(&self, collection: &str) -> Option<&'a At<IdFile>> {
        self.collection(collection)?.id.as_ref()
    }

    /// The only table of a collection's documents.
    fn table_of(&self, collection: &str) -> Option<TableName> {
        match &self.collection(collection)?.tables {
            RootsFile::One(file) => Some(file.table.value.clone()),
            RootsFile::Split(_) => None,
        }
    }

    /// Adds a table, or its columns to the one that another part of the mapping names.
    fn add(&mut self, collection: &str, file: &TableFile, columns: Vec<WantedColumn>, key: Vec<String>) {
        let ignored = file.ignore.iter().map(|name| name.value.clone());
        let Some(known) = self.tables.iter_mut().find(|known| known.table == file.table.value) else {
            return self.tables.push(WantedTable {
                table: file.table.value.clone(),
                place: self.file.location(&file.table),
                collections: vec![collection.to_owned()],
                columns,
                key,
                ignored: ignored.collect(),
            });
        };
        known.ignored.extend(ignored);
        if !known.collections.iter().any(|name| name == collection) {
            known.collections.push(collection.to_owned());
        }
        for column in columns {
            if !known.columns.iter().any(|other| other.name == column.name) {
                known.columns.push(column);
            }
        }
    }
}

fn said(name: &str, source: &str, kind: Kind, refers: Option<TableName>) -> WantedColumn {
    WantedColumn { name: name.to_owned(), source: source.to_owned(), kind, refers }
}

/// The names of a path from the document; `None` for one that leads above it.
fn absolute(path: &Path, around: &[Around]) -> Option<Vec<String>> {
    let start = around.len().checked_sub(1 + path.up())?;
    Some(joined(&around.get(start)?.names, path))
}

/// The names of a path below others; indexes are looked through.
fn joined(names: &[String], path: &Path) -> Vec<String> {
    let below = path.segments().iter().filter_map(|segment| match segment {
        Segment::Field(name) => Some(name.clone()),
        Segment::Index(_) => None,
    });
    names.iter().cloned().chain(below).collect()
}

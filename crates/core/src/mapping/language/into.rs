//! The same mapping with its tables in another schema.

use std::collections::BTreeSet;

use crate::mapping::{
    MappingFile,
    language::file::{CollectionFile, RootsFile, TableFile},
    target::TableName,
};

impl MappingFile {
    /// The schemas of the tables that the file writes. Tables in which ids are only looked up do not count.
    pub fn schemas(&self) -> BTreeSet<&str> {
        let mut schemas = BTreeSet::new();
        for root in self.collections.iter().flat_map(roots) {
            each(root, &mut |table| {
                schemas.insert(table.table.value.schema.as_str());
            });
        }
        schemas
    }

    /// Returns the mapping with every table that it writes in this schema. Tables in which ids are looked up stay where they are, and
    /// so does the text: the digest is that of the file.
    #[must_use]
    pub fn into_schema(mut self, schema: &str) -> Self {
        for root in self.collections.iter_mut().chain(&mut self.doubtful).flat_map(roots_mut) {
            move_to(root, schema);
        }
        self
    }
}

fn roots(collection: &CollectionFile) -> Vec<&TableFile> {
    match &collection.tables {
        RootsFile::One(table) => vec![table],
        RootsFile::Split(split) => split.variants.iter().map(|variant| &variant.table).collect(),
    }
}

fn roots_mut(collection: &mut CollectionFile) -> Vec<&mut TableFile> {
    match &mut collection.tables {
        RootsFile::One(table) => vec![table],
        RootsFile::Split(split) => split.variants.iter_mut().map(|variant| &mut variant.table).collect(),
    }
}

/// Shows a table and the tables below it.
fn each<'f>(table: &'f TableFile, show: &mut dyn FnMut(&'f TableFile)) {
    show(table);
    for child in &table.children {
        each(&child.table, show);
    }
}

fn move_to(table: &mut TableFile, schema: &str) {
    let moved = TableName::new(schema, table.table.value.name.clone());
    table.table.value = moved;
    for child in &mut table.children {
        move_to(&mut child.table, schema);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "namespace = \"dns\"\n\
        [collections.orders]\ntable = \"app.orders\"\nid = \"uuid5\"\n\
        [collections.orders.children.items]\ntable = \"app.items\"\nparent = \"order_id\"\nid = \"id\"\n\
        [collections.users]\ntable = \"app.users\"\nid = { rule = \"lookup\", table = \"ids.users\", from = \"old\", to = \"id\" }\n";

    #[test]
    fn every_table_that_is_written_moves() {
        let (file, faults) = MappingFile::parse_partly(FILE, "m.toml");
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(file.schemas(), BTreeSet::from(["app"]));
        let digest = file.digest();
        let moved = file.into_schema("app_v2");
        assert_eq!(moved.schemas(), BTreeSet::from(["app_v2"]));
        assert!(format!("{moved:?}").contains("\"ids\""), "the lookup stays");
        assert_eq!(moved.digest(), digest);
    }
}

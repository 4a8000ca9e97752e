//! Names of tables and columns alone: all that can be checked of a collection whose part of the file has faults.

use super::compiler::Compiler;
use crate::mapping::{At, CollectionFile, RootsFile, TableFile, target::Table};

impl<'a> Compiler<'a> {
    /// Faults the tables and columns of a collection that do not exist.
    pub(super) fn check_names_of(&mut self, collection: &'a CollectionFile) {
        match &collection.tables {
            RootsFile::One(file) => self.check_names_in(file, &[]),
            RootsFile::Split(split) => split.variants.iter().for_each(|variant| {
                let own: Vec<_> = variant.id_column.iter().collect();
                self.check_names_in(&variant.table, &own);
            }),
        }
    }

    fn check_names_in(&mut self, file: &'a TableFile, own: &[&'a At<String>]) {
        if let Some(table) = self.table(&file.table) {
            let named = file.columns.iter().map(|column| &column.name);
            let names = own.iter().copied().chain(&file.key).chain(&file.ignore).chain(named);
            names.for_each(|name| self.check_name(table, name));
        }
        for child in &file.children {
            let rules = [&child.parent, &child.root, &child.order].into_iter().flatten();
            let map_key = child.map_key.iter().map(|key| &key.column);
            let id = child.id.iter().map(|id| &id.column);
            let own: Vec<_> = rules.chain(map_key).chain(id).collect();
            self.check_names_in(&child.table, &own);
        }
    }

    fn check_name(&mut self, table: &'a Table, name: &At<String>) {
        self.column(table, name);
    }
}

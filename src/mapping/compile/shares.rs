//! Tables that several parts of a mapping write: each must say so, because then no part owns the rows.

use std::collections::HashMap;

use super::{Compiler, RootsFile, TableFile, TableName};

impl<'a> Compiler<'a> {
    /// Faults tables that are written twice without `shared`.
    pub(super) fn check_shares(&mut self) {
        let mut writers: HashMap<&'a TableName, Vec<(&'a TableFile, &'a str)>> = HashMap::new();
        for collection in &self.file.collections {
            let mut tables = Vec::new();
            match &collection.tables {
                RootsFile::One(table) => collect(table, &mut tables),
                RootsFile::Split(split) => {
                    split.variants.iter().for_each(|variant| collect(&variant.table, &mut tables));
                }
            }
            for table in tables {
                let earlier = writers.entry(&table.table.value).or_default();
                self.check_share(table, &collection.name.value, earlier);
                earlier.push((table, &collection.name.value));
            }
        }
    }

    fn check_share(&mut self, table: &'a TableFile, collection: &str, earlier: &[(&'a TableFile, &'a str)]) {
        let name = &table.table;
        for (other, owner) in earlier {
            match (table.shared, other.shared) {
                (true, true) => {}
                (false, false) => {
                    let what = format!("table {} is written twice, for `{owner}` and for `{collection}`", name.value);
                    self.fault(name, what, "give each its own table, or say `shared = true` in both");
                    return;
                }
                (ours, _) => {
                    let (silent, of) = if ours { (&other.table, *owner) } else { (name, collection) };
                    let what = format!("table {} is shared, but `{of}` does not say so", name.value);
                    self.fault(silent, what, "add `shared = true` there too");
                }
            }
        }
    }
}

fn collect<'a>(table: &'a TableFile, into: &mut Vec<&'a TableFile>) {
    into.push(table);
    table.children.iter().for_each(|child| collect(&child.table, into));
}

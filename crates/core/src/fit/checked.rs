//! The file in which everything compiles, as `check` compiles it.

use std::collections::BTreeSet;

use super::{
    Fitted, Fitter,
    file::{Parts, write},
    ids::uuids,
    model::{Level, Root},
};
use crate::{
    draft::ObjectIds,
    mapping::{
        Fault, MappingFile, Plan,
        target::{Catalog, TableName},
    },
};

/// Name of the file in its own faults.
const NAME: &str = "mapping.toml";

impl Fitter<'_> {
    /// The file in which everything compiles: collections with faults become comments.
    pub(super) fn checked(mut self, roots: &[Root]) -> Fitted {
        let mut refused = std::mem::take(&mut self.refused);
        self.notes.sort();
        loop {
            let kept: Vec<&Root> = roots.iter().filter(|root| !refused.contains_key(&root.collection)).collect();
            let mut tables = BTreeSet::new();
            let mut add = |level: &Level| {
                tables.insert(level.table.clone());
            };
            kept.iter().flat_map(|root| root.levels()).for_each(|level| level.each(&mut add));
            let names = self.target.catalog.tables.iter().map(|table| &table.name);
            let unwritten: Vec<TableName> = names.filter(|name| !tables.contains(*name)).cloned().collect();
            let written = write(&Parts {
                database: &self.analysis.database,
                ids: in_words(self.ids),
                roots,
                refused: &refused,
                notes: &self.notes,
                unwritten: &unwritten,
                rule: uuids(self.ids),
            });
            let faults = faults(&written.text, &self.target.catalog);
            let before = refused.len();
            for fault in faults {
                let line = fault.location.as_ref().map_or(0, |location| location.line);
                let at = written.lines.iter().find(|(_, lines)| lines.contains(&line));
                if let Some((collection, _)) = at {
                    refused.entry(collection.clone()).or_insert_with(|| format!("{}; {}", fault.what, fault.hint));
                }
            }
            if refused.len() == before {
                let counts = kept.iter().flat_map(|root| root.levels()).map(Level::count);
                let (placed, open) = counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
                return Fitted { mapping: written.text, collections: kept.len(), tables: tables.len(), placed, open };
            }
        }
    }
}

/// The faults that `check` finds in the file.
fn faults(text: &str, catalog: &Catalog) -> Vec<Fault> {
    let (file, mut faults) = MappingFile::parse_partly(text, NAME);
    faults.extend(Plan::compile_partly(&file, catalog).1);
    faults
}

fn in_words(ids: ObjectIds) -> &'static str {
    match uuids(ids) {
        "pad_right" => "their bytes, then zeros",
        "pad_left" => "zeros, then their bytes",
        "md5" => "the MD5 of their digits",
        _ => "version-5 UUIDs in this namespace",
    }
}

//! Tables that several parts of a mapping write. Each part must declare that, because then no part owns the rows.

use std::collections::HashMap;

use super::compiler::Compiler;
use crate::mapping::{RootsFile, TableFile, target::TableName};

/// A part of the mapping that writes a table.
struct Writer<'a> {
    file: &'a TableFile,
    /// Which part: `orders`, or `orders.lines` for what is embedded.
    part: String,
}

impl<'a> Compiler<'a> {
    /// Faults tables that are written twice without `shared`.
    pub(crate) fn check_shares(&mut self) {
        let mut writers: HashMap<&'a TableName, Vec<Writer<'a>>> = HashMap::new();
        for collection in &self.file.collections {
            let mut found = Vec::new();
            let name = &collection.name.value;
            match &collection.tables {
                RootsFile::One(table) => collect(table, name.clone(), &mut found),
                RootsFile::Split(split) => split.variants.iter().for_each(|variant| {
                    collect(&variant.table, format!("{name}.variants.{}", variant.name.value), &mut found);
                }),
            }
            for writer in found {
                let earlier = writers.entry(&writer.file.table.value).or_default();
                self.check_share(&writer, earlier);
                earlier.push(writer);
            }
        }
    }

    fn check_share(&mut self, writer: &Writer<'a>, earlier: &[Writer<'a>]) {
        let name = &writer.file.table;
        for other in earlier {
            match (writer.file.shared, other.file.shared) {
                (true, true) => {}
                (false, false) => {
                    let what = format!(
                        "table {} is written twice, for `{}` (line {}) and for `{}` (line {})",
                        name.value, other.part, other.file.table.line, writer.part, name.line
                    );
                    self.fault(name, what, "give each its own table, or set `shared = true` in both");
                    return;
                }
                (ours, _) => {
                    let silent = if ours { other } else { writer };
                    let what = format!("table {} is shared, but `{}` does not say so", name.value, silent.part);
                    self.fault(&silent.file.table, what, "add `shared = true` there too");
                }
            }
        }
    }
}

fn collect<'a>(file: &'a TableFile, part: String, into: &mut Vec<Writer<'a>>) {
    into.push(Writer { file, part: part.clone() });
    for child in &file.children {
        collect(&child.table, format!("{part}.{}", child.path.value), into);
    }
}

//! The compiler: names looked up in the catalog, conditions, and the faults so far. Every step needs it.

use crate::mapping::{
    At, ConditionFile, Fault, MappingFile, Path, TestFile,
    language::fault::nearest,
    rows::condition::{Condition, Literal, Test},
    target::{Catalog, Column, Filled, Table, TableName},
};

/// A mapping file that is being compiled.
pub(super) struct Compiler<'a> {
    pub(super) file: &'a MappingFile,
    pub(super) catalog: &'a Catalog,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
    /// Whether everything is known that the collection at hand refers to.
    pub(super) is_complete: bool,
}

impl<'a> Compiler<'a> {
    /// The table of that name.
    pub(super) fn table(&mut self, name: &'a At<TableName>) -> Option<&'a Table> {
        let found = self.catalog.table(&name.value);
        if found.is_none() {
            let hint = match self.meant(&name.value) {
                Some(meant) => format!("did you mean `{}`?", meant.label()),
                None => "create it, or correct the name; upper and lower case count".to_owned(),
            };
            self.fault(name, format!("table {} does not exist", name.value), hint);
        }
        found
    }

    /// The table that a wrong name may mean: the same name in another schema, else a similar name. An equal schema does not make
    /// names similar.
    pub(super) fn meant(&self, name: &TableName) -> Option<&'a TableName> {
        let others = || self.catalog.tables.iter().map(|table| &table.name);
        let same = others().find(|other| other.name == name.name);
        same.or_else(|| {
            let here = others().filter(|other| other.schema == name.schema).map(|other| other.name.as_str());
            let meant =
                nearest(&name.name, here).or_else(|| nearest(&name.name, others().map(|other| other.name.as_str())))?;
            others().filter(|other| other.name == meant).max_by_key(|other| other.schema == name.schema)
        })
    }

    /// The conditions of a table that is `level` levels below the document.
    pub(super) fn conditions(&mut self, conditions: &[ConditionFile], level: usize) -> Vec<Condition<Path>> {
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
    pub(super) fn reaches(&mut self, path: &At<Path>, level: usize) {
        if path.value.up() > level {
            let hint = if level == 0 { "only the path of a child can lead up" } else { "use fewer `^`" };
            self.fault(path, format!("`{}` leads above the document", path.value), hint);
        }
    }

    pub(super) fn column(&mut self, table: &'a Table, name: &At<String>) -> Option<&'a Column> {
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

    /// A column that a rule fills: it must exist, and PostgreSQL must not fill it.
    pub(super) fn ruled(&mut self, table: &'a Table, name: &At<String>) -> Option<&'a Column> {
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

    pub(super) fn fault<T>(&mut self, at: &At<T>, what: impl Into<String>, hint: impl Into<String>) {
        self.faults.push(self.file.fault(at, what, hint));
    }
}

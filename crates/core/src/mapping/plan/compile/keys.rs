//! Keys: the columns by which a row is found again, and their sources.

use super::{
    compiler::Compiler,
    draft::{ColumnDraft, Root, Ruled},
};
use crate::mapping::{
    At, CollectionFile, TableFile,
    rows::step::{Convert, Source},
    target::{Column, ColumnType, Filled, Table},
};

impl<'a> Compiler<'a> {
    /// The columns of a table's key: those that the mapping names, else the primary key.
    pub(crate) fn key(&mut self, file: &TableFile, table: &'a Table) -> Option<Vec<String>> {
        let Some(first) = file.key.first() else {
            if table.primary_key.is_empty() {
                let what = format!("table {} has no primary key", table.name);
                let hint = "add one, or name the columns of a unique constraint in `key`: a row must be found again";
                self.fault(&file.table, what, hint);
                return None;
            }
            return Some(table.primary_key.clone());
        };
        let known = file.key.iter().filter(|name| self.column(table, name).is_some()).count();
        if known < file.key.len() {
            return None;
        }
        let named =
            |key: &[String]| key.len() == file.key.len() && file.key.iter().all(|name| key.contains(&name.value));
        let Some(key) = std::iter::once(&table.primary_key).chain(&table.uniques).find(|key| named(key)) else {
            let what = format!("no unique constraint of {} has exactly the columns of this key", table.name);
            let uniques = std::iter::once(&table.primary_key).chain(&table.uniques).map(|key| key.join(", "));
            let hint =
                format!("unique constraints: {}", uniques.filter(|key| !key.is_empty()).collect::<Vec<_>>().join("; "));
            self.fault(first, what, hint);
            return None;
        };
        let nullable = |name: &&String| table.column(name).is_some_and(|column| !column.not_null);
        if *key != table.primary_key
            && let Some(name) = key.iter().find(nullable)
        {
            let what = format!("the key column {name:?} of {} is nullable; a key column must be NOT NULL", table.name);
            self.fault(first, what, "make it NOT NULL, or use another key");
            return None;
        }
        Some(key.clone())
    }

    /// The column that takes the id of a document, if the id rule can fill it.
    pub(crate) fn root_id(
        &mut self,
        collection: &'a CollectionFile,
        root: &Root<'a>,
        table: &'a Table,
        key: Option<&[String]>,
    ) -> Option<Ruled<'a>> {
        let at = collection.id.as_ref()?;
        let named = root.id_column.or(at.value.column.as_ref());
        let (place, column) = match named {
            Some(name) => (name.with(()), self.ruled(table, name)?),
            None => (at.with(()), self.default_id_column(root.file, table, key?, at)?),
        };
        let rule = at.value.step();
        let role = if table.primary_key == [column.name.clone()] { "primary key" } else { "id column" };
        if self.folds(&place, table, role, column) {
            return None;
        }
        if !rule.fits(&column.kind) {
            let what = format!(
                "the {role} {:?} of {} is {}, which this id rule cannot fill",
                column.name, table.name, column.kind
            );
            self.fault(&place, what, rule.hint(&column.kind));
            return None;
        }
        let lookup = self.lookup(&rule, at);
        Some(Ruled { column, place, source: Source::Root, convert: Convert::Nothing, lookup })
    }

    /// Faults a key column that takes different texts for equal, because then it cannot distinguish documents.
    pub(crate) fn folds<T>(&mut self, place: &At<T>, table: &Table, role: &str, column: &Column) -> bool {
        if column.folds {
            let by = match column.kind.base() {
                ColumnType::Citext => "is citext",
                _ => "has a collation that is not deterministic",
            };
            let what = format!(
                "the {role} {:?} of {} {by}: different ids would be equal there, and two documents would be one row",
                column.name, table.name
            );
            self.fault(place, what, "make it text with a deterministic collation, such as COLLATE \"C\"");
        }
        column.folds
    }

    /// The only column of the primary key, or else of the key.
    fn default_id_column<T>(
        &mut self,
        file: &TableFile,
        table: &'a Table,
        key: &[String],
        at: &At<T>,
    ) -> Option<&'a Column> {
        let only = |key: &[String]| match key {
            [name] => table.column(name),
            _ => None,
        };
        let ignored = |column: &Column| file.ignore.iter().any(|name| name.value == column.name);
        let ours = |column: &&Column| column.filled == Filled::ByUs && !ignored(column);
        let primary = only(&table.primary_key);
        match primary.filter(ours).or_else(|| only(key)).or(primary) {
            Some(column) if column.filled == Filled::ByUs => Some(column),
            Some(column) => {
                let what = format!("the primary key {:?} of {} is filled by PostgreSQL", column.name, table.name);
                let hint = "drop its identity or expression: its value must follow from `_id`; or name another `key`";
                self.fault(at, what, hint);
                None
            }
            None => {
                let what = format!("table {} has a primary key of several columns", table.name);
                let hint = "name the column that takes the id: id = { rule = …, column = … }; or leave `id` out";
                self.fault(&file.table, what, hint);
                None
            }
        }
    }

    /// The mapping must name a source for all columns of a root table's key: a field that happens to have a column's name is no
    /// key.
    pub(crate) fn root_key(
        &mut self,
        collection: &CollectionFile,
        file: &TableFile,
        table: &Table,
        key: &[String],
        columns: &[ColumnDraft<'_>],
    ) {
        for name in key {
            let ruled = columns.iter().any(|draft| draft.column.name == *name && matches!(draft.source, Source::Root));
            if ruled || file.columns.iter().any(|column| column.name.value == *name) {
                continue;
            }
            // An id without a column has a fault of its own.
            let id = columns.iter().any(|draft| matches!(draft.source, Source::Root));
            match (&collection.id, id) {
                (Some(_), false) => {}
                (Some(_), true) => {
                    let what = format!("nothing fills the key column {name:?} of {}", table.name);
                    self.fault(&file.table, what, "add it to `columns`");
                }
                (None, _) => {
                    let what = format!(
                        "collection `{}` has no `id`, and nothing fills the key column {name:?} of {}",
                        collection.name.value, table.name
                    );
                    let hint = "add `id`, the rule that makes keys of `_id`s, or add the column to `columns`";
                    self.fault(&file.table, what, hint);
                }
            }
        }
        self.written(file, table, key, columns);
    }

    /// A child's key must be written, and must distinguish the elements of one document.
    pub(crate) fn child_key(
        &mut self,
        file: &TableFile,
        table: &Table,
        key: &[String],
        columns: &[ColumnDraft<'_>],
        single: bool,
    ) {
        self.written(file, table, key, columns);
        let same = |name: &String| {
            let draft = columns.iter().find(|draft| draft.column.name == *name);
            draft.is_some_and(|draft| match &draft.source {
                Source::Root | Source::Above { .. } | Source::Constant(_) => true,
                Source::Fields(paths) => paths.iter().all(|path| path.up() > 0),
                Source::Index | Source::Name | Source::Own | Source::Rest(..) => false,
            })
        };
        if !single && key.iter().all(same) {
            let what = format!("the primary key of {} is the same for every element", table.name);
            self.fault(&file.table, what, "add a column to it: the one of `order` or of `id`");
        }
    }

    fn written(&mut self, file: &TableFile, table: &Table, key: &[String], columns: &[ColumnDraft<'_>]) {
        let role = if file.key.is_empty() { "primary key" } else { "key" };
        for name in key {
            // A column that is named in `columns` and not written has a fault of its own.
            let named = file.columns.iter().any(|column| column.name.value == *name);
            if !named && !columns.iter().any(|draft| draft.column.name == *name) {
                let what = format!("the {role} column {name:?} of {} is not written", table.name);
                self.fault(&file.table, what, "fill it by `id`, `order`, `parent` or a column");
            }
        }
    }
}

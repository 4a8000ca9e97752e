//! Which paths of a document a mapping reads.

use crate::mapping::{CollectionFile, CollectionPlan, ColumnFile, TablePlan};

/// The paths that a mapping reads. Arrays are looked through: the field of an element has the path that it would have in a
/// single document.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads(Vec<Vec<String>>);

/// How far the mapping reaches a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reached {
    /// Nothing reads it.
    Not,
    /// Something inside it is read.
    Inside,
    /// It is inside something that is read as a whole.
    Under,
    /// It is read itself.
    Mapped,
}

impl Reads {
    /// What a collection's mapping reads.
    pub(super) fn of(file: &CollectionFile, plan: &CollectionPlan) -> Self {
        let mut paths = vec![vec!["_id".to_owned()]];
        let mut columns = |table: &TablePlan, declared: &[ColumnFile], before: &[String]| {
            for column in &table.columns {
                let declared = declared.iter().find(|declared| declared.name.value == column.name);
                let path = declared.and_then(|declared| declared.path.as_ref()).map(|path| path.value.segments());
                let path = path.map_or_else(|| vec![column.name.clone()], <[String]>::to_vec);
                paths.push([before, &path].concat());
            }
        };
        if let Some(root) = plan.tables.first() {
            columns(root, &file.columns, &[]);
        }
        for (child, table) in file.children.iter().zip(plan.tables.iter().skip(1)) {
            columns(table, &child.columns, child.path.value.segments());
        }
        for child in &file.children {
            paths.push([child.path.value.segments(), &["_id".to_owned()]].concat());
        }
        Self(paths)
    }

    /// How far the mapping reaches a path, given as the names of the fields from the document down.
    pub(super) fn reach(&self, path: &[&str]) -> Reached {
        let reach = |read: &Vec<String>| match read.iter().zip(path).all(|(name, other)| name == other) {
            false => Reached::Not,
            true if path.len() > read.len() => Reached::Under,
            true if path.len() == read.len() => Reached::Mapped,
            true => Reached::Inside,
        };
        self.0.iter().map(reach).max().unwrap_or(Reached::Not)
    }

    #[cfg(test)]
    pub(super) fn to(paths: &[&str]) -> Self {
        Self(paths.iter().map(|path| path.split('.').map(str::to_owned).collect()).collect())
    }
}

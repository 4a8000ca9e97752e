//! The plan: a mapping file checked against the target's catalog, ready to turn documents into rows.

use super::{Fault, OnDrop, map::Program, target::TableName};

/// What every mapped collection becomes.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) collections: Vec<CollectionPlan>,
    pub(super) warnings: Vec<Fault>,
}

impl Plan {
    /// The collections, by name.
    pub fn collections(&self) -> &[CollectionPlan] {
        &self.collections
    }

    /// What is legal and worth a second look, for example an instant that goes into a column without a time zone.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// The collection of that name.
    pub fn collection(&self, name: &str) -> Option<&CollectionPlan> {
        self.collections.iter().find(|plan| plan.collection == name)
    }
}

/// What one collection becomes.
#[derive(Clone, Debug)]
pub struct CollectionPlan {
    /// Name of the collection.
    pub collection: String,
    /// What a dropped or renamed collection means.
    pub on_drop: OnDrop,
    /// The tables: the root first, then its children in the order of their paths.
    pub tables: Vec<TablePlan>,
    pub(super) program: Program,
}

/// One table that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePlan {
    /// Its name.
    pub table: TableName,
    /// The columns that are written, in the order of a row's fields.
    pub columns: Vec<PlanColumn>,
    /// Positions of the primary key's columns in `columns`, in the key's order; never empty.
    pub key: Vec<usize>,
    /// Of a child table: position of the column that holds the root row's id.
    pub parent: Option<usize>,
    /// Whether the table has unique constraints besides the primary key.
    pub uniques: bool,
    /// Rank in foreign-key order over the whole plan: a table comes after those it references, which have smaller ranks.
    pub depth: usize,
}

/// One column that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanColumn {
    /// Its name.
    pub name: String,
    /// Its type as SQL: what the parameter's element is cast to.
    pub sql_type: String,
    /// Type of the parameter's element, unqualified (`uuid`, `text`, …); the parameter is an array of it.
    pub param_type: String,
    /// Oid of `param_type`.
    pub param_oid: Option<u32>,
}

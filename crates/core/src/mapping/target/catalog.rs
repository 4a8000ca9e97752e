//! The catalog: tables, columns and constraints of the target, as `pg_catalog` describes them.

use super::{ColumnType, TableName};

/// Every table the mapping may write, and those they reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// The tables, in any order.
    pub tables: Vec<Table>,
}

impl Catalog {
    /// The table of that name.
    pub fn table(&self, name: &TableName) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == *name)
    }
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Schema and name.
    pub name: TableName,
    /// The columns, in their order in the table, without dropped ones.
    pub columns: Vec<Column>,
    /// Names of the primary key's columns, in its order; empty without a primary key.
    pub primary_key: Vec<String>,
    /// Column names of every other unique constraint or unique index.
    pub uniques: Vec<Vec<String>>,
    /// The foreign keys that leave this table.
    pub foreign_keys: Vec<ForeignKey>,
}

impl Table {
    /// A table with these columns and this primary key, without other constraints.
    pub fn new(name: TableName, primary_key: &[&str], columns: Vec<Column>) -> Self {
        let primary_key = primary_key.iter().map(|&column| column.to_owned()).collect();
        Self { name, columns, primary_key, uniques: Vec::new(), foreign_keys: Vec::new() }
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// Name of the constraint.
    pub name: String,
    /// Referencing columns.
    pub columns: Vec<String>,
    /// Referenced table.
    pub parent: TableName,
    /// Referenced columns, parallel to `columns`.
    pub parent_columns: Vec<String>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// The type as SQL, schema-qualified where needed, with its modifier: the result of `format_type`. Where the column has
    /// a collation that is not deterministic, that belongs to it, so that values are compared as the column compares them.
    pub sql_type: String,
    /// Whether texts that differ may be equal here: `citext`, or a collation that is not deterministic.
    pub folds: bool,
    /// Whether it refuses NULL.
    pub not_null: bool,
    /// Whether an INSERT may leave it out although it is NOT NULL.
    pub has_default: bool,
    /// Who writes it.
    pub filled: Filled,
}

impl Column {
    /// A column that takes NULL, has no default, and is filled by us.
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Self {
        let sql_type = kind.to_string();
        let (folds, not_null, has_default) = (false, false, false);
        Self { name: name.into(), kind, sql_type, folds, not_null, has_default, filled: Filled::ByUs }
    }
}

/// Who writes a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filled {
    /// The INSERT.
    #[default]
    ByUs,
    /// PostgreSQL computes it (`GENERATED ALWAYS AS (…) STORED`).
    Generated,
    /// PostgreSQL counts it (`GENERATED … AS IDENTITY`).
    Identity,
}

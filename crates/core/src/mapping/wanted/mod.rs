//! The tables and columns that a mapping file names, whether the target has them or not.
//!
//! A mapping takes its types from the target, so a type is known here only where the mapping says it: of ids, references, indexes,
//! keys of maps. Elsewhere it follows from the documents, or nobody knows it.

mod collect;
pub mod difference;
mod kinds;
pub mod statements;

use super::{Location, target::TableName};

/// The name that stands in a path for the elements of an array. Other names lead through arrays too, but a path that ends at an array
/// means the array itself.
pub(crate) const ELEMENT: &str = "[]";

/// A table that a mapping writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedTable {
    /// Its name.
    pub table: TableName,
    /// Where the mapping names it.
    pub place: Option<Location>,
    /// The collections that write it.
    pub collections: Vec<String>,
    /// The columns that the mapping names. Others take the fields of their names.
    pub columns: Vec<WantedColumn>,
    /// The columns by which a row is found, as far as the mapping says them.
    pub key: Vec<String>,
    /// Columns that are left to the target.
    pub ignored: Vec<String>,
}

/// A column that a mapping names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedColumn {
    /// Its name.
    pub name: String,
    /// The source of its values in words.
    pub source: String,
    /// Its type.
    pub kind: Kind,
    /// The table whose key its values are.
    pub refers: Option<TableName>,
}

/// The type of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The mapping says it: the type as SQL.
    Said(String),
    /// The type of the values at these paths of a collection, each given as names through arrays.
    OfPaths(String, Vec<Vec<String>>),
    /// Nobody knows it.
    Unknown,
}

#[cfg(test)]
mod tests;

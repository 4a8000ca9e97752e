//! The target as the mapping sees it: tables, columns, types, constraints.
//!
//! Plain data, which the daemon fills from `pg_catalog` and tests write by hand.

mod catalog;
mod column_type;
mod table_name;

pub use catalog::{Catalog, Column, Filled, ForeignKey, Table};
pub use column_type::{ColumnType, Finest};
pub use table_name::{TableName, quote_ident, quote_text};

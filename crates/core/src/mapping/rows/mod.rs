//! Rows: a document, mapped by its plan.
pub(crate) mod ids;
pub(crate) mod map;
pub(crate) mod row;
pub(crate) mod tree;

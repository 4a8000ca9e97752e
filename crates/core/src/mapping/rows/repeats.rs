//! Rows of one table and one document that have the same key.

use std::collections::HashSet;

use super::row::Row;

/// The outcome of rows with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// There are none, because the place of an element is part of the key.
    Never,
    /// They refuse the document.
    Refuse,
    /// They become one row, the first.
    Collapse,
}

impl Repeats {
    /// The positions of the rows that have the key of an earlier one, where that matters; `key` are its columns.
    pub(super) fn of(self, rows: &[Row], key: &[usize]) -> Vec<usize> {
        if self == Self::Never || rows.len() < 2 {
            return Vec::new();
        }
        let key_of = |row| -> Vec<Option<&[u8]>> { key.iter().map(|at| Row::field(row, *at)).collect() };
        let mut seen = HashSet::with_capacity(rows.len());
        rows.iter().enumerate().filter(|(_, row)| !seen.insert(key_of(*row))).map(|(at, _)| at).collect()
    }
}

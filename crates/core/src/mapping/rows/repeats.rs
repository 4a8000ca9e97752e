//! Rows of one table and one document that have the same key.

use std::collections::HashSet;

use super::row::Row;
use crate::model::Reason;

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
    /// Judges all rows of a table whose key is made of these columns. Returns how many rows were collapsed into others.
    ///
    /// # Errors
    /// `UNIQUE_CONFLICT` where rows with the same key refuse the document.
    pub(super) fn resolve(self, rows: &mut Vec<Row>, key: &[usize]) -> Result<usize, Reason> {
        if self == Self::Never || rows.len() < 2 {
            return Ok(0);
        }
        let key_of = |row| -> Vec<Option<&[u8]>> { key.iter().map(|at| Row::field(row, *at)).collect() };
        let mut seen = HashSet::with_capacity(rows.len());
        let first: Vec<bool> = rows.iter().map(|row| seen.insert(key_of(row))).collect();
        let repeated = first.iter().filter(|first| !**first).count();
        if repeated > 0 && self == Self::Refuse {
            return Err(Reason::UniqueConflict);
        }
        let mut first = first.into_iter();
        rows.retain(|_| first.next().unwrap_or(true));
        Ok(repeated)
    }
}

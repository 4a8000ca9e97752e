//! Rows of one table and one document that have the same key.

use std::collections::HashSet;

use super::{Child, Output, child::key_of};
use crate::mapping::{Loss, Rejects};
use crate::model::Reason;

/// What becomes of rows with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// There are none: the place of an element is part of the key.
    Never,
    /// They refuse the document.
    Refuse,
    /// They become one row, the first.
    Collapse,
}

impl Repeats {
    pub(crate) fn resolve(self, child: &Child, output: &mut Output) {
        let rows = &mut output.tables[child.level.table];
        if self == Self::Never || rows.len() < 2 {
            return;
        }
        let mut seen = HashSet::with_capacity(rows.len());
        let first: Vec<bool> = rows.iter().map(|row| seen.insert(key_of(row, &child.level.key))).collect();
        let repeated = first.iter().filter(|first| !**first).count();
        if repeated == 0 {
            return;
        }
        if self == Self::Refuse {
            return Rejects::note(&mut output.rejects, child.refuse(Reason::UniqueConflict));
        }
        let mut first = first.into_iter();
        rows.retain(|_| first.next().unwrap_or(true));
        output.losses.at(child.level.table, 0);
        (0..repeated).for_each(|_| output.losses.add(Loss::Collapsed));
    }
}

//! Losses: information that a conversion gave up or changed, counted by table, column and kind, never silent.
//!
//! There are two sorts: the few losses that are part of a conversion and not worth refusing a document for, and each use of a
//! policy that the mapping declares. A document without losses costs nothing.

use std::fmt;

use serde::Serialize;

/// A kind of loss. Its name never changes once published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// `-0` went where PostgreSQL knows one zero only (numeric, integers, JSON).
    ZeroSign,
    /// A date with a time of day went into a `date` column; its UTC day was kept.
    TimeOfDay,
    /// A field name came twice in a document; the last one was kept.
    DuplicateName,
    /// Binary data of another subtype than 0 went into `bytea`; the bytes were kept.
    BinarySubtype,
    /// An array of empty arrays went into an array column, which knows one empty array only.
    EmptyArray,
    /// `misfit = "null"`: a value that does not fit became NULL.
    Nulled,
    /// `misfit = "truncate"`: a text or bits were cut to the column's length.
    Truncated,
    /// `misfit = "round"`: digits or parts of a second that the column does not hold were rounded.
    Rounded,
    /// `misfit = "clamp"`: a value outside the column's range became its nearest end.
    Clamped,
    /// `misfit = "replace"`: characters that PostgreSQL cannot store became U+FFFD.
    Replaced,
    /// `coerce`: a value of another type was read as the type of the column.
    Coerced,
    /// `fallback`: an unknown value became the fallback.
    FellBack,
    /// `trim`: white space around a text was removed.
    Trimmed,
    /// `empty`, `null_values`: an empty value became NULL, or gave way to the next candidate.
    Emptied,
    /// `empty_elements = "drop"`: an empty element of an array was left out.
    Dropped,
    /// `distinct`: an element that came before in the same array gave no second row.
    Collapsed,
    /// `unlisted = "ignore"`: a document of a kind that no variant names gave no rows.
    Unlisted,
}

/// The losses of one document or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// The table and column that are being written, by position in the plan.
    place: (usize, usize),
    counts: Vec<Entry>,
}

/// How often one kind of loss happened in one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position of the table in `CollectionPlan::tables`.
    pub table: usize,
    /// Position of the column in `TablePlan::columns`; a loss that concerns no single column is counted at the first.
    pub column: usize,
    /// The kind of loss.
    pub loss: Loss,
    /// How often.
    pub count: u64,
}

impl Losses {
    /// Sets the column in which the following losses happen.
    pub(crate) fn at(&mut self, table: usize, column: usize) {
        self.place = (table, column);
    }

    /// Counts one.
    pub(crate) fn add(&mut self, loss: Loss) {
        let (table, column) = self.place;
        self.count(Entry { table, column, loss, count: 1 });
    }

    /// Counts one if it happened.
    pub(crate) fn add_if(&mut self, happened: bool, loss: Loss) {
        if happened {
            self.add(loss);
        }
    }

    /// Adds the losses of another document of the same collection.
    pub fn extend(&mut self, other: &Self) {
        for entry in &other.counts {
            self.count(*entry);
        }
    }

    /// The entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Entry> {
        self.counts.iter().copied()
    }

    /// How often one kind of loss happened, in all columns together.
    pub fn of(&self, loss: Loss) -> u64 {
        self.counts.iter().filter(|entry| entry.loss == loss).map(|entry| entry.count).sum()
    }

    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn count(&mut self, new: Entry) {
        let same = |old: &&mut Entry| (old.table, old.column, old.loss) == (new.table, new.column, new.loss);
        match self.counts.iter_mut().find(same) {
            Some(old) => old.count += new.count,
            None => self.counts.push(new),
        }
    }
}

impl Loss {
    /// Whether it concerns a document as a whole, not a column.
    pub(crate) fn is_of_a_whole(self) -> bool {
        matches!(self, Self::Collapsed | Self::Unlisted | Self::DuplicateName)
    }

    /// The name used in metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ZeroSign => "zero_sign",
            Self::TimeOfDay => "time_of_day",
            Self::DuplicateName => "duplicate_name",
            Self::BinarySubtype => "binary_subtype",
            Self::EmptyArray => "empty_array",
            Self::Nulled => "nulled",
            Self::Truncated => "truncated",
            Self::Rounded => "rounded",
            Self::Clamped => "clamped",
            Self::Replaced => "replaced",
            Self::Coerced => "coerced",
            Self::FellBack => "fell_back",
            Self::Trimmed => "trimmed",
            Self::Emptied => "emptied",
            Self::Dropped => "dropped",
            Self::Collapsed => "collapsed",
            Self::Unlisted => "unlisted",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_place_and_kind() {
        let mut losses = Losses::default();
        losses.at(0, 1);
        losses.add(Loss::Rounded);
        losses.add(Loss::Rounded);
        losses.at(1, 1);
        losses.add_if(true, Loss::Rounded);
        losses.add_if(false, Loss::Nulled);
        let mut all = losses.clone();
        all.extend(&losses);
        assert_eq!((losses.of(Loss::Rounded), all.of(Loss::Rounded), all.iter().count()), (3, 6, 2));
        assert_eq!(all.iter().next(), Some(Entry { table: 0, column: 1, loss: Loss::Rounded, count: 4 }));
    }
}

//! The result of a document: rows as PostgreSQL reads them, or the reasons of a refusal.

use std::fmt;

use crate::mapping::{Losses, value::scalar::Scalar};
use crate::model::Reason;

/// A row: the columns of its [`TablePlan`](crate::mapping::TablePlan) in their order, ready for a binary array parameter.
///
/// Each field is its length as a big-endian `i32` (−1 for NULL) and the binary value of the column's `param_type`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Row(pub(crate) Vec<u8>);

impl Row {
    /// A row without fields, with room for that many bytes of them.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// The fields in the order of the plan's columns; `None` is NULL.
    pub fn fields(&self) -> Fields<'_> {
        Fields { rest: &self.0 }
    }

    /// The bytes: for each field length and value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// One field; `None` is NULL, or there is no such field.
    pub(crate) fn field(&self, at: usize) -> Option<&[u8]> {
        self.fields().nth(at).flatten()
    }

    /// Appends a value as a field.
    pub(crate) fn push_scalar(&mut self, scalar: &Scalar<'_>) {
        let open = self.open();
        scalar.write_binary(&mut self.0);
        self.close(open);
    }

    /// Appends a field.
    pub fn push(&mut self, field: Option<&[u8]>) {
        match field {
            None => self.0.extend_from_slice(&(-1i32).to_be_bytes()),
            Some(bytes) => {
                let open = self.open();
                self.0.extend_from_slice(bytes);
                self.close(open);
            }
        }
    }

    /// Starts a field whose length is not known yet.
    pub(crate) fn open(&mut self) -> usize {
        self.0.extend_from_slice(&[0; 4]);
        self.0.len()
    }

    /// Removes the field that [`Self::open`] started and everything after it.
    pub(crate) fn reopen(&mut self, open: usize) {
        self.0.truncate(open - 4);
    }

    /// Ends the field that [`Self::open`] started. Values are far below 2 GiB: a document has 16 MiB, its JSON is bounded.
    pub(crate) fn close(&mut self, open: usize) {
        let length = i32::try_from(self.0.len() - open).unwrap_or(i32::MAX);
        self.0[open - 4..open].copy_from_slice(&length.to_be_bytes());
    }
}

/// Number of fields and bytes only: rows are data of the application and stay out of logs.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({} fields, {} bytes)", self.fields().count(), self.0.len())
    }
}

/// Iterator over the fields of a [`Row`].
#[derive(Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.rest.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*head)) else {
            self.rest = rest;
            return Some(None);
        };
        let (field, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(Some(field))
    }
}

/// The rows of one document.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rows {
    /// Parallel to `CollectionPlan::tables`: at most one row in all root tables together, any number in the others.
    pub tables: Vec<Vec<Row>>,
    /// The key of the document in each root table, see [`CollectionPlan::keys`](crate::mapping::CollectionPlan::keys).
    pub key: Row,
    /// The losses.
    pub losses: Losses,
}

/// One reason why a document cannot become rows. Holds names and places only, never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The reason.
    pub reason: Reason,
    /// Position in the plan of the table that the value was for.
    pub table: Option<usize>,
    /// The column that could not take the value.
    pub column: Option<String>,
    /// The path in the document, as the mapping writes it.
    pub path: Option<String>,
    /// The same path with the index of each element on it, such as `items[3].name`; in a map, the index of the entry. `None`
    /// for a path that leads through no element.
    pub element: Option<String>,
    /// How many values are refused alike; [`Self::element`] is the first of them.
    pub times: u64,
}

impl Reject {
    /// A refusal without a place.
    pub fn new(reason: Reason) -> Self {
        Self { reason, table: None, column: None, path: None, element: None, times: 1 }
    }

    /// Whether both are the same refusal of different values.
    fn is_like(&self, other: &Self) -> bool {
        let of = |reject: &Self| (reject.reason, reject.table);
        of(self) == of(other) && self.column == other.column && self.path == other.path
    }
}

/// A document that cannot become rows, with every reason, in the order of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejects {
    /// Never empty.
    all: Vec<Reject>,
}

impl Rejects {
    /// `None` where nothing was refused.
    pub(crate) fn new(all: Vec<Reject>) -> Option<Self> {
        (!all.is_empty()).then_some(Self { all })
    }

    /// The first: its reason is that of the dead letter.
    pub fn first(&self) -> &Reject {
        &self.all[0]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Reject> {
        self.all.iter()
    }

    /// Adds a refusal, or counts it at one like it.
    pub(crate) fn note(rejects: &mut Vec<Reject>, reject: Reject) {
        match rejects.iter_mut().find(|known| known.is_like(&reject)) {
            // The same value may be converted twice, so only elements are counted.
            Some(known) if reject.element.is_some() && reject.element != known.element => known.times += reject.times,
            Some(_) => {}
            None => rejects.push(reject),
        }
    }
}

/// Refusals that a text lists; it counts the others.
const NAMED: usize = 5;

/// Without the places of elements, so that documents that fail alike have one text.
impl fmt::Display for Rejects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, reject) in self.iter().take(NAMED).enumerate() {
            write!(f, "{}{reject}", if at == 0 { "" } else { "; " })?;
        }
        match self.all.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for Rejects {}

impl std::error::Error for Reject {}

impl From<Reason> for Reject {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(column) = &self.column {
            write!(f, " in column {column:?}")?;
        }
        if let Some(path) = &self.path {
            write!(f, " at path {path:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_pushed() {
        let mut row = Row::default();
        row.push(None);
        row.push(Some(b""));
        row.push(Some(b"abc"));
        assert_eq!(row.fields().collect::<Vec<_>>(), [None, Some(&b""[..]), Some(&b"abc"[..])]);
        assert_eq!(format!("{row:?}"), "Row(3 fields, 15 bytes)");
    }
}

//! Encodes columns of rows as PostgreSQL's binary arrays, so that any number of rows travels in one statement.
//!
//! The mapping has already encoded each value; here the values are only gathered by column. The element type in the header comes
//! from the prepared statement, so the server expects it by construction.
//!
//! Source: `array_recv` of PostgreSQL: dimensions, flags, element oid, then length and lower bound of each dimension, then
//! the elements, each with its length.

use std::error::Error as StdError;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

use crate::mapping::Row;

/// One array: the same column of many rows.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Column {
    count: i32,
    nulls: bool,
    elements: Vec<u8>,
}

impl Column {
    /// Appends an element.
    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        self.count += 1;
        match value {
            None => {
                self.nulls = true;
                self.elements.extend_from_slice(&(-1i32).to_be_bytes());
            }
            Some(bytes) => {
                // A field is part of a document, which has at most 16 MiB.
                self.elements.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
                self.elements.extend_from_slice(bytes);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the encoded elements, each as its length and its value, in the form of the fields of a row.
    pub(crate) fn into_elements(self) -> Vec<u8> {
        self.elements
    }
}

/// Turns rows of `width` columns into `width` arrays.
pub(crate) fn columns<'a>(width: usize, rows: impl IntoIterator<Item = &'a Row>) -> Vec<Column> {
    let mut columns = vec![Column::default(); width];
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row.fields()) {
            column.push(value);
        }
    }
    columns
}

/// Bytes after which a part of the rows ends, because the parameters of a statement exist three times in memory until it is sent.
const PART_BYTES: usize = 1 << 20;

/// Splits rows into parts, one for each statement.
pub(crate) fn parts<'r>(rows: &'r [&'r Row]) -> impl Iterator<Item = &'r [&'r Row]> {
    let mut bytes = 0;
    rows.chunk_by(move |row, _| {
        bytes += row.as_bytes().len();
        let more = bytes < PART_BYTES;
        if !more {
            bytes = 0;
        }
        more
    })
}

/// Encodes rows in the binary form of `COPY`, in pieces. Larger pieces cost memory, smaller ones wake-ups.
///
/// Source: the manual, `COPY`, "Binary Format": signature, flags, length of an extension; per row the number of fields, then
/// the fields, each with its length; -1 at the end.
pub(crate) fn copy_pieces<'a>(width: usize, rows: impl Iterator<Item = &'a Row>) -> impl Iterator<Item = Bytes> {
    let width = i16::try_from(width).unwrap_or(i16::MAX);
    let mut rows = Some(rows);
    let mut piece = BytesMut::from(&b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"[..]);
    std::iter::from_fn(move || {
        let more = rows.as_mut()?;
        while piece.len() < COPY_PIECE_BYTES {
            let Some(row) = more.next() else {
                rows = None;
                piece.put_i16(-1);
                break;
            };
            piece.put_i16(width);
            piece.put_slice(row.as_bytes());
        }
        Some(piece.split().freeze())
    })
}

/// Bytes after which a piece ends. Measured: sizes from 64 to 256 KiB make no difference.
const COPY_PIECE_BYTES: usize = 128 << 10;

/// Gathers one field of each row.
pub(crate) fn column<'a>(at: usize, rows: impl IntoIterator<Item = &'a Row>) -> Column {
    let mut column = Column::default();
    for row in rows {
        column.push(row.fields().nth(at).flatten());
    }
    column
}

/// Iterates over the fields of an encoded row; it ends where the bytes are no longer a row.
pub(crate) fn fields(mut row: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        let (length, rest) = row.split_first_chunk::<4>()?;
        let (field, rest) = match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => (None, rest),
            Ok(length) => rest.split_at_checked(length).map(|(field, rest)| (Some(field), rest))?,
        };
        row = rest;
        Some(field)
    })
}

/// One value in its binary form, for a parameter of any type.
pub(crate) struct Field(pub(crate) Option<Vec<u8>>);

/// Prints no value, to keep it out of logs.
impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Field({:?} bytes)", self.0.as_ref().map(Vec::len))
    }
}

impl ToSql for Field {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match &self.0 {
            None => Ok(IsNull::Yes),
            Some(bytes) => {
                out.put_slice(bytes);
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Borrows values as parameters.
pub(crate) fn borrowed(fields: &[Field]) -> Vec<&(dyn ToSql + Sync)> {
    fields.iter().map(|field| field as &(dyn ToSql + Sync)).collect()
}

/// Borrows arrays as parameters.
pub(crate) fn refs(columns: &[Column]) -> Vec<&(dyn ToSql + Sync)> {
    columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect()
}

/// Prints no values, to keep them out of logs.
impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Column({} elements, {} bytes)", self.count, self.elements.len())
    }
}

impl ToSql for Column {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let Kind::Array(element) = ty.kind() else { return Err("the parameter is not an array".into()) };
        out.reserve(20 + self.elements.len());
        out.put_i32(i32::from(self.count > 0));
        out.put_i32(i32::from(self.nulls));
        out.put_u32(element.oid());
        if self.count > 0 {
            out.put_i32(self.count);
            out.put_i32(1);
            out.put_slice(&self.elements);
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Array(_))
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_postgres::types::FromSql;

    use super::*;

    proptest! {
        // The reader of the client library is the judge.
        #[test]
        fn an_array_reads_back(values in proptest::collection::vec(any::<Option<Vec<u8>>>(), 0..20)) {
            let mut column = Column::default();
            for value in &values {
                column.push(value.as_deref());
            }
            let mut out = BytesMut::new();
            column.to_sql_checked(&Type::BYTEA_ARRAY, &mut out).expect("encodes");
            let back = Vec::<Option<Vec<u8>>>::from_sql(&Type::BYTEA_ARRAY, &out).expect("decodes");
            prop_assert_eq!(back, values);
        }
    }

    #[test]
    fn a_part_ends_with_the_row_that_fills_it() {
        let row = |bytes: usize| {
            let mut row = Row::default();
            row.push(Some(&vec![0; bytes]));
            row
        };
        let rows = [row(PART_BYTES / 2), row(PART_BYTES / 2), row(1), row(2 * PART_BYTES), row(1)];
        let rows = rows.iter().collect::<Vec<_>>();
        assert_eq!(parts(&rows).collect::<Vec<_>>(), [&rows[..2], &rows[2..4], &rows[4..]]);
        assert_eq!(parts(&[]).count(), 0);
    }

    #[test]
    fn only_arrays_are_accepted() {
        assert!(Column::accepts(&Type::TEXT_ARRAY) && !Column::accepts(&Type::TEXT));
    }
}

//! BSON values borrowed from a document's bytes.
//!
//! The one decoder of the mapping. It is not bson's own iterator because that one gives up on a text or a field name that
//! is no valid UTF-8 and never shows its bytes; such a document is legal in MongoDB, and what becomes of the value is
//! decided per column. Nothing is copied or validated here beyond what finding the next field takes, every access is
//! bounds-checked, and no length is trusted.

use bson::raw::RawBsonRef;

use crate::model::Reason;

/// A value. Texts are bytes that may be no valid UTF-8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Double(f64),
    String(&'a [u8]),
    Document(Raw<'a>),
    Array(Raw<'a>),
    Binary { subtype: u8, bytes: &'a [u8] },
    Undefined,
    ObjectId([u8; 12]),
    Bool(bool),
    DateTime(i64),
    Null,
    Regex { pattern: &'a [u8], options: &'a [u8] },
    DbPointer { namespace: &'a [u8], id: [u8; 12] },
    Code(&'a [u8]),
    Symbol(&'a [u8]),
    CodeWithScope { code: &'a [u8], scope: Raw<'a> },
    Int32(i32),
    Timestamp { t: u32, i: u32 },
    Int64(i64),
    Decimal(bson::Decimal128),
    MinKey,
    MaxKey,
}

const BINARY_OLD: u8 = 2;

/// A document or array, length and final NUL included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Raw<'a>(&'a [u8]);

impl<'a> Raw<'a> {
    /// Takes the bytes of a document; whether they are one shows while iterating.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The fields, in their order. Ends after the first error.
    pub(crate) fn fields(self) -> Fields<'a> {
        match self.0.get(4..) {
            Some(rest) => Fields { rest, broken: false },
            None => Fields { rest: &[], broken: false },
        }
    }
}

/// Iterator over the fields of a document: name and value.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    broken: bool,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(&'a [u8], Value<'a>), Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken || self.rest == [0] {
            return None;
        }
        let mut cursor = Cursor(self.rest);
        match cursor.field() {
            Some(field) => {
                self.rest = cursor.0;
                Some(Ok(field))
            }
            None => {
                self.broken = true;
                Some(Err(Reason::Malformed))
            }
        }
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn field(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        let [kind] = self.array()?;
        let name = self.cstring()?;
        Some((name, self.value(kind)?))
    }

    fn value(&mut self, kind: u8) -> Option<Value<'a>> {
        Some(match kind {
            0x01 => Value::Double(f64::from_le_bytes(self.array()?)),
            0x02 => Value::String(self.text()?),
            0x03 => Value::Document(self.document()?),
            0x04 => Value::Array(self.document()?),
            0x05 => self.binary()?,
            0x06 => Value::Undefined,
            0x07 => Value::ObjectId(self.array()?),
            0x08 => match self.array()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return None,
            },
            0x09 => Value::DateTime(i64::from_le_bytes(self.array()?)),
            0x0a => Value::Null,
            0x0b => Value::Regex { pattern: self.cstring()?, options: self.cstring()? },
            0x0c => Value::DbPointer { namespace: self.text()?, id: self.array()? },
            0x0d => Value::Code(self.text()?),
            0x0e => Value::Symbol(self.text()?),
            0x0f => self.code_with_scope()?,
            0x10 => Value::Int32(i32::from_le_bytes(self.array()?)),
            0x11 => {
                // The lower half is the ordinal, the upper one the seconds; both unsigned.
                let bits = u64::from_le_bytes(self.array()?);
                Value::Timestamp { t: (bits >> 32) as u32, i: bits as u32 }
            }
            0x12 => Value::Int64(i64::from_le_bytes(self.array()?)),
            0x13 => Value::Decimal(bson::Decimal128::from_bytes(self.array()?)),
            0x7f => Value::MaxKey,
            0xff => Value::MinKey,
            _ => return None,
        })
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(i32::from_le_bytes(self.array()?)).ok()
    }

    fn cstring(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.0 = self.0.get(1..)?;
        Some(text)
    }

    /// Length with the final NUL, bytes, NUL.
    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        match self.take(length)?.split_last()? {
            (0, text) => Some(text),
            _ => None,
        }
    }

    fn document(&mut self) -> Option<Raw<'a>> {
        let length = usize::try_from(i32::from_le_bytes(*self.0.first_chunk::<4>()?)).ok()?;
        let bytes = self.take(length)?;
        (length >= 5 && bytes.last() == Some(&0)).then_some(Raw(bytes))
    }

    fn binary(&mut self) -> Option<Value<'a>> {
        let length = self.length()?;
        let [subtype] = self.array()?;
        let bytes = self.take(length)?;
        if subtype != BINARY_OLD {
            return Some(Value::Binary { subtype, bytes });
        }
        let mut inner = Cursor(bytes);
        let length = inner.length()?;
        (inner.0.len() == length).then_some(Value::Binary { subtype, bytes: inner.0 })
    }

    fn code_with_scope(&mut self) -> Option<Value<'a>> {
        let length = self.length()?;
        let mut inner = Cursor(self.take(length.checked_sub(4)?)?);
        let code = inner.text()?;
        let scope = inner.document()?;
        inner.0.is_empty().then_some(Value::CodeWithScope { code, scope })
    }
}

impl<'a> From<RawBsonRef<'a>> for Value<'a> {
    fn from(value: RawBsonRef<'a>) -> Self {
        match value {
            RawBsonRef::Double(value) => Self::Double(value),
            RawBsonRef::String(text) => Self::String(text.as_bytes()),
            RawBsonRef::Array(array) => Self::Array(Raw(array.as_bytes())),
            RawBsonRef::Document(document) => Self::Document(Raw(document.as_bytes())),
            RawBsonRef::Boolean(value) => Self::Bool(value),
            RawBsonRef::Null => Self::Null,
            RawBsonRef::RegularExpression(regex) => {
                Self::Regex { pattern: regex.pattern.as_str().as_bytes(), options: regex.options.as_str().as_bytes() }
            }
            RawBsonRef::JavaScriptCode(code) => Self::Code(code.as_bytes()),
            RawBsonRef::JavaScriptCodeWithScope(code) => {
                Self::CodeWithScope { code: code.code.as_bytes(), scope: Raw(code.scope.as_bytes()) }
            }
            RawBsonRef::Int32(value) => Self::Int32(value),
            RawBsonRef::Int64(value) => Self::Int64(value),
            RawBsonRef::Timestamp(value) => Self::Timestamp { t: value.time, i: value.increment },
            RawBsonRef::Binary(value) => Self::Binary { subtype: value.subtype.into(), bytes: value.bytes },
            RawBsonRef::ObjectId(id) => Self::ObjectId(id.bytes()),
            RawBsonRef::DateTime(at) => Self::DateTime(at.timestamp_millis()),
            RawBsonRef::Symbol(text) => Self::Symbol(text.as_bytes()),
            RawBsonRef::Decimal128(value) => Self::Decimal(value),
            RawBsonRef::Undefined => Self::Undefined,
            RawBsonRef::MaxKey => Self::MaxKey,
            RawBsonRef::MinKey => Self::MinKey,
            // Its parts cannot be borrowed from bson's type; nothing that comes this way (keys, defaults) takes one.
            RawBsonRef::DbPointer(_) => Self::Undefined,
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(Vec<u8>, String)>, Reason> {
        Raw::new(bytes).fields().map(|field| field.map(|(name, value)| (name.to_vec(), format!("{value:?}")))).collect()
    }

    /// One field named `a` of the given type byte and value.
    fn document(kind: u8, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend([kind, b'a', 0]);
        bytes.extend(value);
        bytes.push(0);
        let length = i32::try_from(bytes.len()).expect("short").to_le_bytes();
        bytes[..4].copy_from_slice(&length);
        bytes
    }

    #[test]
    fn agrees_with_bson_on_every_type() {
        let document = rawdoc! {
            "double": 1.5, "string": "x", "document": { "a": 1 }, "array": [1, "b"], "oid": bson::oid::ObjectId::from_bytes([7; 12]),
            "bool": true, "date": bson::DateTime::from_millis(-1), "null": null, "int": 5, "long": 6_i64,
            "timestamp": bson::Timestamp { time: u32::MAX, increment: 2 },
            "binary": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] },
            "regex": bson::Regex { pattern: bson::raw::cstr!("^a").into(), options: bson::raw::cstr!("i").into() },
            "code": bson::RawBson::JavaScriptCode("f()".to_owned()),
            "min": bson::RawBson::MinKey, "max": bson::RawBson::MaxKey, "undefined": bson::RawBson::Undefined,
            "decimal": "1.10".parse::<bson::Decimal128>().expect("a decimal"),
        };
        let ours: Vec<_> = Raw::new(document.as_bytes()).fields().map(|field| field.expect("a field")).collect();
        let theirs: Vec<_> = document.iter().map(|field| field.expect("a field")).collect();
        assert_eq!(ours.len(), theirs.len());
        for ((name, value), (their_name, their_value)) in ours.into_iter().zip(theirs) {
            assert_eq!(name, their_name.as_str().as_bytes());
            assert_eq!(value, Value::from(their_value));
        }
    }

    #[rstest]
    #[case::input_034_nul_in_a_name(vec![10, 0, 0, 0, 0x0a, b'a', 0, b'b', 0, 0])]
    #[case::input_107_inner_length_lies(document(0x05, &[5, 0, 0, 0, 2, 9, 0, 0, 0, 1]))]
    #[case::input_111_unknown_type(document(0x20, &[]))]
    #[case::input_154_negative_length(document(0x02, &[0xff, 0xff, 0xff, 0xff, 0]))]
    #[case::input_154_length_beyond_the_buffer(document(0x02, &[0xff, 0xff, 0xff, 0x7f, 0]))]
    #[case::text_without_nul(document(0x02, &[1, 0, 0, 0, 1]))]
    #[case::boolean_two(document(0x08, &[2]))]
    #[case::document_of_four_bytes(document(0x03, &[4, 0, 0, 0]))]
    #[case::missing_final_nul(vec![6, 0, 0, 0, 0x0a, b'a'])]
    #[case::scope_overruns(document(0x0f, &[14, 0, 0, 0, 1, 0, 0, 0, 0, 9, 0, 0, 0, 0]))]
    fn refuses_broken_bytes(#[case] bytes: Vec<u8>) {
        assert_eq!(fields(&bytes), Err(Reason::Malformed));
    }

    #[test]
    fn shows_what_is_no_utf8() {
        let bytes = document(0x02, &[3, 0, 0, 0, 0xc0, 0x80, 0]);
        assert_eq!(Raw::new(&bytes).fields().next(), Some(Ok((&b"a"[..], Value::String(&[0xc0, 0x80])))));
    }

    proptest! {
        #[test]
        fn never_panics_and_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&bytes);
        }
    }
}

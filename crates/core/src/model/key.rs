//! The canonical key: the bytes under which the ledger knows a document.
//!
//! MongoDB compares `_id` by value: `1`, `1.0` and `NumberLong(1)` are one document, `1` and `"1"` are two. So the key is
//! one byte for the class of the type, then bytes that are equal exactly when MongoDB calls the values equal. Most keys can
//! be turned back into an `_id` that finds the document; only those above [`Key::MAX_BYTES`] are replaced by a hash,
//! because PostgreSQL cannot index longer ones.
//!
//! Embedded documents keep their own bytes: field order counts for MongoDB too. (Numbers inside them are not unified, so
//! `{a: 1}` deleted and `{a: 1.0}` inserted are two keys; each still ends in the right state.)

use std::fmt;

use bson::{
    raw::{RawBsonRef, RawDocument, RawDocumentBuf},
    rawdoc,
    spec::ElementType,
};

use super::Decimal;

/// The canonical bytes of an `_id`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

const NUMBER: u8 = 0x10;
const INTEGER: u8 = b'i';
const FRACTION: u8 = b'f';
const INFINITY: u8 = b'p';
const NEGATIVE_INFINITY: u8 = b'm';
const NAN: u8 = b'n';
const STRING: u8 = 0x20;
const HASHED: u8 = 0x00;
const MIN_KEY: u8 = 0x08;
/// Length, type byte and `_id\0`.
const ELEMENT_HEAD: usize = 4 + 1 + 4;

impl Key {
    /// Longest key that is kept as it is; the B-tree of PostgreSQL holds about 2,700 bytes in a whole entry.
    pub(crate) const MAX_BYTES: usize = 1024;

    /// The key of `{_id: …}`.
    ///
    /// `None` when the document is not exactly one element named `_id`, or of a type that MongoDB takes for no `_id`: array,
    /// regular expression, undefined. Invalid UTF-8 is a legal key: by its bytes.
    pub fn from_id(id: &RawDocument) -> Option<Self> {
        let mut elements = id.iter_elements();
        if !matches!(elements.next(), Some(Ok(_))) || elements.next().is_some() {
            return None;
        }
        let bytes = id.as_bytes();
        if bytes.get(5..ELEMENT_HEAD)? != b"_id\0" {
            return None;
        }
        let kind = ElementType::from(*bytes.get(4)?)?;
        let value = bytes.get(ELEMENT_HEAD..bytes.len().checked_sub(1)?)?;
        let canonical = match kind {
            ElementType::Int32 | ElementType::Int64 | ElementType::Double | ElementType::Decimal128 => number(id)?,
            // The length prefix and the final NUL carry no information. A symbol equals the string of the same text.
            ElementType::String | ElementType::Symbol => tagged(STRING, value.get(4..value.len().checked_sub(1)?)?),
            ElementType::Array | ElementType::RegularExpression | ElementType::Undefined => return None,
            other => tagged(class(other), value),
        };
        Some(Self(if canonical.len() > Self::MAX_BYTES { hashed(&canonical) } else { canonical }))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes bytes that came from [`Key::as_bytes`].
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Whether the key is a hash, from which no `_id` can be read.
    pub fn is_hashed(&self) -> bool {
        self.0.first() == Some(&HASHED)
    }

    /// A document `{_id: …}` that MongoDB calls equal to the one this key came from; `None` for a hash.
    pub fn to_id(&self) -> Option<RawDocumentBuf> {
        let (&tag, rest) = self.0.split_first()?;
        match tag {
            HASHED => None,
            NUMBER => number_id(rest),
            STRING => {
                let length = i32::try_from(rest.len() + 1).ok()?;
                let value = [&length.to_le_bytes()[..], rest, &[0]].concat();
                id_of(ElementType::String, &value)
            }
            other => id_of(kind(other)?, rest),
        }
    }
}

/// Hex of the canonical bytes, at most 32 of them: for tests. People read an `_id`, which is `log::ejson::id_text`.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", hex::encode(&self.0[..self.0.len().min(32)]))
    }
}

/// One byte for a type that is compared with nothing but itself: `0x80` above the BSON type byte.
///
/// Only the type byte of MinKey has that bit itself, so MinKey gets a class of its own.
fn class(kind: ElementType) -> u8 {
    match kind {
        ElementType::MinKey => MIN_KEY,
        other => 0x80 | other as u8,
    }
}

fn kind(class: u8) -> Option<ElementType> {
    match class {
        MIN_KEY => Some(ElementType::MinKey),
        other => ElementType::from(other & 0x7f),
    }
}

fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + 1);
    bytes.push(tag);
    bytes.extend_from_slice(value);
    bytes
}

fn hashed(canonical: &[u8]) -> Vec<u8> {
    tagged(HASHED, &xxhash_rust::xxh3::xxh3_128(canonical).to_be_bytes())
}

fn id_of(kind: ElementType, value: &[u8]) -> Option<RawDocumentBuf> {
    let length = i32::try_from(ELEMENT_HEAD + value.len() + 1).ok()?;
    let bytes = [&length.to_le_bytes()[..], &[kind as u8], b"_id\0", value, &[0]].concat();
    RawDocumentBuf::from_bytes(bytes).ok()
}

fn number(id: &RawDocument) -> Option<Vec<u8>> {
    let canonical = match id.get("_id").ok()?? {
        RawBsonRef::Int32(value) => integer(i64::from(value)),
        RawBsonRef::Int64(value) => integer(value),
        RawBsonRef::Double(value) if value.is_nan() => vec![NUMBER, NAN],
        RawBsonRef::Double(value) if value.is_infinite() => infinity(value < 0.0),
        // Every finite double is a decimal of at most 1,074 places: printed in full, it is exact.
        RawBsonRef::Double(value) => decimal(&format!("{value:.1074}")),
        RawBsonRef::Decimal128(value) => match Decimal::from_bson(value) {
            Decimal::NaN => vec![NUMBER, NAN],
            Decimal::Infinite { negative } => infinity(negative),
            Decimal::Finite { negative, coefficient, exponent } => {
                finite(negative, &coefficient.to_string(), i64::from(exponent))
            }
        },
        _ => return None,
    };
    Some(canonical)
}

fn infinity(negative: bool) -> Vec<u8> {
    vec![NUMBER, if negative { NEGATIVE_INFINITY } else { INFINITY }]
}

fn integer(value: i64) -> Vec<u8> {
    let mut bytes = vec![NUMBER, INTEGER];
    bytes.extend_from_slice(&((value as u64) ^ (1 << 63)).to_be_bytes());
    bytes
}

/// The key of a plain decimal text: digits, at most one point, at most one leading minus.
fn decimal(text: &str) -> Vec<u8> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    finite(negative, &format!("{whole}{fraction}"), -(fraction.len() as i64))
}

/// `± digits × 10^exponent`: an integer when it fits 64 bits, else digits without outer zeros and the exponent.
fn finite(negative: bool, digits: &str, exponent: i64) -> Vec<u8> {
    let significant = digits.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    let exponent = exponent + (significant.len() - trimmed.len()) as i64;
    if trimmed.is_empty() {
        return integer(0);
    }
    let sign = if negative { "-" } else { "" };
    if (0..=19).contains(&exponent)
        && let Ok(value) = format!("{sign}{trimmed}{}", "0".repeat(exponent as usize)).parse::<i64>()
    {
        return integer(value);
    }
    let mut bytes = vec![NUMBER, FRACTION];
    bytes.extend_from_slice(format!("{sign}{trimmed}e{exponent}").as_bytes());
    bytes
}

fn number_id(rest: &[u8]) -> Option<RawDocumentBuf> {
    let (&tag, value) = rest.split_first()?;
    Some(match tag {
        INTEGER => rawdoc! { "_id": (u64::from_be_bytes(value.try_into().ok()?) ^ (1 << 63)) as i64 },
        INFINITY => rawdoc! { "_id": f64::INFINITY },
        NEGATIVE_INFINITY => rawdoc! { "_id": f64::NEG_INFINITY },
        NAN => rawdoc! { "_id": f64::NAN },
        FRACTION => {
            let text = std::str::from_utf8(value).ok()?;
            // Digits that a Decimal128 cannot hold came from a double, and the exact digits of a double parse back to it.
            match text.parse::<bson::Decimal128>() {
                Ok(value) => rawdoc! { "_id": value },
                Err(_) => rawdoc! { "_id": text.parse::<f64>().ok()? },
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use bson::{Binary, DateTime, oid::ObjectId, raw::RawBson, spec::BinarySubtype};
    use proptest::prelude::*;

    use super::*;

    fn key(id: RawDocumentBuf) -> Key {
        Key::from_id(&id).expect("a key")
    }

    fn decimal(text: &str) -> RawDocumentBuf {
        rawdoc! { "_id": text.parse::<bson::Decimal128>().expect("a decimal") }
    }

    #[test]
    fn equal_numbers_are_one_key() {
        let one = key(rawdoc! { "_id": 1 });
        for id in [rawdoc! { "_id": 1i64 }, rawdoc! { "_id": 1.0 }, decimal("1"), decimal("1.00"), decimal("10E-1")] {
            assert_eq!(key(id), one);
        }
        assert_eq!(key(rawdoc! { "_id": -0.0 }), key(rawdoc! { "_id": 0 }));
        assert_eq!(key(rawdoc! { "_id": f64::NAN }), key(decimal("NaN")));
        assert_eq!(key(rawdoc! { "_id": 0.5 }), key(decimal("0.50")));
        assert_eq!(key(rawdoc! { "_id": 1e18 }), key(rawdoc! { "_id": 1_000_000_000_000_000_000i64 }));
    }

    #[test]
    fn different_values_are_different_keys() {
        let ids = [
            rawdoc! { "_id": 1 },
            rawdoc! { "_id": "1" },
            rawdoc! { "_id": 9_007_199_254_740_993i64 },
            rawdoc! { "_id": 9_007_199_254_740_992.0 },
            rawdoc! { "_id": 0.1 },
            decimal("0.1"),
            rawdoc! { "_id": RawBson::Null },
            rawdoc! { "_id": "" },
            rawdoc! { "_id": true },
            rawdoc! { "_id": ObjectId::from_bytes([7; 12]) },
            rawdoc! { "_id": "070707070707070707070707" },
            rawdoc! { "_id": { "a": 1, "b": 2 } },
            rawdoc! { "_id": { "b": 2, "a": 1 } },
            rawdoc! { "_id": Binary { subtype: BinarySubtype::Uuid, bytes: vec![1; 16] } },
            rawdoc! { "_id": Binary { subtype: BinarySubtype::UuidOld, bytes: vec![1; 16] } },
            rawdoc! { "_id": DateTime::from_millis(1) },
            rawdoc! { "_id": RawBson::MinKey },
            rawdoc! { "_id": RawBson::MaxKey },
        ];
        let keys: std::collections::HashSet<_> = ids.iter().map(|id| key(id.clone())).collect();
        assert_eq!(keys.len(), ids.len());
    }

    #[test]
    fn a_long_key_is_hashed() {
        let long = key(rawdoc! { "_id": "x".repeat(10_000) });
        assert!(long.is_hashed() && long.to_id().is_none());
        assert_ne!(long, key(rawdoc! { "_id": "x".repeat(10_001) }));
    }

    #[test]
    fn only_a_lone_id_has_a_key() {
        assert_eq!(Key::from_id(&rawdoc! {}), None);
        assert_eq!(Key::from_id(&rawdoc! { "x": 1 }), None);
        assert_eq!(Key::from_id(&rawdoc! { "_id": 1, "shard": 2 }), None);
        assert_eq!(Key::from_id(&rawdoc! { "_id": "a", "shard": 2 }), None);
    }

    #[test]
    fn input_028_what_mongodb_takes_for_no_id_has_no_key() {
        let regex = bson::Regex { pattern: bson::raw::cstr!("a").into(), options: bson::raw::cstr!("").into() };
        for id in [rawdoc! { "_id": [1] }, rawdoc! { "_id": regex }, rawdoc! { "_id": RawBson::Undefined }] {
            assert_eq!(Key::from_id(&id), None);
        }
    }

    proptest! {
        #[test]
        fn an_id_read_back_has_the_same_key(text in ".{0,40}", long in any::<i64>(), double in any::<f64>()) {
            for id in [rawdoc! { "_id": text }, rawdoc! { "_id": long }, rawdoc! { "_id": double }] {
                let key = key(id);
                prop_assert_eq!(Key::from_id(&key.to_id().expect("not hashed")), Some(key));
            }
        }
    }
}

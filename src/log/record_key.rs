//! The Kafka key of a change: a function of the canonical key, and different for different keys.
//!
//! Compaction keeps one record per Kafka key, so two canonical keys must never share one. The partition follows from the Kafka key, so
//! its bytes must be the same for `1`, `1.0` and `NumberLong(1)`.
//!
//! The text is that of Debezium: `{"id":"…"}` around the `_id` as relaxed Extended JSON. Numbers inside an embedded document are
//! canonical instead, because there `1` and `1.0` are two canonical keys.

use bson::raw::{RawBsonRef, RawDocument};

use super::{
    ejson::{exact_double, hex_of, json_string, relaxed_date, write_spaced},
    murmur2::partition_of,
};
use crate::model::Key;

/// Returns the partition of the changes of a document.
///
/// # Panics
/// Panics like [`partition_of`].
pub(crate) fn partition_of_key(key: &Key, partitions: i32) -> i32 {
    partition_of(&record_key(key), partitions)
}

/// Returns the bytes of the Kafka key.
pub(super) fn record_key(key: &Key) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(b"{\"id\":");
    if key.is_hashed() {
        opaque(&mut out, &key.as_bytes()[1..], "hashed");
    } else if let Some(text) = key.to_id().and_then(|id| relaxed(key, &id)) {
        json_string(&mut out, text);
        out.push(b'}');
    } else {
        opaque(&mut out, key.as_bytes(), "raw");
    }
    out
}

fn opaque(out: &mut Vec<u8>, bytes: &[u8], how: &str) {
    out.push(b'"');
    hex_of(out, bytes);
    out.extend_from_slice(format!("\",\"{how}\":true}}").as_bytes());
}

/// Returns the `_id` as Extended JSON; `None` if that cannot carry it.
fn relaxed(key: &Key, id: &RawDocument) -> Option<Vec<u8>> {
    let text = match id.get("_id").ok()?? {
        RawBsonRef::ObjectId(value) => {
            let mut text = Vec::with_capacity(64);
            text.extend_from_slice(br#"{"$oid": ""#);
            hex_of(&mut text, &value.bytes());
            text.extend_from_slice(br#""}"#);
            return Some(text);
        }
        RawBsonRef::Int64(value) => value.to_string(),
        RawBsonRef::Double(value) if value.is_finite() => format!("{value:?}"),
        RawBsonRef::Decimal128(value) => match exact_double(key, &value.to_string()) {
            Some(double) => format!("{double:?}"),
            None => return value_of(id),
        },
        RawBsonRef::DateTime(value) => match relaxed_date(value.timestamp_millis()) {
            Some(text) => format!("{{\"$date\": \"{text}\"}}"),
            None => return value_of(id),
        },
        _ => return value_of(id),
    };
    Some(text.into_bytes())
}

fn value_of(id: &RawDocument) -> Option<Vec<u8>> {
    const HEAD: &[u8] = b"{\"_id\": ";
    let mut out = Vec::with_capacity(64 + 2 * id.as_bytes().len());
    write_spaced(id, &mut out).ok()?;
    Some(out.get(HEAD.len()..out.len() - 1)?.to_vec())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bson::{DateTime, oid::ObjectId, raw::RawDocumentBuf, rawdoc};
    use proptest::prelude::*;
    use rstest::rstest;

    use super::{super::ejson::arbitrary, *};

    fn text(id: RawDocumentBuf) -> String {
        String::from_utf8(record_key(&Key::from_id(&id).expect("a key"))).expect("UTF-8")
    }

    fn decimal(text: &str) -> bson::Decimal128 {
        text.parse().expect("a decimal")
    }

    #[rstest]
    #[case(rawdoc! { "_id": ObjectId::from_bytes([0xab; 12]) }, r#"{"id":"{\"$oid\": \"abababababababababababab\"}"}"#)]
    #[case(rawdoc! { "_id": 1234 }, r#"{"id":"1234"}"#)]
    #[case(rawdoc! { "_id": 1234.0 }, r#"{"id":"1234"}"#)]
    #[case(rawdoc! { "_id": decimal("1.234E3") }, r#"{"id":"1234"}"#)]
    #[case(rawdoc! { "_id": 12.5 }, r#"{"id":"12.5"}"#)]
    #[case(rawdoc! { "_id": decimal("12.50") }, r#"{"id":"12.5"}"#)]
    #[case(rawdoc! { "_id": 0.1 }, r#"{"id":"0.1"}"#)]
    #[case(rawdoc! { "_id": decimal("0.1") }, r#"{"id":"{\"$numberDecimal\": \"0.1\"}"}"#)]
    #[case(rawdoc! { "_id": "1234" }, r#"{"id":"\"1234\""}"#)]
    #[case(rawdoc! { "_id": { "a": 1, "b": "x" } }, r#"{"id":"{\"a\": {\"$numberInt\": \"1\"},\"b\": \"x\"}"}"#)]
    #[case(rawdoc! { "_id": DateTime::from_millis(1_000) }, r#"{"id":"{\"$date\": \"1970-01-01T00:00:01Z\"}"}"#)]
    #[case(rawdoc! { "_id": DateTime::from_millis(120) }, r#"{"id":"{\"$date\": \"1970-01-01T00:00:00.120Z\"}"}"#)]
    #[case(rawdoc! { "_id": DateTime::from_millis(-1) }, r#"{"id":"{\"$date\": {\"$numberLong\": \"-1\"}}"}"#)]
    fn as_debezium_writes_it(#[case] id: RawDocumentBuf, #[case] expected: &str) {
        assert_eq!(text(id), expected);
    }

    #[test]
    fn what_text_cannot_carry_is_hex() {
        assert!(text(rawdoc! { "_id": { "$oid": "x" } }).ends_with(r#"","raw":true}"#));
    }

    #[test]
    fn a_long_key_is_its_hash() {
        let text = text(rawdoc! { "_id": "x".repeat(10_000) });
        assert_eq!(text.len(), r#"{"id":"","hashed":true}"#.len() + 32);
    }

    proptest! {
        #[test]
        fn different_keys_have_different_record_keys(ids in proptest::collection::vec(arbitrary::id(), 2..40)) {
            let mut seen: HashMap<Vec<u8>, Key> = HashMap::new();
            for id in ids {
                if let Some(key) = Key::from_id(&id) {
                    let first = seen.entry(record_key(&key)).or_insert_with(|| key.clone());
                    prop_assert_eq!(&*first, &key);
                }
            }
        }
    }
}

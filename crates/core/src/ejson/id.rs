//! The text of an `_id`, as a person reads and types it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bson::{
    Binary,
    oid::ObjectId,
    raw::{RawBsonRef, RawDocumentBuf},
    rawdoc,
    spec::BinarySubtype,
};

use jiff::{Timestamp, tz::TimeZone};

use super::{json_string, read, write};
use crate::model::Key;

/// The `_id` as relaxed Extended JSON: `{"$oid":"…"}`, `5`, `1.5`, `"abc"`, `{"$date":"2026-01-31T12:00:00Z"}`. Inside of an
/// embedded document numbers and dates are canonical, because there `1` and `1.0` are two keys.
///
/// An `_id` that JSON cannot show gets a tag: `{"hash":"…"}` for a key that is too long to be stored, `{"bson":"…"}` (base64)
/// for one that no text can carry.
pub fn id_text(key: &Key) -> String {
    let Some(id) = key.to_id() else { return format!("{{\"hash\":\"{}\"}}", hex::encode(&key.as_bytes()[1..])) };
    let plain = match id.get("_id") {
        Ok(Some(RawBsonRef::Int64(value))) => Some(value.to_string().into_bytes()),
        Ok(Some(RawBsonRef::Decimal128(value))) => {
            exact_double(key, &value.to_string()).map(|double| format!("{double:?}").into_bytes())
        }
        Ok(Some(RawBsonRef::DateTime(value))) => {
            relaxed_date(value.timestamp_millis()).map(|text| format!("{{\"$date\":\"{text}\"}}").into_bytes())
        }
        Ok(Some(RawBsonRef::String(value))) => {
            let mut text = Vec::new();
            json_string(&mut text, value);
            Some(text)
        }
        _ => None,
    };
    let mut text = Vec::new();
    let text = plain.or_else(|| {
        write(&id, &mut text).ok()?;
        Some(text.strip_prefix(b"{\"_id\":")?.strip_suffix(b"}")?.to_vec())
    });
    match text.map(String::from_utf8) {
        Some(Ok(text)) => text,
        _ => format!("{{\"bson\":\"{}\"}}", STANDARD.encode(id.as_bytes())),
    }
}

/// A number that a double holds exactly is one key with that double: MongoDB calls them equal.
pub fn exact_double(key: &Key, text: &str) -> Option<f64> {
    let double: f64 = text.parse().ok()?;
    let same = double.is_finite() && Key::from_id(&rawdoc! { "_id": double }).as_ref() == Some(key);
    same.then_some(double)
}

/// An instant of the years that relaxed Extended JSON writes as text, 1970 to 9999.
pub fn relaxed_date(millis: i64) -> Option<String> {
    let time = Timestamp::from_millisecond(millis).ok()?;
    let year = time.to_zoned(TimeZone::UTC).year();
    let places = if millis % 1000 == 0 { 0 } else { 3 };
    (1970..=9999).contains(&year).then(|| format!("{time:.places$}"))
}

/// The instant that `{"$date":"…"}` names.
fn date(text: &str) -> Option<bson::DateTime> {
    let text = text.strip_prefix("{\"$date\":")?.strip_suffix('}')?.trim();
    let time: Timestamp = text.strip_prefix('"')?.strip_suffix('"')?.parse().ok()?;
    Some(bson::DateTime::from_millis(time.as_millisecond()))
}

/// Every `{_id: …}` that a typed text may mean: Extended JSON, a number, an ObjectId or UUID by its digits, and the text itself.
pub fn ids_of(text: &str) -> Vec<RawDocumentBuf> {
    let mut ids = Vec::new();
    if let Ok(id) = read(&format!("{{\"_id\":{text}}}"))
        && Key::from_id(&id).is_some()
    {
        ids.push(id);
    }
    if let Some(date) = date(text) {
        ids.push(rawdoc! { "_id": date });
    }
    // Quoted or tagged, it is Extended JSON and nothing else.
    if !ids.is_empty() && text.starts_with(['"', '{']) {
        return ids;
    }
    if let Ok(number) = text.parse::<i64>() {
        ids.push(rawdoc! { "_id": number });
    } else if let Some(number) = text.parse::<f64>().ok().filter(|number| number.is_finite()) {
        ids.push(rawdoc! { "_id": number });
    }
    if let Ok(id) = ObjectId::parse_str(text) {
        ids.push(rawdoc! { "_id": id });
    }
    if let Ok(id) = text.parse::<uuid::Uuid>() {
        ids.push(uuid_id(id));
    }
    ids.push(rawdoc! { "_id": text });
    ids
}

/// The text names no `_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoId {
    /// It is empty.
    #[error("it is empty; the empty text is `\"\"`")]
    Empty,
    /// It begins like Extended JSON and is none.
    #[error(
        "it is no Extended JSON: write {{\"$oid\":\"…\"}}, {{\"$uuid\":\"…\"}}, {{\"$numberLong\":\"…\"}}, or a text in quotes"
    )]
    NotExtendedJson,
    /// MongoDB takes no such value for an `_id`.
    #[error("MongoDB takes no such value for an `_id`")]
    NoKey,
}

/// The one `{_id: …}` that the text of a program means, where [`ids_of`] guesses what a person means.
///
/// | text | `_id` |
/// |---|---|
/// | 24 hexadecimal digits | ObjectId |
/// | a number, `true`, `false` or `null` as in JSON | that value |
/// | begins with `{` or `"` | Extended JSON |
/// | any other | text |
///
/// So a text that looks like one of the others is written in quotes. `driftless.key_of` reads the same in SQL.
///
/// # Errors
/// [`NoId`] says why the text means none.
pub fn id_of(text: &str) -> Result<RawDocumentBuf, NoId> {
    let id = match text.as_bytes() {
        [] => return Err(NoId::Empty),
        [b'{' | b'"', ..] => extended(text).ok_or(NoId::NotExtendedJson)?,
        _ => plain(text),
    };
    if Key::from_id(&id).is_some() { Ok(id) } else { Err(NoId::NoKey) }
}

fn plain(text: &str) -> RawDocumentBuf {
    if let Ok(id) = ObjectId::parse_str(text) {
        return rawdoc! { "_id": id };
    }
    // The parser passes over blanks, which are part of a text.
    let json = if text.trim_ascii() == text { serde_json::from_str(text).ok() } else { None };
    match json {
        Some(serde_json::Value::Null) => rawdoc! { "_id": RawBsonRef::Null },
        Some(serde_json::Value::Bool(value)) => rawdoc! { "_id": value },
        Some(serde_json::Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => rawdoc! { "_id": integer },
            (None, Some(double)) => rawdoc! { "_id": double },
            (None, None) => rawdoc! { "_id": text },
        },
        _ => rawdoc! { "_id": text },
    }
}

fn extended(text: &str) -> Option<RawDocumentBuf> {
    if let Ok(id) = read(&format!("{{\"_id\":{text}}}")) {
        return Some(id);
    }
    if let Some(date) = date(text) {
        return Some(rawdoc! { "_id": date });
    }
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let uuid = fields.get("$uuid").filter(|_| fields.len() == 1)?.as_str()?.parse::<uuid::Uuid>().ok()?;
    Some(uuid_id(uuid))
}

fn uuid_id(id: uuid::Uuid) -> RawDocumentBuf {
    rawdoc! { "_id": Binary { subtype: BinarySubtype::Uuid, bytes: id.as_bytes().to_vec() } }
}

#[cfg(test)]
mod tests {
    use bson::raw::RawBson;
    use rstest::rstest;

    use super::*;

    fn key(id: &RawDocumentBuf) -> Key {
        Key::from_id(id).expect("a key")
    }

    #[rstest]
    #[case(rawdoc! { "_id": ObjectId::from_bytes([7; 12]) }, r#"{"$oid":"070707070707070707070707"}"#)]
    #[case(rawdoc! { "_id": 5 }, "5")]
    #[case(rawdoc! { "_id": 1.5 }, "1.5")]
    #[case(rawdoc! { "_id": "0.1".parse::<bson::Decimal128>().expect("a decimal") }, r#"{"$numberDecimal":"0.1"}"#)]
    #[case(rawdoc! { "_id": bson::DateTime::from_millis(1_500) }, r#"{"$date":"1970-01-01T00:00:01.500Z"}"#)]
    #[case(rawdoc! { "_id": bson::DateTime::from_millis(-1_500) }, r#"{"$date":{"$numberLong":"-1500"}}"#)]
    #[case(rawdoc! { "_id": "a\"b" }, r#""a\"b""#)]
    #[case(rawdoc! { "_id": true }, "true")]
    #[case(rawdoc! { "_id": { "a": 1 } }, r#"{"a":{"$numberInt":"1"}}"#)]
    #[case(rawdoc! { "_id": RawBson::Null }, "null")]
    fn an_id_is_readable_and_found_again(#[case] id: RawDocumentBuf, #[case] text: &str) {
        assert_eq!(id_text(&key(&id)), text);
        assert!(ids_of(text).iter().any(|meant| key(meant) == key(&id)), "{:?}", ids_of(text));
    }

    #[test]
    fn what_json_cannot_show_is_named() {
        assert!(id_text(&key(&rawdoc! { "_id": "x".repeat(9_000) })).starts_with("{\"hash\":\""));
        assert!(id_text(&key(&rawdoc! { "_id": { "$x": 1 } })).starts_with("{\"bson\":\""));
    }

    #[test]
    fn digits_mean_every_id_that_is_printed_so() {
        let text = "070707070707070707070707";
        let found: Vec<Key> = ids_of(text).iter().map(key).collect();
        for id in [rawdoc! { "_id": ObjectId::from_bytes([7; 12]) }, rawdoc! { "_id": text }] {
            assert!(found.contains(&key(&id)));
        }
        assert!(ids_of("12").iter().map(key).any(|found| found == key(&rawdoc! { "_id": 12 })));
        assert_eq!(ids_of(r#"{"$oid":"070707070707070707070707"}"#).len(), 1);
        assert_eq!(ids_of("1, \"x\": 2").len(), 1, "a second field is no `_id`");
    }

    #[rstest]
    #[case("070707070707070707070707", rawdoc! { "_id": ObjectId::from_bytes([7; 12]) })]
    #[case(r#"{"$oid":"070707070707070707070707"}"#, rawdoc! { "_id": ObjectId::from_bytes([7; 12]) })]
    #[case(r#""070707070707070707070707""#, rawdoc! { "_id": "070707070707070707070707" })]
    #[case("12", rawdoc! { "_id": 12 })]
    #[case("-0", rawdoc! { "_id": 0 })]
    #[case("12.5", rawdoc! { "_id": 12.5 })]
    #[case("1e3", rawdoc! { "_id": 1000 })]
    #[case("9223372036854775808", rawdoc! { "_id": 9_223_372_036_854_775_808.0 })]
    #[case("\"12\"", rawdoc! { "_id": "12" })]
    #[case("007", rawdoc! { "_id": "007" })]
    #[case("true", rawdoc! { "_id": true })]
    #[case("null", rawdoc! { "_id": RawBson::Null })]
    #[case("NaN", rawdoc! { "_id": "NaN" })]
    #[case(" 12", rawdoc! { "_id": " 12" })]
    #[case("zoë@example.org", rawdoc! { "_id": "zoë@example.org" })]
    #[case("01234567-89ab-cdef-0123-456789abcdef", rawdoc! { "_id": "01234567-89ab-cdef-0123-456789abcdef" })]
    #[case(
        r#"{"$uuid":"01234567-89ab-cdef-0123-456789abcdef"}"#,
        uuid_id(uuid::Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef))
    )]
    #[case(r#"{"$numberLong":"12"}"#, rawdoc! { "_id": 12 })]
    #[case(r#"{"$date":"1970-01-01T00:00:01.500Z"}"#, rawdoc! { "_id": bson::DateTime::from_millis(1_500) })]
    #[case(r#"{"a":"x"}"#, rawdoc! { "_id": { "a": "x" } })]
    fn a_program_means_one_id(#[case] text: &str, #[case] id: RawDocumentBuf) {
        assert_eq!(id_of(text).as_ref().map(key), Ok(key(&id)));
    }

    #[rstest]
    #[case("", NoId::Empty)]
    #[case("{\"$oid\":\"07\"}", NoId::NotExtendedJson)]
    #[case("\"a", NoId::NotExtendedJson)]
    #[case("{\"$uuid\":\"x\"}", NoId::NotExtendedJson)]
    #[case(r#"{"$regularExpression":{"pattern":"a","options":""}}"#, NoId::NoKey)]
    fn a_text_without_an_id_says_why(#[case] text: &str, #[case] why: NoId) {
        assert_eq!(id_of(text), Err(why));
    }
}

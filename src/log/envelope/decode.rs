//! Decodes a record.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bson::raw::RawDocumentBuf;
use hex::FromHex;
use serde::{
    Deserialize,
    de::{Deserializer, Visitor},
};
use serde_json::value::RawValue;

use super::{FORMAT, Malformed, Parts, Record, binary, header, markers, schemas::payload};
use crate::{
    config::Codec,
    log::{Headers, ejson, record_key::record_key},
    model::{Change, ClusterTime, Key, Namespace, Op, Reason, Version},
    retry::Class,
};

/// Decodes a record.
///
/// # Errors
/// Fails with [`Malformed`] for any bytes that this module did not write.
pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headers) -> Result<Record, Malformed> {
    format(headers)?;
    let op = text_header(headers, header::OP)?;
    let key = payload(key.ok_or_else(|| Malformed::new("the record has no key"))?)?;
    if let Some(marker) = markers::decode(op, key, value, headers)? {
        return Ok(marker);
    }
    let Some(op) = Op::from_name(op) else {
        let detail = format!("the header `{}` names no op of this version", header::OP);
        return Err(Malformed { reason: Reason::UnknownOp, detail, class: Class::Poison });
    };
    let Some(value) = value else {
        let envelope = headers.get(header::TOMBSTONE).ok_or_else(no_value)?;
        let change = change(op, key, parts(envelope)?, headers)?;
        let deletes = change.document.is_none();
        return deletes.then_some(Record::Change(change)).ok_or_else(|| Malformed::new("a tombstone has a document"));
    };
    let parts = match codec(headers)? {
        Codec::Json => parts(payload(value)?)?,
        Codec::Bson => binary::read(value)?,
    };
    change(op, key, parts, headers).map(Record::Change)
}

/// Returns the publisher whose next frontier counts this record; `None` for anything but a change, for the tombstone behind a delete,
/// and for a retried dead letter.
///
/// This also works for records that [`decode`] refuses, because they were counted as well.
pub fn counted_by(headers: &Headers) -> Option<u64> {
    Op::from_name(text_header(headers, header::OP).ok()?)?;
    if headers.get(header::RETRY).is_some() || headers.get(header::TOMBSTONE).is_some() {
        return None;
    }
    publisher(headers).ok()
}

fn format(headers: &Headers) -> Result<(), Malformed> {
    match number_header::<u32>(headers, header::FORMAT)? {
        1..=FORMAT => Ok(()),
        0 => Err(Malformed::new("the record has format 0")),
        newer => {
            let detail = format!("the record has format {newer}, this version reads {FORMAT}: run a newer one");
            Err(Malformed { reason: Reason::Malformed, detail, class: Class::Halt })
        }
    }
}

pub(super) fn no_value() -> Malformed {
    Malformed::new("the record has no value")
}

fn text_header<'h>(headers: &'h Headers, name: &str) -> Result<&'h str, Malformed> {
    let value = headers.get(name).ok_or_else(|| Malformed::new(format!("the record has no header `{name}`")))?;
    std::str::from_utf8(value).map_err(|_| bad_header(name))
}

fn number_header<N: std::str::FromStr>(headers: &Headers, name: &str) -> Result<N, Malformed> {
    text_header(headers, name)?.parse().map_err(|_| bad_header(name))
}

/// Parses a header of hexadecimal digits, two for each of 16 bytes.
fn digits(headers: &Headers, name: &str) -> Result<[u8; 16], Malformed> {
    FromHex::from_hex(text_header(headers, name)?).map_err(|_| bad_header(name))
}

fn bad_header(name: &str) -> Malformed {
    Malformed::new(format!("the header `{name}` does not parse"))
}

pub(super) fn publisher(headers: &Headers) -> Result<u64, Malformed> {
    number_header(headers, header::PUBLISHER)
}

pub(super) fn version(headers: &Headers, name: &str) -> Result<Version, Malformed> {
    Version::from_bytes(&digits(headers, name)?).ok_or_else(|| bad_header(name))
}

fn replaces(headers: &Headers) -> Result<Option<Version>, Malformed> {
    headers.get(header::REPLACES).map(|_| version(headers, header::REPLACES)).transpose()
}

fn upper(headers: &Headers) -> Result<ClusterTime, Malformed> {
    let parsed = text_header(headers, header::UPPER)?
        .split_once('.')
        .and_then(|(t, i)| Some(ClusterTime { t: t.parse().ok()?, i: i.parse().ok()? }));
    parsed.ok_or_else(|| bad_header(header::UPPER))
}

/// Parses the codec. A further codec raises [`FORMAT`], so an unknown name means damage.
fn codec(headers: &Headers) -> Result<Codec, Malformed> {
    match headers.get(header::CODEC) {
        None => Ok(Codec::Json),
        Some(value) if value == header::BSON => Ok(Codec::Bson),
        Some(_) => Err(bad_header(header::CODEC)),
    }
}

fn uuid(headers: &Headers) -> Result<Option<[u8; 16]>, Malformed> {
    if headers.get(header::UUID).is_none() {
        return Ok(None);
    }
    digits(headers, header::UUID).map(Some)
}

type Read = Result<RawDocumentBuf, ejson::NotExtendedJson>;

/// Extended JSON in a JSON string, decoded from the buffer of the parser without a copy of the text.
struct After(Read);

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = After;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text of Extended JSON")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<After, E> {
                Ok(After(ejson::read(text)))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[derive(Deserialize)]
struct EnvelopeValue<'a> {
    #[serde(default)]
    after: Option<After>,
    #[serde(default, borrow)]
    raw: Option<Cow<'a, str>>,
    #[serde(default, borrow, rename = "documentKey")]
    id: Option<&'a RawValue>,
    #[serde(default, borrow, rename = "rawKey")]
    raw_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: SourceValue<'a>,
}

#[derive(Deserialize)]
struct SourceValue<'a> {
    #[serde(borrow)]
    db: Cow<'a, str>,
    #[serde(borrow)]
    collection: Cow<'a, str>,
    #[serde(rename = "wallTime")]
    wall_ms: i64,
}

/// Builds the error without the message of the parser, which quotes the value.
pub(super) fn json<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(value).map_err(|error| {
        Malformed::new(format!(
            "the value is not the JSON of this op, from line {} column {}",
            error.line(),
            error.column()
        ))
    })
}

fn change(op: Op, record_key_bytes: &[u8], parts: Parts, headers: &Headers) -> Result<Change, Malformed> {
    let version = version(headers, header::VERSION)?;
    let upper = upper(headers)?;
    let (collection_uuid, replaces) = (uuid(headers)?, replaces(headers)?);
    let Parts { namespace, id, document, wall_ms } = parts;
    let key = Key::from_id(&id).ok_or_else(|| Malformed::new("`documentKey` is not one `_id`"))?;
    if record_key(&key) != record_key_bytes {
        return Err(Malformed::new("the record's key is not the one of its `documentKey`"));
    }
    match (op, &document) {
        (Op::Delete, Some(_)) => return Err(Malformed::new("a delete has a document")),
        (Op::Insert | Op::Update | Op::Replace | Op::Snapshot, None) => {
            return Err(Malformed::new("the change has no document"));
        }
        (_, _) => {}
    }
    Ok(Change {
        namespace,
        id,
        key,
        version,
        op,
        document,
        upper,
        wall_ms,
        update_description: None,
        collection_uuid,
        replaces,
    })
}

/// The JSON of a change.
fn parts(value: &[u8]) -> Result<Parts, Malformed> {
    let EnvelopeValue { after, raw, id, raw_id, source } = json(value)?;
    let id = either(id.map(|text| ejson::read(text.get())), raw_id.as_deref(), "documentKey")?
        .ok_or_else(|| Malformed::new("the value has neither `documentKey` nor `rawKey`"))?;
    let document = either(after.map(|After(read)| read), raw.as_deref(), "after")?;
    Ok(Parts { namespace: Namespace::new(source.db, source.collection), id, document, wall_ms: source.wall_ms })
}

/// Returns a document that is given as text or as base64 of its BSON, but not as both.
fn either(text: Option<Read>, raw: Option<&str>, name: &str) -> Result<Option<RawDocumentBuf>, Malformed> {
    match (text, raw) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Malformed::new(format!("`{name}` is given both as text and as BSON"))),
        (Some(read), None) => read.map(Some).map_err(|error| {
            Malformed::new(format!("`{name}` is not canonical Extended JSON, from its column {}", error.column))
        }),
        (None, Some(raw)) => STANDARD
            .decode(raw)
            .ok()
            .and_then(|bytes| RawDocumentBuf::from_bytes(bytes).ok())
            .map(Some)
            .ok_or_else(|| Malformed::new(format!("the BSON instead of `{name}` is not base64 of a document"))),
    }
}

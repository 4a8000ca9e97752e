//! Encodes a change.

use std::{fmt, io::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bson::raw::RawDocument;

use super::{EXTENDED, Encoded, MAX_ASIDE, MAX_TEXT, PLAIN, binary, debezium_op, header};
use crate::{
    config::Codec,
    log::{
        Headers,
        ejson::{self, hex_of, json_string},
        record_key::record_key,
    },
    model::{Change, ClusterTime, Namespace, Op},
};

/// Encodes a change with its value as JSON. `prefix` is the name of the connector in Debezium's envelope.
///
/// # Panics
/// Panics like [`encode_as`].
pub fn encode(change: &Change, prefix: &str) -> Encoded {
    encode_as(Codec::Json, change, prefix)
}

/// Encodes a change.
///
/// # Panics
/// Panics if a delete carries a document or another op but a repair carries none, because every later reader would have to guess.
pub fn encode_as(codec: Codec, change: &Change, prefix: &str) -> Encoded {
    let mut headers = change_headers(PLAIN, change);
    let value = match codec {
        Codec::Json => json(change, prefix, Fields::Ours),
        Codec::Bson => {
            headers.push(header::CODEC, header::BSON);
            binary::write(change, prefix)
        }
    };
    Encoded { key: record_key(&change.key), value: Some(value), headers }
}

/// Encodes a change as JSON with every field of Debezium's schema; [`Schemas`](super::schemas::Schemas) puts the schema before it.
///
/// # Panics
/// Panics like [`encode_as`].
pub(in crate::log) fn encode_for_schema(change: &Change, prefix: &str) -> Encoded {
    let value = json(change, prefix, Fields::All);
    Encoded { key: record_key(&change.key), value: Some(value), headers: change_headers(EXTENDED, change) }
}

/// Encodes the tombstone behind the record of a change without document. Compaction leaves only the tombstone, so its header has
/// the whole envelope, and it counts as the change itself.
///
/// # Panics
/// Panics like [`encode_as`].
pub fn encode_tombstone(change: &Change, prefix: &str) -> Encoded {
    let mut headers = change_headers(EXTENDED, change);
    headers.push(header::TOMBSTONE, &json(change, prefix, Fields::Ours));
    Encoded { key: record_key(&change.key), value: None, headers }
}

/// Returns the headers that every record has.
pub(super) fn headers(format: u32, op: &str) -> Headers {
    let mut headers = Headers::new();
    headers.push(header::FORMAT, format.to_string().as_bytes());
    headers.push(header::OP, op.as_bytes());
    headers
}

fn change_headers(format: u32, change: &Change) -> Headers {
    let whole = change.op == Op::Repair || change.document.is_none() == (change.op == Op::Delete);
    assert!(whole, "a change has a document unless it is a delete");
    let mut headers = headers(format, change.op.as_str());
    headers.push(header::VERSION, &hex_text(&change.version.to_bytes()));
    headers.push(header::UPPER, change.upper.to_string().as_bytes());
    if let Some(uuid) = &change.collection_uuid {
        headers.push(header::UUID, &hex_text(uuid));
    }
    if let Some(replaced) = &change.replaces {
        headers.push(header::REPLACES, &hex_text(&replaced.to_bytes()));
    }
    headers
}

/// The fields of the envelope.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fields {
    /// Those that say something.
    Ours,
    /// Every field of Debezium's schema.
    All,
}

fn json(change: &Change, prefix: &str, fields: Fields) -> Vec<u8> {
    let mut value = Vec::with_capacity(1024 + 2 * change.document.as_ref().map_or(0, |d| d.as_bytes().len()));
    value.extend_from_slice(br#"{"before":null,"after":"#);
    let raw = change.document.as_ref().filter(|document| !after(&mut value, document));
    if change.document.is_none() || raw.is_some() {
        value.extend_from_slice(b"null");
    }
    value.extend_from_slice(br#","updateDescription":"#);
    match change.update_description.as_ref().and_then(|description| update_description(description)) {
        Some(text) => value.extend_from_slice(&text),
        None => value.extend_from_slice(b"null"),
    }
    source(&mut value, prefix, &Origin::of(change), fields);
    let op = debezium_op(change);
    push(&mut value, format_args!(r#","op":"{op}","ts_ms":{},"transaction":null,"documentKey":"#, change.wall_ms));
    let start = value.len();
    let faithful = ejson::write(&change.id, &mut value).is_ok() && value.len() - start <= MAX_ASIDE;
    if !faithful {
        value.truncate(start);
        value.extend_from_slice(b"null");
        base64(&mut value, "rawKey", &change.id);
    }
    if let Some(document) = raw {
        base64(&mut value, "raw", document);
    }
    value.push(b'}');
    value
}

/// Appends the document as Extended JSON in a JSON string; returns `false` and appends nothing if that would lose something or be too long.
fn after(value: &mut Vec<u8>, document: &RawDocument) -> bool {
    let start = value.len();
    let written = ejson::write_quoted(document, value).is_ok();
    let fits = written && value.len() - start <= MAX_TEXT;
    if !fits {
        value.truncate(start);
    }
    fits
}

/// Returns MongoDB's update description with Debezium's names; `None` if a part of it cannot be written or is too long.
fn update_description(description: &RawDocument) -> Option<Vec<u8>> {
    let mut out = br#"{"removedFields":"#.to_vec();
    let mut removed = Vec::new();
    for name in description.get_array("removedFields").ok()? {
        removed.push(if removed.is_empty() { b'[' } else { b',' });
        json_string(&mut removed, name.ok()?.as_str()?);
    }
    close_or_null(&mut out, removed);
    out.extend_from_slice(br#","updatedFields":"#);
    let mut updated = Vec::new();
    ejson::write(description.get_document("updatedFields").ok()?, &mut updated).ok()?;
    json_string(&mut out, &updated);
    out.extend_from_slice(br#","truncatedArrays":"#);
    let mut truncated = Vec::new();
    if let Ok(arrays) = description.get_array("truncatedArrays") {
        for array in arrays {
            let array = array.ok()?;
            let array = array.as_document()?;
            truncated.extend_from_slice(if truncated.is_empty() { br#"[{"field":"# } else { br#",{"field":"# });
            json_string(&mut truncated, array.get_str("field").ok()?);
            push(&mut truncated, format_args!(r#","size":{}}}"#, array.get_i32("newSize").ok()?));
        }
    }
    close_or_null(&mut out, truncated);
    out.push(b'}');
    (out.len() <= MAX_ASIDE).then_some(out)
}

fn close_or_null(out: &mut Vec<u8>, list: Vec<u8>) {
    if list.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        out.extend_from_slice(&list);
        out.push(b']');
    }
}

/// Where and when a record arose: the `source` of the envelope.
pub(super) struct Origin<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) time: ClusterTime,
    pub(super) snapshot: bool,
    pub(super) wall_ms: i64,
}

impl<'a> Origin<'a> {
    fn of(change: &'a Change) -> Self {
        let Change { namespace, version, op, wall_ms, .. } = change;
        Self { namespace, time: version.time, snapshot: *op == Op::Snapshot, wall_ms: *wall_ms }
    }
}

pub(super) fn source(value: &mut Vec<u8>, prefix: &str, origin: &Origin<'_>, fields: Fields) {
    let Origin { namespace, time, snapshot, wall_ms } = origin;
    push(value, format_args!(r#","source":{{"version":"{}","connector":"mongodb","name":"#, env!("CARGO_PKG_VERSION")));
    json_string(value, prefix);
    // Debezium takes the clock of the server where an event has it.
    let ts_ms = if fields == Fields::All { *wall_ms } else { time.unix_ms() };
    push(value, format_args!(r#","ts_ms":{ts_ms},"snapshot":"{snapshot}","db":"#));
    json_string(value, &*namespace.db);
    if fields == Fields::All {
        let [us, ns] = [1_000, 1_000_000].map(|parts| ts_ms.saturating_mul(parts));
        push(value, format_args!(r#","sequence":null,"ts_us":{us},"ts_ns":{ns}"#));
    }
    value.extend_from_slice(br#","collection":"#);
    json_string(value, &*namespace.collection);
    push(value, format_args!(r#","ord":{}"#, time.i));
    if fields == Fields::All {
        value.extend_from_slice(br#","lsid":null,"txnNumber":null"#);
    }
    push(value, format_args!(r#","wallTime":{wall_ms}}}"#));
}

fn base64(value: &mut Vec<u8>, name: &str, document: &RawDocument) {
    push(value, format_args!(r#","{name}":"{}""#, STANDARD.encode(document.as_bytes())));
}

pub(super) fn push(value: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = value.write_fmt(text);
}

pub(super) fn hex_text(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * bytes.len());
    hex_of(&mut out, bytes);
    out
}

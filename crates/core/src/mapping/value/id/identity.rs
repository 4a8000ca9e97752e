//! Identities of documents and elements: an `_id`, or a reference to one.

use std::borrow::Cow;

use uuid::Uuid;

use crate::mapping::value::{
    number::numeric,
    raw::{Raw, Value},
};
use crate::model::Reason;

const UUID_LENGTH: usize = 36;

/// A type of `_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdType {
    /// ObjectId.
    ObjectId,
    /// String.
    String,
    /// Whole number of any numeric type.
    Integer,
    /// Binary of subtype 4.
    Uuid,
    /// Binary of subtype 0.
    Binary,
}

impl IdType {
    /// Every type and its name in the file.
    pub(crate) const NAMES: [(&str, Self); 5] = [
        ("objectId", Self::ObjectId),
        ("string", Self::String),
        ("integer", Self::Integer),
        ("uuid", Self::Uuid),
        ("binary", Self::Binary),
    ];
}

/// A value that identifies a document or element.
pub(super) enum Identity<'a> {
    ObjectId([u8; 12]),
    Text(&'a str),
    Integer(i64),
    Uuid(Uuid),
    Binary(&'a [u8]),
}

/// The value of `_id` in a document, last wins.
///
/// # Errors
/// `MALFORMED` without one.
pub(crate) fn id_of(document: Raw<'_>) -> Result<Value<'_>, Reason> {
    let mut id = Err(Reason::Malformed);
    for field in document.fields() {
        let (name, value) = field?;
        if name == b"_id" {
            id = Ok(value);
        }
    }
    id
}

impl<'a> Identity<'a> {
    pub(super) fn kind(&self) -> IdType {
        match self {
            Self::ObjectId(_) => IdType::ObjectId,
            Self::Text(_) => IdType::String,
            Self::Integer(_) => IdType::Integer,
            Self::Uuid(_) => IdType::Uuid,
            Self::Binary(_) => IdType::Binary,
        }
    }

    pub(super) fn text(&self) -> Cow<'a, str> {
        match self {
            Self::ObjectId(id) => hex::encode(id).into(),
            Self::Text(text) => (*text).into(),
            Self::Integer(value) => value.to_string().into(),
            Self::Uuid(id) => id.hyphenated().to_string().into(),
            // No rule makes a text of it.
            Self::Binary(bytes) => hex::encode(bytes).into(),
        }
    }
}

/// `None` for a value of a type that identifies nothing. Equal numbers are one identity, as they are one `_id`.
pub(super) fn of(value: Value<'_>) -> Result<Option<Identity<'_>>, Reason> {
    const UUID: u8 = 4;
    Ok(match value {
        Value::ObjectId(id) => Some(Identity::ObjectId(id)),
        Value::String(bytes) | Value::Symbol(bytes) => {
            Some(Identity::Text(std::str::from_utf8(bytes).map_err(|_| Reason::BadUtf8)?))
        }
        Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal(_) => {
            Some(Identity::Integer(numeric::integer(value)?))
        }
        Value::Binary { subtype: UUID, bytes } => Uuid::from_slice(bytes).ok().map(Identity::Uuid),
        Value::Binary { subtype: 0, bytes } => Some(Identity::Binary(bytes)),
        _ => None,
    })
}

/// The text by which a value identifies a document, whatever its type; `None` for a value that identifies nothing.
pub(crate) fn identity_text(value: Value<'_>) -> Option<Cow<'_, str>> {
    of(value).ok().flatten().map(|identity| identity.text())
}

pub(super) fn reads_like_another(text: &str) -> bool {
    let number = || text.parse::<i64>().is_ok_and(|value| value.to_string() == text);
    object_id(text).is_some() || canonical_uuid(text).is_some() || number()
}

pub(super) fn object_id(text: &str) -> Option<[u8; 12]> {
    let mut id = [0; 12];
    hex::decode_to_slice(text, &mut id).ok().map(|()| id)
}

/// A UUID in its usual spelling of 36 characters, in either case.
pub(crate) fn canonical_uuid(text: &str) -> Option<Uuid> {
    if text.len() == UUID_LENGTH { Uuid::try_parse(text).ok() } else { None }
}

//! The id rule of a collection: the values that it takes, and the keys that it makes of them.

use std::borrow::Cow;

use md5::{Digest, Md5};
use uuid::Uuid;

use super::{
    Id,
    identity::{self, IdType, Identity, canonical_uuid, object_id, reads_like_another},
};
use crate::mapping::{
    target::TableName,
    value::{raw::Value, text},
};
use crate::model::Reason;

/// Longest text of a key. An entry of PostgreSQL's B-tree has at most 2,704 bytes, headers and padding included.
const MAX_KEY_TEXT: usize = 2_600;

/// A rule that makes a primary key of an `_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdRule {
    /// Version-5 UUID of the text form.
    Uuid5,
    /// ObjectId as 24 hexadecimal digits.
    Hex,
    /// String as it is.
    Text,
    /// Integer as it is.
    Integer,
    /// UUID as it is.
    Uuid,
    /// MD5 of the text form, as UUID or as 32 hexadecimal digits.
    Md5,
    /// ObjectId as the last 12 bytes of a UUID, after zeros.
    PadLeft,
    /// ObjectId as the first 12 bytes of a UUID, before zeros.
    PadRight,
    /// The bytes of an ObjectId, UUID or binary.
    Bytes,
    /// The text form, looked up in a table of the target.
    Lookup,
}

/// A table of the target that translates ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The table.
    pub table: TableName,
    /// The column that holds the text of the source's id, and its type as SQL.
    pub from: (String, String),
    /// The column that holds the id of the target.
    pub to: String,
}

/// The id rule of one collection.
#[derive(Clone, Debug)]
pub(crate) struct IdStep {
    pub(super) rule: IdRule,
    pub(super) only: Option<IdType>,
    pub(super) namespace: Uuid,
    pub(super) lookup: Option<Box<Lookup>>,
    pub(super) strip: Option<Box<Strip>>,
}

/// The prefix and suffix that a text must have, and that are no part of the id.
#[derive(Clone, Debug)]
pub(super) struct Strip {
    pub(super) prefix: Option<String>,
    pub(super) suffix: Option<String>,
}

impl IdStep {
    /// A rule that takes the types of `only`, or every type that stays unambiguous.
    pub(crate) fn new(rule: IdRule, only: Option<IdType>, namespace: Uuid) -> Self {
        Self { rule, only, namespace, lookup: None, strip: None }
    }

    /// The same rule, with the table in which PostgreSQL finds the ids.
    pub(crate) fn looked_up(self, lookup: Lookup) -> Self {
        Self { lookup: Some(Box::new(lookup)), ..self }
    }

    /// The same rule for texts that begin and end like this. All texts lose the same part and nothing else is taken, so two
    /// documents stay two.
    pub(crate) fn stripping(self, prefix: Option<String>, suffix: Option<String>) -> Self {
        if prefix.is_none() && suffix.is_none() {
            return self;
        }
        Self { only: Some(IdType::String), strip: Some(Box::new(Strip { prefix, suffix })), ..self }
    }

    /// The table in which PostgreSQL finds the id. The type of the searched column is empty until the catalog gives it.
    pub(crate) fn lookup(&self) -> Option<&Lookup> {
        self.lookup.as_deref()
    }

    /// The key of a document by its `_id`.
    ///
    /// # Errors
    /// `KEY_UNSUPPORTED` for a type that the rule does not take, and the reasons of the value itself.
    pub(crate) fn own<'a>(&self, value: Value<'a>) -> Result<Id<'a>, Reason> {
        let identity = self.identity(value)?.ok_or(Reason::KeyUnsupported)?;
        let unsupported = Err(Reason::KeyUnsupported);
        match (self.kind(), self.rule, identity) {
            (_, IdRule::Uuid, Identity::Text(text)) if self.only == Some(IdType::String) => {
                match canonical_uuid(text) {
                    // Two spellings of one UUID are two documents: only one of them may have the row.
                    Some(id) if id.hyphenated().to_string() == text => Ok(Id::Uuid(id)),
                    _ => unsupported,
                }
            }
            (Some(only), _, identity) if only != identity.kind() => unsupported,
            (None, _, Identity::Text(text)) if reads_like_another(text) => unsupported,
            (_, _, identity) => self.key(identity).unwrap_or(unsupported),
        }
    }

    /// The key of the document that a value refers to.
    ///
    /// # Errors
    /// `TYPE_MISMATCH` for a value that cannot be such a reference, and the reasons of the value itself.
    pub(crate) fn reference<'a>(&self, value: Value<'a>) -> Result<Id<'a>, Reason> {
        let identity = self.identity(value)?.ok_or(Reason::TypeMismatch)?;
        let identity = match (self.kind(), identity) {
            (Some(IdType::ObjectId) | None, Identity::Text(text)) => match object_id(text) {
                Some(id) => Identity::ObjectId(id),
                None => match (self.kind(), canonical_uuid(text)) {
                    (None, Some(id)) => Identity::Uuid(id),
                    _ => Identity::Text(text),
                },
            },
            (Some(IdType::Uuid), Identity::Text(text)) => {
                canonical_uuid(text).map_or(Identity::Text(text), Identity::Uuid)
            }
            (_, identity) => identity,
        };
        match (self.rule, identity) {
            (IdRule::Uuid, Identity::Text(text)) if self.only == Some(IdType::String) => {
                canonical_uuid(text).map(Id::Uuid).ok_or(Reason::TypeMismatch)
            }
            (_, identity) if self.kind().is_some_and(|only| only != identity.kind()) => Err(Reason::TypeMismatch),
            (_, identity) => self.key(identity).unwrap_or(Err(Reason::TypeMismatch)),
        }
    }

    /// The identity of a value; `None` also for a value without the prefix or suffix that the rule strips.
    fn identity<'a>(&self, value: Value<'a>) -> Result<Option<Identity<'a>>, Reason> {
        match (&self.strip, value) {
            (None, _) => identity::of(value),
            (Some(strip), Value::String(text) | Value::Symbol(text)) => {
                match text::stripped(text, strip.prefix.as_deref(), strip.suffix.as_deref()) {
                    Some(text) => identity::of(Value::String(text)),
                    None => Ok(None),
                }
            }
            (Some(_), _) => Ok(None),
        }
    }

    /// The key of an identity; `None` for an identity that the rule does not take.
    fn key<'a>(&self, identity: Identity<'a>) -> Option<Result<Id<'a>, Reason>> {
        Some(Ok(match (self.rule, identity) {
            (IdRule::Bytes, Identity::ObjectId(id)) => Id::Bytes(id.to_vec().into()),
            (IdRule::Bytes, Identity::Uuid(id)) => Id::Bytes(id.into_bytes().to_vec().into()),
            (IdRule::Bytes, Identity::Binary(bytes)) if bytes.len() > MAX_KEY_TEXT => {
                return Some(Err(Reason::KeyTooLong));
            }
            (IdRule::Bytes, Identity::Binary(bytes)) => Id::Bytes(bytes.into()),
            (_, Identity::Binary(_)) => return None,
            (IdRule::Uuid5, identity) => Id::Uuid(Uuid::new_v5(&self.namespace, identity.text().as_bytes())),
            (IdRule::Md5, identity) => Id::Md5(Md5::digest(identity.text().as_bytes()).into()),
            (IdRule::Lookup, identity) => return Some(key_text(identity.text()).map(Id::Wanted)),
            (IdRule::PadLeft, Identity::ObjectId(id)) => {
                let mut bytes = [0; 16];
                bytes[4..].copy_from_slice(&id);
                Id::Uuid(Uuid::from_bytes(bytes))
            }
            (IdRule::PadRight, Identity::ObjectId(id)) => {
                let mut bytes = [0; 16];
                bytes[..12].copy_from_slice(&id);
                Id::Uuid(Uuid::from_bytes(bytes))
            }
            (IdRule::Hex, Identity::ObjectId(id)) => Id::Text(hex::encode(id).into()),
            (IdRule::Text, Identity::Text(text)) => return Some(key_text(text.into()).map(Id::Text)),
            (IdRule::Integer, Identity::Integer(value)) => Id::Integer(value),
            (IdRule::Uuid, Identity::Uuid(id)) => Id::Uuid(id),
            _ => return None,
        }))
    }

    /// The only type of `_id` there is, where the rule or the mapping says so.
    fn kind(&self) -> Option<IdType> {
        match self.rule {
            IdRule::Uuid5 | IdRule::Md5 | IdRule::Lookup => self.only,
            IdRule::Hex | IdRule::PadLeft | IdRule::PadRight => Some(IdType::ObjectId),
            IdRule::Bytes => Some(self.only.unwrap_or(IdType::ObjectId)),
            IdRule::Text => Some(IdType::String),
            IdRule::Integer => Some(IdType::Integer),
            IdRule::Uuid => Some(self.only.unwrap_or(IdType::Uuid)),
        }
    }
}

fn key_text(text: Cow<'_, str>) -> Result<Cow<'_, str>, Reason> {
    if text.len() > MAX_KEY_TEXT { Err(Reason::KeyTooLong) } else { Ok(text) }
}

impl IdRule {
    /// Every rule and its name in the file.
    pub(crate) const NAMES: [(&str, Self); 10] = [
        ("uuid5", Self::Uuid5),
        ("md5", Self::Md5),
        ("pad_left", Self::PadLeft),
        ("pad_right", Self::PadRight),
        ("hex", Self::Hex),
        ("text", Self::Text),
        ("integer", Self::Integer),
        ("uuid", Self::Uuid),
        ("bytes", Self::Bytes),
        ("lookup", Self::Lookup),
    ];
}

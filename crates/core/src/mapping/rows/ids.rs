//! Keys of the target: what an `_id`, a reference to one, or an element of an embedded array becomes.
//!
//! | rule | takes | gives |
//! | --- | --- | --- |
//! | `uuid5` | ObjectId, string, whole number, UUID | version-5 UUID of its text in the namespace |
//! | `hex` | ObjectId | 24 hexadecimal digits |
//! | `text` | string | the string |
//! | `integer` | whole number | the number |
//! | `uuid` | UUID (binary subtype 4), or with `type = "string"` its text | the UUID |
//! | `md5` | as `uuid5` | MD5 of its text, as UUID or as 32 hexadecimal digits |
//! | `pad_left`, `pad_right` | ObjectId | UUID of its 12 bytes, after or before four bytes of zeros |
//! | `bytes` | ObjectId, or what `type` names: UUID, binary of subtype 0 | its bytes |
//! | `lookup` | as `uuid5` | its text, which PostgreSQL exchanges for what a table says |
//!
//! The text of `uuid5`, `md5` and `lookup`: an ObjectId is its 24 lower-case hexadecimal digits, a number its decimal digits, a UUID its 36
//! characters in lower case. So that two documents never share a row, a string `_id` that reads like one of the three is
//! refused, unless the mapping says `type = "string"` and thereby that there is nothing else.
//!
//! A reference is converted by the rule of the collection it points to, and takes the text of an ObjectId or UUID for the
//! thing itself, because applications store references either way.
//!
//! A child row's id is a version-5 UUID, in the root row's id as namespace, of the array's path, the kind of what tells
//! elements apart, and its text: `milestones/oid:507f1f77bcf86cd799439011`, `milestones/index:3`. It does not change when
//! other elements come, go or move.

use std::borrow::Cow;

use md5::{Digest, Md5};
use uuid::Uuid;

use crate::mapping::{
    IdFile, IdRule, IdType, Lookup,
    plan::target::ColumnType,
    value::{
        number::numeric,
        raw::{Raw, Value},
        text,
    },
};
use crate::model::Reason;

/// What PostgreSQL's B-tree takes in one entry is 2,704 bytes, headers and padding included.
const MAX_KEY_TEXT: usize = 2_600;
const HEX_DIGITS: usize = 24;
const MD5_DIGITS: usize = 32;
const UUID_LENGTH: u32 = 36;

/// The id rule of one collection.
#[derive(Clone, Debug)]
pub(crate) struct IdStep {
    rule: IdRule,
    only: Option<IdType>,
    namespace: Uuid,
    lookup: Option<Box<Lookup>>,
    strip: Option<Box<Strip>>,
}

/// What a text must begin and end with, and what is no part of the id.
#[derive(Clone, Debug)]
struct Strip {
    prefix: Option<String>,
    suffix: Option<String>,
}

/// A key of the target, not yet in the form of its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Id<'a> {
    Uuid(Uuid),
    Text(Cow<'a, str>),
    Integer(i64),
    /// A hash that is a UUID or, in a text column, 32 digits.
    Md5([u8; 16]),
    Bytes(Cow<'a, [u8]>),
    /// What PostgreSQL looks up; whatever type the column has, this travels as text.
    Wanted(Cow<'a, str>),
}

/// What identifies a document or element.
enum Identity<'a> {
    ObjectId([u8; 12]),
    Text(&'a str),
    Integer(i64),
    Uuid(Uuid),
    Binary(&'a [u8]),
}

impl IdStep {
    /// The rule of a collection.
    pub(crate) fn new(file: &IdFile) -> Self {
        let lookup = file.lookup.as_ref().map(|lookup| Lookup {
            table: lookup.table.value.clone(),
            from: (lookup.from.value.clone(), String::new()),
            to: lookup.to.value.clone(),
        });
        let strip = Strip { prefix: file.strip_prefix.clone(), suffix: file.strip_suffix.clone() };
        let strip = (strip.prefix.is_some() || strip.suffix.is_some()).then(|| Box::new(strip));
        // Where all texts lose the same part and nothing else is taken, two documents stay two.
        let only = if strip.is_some() { Some(IdType::String) } else { file.only };
        Self { rule: file.rule, only, namespace: file.namespace, lookup: lookup.map(Box::new), strip }
    }

    /// Where PostgreSQL finds the id; the type of the column that is searched is the catalog's to say.
    pub(crate) fn lookup(&self) -> Option<&Lookup> {
        self.lookup.as_deref()
    }

    /// The key of a document by its `_id`.
    ///
    /// # Errors
    /// `KEY_UNSUPPORTED` for a type the rule does not take; reasons of the value itself besides.
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
    /// `TYPE_MISMATCH` for what cannot be such a reference; reasons of the value itself besides.
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

    /// What a value identifies; `None` also for one that lacks what the rule strips off.
    fn identity<'a>(&self, value: Value<'a>) -> Result<Option<Identity<'a>>, Reason> {
        match (&self.strip, value) {
            (None, _) => identity(value),
            (Some(strip), Value::String(text) | Value::Symbol(text)) => {
                match text::stripped(text, strip.prefix.as_deref(), strip.suffix.as_deref()) {
                    Some(text) => identity(Value::String(text)),
                    None => Ok(None),
                }
            }
            (Some(_), _) => Ok(None),
        }
    }

    /// What the rule makes of an identity that it may take; `None` for one that it does not.
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

    /// Whether a column of that type can hold the rule's keys.
    pub(crate) fn fits(&self, kind: &ColumnType) -> bool {
        let holds = |length: usize| match kind.base() {
            ColumnType::Text | ColumnType::Varchar(None) => true,
            ColumnType::Varchar(Some(limit)) => *limit as usize >= length,
            _ => false,
        };
        match self.rule {
            IdRule::Uuid5 | IdRule::Uuid | IdRule::PadLeft | IdRule::PadRight => {
                *kind.base() == ColumnType::Uuid || holds(UUID_LENGTH as usize)
            }
            IdRule::Md5 => *kind.base() == ColumnType::Uuid || holds(MD5_DIGITS),
            IdRule::Bytes => *kind.base() == ColumnType::Bytea,
            // PostgreSQL converts what the table says, or refuses it when the statement is prepared.
            IdRule::Lookup => !matches!(kind.base(), ColumnType::Array(_) | ColumnType::Unsupported(_)),
            IdRule::Hex => holds(HEX_DIGITS),
            IdRule::Text => holds(0),
            IdRule::Integer => matches!(
                kind.base(),
                ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 | ColumnType::Numeric { .. }
            ),
        }
    }

    /// What the rule's keys go into, in words.
    pub(crate) fn wants(&self) -> &'static str {
        match self.rule {
            IdRule::Uuid5 | IdRule::Uuid | IdRule::PadLeft | IdRule::PadRight => "uuid, text or varchar(36)",
            IdRule::Md5 => "uuid, text or varchar(32)",
            IdRule::Bytes => "bytea",
            IdRule::Lookup => "the type of the column that `to` names",
            IdRule::Hex => "text or varchar(24)",
            IdRule::Text => "text or varchar",
            IdRule::Integer => "smallint, integer, bigint or numeric",
        }
    }

    /// The rule in words, with its namespace where that has a part in the keys: of the documents, or of what they embed.
    pub(crate) fn in_words(&self, embeds: bool) -> String {
        let named = IdRule::NAMES.iter().find(|(_, rule)| *rule == self.rule);
        let mut words = named.map_or("id", |(name, _)| name).to_owned();
        if let Some(Lookup { table, from: (from, _), to }) = self.lookup() {
            words.push_str(&format!(" in {table} (from {from} to {to})"));
        }
        let gives_uuids = matches!(self.rule, IdRule::Uuid | IdRule::Md5 | IdRule::PadLeft | IdRule::PadRight);
        if self.rule == IdRule::Uuid5 || embeds && !gives_uuids {
            words.push_str(&format!(" in namespace {}", self.namespace));
        }
        words
    }

    /// Whether ids of child rows need a namespace that the mapping does not give.
    pub(crate) fn lacks_namespace(&self) -> bool {
        let gives_uuids =
            matches!(self.rule, IdRule::Uuid5 | IdRule::Uuid | IdRule::Md5 | IdRule::PadLeft | IdRule::PadRight);
        !gives_uuids && self.namespace.is_nil()
    }

    /// The namespace of all child ids below a root row.
    pub(crate) fn child_namespace(&self, root: &Id<'_>) -> Uuid {
        match root {
            Id::Uuid(id) => *id,
            Id::Md5(bytes) => Uuid::from_bytes(*bytes),
            Id::Text(text) | Id::Wanted(text) => Uuid::new_v5(&self.namespace, text.as_bytes()),
            Id::Bytes(bytes) => Uuid::new_v5(&self.namespace, bytes),
            Id::Integer(value) => Uuid::new_v5(&self.namespace, value.to_string().as_bytes()),
        }
    }
}

/// The id of a child row by what tells its element apart.
///
/// # Errors
/// `KEY_UNSUPPORTED` for a value that identifies nothing.
pub(crate) fn child(namespace: Uuid, path: &str, key: Value<'_>) -> Result<Uuid, Reason> {
    let identity = identity(key)?.ok_or(Reason::KeyUnsupported)?;
    let kind = match identity {
        Identity::ObjectId(_) => "oid",
        Identity::Text(_) => "string",
        Identity::Integer(_) => "integer",
        Identity::Uuid(_) => "uuid",
        Identity::Binary(_) => return Err(Reason::KeyUnsupported),
    };
    Ok(Uuid::new_v5(&namespace, format!("{path}/{kind}:{}", identity.text()).as_bytes()))
}

/// The id of a child row by its index.
pub(crate) fn child_at(namespace: Uuid, path: &str, index: usize) -> Uuid {
    Uuid::new_v5(&namespace, format!("{path}/index:{index}").as_bytes())
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
    fn kind(&self) -> IdType {
        match self {
            Self::ObjectId(_) => IdType::ObjectId,
            Self::Text(_) => IdType::String,
            Self::Integer(_) => IdType::Integer,
            Self::Uuid(_) => IdType::Uuid,
            Self::Binary(_) => IdType::Binary,
        }
    }

    fn text(&self) -> Cow<'a, str> {
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
fn identity(value: Value<'_>) -> Result<Option<Identity<'_>>, Reason> {
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

fn key_text(text: Cow<'_, str>) -> Result<Cow<'_, str>, Reason> {
    if text.len() > MAX_KEY_TEXT { Err(Reason::KeyTooLong) } else { Ok(text) }
}

fn reads_like_another(text: &str) -> bool {
    let number = || text.parse::<i64>().is_ok_and(|value| value.to_string() == text);
    object_id(text).is_some() || canonical_uuid(text).is_some() || number()
}

fn object_id(text: &str) -> Option<[u8; 12]> {
    let mut id = [0; 12];
    hex::decode_to_slice(text, &mut id).ok().map(|()| id)
}

/// A UUID in its usual spelling of 36 characters, in either case.
pub(crate) fn canonical_uuid(text: &str) -> Option<Uuid> {
    if text.len() == UUID_LENGTH as usize { Uuid::try_parse(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::mapping::{At, LookupFile, plan::target::TableName};

    const OID: [u8; 12] = [0x50, 0x7f, 0x1f, 0x77, 0xbc, 0xf8, 0x6c, 0xd7, 0x99, 0x43, 0x90, 0x11];
    const HEX: &str = "507f1f77bcf86cd799439011";
    const GUID: &str = "c02bb386-0c9e-5f4e-a2b9-7e8f3a6d1c05";
    const GUID_BYTES: &[u8] = &0xc02b_b386_0c9e_5f4e_a2b9_7e8f_3a6d_1c05_u128.to_be_bytes();

    fn step(rule: IdRule) -> IdStep {
        IdStep { rule, only: None, namespace: Uuid::NAMESPACE_DNS, lookup: None, strip: None }
    }

    fn only(rule: IdRule, only: IdType) -> IdStep {
        IdStep { only: Some(only), ..step(rule) }
    }

    fn uuid5(name: &str) -> Result<Id<'static>, Reason> {
        Ok(Id::Uuid(Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes())))
    }

    fn text(text: &str) -> Result<Id<'_>, Reason> {
        Ok(Id::Text(text.into()))
    }

    fn guid() -> Uuid {
        Uuid::try_parse(GUID).expect("a UUID")
    }

    // The UUIDs that Python's `uuid.uuid5(uuid.NAMESPACE_DNS, name)` gives.
    #[rstest]
    #[case("python.org", "886313e1-3b8a-5372-9b90-0c9aee199e5d")]
    #[case(HEX, "ee0ed452-9acc-551c-beeb-f7c8d6d00853")]
    fn golden_uuid5(#[case] name: &str, #[case] expected: &str) {
        let step = only(IdRule::Uuid5, IdType::String);
        assert_eq!(step.own(Value::String(name.as_bytes())), Ok(Id::Uuid(Uuid::try_parse(expected).expect("a UUID"))));
    }

    const NONE: Result<Id<'static>, Reason> = Err(Reason::KeyUnsupported);

    #[rstest]
    #[case::input_001_object_id(step(IdRule::Uuid5), Value::ObjectId(OID), uuid5(HEX))]
    #[case::input_002_text_like_an_object_id(step(IdRule::Uuid5), Value::String(HEX.as_bytes()), NONE)]
    #[case::input_002_in_upper_case(step(IdRule::Uuid5), Value::String(b"507F1F77BCF86CD799439011"), NONE)]
    #[case::input_002_nothing_but_texts(only(IdRule::Uuid5, IdType::String), Value::String(HEX.as_bytes()), uuid5(HEX))]
    #[case::input_002_text_rule(step(IdRule::Text), Value::ObjectId(OID), NONE)]
    #[case::input_003_integer(step(IdRule::Uuid5), Value::Int32(1), uuid5("1"))]
    #[case::input_003_text_like_an_integer(step(IdRule::Uuid5), Value::String(b"1"), NONE)]
    #[case::input_004_equal_double(step(IdRule::Uuid5), Value::Double(1.0), uuid5("1"))]
    #[case::input_005_exact(step(IdRule::Integer), Value::Int64((1 << 53) + 1), Ok(Id::Integer((1 << 53) + 1)))]
    #[case::input_007_negative_zero(step(IdRule::Integer), Value::Double(-0.0), Ok(Id::Integer(0)))]
    #[case::input_008_nan(step(IdRule::Uuid5), Value::Double(f64::NAN), Err(Reason::NonFinite))]
    #[case::input_010_null(step(IdRule::Uuid5), Value::Null, NONE)]
    #[case::input_012_boolean(step(IdRule::Uuid5), Value::Bool(true), NONE)]
    #[case::input_013_date(step(IdRule::Uuid5), Value::DateTime(0), NONE)]
    #[case::input_014_uuid(step(IdRule::Uuid), Value::Binary { subtype: 4, bytes: GUID_BYTES }, Ok(Id::Uuid(guid())))]
    #[case::input_014_uuid5(step(IdRule::Uuid5), Value::Binary { subtype: 4, bytes: GUID_BYTES }, uuid5(GUID))]
    #[case::input_015_legacy(step(IdRule::Uuid), Value::Binary { subtype: 3, bytes: GUID_BYTES }, NONE)]
    #[case::input_016_empty_binary(step(IdRule::Uuid5), Value::Binary { subtype: 0, bytes: b"" }, NONE)]
    #[case::input_018_document(step(IdRule::Uuid5), Value::Document(Raw::new(&[5, 0, 0, 0, 0])), NONE)]
    #[case::input_021_empty_text(step(IdRule::Text), Value::String(b""), text(""))]
    #[case::input_023_no_utf8(step(IdRule::Text), Value::String(&[0xff]), Err(Reason::BadUtf8))]
    #[case::input_026_trailing_space(step(IdRule::Text), Value::String(b"a "), text("a "))]
    #[case::input_027_min_key(step(IdRule::Uuid5), Value::MinKey, NONE)]
    #[case::hex(step(IdRule::Hex), Value::ObjectId(OID), text(HEX))]
    #[case::hex_of_text(step(IdRule::Hex), Value::String(HEX.as_bytes()), NONE)]
    #[case::fraction(step(IdRule::Integer), Value::Double(1.5), Err(Reason::Lossy))]
    #[case::uuid_text(step(IdRule::Uuid), Value::String(GUID.as_bytes()), NONE)]
    #[case::uuid_text_allowed(only(IdRule::Uuid, IdType::String), Value::String(GUID.as_bytes()), Ok(Id::Uuid(guid())))]
    #[case::uuid_in_upper_case(
        only(IdRule::Uuid, IdType::String),
        Value::String(b"C02BB386-0C9E-5F4E-A2B9-7E8F3A6D1C05"),
        NONE
    )]
    fn own_ids(#[case] step: IdStep, #[case] value: Value<'_>, #[case] expected: Result<Id<'_>, Reason>) {
        assert_eq!(step.own(value), expected);
    }

    // What Python's `hashlib` and `uuid` give.
    #[rstest]
    #[case(Value::ObjectId(OID), "e9b89e5b-13fd-a71c-49ef-084cb302ce94")]
    #[case(Value::String(b"plan-1"), "1d4e0e9a-8d3b-32d4-f4db-809ac153bc46")]
    #[case(Value::Int64(7), "8f14e45f-ceea-167a-5a36-dedd4bea2543")]
    #[case(Value::Binary { subtype: 4, bytes: GUID_BYTES }, "ff8d0d77-7452-2dcb-5ac1-9f45e21ebb95")]
    fn golden_md5(#[case] value: Value<'_>, #[case] expected: &str) {
        let expected = Uuid::try_parse(expected).expect("a UUID").into_bytes();
        assert_eq!(step(IdRule::Md5).own(value), Ok(Id::Md5(expected)));
        assert_eq!(step(IdRule::Md5).reference(value), Ok(Id::Md5(expected)));
    }

    #[rstest]
    #[case(IdRule::PadLeft, "00000000-507f-1f77-bcf8-6cd799439011")]
    #[case(IdRule::PadRight, "507f1f77-bcf8-6cd7-9943-901100000000")]
    fn golden_padding(#[case] rule: IdRule, #[case] expected: &str) {
        let expected = Ok(Id::Uuid(Uuid::try_parse(expected).expect("a UUID")));
        assert_eq!(step(rule).own(Value::ObjectId(OID)), expected);
        assert_eq!(step(rule).reference(Value::String(HEX.as_bytes())), expected);
        assert_eq!(step(rule).own(Value::String(HEX.as_bytes())), NONE);
        assert_eq!(step(rule).own(Value::Int32(1)), NONE);
    }

    fn bytes(bytes: &[u8]) -> Result<Id<'_>, Reason> {
        Ok(Id::Bytes(bytes.into()))
    }

    #[rstest]
    #[case(step(IdRule::Bytes), Value::ObjectId(OID), bytes(&OID))]
    #[case(step(IdRule::Bytes), Value::Binary { subtype: 4, bytes: GUID_BYTES }, NONE)]
    #[case(only(IdRule::Bytes, IdType::Uuid), Value::Binary { subtype: 4, bytes: GUID_BYTES }, bytes(GUID_BYTES))]
    #[case(only(IdRule::Bytes, IdType::Uuid), Value::ObjectId(OID), NONE)]
    #[case::input_016_empty(only(IdRule::Bytes, IdType::Binary), Value::Binary { subtype: 0, bytes: b"" }, bytes(b""))]
    #[case(only(IdRule::Bytes, IdType::Binary), Value::Binary { subtype: 5, bytes: b"x" }, NONE)]
    #[case(only(IdRule::Bytes, IdType::Binary), Value::Binary { subtype: 0, bytes: &[7; 2601] }, Err(Reason::KeyTooLong))]
    #[case::md5_of_a_text_like_an_object_id(step(IdRule::Md5), Value::String(HEX.as_bytes()), NONE)]
    #[case::binary_has_no_text(step(IdRule::Md5), Value::Binary { subtype: 0, bytes: b"x" }, NONE)]
    #[case::wanted(step(IdRule::Lookup), Value::ObjectId(OID), Ok(Id::Wanted(HEX.into())))]
    #[case::wanted_number(step(IdRule::Lookup), Value::Double(7.0), Ok(Id::Wanted("7".into())))]
    #[case::wanted_text_like_an_object_id(step(IdRule::Lookup), Value::String(HEX.as_bytes()), NONE)]
    fn more_own_ids(#[case] step: IdStep, #[case] value: Value<'_>, #[case] expected: Result<Id<'_>, Reason>) {
        assert_eq!(step.own(value), expected);
    }

    #[test]
    fn each_rule_fits_the_columns_that_hold_its_keys() {
        let kinds = [ColumnType::Uuid, ColumnType::Varchar(Some(32)), ColumnType::Bytea, ColumnType::Int8];
        for (rule, expected) in [
            (IdRule::Md5, [true, true, false, false]),
            (IdRule::PadLeft, [true, false, false, false]),
            (IdRule::PadRight, [true, false, false, false]),
            (IdRule::Bytes, [false, false, true, false]),
            (IdRule::Lookup, [true, true, true, true]),
        ] {
            assert_eq!(kinds.each_ref().map(|kind| step(rule).fits(kind)), expected, "{rule:?}");
        }
        assert!(!step(IdRule::Lookup).fits(&ColumnType::Array(Box::new(ColumnType::Uuid))));
    }

    #[test]
    fn a_lookup_names_its_table() {
        let at = |text: &str| At { value: text.to_owned(), line: 1, column: 1 };
        let file = IdFile {
            rule: IdRule::Lookup,
            only: None,
            namespace: Uuid::nil(),
            strip_prefix: None,
            strip_suffix: None,
            lookup: Some(LookupFile {
                table: At { value: TableName::new("app", "ids"), line: 1, column: 1 },
                from: at("old_id"),
                to: at("new_id"),
            }),
            column: None,
        };
        let expected = Lookup {
            table: TableName::new("app", "ids"),
            from: ("old_id".to_owned(), String::new()),
            to: "new_id".to_owned(),
        };
        assert_eq!(IdStep::new(&file).lookup(), Some(&expected));
    }

    #[test]
    fn what_a_rule_strips_off() {
        let strips = |rule| IdStep {
            strip: Some(Box::new(Strip { prefix: Some("user:".to_owned()), suffix: None })),
            ..only(rule, IdType::String)
        };
        let value = |text: &'static str| Value::String(text.as_bytes());
        for (rule, own) in [(IdRule::Text, text("abc")), (IdRule::Uuid5, uuid5("abc"))] {
            assert_eq!(strips(rule).own(value("user:abc")), own);
            assert_eq!(strips(rule).reference(value("user:abc")), own);
            for other in [value("abc"), value("user:"), value("User:abc"), Value::Int32(1), Value::ObjectId(OID)] {
                assert_eq!(strips(rule).own(other), NONE);
                assert_eq!(strips(rule).reference(other), NO_REFERENCE);
            }
        }
        assert_eq!(strips(IdRule::Uuid).own(value("user:c02bb386-0c9e-5f4e-a2b9-7e8f3a6d1c05")), Ok(Id::Uuid(guid())));
    }

    const NO_REFERENCE: Result<Id<'static>, Reason> = Err(Reason::TypeMismatch);

    #[rstest]
    #[case(step(IdRule::Uuid5), Value::ObjectId(OID), uuid5(HEX))]
    #[case::hex_text(step(IdRule::Uuid5), Value::String(HEX.as_bytes()), uuid5(HEX))]
    #[case::upper_case(step(IdRule::Uuid5), Value::String(b"507F1F77BCF86CD799439011"), uuid5(HEX))]
    #[case::uuid_in_upper_case(
        step(IdRule::Uuid5),
        Value::String(b"C02BB386-0C9E-5F4E-A2B9-7E8F3A6D1C05"),
        uuid5(GUID)
    )]
    #[case::other_text(step(IdRule::Uuid5), Value::String(b"plan-1"), uuid5("plan-1"))]
    #[case::texts_only(
        only(IdRule::Uuid5, IdType::String),
        Value::String(b"507F1F77BCF86CD799439011"),
        uuid5("507F1F77BCF86CD799439011")
    )]
    #[case::no_object_id(only(IdRule::Uuid5, IdType::ObjectId), Value::String(b"plan-1"), NO_REFERENCE)]
    #[case::object_ids_only(only(IdRule::Uuid5, IdType::ObjectId), Value::String(HEX.as_bytes()), uuid5(HEX))]
    #[case::hex(step(IdRule::Hex), Value::String(b"507F1F77BCF86CD799439011"), text(HEX))]
    #[case::hex_of_other_text(step(IdRule::Hex), Value::String(b"x"), NO_REFERENCE)]
    #[case::text(step(IdRule::Text), Value::String(HEX.as_bytes()), text(HEX))]
    #[case::text_of_object_id(step(IdRule::Text), Value::ObjectId(OID), NO_REFERENCE)]
    #[case::integer(step(IdRule::Integer), Value::Double(7.0), Ok(Id::Integer(7)))]
    #[case::integer_of_text(step(IdRule::Integer), Value::String(b"7"), NO_REFERENCE)]
    #[case::uuid_text(step(IdRule::Uuid), Value::String(GUID.as_bytes()), Ok(Id::Uuid(guid())))]
    #[case::input_052_no_uuid(step(IdRule::Uuid), Value::String(b"zz"), NO_REFERENCE)]
    #[case::document(step(IdRule::Uuid5), Value::Document(Raw::new(&[5, 0, 0, 0, 0])), NO_REFERENCE)]
    fn references(#[case] step: IdStep, #[case] value: Value<'_>, #[case] expected: Result<Id<'_>, Reason>) {
        assert_eq!(step.reference(value), expected);
    }

    #[test]
    fn input_019_a_key_of_10_kb() {
        let long = vec![b'x'; 10_000];
        assert_eq!(step(IdRule::Text).own(Value::String(&long)), Err(Reason::KeyTooLong));
        assert!(step(IdRule::Uuid5).own(Value::String(&long)).is_ok());
    }

    #[test]
    fn input_026_padded_and_folding_keys_are_refused() {
        for kind in [ColumnType::Bpchar(Some(40)), ColumnType::Citext] {
            assert!(!step(IdRule::Text).fits(&kind) && !step(IdRule::Hex).fits(&kind));
        }
        assert!(!step(IdRule::Hex).fits(&ColumnType::Varchar(Some(23))));
        assert!(step(IdRule::Hex).fits(&ColumnType::Varchar(Some(24))));
    }

    #[test]
    fn child_ids_tell_kinds_and_paths_apart() {
        let root = guid();
        let ids = [
            child(root, "a", Value::Int32(1)),
            child(root, "a", Value::String(b"1")),
            Ok(child_at(root, "a", 1)),
            child(root, "b", Value::Int32(1)),
            child(Uuid::NAMESPACE_DNS, "a", Value::Int32(1)),
        ];
        for (at, id) in ids.iter().enumerate() {
            assert!(!ids[..at].contains(id));
        }
        assert_eq!(child(root, "a", Value::Int32(1)), child(root, "a", Value::Double(1.0)));
        assert_eq!(child(root, "a", Value::Null), Err(Reason::KeyUnsupported));
    }

    proptest! {
        #[test]
        fn ids_of_different_documents_differ(a in any::<[u8; 12]>(), b in "[0-9a-f-]{0,36}", c: i64, d: u128) {
            let step = step(IdRule::Uuid5);
            let uuid = Uuid::from_u128(d);
            let ids: Vec<_> = [
                Value::ObjectId(a),
                Value::String(b.as_bytes()),
                Value::Int64(c),
                Value::Binary { subtype: 4, bytes: uuid.as_bytes() },
            ]
            .into_iter()
            .filter_map(|value| step.own(value).ok())
            .collect();
            for (at, id) in ids.iter().enumerate() {
                prop_assert!(!ids[..at].contains(id));
            }
        }

        #[test]
        fn a_reference_finds_its_document(id in any::<[u8; 12]>()) {
            for rule in [IdRule::Uuid5, IdRule::Hex] {
                let step = step(rule);
                let own = step.own(Value::ObjectId(id));
                let text = hex::encode_upper(id);
                prop_assert_eq!(&own, &step.reference(Value::ObjectId(id)));
                prop_assert_eq!(&own, &step.reference(Value::String(text.as_bytes())));
            }
        }
    }
}

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
//! | `lookup` | as `uuid5` | its text, which PostgreSQL replaces by the id that a table holds |
//!
//! The text of `uuid5`, `md5` and `lookup`: an ObjectId is its 24 lower-case hexadecimal digits, a number its decimal digits, a UUID its 36
//! characters in lower case. So that two documents never share a row, a string `_id` that reads like one of the three is
//! refused, unless the mapping says `type = "string"`: then the collection has no other `_id`s.
//!
//! A reference is converted by the rule of the collection it points to, and takes the text of an ObjectId or UUID for the
//! thing itself, because applications store references either way.
//!
//! A child row's id is a version-5 UUID. Its namespace is the root row's id; its name is the array's path, the kind of the
//! value that identifies the element, and that value's text: `milestones/oid:507f1f77bcf86cd799439011`, `milestones/index:3`. It does not change when
//! other elements come, go or move.

use std::borrow::Cow;

use uuid::Uuid;

mod child;
mod column;
mod identity;
mod rule;

pub(crate) use child::{child, child_at};
pub(crate) use column::in_column;
pub(crate) use identity::{IdType, canonical_uuid, id_of, identity_text};
pub use rule::Lookup;
pub(crate) use rule::{IdRule, IdStep};

/// A key of the target, not yet in the form of its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Id<'a> {
    Uuid(Uuid),
    Text(Cow<'a, str>),
    Integer(i64),
    /// A hash that is a UUID or, in a text column, 32 digits.
    Md5([u8; 16]),
    Bytes(Cow<'a, [u8]>),
    /// A text that PostgreSQL looks up. It travels as text, whatever type the column has.
    Wanted(Cow<'a, str>),
}

#[cfg(test)]
mod tests;

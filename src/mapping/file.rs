//! The mapping file: what the TOML says, before anybody asks whether the target agrees.
//!
//! The shape is plain data and every name keeps its place in the file, so that faults found later, against the catalog,
//! point at a line too. Reading is in `read`: by hand over toml's spanned table, because a derived deserializer stops at
//! the first fault and this file is written by people who want all of them.

use bson::raw::RawBson;
use uuid::Uuid;

use super::{Fault, Location, Path, PolicyFile, read, target::TableName};

/// A mapping file.
#[derive(Clone, Debug)]
pub struct MappingFile {
    /// Name of the file, for messages.
    pub name: String,
    /// The collections, by name.
    pub collections: Vec<CollectionFile>,
}

/// A collection of a mapping file.
#[derive(Clone, Debug)]
pub struct CollectionFile {
    /// Name of the collection.
    pub name: At<String>,
    /// The table of its documents.
    pub table: At<TableName>,
    /// How `_id` becomes the primary key.
    pub id: At<IdFile>,
    /// What a dropped or renamed collection means.
    pub on_drop: OnDrop,
    /// Columns that are left to the target.
    pub ignore: Vec<At<String>>,
    /// Columns that differ from "the field of the same name".
    pub columns: Vec<ColumnFile>,
    /// Embedded arrays that become tables.
    pub children: Vec<ChildFile>,
}

/// How `_id` becomes the primary key.
#[derive(Clone, Debug)]
pub struct IdFile {
    /// The rule.
    pub rule: IdRule,
    /// The only type of `_id` that is taken; `None` takes every type that stays unambiguous.
    pub only: Option<IdType>,
    /// Namespace of version-5 UUIDs.
    pub namespace: Uuid,
    /// Where ids are looked up, for [`IdRule::Lookup`].
    pub lookup: Option<LookupFile>,
    /// The column; `None` for the table's primary key.
    pub column: Option<At<String>>,
}

/// A rule that makes a primary key of an `_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdRule {
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

/// The table in which [`IdRule::Lookup`] finds ids.
#[derive(Clone, Debug)]
pub struct LookupFile {
    /// The table.
    pub table: At<TableName>,
    /// The column that holds the text of the source's id.
    pub from: At<String>,
    /// The column that holds the target's id.
    pub to: At<String>,
}

/// A type of `_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdType {
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

/// What a dropped or renamed collection means for its tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDrop {
    /// Stop and let a person decide.
    #[default]
    Halt,
    /// Leave the rows as they are.
    Ignore,
    /// Empty the tables.
    Truncate,
}

/// A column of a mapping file.
#[derive(Clone, Debug)]
pub struct ColumnFile {
    /// Name of the column.
    pub name: At<String>,
    /// Where its value is; `None` for the field of the same name.
    pub path: Option<At<Path>>,
    /// Its value where the document has none.
    pub default: Option<At<RawBson>>,
    /// The collection whose `_id` the value is.
    pub reference: Option<At<String>>,
    /// What becomes of values that are not there in the form that the column wants.
    pub policy: PolicyFile,
}

/// An embedded array that becomes a table.
#[derive(Clone, Debug)]
pub struct ChildFile {
    /// The array.
    pub path: At<Path>,
    /// The table of its elements.
    pub table: At<TableName>,
    /// The column that takes the root row's id.
    pub parent: At<String>,
    /// The column that takes the element's index.
    pub order: Option<At<String>>,
    /// The column that takes an id of the element's own.
    pub id: Option<ChildIdFile>,
    /// Columns that are left to the target.
    pub ignore: Vec<At<String>>,
    /// Columns that differ from "the field of the same name".
    pub columns: Vec<ColumnFile>,
}

/// The id of a child row: a version-5 UUID of the root row's id, the array's path and what tells elements apart.
#[derive(Clone, Debug)]
pub struct ChildIdFile {
    /// The column.
    pub column: At<String>,
    /// What tells elements apart.
    pub from: KeyFrom,
}

/// What tells the elements of an array apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFrom {
    /// The element's `_id` where it has one, else its index.
    Auto,
    /// A field that every element has; its id survives when other elements come, go or move.
    Field(Path),
    /// The index.
    Index,
}

/// A value of the file and where it stands.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Line, from 1; 0 for a value that the file leaves out.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl<T> At<T> {
    /// Another value at the same place.
    pub fn with<U>(&self, value: U) -> At<U> {
        At { value, line: self.line, column: self.column }
    }
}

impl MappingFile {
    /// Reads a mapping file; `name` is what messages call it.
    ///
    /// # Errors
    /// Every fault of the file, in its order: syntax alone when that is broken, else wrong names, types and values.
    pub fn parse(text: &str, name: &str) -> Result<Self, Vec<Fault>> {
        read::mapping_file(text, name)
    }

    /// A fault at a place of this file.
    pub(super) fn fault<T>(&self, at: &At<T>, what: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault { location: self.location(at), what: what.into(), hint: hint.into() }
    }

    fn location<T>(&self, at: &At<T>) -> Option<Location> {
        Some(Location { file: self.name.clone(), line: at.line, column: at.column })
    }
}

impl IdRule {
    /// Every rule and its name in the file.
    pub(super) const NAMES: [(&str, Self); 10] = [
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

impl IdType {
    /// Every type and its name in the file.
    pub(super) const NAMES: [(&str, Self); 5] = [
        ("objectId", Self::ObjectId),
        ("string", Self::String),
        ("integer", Self::Integer),
        ("uuid", Self::Uuid),
        ("binary", Self::Binary),
    ];
}

impl OnDrop {
    /// Every policy and its name in the file.
    pub(super) const NAMES: [(&str, Self); 3] =
        [("halt", Self::Halt), ("ignore", Self::Ignore), ("truncate", Self::Truncate)];
}

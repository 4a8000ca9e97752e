//! A change: one versioned fact about one document. A control: one about a whole collection.

use std::{fmt, sync::Arc};

use bson::raw::RawDocumentBuf;
use serde::{Deserialize, Serialize};

use super::{ClusterTime, Key, Version};

/// A MongoDB collection by its full name. A database name holds no dot, so the printed form is unambiguous. Every change
/// carries one: it is cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace {
    /// Database.
    pub db: Arc<str>,
    /// Collection; may hold dots.
    pub collection: Arc<str>,
}

impl Namespace {
    /// Names a collection of a database.
    pub fn new(db: impl AsRef<str>, collection: impl AsRef<str>) -> Self {
        Self { db: db.as_ref().into(), collection: collection.as_ref().into() }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.db, self.collection)
    }
}

/// The operation on the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Inserted.
    Insert,
    /// Updated by operators; the document was looked up afterwards.
    Update,
    /// Replaced as a whole.
    Replace,
    /// Deleted; the change carries no document.
    Delete,
    /// Read by a snapshot.
    Snapshot,
    /// Read again to repair drift.
    Repair,
}

impl Op {
    /// Every op, in the order of the declaration.
    pub const ALL: [Self; 6] = [Self::Insert, Self::Update, Self::Replace, Self::Delete, Self::Snapshot, Self::Repair];

    /// The name used in headers, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Delete => "delete",
            Self::Snapshot => "snapshot",
            Self::Repair => "repair",
        }
    }

    /// The op of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.as_str() == name)
    }
}

/// One versioned fact about one document. Applying it again, late or out of order never harms: the highest version wins.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The collection.
    pub namespace: Namespace,
    /// `{_id: …}` exactly as MongoDB gave it: one element, named `_id`.
    pub id: RawDocumentBuf,
    /// The canonical form of `id`.
    pub key: Key,
    /// The place among all changes of this document.
    pub version: Version,
    /// The operation.
    pub op: Op,
    /// The whole document afterwards; `None` for a delete, and for a repair that did not find the document.
    pub document: Option<RawDocumentBuf>,
    /// `document` may contain operations up to this cluster time (a lookup reads later than its event).
    pub upper: ClusterTime,
    /// Source wall clock, milliseconds since 1970.
    pub wall_ms: i64,
    /// MongoDB's `updateDescription`, for other consumers of the log; the sink never reads it.
    pub update_description: Option<RawDocumentBuf>,
    /// UUID of the collection, where the server sends it.
    pub collection_uuid: Option<[u8; 16]>,
    /// A version of the document that the sink may know and that nothing published can have: this change replaces it although it
    /// is higher.
    pub replaces: Option<Version>,
}

/// A row that no document stands behind, to be removed by the sink.
///
/// It is a fact about one target: the request there says which row, and whether it is still to be removed. Table and key are for
/// readers of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The collection that writes the table.
    pub namespace: Namespace,
    /// The number of the request.
    pub request: i64,
    /// Its [label](crate::mapping::target::TableName::label).
    pub table: String,
    /// The primary key of the row: {column: text}.
    pub row_key: serde_json::Value,
}

/// The operation on a whole collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlKind {
    /// The collection was dropped, alone or with its database.
    Drop,
    /// The collection was renamed away.
    Rename,
    /// Another collection took its name, and brought its documents along.
    Replace,
    /// An operator wants its tables emptied and all of it read again.
    Reset,
}

/// A versioned fact about a whole collection: every change of it at or below the version is void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The collection.
    pub namespace: Namespace,
    /// The operation.
    pub kind: ControlKind,
    /// When it happened.
    pub version: Version,
    /// Whether the sink empties the collection's tables (`on_drop = "truncate"`), or only counts the record.
    pub truncate: bool,
}

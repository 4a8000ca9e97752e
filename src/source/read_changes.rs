//! The documents that a read at one cluster time has found, and those it has not found, as changes of that time. Pure.

use bson::raw::RawDocumentBuf;

use super::{Error, id::id_of};
use crate::model::{Change, ClusterTime, Key, Namespace, Op, Version};

/// Documents read at `read_at` as changes, for a snapshot or a repair.
///
/// # Errors
/// [`Error::Reply`] when a document has no `_id` (halt).
pub(crate) fn snapshot_changes(
    namespace: &Namespace,
    epoch: u32,
    read_at: ClusterTime,
    documents: Vec<RawDocumentBuf>,
    op: Op,
) -> Result<Vec<Change>, Error> {
    let no_id = || Error::Reply { act: "read documents", field: "_id" };
    let change = |document: RawDocumentBuf| {
        let id = id_of(&document).ok_or_else(no_id)?;
        Ok(Change {
            namespace: namespace.clone(),
            key: Key::from_id(&id).ok_or_else(no_id)?,
            id,
            version: Version::snapshot(epoch, read_at),
            op,
            document: Some(document),
            upper: read_at,
            wall_ms: read_at.unix_ms(),
            update_description: None,
            collection_uuid: None,
            replaces: None,
        })
    };
    documents.into_iter().map(change).collect()
}

/// Documents that a read at `read_at` did not find, as deletes. Each id is a document `{_id: …}`.
pub(crate) fn deletes(
    namespace: &Namespace,
    epoch: u32,
    read_at: ClusterTime,
    ids: Vec<RawDocumentBuf>,
) -> Vec<Change> {
    let delete = |id: RawDocumentBuf| {
        let key = Key::from_id(&id)?;
        Some(Change {
            namespace: namespace.clone(),
            key,
            id,
            version: Version::snapshot(epoch, read_at),
            op: Op::Delete,
            document: None,
            upper: read_at,
            wall_ms: read_at.unix_ms(),
            update_description: None,
            collection_uuid: None,
            replaces: None,
        })
    };
    ids.into_iter().filter_map(delete).collect()
}

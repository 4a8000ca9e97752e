//! Documents read again, for a repair.

use bson::raw::RawDocumentBuf;

use super::{Error, ReadTime, Source, Ticket, snapshot_changes};
use crate::model::{Change, ClusterTime, Key, Namespace, Op, Version};

/// Documents as they were at one cluster time.
#[derive(Debug)]
pub struct Reread {
    /// When they were read.
    pub read_at: ClusterTime,
    /// A repair for each that exists, a delete for each that does not; all of the version of a read at `read_at`.
    pub changes: Vec<Change>,
    /// Bytes of the documents.
    pub bytes: usize,
}

/// Reads documents by their `{_id: …}`, not before the ticket's floor. No `_id` may be named twice.
///
/// # Errors
/// As [`Reader::chunk`](super::Reader::chunk).
pub async fn reread(
    source: &Source,
    collection: &str,
    ids: &[RawDocumentBuf],
    ticket: Ticket,
) -> Result<Reread, Error> {
    let read = source.reader().by_ids(collection, ids, ReadTime::AtLeast(ticket.floor)).await?;
    let read_at = read.read_at;
    let bytes = read.value.iter().map(|document| document.as_bytes().len()).sum();
    let namespace = Namespace::new(source.database_name(), collection);
    let mut changes = snapshot_changes(&namespace, source.epoch(), read_at, read.value, Op::Repair)?;
    let found: std::collections::HashSet<Key> = changes.iter().map(|change| change.key.clone()).collect();
    let keyed = ids.iter().filter_map(|id| Some((Key::from_id(id)?, id)));
    changes.extend(keyed.filter(|(key, _)| !found.contains(key)).map(|(key, id)| Change {
        namespace: namespace.clone(),
        key,
        id: id.clone(),
        version: Version::snapshot(source.epoch(), read_at),
        op: Op::Delete,
        document: None,
        upper: read_at,
        wall_ms: read_at.unix_ms(),
        update_description: None,
        collection_uuid: None,
    }));
    Ok(Reread { read_at, changes, bytes })
}

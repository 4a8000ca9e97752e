//! Documents that are read again, for a repair.

use std::collections::HashSet;

use bson::raw::RawDocumentBuf;

use super::{
    Error, ReadTime, Source, Ticket,
    read_changes::{deletes, snapshot_changes},
};
use crate::model::{Change, ClusterTime, Key, Namespace, Op};

/// Documents as they were at one cluster time.
#[derive(Debug)]
pub(crate) struct Reread {
    /// When they were read.
    pub(crate) read_at: ClusterTime,
    /// A repair for each, without a document if it does not exist; all of the version of a read at `read_at`.
    pub(crate) changes: Vec<Change>,
    /// Bytes of the documents.
    pub(crate) bytes: usize,
}

/// Reads documents by their `{_id: …}`, at or after the ticket's `not_before`. No `_id` may be named twice.
///
/// # Errors
/// As [`SnapshotReader::chunk`](super::SnapshotReader::chunk).
pub(crate) async fn reread(
    source: &Source,
    collection: &str,
    ids: &[RawDocumentBuf],
    ticket: Ticket,
) -> Result<Reread, Error> {
    let read = source.reader().by_ids(collection, ids, ReadTime::AtLeast(ticket.not_before)).await?;
    let read_at = read.read_at;
    let bytes = read.value.iter().map(|document| document.as_bytes().len()).sum();
    let namespace = Namespace::new(source.database_name(), collection);
    let mut changes = snapshot_changes(&namespace, source.epoch(), read_at, read.value, Op::Repair)?;
    let found: HashSet<Key> = changes.iter().map(|change| change.key.clone()).collect();
    let gone = ids.iter().filter(|id| Key::from_id(id).is_some_and(|key| !found.contains(&key)));
    let gone = deletes(&namespace, source.epoch(), read_at, gone.cloned().collect());
    changes.extend(gone.into_iter().map(|change| Change { op: Op::Repair, ..change }));
    failpoint!(REPAIR_PUBLISH);
    Ok(Reread { read_at, changes, bytes })
}

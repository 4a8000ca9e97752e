//! The images of updated documents, read in batches.
//!
//! The server's own `updateLookup` costs it one read an event. One `find` for a thousand `_id`s costs a fifth of that, and
//! a document that was updated ten times meanwhile is read once. Like `updateLookup` it may see a document *later* than
//! its event: the change says so (`upper`), and the events in between follow anyway.

use std::{collections::HashMap, time::Duration};

use bson::{Timestamp, raw::RawDocument, rawdoc};
use futures_util::StreamExt;
use mongodb::Database;

use super::{
    Error,
    deadline::{bounded, within},
    id::{any_of, id_of},
    reader::in_reply,
    segment::Found,
};
use crate::model::{ClusterTime, Key};

const ACT: &str = "look up changed documents";

/// Reads the documents with these `{_id: …}` as a majority has them, at `after` or later; `None` when they have more than
/// `most` bytes, so that the caller asks for fewer. A single one is always read.
pub(crate) async fn images(
    database: &Database,
    timeout: Duration,
    collection: &str,
    ids: &[&RawDocument],
    after: ClusterTime,
    most: usize,
) -> Result<Option<Found>, Error> {
    let filter = any_of(ids.iter().copied()).ok_or(Error::Reply { act: ACT, field: "_id" })?;
    let command = rawdoc! {
        "find": collection,
        "filter": filter,
        "batchSize": i64::try_from(ids.len()).unwrap_or(i64::MAX),
        "readConcern": { "level": "majority", "afterClusterTime": Timestamp::from(after) },
    };
    let mut cursor = within(timeout, ACT, database.run_raw_cursor_command(command).batch()).await?;
    let mut found = HashMap::with_capacity(ids.len());
    let (mut upper, mut bytes) = (after, 0);
    while let Some(batch) = bounded(timeout, ACT, cursor.next()).await? {
        let batch = batch.map_err(|source| Error::Server { act: ACT, source: source.into() })?;
        let time = batch.as_raw_document().get_timestamp("operationTime");
        upper = upper.max(time.map(ClusterTime::from).map_err(|_| Error::Reply { act: ACT, field: "operationTime" })?);
        for document in in_reply(&batch, ACT)? {
            let document = document?;
            bytes += document.as_bytes().len();
            if bytes > most && ids.len() > 1 {
                return Ok(None);
            }
            let key =
                id_of(document).and_then(|id| Key::from_id(&id)).ok_or(Error::Reply { act: ACT, field: "_id" })?;
            found.insert(key, document.to_owned());
        }
    }
    Ok(Some(Found { documents: found, upper }))
}

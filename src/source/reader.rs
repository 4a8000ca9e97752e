//! Reads at one cluster time: chunks in `_id` order, documents by `_id`, random documents, and counts.
//!
//! Every read has snapshot read concern and returns its cluster time; several reads at the *same* time name it
//! ([`ReadTime::At`]). The server keeps about five minutes of history (`minSnapshotHistoryWindowInSeconds`); an older read
//! fails with [`Error::SnapshotTooOld`].
//!
//! A chunk is selected by index bounds (`min` and `hint`), not by a filter: `{_id: {$gt: x}}` matches only values of `x`'s own
//! type, so a scan by filters would skip every document whose `_id` has another type. `min` is inclusive and crosses types in
//! index order; its first document is the one that was read last, and is skipped. `max` ends a range in the same way.
//!
//! Commands are built from raw bytes and replies stay raw bytes, so an `_id` that no type can hold is read like any other.
//! Commands set their read concern themselves: driver sessions also offer snapshot reads, but not with `afterClusterTime`.

use std::time::Duration;

use bson::{
    Timestamp, cstr, doc,
    raw::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf},
    rawdoc,
};
use futures_util::StreamExt;
use mongodb::{
    Database,
    raw_batch_cursor::{RawBatch, RawBatchCursor},
};

use super::{
    Error,
    deadline::{bounded, within},
    id::{any_of, id_of},
};
use crate::model::{ClusterTime, Key};

/// The cluster time of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadTime {
    /// Now, but not before this cluster time.
    AtLeast(ClusterTime),
    /// At exactly this cluster time.
    At(ClusterTime),
}

impl ReadTime {
    /// The majority's state when the read begins.
    pub const NOW: Self = Self::AtLeast(ClusterTime { t: 0, i: 0 });
}

/// Bounds of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of documents; the last chunk may hold one more.
    pub documents: usize,
    /// Size in bytes at which no further reply is requested. A chunk exceeds it by less than one reply (16 MiB).
    pub bytes: usize,
}

/// A value that was read, and the cluster time of the read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read<T> {
    /// The value.
    pub value: T,
    /// Cluster time of the read: the value contains every operation at or before it, and none after it.
    pub read_at: ClusterTime,
}

/// A range of the `_id` index, across types.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Range {
    /// The inclusive start, `{_id: …}`; `None` for the first document of the index.
    pub from: Option<RawDocumentBuf>,
    /// `{_id: …}` of the document read last, in place of `from`: the range starts after it.
    pub after: Option<RawDocumentBuf>,
    /// The exclusive end, `{_id: …}`; `None` for the end of the index.
    pub until: Option<RawDocumentBuf>,
}

/// Consecutive documents in the order of the `_id` index.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// The documents.
    pub documents: Vec<RawDocumentBuf>,
    /// Total size of the documents in bytes.
    pub(crate) bytes: usize,
    /// Cluster time of the read.
    pub read_at: ClusterTime,
    /// `{_id: …}` of the last document, after which the next chunk starts. Without documents, the `after` of the range.
    pub last_id: Option<RawDocumentBuf>,
    /// Whether this is the last chunk of its range, as of `read_at`.
    pub end: bool,
}

/// Reads documents of one database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SnapshotReader {
    database: Database,
    timeout: Duration,
}

impl SnapshotReader {
    pub(crate) fn new(database: Database, timeout: Duration) -> Self {
        Self { database, timeout }
    }

    /// Returns whether the database has a collection of that name.
    ///
    /// # Errors
    /// [`Error::Server`] and [`Error::Timeout`] by their class; [`Error::Reply`] (halt).
    pub(crate) async fn exists(&self, collection: &str) -> Result<bool, Error> {
        let act = "look for a collection of the source";
        let command = doc! { "listCollections": 1, "nameOnly": true, "filter": { "name": collection } };
        let reply = within(self.timeout, act, self.database.run_command(command)).await?;
        let found = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        Ok(!found.map_err(|_| Error::Reply { act, field: "cursor.firstBatch" })?.is_empty())
    }

    /// Returns the newest cluster time that the server knows: no change that has happened is later.
    ///
    /// # Errors
    /// [`Error::Server`] and [`Error::Timeout`] by their class; [`Error::Reply`] (halt).
    pub async fn latest(&self) -> Result<ClusterTime, Error> {
        let act = "ask the source for its newest time";
        let reply = within(self.timeout, act, self.database.run_command(doc! { "ping": 1 })).await?;
        let gossiped = reply.get_document("$clusterTime").and_then(|time| time.get_timestamp("clusterTime"));
        let applied = reply.get_timestamp("operationTime");
        let times = [gossiped, applied].into_iter().flatten().map(ClusterTime::from);
        times.max().ok_or(Error::Reply { act, field: "operationTime" })
    }

    /// Reads the documents that follow `after` (`{_id: …}`; `None` for the first documents) in the order of the `_id` index.
    ///
    /// # Errors
    /// [`Error::SnapshotTooOld`]; [`Error::Server`] and [`Error::Timeout`] by their class; [`Error::Reply`] (halt).
    pub async fn chunk(
        &self,
        collection: &str,
        after: Option<&RawDocument>,
        limits: Limits,
        at: ReadTime,
    ) -> Result<Chunk, Error> {
        let range = Range { after: after.map(RawDocument::to_owned), ..Range::default() };
        self.range(collection, &range, limits, at).await
    }

    /// Reads the first documents of a range; the chunk's `end` reports whether the range is exhausted.
    ///
    /// # Errors
    /// As [`SnapshotReader::chunk`].
    pub async fn range(&self, collection: &str, range: &Range, limits: Limits, at: ReadTime) -> Result<Chunk, Error> {
        let documents = limits.documents.max(1);
        // One more than requested: the document at `min` may be the one to skip.
        let wanted = documents + usize::from(range.after.is_some());
        let count = i64::try_from(wanted).unwrap_or(i64::MAX);
        let mut command = rawdoc! { "find": collection, "hint": { "_id": 1 }, "limit": count, "batchSize": count };
        let begin = range.after.as_ref().or(range.from.as_ref());
        // The bounds of `min` end before MaxKey, which is a legal `_id` and the last one of the index.
        let max_key = rawdoc! { "_id": RawBson::MaxKey };
        match begin {
            None if range.until.is_none() => command.append(cstr!("sort"), rawdoc! { "_id": 1 }),
            None => {}
            Some(begin) if *begin == max_key => command.append(cstr!("filter"), rawdoc! { "_id": { "$in": [] } }),
            Some(begin) => command.append(cstr!("min"), begin.clone()),
        }
        if let Some(until) = &range.until {
            command.append(cstr!("max"), until.clone());
        }
        let skip = range.after.as_deref().and_then(Key::from_id);
        let mut replies = self.open("read a chunk", command, at).await?;
        let (act, read_at) = (replies.act, replies.read_at);
        let no_id = || Error::Reply { act, field: "_id" };
        let mut chunk = Chunk { documents: Vec::new(), bytes: 0, read_at, last_id: range.after.clone(), end: false };
        let mut seen = 0;
        while let Some(batch) = replies.next().await? {
            for document in in_reply(&batch, act)? {
                let document = document?;
                seen += 1;
                let first = seen == 1 && skip.is_some();
                if first && Key::from_id(&id_of(document).ok_or_else(no_id)?) == skip {
                    continue;
                }
                if chunk.documents.len() < documents {
                    chunk.bytes += document.as_bytes().len();
                    chunk.documents.push(document.to_owned());
                }
            }
            if chunk.bytes >= limits.bytes {
                break;
            }
        }
        if let Some(last) = chunk.documents.last() {
            chunk.last_id = Some(id_of(last).ok_or_else(no_id)?);
        }
        if seen < wanted && chunk.bytes < limits.bytes {
            // In a clustered collection, the bounds of `min` include MaxKey, and it was read.
            if begin.is_some() && range.until.is_none() && chunk.last_id.as_ref() != Some(&max_key) {
                let at = ReadTime::At(read_at);
                let found = self.by_ids(collection, std::slice::from_ref(&max_key), at).await?.value;
                chunk.last_id = if found.is_empty() { chunk.last_id } else { Some(max_key) };
                chunk.bytes += found.iter().map(|document| document.as_bytes().len()).sum::<usize>();
                chunk.documents.extend(found);
            }
            chunk.end = true;
        }
        Ok(chunk)
    }

    /// Chooses the `_id`s that cut a collection into up to `parts` ranges of about equal size; returns each as `{_id: …}`, in the
    /// order of the index.
    ///
    /// The cuts are quantiles of `sample` random documents. The server sorts them, because only it knows the order across types.
    ///
    /// # Errors
    /// [`Error::Server`] and [`Error::Timeout`] by their class; [`Error::Reply`] (halt).
    pub async fn cuts(&self, collection: &str, parts: usize, sample: usize) -> Result<Vec<RawDocumentBuf>, Error> {
        let act = "choose the parts of a collection";
        let mut ids = self.random_ids(act, collection, sample).await?;
        // No range ends at the first possible value, and none begins with the last.
        let outermost = [rawdoc! { "_id": RawBson::MinKey }, rawdoc! { "_id": RawBson::MaxKey }];
        ids.retain(|id| !outermost.contains(id));
        // The server may choose a document twice.
        ids.dedup();
        let mut cuts: Vec<_> = (1..parts).filter_map(|part| ids.get(part * ids.len() / parts).cloned()).collect();
        cuts.dedup();
        Ok(cuts)
    }

    /// Reads the documents with these ids, as far as they exist, in no particular order. Each id is a document `{_id: …}`.
    ///
    /// # Errors
    /// As [`SnapshotReader::chunk`].
    pub async fn by_ids(
        &self,
        collection: &str,
        ids: &[RawDocumentBuf],
        at: ReadTime,
    ) -> Result<Read<Vec<RawDocumentBuf>>, Error> {
        let act = "read documents by `_id`";
        self.all(act, find(act, collection, ids)?, at).await
    }

    /// Returns the ids whose documents exist, each `{_id: …}`, in no particular order. Reads only the index.
    ///
    /// # Errors
    /// As [`SnapshotReader::chunk`].
    pub async fn existing(
        &self,
        collection: &str,
        ids: &[RawDocumentBuf],
        at: ReadTime,
    ) -> Result<Read<Vec<RawDocumentBuf>>, Error> {
        let act = "look for `_id`s";
        let mut command = find(act, collection, ids)?;
        command.append(cstr!("projection"), rawdoc! { "_id": 1 });
        self.all(act, command, at).await
    }

    /// Reads up to `n` random documents, each at most once.
    ///
    /// The documents are chosen as of now and read as of `at`, so a document that did not exist at that time is left out.
    ///
    /// # Errors
    /// As [`SnapshotReader::chunk`].
    pub async fn sample(&self, collection: &str, n: usize, at: ReadTime) -> Result<Read<Vec<RawDocumentBuf>>, Error> {
        self.by_ids(collection, &self.sample_ids(collection, n).await?, at).await
    }

    /// Chooses up to `n` random documents, each at most once; returns their `{_id: …}` in the order of the index.
    ///
    /// # Errors
    /// As [`SnapshotReader::cuts`].
    pub(crate) async fn sample_ids(&self, collection: &str, n: usize) -> Result<Vec<RawDocumentBuf>, Error> {
        let mut ids = self.random_ids("choose random documents", collection, n).await?;
        ids.dedup();
        Ok(ids)
    }

    /// Returns the `{_id: …}` of random documents in the order of the index; the server may choose a document twice.
    async fn random_ids(&self, act: &'static str, collection: &str, n: usize) -> Result<Vec<RawDocumentBuf>, Error> {
        let size = i64::try_from(n.max(1)).unwrap_or(i64::MAX);
        let command = rawdoc! {
            "aggregate": collection,
            "pipeline": [{ "$sample": { "size": size } }, { "$project": { "_id": 1 } }, { "$sort": { "_id": 1 } }],
            "cursor": { "batchSize": size },
            "readConcern": { "level": "majority" },
        };
        let mut cursor = within(self.timeout, act, self.database.run_raw_cursor_command(command).batch()).await?;
        let mut ids = Vec::new();
        while let Some(batch) = next(&mut cursor, self.timeout, act, None).await? {
            for document in in_reply(&batch, act)? {
                ids.push(id_of(document?).ok_or(Error::Reply { act, field: "_id" })?);
            }
        }
        Ok(ids)
    }

    /// Estimates the number of documents from the collection's metadata. The answer is immediate, but can be wrong after a crash.
    ///
    /// # Errors
    /// [`Error::Server`] and [`Error::Timeout`] by their class; [`Error::Reply`] (halt).
    pub async fn estimate(&self, collection: &str) -> Result<u64, Error> {
        let act = "estimate the number of documents";
        let reply = within(self.timeout, act, self.database.run_command(doc! { "count": collection })).await?;
        match reply.get("n") {
            Some(bson::Bson::Int32(n)) => Ok(u64::try_from(*n).unwrap_or_default()),
            Some(bson::Bson::Int64(n)) => Ok(u64::try_from(*n).unwrap_or_default()),
            Some(bson::Bson::Double(n)) => Ok(*n as u64),
            _ => Err(Error::Reply { act, field: "n" }),
        }
    }

    /// Runs a `find` or an `aggregate` without a read concern of its own, and returns the whole answer.
    ///
    /// # Errors
    /// As [`SnapshotReader::chunk`].
    pub(crate) async fn answer(
        &self,
        command: RawDocumentBuf,
        at: ReadTime,
    ) -> Result<Read<Vec<RawDocumentBuf>>, Error> {
        self.all("run a query of the application", command, at).await
    }

    async fn all(
        &self,
        act: &'static str,
        command: RawDocumentBuf,
        at: ReadTime,
    ) -> Result<Read<Vec<RawDocumentBuf>>, Error> {
        let mut replies = self.open(act, command, at).await?;
        let mut value = Vec::new();
        while let Some(batch) = replies.next().await? {
            for document in in_reply(&batch, act)? {
                value.push(document?.to_owned());
            }
        }
        Ok(Read { value, read_at: replies.read_at })
    }

    /// Sends the command with the read concern for `at` and waits for its first reply.
    async fn open(&self, act: &'static str, command: RawDocumentBuf, at: ReadTime) -> Result<Replies, Error> {
        let (cursor, first) = self.send(act, command.clone(), at).await?;
        let (read_at, cursor, first) = match (read_at(&first), at) {
            (Some(read_at), _) => (read_at, cursor, first),
            // If there is nothing to read (no such collection), the reply names no time. The command is then repeated at
            // an explicit time, and the reply is as of that time.
            (None, ReadTime::At(time)) => (time, cursor, first),
            (None, ReadTime::AtLeast(not_before)) => {
                let now = first.as_raw_document().get_timestamp("operationTime").map(ClusterTime::from);
                let time = now.map_err(|_| Error::Reply { act, field: "operationTime" })?.max(not_before);
                let (cursor, first) = self.send(act, command, ReadTime::At(time)).await?;
                (time, cursor, first)
            }
        };
        Ok(Replies { cursor, first: Some(first), read_at, act, timeout: self.timeout })
    }

    async fn send(
        &self,
        act: &'static str,
        mut command: RawDocumentBuf,
        at: ReadTime,
    ) -> Result<(RawBatchCursor, RawBatch), Error> {
        let (concern, exactly) = match at {
            ReadTime::AtLeast(time) if time == ClusterTime::default() => (rawdoc! { "level": "snapshot" }, None),
            ReadTime::AtLeast(time) => {
                (rawdoc! { "level": "snapshot", "afterClusterTime": Timestamp::from(time) }, None)
            }
            ReadTime::At(time) => (rawdoc! { "level": "snapshot", "atClusterTime": Timestamp::from(time) }, Some(time)),
        };
        command.append(cstr!("readConcern"), concern);
        let opening = bounded(self.timeout, act, self.database.run_raw_cursor_command(command).batch());
        let mut cursor = opening.await?.map_err(|source| Error::of_read(act, exactly, source))?;
        let first = next(&mut cursor, self.timeout, act, exactly).await?.ok_or(Error::CursorEnded { act })?;
        Ok((cursor, first))
    }
}

/// Builds the command that reads these documents.
fn find(act: &'static str, collection: &str, ids: &[RawDocumentBuf]) -> Result<RawDocumentBuf, Error> {
    let filter = any_of(ids.iter().map(AsRef::as_ref)).ok_or(Error::Reply { act, field: "_id" })?;
    let size = i64::try_from(ids.len().max(1)).unwrap_or(i64::MAX);
    Ok(rawdoc! { "find": collection, "filter": filter, "hint": { "_id": 1 }, "batchSize": size })
}

/// The replies to one read.
struct Replies {
    cursor: RawBatchCursor,
    first: Option<RawBatch>,
    read_at: ClusterTime,
    act: &'static str,
    timeout: Duration,
}

impl Replies {
    async fn next(&mut self) -> Result<Option<RawBatch>, Error> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => next(&mut self.cursor, self.timeout, self.act, Some(self.read_at)).await,
        }
    }
}

async fn next(
    cursor: &mut RawBatchCursor,
    timeout: Duration,
    act: &'static str,
    at: Option<ClusterTime>,
) -> Result<Option<RawBatch>, Error> {
    let reply = bounded(timeout, act, cursor.next()).await?;
    reply.transpose().map_err(|source| Error::of_read(act, at, source))
}

fn read_at(batch: &RawBatch) -> Option<ClusterTime> {
    let reply = batch.as_raw_document();
    let cursor = reply.get_document("cursor").ok()?;
    match cursor.get("atClusterTime").ok()? {
        Some(RawBsonRef::Timestamp(time)) => Some(time.into()),
        _ => reply.get_timestamp("atClusterTime").ok().map(ClusterTime::from),
    }
}

/// Returns the documents of a reply, borrowed from its bytes.
pub(crate) fn in_reply<'a>(
    batch: &'a RawBatch,
    act: &'static str,
) -> Result<impl Iterator<Item = Result<&'a RawDocument, Error>>, Error> {
    let array = batch.doc_slices().map_err(|source| Error::Server { act, source: source.into() })?;
    Ok(array.into_iter().map(move |value| match value {
        Ok(RawBsonRef::Document(document)) => Ok(document),
        _ => Err(Error::Reply { act, field: "cursor.nextBatch" }),
    }))
}

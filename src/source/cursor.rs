//! The server's cursor: opened, read ahead, and opened again where it broke off.
//!
//! The task only moves replies. It asks for the next one while the last one is still being decoded and looked up, and
//! stops asking while `source.stream_bytes` of replies wait. Its place is the token behind the last reply that it handed on.
//!
//! The driver's `watch()` would resume by itself, but decodes every event, and panics when asked for its token after a
//! dropped `next()`; so the resume loop is ours. Tokens always go into `startAfter`, which unlike `resumeAfter` also takes
//! that of an `invalidate`.
//!
//! The server looks for the token's own event among those that pass the filter, and calls the history lost when it is not
//! there. This happens after the mapping lost the collection of that event. Where the oplog still holds the instant, the cursor
//! begins at it instead, and the decoder passes over what was given before.

use std::{sync::Arc, time::Duration};

use bson::{Bson, Document, RawBsonRef, Timestamp, doc};
use futures_util::StreamExt;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Error, Scope, Source, deadline::bounded};
use crate::{
    model::{ClusterTime, ResumeToken},
    retry::{Backoff, Class, Classify},
};

/// A reply smaller than this counts as this.
const ROOM_UNIT: u64 = 1024;
const OPEN: &str = "open the change stream";
const READ: &str = "read the change stream";

/// A reply of the server, and what is known about the request.
pub(crate) struct Reply {
    pub(crate) batch: RawBatch,
    /// Where the cursor was opened, on its first reply.
    pub(crate) opened: Option<ClusterTime>,
    /// When the request was sent, by the wall clock.
    pub(crate) sent_ms: i64,
    /// Makes room for the next reply once this one is dropped.
    _room: OwnedSemaphorePermit,
}

/// Where a cursor is opened.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    At(ClusterTime),
    After(ResumeToken),
}

impl Place {
    pub(crate) fn time(&self) -> ClusterTime {
        match self {
            Self::At(time) => *time,
            Self::After(token) => token.time(),
        }
    }
}

/// How much of an event the server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Whole,
    /// Without the document, which is looked up: for the one event that would be larger than a reply.
    Slim,
    /// Only what happened to which document or collection.
    Keys,
}

/// Why a cursor is not read any further.
enum Next {
    Reopen(Width),
    Stop,
}

/// The task that owns the cursor.
pub(crate) struct CursorReader {
    source: Source,
    scope: Scope,
    place: Place,
    width: Width,
    backoff: Backoff,
    room: Arc<Semaphore>,
    replies: mpsc::Sender<Result<Reply, Error>>,
}

impl CursorReader {
    pub(crate) fn new(
        source: Source,
        scope: Scope,
        place: Place,
        width: Width,
        backoff: Backoff,
        replies: mpsc::Sender<Result<Reply, Error>>,
    ) -> Self {
        let room = Arc::new(Semaphore::new(units(source.config().stream_bytes.as_u64()) as usize));
        Self { source, scope, place, width, backoff, room, replies }
    }

    pub(crate) async fn run(mut self) {
        let mut width = self.width;
        loop {
            let attempt = || open(&self.source, &self.scope, &self.place, width);
            let next = match self.source.retry_transient(self.backoff, attempt).await {
                Ok(opened) => self.drain(opened, width).await,
                Err(error) => self.judge(error, width).await,
            };
            match next {
                Next::Reopen(next) => width = next,
                Next::Stop => return,
            }
        }
    }

    /// Hands replies on until the cursor breaks off.
    async fn drain(&mut self, opened: Opened, width: Width) -> Next {
        let Opened { mut cursor, replies, at } = opened;
        let mut at = Some(at);
        for (batch, sent_ms) in replies {
            match self.hand_on(batch, at.take(), sent_ms, width).await {
                Ok(None) => {}
                Ok(Some(next)) => return next,
                Err(error) => return self.judge(error, width).await,
            }
        }
        loop {
            let sent_ms = now_ms();
            let reply = match next(&self.source, &mut cursor, self.place.time()).await {
                Ok(Some(batch)) => self.hand_on(batch, None, sent_ms, width).await,
                // The server ends a cursor behind an invalidate.
                Ok(None) => return Next::Reopen(width),
                Err(error) => Err(error),
            };
            match reply {
                Ok(None) => {}
                Ok(Some(next)) => return next,
                Err(error) => return self.judge(error, width).await,
            }
        }
    }

    async fn hand_on(
        &mut self,
        batch: RawBatch,
        opened: Option<ClusterTime>,
        sent_ms: i64,
        width: Width,
    ) -> Result<Option<Next>, Error> {
        let token = token(&batch)?;
        let empty = batch.doc_slices().is_ok_and(|events| events.is_empty());
        let most = units(self.source.config().stream_bytes.as_u64());
        let wanted = units(batch.as_raw_document().as_bytes().len() as u64).min(most);
        let Ok(room) = self.room.clone().acquire_many_owned(wanted).await else { return Ok(Some(Next::Stop)) };
        match self.width {
            Width::Whole | Width::Slim => failpoint!(STREAM_REPLY),
            Width::Keys => failpoint!(KEYS_REPLY),
        }
        if self.replies.send(Ok(Reply { batch, opened, sent_ms, _room: room })).await.is_err() {
            return Ok(Some(Next::Stop));
        }
        self.place = Place::After(token);
        // The large event is behind us, or the next whole read will say so again.
        Ok((width == Width::Slim && !empty).then_some(Next::Reopen(Width::Whole)))
    }

    async fn judge(&mut self, error: Error, width: Width) -> Next {
        match error {
            Error::HistoryLost { .. } if matches!(self.place, Place::After(_)) => self.look_back(error, width).await,
            Error::EventTooLarge { .. } if width == Width::Whole => {
                tracing::warn!(position = %self.place.time(), "event too large for a reply, reading it without its document");
                Next::Reopen(Width::Slim)
            }
            error if error.class() == Class::Transient => {
                self.source.stalled(&error, Duration::ZERO);
                Next::Reopen(width)
            }
            error => self.fail(error).await,
        }
    }

    /// The token's event was not found behind the filter: begins at its instant, if the oplog still holds that.
    async fn look_back(&mut self, error: Error, width: Width) -> Next {
        let time = self.place.time();
        match self.source.retry_transient(self.backoff, || oplog_holds(&self.source, time)).await {
            Ok(true) => {
                tracing::info!(position = %time, "the last event is not of a mapped collection, reading on at its instant");
                self.place = Place::At(time);
                Next::Reopen(width)
            }
            // The server's first answer is the reason.
            Ok(false) | Err(_) => self.fail(error).await,
        }
    }

    async fn fail(&self, error: Error) -> Next {
        // If nobody listens, nobody needs the error.
        let _ = self.replies.send(Err(error)).await;
        Next::Stop
    }
}

/// A cursor that has answered twice: the first answer only proves that it exists.
struct Opened {
    cursor: RawBatchCursor,
    replies: Vec<(RawBatch, i64)>,
    at: ClusterTime,
}

async fn open(source: &Source, scope: &Scope, place: &Place, width: Width) -> Result<Opened, Error> {
    let sent_ms = now_ms();
    let mut cursor = begin(source, place.time(), pipeline(source, scope, place, width)?).await?;
    let mut replies = Vec::new();
    for _ in 0..2 {
        let Some(batch) = next(source, &mut cursor, place.time()).await? else { break };
        replies.push((batch, sent_ms));
    }
    Ok(Opened { cursor, replies, at: place.time() })
}

async fn begin(source: &Source, time: ClusterTime, pipeline: Vec<Document>) -> Result<RawBatchCursor, Error> {
    let config = source.config();
    let command = doc! {
        "aggregate": 1,
        "pipeline": pipeline,
        "cursor": { "batchSize": config.stream_batch },
        // See `frontier.rs` for why the member must know as much as the one before it.
        "readConcern": { "level": "majority", "afterClusterTime": Timestamp::from(time) },
    };
    // A command of this form goes to the primary; the time limit is that of an empty reply.
    let opening = source
        .database()
        .run_cursor_command(command)
        .batch_size(config.stream_batch)
        .max_time(config.max_await)
        .batch();
    bounded(config.timeout, OPEN, opening).await?.map_err(|source| Error::of_stream(OPEN, time, source))
}

/// Whether the oplog still holds what happened in the database at this instant, in whichever collection.
async fn oplog_holds(source: &Source, time: ClusterTime) -> Result<bool, Error> {
    let pipeline = vec![
        doc! { "$changeStream": change_stream(source, &Place::At(time), Width::Keys)? },
        doc! { "$match": { "clusterTime": Timestamp::from(time) } },
        doc! { "$project": { "_id": 1 } },
    ];
    let mut cursor = begin(source, time, pipeline).await?;
    while let Some(batch) = next(source, &mut cursor, time).await? {
        if batch.doc_slices().is_ok_and(|events| !events.is_empty()) {
            return Ok(true);
        }
        if token(&batch)?.time() > time {
            break;
        }
    }
    Ok(false)
}

/// The next reply. An idle server answers every `max_await`, so a longer silence is a broken connection.
async fn next(source: &Source, cursor: &mut RawBatchCursor, position: ClusterTime) -> Result<Option<RawBatch>, Error> {
    let config = source.config();
    let reply = bounded(config.max_await * 3 + config.timeout, READ, cursor.next()).await?;
    reply.transpose().map_err(|source| Error::of_stream(READ, position, source))
}

fn change_stream(source: &Source, place: &Place, width: Width) -> Result<Document, Error> {
    let mut stream = match place {
        Place::At(time) => doc! { "startAtOperationTime": Timestamp::from(*time) },
        Place::After(token) => {
            let token = Document::try_from(token.raw()).map_err(|_| Error::Reply { act: OPEN, field: "_data" })?;
            doc! { "startAfter": token }
        }
    };
    if source.server().expands_events() && width != Width::Keys {
        stream.insert("showExpandedEvents", true);
    }
    Ok(stream)
}

fn pipeline(source: &Source, scope: &Scope, place: &Place, width: Width) -> Result<Vec<Document>, Error> {
    let collections: Vec<Bson> = scope.collections.keys().map(|name| Bson::String(name.clone())).collect();
    let mut stages = vec![
        doc! { "$changeStream": change_stream(source, place, width)? },
        // No more than what leaves other collections out: the server asks it of every entry of its oplog, and what is no data is
        // passed over when it is decoded.
        doc! { "$match": { "$or": [
            { "ns.coll": { "$in": collections.clone() } },
            { "to.coll": { "$in": collections } },
            { "operationType": { "$in": ["dropDatabase", "invalidate"] } },
        ] } },
    ];
    match width {
        Width::Whole => {}
        Width::Slim => stages.push(doc! { "$project": { "fullDocument": 0, "updateDescription": 0 } }),
        Width::Keys => stages.push(doc! { "$project": { "operationType": 1, "ns": 1, "to": 1, "documentKey": 1 } }),
    }
    // An event without its document fits into a reply.
    if source.server().splits_large_events() && width != Width::Keys {
        stages.push(doc! { "$changeStreamSplitLargeEvent": {} });
    }
    Ok(stages)
}

/// The token behind a reply.
pub(crate) fn token(batch: &RawBatch) -> Result<ResumeToken, Error> {
    let missing = Error::Reply { act: READ, field: "cursor.postBatchResumeToken" };
    match batch.as_raw_document().get_document("cursor").map(|cursor| cursor.get("postBatchResumeToken")) {
        Ok(Ok(Some(RawBsonRef::Document(token)))) => Ok(ResumeToken::from_raw(token)?),
        _ => Err(missing),
    }
}

/// Bytes in the semaphore's units, at least one.
fn units(bytes: u64) -> u32 {
    u32::try_from(bytes / ROOM_UNIT).unwrap_or(u32::MAX).saturating_add(1).min(u32::MAX >> 3)
}

/// Now, by the wall clock in milliseconds, and by a clock that never jumps.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

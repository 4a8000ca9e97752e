//! Turns the server's replies into batches.
//!
//! A batch is one segment of the replies that have come. It is formed only when the caller has room for it. Until then replies
//! queue up, and the next batch takes all of them; a finished batch never waits.
//!
//! No event is given twice, wherever a cursor begins: what a cursor repeats is passed over by its token.

use std::collections::{BTreeMap, HashMap};

use bson::raw::RawDocument;
use futures_util::future::try_join_all;
use tokio::sync::mpsc;

use super::{
    Error, Scope, Source,
    batch::StreamBatch,
    cursor::{self, Reply},
    event::{self, Event, Fragments, Placed},
    frontier::{EventEnd, ReplyEnd},
    lookup,
    progress::{Progress, SegmentEnd},
    reader,
    segment::{self, Found, Outcome},
};
use crate::{
    metrics,
    model::{ClusterTime, Op},
    retry::Backoff,
};

/// Lookups of the first segment, when the size of documents is unknown; each further segment doubles it.
const FIRST_LOOKUPS: usize = 4;
/// Replies that come while the last batch is still being published are taken together up to this size: one by one, each
/// would cost a lookup and a transaction for the handful of events that a waiting server answers with.
const MAX_TAKEN_BYTES: usize = 4 << 20;

/// The task that turns replies into batches.
pub(crate) struct Decoder {
    source: Source,
    scope: Scope,
    backoff: Backoff,
    progress: Progress,
    fragments: Fragments,
    /// Lookups that a segment may need; fewer while documents are large.
    lookups: usize,
    batches: mpsc::Sender<Result<StreamBatch, Error>>,
}

/// Why the decoder ends.
enum End {
    /// Nobody listens any more.
    Unheard,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Replies that share a batch.
#[derive(Default)]
struct Taken {
    events: Vec<Placed>,
    /// Bytes of their replies.
    bytes: usize,
    /// The end of the last reply.
    end: Option<ReplyEnd>,
    failure: Option<Error>,
}

impl Decoder {
    pub(crate) fn new(
        source: Source,
        scope: Scope,
        progress: Progress,
        backoff: Backoff,
        batches: mpsc::Sender<Result<StreamBatch, Error>>,
    ) -> Self {
        let lookups = source.config().lookup_batch.clamp(1, FIRST_LOOKUPS);
        Self { source, scope, backoff, progress, fragments: Fragments::default(), lookups, batches }
    }

    pub(crate) async fn run(mut self, mut replies: mpsc::Receiver<Result<Reply, Error>>) {
        while let Some(first) = replies.recv().await {
            if self.room().await.is_err() {
                return;
            }
            let mut taken = Taken::default();
            let mut next = Some(first);
            while let Some(reply) = next {
                if let Err(error) = reply.and_then(|reply| self.take(reply, &mut taken)) {
                    taken.failure = Some(error);
                }
                let room =
                    taken.failure.is_none() && taken.events.len() < self.lookups && taken.bytes < MAX_TAKEN_BYTES;
                next = if room { replies.try_recv().ok() } else { None };
            }
            match self.give(taken).await {
                Ok(()) => {}
                Err(End::Unheard) => return,
                Err(End::Failed(error)) => {
                    // If nobody listens, nobody needs the error.
                    let _ = self.batches.send(Err(error)).await;
                    return;
                }
            }
        }
    }

    /// Decodes a reply; its bytes make room for the next one before the images come.
    fn take(&mut self, reply: Reply, taken: &mut Taken) -> Result<(), Error> {
        self.progress.begin_reply(reply.opened);
        let token = cursor::token(&reply.batch)?;
        taken.bytes += reply.batch.as_raw_document().as_bytes().len();
        taken.end = None;
        let empty = self.events(&reply, &mut taken.events)?;
        self.progress.end_reply(&token);
        taken.end = Some(ReplyEnd { token, empty, sent_ms: reply.sent_ms });
        Ok(())
    }

    /// The events of a reply that are news, and whether it held none at all; the ones before an event that cannot be taken are
    /// still given.
    fn events(&mut self, reply: &Reply, events: &mut Vec<Placed>) -> Result<bool, Error> {
        let mut empty = true;
        for raw in reader::in_reply(&reply.batch, "read the change stream")? {
            let raw = raw?;
            empty = false;
            if self.progress.has_given(raw) {
                continue;
            }
            if let Some(whole) = self.fragments.take(raw)? {
                events.push(event::decode(&whole, &self.scope)?);
            }
        }
        Ok(empty)
    }

    /// Gives what was taken, segment by segment.
    async fn give(&mut self, taken: Taken) -> Result<(), End> {
        let Taken { mut events, end, failure, .. } = taken;
        // A reply's own token is behind all of it; not so when an event is half there or was not taken.
        let mut end = end.filter(|_| !self.fragments.pending());
        while !events.is_empty() {
            self.room().await?;
            let (outcome, last) = self.segment(&mut events).await?;
            let end = match end.take_if(|_| events.is_empty()) {
                Some(reply) => SegmentEnd::Reply(Some(last), reply),
                None => SegmentEnd::Event(last),
            };
            self.send(outcome, end).await?;
        }
        if let Some(reply) = end {
            self.send(Outcome::default(), SegmentEnd::Reply(None, reply)).await?;
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Takes the next segment off the events and looks up what it needs; also where its last event is.
    async fn segment(&mut self, events: &mut Vec<Placed>) -> Result<(Outcome, EventEnd), End> {
        loop {
            let taken = segment::cut(events, self.lookups);
            let (segment, _) = events.split_at(taken);
            let fates = segment::fates(segment);
            let wanted = segment::wanted(segment, &fates);
            let Some(last) = segment.last() else { return Err(Error::Ended.into()) };
            let Some(found) = self.images(&wanted, last.token.time()).await? else {
                self.lookups = (self.lookups / 2).max(1);
                continue;
            };
            let bytes: usize = found.values().map(Found::bytes).sum();
            let last = EventEnd { token: last.token.clone(), wall_ms: last.wall_ms };
            count(segment, &wanted);
            let outcome = segment::resolve(events.drain(..taken).collect(), &fates, found);
            for (namespace, _) in outcome.missing.iter().flat_map(|missing| &missing.documents) {
                let collection = namespace.collection.to_string();
                ::metrics::counter!(metrics::SOURCE_LOOKUPS_MISSING, "collection" => collection).increment(1);
            }
            if bytes < self.lookup_bytes() / 3 {
                self.lookups = (self.lookups * 2).min(self.source.config().lookup_batch.max(1));
            }
            return Ok((outcome, last));
        }
    }

    fn lookup_bytes(&self) -> usize {
        usize::try_from(self.source.config().lookup_bytes.as_u64()).unwrap_or(usize::MAX)
    }

    /// The images of a segment; `None` when they are more than may be held at once.
    async fn images(
        &self,
        wanted: &BTreeMap<&str, Vec<&RawDocument>>,
        after: ClusterTime,
    ) -> Result<Option<BTreeMap<String, Found>>, Error> {
        let (database, timeout) = (self.source.database(), self.source.config().timeout);
        let reads = wanted.iter().map(async |(collection, ids)| {
            let attempt = || lookup::images(database, timeout, collection, ids, after, self.lookup_bytes());
            let source = self.source.of_task(&format!("lookup in {collection}"));
            let found = source.retry_transient(self.backoff, attempt).await?;
            Ok::<_, Error>(found.map(|found| ((*collection).to_owned(), found)))
        });
        Ok(try_join_all(reads).await?.into_iter().collect())
    }

    /// Waits until a batch would be taken at once; nobody else sends any.
    async fn room(&self) -> Result<(), End> {
        self.batches.reserve().await.map(drop).map_err(|_| End::Unheard)
    }

    async fn send(&mut self, outcome: Outcome, end: SegmentEnd) -> Result<(), End> {
        let Outcome { changes, controls, missing } = outcome;
        let position = self.progress.after(end, &changes, missing);
        ::metrics::gauge!(metrics::SOURCE_FRONTIER_TIMESTAMP).set(position.frontier.0.unix_ms() as f64 / 1e3);
        self.batches.send(Ok(StreamBatch { changes, controls, position })).await.map_err(|_| End::Unheard)
    }
}

/// Counts what a segment took from the stream.
fn count(segment: &[Placed], wanted: &BTreeMap<&str, Vec<&RawDocument>>) {
    let mut events: HashMap<(&str, Op), u64> = HashMap::new();
    for placed in segment {
        if let Event::Change { change, .. } = &placed.event {
            *events.entry((&change.namespace.collection, change.op)).or_default() += 1;
        }
    }
    for ((collection, op), n) in events {
        let collection = collection.to_owned();
        ::metrics::counter!(metrics::SOURCE_EVENTS, "collection" => collection, "op" => op.as_str()).increment(n);
    }
    for (collection, ids) in wanted {
        let collection = (*collection).to_owned();
        ::metrics::counter!(metrics::SOURCE_LOOKUPS, "collection" => collection).increment(ids.len() as u64);
    }
    if let Some(last) = segment.last() {
        ::metrics::gauge!(metrics::SOURCE_EVENT_TIMESTAMP).set(last.wall_ms as f64 / 1e3);
    }
}

//! The change stream as a source of batches.
//!
//! ```text
//!   MongoDB ──getMore──▶ prefetch ──replies──▶ decode ─▶ segments ──lookups──▶ batches ──▶ next_batch()
//!                        (cursor.rs) bounded                │                     1 batch
//!                            ▲                              └──find {_id: {$in}}──▶ MongoDB
//!                            └── reopens behind the last reply it handed on
//! ```
//! Two tasks, so that the server prepares the next reply while images of the last one are read. Both stop when the
//! [`ChangeStream`] is dropped. A batch is one segment of the replies that had come; the position behind it is the token of
//! its last event, or the last reply's own token behind the last segment. It is formed only once there is a place for it:
//! what has to wait are replies, which the next batch takes together, and not a batch that grows old.
//!
//! No event is given twice, wherever a cursor begins: what a cursor repeats is passed over by its token.
//!
//! The stream saves nothing: a position is the caller's to save once its batch is durable.

use std::collections::{BTreeMap, HashMap};

use bson::raw::RawDocument;
use futures_util::future::try_join_all;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Error, Scope, Source,
    cursor::{self, Place, Prefetch, Reply},
    event::{self, Event, Fragments, Placed},
    frontier::Tracker,
    holds::{FrontierHolds, MissingImages},
    lookup, reader,
    segment::{self, Found},
};
use crate::{
    metrics,
    model::{Change, ClusterTime, Control, Frontier, Held, Op, ResumeToken},
    retry::Backoff,
};

/// Where the stream starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// Right behind a saved position.
    After {
        /// Its token.
        token: ResumeToken,
        /// Its frontier: the stream announces no earlier one.
        frontier: Frontier,
        /// What was given beyond it, and is not given again.
        held: Option<Box<Held>>,
    },
    /// At a cluster time; its own changes are given too. For the first start: `Source::now`, before the first read.
    At(ClusterTime),
}

impl Start {
    /// Everything that was ever given lies at or before this.
    pub fn time(&self) -> ClusterTime {
        match self {
            Self::At(time) => *time,
            Self::After { token, held, .. } => held.as_ref().map_or(token, |held| &held.given).time(),
        }
    }
}

/// How far a stream has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Where to go on.
    pub token: ResumeToken,
    /// Everything before it was given.
    pub frontier: Frontier,
    /// Wall clock, milliseconds since 1970, as of which everything was given.
    pub as_of_ms: i64,
    /// While the position is held back: what was given beyond it. To be saved with it.
    pub held: Option<Box<Held>>,
}

impl Position {
    /// The cluster time that the stream has come to; everything that was given lies at or before it.
    pub fn time(&self) -> ClusterTime {
        self.held.as_ref().map_or(&self.token, |held| &held.given).time()
    }
}

/// Consecutive changes; `position` may stand before them, while an image is missing whose delete is still to come.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamBatch {
    /// In the order of the stream. A key occurs with ascending versions.
    pub changes: Vec<Change>,
    /// What happened to whole collections, after all of `changes`.
    pub controls: Vec<Control>,
    /// To be saved once `changes` and `controls` are durable.
    pub position: Position,
}

/// A running change stream. Dropping it stops it.
#[derive(Debug)]
pub struct ChangeStream {
    batches: mpsc::Receiver<Result<StreamBatch, Error>>,
    _running: DropGuard,
}

impl ChangeStream {
    /// Starts to read; whatever goes wrong comes out of [`ChangeStream::next_batch`].
    ///
    /// What may come back is waited for with back-off, for ever: the stream opens again where it was.
    pub fn open(source: &Source, scope: Scope, start: Start, backoff: Backoff) -> Self {
        let cancel = CancellationToken::new();
        let (send_reply, replies) = mpsc::channel(MAX_REPLIES);
        let (send_batch, batches) = mpsc::channel(1);
        let (place, frontier, given, holds) = match start {
            Start::After { token, frontier, held } => {
                let given = held.as_ref().map_or(&token, |held| &held.given).clone();
                let last = Position { token: token.clone(), frontier, as_of_ms: 0, held };
                (Place::After(token), frontier, Some(given), FrontierHolds::after(last))
            }
            Start::At(time) => (Place::At(time), Frontier(time), None, FrontierHolds::default()),
        };
        let tracker = Tracker::new(source.server().completes_instants(), frontier);
        let reading = source.of_task("change stream");
        let prefetch = Prefetch::new(reading, scope.clone(), place, backoff, cancel.clone(), send_reply);
        let decoder = Decoder {
            source: source.clone(),
            scope,
            backoff,
            cancel: cancel.clone(),
            tracker,
            holds,
            given,
            fragments: Fragments::default(),
            lookups: source.config().lookup_batch.clamp(1, FIRST_LOOKUPS),
            batches: send_batch,
        };
        tokio::spawn(cancel.clone().run_until_cancelled_owned(prefetch.run()));
        tokio::spawn(cancel.clone().run_until_cancelled_owned(decoder.run(replies)));
        Self { batches, _running: cancel.drop_guard() }
    }

    /// Waits for the next batch; an idle stream gives an empty one about every `max_await`. Cancel-safe.
    ///
    /// # Errors
    /// Whatever no waiting mends; the class is never transient. The stream has ended then.
    pub async fn next_batch(&mut self) -> Result<StreamBatch, Error> {
        self.batches.recv().await.unwrap_or(Err(Error::Ended))
    }
}

/// The task that turns replies into batches.
struct Decoder {
    source: Source,
    scope: Scope,
    backoff: Backoff,
    cancel: CancellationToken,
    tracker: Tracker,
    holds: FrontierHolds,
    /// Everything up to here was given, by this process or another; a cursor that begins before it repeats some of that.
    given: Option<ResumeToken>,
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
    /// Behind the last reply: its token, whether it was empty, and when it was asked for.
    end: Option<(ResumeToken, bool, i64)>,
    failure: Option<Error>,
}

/// Replies that may wait. `source.stream_bytes` bounds their bytes, so this bound is only met by replies of a few bytes, and each
/// answer of an idle server is one.
const MAX_REPLIES: usize = 64;
/// Lookups of the first segment, which does not know yet how large documents are; each further one doubles it.
const FIRST_LOOKUPS: usize = 4;
/// Replies that come while the last batch is still being published are taken together up to this size: one by one, each
/// would cost a lookup and a transaction for the handful of events that a waiting server answers with.
const MAX_TAKEN_BYTES: usize = 4 << 20;

impl Decoder {
    async fn run(mut self, mut replies: mpsc::Receiver<Result<Reply, Error>>) {
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
                    // If nobody listens, there is nobody to tell.
                    let _ = self.batches.send(Err(error)).await;
                    return;
                }
            }
        }
    }

    /// Decodes a reply; its bytes make room for the next one before the images come.
    fn take(&mut self, reply: Reply, taken: &mut Taken) -> Result<(), Error> {
        self.tracker.replied(reply.opened);
        let token = cursor::token(&reply.batch)?;
        taken.bytes += reply.batch.as_raw_document().as_bytes().len();
        taken.end = None;
        let empty = self.events(&reply, &mut taken.events)?;
        if self.given.as_ref().is_none_or(|given| token.reaches(given)) {
            self.given = Some(token.clone());
        }
        taken.end = Some((token, empty, reply.sent_ms));
        Ok(())
    }

    async fn give(&mut self, taken: Taken) -> Result<(), End> {
        let Taken { mut events, end, failure, .. } = taken;
        // A reply's own token is behind all of it; not so when an event is half there or was not taken.
        let mut end = end.filter(|_| !self.fragments.pending());
        while !events.is_empty() {
            self.room().await?;
            let (mut batch, gap) = self.segment(&mut events).await?;
            if events.is_empty()
                && let Some((token, empty, sent_ms)) = end.take()
            {
                batch.position = self.position(&token, empty, sent_ms);
            }
            self.send(batch, gap).await?;
        }
        if let Some((token, empty, sent_ms)) = end {
            let position = self.position(&token, empty, sent_ms);
            self.send(StreamBatch { changes: Vec::new(), controls: Vec::new(), position }, None).await?;
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The events of a reply that are news, and whether it held none at all; the ones before an event that cannot be taken are
    /// still given.
    fn events(&mut self, reply: &Reply, events: &mut Vec<Placed>) -> Result<bool, Error> {
        let mut empty = true;
        for raw in reader::in_reply(&reply.batch, "read the change stream")? {
            let raw = raw?;
            empty = false;
            if self.was_given(raw) {
                continue;
            }
            if let Some(whole) = self.fragments.take(raw)? {
                events.push(event::decode(&whole, &self.scope)?);
            }
        }
        Ok(empty)
    }

    fn was_given(&self, raw: &RawDocument) -> bool {
        let data = raw.get_document("_id").and_then(|token| token.get_str("_data"));
        self.given.as_ref().is_some_and(|given| data.is_ok_and(|data| given.has_given(data)))
    }

    /// The position behind a reply: not before what was given, because the stream would begin there next time.
    fn position(&mut self, token: &ResumeToken, empty: bool, sent_ms: i64) -> Position {
        let mut position = self.tracker.reply(token, empty, sent_ms);
        if let Some(given) = self.given.as_ref().filter(|given| given.reaches(token)) {
            position.token = given.clone();
        }
        position
    }

    /// Takes the next segment off the events and looks up what it needs; see [`FrontierHolds`] for what it lacks.
    async fn segment(&mut self, events: &mut Vec<Placed>) -> Result<(StreamBatch, Option<MissingImages>), End> {
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
            let position = self.tracker.event(&last.token, last.wall_ms);
            count(segment, &wanted);
            let outcome = segment::resolve(events.drain(..taken).collect(), &fates, found);
            for (namespace, _) in outcome.gap.iter().flat_map(|gap| &gap.documents) {
                let collection = namespace.collection.to_string();
                ::metrics::counter!(metrics::SOURCE_LOOKUPS_MISSING, "collection" => collection).increment(1);
            }
            if bytes < self.lookup_bytes() / 3 {
                self.lookups = (self.lookups * 2).min(self.source.config().lookup_batch.max(1));
            }
            let batch = StreamBatch { changes: outcome.changes, controls: outcome.controls, position };
            return Ok((batch, outcome.gap));
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
    ) -> Result<Option<BTreeMap<String, Found>>, End> {
        let (database, timeout) = (self.source.database(), self.source.config().timeout);
        let reads = wanted.iter().map(async |(collection, ids)| {
            let attempt = || lookup::images(database, timeout, collection, ids, after, self.lookup_bytes());
            let source = self.source.of_task(&format!("lookup in {collection}"));
            match source.retry_transient(self.backoff, &self.cancel, attempt).await? {
                Some(found) => Ok::<_, End>(found.map(|found| ((*collection).to_owned(), found))),
                None => Err(End::Unheard),
            }
        });
        Ok(try_join_all(reads).await?.into_iter().collect())
    }

    /// Waits until a batch would be taken at once; nobody else sends any.
    async fn room(&self) -> Result<(), End> {
        self.batches.reserve().await.map(drop).map_err(|_| End::Unheard)
    }

    async fn send(&mut self, mut batch: StreamBatch, gap: Option<MissingImages>) -> Result<(), End> {
        batch.position = self.holds.announce(batch.position, &batch.changes, gap);
        ::metrics::gauge!(metrics::SOURCE_FRONTIER_TIMESTAMP).set(batch.position.frontier.0.unix_ms() as f64 / 1e3);
        self.batches.send(Ok(batch)).await.map_err(|_| End::Unheard)
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

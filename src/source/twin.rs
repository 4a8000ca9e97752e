//! A source in memory, for simulations: a history of operations, and the stream over it. What the server does is played; what
//! happens to its events is the code of the product.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use bson::{raw::RawDocumentBuf, rawdoc};
use tokio::sync::mpsc;

use super::{
    Error, Scope,
    batch::{Start, StreamBatch},
    event,
    frontier::{EventEnd, ReplyEnd},
    progress::{Progress, SegmentEnd},
    segment::{self, Found, Outcome},
};
use crate::model::{ClusterTime, Key, ResumeToken, TokenKind, Version};

pub(crate) const DATABASE: &str = "shop";
pub(crate) const EPOCH: u32 = 1;

/// One operation on a document.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) collection: &'static str,
    pub(crate) key: i32,
    pub(crate) version: Version,
    /// The document's value from then on; `None` of a delete.
    pub(crate) value: Option<i32>,
    /// Whether its event lacks the document.
    lookup: bool,
}

/// Everything that has happened to the source.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) operations: Vec<Operation>,
    now: ClusterTime,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { operations: Vec::new(), now: ClusterTime { t: 0x6500_0001, i: 1 } }
    }

    /// The newest instant. No operation joins it any more.
    pub(crate) fn now(&self) -> ClusterTime {
        self.now
    }

    /// A transaction: its operations share an instant.
    pub(crate) fn write(&mut self, operations: impl IntoIterator<Item = (&'static str, i32, Option<i32>, bool)>) {
        self.now = self.now.next();
        for (op, (collection, key, value, lookup)) in operations.into_iter().enumerate() {
            let version = Version { epoch: EPOCH, time: self.now, op: op as u32 };
            self.operations.push(Operation { collection, key, version, value, lookup: lookup && value.is_some() });
        }
    }

    /// The last operation on a document at or before an instant.
    pub(crate) fn last(&self, collection: &str, key: i32, at: ClusterTime) -> Option<&Operation> {
        let of = |operation: &&Operation| operation.collection == collection && operation.key == key;
        self.operations.iter().filter(of).rfind(|operation| operation.version.time <= at)
    }

    /// The document at an instant.
    pub(crate) fn document(&self, collection: &str, key: i32, at: ClusterTime) -> Option<RawDocumentBuf> {
        let value = self.last(collection, key, at)?.value?;
        Some(rawdoc! { "_id": key, "value": value })
    }
}

/// Whether a token is at or behind an operation.
pub(crate) fn covers(token: &ResumeToken, operation: &Operation) -> bool {
    let Version { time, op, .. } = operation.version;
    match token.kind() {
        TokenKind::HighWaterMark => time < token.time(),
        _ => (time, op) <= (token.time(), token.txn_op()),
    }
}

fn data(time: ClusterTime, op: Option<u32>) -> RawDocumentBuf {
    let kind = match op {
        None => "2B022929".to_owned(),
        Some(0) => "2B022C010029".to_owned(),
        Some(op) => format!("2B022C01002B{:02X}", op << 1),
    };
    rawdoc! { "_data": format!("82{:08X}{:08X}{kind}296E5A", time.t, time.i) }
}

fn token(data: &RawDocumentBuf) -> ResumeToken {
    ResumeToken::from_raw(data).expect("a token")
}

/// The server's end of a stream, with the decoder.
pub(crate) struct TwinStream {
    history: Rc<RefCell<History>>,
    scope: Scope,
    progress: Progress,
    opened: Option<ClusterTime>,
    /// The next operation of the history.
    next: usize,
    batches: mpsc::Sender<Result<StreamBatch, Error>>,
    waiting: std::collections::VecDeque<StreamBatch>,
}

/// The most lookups of a segment.
const LOOKUPS: usize = 2;

impl TwinStream {
    pub(crate) fn open(
        history: &Rc<RefCell<History>>,
        scope: Scope,
        start: &Start,
    ) -> (Self, mpsc::Receiver<Result<StreamBatch, Error>>) {
        let (batches, receiver) = mpsc::channel(1);
        let before = |operation: &Operation| match start {
            Start::At(time) => operation.version.time < *time,
            Start::After { token, .. } => covers(token, operation),
        };
        let opened = match start {
            Start::At(time) => *time,
            Start::After { token, .. } => token.time(),
        };
        let next = history.borrow().operations.iter().take_while(|operation| before(operation)).count();
        let (history, progress) = (history.clone(), Progress::new(start, true));
        let stream =
            Self { history, scope, progress, opened: Some(opened), next, batches, waiting: Default::default() };
        (stream, receiver)
    }

    /// The server answers with up to `n` events; with fewer it has no more, and says how far it has looked.
    pub(crate) fn reply(&mut self, n: usize) {
        let history = self.history.borrow();
        self.progress.begin_reply(self.opened.take());
        let end = (self.next + n).min(history.operations.len());
        let operations = &history.operations[self.next..end];
        let ran_dry = operations.len() < n;
        let mut events = Vec::new();
        for operation in operations {
            let raw = event_of(operation);
            if !self.progress.has_given(&raw) {
                events.push(event::decode(&raw, &self.scope).expect("an event"));
            }
        }
        // The server's own entries lie between those of the history: nothing else happens at the instant of a mark.
        let last = match operations.last() {
            Some(last) if !ran_dry => data(last.version.time, Some(last.version.op)),
            _ => data(history.now.next(), None),
        };
        let last = token(&last);
        self.progress.end_reply(&last);
        self.next = end;
        let empty = operations.is_empty();
        drop(history);
        if ran_dry {
            // The next operation comes behind the mark.
            let mut history = self.history.borrow_mut();
            history.now = history.now.next();
        }
        self.segments(events, ReplyEnd { token: last, empty, sent_ms: 0 });
    }

    fn segments(&mut self, mut events: Vec<event::Placed>, reply: ReplyEnd) {
        let mut reply = Some(reply);
        while !events.is_empty() {
            let taken = segment::cut(&events, LOOKUPS);
            let placed: Vec<_> = events.drain(..taken).collect();
            let last = placed.last().expect("a segment holds an event");
            let last = EventEnd { token: last.token.clone(), wall_ms: last.wall_ms };
            let fates = segment::fates(&placed);
            let found = self.found(&segment::wanted(&placed, &fates));
            let outcome = segment::resolve(placed, &fates, found);
            let end = match reply.take_if(|_| events.is_empty()) {
                Some(reply) => SegmentEnd::Reply(Some(last), reply),
                None => SegmentEnd::Event(last),
            };
            self.enqueue(outcome, end);
        }
        if let Some(reply) = reply {
            self.enqueue(Outcome::default(), SegmentEnd::Reply(None, reply));
        }
    }

    /// The documents as they are now, which may be later than their events.
    fn found(&self, wanted: &BTreeMap<&str, Vec<&bson::RawDocument>>) -> BTreeMap<String, Found> {
        let history = self.history.borrow();
        let upper = history.now;
        let found = |(collection, ids): (&&str, &Vec<&bson::RawDocument>)| {
            let document = |id: &&bson::RawDocument| {
                let key = id.get_i32("_id").expect("a number");
                Some((Key::from_id(id)?, history.document(collection, key, upper)?))
            };
            ((*collection).to_owned(), Found { documents: ids.iter().filter_map(document).collect(), upper })
        };
        wanted.iter().map(found).collect()
    }

    fn enqueue(&mut self, Outcome { changes, controls, missing }: Outcome, end: SegmentEnd) {
        let position = self.progress.after(end, &changes, missing);
        self.waiting.push_back(StreamBatch { changes, controls, position });
    }

    /// Hands a batch on, if there is one and the term has room for it; returns whether any waits.
    pub(crate) fn hand_on(&mut self) -> bool {
        if let Ok(room) = self.batches.try_reserve()
            && let Some(batch) = self.waiting.pop_front()
        {
            room.send(Ok(batch));
        }
        !self.waiting.is_empty()
    }

    /// The stream fails.
    pub(crate) fn fail(&mut self) {
        let _ = self.batches.try_send(Err(Error::CursorEnded { act: "read the change stream" }));
    }
}

fn event_of(operation: &Operation) -> RawDocumentBuf {
    let Operation { collection, key, version, value, lookup } = operation;
    let operation_type = match (value, lookup) {
        (None, _) => "delete",
        (_, true) => "update",
        _ => "replace",
    };
    let mut raw = rawdoc! {
        "_id": data(version.time, Some(version.op)),
        "operationType": operation_type,
        "ns": { "db": DATABASE, "coll": *collection },
        "documentKey": { "_id": *key },
    };
    if let (Some(value), false) = (value, lookup) {
        raw.append(bson::cstr!("fullDocument"), rawdoc! { "_id": *key, "value": *value });
    }
    raw
}

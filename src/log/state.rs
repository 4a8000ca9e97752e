//! The state topic: the position of the stream, and the progress of each snapshot.
//!
//! It has one compacted partition, written in the same transactions as the changes. Its records are small JSON documents, so
//! `kcat` shows an operator the state of a source.

use std::{collections::BTreeMap, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bson::raw::{RawDocument, RawDocumentBuf};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use serde::{Deserialize, Serialize};

use super::{
    Error,
    client::{self, Context},
    topic_names::{database_of, state_name},
};
use crate::{
    config::LogConfig,
    model::{ClusterTime, Frontier, Held, Identity, Key, Namespace, Part, ResumeToken, SnapshotState, SourceIdentity},
    retry::{Class, Classify},
};

/// Format of the stream's value; a higher one is refused.
const FORMAT: u32 = 1;
/// Format of a snapshot's value. Format 1 had only one part, and is still read.
const SNAPSHOT_FORMAT: u32 = 2;
const STREAM: &str = "stream";
const IDENTITY: &str = "identity";
/// How long a read of the state topic may wait for one record before it looks at its deadline.
const POLL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(100);

/// The position from which the stream continues after a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamState {
    /// Epoch of the versions that were published.
    pub epoch: u32,
    /// Everything before this token is in the log.
    pub token: ResumeToken,
    /// The last frontier published.
    pub frontier: Frontier,
    /// Changes that were published beyond the token while it is held back.
    pub held: Option<Box<Held>>,
}

/// The contents of the state topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredState {
    /// Generation of the last publisher; 0 if there was none, or the state was lost.
    pub publisher: u64,
    /// The stream; `None` if nothing has been published yet.
    pub stream: Option<StreamState>,
    /// The snapshots, by collection.
    pub snapshots: BTreeMap<String, SnapshotState>,
    /// The identity of the log; `None` if nothing has been published yet, or only by versions that did not record it.
    pub(crate) identity: Option<Identity>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateKey {
    State(String),
    Snapshot(String),
}

#[derive(Serialize, Deserialize)]
struct StreamValue {
    format: u32,
    epoch: u32,
    publisher: u64,
    token: String,
    frontier: ClusterTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<HeldValue>,
}

#[derive(Serialize, Deserialize)]
struct HeldValue {
    given: String,
    by: ClusterTime,
    missing: Vec<DocumentValue>,
}

#[derive(Serialize, Deserialize)]
struct DocumentValue {
    db: String,
    collection: String,
    key: String,
}

#[derive(Serialize, Deserialize)]
struct IdentityValue {
    format: u32,
    #[serde(flatten)]
    identity: Identity,
}

#[derive(Serialize, Deserialize)]
struct SnapshotValue {
    format: u32,
    epoch: u32,
    run: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    since: ClusterTime,
    #[serde(default, skip_serializing_if = "is_default")]
    removed: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    left: bool,
    paused: bool,
    /// Written only for readers of the topic.
    done: bool,
    documents: u64,
    bytes: u64,
    estimate: u64,
    parts: Vec<PartValue>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Serialize, Deserialize)]
struct PartValue {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    done: bool,
}

/// A snapshot in format 1.
#[derive(Deserialize)]
struct OnePartValue {
    epoch: u32,
    done: bool,
    #[serde(default)]
    after: Option<String>,
    documents: u64,
}

#[derive(Deserialize)]
struct AnyValue {
    format: u32,
}

/// Returns key and value of the stream's record.
pub(super) fn encode_stream(state: &StreamState, publisher: u64) -> (Vec<u8>, Vec<u8>) {
    let value = StreamValue {
        format: FORMAT,
        epoch: state.epoch,
        publisher,
        token: base64(state.token.raw()),
        frontier: state.frontier.0,
        held: state.held.as_deref().map(encode_held),
    };
    (json(&StateKey::State(STREAM.to_owned())), json(&value))
}

fn encode_held(Held { given, by, missing }: &Held) -> HeldValue {
    let document = |(Namespace { db, collection }, key): &(Namespace, Key)| DocumentValue {
        db: db.to_string(),
        collection: collection.to_string(),
        key: STANDARD.encode(key.as_bytes()),
    };
    HeldValue { given: base64(given.raw()), by: *by, missing: missing.iter().map(document).collect() }
}

fn decode_held(HeldValue { given, by, missing }: HeldValue) -> Result<Held, Unreadable> {
    let document = |DocumentValue { db, collection, key }| {
        let key = STANDARD.decode(key).map_err(|_| Unreadable::What("it holds bad base64"))?;
        Ok((Namespace::new(db, collection), Key::from_bytes(key)))
    };
    let missing = missing.into_iter().map(document).collect::<Result<_, _>>()?;
    Ok(Held { given: token(&given)?, by, missing })
}

/// Returns key and value of the identity record.
pub(super) fn encode_identity(identity: &Identity) -> (Vec<u8>, Vec<u8>) {
    let value = IdentityValue { format: FORMAT, identity: identity.clone() };
    (json(&StateKey::State(IDENTITY.to_owned())), json(&value))
}

/// Returns key and value of a snapshot's record.
pub(super) fn encode_snapshot(state: &SnapshotState) -> (Vec<u8>, Vec<u8>) {
    let id = |id: &Option<RawDocumentBuf>| id.as_ref().map(|id| base64(id));
    let part = |part: &Part| PartValue { until: id(&part.until), after: id(&part.after), done: part.done };
    let value = SnapshotValue {
        format: SNAPSHOT_FORMAT,
        epoch: state.epoch,
        run: state.run,
        since: state.since,
        removed: state.removed,
        left: state.left,
        paused: state.paused,
        done: state.done(),
        documents: state.documents,
        bytes: state.bytes,
        estimate: state.estimate,
        parts: state.parts.iter().map(part).collect(),
    };
    (json(&StateKey::Snapshot(state.collection.clone())), json(&value))
}

/// Parses a snapshot's record, in this format or the one before.
fn decode_snapshot(collection: &str, value: &[u8]) -> Result<SnapshotState, Unreadable> {
    let id = |id: Option<String>| id.as_deref().map(document).transpose();
    let mut state = SnapshotState { collection: collection.to_owned(), ..SnapshotState::default() };
    if format(value)? == FORMAT {
        let OnePartValue { epoch, done, after, documents } = fields(value)?;
        state.epoch = epoch;
        state.parts = vec![Part { until: None, after: id(after)?, done }];
        (state.documents, state.estimate) = (documents, documents);
        return Ok(state);
    }
    let value: SnapshotValue = read(value, SNAPSHOT_FORMAT)?;
    (state.epoch, state.run, state.paused) = (value.epoch, value.run, value.paused);
    (state.since, state.removed, state.left) = (value.since, value.removed, value.left);
    (state.documents, state.bytes, state.estimate) = (value.documents, value.bytes, value.estimate);
    for part in value.parts {
        state.parts.push(Part { until: id(part.until)?, after: id(part.after)?, done: part.done });
    }
    Ok(state)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Plain structs of texts and numbers cannot fail to serialize.
    serde_json::to_vec(value).unwrap_or_default()
}

fn base64(document: &RawDocument) -> String {
    STANDARD.encode(document.as_bytes())
}

/// The reason why a record cannot be read.
enum Unreadable {
    What(&'static str),
    Token(crate::model::TokenError),
}

impl StoredState {
    /// Returns the latest epoch in which anything was published; 0 if nothing was.
    pub(crate) fn epoch(&self) -> u32 {
        let snapshots = self.snapshots.values().map(|snapshot| snapshot.epoch);
        self.stream.iter().map(|stream| stream.epoch).chain(snapshots).max().unwrap_or(0)
    }

    /// Takes in one record; later ones replace earlier ones.
    fn take_in(&mut self, key: &StateKey, value: Option<&[u8]>) -> Result<(), Unreadable> {
        match (key, value) {
            (StateKey::State(name), value) if name == STREAM => {
                let Some(value) = value else {
                    // Somebody removed the record by hand, to start over.
                    self.stream = None;
                    return Ok(());
                };
                let value: StreamValue = read(value, FORMAT)?;
                let token = token(&value.token)?;
                let held = value.held.map(decode_held).transpose()?.map(Box::new);
                self.publisher = value.publisher;
                self.stream = Some(StreamState { epoch: value.epoch, token, frontier: Frontier(value.frontier), held });
            }
            (StateKey::State(name), value) if name == IDENTITY => {
                let value = value.map(|value| read::<IdentityValue>(value, FORMAT)).transpose()?;
                self.identity = value.map(|value| value.identity);
            }
            (StateKey::State(_), _) => {
                return Err(Unreadable::What("this version does not know this kind of state"));
            }
            (StateKey::Snapshot(collection), None) => drop(self.snapshots.remove(collection)),
            (StateKey::Snapshot(collection), Some(value)) => {
                let state = decode_snapshot(collection, value)?;
                self.snapshots.insert(collection.clone(), state);
            }
        }
        Ok(())
    }
}

fn read<'a, T: Deserialize<'a>>(value: &'a [u8], known: u32) -> Result<T, Unreadable> {
    if format(value)? != known {
        return Err(Unreadable::What("this version does not know its format"));
    }
    fields(value)
}

fn format(value: &[u8]) -> Result<u32, Unreadable> {
    let any = serde_json::from_slice::<AnyValue>(value);
    any.map(|any| any.format).map_err(|_| Unreadable::What("its value is not JSON with a format"))
}

fn fields<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(value).map_err(|_| Unreadable::What("its value lacks fields of its format"))
}

fn document(base64: &str) -> Result<RawDocumentBuf, Unreadable> {
    let bytes = STANDARD.decode(base64).map_err(|_| Unreadable::What("it holds bad base64"))?;
    RawDocumentBuf::from_bytes(bytes).map_err(|_| Unreadable::What("it contains base64 that is not a BSON document"))
}

fn token(base64: &str) -> Result<ResumeToken, Unreadable> {
    ResumeToken::from_raw(&document(base64)?).map_err(Unreadable::Token)
}

/// Reads the state topic to its end, committed transactions only.
///
/// A publisher reads it after fencing its predecessor (see [`Publisher::connect`](super::Publisher::connect)). Others may read it
/// at any time, for display.
///
/// # Errors
/// Fails with [`Error::State`] or [`Error::Token`] if this version cannot read a record, or with [`Error::Kafka`] or
/// [`Error::Timeout`].
pub async fn read_state(cfg: &LogConfig) -> Result<StoredState, Error> {
    let cfg = cfg.clone();
    client::blocking("reader of the state", move || read_to_end(&cfg)).await
}

/// Returns the identity of the log, from its record or else from the names of the topics in the state.
///
/// # Errors
/// Fails like [`read_state`].
pub(crate) async fn stored_identity(cfg: &LogConfig) -> Result<Option<Identity>, Error> {
    let found = super::topics::found(cfg).await?;
    if !found.contains(&state_name(&cfg.prefix)) {
        return Ok(None);
    }
    let stored = read_state(cfg).await?;
    let named = || {
        stored.stream.as_ref()?;
        let database = found.iter().find_map(|topic| database_of(&cfg.prefix, topic))?;
        Some(Identity { source: SourceIdentity { database, ..SourceIdentity::default() }, ..Identity::default() })
    };
    Ok(stored.identity.clone().or_else(named))
}

fn read_to_end(cfg: &LogConfig) -> Result<StoredState, Error> {
    let topic = state_name(&cfg.prefix);
    let mut settings = client::settings(cfg)?;
    // The library demands a group even from a reader that assigns its partition itself; the reader never joins it.
    client::member(&mut settings, cfg, &super::leader::group(&cfg.prefix));
    settings.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
    // The reader waits for the answer at the end of the topic, so the brokers must not delay it until there is more.
    client::tune(&mut settings, &["fetch.wait.max.ms"], "5");
    let consumer: BaseConsumer<Context> = client::create(&settings, Context::default())?;
    // The library looks for the leader of the partition at once if it already knows the topic, otherwise a second later.
    consumer
        .fetch_metadata(Some(&topic), cfg.timeout.min(client::REACH))
        .map_err(|error| Error::kafka("read", &topic)(error).because(consumer.context().why()))?;
    let mut start = TopicPartitionList::new();
    start
        .add_partition_offset(&topic, 0, Offset::Beginning)
        .and_then(|()| consumer.assign(&start))
        .map_err(Error::kafka("read", &topic))?;
    let mut state = StoredState::default();
    let mut progress = Instant::now();
    while progress.elapsed() < cfg.timeout {
        match consumer.poll(POLL_INTERVAL) {
            None => {}
            // This is the end of the committed records; the brokers deliver no undecided transaction.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(state),
            Some(Err(error)) => {
                let error = Error::kafka("read", &topic)(error);
                if error.class() == Class::Halt {
                    return Err(error);
                }
                tracing::debug!(topic, error = %crate::retry::chain(&error), "read state");
            }
            Some(Ok(message)) => {
                progress = Instant::now();
                let Some(key) = message.key().and_then(|key| serde_json::from_slice::<StateKey>(key).ok()) else {
                    tracing::warn!(topic, offset = message.offset(), "record of another kind in the state topic");
                    continue;
                };
                state.take_in(&key, message.payload()).map_err(|unreadable| match unreadable {
                    Unreadable::Token(source) => Error::Token { topic: topic.clone(), source },
                    Unreadable::What(what) => {
                        let (StateKey::State(key) | StateKey::Snapshot(key)) = key;
                        Error::State { topic: topic.clone(), key, offset: message.offset(), what }
                    }
                })?;
            }
        }
    }
    Err(Error::Timeout { act: "read", object: topic }.because(consumer.context().why()))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::model::TargetIdentity;

    fn stream() -> StreamState {
        let raw = rawdoc! { "_data": "8265000001000000022B022C0100296E5A" };
        let token = ResumeToken::from_raw(&raw).expect("a token");
        StreamState { epoch: 2, frontier: token.frontier(), token, held: None }
    }

    fn held() -> StreamState {
        let key = Key::from_id(&rawdoc! { "_id": 7 }).expect("a key");
        let missing = vec![(Namespace::new("shop", "orders"), key)];
        let given = ResumeToken::from_raw(&rawdoc! { "_data": "8265000001000000052B022C0100296E5A" });
        let held = Held { given: given.expect("a token"), by: ClusterTime { t: 9, i: 1 }, missing };
        StreamState { held: Some(Box::new(held)), ..stream() }
    }

    fn snapshot(done: bool) -> SnapshotState {
        let mut state = SnapshotState::new("orders", 2, 3);
        state.cut(vec![rawdoc! { "_id": 9 }]);
        state.parts[0].after = Some(rawdoc! { "_id": 7 });
        state.parts.iter_mut().for_each(|part| part.done = done);
        SnapshotState { paused: !done, documents: 5, bytes: 50, estimate: 8, ..state }
    }

    fn take_in(state: &mut StoredState, (key, value): (Vec<u8>, Vec<u8>)) -> Result<(), Unreadable> {
        state.take_in(&serde_json::from_slice(&key).expect("a key"), Some(&value))
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mut state = StoredState::default();
        for record in [encode_stream(&stream(), 7), encode_snapshot(&snapshot(false)), encode_snapshot(&snapshot(true))]
        {
            assert!(take_in(&mut state, record).is_ok());
        }
        let snapshots = BTreeMap::from([("orders".to_owned(), snapshot(true))]);
        assert_eq!(state, StoredState { publisher: 7, stream: Some(stream()), snapshots, identity: None });
        let left = SnapshotState { since: ClusterTime { t: 9, i: 1 }, removed: true, left: true, ..snapshot(true) };
        for record in [encode_stream(&held(), 7), encode_snapshot(&left)] {
            assert!(take_in(&mut state, record).is_ok());
        }
        assert_eq!((&state.stream, &state.snapshots["orders"]), (&Some(held()), &left));
        let target = TargetIdentity { system: Some("7".to_owned()), database: "app".to_owned() };
        let source = SourceIdentity { database: "shop".to_owned(), ..SourceIdentity::default() };
        let topics = BTreeMap::from([("p.shop.orders".to_owned(), "x".to_owned())]);
        let identity = Identity { source, target: Some(target), topics };
        let record = encode_identity(&identity);
        assert_eq!(record.0, br#"{"state":"identity"}"#);
        assert!(take_in(&mut state, record).is_ok());
        assert_eq!(state.identity, Some(identity));
    }

    #[test]
    fn the_shape_is_the_documented_one() {
        let (key, value) = encode_snapshot(&snapshot(false));
        assert_eq!(key, br#"{"snapshot":"orders"}"#);
        let (head, parts) = (
            r#"{"format":2,"epoch":2,"run":3,"paused":true,"done":false,"documents":5,"bytes":50,"estimate":8,"#,
            r#""parts":[{"until":"DgAAABBfaWQACQAAAAA=","after":"DgAAABBfaWQABwAAAAA=","done":false},{"done":false}]}"#,
        );
        assert_eq!(String::from_utf8_lossy(&value), format!("{head}{parts}"));
        let (key, value) = encode_stream(&stream(), 7);
        assert_eq!(key, br#"{"state":"stream"}"#);
        assert!(value.starts_with(br#"{"format":1,"epoch":2,"publisher":7,"token":""#));
        assert!(value.ends_with(br#"","frontier":{"t":1694498817,"i":2}}"#));
    }

    #[test]
    fn a_tombstone_removes() {
        let mut state = StoredState::default();
        for record in [encode_stream(&stream(), 7), encode_snapshot(&snapshot(true))] {
            assert!(take_in(&mut state, record).is_ok());
        }
        assert!(state.take_in(&StateKey::Snapshot("orders".to_owned()), None).is_ok());
        assert!(state.take_in(&StateKey::State(STREAM.to_owned()), None).is_ok());
        assert_eq!(state, StoredState { publisher: 7, ..StoredState::default() });
    }

    #[test]
    fn a_record_of_the_first_format_has_one_part() {
        for (after, expected) in [("", None), (r#","after":"DgAAABBfaWQABwAAAAA=""#, Some(rawdoc! { "_id": 7 }))] {
            let value = format!(r#"{{"format":1,"epoch":2,"done":false{after},"documents":5}}"#);
            let mut state = StoredState::default();
            let key = encode_snapshot(&snapshot(false)).0;
            assert!(take_in(&mut state, (key, value.into_bytes())).is_ok());
            let mut one = SnapshotState { documents: 5, estimate: 5, ..SnapshotState::new("orders", 2, 0) };
            one.parts = vec![Part { until: None, after: expected, done: false }];
            assert_eq!(state.snapshots["orders"], one);
        }
    }

    #[test]
    fn a_newer_format_is_not_guessed_at() {
        let key = encode_snapshot(&snapshot(false)).0;
        assert!(take_in(&mut StoredState::default(), (key, br#"{"format":3}"#.to_vec())).is_err());
        let key = encode_stream(&stream(), 7).0;
        assert!(take_in(&mut StoredState::default(), (key, br#"{"format":2}"#.to_vec())).is_err());
    }
}

//! The contents of one Kafka transaction, first as facts, then as bytes. Pure, so that the next transaction can be encoded while the
//! brokers still commit the last one.
//!
//! The partition of a change is computed here and passed to the client, because the frontier of a partition carries its number
//! of changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use metrics::counter;
use rdkafka::message::{Header, OwnedHeaders};

use super::{
    Error, StreamState, Topics,
    envelope::{self, Encoded, FrontierRecord, Schemas, header},
    murmur2::partition_of,
    state::{encode_identity, encode_snapshot, encode_stream},
};
use crate::{
    config::{Codec, LogConfig},
    metrics::{LOG_BYTES, LOG_CHANGES},
    model::{Change, Control, Frontier, Identity, Namespace, Op, Removal, SnapshotState},
};

/// Facts that become visible together, or not at all.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Changes, in the order of the stream.
    pub changes: Vec<Change>,
    /// Controls; each is written to every partition of its collection, after the changes.
    pub controls: Vec<Control>,
    /// Rows to be removed.
    pub removals: Vec<Removal>,
    /// The frontier of the stream after these changes, and the wall clock of the source at that point in milliseconds.
    pub frontier: Option<(Frontier, i64)>,
    /// Whether the frontier is also written to partitions without changes.
    pub idle: bool,
    /// The position after this transaction.
    pub state: StreamState,
    /// Snapshots that advanced with these changes.
    pub snapshots: Vec<SnapshotState>,
    /// Collections whose snapshot is complete in the log with this transaction.
    pub complete: BTreeSet<String>,
}

/// A transaction as bytes, in the order of sending: one partition after the other.
///
/// The client library spins while a partition has a request in flight and more records wait for it. Records that are enqueued
/// together, and flushed only when the transaction is complete, leave in one request.
pub(super) struct EncodedTransaction {
    pub(super) records: Vec<ProducerRecord>,
    pub(super) tally: Tally,
}

/// A record to be sent.
pub(super) struct ProducerRecord {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) key: Vec<u8>,
    /// `None` is a Kafka tombstone.
    pub(super) value: Option<Vec<u8>>,
    /// `None` for records of the state topic, which have neither headers nor a timestamp.
    pub(super) about: Option<(OwnedHeaders, i64)>,
}

/// Encodes transactions in order; the counts of frontiers continue from one to the next.
pub(super) struct Encoder {
    topics: Arc<Topics>,
    state: Arc<str>,
    positions: HashMap<Namespace, usize>,
    prefix: String,
    codec: Codec,
    /// The schemas of each topic; empty without `log.schemas`.
    schemas: Vec<Schemas>,
    tombstones: bool,
    generation: u64,
    counts: Counts,
    /// The identity that the next transaction records.
    identity: Option<Identity>,
}

/// The next frontier of each partition, by position of the topic, then by partition.
type Counts = BTreeMap<(usize, i32), Count>;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Number of the last frontier.
    seq: u64,
    /// Changes since that frontier.
    changes: u64,
}

impl Encoder {
    pub(super) fn new(cfg: &LogConfig, topics: &Topics, generation: u64) -> Self {
        Self {
            topics: Arc::new(topics.clone()),
            state: topics.state().into(),
            positions: topics.collections().iter().enumerate().map(|(at, t)| (t.namespace.clone(), at)).collect(),
            prefix: cfg.prefix.clone(),
            codec: cfg.codec,
            schemas: topics
                .collections()
                .iter()
                .filter(|_| cfg.schemas)
                .map(|topic| Schemas::of(&topic.name))
                .collect(),
            tombstones: cfg.tombstones,
            generation,
            counts: Counts::new(),
            identity: None,
        }
    }

    /// Records the identity of the log with the next transaction.
    pub(super) fn identify(&mut self, identity: Identity) {
        self.identity = Some(identity);
    }

    /// Encodes a transaction. Each change is dropped as soon as it is encoded.
    ///
    /// # Errors
    /// Fails with [`Error::NoTopic`]; the counts are wrong from then on.
    pub(super) fn encode(&mut self, transaction: Transaction) -> Result<EncodedTransaction, Error> {
        let mut tally = Tally { topics: Arc::clone(&self.topics), counts: HashMap::new() };
        let mut records = Vec::with_capacity(transaction.changes.len() + 16);
        let mut touched = BTreeSet::new();
        for change in transaction.changes {
            let at = self.position(&change.namespace)?;
            let encoded = if self.schemas.is_empty() {
                envelope::encode_as(self.codec, &change, &self.prefix)
            } else {
                envelope::encode_for_schema(&change, &self.prefix)
            };
            let partition = partition_of(&encoded.key, self.topics.collections()[at].partitions);
            self.counts.entry((at, partition)).or_default().changes += 1;
            touched.insert((at, partition));
            tally.add(at, change.op, encoded.size_bytes());
            records.push(self.record((at, partition), encoded, change.wall_ms));
            if self.tombstones && change.document.is_none() {
                let tombstone = envelope::encode_tombstone(&change, &self.prefix);
                records.push(self.record((at, partition), tombstone, change.wall_ms));
            }
        }
        for control in &transaction.controls {
            let at = self.position(&control.namespace)?;
            let encoded = envelope::encode_control(control, &self.prefix);
            for partition in 0..self.topics.collections()[at].partitions {
                touched.insert((at, partition));
                records.push(self.record((at, partition), encoded.clone(), control.version.time.unix_ms()));
            }
        }
        for removal in &transaction.removals {
            let at = self.position(&removal.namespace)?;
            let wall_ms = transaction.frontier.map_or(0, |(_, as_of_ms)| as_of_ms);
            let encoded = envelope::encode_removal(removal, &self.prefix, wall_ms);
            let place = (at, partition_of(&encoded.key, self.topics.collections()[at].partitions));
            touched.insert(place);
            records.push(self.record(place, encoded, wall_ms));
        }
        if let Some(reached) = transaction.frontier {
            let places = if transaction.idle { self.places() } else { touched.into_iter().collect() };
            for place in places {
                let complete = transaction.complete.contains(&*self.topics.collections()[place.0].namespace.collection);
                records.push(self.frontier(place, reached, complete));
            }
        }
        records.extend(self.identity.take().map(|identity| self.state(encode_identity(&identity))));
        records.extend(transaction.snapshots.iter().map(|snapshot| self.state(encode_snapshot(snapshot))));
        records.push(self.state(encode_stream(&transaction.state, self.generation)));
        records.sort_by_key(|record| record.partition);
        Ok(EncodedTransaction { records, tally })
    }

    fn position(&self, namespace: &Namespace) -> Result<usize, Error> {
        let position = self.positions.get(namespace).copied();
        position.ok_or_else(|| Error::NoTopic { namespace: namespace.to_string() })
    }

    /// Returns every partition of every collection.
    fn places(&self) -> Vec<(usize, i32)> {
        let every = self.topics.collections().iter().enumerate();
        every.flat_map(|(at, topic)| (0..topic.partitions).map(move |partition| (at, partition))).collect()
    }

    fn frontier(&mut self, place: (usize, i32), (before, as_of_ms): (Frontier, i64), complete: bool) -> ProducerRecord {
        let count = self.counts.entry(place).or_default();
        count.seq += 1;
        let (seq, changes) = (count.seq, std::mem::take(&mut count.changes));
        let record = FrontierRecord { before, as_of_ms, seq, publisher: self.generation, changes, complete };
        self.record(place, envelope::encode_frontier(&record), as_of_ms)
    }

    fn record(&self, (at, partition): (usize, i32), encoded: Encoded, wall_ms: i64) -> ProducerRecord {
        let generation = self.generation.to_string();
        // The partition was chosen by the key without schema, so a document stays in its partition when `log.schemas` changes.
        let encoded = match self.schemas.get(at) {
            Some(schemas) => schemas.wrap(encoded),
            None => encoded,
        };
        let headers = headers(encoded.headers.iter().chain([(header::PUBLISHER, generation.as_bytes())]));
        ProducerRecord {
            topic: Arc::clone(&self.topics.collections()[at].name),
            partition,
            key: encoded.key,
            value: encoded.value,
            about: Some((headers, wall_ms)),
        }
    }

    fn state(&self, (key, value): (Vec<u8>, Vec<u8>)) -> ProducerRecord {
        ProducerRecord { topic: Arc::clone(&self.state), partition: 0, key, value: Some(value), about: None }
    }
}

pub(super) fn headers<'h>(pairs: impl Iterator<Item = (&'h str, &'h [u8])>) -> OwnedHeaders {
    pairs.fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

/// The numbers that a committed transaction adds to the metrics.
pub(super) struct Tally {
    topics: Arc<Topics>,
    counts: HashMap<(usize, Op), (u64, u64)>,
}

impl Tally {
    fn add(&mut self, at: usize, op: Op, size_bytes: usize) {
        let (changes, bytes) = self.counts.entry((at, op)).or_default();
        *changes += 1;
        *bytes += size_bytes as u64;
    }

    pub(super) fn report(self) {
        for ((at, op), (changes, bytes)) in self.counts {
            let collection = self.topics.collections()[at].namespace.collection.clone();
            counter!(LOG_CHANGES, "collection" => collection.clone(), "op" => op.as_str()).increment(changes);
            counter!(LOG_BYTES, "collection" => collection).increment(bytes);
        }
    }
}

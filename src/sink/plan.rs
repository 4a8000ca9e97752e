//! The plan of a batch: the rows, dead letters and positions that its records ask for, before PostgreSQL is involved. Pure.
//!
//! ```text
//!  records in log order ─ decode ─┬─ changes ── highest version per document ── mapped to rows, or rejected
//!                                 ├─ controls
//!                                 ├─ frontiers and counts, per partition
//!                                 └─ records that cannot be read
//! ```
//!
//! A document that changed a hundred times in the batch is mapped and written once. That loses nothing: every order of the
//! hundred changes ends in the rows of the highest version.

use std::collections::BTreeMap;

use bson::RawDocumentBuf;

use super::progress::{Mark, Progress};
use crate::{
    log::{Fetched, FrontierRecord, Malformed, Record, TopicPartition, envelope},
    mapping::{self, CollectionPlan, Plan, Rejects, Row, Rows},
    model::{Change, ClusterTime, Control, Key, Op, Reason, Version},
    postgres::Error,
    retry::Class,
};

/// The plan of a batch.
#[derive(Debug, Default)]
pub struct Batch {
    /// The part of each partition that was read.
    pub(crate) ranges: BTreeMap<TopicPartition, OffsetRange>,
    /// At most one per collection and key: its highest version.
    pub(crate) documents: Vec<Document>,
    /// In log order.
    pub(crate) resets: Vec<Reset>,
    /// In log order.
    pub(crate) controls: Vec<Control>,
    /// Numbers of the requests to remove rows that no document stands behind.
    pub(crate) removals: Vec<i64>,
    /// Records that cannot be read.
    pub(crate) unreadable: Vec<Unreadable>,
    /// Number of changes read, beaten ones included.
    pub(crate) changes: usize,
    /// Changes beaten by a newer one in the same batch, by place of the collection in the plan.
    pub(crate) beaten: BTreeMap<usize, u64>,
    /// Changes of collections that the plan does not name.
    pub(crate) unmapped: u64,
}

/// The part of a partition that a batch covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OffsetRange {
    /// The offset of the first record read.
    pub(crate) first_offset: i64,
    /// The offset after the last record read.
    pub(crate) next_offset: i64,
    /// Changes counted and frontiers met, in order.
    pub(crate) marks: Vec<Mark>,
    /// Whether the last record read is a frontier. It ends its transaction, whose marker takes the next offset.
    behind_frontier: bool,
    /// Whether offsets are missing since the last mark.
    hole: bool,
}

/// One document at one version.
#[derive(Debug)]
pub(crate) struct Document {
    /// Place of its collection in the plan.
    pub(crate) collection: usize,
    /// Its key.
    pub(crate) key: Key,
    /// Its version.
    pub(crate) version: Version,
    /// See [`Change::upper`].
    pub(crate) upper: ClusterTime,
    /// Its `{_id: …}`, where that cannot be read from its key.
    pub(crate) id: Option<RawDocumentBuf>,
    /// Whether its change says that it has none before it: an insert, or a reading of the snapshot. It may be wrong.
    pub(crate) new: bool,
    /// Whether it was read again at an operator's request.
    pub(crate) repair: bool,
    /// Its rows, or why it has none.
    pub(crate) content: Content,
    /// The record it came in, as it was.
    pub(crate) record: Fetched,
}

/// A version in the ledger that a repair found to be higher than anything that was ever published.
///
/// ```text
///  log      ─ X at 90 ─▶ ─ N at 5 ─▶ ─ R at 7, replaces 90 ─▶ ─ M at 8 ─▶
///  ledger        90          90                 7                  8
/// ```
/// The ledger falls to the repair's version exactly where it holds the replaced one, and from there the highest version wins as
/// ever. That is the same however the records are cut into batches, and however often they come: a replay that meets R again meets
/// another version (it has no effect), or X before it. A later change that beats R in its batch inherits the fall, because it
/// would have come to a ledger that R had lowered. Compaction removes R only behind a newer record of its key, and X before R.
#[derive(Debug)]
pub(crate) struct Reset {
    /// Place of its collection in the plan.
    pub(crate) collection: usize,
    /// The document's key.
    pub(crate) key: Key,
    /// The version that is wrong.
    pub(crate) replaced: Version,
    /// The version of the change that says so.
    pub(crate) version: Version,
}

/// The rows of a document, or why it has none.
#[derive(Debug)]
pub(crate) enum Content {
    /// These rows, and no others.
    Rows {
        /// The rows.
        rows: Rows,
        /// Digest of the source document.
        digest: [u8; 16],
    },
    /// No rows. Holds the key of the `_id` in each root table, where it can be a key of the target at all.
    Gone(Option<Row>),
    /// It cannot become rows; those it had stay.
    Rejected {
        /// Why.
        rejects: Rejects,
        /// Digest of the source document.
        digest: [u8; 16],
    },
}

/// A record that cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// The record as it was.
    pub(crate) record: Fetched,
    /// Place of the collection whose topic it lies in, once that is known.
    pub(crate) collection: Option<usize>,
    /// Why.
    pub(crate) reason: Reason,
    /// Which part, without values.
    pub(crate) detail: String,
}

/// Plans a batch of records. `parked` are records that wait in PostgreSQL and are due: they compete like any other,
/// but have no part in offsets and counts.
///
/// # Errors
/// [`Error::NewerRecord`] halts: this version must not judge records of a format it does not know.
pub fn plan(records: Vec<Fetched>, parked: Vec<Fetched>, plan: &Plan) -> Result<Batch, Error> {
    let mut batch = Batch::default();
    let mut arrived = Vec::new();
    for record in parked {
        // It was read when it was parked; should it have become unreadable, it stays parked and visible.
        if let Ok(Record::Change(change)) = decode(&record) {
            arrived.extend(batch.arrival(plan, change, record).map(|arrival| Arrival { known: true, ..arrival }));
        }
    }
    for record in records {
        let range = batch.extend_range(&record);
        match decode(&record) {
            // The tombstone behind a delete repeats it. It counts where compaction has removed the delete.
            Ok(Record::Change(change)) if record.value.is_none() && repeats(&arrived, &change) => {}
            Ok(Record::Change(change)) => {
                if let Some(publisher) = envelope::counted_by(&record.headers) {
                    range.count(publisher);
                }
                batch.changes += 1;
                if let Some(arrival) = batch.arrival(plan, change, record) {
                    batch.reset(&arrival, &mut arrived);
                    arrived.push(arrival);
                }
            }
            Ok(Record::Frontier(frontier)) => range.meet(frontier),
            Ok(Record::Control(control)) => batch.controls.push(control),
            Ok(Record::Removal(removal)) => batch.removals.push(removal.request),
            Err(malformed) if malformed.class == Class::Halt => {
                let Fetched { topic, partition, offset, .. } = record;
                return Err(Error::NewerRecord {
                    topic: topic.to_string(),
                    partition,
                    offset,
                    detail: malformed.detail,
                });
            }
            Err(Malformed { reason, detail, .. }) => {
                batch.unreadable.push(Unreadable { record, collection: None, reason, detail });
            }
        }
    }
    batch.documents = batch.newest(plan, arrived);
    Ok(batch)
}

fn decode(record: &Fetched) -> Result<Record, Malformed> {
    envelope::decode(record.key.as_deref(), record.value.as_deref(), &record.headers)
}

/// Whether the last change that arrived is this one.
fn repeats(arrived: &[Arrival], change: &Change) -> bool {
    arrived.last().is_some_and(|Arrival { change: last, .. }| {
        (&last.namespace, &last.key, last.version) == (&change.namespace, &change.key, change.version)
    })
}

impl Batch {
    /// Files what cannot be read under the collection whose topic it lies in.
    pub fn file(&mut self, carried: impl Fn(&str) -> Option<usize>) {
        for unreadable in &mut self.unreadable {
            unreadable.collection = carried(&unreadable.record.topic);
        }
    }

    /// Returns whether the batch holds nothing but documents that were refused before.
    pub(super) fn is_retry(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Extends the range of the record's partition to it.
    fn extend_range(&mut self, record: &Fetched) -> &mut OffsetRange {
        let partition = TopicPartition { topic: record.topic.clone(), partition: record.partition };
        let range = self.ranges.entry(partition).or_insert_with(|| OffsetRange::at(record.offset));
        range.extend(record.offset);
        range
    }

    fn arrival(&mut self, plan: &Plan, change: Change, record: Fetched) -> Option<Arrival> {
        let collection = plan.collections().iter().position(|known| *known.collection == *change.namespace.collection);
        if collection.is_none() {
            self.unmapped += 1;
        }
        Some(Arrival { collection: collection?, known: false, change, record })
    }

    /// Takes note of a version that the change replaces, and drops what arrived with it before.
    fn reset(&mut self, arrival: &Arrival, before: &mut Vec<Arrival>) {
        let Some(replaced) = arrival.change.replaces else { return };
        let (collection, key) = arrival.document();
        let arrived = before.len();
        before.retain(|other| other.document() != (collection, key) || other.change.version != replaced);
        let beaten = (arrived - before.len()) as u64;
        if beaten > 0 {
            *self.beaten.entry(collection).or_default() += beaten;
        }
        self.resets.push(Reset { collection, key: key.clone(), replaced, version: arrival.change.version });
    }

    /// The highest version of each document; of equal ones the later, though they say the same. Sorted by collection and key,
    /// so that workers meet locks in one order.
    fn newest(&mut self, plan: &Plan, arrived: Vec<Arrival>) -> Vec<Document> {
        // Places are sorted, because arrivals are large.
        let mut order = (0..arrived.len()).collect::<Vec<_>>();
        order.sort_by_key(|&at| (arrived[at].document(), arrived[at].change.version));
        let documents = order.chunk_by(|&a, &b| arrived[a].document() == arrived[b].document());
        let newest = documents.map(|same| (same[same.len() - 1], same.len() as u64 - 1)).collect::<Vec<_>>();
        let mut arrived = arrived.into_iter().map(Some).collect::<Vec<_>>();
        let mut documents = Vec::with_capacity(newest.len());
        for (at, beaten) in newest {
            let Some(Arrival { collection, known, change, record }) = arrived[at].take() else { continue };
            if beaten > 0 {
                *self.beaten.entry(collection).or_default() += beaten;
            }
            let content = map(&plan.collections()[collection], &change);
            let Change { key, version, upper, id, op, .. } = change;
            let id = Some(id).filter(|_| key.is_hashed());
            let new = !known && matches!(op, Op::Insert | Op::Snapshot);
            let repair = op == Op::Repair;
            documents.push(Document { collection, key, version, upper, id, new, repair, content, record });
        }
        documents
    }
}

/// A change, the place of its collection in the plan, and the record that it came in.
struct Arrival {
    collection: usize,
    /// Whether the ledger surely has an entry for the document.
    known: bool,
    change: Change,
    record: Fetched,
}

impl Arrival {
    fn document(&self) -> (usize, &Key) {
        (self.collection, &self.change.key)
    }
}

impl OffsetRange {
    fn at(offset: i64) -> Self {
        Self { first_offset: offset, next_offset: offset, marks: Vec::new(), behind_frontier: false, hole: false }
    }

    fn extend(&mut self, offset: i64) {
        self.hole |= offset > self.next_offset + i64::from(self.behind_frontier);
        self.next_offset = offset + 1;
        self.behind_frontier = false;
    }

    fn count(&mut self, publisher: u64) {
        match self.marks.last_mut().map(|mark| &mut mark.progress) {
            Some(Progress::Changes { publisher: last, count }) if *last == publisher && !self.hole => *count += 1,
            _ => self.mark(Progress::Changes { publisher, count: 1 }),
        }
    }

    fn meet(&mut self, frontier: FrontierRecord) {
        self.mark(Progress::Frontier(frontier));
        self.behind_frontier = true;
    }

    fn mark(&mut self, progress: Progress) {
        self.marks.push(Mark { progress, whole: !self.hole });
        self.hole = false;
    }
}

fn map(plan: &CollectionPlan, change: &Change) -> Content {
    let Some(document) = &change.document else {
        return Content::Gone(plan.keys(&change.id).ok());
    };
    let digest = mapping::digest(document);
    match plan.map(document) {
        Ok(rows) => Content::Rows { rows, digest },
        Err(rejects) => Content::Rejected { rejects, digest },
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(crate) mod tests;

//! One pass over one collection: read, wait, compare, judge, and read again what could not be judged.
//!
//! ```text
//!  documents at T ──▶ wait until W covers T ──▶ ledger, rows, W in one snapshot ──▶ judge ──▶ match | drift
//!       ▲                                                                            │
//!       └────────────────────── undecided: again at a later T, within a bound ◀──────┘
//! ```
//! A full pass goes both ways: every document is held against its rows, and every live ledger entry against the source, so
//! that rows without a document are found too. A sample does the same with random members of both sides.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use bson::raw::{RawDocument, RawDocumentBuf};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Error,
    compare::{Judgement, RowState, judge_absent, judge_present},
    verdict::Proof,
};
use crate::{
    log::ejson,
    mapping::{CollectionPlan, Rows},
    metrics as names,
    model::{ClusterTime, Frontier, Key, Version},
    postgres::Session,
    sink::Prepared,
    source::{self, ChunkSizer, Limits, Read, ReadTime},
    target::{self, Entry},
};

/// How much of a collection a pass compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// So many random members of each side; everything when there are no more.
    Sample(usize),
    /// Every document and every live ledger entry.
    Full,
}

/// Bounds of a pass.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Documents read and compared at once, and their bytes.
    pub limits: Limits,
    /// Time that a read should not exceed.
    pub read_time: Duration,
    /// Longest wait for the watermark, and for undecided documents to become decidable.
    pub wait: Duration,
    /// Most findings that a report lists; the numbers always count all.
    pub findings: usize,
}

impl Bounds {
    /// Findings listed unless more are asked for: a wrong mapping makes every document drift.
    pub const FINDINGS: usize = 100;
}

/// One document that drifts, or a table with rows that no document stands behind. Its `_id`, and names: other values never
/// leave the databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The document's `_id`, as Extended JSON; empty for a table.
    pub key: String,
    /// missing, extra or different.
    pub kind: &'static str,
    /// Columns that differ; the table.
    pub columns: Vec<String>,
    /// The dead letter that waits for the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub letter: Option<i64>,
    /// Why PostgreSQL takes no such values, where it refuses even to compare them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a pass found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The collection.
    pub collection: String,
    /// The numbers.
    #[serde(flatten)]
    pub proof: Proof,
    /// Cluster time of the newest read.
    pub as_of: ClusterTime,
    /// How long the pass took.
    #[serde(skip)]
    pub took: Duration,
    /// The first findings, at most [`Bounds::findings`].
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub findings_left_out: u64,
    /// The documents that drift, for the next pass to look at again.
    #[serde(skip)]
    pub drifting: HashMap<Key, Drifting>,
}

/// What a document that drifts was when it was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drifting {
    /// Version and writer of its ledger entry; `None` where there is none.
    pub entry: Option<(Version, i64)>,
    /// Whether its last change is a dead letter: nothing was said of its rows.
    pub refused: bool,
}

/// As a majority has it by now.
const NOW: ReadTime = ReadTime::AtLeast(ClusterTime { t: 0, i: 0 });
/// How often the watermark is looked at while a pass waits for it.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Ledger entries compared at once on the way back.
const PAGE_ROWS: usize = 5_000;

/// The rows of one collection.
#[derive(Clone, Copy)]
pub struct CollectionTarget<'a> {
    /// A connection that reads.
    pub session: &'a Session,
    /// The plan, made ready.
    pub prepared: &'a Prepared,
    /// Place of the collection in the plan.
    pub collection: usize,
    /// Its topic.
    pub topic: &'a str,
    /// Partitions of the topic.
    pub partitions: i32,
}

/// A pass under way.
pub struct Pass<'a> {
    source: &'a source::SnapshotReader,
    target: CollectionTarget<'a>,
    plan: &'a CollectionPlan,
    bounds: Bounds,
    sizer: ChunkSizer,
    /// Before the first read; what the pass says is as old as that.
    began: (Timestamp, Instant),
    matched: u64,
    undecided: Vec<Key>,
    as_of: ClusterTime,
    drifting: BTreeMap<Key, Drift>,
}

/// A document that drifts.
struct Drift {
    judgement: Judgement,
    /// The entry that it was judged by.
    entry: Option<Entry>,
    letter: Option<i64>,
    refused: Option<String>,
}

impl<'a> Pass<'a> {
    /// Compares one collection; `None` while its snapshot is not applied, when a missing row proves nothing.
    ///
    /// # Errors
    /// [`Error::Source`] and [`Error::Target`], of the class of their cause. Nothing was changed.
    pub async fn run(
        source: &'a source::SnapshotReader,
        target: CollectionTarget<'a>,
        coverage: Coverage,
        bounds: Bounds,
    ) -> Result<Option<Report>, Error> {
        let plan = &target.prepared.all().collections()[target.collection];
        let mut pass = Self {
            source,
            target,
            plan,
            bounds,
            sizer: ChunkSizer::new(bounds.limits, bounds.read_time),
            began: (Timestamp::now(), Instant::now()),
            matched: 0,
            undecided: Vec::new(),
            as_of: ClusterTime::default(),
            drifting: BTreeMap::new(),
        };
        if !pass.applied(ClusterTime::default()).await? {
            return Ok(None);
        }
        let full = match coverage {
            Coverage::Full => true,
            Coverage::Sample(size) => source.estimate(&plan.collection).await? <= size as u64,
        };
        match coverage {
            Coverage::Sample(size) if !full => pass.sample(size).await?,
            _ => pass.everything().await?,
        }
        pass.recheck_undecided().await?;
        // It takes a look at every row.
        let extra_rows = if full { pass.extra_rows().await? } else { Vec::new() };
        let no_such_collection = pass.no_such_collection().await?;
        let mut report = pass.report(full, extra_rows);
        report.proof.no_such_collection = no_such_collection;
        Ok(Some(report))
    }

    async fn everything(&mut self) -> Result<(), Error> {
        let mut after: Option<RawDocumentBuf> = None;
        loop {
            let (limits, began) = (self.sizer.limits(), Instant::now());
            let chunk = self.source.chunk(&self.plan.collection, after.as_deref(), limits, NOW).await?;
            self.sizer.learn(chunk.documents.len(), chunk.bytes, began.elapsed());
            self.present(&chunk.documents, chunk.read_at).await?;
            if chunk.end {
                break;
            }
            after = chunk.last_id;
        }
        let mut after: Option<Key> = None;
        loop {
            let reader = self.begin().await?;
            let keys = reader.live_keys(self.target.collection, after.as_ref(), PAGE_ROWS).await?;
            reader.end().await?;
            self.absent(&keys).await?;
            match keys.last() {
                Some(last) if keys.len() == PAGE_ROWS => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    async fn sample(&mut self, size: usize) -> Result<(), Error> {
        let ids = self.source.sample_ids(&self.plan.collection, size).await?;
        let mut rest = ids.as_slice();
        while let Some((_, read)) = self.some(&mut rest).await? {
            self.present(&read.value, read.read_at).await?;
        }
        let reader = self.begin().await?;
        let keys = reader.sample(self.target.collection, size).await?;
        reader.end().await?;
        self.absent(&keys).await
    }

    /// Takes the first of these `{_id: …}`, as many as the size of documents allows, and reads theirs; `None` when none are
    /// left.
    async fn some<'i>(
        &mut self,
        ids: &mut &'i [RawDocumentBuf],
    ) -> Result<Option<(&'i [RawDocumentBuf], Read<Vec<RawDocumentBuf>>)>, Error> {
        if ids.is_empty() {
            return Ok(None);
        }
        let (first, rest) = ids.split_at(ids.len().min(self.sizer.limits().documents));
        *ids = rest;
        let began = Instant::now();
        let read = self.source.by_ids(&self.plan.collection, first, NOW).await?;
        let bytes = read.value.iter().map(|document| document.as_bytes().len()).sum();
        self.sizer.learn(read.value.len(), bytes, began.elapsed());
        Ok(Some((first, read)))
    }

    /// Judges documents that the source held at `read_at`.
    async fn present(&mut self, documents: &[RawDocumentBuf], read_at: ClusterTime) -> Result<(), Error> {
        self.as_of = self.as_of.max(read_at);
        self.wait_for(read_at).await?;
        let mut keys = Vec::with_capacity(documents.len());
        let mut expected = Vec::with_capacity(documents.len());
        let mut unmappable = HashSet::new();
        for document in documents {
            let key = key_of(document).ok_or(Error::NoKey { collection: self.plan.collection.clone() })?;
            expected.push(self.plan.map(document).unwrap_or_else(|_| {
                unmappable.insert(key.clone());
                // No rows are compared for it.
                Rows { tables: vec![Vec::new(); self.plan.tables.len()], ..Rows::default() }
            }));
            keys.push(key);
        }
        let reader = self.begin().await?;
        let watermark = self.watermark(&reader).await?;
        let entries = reader.entries(self.target.collection, &keys).await?;
        let letters = reader.dead_letters(self.target.collection, &keys).await?;
        let mut differences = reader.compare(self.target.collection, &keys, &expected).await?;
        reader.end().await?;
        for (place, key) in keys.into_iter().enumerate() {
            let (letter, difference) = (letters.get(&key), differences.remove(&place));
            let refused =
                difference.as_ref().and_then(|difference| difference.refused.as_ref()).map(ToString::to_string);
            let known = letter.is_some() || unmappable.contains(&key) || refused.is_some();
            let rows = match difference {
                _ if letter.is_some_and(|letter| !letter.open) => RowState::Parked,
                Some(difference) if difference.missing => RowState::Missing,
                _ if known => RowState::Refused,
                Some(difference) => RowState::Different(difference.columns),
                None => RowState::Equal,
            };
            let entry = entries.get(&key).copied();
            let judgement = judge_present(read_at, watermark, entry.as_ref(), rows);
            self.note(key, Drift { judgement, entry, letter: letter.map(|letter| letter.id), refused });
        }
        Ok(())
    }

    /// Judges the live ledger entries among `keys` whose documents the source does not hold.
    async fn absent(&mut self, keys: &[Key]) -> Result<(), Error> {
        let ids: Vec<RawDocumentBuf> = keys.iter().filter_map(Key::to_id).collect();
        let read = self.source.existing(&self.plan.collection, &ids, NOW).await?;
        let held: HashSet<Key> = read.value.iter().filter_map(|id| Key::from_id(id)).collect();
        let gone: Vec<Key> = keys.iter().filter(|key| !key.is_hashed() && !held.contains(*key)).cloned().collect();
        self.gone(&gone, read.read_at).await
    }

    async fn gone(&mut self, keys: &[Key], read_at: ClusterTime) -> Result<(), Error> {
        self.as_of = self.as_of.max(read_at);
        if keys.is_empty() {
            return Ok(());
        }
        self.wait_for(read_at).await?;
        let reader = self.begin().await?;
        let watermark = self.watermark(&reader).await?;
        let entries = reader.entries(self.target.collection, keys).await?;
        reader.end().await?;
        for key in keys {
            let entry = entries.get(key).copied();
            let judgement = entry.map_or(Judgement::Match, |entry| judge_absent(read_at, watermark, &entry));
            // A tombstone is no document of either side: it is not counted as one.
            if judgement != Judgement::Match {
                self.note(key.clone(), Drift { judgement, entry, letter: None, refused: None });
            }
        }
        Ok(())
    }

    /// Reads undecided documents again, at later times, until they are decided or the bound is reached.
    async fn recheck_undecided(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        while !self.undecided.is_empty() && started.elapsed() < self.bounds.wait {
            let mut again = std::mem::take(&mut self.undecided);
            again.sort_unstable();
            again.dedup();
            // No `_id` can be read from a hash, so its document cannot be asked for again.
            self.undecided = again.iter().filter(|key| key.is_hashed()).cloned().collect();
            let ids: Vec<RawDocumentBuf> = again.iter().filter_map(Key::to_id).collect();
            if ids.is_empty() {
                break;
            }
            let mut rest = ids.as_slice();
            while let Some((asked, read)) = self.some(&mut rest).await? {
                let held: HashSet<Key> = read.value.iter().filter_map(|document| key_of(document)).collect();
                self.present(&read.value, read.read_at).await?;
                let asked = asked.iter().filter_map(|id| Key::from_id(id));
                let gone: Vec<Key> = asked.filter(|key| !held.contains(key)).collect();
                self.gone(&gone, read.read_at).await?;
            }
        }
        Ok(())
    }

    /// Waits until everything at or before `time` is applied, or the bound is reached; what is judged then is undecided.
    async fn wait_for(&self, time: ClusterTime) -> Result<(), Error> {
        let started = Instant::now();
        let mut look = tokio::time::interval(POLL_INTERVAL);
        while started.elapsed() < self.bounds.wait {
            look.tick().await;
            if self.applied(time).await? {
                break;
            }
        }
        Ok(())
    }

    async fn applied(&self, time: ClusterTime) -> Result<bool, Error> {
        let reader = self.begin().await?;
        let watermark = self.watermark(&reader).await?;
        reader.end().await?;
        Ok(watermark.covers(time))
    }

    async fn begin(&self) -> Result<target::TargetReader<'a>, Error> {
        Ok(target::TargetReader::begin(self.target.session, self.target.prepared).await?)
    }

    /// The zero bound, which covers nothing, while a partition says nothing.
    async fn watermark(&self, reader: &target::TargetReader<'a>) -> Result<Frontier, Error> {
        Ok(reader.watermark(self.target.topic, self.target.partitions).await?.unwrap_or_default())
    }

    fn note(&mut self, key: Key, judged: Drift) {
        match judged.judgement {
            Judgement::Match => {
                self.matched += 1;
                self.drifting.remove(&key);
            }
            Judgement::Undecided => self.undecided.push(key),
            _ => {
                self.drifting.insert(key, judged);
            }
        }
    }

    /// Whether nothing was compared because there is nothing of that name, and never was: a mistyped name looks like that.
    async fn no_such_collection(&self) -> Result<bool, Error> {
        let compared = self.matched > 0 || !self.drifting.is_empty() || !self.undecided.is_empty();
        if compared || self.plan.may_be_empty || self.source.exists(&self.plan.collection).await? {
            return Ok(false);
        }
        let reader = self.begin().await?;
        let known = reader.knows_any(self.target.collection).await?;
        reader.end().await?;
        Ok(!known)
    }

    /// Rows that nothing in the source ever stood behind, by table.
    async fn extra_rows(&self) -> Result<Vec<(String, u64)>, Error> {
        let reader = self.begin().await?;
        let extra_rows = reader.extra_rows(self.target.collection).await?;
        reader.end().await?;
        Ok(extra_rows)
    }

    fn report(self, full: bool, extra_rows: Vec<(String, u64)>) -> Report {
        let mut proof = Proof {
            at: self.began.0,
            full,
            extra: extra_rows.iter().map(|(_, rows)| rows).sum(),
            undecided: self.undecided.len() as u64,
            ..Proof::default()
        };
        let all = extra_rows.len() + self.drifting.len();
        let table = |(table, _)| Finding {
            key: String::new(),
            kind: "extra",
            columns: vec![table],
            letter: None,
            refused: None,
        };
        let mut findings: Vec<Finding> = extra_rows.into_iter().map(table).take(self.bounds.findings).collect();
        let mut drifting = HashMap::new();
        for (key, Drift { judgement, entry, letter, refused: values_refused }) in self.drifting {
            let (kind, columns) = match judgement {
                Judgement::Missing => ("missing", Vec::new()),
                Judgement::Extra => ("extra", Vec::new()),
                Judgement::Different(columns) => ("different", columns),
                Judgement::Match | Judgement::Undecided => continue,
            };
            match kind {
                "missing" => proof.missing += 1,
                "extra" => proof.extra += 1,
                _ => proof.different += 1,
            }
            let refused = kind == "different" && columns.is_empty();
            if findings.len() < self.bounds.findings {
                let key = ejson::id_text(&key);
                findings.push(Finding { key, kind, columns, letter, refused: values_refused });
            }
            let entry = entry.map(|entry| (entry.version, entry.applied));
            drifting.insert(key, Drifting { entry, refused });
        }
        proof.documents = self.matched + proof.drift() + proof.undecided;
        metrics::counter!(names::RECONCILE_DOCUMENTS, "collection" => self.plan.collection.clone())
            .increment(proof.documents);
        Report {
            collection: self.plan.collection.clone(),
            proof,
            as_of: self.as_of,
            took: self.began.1.elapsed(),
            findings_left_out: (all - findings.len()) as u64,
            findings,
            drifting,
        }
    }
}

fn key_of(document: &RawDocument) -> Option<Key> {
    Key::from_id(&source::id_of(document)?)
}

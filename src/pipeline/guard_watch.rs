//! The reconciler's watch over the guard: whether it holds, and what the writes of others have touched.
//!
//! ```text
//!  foreign write ─ keys ─▶ documents, by owner or by id ─▶ the delta judges them again ─────────────▶ judged
//!        │            └──▶ rows that are there, and that neither the ledger nor the source has a document of ─▶ findings
//!        └ no keys ─▶ the proof of the table's collections is void ─▶ a new baseline is complete ──▶ judged
//! ```
//! A foreign write that is not judged keeps the verdict from being `in_sync`. Whatever is judged is read after the write was seen,
//! so after it was committed. A restart begins again with every write that is not judged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    time::{Instant, interval},
};

use super::integrity::tables_named;
use crate::{
    control::{
        findings::{self, Found, FoundBy},
        guard::{self, ForeignWrite, GuardState, Guarded},
        lead::Lead,
    },
    metrics as names,
    model::Frontier,
    postgres::{Error, Session, read_catalog},
    reconcile::{self, Both, DeltaHandle, documents_of_rows},
    retry,
    target::{DocumentId, NamedRow, Owner, TargetReader, keys_of_existing, owners},
};

/// Interval at which new foreign writes are looked for.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which the triggers are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Interval at which old foreign writes are removed.
const FORGET_INTERVAL: Duration = Duration::from_secs(600);
/// The acts of others on a table, as labels.
const OPERATIONS: [&str; 4] = ["insert", "update", "delete", "truncate"];
/// Foreign writes that are judged together; each has the keys of 100 rows at most.
const MAX_WRITES: usize = 1_000;

/// The task.
pub(super) struct GuardWatch {
    pub(super) both: Arc<Both>,
    pub(super) lead: Arc<Lead>,
    pub(super) delta: DeltaHandle,
}

/// The state that the task keeps between two looks.
#[derive(Default)]
struct Memory {
    states: Vec<GuardState>,
    looked: Option<Instant>,
    forgot: Option<Instant>,
    /// The last foreign write that was counted.
    counted: i64,
    /// Lost foreign writes, and the transactions that ran when they were seen: the writers are among them, or have ended.
    lost: Option<(i64, i64)>,
    round: Option<Round>,
}

/// Foreign writes whose documents are being judged.
struct Round {
    writes: Vec<i64>,
    judged: Vec<oneshot::Receiver<()>>,
}

impl GuardWatch {
    /// Watches until dropped.
    ///
    /// # Errors
    /// [`reconcile::Error::Target`] by its cause. While the source cannot be read, foreign writes wait.
    pub(super) async fn run(self) -> Result<(), reconcile::Error> {
        let session = self.both.session().await?;
        let guarded = Guarded::all(self.both.prepared.all(), &read_catalog(&session).await?);
        let mut memory = Memory::default();
        let mut poll = interval(POLL_INTERVAL);
        loop {
            poll.tick().await;
            if memory.looked.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL) {
                self.look(&guarded, &mut memory).await?;
                memory.looked = Some(Instant::now());
            }
            self.void_for_lost(&session, &guarded, &mut memory).await?;
            self.end_round(&mut memory).await?;
            if memory.round.is_none() {
                match self.begin_round(&session, &guarded, &mut memory).await {
                    Err(reconcile::Error::Source(error)) => {
                        tracing::warn!(reason = retry::chain(&error), "foreign writes wait to be judged");
                    }
                    begun => begun?,
                }
            }
            export(&session, &memory.states).await?;
            if memory.forgot.is_none_or(|at| at.elapsed() >= FORGET_INTERVAL) {
                guard::forget(&*self.lead.session().await).await?;
                memory.forgot = Some(Instant::now());
            }
        }
    }

    /// Looks at the triggers. A proof that is older than the guard says nothing of writes in between, so it is void.
    async fn look(&self, guarded: &[Guarded], memory: &mut Memory) -> Result<(), Error> {
        let states = guard::look(&*self.lead.session().await, guarded).await?;
        for state in &states {
            let before = memory.states.iter().find(|before| before.relation == state.relation);
            if let Some(broken) = state.broken.as_ref().filter(|_| before.is_none_or(GuardState::holds)) {
                let hint = "driftless guard install";
                tracing::warn!(table = state.relation, broken, hint, "the guard of a table does not hold");
            }
        }
        let (mut collections, mut since) = (Vec::new(), Vec::new());
        for state in states.iter().filter(|state| state.holds()) {
            for collection in self.collections(&guarded[state.place]) {
                collections.push(self.both.prepared.id(collection));
                since.push(state.since.map_or(0, jiff::Timestamp::as_microsecond));
            }
        }
        let older = guard::older_proofs(&*self.lead.session().await, &collections, &since).await?;
        for collection in older.into_iter().filter_map(|id| self.both.prepared.collection_of(id)) {
            self.delta.void(collection, "the guard of its tables has not held since the baseline began").await?;
        }
        memory.states = states;
        Ok(())
    }

    /// The collections that have rows in a table, by place.
    fn collections(&self, guarded: &Guarded) -> BTreeSet<usize> {
        tables_named(&self.both.prepared, &guarded.table).into_iter().map(|(collection, _)| collection).collect()
    }

    /// Voids every proof for foreign writes that could not be recorded: at once, and again when their transactions have certainly
    /// ended.
    async fn void_for_lost(&self, session: &Session, guarded: &[Guarded], memory: &mut Memory) -> Result<(), Error> {
        let (count, known) = guard::lost(session).await?;
        let (newest, oldest) = guard::transactions(session).await?;
        let is_news = memory.lost.map_or(count > known, |(seen, _)| count > seen);
        let ended = memory.lost.is_some_and(|(_, running)| oldest >= running);
        if !is_news && !ended {
            return Ok(());
        }
        let because = "foreign writes could not be recorded; the log of PostgreSQL says why";
        let all: BTreeSet<usize> = guarded.iter().flat_map(|guarded| self.collections(guarded)).collect();
        for collection in all {
            self.delta.void(collection, because).await?;
        }
        if is_news {
            tracing::warn!(count = count - known, "foreign writes could not be recorded");
            memory.lost = Some((count, newest));
        } else {
            guard::acknowledge_lost(&*self.lead.session().await, count).await?;
            memory.lost = None;
        }
        Ok(())
    }

    /// Records the writes of a round whose documents are all judged.
    async fn end_round(&self, memory: &mut Memory) -> Result<(), Error> {
        let Some(round) = &mut memory.round else { return Ok(()) };
        let mut failed = false;
        round.judged.retain_mut(|judged| match judged.try_recv() {
            Ok(()) => false,
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Closed) => {
                failed = true;
                false
            }
        });
        if failed {
            memory.round = None;
        } else if round.judged.is_empty() {
            guard::judged(&*self.lead.session().await, &round.writes).await?;
            memory.round = None;
        }
        Ok(())
    }

    /// Takes the oldest foreign writes that are not judged.
    async fn begin_round(
        &self,
        session: &Session,
        guarded: &[Guarded],
        memory: &mut Memory,
    ) -> Result<(), reconcile::Error> {
        let unjudged = guard::open_counts(session).await?;
        if unjudged.is_empty() {
            return Ok(());
        }
        for one in guarded.iter().filter(|one| unjudged.contains_key(&one.table.label())) {
            let collections = self.collections(one).into_iter().map(|collection| self.both.prepared.id(collection));
            let collections: Vec<i32> = collections.collect();
            guard::judge_voided(&*self.lead.session().await, &one.table.label(), &collections).await?;
        }
        let writes = guard::open(session, MAX_WRITES).await?;
        let mut tables: BTreeMap<&str, Vec<&ForeignWrite>> = BTreeMap::new();
        for write in &writes {
            tables.entry(&write.relation).or_default().push(write);
        }
        let mut round = Round { writes: Vec::new(), judged: Vec::new() };
        for (relation, writes) in tables {
            log(relation, &writes, memory.counted);
            match guarded.iter().find(|guarded| guarded.table.label() == relation) {
                Some(guarded) => self.judge(session, guarded, &writes, &mut round).await?,
                // The table is not mapped any more.
                None => round.writes.extend(writes.iter().map(|write| write.id)),
            }
        }
        memory.counted = writes.last().map_or(memory.counted, |last| last.id.max(memory.counted));
        memory.round = (!writes.is_empty()).then_some(round);
        Ok(())
    }

    /// Has everything judged again that writes to a table have touched.
    async fn judge(
        &self,
        session: &Session,
        guarded: &Guarded,
        writes: &[&ForeignWrite],
        round: &mut Round,
    ) -> Result<(), reconcile::Error> {
        let (named, mut whole): (Vec<_>, Vec<_>) =
            writes.iter().partition::<Vec<&ForeignWrite>, _>(|write| write.keys.is_some());
        let mut rows: Vec<NamedRow> = named.iter().filter_map(|write| write.keys.clone()).flatten().collect();
        rows.dedup();
        match self.documents(session, guarded, &rows).await? {
            Some(documents) => {
                for (collection, documents) in documents {
                    round.judged.push(self.delta.judge_again(collection, documents).await);
                }
                round.writes.extend(named.iter().map(|write| write.id));
            }
            None => whole.extend(named),
        }
        if let Some(first) = whole.first() {
            let because = match whole.len() {
                1 => first.summary(),
                number => format!("{}, and {} more", first.summary(), number - 1),
            };
            for collection in self.collections(guarded) {
                self.delta.void(collection, &because).await?;
            }
            let ids: Vec<i64> = whole.iter().map(|write| write.id).collect();
            guard::voided(&*self.lead.session().await, &ids).await?;
        }
        Ok(())
    }

    /// Finds the documents of rows, by place of their collection, and records rows that lead to none. `None` where the rows cannot
    /// be led back.
    async fn documents(
        &self,
        session: &Session,
        guarded: &Guarded,
        rows: &[NamedRow],
    ) -> Result<Option<BTreeMap<usize, Vec<DocumentId>>>, reconcile::Error> {
        let mut documents: BTreeMap<usize, Vec<DocumentId>> = BTreeMap::new();
        let Some(found) = self.owners(session, guarded, rows).await? else { return Ok(None) };
        let (mut without, mut add) = (Vec::new(), |owner: Owner| {
            if let Some(collection) = self.both.prepared.collection_of(owner.collection) {
                documents.entry(collection).or_default().push(owner.document);
            }
        });
        for (row, owner) in rows.iter().zip(found) {
            match owner {
                Some(owner) => add(owner),
                None => without.push(row.clone()),
            }
        }
        if !without.is_empty() {
            // A row that is there now has its document in the ledger by now, if nobody has removed that.
            let places = tables_named(&self.both.prepared, &guarded.table);
            let Some(&(collection, table)) = places.first() else { return Ok(None) };
            let keys = keys_of_existing(session, &self.both.plan(collection).tables[table], &without).await?;
            let there = without.into_iter().zip(keys).filter_map(|(row, key)| Some((row, key?)));
            let (rows, keys): (Vec<NamedRow>, Vec<Vec<String>>) = there.unzip();
            let Some(found) = self.owners(session, guarded, &rows).await? else { return Ok(None) };
            let mut extra = Vec::new();
            for (key, owner) in keys.into_iter().zip(found) {
                match owner {
                    Some(owner) => add(owner),
                    None => extra.push(key),
                }
            }
            let extra = self.without_document(session, (collection, table), extra, &mut documents).await?;
            self.record(session, (collection, table), extra).await?;
        }
        documents.values_mut().for_each(|documents| {
            documents.sort_by(|one, other| one.key.cmp(&other.key));
            documents.dedup_by(|one, other| one.key == other.key);
        });
        Ok(Some(documents))
    }

    /// Those of the rows, by the texts of their keys, that the source has no document of either; adds the documents of the others.
    async fn without_document(
        &self,
        session: &Session,
        place: (usize, usize),
        keys: Vec<Vec<String>>,
        documents: &mut BTreeMap<usize, Vec<DocumentId>>,
    ) -> Result<Vec<Vec<String>>, reconcile::Error> {
        let statements = &self.both.prepared.statements(place.0).tables[place.1];
        let row_keys: Vec<_> = keys.iter().map(|key| statements.row_key(key)).collect();
        let found = documents_of_rows(&self.both, session, place, &row_keys).await?;
        let mut without = Vec::new();
        for (key, found) in keys.into_iter().zip(found) {
            match found {
                Some((collection, document)) => documents.entry(collection).or_default().push(document),
                None => without.push(key),
            }
        }
        Ok(without)
    }

    async fn owners(
        &self,
        session: &Session,
        guarded: &Guarded,
        rows: &[NamedRow],
    ) -> Result<Option<Vec<Option<Owner>>>, Error> {
        let mut all = vec![None; rows.len()];
        if rows.is_empty() {
            return Ok(Some(all));
        }
        for place in tables_named(&self.both.prepared, &guarded.table) {
            let found = match owners(session, &self.both.prepared, place, rows).await {
                Ok(Some(found)) => found,
                // Keys of a mapping or of types that are no longer those of the table.
                Err(error) if error.refusal().is_some_and(crate::postgres::Refusal::is_of_a_value) => return Ok(None),
                Ok(None) => return Ok(None),
                Err(error) => return Err(error),
            };
            for (known, found) in all.iter_mut().zip(found) {
                *known = known.take().or(found);
            }
        }
        Ok(Some(all))
    }

    /// Records rows that no document stands behind, by the texts of their keys.
    async fn record(
        &self,
        session: &Session,
        (collection, table): (usize, usize),
        keys: Vec<Vec<String>>,
    ) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let reader = TargetReader::begin(session, &self.both.prepared).await?;
        let (topic, partitions) = self.both.topic(collection);
        let Frontier(as_of) = reader.watermark(&topic, partitions).await?.unwrap_or_default();
        reader.end().await?;
        let statements = &self.both.prepared.statements(collection).tables[table];
        let found = keys.iter().map(|key| Found::row(statements.name.clone(), statements.row_key(key), as_of));
        let (found, tables): (Vec<_>, _) = (found.collect(), self.both.tables(collection));
        let scope = self.both.findings(collection, &tables);
        let lead = self.lead.session().await;
        let recorded = findings::record(&lead, &scope, FoundBy::Delta, &found);
        lead.transaction("record findings", true, recorded).await.map(|_| ())
    }
}

/// Logs the foreign writes that are new, one line for each table, and counts them.
fn log(relation: &str, writes: &[&ForeignWrite], counted: i64) {
    let new: Vec<_> = writes.iter().filter(|write| write.id > counted).collect();
    for write in &new {
        let labels = [("table", relation.to_owned()), ("operation", write.operation.to_lowercase())];
        metrics::counter!(names::FOREIGN_WRITES, &labels).increment(1);
    }
    if let Some(first) = new.first() {
        tracing::warn!(
            table = relation,
            statements = new.len(),
            first = first.summary(),
            "somebody else wrote a mapped table"
        );
    }
}

async fn export(session: &Session, states: &[GuardState]) -> Result<(), Error> {
    let unjudged = guard::open_counts(session).await?;
    for state in states.iter().filter(|state| state.mode.is_some()) {
        let label = ("table", state.relation.clone());
        metrics::gauge!(names::GUARD_HOLDS, std::slice::from_ref(&label)).set(if state.holds() { 1.0 } else { 0.0 });
        for operation in OPERATIONS {
            // Born at 0, so that the first statement is seen as an increase.
            let labels = [("table", state.relation.clone()), ("operation", operation.to_owned())];
            metrics::counter!(names::FOREIGN_WRITES, &labels).increment(0);
        }
        let open = unjudged.get(&state.relation).copied().unwrap_or(0);
        metrics::gauge!(names::FOREIGN_WRITES_UNJUDGED, &[label]).set(open as f64);
    }
    Ok(())
}

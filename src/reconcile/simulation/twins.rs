//! The twins of both servers, as a pass reads them.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use bson::raw::{RawDocument, RawDocumentBuf};
use rand::seq::IndexedRandom;
use serde_json::json;

use super::world::{State, World, document};
use crate::{
    mapping::Rows,
    model::{ClusterTime, Frontier, Key},
    reconcile::{
        Error,
        sides::{Compared, Moment, SourceSide, TargetSide},
    },
    source::{Chunk, Limits, Read, ReadTime},
    target::{Difference, DocumentId, Entry, ExtraRow, LivePage, RowSearch, RowsPage, WaitingLetter},
};

pub(super) struct SourceTwin(pub(super) World);

impl SourceSide for SourceTwin {
    async fn exists(&self) -> Result<bool, Error> {
        Ok(true)
    }

    async fn estimate(&self) -> Result<u64, Error> {
        Ok(self.0.asked().await.documents.len() as u64)
    }

    async fn latest(&self) -> Result<ClusterTime, Error> {
        Ok(self.0.asked().await.now)
    }

    async fn chunk(&self, after: Option<&RawDocument>, limits: Limits, at: ReadTime) -> Result<Chunk, Error> {
        let after_key = after.and_then(Key::from_id);
        let state = self.0.asked().await;
        let (read_at, held) = state.documents_at(at)?;
        let from = after_key.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = held.range((from, Bound::Unbounded));
        let read: Vec<_> = rest.by_ref().take(limits.documents).collect();
        let last_id = read.last().map(|(key, _)| state.ids[*key].clone()).or(after.map(RawDocument::to_owned));
        let documents: Vec<_> = read.into_iter().map(|(key, value)| document(&state.ids[key], *value)).collect();
        let bytes = documents.iter().map(|document| document.as_bytes().len()).sum();
        Ok(Chunk { documents, bytes, read_at, last_id, end: rest.next().is_none() })
    }

    /// The world has one collection.
    async fn chunk_of(
        &self,
        _: &str,
        after: Option<&RawDocument>,
        limits: Limits,
        at: ReadTime,
    ) -> Result<Chunk, Error> {
        self.chunk(after, limits, at).await
    }

    async fn sample(&self, size: usize) -> Result<Vec<RawDocumentBuf>, Error> {
        let mut state = self.0.asked().await;
        let State { documents, rng, ids, .. } = &mut *state;
        let keys: Vec<&Key> = documents.keys().collect();
        Ok(keys.choose_multiple(rng, size).map(|key| ids[*key].clone()).collect())
    }

    async fn by_ids(&self, ids: &[RawDocumentBuf], at: ReadTime) -> Result<Read<Vec<RawDocumentBuf>>, Error> {
        let mut state = self.0.asked().await;
        state.asked_again += ids.len();
        let (read_at, held) = state.documents_at(at)?;
        let found = ids.iter().filter_map(|id| Some(document(id, *held.get(&Key::from_id(id)?)?)));
        Ok(Read { value: found.collect(), read_at })
    }

    async fn existing(&self, ids: &[RawDocumentBuf], at: ReadTime) -> Result<Read<Vec<RawDocumentBuf>>, Error> {
        let (read_at, held) = self.0.asked().await.documents_at(at)?;
        let found = ids.iter().filter(|id| Key::from_id(id).is_some_and(|key| held.contains_key(&key)));
        Ok(Read { value: found.cloned().collect(), read_at })
    }
}

/// Entries of a page of the ledger.
const PAGE_ENTRIES: usize = 7;

pub(super) struct TargetTwin(pub(super) World);

/// The target as it was when the snapshot was taken.
pub(super) struct MomentTwin {
    world: World,
    watermark: Frontier,
    ledger: BTreeMap<Key, Entry>,
    letters: BTreeMap<Key, WaitingLetter>,
    rows: BTreeMap<Key, Rows>,
}

impl Moment for MomentTwin {
    async fn records(&self, keys: &[Key]) -> Result<Compared, Error> {
        drop(self.world.asked().await);
        let entries = keys.iter().filter_map(|key| Some((key.clone(), *self.ledger.get(key)?)));
        let letters = keys.iter().filter_map(|key| Some((key.clone(), *self.letters.get(key)?)));
        Ok(Compared {
            watermark: self.watermark,
            epoch: 1,
            entries: entries.collect(),
            letters: letters.collect(),
            differences: HashMap::new(),
        })
    }

    async fn differences(&self, keys: &[Key], expected: &[Rows]) -> Result<HashMap<usize, Difference>, Error> {
        drop(self.world.asked().await);
        Ok(differences(&self.rows, keys, expected))
    }

    async fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

fn differences(rows: &BTreeMap<Key, Rows>, keys: &[Key], expected: &[Rows]) -> HashMap<usize, Difference> {
    let mut differences = HashMap::new();
    for (place, (key, expected)) in keys.iter().zip(expected).enumerate() {
        // None are expected of a document that the mapping refuses, or that the source does not have.
        let none = expected.tables.iter().all(Vec::is_empty);
        let difference = match rows.get(key) {
            None if none => continue,
            None => Difference { missing: true, ..Difference::default() },
            Some(rows) if rows.tables == expected.tables => continue,
            Some(_) => Difference { columns: vec!["public.users.n".to_owned()], ..Difference::default() },
        };
        differences.insert(place, difference);
    }
    differences
}

impl TargetSide for TargetTwin {
    type Moment = MomentTwin;

    async fn moment(&self) -> Result<MomentTwin, Error> {
        let state = self.0.asked().await;
        Ok(MomentTwin {
            world: self.0.clone(),
            watermark: state.watermark,
            ledger: state.ledger.clone(),
            letters: state.letters.clone(),
            rows: state.rows.clone(),
        })
    }

    async fn watermark(&self) -> Result<Frontier, Error> {
        Ok(self.0.asked().await.watermark)
    }

    async fn compare(&self, keys: &[Key], expected: &[Rows]) -> Result<Compared, Error> {
        let moment = self.moment().await?;
        let differences = differences(&moment.rows, keys, expected);
        Ok(Compared { differences, ..moment.records(keys).await? })
    }

    async fn live(&self, after: Option<&Key>) -> Result<LivePage, Error> {
        let state = self.0.asked().await;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page: Vec<_> = state.ledger.range((from, Bound::Unbounded)).take(PAGE_ENTRIES).collect();
        let (until, entries) = (page.last().map(|(key, _)| (*key).clone()), page.len() as u64);
        let live = page.into_iter().filter(|(_, entry)| !entry.deleted);
        Ok(LivePage { documents: live.map(|(key, _)| state.document_id(key)).collect(), entries, until })
    }

    async fn sample(&self, size: usize) -> Result<Vec<DocumentId>, Error> {
        let mut state = self.0.asked().await;
        let keys: Vec<Key> = state.live_keys().cloned().collect();
        let chosen: Vec<&Key> = keys.choose_multiple(&mut state.rng, size).collect();
        Ok(chosen.into_iter().map(|key| state.document_id(key)).collect())
    }

    async fn knows_any(&self) -> Result<bool, Error> {
        Ok(!self.0.asked().await.ledger.is_empty())
    }

    /// A page for each foreign row; for the documents one, and another if rows are left that nothing explains.
    async fn search_rows(&self, search: &mut RowSearch) -> Result<RowsPage, Error> {
        let state = self.0.asked().await;
        let row =
            |number: u64| ExtraRow { table: "public.users".to_owned(), row_key: json!({ "id": number.to_string() }) };
        let place = search.after().map_or(0, |after| after[0].parse().expect("a number"));
        if place < state.foreign_rows {
            search.go_on(Some(vec![(place + 1).to_string()]));
            return Ok(RowsPage { rows: 1, extra: vec![row(place)], ..RowsPage::default() });
        }
        if search.names() {
            let left = state.without_entry().filter(|key| search.is_left(state.hash(key)));
            let extra = left.map(|_| row(u64::MAX)).collect();
            search.go_on(None);
            return Ok(RowsPage { extra, ..RowsPage::default() });
        }
        let deleted = |key: &&Key| state.ledger.get(key).is_some_and(|entry| entry.deleted);
        let gone = state.rows.keys().filter(deleted).map(|key| state.document_id(key)).collect();
        let known = |key: &&Key| search.missing().iter().any(|missing| missing.key == **key);
        let hashes = state.without_entry().filter(|key| !known(key)).map(|key| state.hash(key)).collect();
        search.collect(hashes, None, false);
        Ok(RowsPage { rows: state.rows.len() as u64, gone, ..RowsPage::default() })
    }

    fn awaits<'s>(&'s self, search: &'s RowSearch) -> Option<(&'s str, Option<&'s RawDocument>)> {
        let (_, after) = search.awaits()?;
        Some(("users", after))
    }

    async fn hold_against(
        &self,
        search: &mut RowSearch,
        documents: &[(DocumentId, RawDocumentBuf)],
        until: Option<RawDocumentBuf>,
    ) -> Result<RowsPage, Error> {
        let state = self.0.asked().await;
        let hashes = documents.iter().enumerate().map(|(place, (document, _))| (place, state.hash(&document.key)));
        let struck = search.strike(hashes).into_iter().map(|place| documents[place].0.clone());
        let mut page = RowsPage { unrecorded: struck.collect(), ..RowsPage::default() };
        page.undecided = search.behind_documents(until, 1);
        Ok(page)
    }

    async fn without_entry(&self) -> Result<Vec<DocumentId>, Error> {
        let state = self.0.asked().await;
        let keys = state.documents.keys().filter(|key| !state.ledger.contains_key(*key));
        Ok(keys.map(|key| state.document_id(key)).collect())
    }
}

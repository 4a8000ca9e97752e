//! The two sides of a comparison, as a pass reads them: one collection of the source and its rows in the target.
//!
//! They are traits, because the order in which both sides change while a pass runs decides whether its result is valid. Real
//! servers do not let a test choose that order; the twins of [`simulation`](super::simulation) do.

use std::{collections::HashMap, future::Future};

use bson::raw::{RawDocument, RawDocumentBuf};

use super::Error;
use crate::{
    mapping::Rows,
    model::{ClusterTime, Frontier, Key},
    source::{Chunk, Limits, Read, ReadTime},
    target::{Difference, DocumentId, Entry, LivePage, RowSearch, RowsPage, WaitingLetter},
};

/// One collection of the source. Every read is as of one cluster time, which a majority has reached: the stated one, or now.
/// Reads at a stated time fail with [`source::Error::SnapshotTooOld`](crate::source::Error::SnapshotTooOld) when the server has no
/// history of it any more.
pub(crate) trait SourceSide: Sync {
    /// Returns whether the collection exists.
    fn exists(&self) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Estimates the number of documents.
    fn estimate(&self) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Reads the newest cluster time: no change that has happened is later.
    fn latest(&self) -> impl Future<Output = Result<ClusterTime, Error>> + Send;

    /// Reads the documents that follow `after` in the order of `_id`.
    fn chunk(
        &self,
        after: Option<&RawDocument>,
        limits: Limits,
        at: ReadTime,
    ) -> impl Future<Output = Result<Chunk, Error>> + Send;

    /// Reads the documents of any collection that follow `after` in the order of `_id`.
    fn chunk_of(
        &self,
        collection: &str,
        after: Option<&RawDocument>,
        limits: Limits,
        at: ReadTime,
    ) -> impl Future<Output = Result<Chunk, Error>> + Send;

    /// Chooses random documents; returns up to `size` different `{_id: …}`.
    fn sample(&self, size: usize) -> impl Future<Output = Result<Vec<RawDocumentBuf>, Error>> + Send;

    /// Reads the documents with these ids, as far as they exist.
    fn by_ids(
        &self,
        ids: &[RawDocumentBuf],
        at: ReadTime,
    ) -> impl Future<Output = Result<Read<Vec<RawDocumentBuf>>, Error>> + Send;

    /// Returns the `{_id: …}` whose documents exist.
    fn existing(
        &self,
        ids: &[RawDocumentBuf],
        at: ReadTime,
    ) -> impl Future<Output = Result<Read<Vec<RawDocumentBuf>>, Error>> + Send;
}

/// The rows of one collection. Every call reads one snapshot of the target.
pub(crate) trait TargetSide: Sync {
    /// One snapshot, in which several things are read.
    type Moment: Moment;

    /// Takes a snapshot. It holds the target's vacuum back, so it is short.
    fn moment(&self) -> impl Future<Output = Result<Self::Moment, Error>> + Send;

    /// Returns the watermark: every change before it is applied. While it is unknown, it is zero, which covers nothing.
    fn watermark(&self) -> impl Future<Output = Result<Frontier, Error>> + Send;

    /// Compares the expected rows of documents with the actual ones; `expected` is parallel to `keys`.
    fn compare(&self, keys: &[Key], expected: &[Rows]) -> impl Future<Output = Result<Compared, Error>> + Send;

    /// Reads the next page of the ledger, in the order of the keys.
    fn live(&self, after: Option<&Key>) -> impl Future<Output = Result<LivePage, Error>> + Send;

    /// Chooses up to `size` random live documents of the ledger.
    fn sample(&self, size: usize) -> impl Future<Output = Result<Vec<DocumentId>, Error>> + Send;

    /// Returns whether any document of the collection was ever applied.
    fn knows_any(&self) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Looks at the next page of a search for rows that belong to no document.
    fn search_rows(&self, search: &mut RowSearch) -> impl Future<Output = Result<RowsPage, Error>> + Send;

    /// If a search awaits documents of the source: their collection, and the `{_id: …}` behind which they begin.
    fn awaits<'s>(&'s self, search: &'s RowSearch) -> Option<(&'s str, Option<&'s RawDocument>)>;

    /// Holds documents that a search awaits against its rows. `until` is the `{_id: …}` behind which more follow.
    fn hold_against(
        &self,
        search: &mut RowSearch,
        documents: &[(DocumentId, RawDocumentBuf)],
        until: Option<RawDocumentBuf>,
    ) -> impl Future<Output = Result<RowsPage, Error>> + Send;

    /// Returns the documents that may have rows although the ledger has no entry of them, as far as they were met and are recorded.
    fn without_entry(&self) -> impl Future<Output = Result<Vec<DocumentId>, Error>> + Send;
}

/// One snapshot of the target. After an error, or when it is dropped, its session is spent.
pub(crate) trait Moment: Send + Sync {
    /// Reads the watermark, and the entries and letters of documents; compares no rows.
    fn records(&self, keys: &[Key]) -> impl Future<Output = Result<Compared, Error>> + Send;

    /// Compares the expected rows of documents with the actual ones, as [`TargetSide::compare`] does.
    fn differences(
        &self,
        keys: &[Key],
        expected: &[Rows],
    ) -> impl Future<Output = Result<HashMap<usize, Difference>, Error>> + Send;

    /// Gives the snapshot back.
    fn end(self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The state of some documents in one snapshot of the target.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Every change before this is applied.
    pub(crate) watermark: Frontier,
    /// The epoch of the source.
    pub(crate) epoch: u32,
    /// The ledger's entries; keys without an entry are left out.
    pub(crate) entries: HashMap<Key, Entry>,
    /// The dead letters that wait for one of the documents.
    pub(crate) letters: HashMap<Key, WaitingLetter>,
    /// The differences of the documents whose rows differ, by index in `keys`.
    pub(crate) differences: HashMap<usize, Difference>,
}

impl Compared {
    /// Returns whether an entry is of a later epoch than anything that the source has done.
    pub(crate) fn is_of_later_epoch(&self, entry: Option<&Entry>) -> bool {
        entry.is_some_and(|entry| entry.version.epoch > self.epoch)
    }
}

//! The two sides of a comparison, as a pass reads them: one collection of the source and its rows in the target.
//!
//! They are traits because the order in which both sides change while a pass runs decides whether it may claim anything. The
//! servers do not let a test choose that order; the twins of [`simulation`](super::simulation) do.

use std::{collections::HashMap, future::Future};

use bson::raw::{RawDocument, RawDocumentBuf};

use super::Error;
use crate::{
    mapping::Rows,
    model::{Frontier, Key},
    source::{Chunk, Limits, Read},
    target::{Difference, DocumentId, Entry, WaitingLetter},
};

/// One collection of the source. Every read is made as of one cluster time, which a majority has.
pub(crate) trait SourceSide: Sync {
    /// Whether there is a collection of that name.
    fn exists(&self) -> impl Future<Output = Result<bool, Error>> + Send;

    /// About how many documents there are.
    fn estimate(&self) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Reads the documents that follow `after` in the order of `_id`.
    fn chunk(&self, after: Option<&RawDocument>, limits: Limits) -> impl Future<Output = Result<Chunk, Error>> + Send;

    /// Chooses random documents: up to `size` different `{_id: …}`.
    fn sample(&self, size: usize) -> impl Future<Output = Result<Vec<RawDocumentBuf>, Error>> + Send;

    /// Reads those of the documents that exist.
    fn by_ids(&self, ids: &[RawDocumentBuf]) -> impl Future<Output = Result<Read<Vec<RawDocumentBuf>>, Error>> + Send;

    /// Reads the `{_id: …}` of those of the documents that exist.
    fn existing(&self, ids: &[RawDocumentBuf])
    -> impl Future<Output = Result<Read<Vec<RawDocumentBuf>>, Error>> + Send;
}

/// The rows of one collection. Every call reads one snapshot of the target.
pub(crate) trait TargetSide: Sync {
    /// Every change before this is applied; the zero bound, which covers nothing, while that is not known.
    fn watermark(&self) -> impl Future<Output = Result<Frontier, Error>> + Send;

    /// Holds the expected rows of some documents against those that are there; `expected` is parallel to `keys`.
    fn compare(&self, keys: &[Key], expected: &[Rows]) -> impl Future<Output = Result<Compared, Error>> + Send;

    /// Reads the watermark and the ledger's entries of these keys.
    fn entries(&self, keys: &[Key]) -> impl Future<Output = Result<(Frontier, HashMap<Key, Entry>), Error>> + Send;

    /// The next live documents by the ledger, in the order of their keys.
    fn live(&self, after: Option<&Key>, limit: usize) -> impl Future<Output = Result<Vec<DocumentId>, Error>> + Send;

    /// Chooses up to `size` random live documents of the ledger.
    fn sample(&self, size: usize) -> impl Future<Output = Result<Vec<DocumentId>, Error>> + Send;

    /// Whether any document of the collection was ever applied.
    fn knows_any(&self) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Counts the rows that belong to no document the ledger knows: by table, only those that have any.
    fn extra_rows(&self) -> impl Future<Output = Result<Vec<(String, u64)>, Error>> + Send;
}

/// What one snapshot of the target shows of some documents.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Every change before this is applied.
    pub(crate) watermark: Frontier,
    /// The ledger's entries; a key that it does not know is left out.
    pub(crate) entries: HashMap<Key, Entry>,
    /// The dead letters that wait for one of the documents.
    pub(crate) letters: HashMap<Key, WaitingLetter>,
    /// The documents whose rows differ, by place.
    pub(crate) differences: HashMap<usize, Difference>,
}

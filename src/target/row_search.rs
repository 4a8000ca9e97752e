//! The state of a search for rows that belong to no document; see [`super::extra_rows`]. Pure.

use std::hash::{BuildHasher, Hasher, RandomState};

use bson::raw::{RawDocument, RawDocumentBuf};
use serde::{Deserialize, Serialize};

use super::DocumentId;
use crate::{mapping::CollectionPlan, model::Key};

/// Hashes of a segment: 18 MB with the answers. Ledger and source are read once for every segment.
const SEGMENT: usize = 2_000_000;

/// A row that belongs to no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraRow {
    /// `schema.table`.
    pub table: String,
    /// Its key: {column: text}.
    pub row_key: serde_json::Value,
}

/// The findings of one page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowsPage {
    /// Rows that were looked at.
    pub rows: u64,
    /// Rows, ledger entries and documents that were read besides, to find out whose the rows are.
    pub besides: u64,
    /// Those that belong to no document.
    pub extra: Vec<ExtraRow>,
    /// Documents that have rows, although the ledger knows them as deleted ones.
    pub gone: Vec<DocumentId>,
    /// Documents that have rows, although the ledger does not know them, and that were not known to be such.
    pub unrecorded: Vec<DocumentId>,
    /// Rows that may belong to documents whose `_id` the ledger does not have.
    pub undecided: u64,
}

/// A search over all tables of one collection.
#[derive(Debug)]
pub struct RowSearch {
    tables: Vec<String>,
    /// Documents of the source that are known to have no ledger entry, by key; their rows may be there all the same.
    missing: Vec<DocumentId>,
    pub(super) seed: i64,
    pub(super) place: Place,
    pub(super) segment: Segment,
}

/// Every row before this was looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Index of the table.
    pub(super) table: usize,
    /// The name of the table, because another mapping may have others.
    name: Option<String>,
    /// The key of the last row, as texts; `None` at the beginning of the table.
    pub(super) after: Option<Vec<String>>,
}

/// The rows behind a place that are explained together.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub(super) stage: Stage,
    /// The key of its last row. At the end of the table: `None`, for later rows do no harm.
    pub(super) until: Option<Vec<String>>,
    /// Sorted when all of it was read.
    hashes: Vec<i64>,
    /// Parallel to them.
    said: Vec<Said>,
    /// Whether the ledger has live documents whose `_id` it does not have.
    pub(super) unknown: bool,
}

/// The next step with a segment, and the place behind which it goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Stage {
    #[default]
    Rows,
    /// Behind a key of the ledger.
    Ledger(Vec<u8>),
    /// Behind an `{_id: …}` of the source, in one of the collections that write the table.
    Documents {
        writer: usize,
        after: Option<RawDocumentBuf>,
    },
    Names(Option<Vec<String>>),
}

/// The answer to the question whose a row is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Said {
    Nothing,
    /// The ledger knows its document as deleted.
    Deleted,
    /// It is the row of a document.
    Owned,
}

impl RowSearch {
    /// Begins a search, or goes on at a [position](Self::position). `missing` are documents of the source that are known to have no
    /// ledger entry: they are not reported again.
    pub fn new(plan: &CollectionPlan, position: Option<&[u8]>, mut missing: Vec<DocumentId>) -> Self {
        missing.sort_by(|one, other| one.key.cmp(&other.key));
        let tables: Vec<String> = plan.tables.iter().map(|table| table.table.label()).collect();
        let place: Option<Place> = position.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let place = place.filter(|place| place.name.is_some() && tables.get(place.table) == place.name.as_ref());
        let seed = i64::from_ne_bytes(RandomState::new().build_hasher().finish().to_ne_bytes());
        Self { tables, missing, seed, place: place.unwrap_or_default(), segment: Segment::default() }
    }

    /// Where another search can go on; `None` at the end. It stays the same while a segment is explained.
    pub fn position(&self) -> Option<Vec<u8>> {
        let place = Place { name: Some(self.tables.get(self.place.table)?.clone()), ..self.place.clone() };
        serde_json::to_vec(&place).ok()
    }

    /// The documents that are known to have no ledger entry.
    pub(crate) fn missing(&self) -> &[DocumentId] {
        &self.missing
    }

    pub(super) fn is_missing(&self, key: &Key) -> bool {
        self.missing.binary_search_by(|missing| missing.key.cmp(key)).is_ok()
    }

    /// The key of the last row of the table that was looked at.
    #[cfg(test)]
    pub(crate) fn after(&self) -> Option<&[String]> {
        self.place.after.as_deref()
    }

    /// The place of the table that is searched, in the plan.
    pub(crate) fn table(&self) -> usize {
        self.place.table
    }

    /// Whether the next page names the rows that are left of a segment.
    #[cfg(test)]
    pub(crate) fn names(&self) -> bool {
        matches!(self.segment.stage, Stage::Names(_))
    }

    /// Whether the search has looked at everything.
    pub fn has_ended(&self) -> bool {
        self.place.table >= self.tables.len()
    }

    /// If the next page is one of documents of the source: the number of the collection among those that write the table, and the
    /// `{_id: …}` behind which the documents begin.
    pub fn awaits(&self) -> Option<(usize, Option<&RawDocument>)> {
        match &self.segment.stage {
            Stage::Documents { writer, after } => Some((*writer, after.as_deref())),
            _ => None,
        }
    }

    /// Goes on behind a row of the table, or with the next table.
    pub(crate) fn go_on(&mut self, after: Option<Vec<String>>) {
        match after {
            Some(after) => self.place.after = Some(after),
            None => self.place = Place { table: self.place.table + 1, ..Place::default() },
        }
        self.segment = Segment::default();
    }

    /// Goes on behind the segment.
    pub(super) fn leave_segment(&mut self) {
        let until = self.segment.until.take();
        self.go_on(until);
    }

    /// Takes hashes of rows into the segment, the last of which is `until`. A complete segment goes on to the next stage.
    pub(crate) fn collect(&mut self, mut hashes: Vec<i64>, until: Option<Vec<String>>, in_ledger: bool) {
        let segment = &mut self.segment;
        segment.hashes.append(&mut hashes);
        segment.until = until;
        if segment.hashes.is_empty() {
            return self.leave_segment();
        }
        if segment.until.is_none() || segment.hashes.len() >= SEGMENT {
            segment.hashes.sort_unstable();
            segment.hashes.dedup();
            segment.said = vec![Said::Nothing; segment.hashes.len()];
            segment.stage = if in_ledger { Stage::Ledger(Vec::new()) } else { Stage::BEGIN_OF_DOCUMENTS };
        }
    }

    /// Strikes out the rows of documents, each with the hash of its row; returns the places of those documents whose row was left.
    pub(crate) fn strike(&mut self, hashes: impl IntoIterator<Item = (usize, i64)>) -> Vec<usize> {
        let segment = &mut self.segment;
        let mut struck = Vec::new();
        for (place, hash) in hashes {
            if let Some(at) = segment.place_of(hash).filter(|&at| segment.said[at] == Said::Nothing) {
                segment.said[at] = Said::Owned;
                struck.push(place);
            }
        }
        struck
    }

    /// Goes on behind a page of documents, or with the next of so many collections; returns the number of rows that cannot be decided.
    pub(crate) fn behind_documents(&mut self, until: Option<RawDocumentBuf>, writers: usize) -> u64 {
        let Some((writer, _)) = self.awaits() else { return 0 };
        let left = self.segment.left();
        self.segment.stage = match until {
            _ if left == 0 => {
                self.leave_segment();
                return 0;
            }
            Some(until) => Stage::Documents { writer, after: Some(until) },
            None if writer + 1 < writers => Stage::Documents { writer: writer + 1, after: None },
            None if self.segment.unknown => {
                self.leave_segment();
                return left;
            }
            None => Stage::Names(self.place.after.clone()),
        };
        0
    }

    /// Whether a row with this hash is nobody's.
    pub(crate) fn is_left(&self, hash: i64) -> bool {
        self.segment.place_of(hash).is_some_and(|at| self.segment.said[at] == Said::Nothing)
    }
}

impl Stage {
    pub(super) const BEGIN_OF_DOCUMENTS: Self = Self::Documents { writer: 0, after: None };
}

impl Segment {
    fn place_of(&self, hash: i64) -> Option<usize> {
        self.hashes.binary_search(&hash).ok()
    }

    /// Takes the ledger's word on a row.
    pub(super) fn hear(&mut self, hash: i64, says: Said) -> bool {
        let Some(at) = self.place_of(hash) else { return false };
        if says == Said::Owned || self.said[at] == Said::Nothing {
            self.said[at] = says;
        }
        true
    }

    /// Rows of which nothing is said.
    pub(super) fn left(&self) -> u64 {
        self.said.iter().filter(|said| **said == Said::Nothing).count() as u64
    }
}

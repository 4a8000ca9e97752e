//! Rows that belong to no document, named by their keys: a search over whole tables, page by page.
//!
//! ```text
//!  remembered  page of rows ─▶ who owns it, and is that document live?
//!  by id       pages of rows ─▶ a segment of hashes ─▶ strike those of the ledger's documents ─▶ name what is left
//! ```
//! The key of a row often follows from `_id` in a way that leads back to no `_id`, so the ledger is held against the rows: a segment
//! of rows is read first, and then every entry of the ledger. This is exact while writes go on, although each page shows another
//! instant: a row commits together with its ledger entry, and entries are never removed, so the entry of every row of the segment
//! is met. Rows that come later are the business of the next search.
//!
//! - A row of a live entry is compared with its document elsewhere, and so is a child row whose document has lost its root row.
//! - A row of a deleted entry means that the document is [`gone`](RowsPage::gone), and that its rows should be, too.
//! - A row without an entry is [`extra`](RowsPage::extra), unless a document that is known to be missing explains it.
//!
//! Memory: at most [`SEGMENT`] hashes of nine bytes, and one page.

use std::hash::{BuildHasher, Hasher, RandomState};

use serde::{Deserialize, Serialize};

use super::{DocumentId, TargetReader};
use crate::{
    mapping::CollectionPlan,
    postgres::{
        Error,
        params::Column,
        session::{Param, field},
    },
    sink::page_statements::PageStatements,
};

/// Rows of a page; a statement costs more than some thousand rows.
const PAGE_ROWS: i64 = 10_000;
/// Ledger entries of a page, whose keys have up to 1 KiB each.
const PAGE_ENTRIES: i64 = 5_000;
/// Bytes of `_id`s whose keys are hashes, after which a page ends.
const PAGE_BYTES: i64 = 1 << 20;
/// Hashes of a segment: 18 MB with what the ledger says of each. The ledger is read once for every segment.
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
    /// Rows and ledger entries that were read besides, to find out whose the rows are.
    pub besides: u64,
    /// Those that belong to no document.
    pub extra: Vec<ExtraRow>,
    /// Documents that have rows, although the ledger does not know them, or as deleted ones.
    pub gone: Vec<DocumentId>,
    /// Rows that may belong to documents whose `_id` the ledger does not have.
    pub undecided: u64,
}

/// A search over all tables of one collection.
#[derive(Debug)]
pub struct RowSearch {
    tables: Vec<String>,
    /// Documents of the source without a ledger entry, whose rows may be there all the same.
    missing: Vec<DocumentId>,
    seed: i64,
    place: Place,
    segment: Segment,
}

/// Every row before this was looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Place {
    /// Index of the table.
    table: usize,
    /// The name of the table, because another mapping may have others.
    name: Option<String>,
    /// The key of the last row, as texts; `None` at the beginning of the table.
    after: Option<Vec<String>>,
}

/// The rows behind a place that are held against the ledger together.
#[derive(Debug, Default)]
struct Segment {
    stage: Stage,
    /// The key of its last row. At the end of the table: `None`, for later rows do no harm.
    until: Option<Vec<String>>,
    /// Sorted when all of it was read.
    hashes: Vec<i64>,
    /// Parallel to them.
    said: Vec<Said>,
    /// Whether the ledger has live documents whose `_id` it does not have.
    unknown: bool,
}

/// The next step with a segment, and the key behind which it goes on.
#[derive(Clone, Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Rows,
    Ledger(Vec<u8>),
    Names(Option<Vec<String>>),
}

/// The ledger's word on a row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Nothing,
    Deleted,
    Live,
}

impl RowSearch {
    /// Begins a search, or goes on at a [position](Self::position). `missing` are documents of the source that are known to have no
    /// ledger entry: their rows are no extra rows.
    pub fn new(plan: &CollectionPlan, position: Option<&[u8]>, missing: Vec<DocumentId>) -> Self {
        let tables: Vec<String> = plan.tables.iter().map(|table| table.table.label()).collect();
        let place: Option<Place> = position.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let place = place.filter(|place| place.name.is_some() && tables.get(place.table) == place.name.as_ref());
        let seed = i64::from_ne_bytes(RandomState::new().build_hasher().finish().to_ne_bytes());
        Self { tables, missing, seed, place: place.unwrap_or_default(), segment: Segment::default() }
    }

    /// Where another search can go on; `None` at the end. It stays the same while a segment is held against the ledger.
    pub fn position(&self) -> Option<Vec<u8>> {
        let place = Place { name: Some(self.tables.get(self.place.table)?.clone()), ..self.place.clone() };
        serde_json::to_vec(&place).ok()
    }

    /// The documents whose rows are no extra rows.
    #[cfg(test)]
    pub(crate) fn missing(&self) -> &[DocumentId] {
        &self.missing
    }

    /// The key of the last row of the table that was looked at.
    #[cfg(test)]
    pub(crate) fn after(&self) -> Option<&[String]> {
        self.place.after.as_deref()
    }

    /// Whether the search has looked at everything.
    pub fn has_ended(&self) -> bool {
        self.place.table >= self.tables.len()
    }

    /// Goes on behind a row of the table, or with the next table.
    pub(crate) fn go_on(&mut self, after: Option<Vec<String>>) {
        match after {
            Some(after) => self.place.after = Some(after),
            None => self.place = Place { table: self.place.table + 1, ..Place::default() },
        }
        self.segment = Segment::default();
    }
}

impl Segment {
    fn place_of(&self, hash: i64) -> Option<usize> {
        self.hashes.binary_search(&hash).ok()
    }

    /// Rows of which the ledger says nothing.
    fn left(&self) -> u64 {
        self.said.iter().filter(|said| **said == Said::Nothing).count() as u64
    }
}

impl TargetReader<'_> {
    /// Looks at the next page of a search, which [may have ended](RowSearch::has_ended).
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause; the same page can be looked at again.
    pub async fn search_rows(&self, collection: usize, search: &mut RowSearch) -> Result<RowsPage, Error> {
        let Some(statements) = self.prepared.statements(collection).tables.get(search.place.table) else {
            return Ok(RowsPage::default());
        };
        match (&statements.pages, search.segment.stage.clone()) {
            (PageStatements::Remembered(page), _) => self.remembered(collection, search, page).await,
            (PageStatements::ById { page, .. }, Stage::Rows) => self.collect(collection, search, page).await,
            (PageStatements::ById { hashes, .. }, Stage::Ledger(after)) => {
                self.hold_against_ledger(collection, search, hashes, &after).await
            }
            (PageStatements::ById { page, .. }, Stage::Names(after)) => {
                self.name(collection, search, page, after.as_ref()).await
            }
        }
    }

    /// A page of a table whose rows have owners.
    async fn remembered(&self, collection: usize, search: &mut RowSearch, sql: &str) -> Result<RowsPage, Error> {
        let table = search.place.table;
        let statements = &self.prepared.statements(collection).tables[table];
        let act = format!("look at rows of {}", statements.name);
        let (relation, id) = (self.prepared.relation_of(collection, table), self.prepared.id(collection));
        // Each collection that writes the table looks for its own documents; the rows of nobody are told once.
        let tells = self.prepared.speaks_for(collection, table);
        let (mut page, mut last, mut count) = (RowsPage::default(), None, 0);
        for row in self.session.query(&act, sql, &[&search.place.after, &PAGE_ROWS, &relation, &id]).await? {
            count = field(&row, 0, &act)?;
            let texts: Vec<String> = field(&row, 2, &act)?;
            if tells && !field::<bool>(&row, 1, &act)? {
                page.extra.push(ExtraRow { table: statements.name.clone(), row_key: statements.row_key(&texts) });
            }
            if let Some(key) = field::<Option<Vec<u8>>>(&row, 3, &act)? {
                page.gone.push(DocumentId::new(key, field(&row, 4, &act)?));
            }
            last = Some(texts);
        }
        page.rows = u64::try_from(count).unwrap_or(0);
        page.gone.sort_by(|a, b| a.key.cmp(&b.key));
        page.gone.dedup_by(|a, b| a.key == b.key);
        search.go_on(last.filter(|_| count == PAGE_ROWS));
        Ok(page)
    }

    /// A page of a segment.
    async fn collect(&self, collection: usize, search: &mut RowSearch, sql: &str) -> Result<RowsPage, Error> {
        let act = format!("look at rows of {}", self.prepared.statements(collection).tables[search.place.table].name);
        let after = search.segment.until.as_ref().or(search.place.after.as_ref());
        let params: [Param<'_>; 5] = [&after, &None::<Vec<String>>, &PAGE_ROWS, &false, &search.seed];
        let (mut hashes, mut last, mut count) = (Vec::new(), None, 0);
        for row in self.session.query(&act, sql, &params).await? {
            count = field(&row, 0, &act)?;
            hashes.extend(field::<Option<i64>>(&row, 1, &act)?);
            last = field::<Option<Vec<String>>>(&row, 2, &act)?;
        }
        let segment = &mut search.segment;
        segment.hashes.append(&mut hashes);
        segment.until = last.filter(|_| count == PAGE_ROWS);
        if segment.until.is_none() || segment.hashes.len() >= SEGMENT {
            segment.hashes.sort_unstable();
            segment.hashes.dedup();
            segment.said = vec![Said::Nothing; segment.hashes.len()];
            segment.stage = Stage::Ledger(Vec::new());
        }
        if search.segment.hashes.is_empty() {
            let until = search.segment.until.take();
            search.go_on(until);
        }
        Ok(RowsPage { rows: u64::try_from(count).unwrap_or(0), ..RowsPage::default() })
    }

    /// Holds a page of the ledger against a segment; behind the last page, the rows that are left are named.
    async fn hold_against_ledger(
        &self,
        collection: usize,
        search: &mut RowSearch,
        sql: &str,
        after: &[u8],
    ) -> Result<RowsPage, Error> {
        let act = "hold rows against the ledger";
        let params: [Param<'_>; 4] = [&self.prepared.id(collection), &after, &PAGE_ENTRIES, &PAGE_BYTES];
        let mut entries = Vec::new();
        for row in self.session.query(act, LEDGER, &params).await? {
            let document = DocumentId::new(field(&row, 0, act)?, field(&row, 1, act)?);
            entries.push((document, if field(&row, 2, act)? { Said::Deleted } else { Said::Live }));
        }
        let besides = entries.len() as u64;
        let next = entries.last().map(|(document, _)| document.key.as_bytes().to_vec());
        if next.is_none() {
            entries.extend(search.missing.iter().map(|document| (document.clone(), Said::Live)));
        }
        let hashes = self.hashes(collection, search, sql, &entries).await?;
        let (mut page, segment) = (RowsPage { besides, ..RowsPage::default() }, &mut search.segment);
        segment.unknown |= entries.iter().any(|(document, said)| document.id.is_none() && *said == Said::Live);
        for ((document, says), hash) in entries.into_iter().zip(hashes) {
            let Some(place) = hash.and_then(|hash| segment.place_of(hash)) else { continue };
            if says == Said::Live || segment.said[place] == Said::Nothing {
                segment.said[place] = says;
            }
            if says == Said::Deleted {
                page.gone.push(document);
            }
        }
        match next {
            Some(next) => segment.stage = Stage::Ledger(next),
            None if segment.left() > 0 && !segment.unknown => segment.stage = Stage::Names(search.place.after.clone()),
            None => {
                page.undecided = segment.left();
                let until = segment.until.take();
                search.go_on(until);
            }
        }
        Ok(page)
    }

    /// The hash that a row of each document has in the table; `None` where there can be no such row.
    async fn hashes(
        &self,
        collection: usize,
        search: &RowSearch,
        sql: &str,
        entries: &[(DocumentId, Said)],
    ) -> Result<Vec<Option<i64>>, Error> {
        let statements = &self.prepared.statements(collection).tables[search.place.table];
        let act = format!("find the rows of documents in {}", statements.name);
        let plan = self.prepared.plan(collection);
        let mut ids = Column::default();
        for (document, _) in entries {
            let keys = document.id.as_ref().and_then(|id| plan.keys(id).ok());
            ids.push(keys.as_ref().and_then(|keys| keys.fields().nth(statements.of)).flatten());
        }
        let rows = self.session.query(&act, sql, &[&search.seed, &ids]).await?;
        rows.iter().map(|row| field(row, 0, &act)).collect()
    }

    /// A page of a segment again, whose rows are named that are left.
    async fn name(
        &self,
        collection: usize,
        search: &mut RowSearch,
        sql: &str,
        after: Option<&Vec<String>>,
    ) -> Result<RowsPage, Error> {
        let statements = &self.prepared.statements(collection).tables[search.place.table];
        let act = format!("look at rows of {}", statements.name);
        let params: [Param<'_>; 5] = [&after, &search.segment.until, &PAGE_ROWS, &true, &search.seed];
        let (mut page, mut last, mut count) = (RowsPage::default(), None, 0);
        for row in self.session.query(&act, sql, &params).await? {
            count = field(&row, 0, &act)?;
            let texts: Vec<String> = field(&row, 2, &act)?;
            let place = field::<Option<i64>>(&row, 1, &act)?.and_then(|hash| search.segment.place_of(hash));
            if place.is_some_and(|place| search.segment.said[place] == Said::Nothing) {
                page.extra.push(ExtraRow { table: statements.name.clone(), row_key: statements.row_key(&texts) });
            }
            last = Some(texts);
        }
        page.besides = u64::try_from(count).unwrap_or(0);
        match last.filter(|_| count == PAGE_ROWS) {
            Some(last) => search.segment.stage = Stage::Names(Some(last)),
            None => {
                let until = search.segment.until.take();
                search.go_on(until);
            }
        }
        Ok(page)
    }
}

/// A page of the ledger: collection, the key before it, most entries, most bytes of `_id`s.
const LEDGER: &str = "
SELECT key, target, deleted FROM
  (SELECT *, sum(octet_length(target)) OVER (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
     FROM (SELECT key, target, deleted FROM driftless.ledger WHERE collection = $1 AND key > $2 ORDER BY key LIMIT $3) AS page
  ) AS page
 WHERE coalesce(before, 0) < $4 ORDER BY key";

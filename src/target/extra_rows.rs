//! Rows that belong to no document, named by their keys: a search over whole tables, page by page.
//!
//! ```text
//!  remembered  pages of rows ─▶ who owns it, and is that document live? ─▶ a segment of hashes ──────┐
//!  by id       pages of rows ─▶ a segment of hashes ─▶ strike those of the ledger's documents ───────┤
//!                                          name what is left ◀─ strike those of the source's documents
//! ```
//! The key of a row often follows from a document in a way that leads back to none, so ledger and source are held against the rows: a
//! segment of rows is read first, and then every entry of the ledger. This is exact while writes go on, although each page shows another
//! instant: a row commits together with its ledger entry, so the entry of every row of the segment is met. Rows that come later are
//! the business of the next search.
//!
//! - A row of a live entry is compared with its document elsewhere, and so is a child row whose document has lost its root row.
//! - A row of a deleted entry means that the document is [`gone`](RowsPage::gone), and that its rows should be, too.
//! - A row that no entry explains, because somebody has removed it, may still be that of a document. So the documents of the source
//!   are held against the rows that are left, which is rarely any, as of a time that is applied: one that has a row is
//!   [`unrecorded`](RowsPage::unrecorded), unless it is known to be missing.
//! - A row without a document is [`extra`](RowsPage::extra).
//!
//! The caller reads the documents, see [`TargetReader::hold_against`]. Memory: at most two million hashes of nine bytes, and one page.

use bson::raw::{RawDocument, RawDocumentBuf};

use super::{
    DocumentId, TargetReader,
    row_search::{ExtraRow, RowSearch, RowsPage, Said, Stage},
};
use crate::{
    mapping::Row,
    postgres::{
        Error, Session,
        params::{self, Column},
        session::{Param, field},
    },
    sink::{Prepared, page_statements::PageStatements},
};

/// Rows of a page; a statement costs more than some thousand rows.
const PAGE_ROWS: i64 = 10_000;
/// Ledger entries of a page, whose keys have up to 1 KiB each.
const PAGE_ENTRIES: i64 = 5_000;
/// Bytes of `_id`s whose keys are hashes, after which a page ends.
const PAGE_BYTES: i64 = 1 << 20;

impl TargetReader<'_> {
    /// Looks at the next page of a search, which [may have ended](RowSearch::has_ended), or [await](RowSearch::awaits) documents.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause; the same page can be looked at again.
    pub async fn search_rows(&self, collection: usize, search: &mut RowSearch) -> Result<RowsPage, Error> {
        if search.has_ended() {
            return Ok(RowsPage::default());
        }
        match search.segment.stage.clone() {
            Stage::Rows => self.collect(collection, search).await,
            Stage::Ledger(after) => self.hold_against_ledger(collection, search, &after).await,
            Stage::Documents { .. } => Ok(RowsPage::default()),
            Stage::Names(after) => self.name(collection, search, after.as_ref()).await,
        }
    }

    /// Holds documents that the search [awaits](RowSearch::awaits) against its rows. `until` is the `{_id: …}` behind which more
    /// documents follow; `None` at the end of their collection.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause; the same documents can be held against the rows again.
    pub async fn hold_against(
        &self,
        collection: usize,
        search: &mut RowSearch,
        documents: &[(DocumentId, RawDocumentBuf)],
        until: Option<RawDocumentBuf>,
    ) -> Result<RowsPage, Error> {
        let writers = self.prepared.writers(collection, search.place.table);
        let Some(&(writer, ref tables)) = search.awaits().and_then(|(writer, _)| writers.get(writer)) else {
            return Ok(RowsPage::default());
        };
        let mut hashes = Vec::new();
        for table in tables {
            hashes.extend(hashes_of_rows(self.session, self.prepared, (writer, *table), search.seed, documents).await?);
        }
        let mut struck = search.strike(hashes);
        struck.sort_unstable();
        struck.dedup();
        let mut page = RowsPage { besides: documents.len() as u64, ..RowsPage::default() };
        if writer == collection {
            page.unrecorded.extend(struck.into_iter().map(|place| documents[place].0.clone()));
        }
        page.undecided = search.behind_documents(until, writers.len());
        Ok(page)
    }

    /// A page of a segment.
    async fn collect(&self, collection: usize, search: &mut RowSearch) -> Result<RowsPage, Error> {
        let table = search.place.table;
        let statements = &self.prepared.statements(collection).tables[table];
        let act = format!("look at rows of {}", statements.name);
        let (relation, id) = (self.prepared.relation_of(collection, table), self.prepared.id(collection));
        let after = search.segment.until.as_ref().or(search.place.after.as_ref());
        let mut params: Vec<Param<'_>> = vec![&after, &None::<Vec<String>>, &PAGE_ROWS, &false, &search.seed];
        let by_id = matches!(statements.pages, PageStatements::ById { .. });
        if !by_id {
            params.extend([&relation as Param<'_>, &id]);
        }
        // Each collection that writes the table looks for its own documents; the rows of nobody are sought once.
        let seeks = by_id || self.prepared.speaks_for(collection, table);
        let (mut page, mut hashes, mut last, mut count) = (RowsPage::default(), Vec::new(), None, 0);
        for row in self.session.query(&act, statements.pages.page(), &params).await? {
            count = field(&row, 0, &act)?;
            hashes.extend(field::<Option<i64>>(&row, 1, &act)?.filter(|_| seeks));
            last = field::<Option<Vec<String>>>(&row, 2, &act)?;
            if by_id {
                continue;
            }
            if let Some(key) = field::<Option<Vec<u8>>>(&row, 3, &act)? {
                let document = DocumentId::new(key, field(&row, 4, &act)?);
                match field::<bool>(&row, 5, &act)? {
                    true => page.gone.push(document),
                    false if search.is_missing(&document.key) => {}
                    false => page.unrecorded.push(document),
                }
            }
        }
        page.rows = u64::try_from(count).unwrap_or(0);
        for documents in [&mut page.gone, &mut page.unrecorded] {
            documents.sort_by(|a, b| a.key.cmp(&b.key));
            documents.dedup_by(|a, b| a.key == b.key);
        }
        search.collect(hashes, last.filter(|_| count == PAGE_ROWS), by_id);
        Ok(page)
    }

    /// Holds a page of the ledger against a segment; behind the last page, documents of the source are awaited if rows are left.
    async fn hold_against_ledger(
        &self,
        collection: usize,
        search: &mut RowSearch,
        after: &[u8],
    ) -> Result<RowsPage, Error> {
        let act = "hold rows against the ledger";
        let params: [Param<'_>; 4] = [&self.prepared.id(collection), &after, &PAGE_ENTRIES, &PAGE_BYTES];
        let mut entries = Vec::new();
        for row in self.session.query(act, LEDGER, &params).await? {
            let document = DocumentId::new(field(&row, 0, act)?, field(&row, 1, act)?);
            entries.push((document, if field(&row, 2, act)? { Said::Deleted } else { Said::Owned }));
        }
        let mut page = RowsPage { besides: entries.len() as u64, ..RowsPage::default() };
        let next = entries.last().map(|(document, _)| document.key.as_bytes().to_vec());
        if next.is_none() {
            entries.extend(search.missing().iter().map(|document| (document.clone(), Said::Owned)));
        }
        let ids = entries.iter().map(|(document, _)| document.id.as_deref());
        let place = (collection, search.place.table);
        let hashes = hashes_by_id(self.session, self.prepared, place, search.seed, ids).await?;
        let segment = &mut search.segment;
        segment.unknown |= entries.iter().any(|(document, said)| document.id.is_none() && *said == Said::Owned);
        for ((document, says), hash) in entries.into_iter().zip(hashes) {
            if hash.is_some_and(|hash| segment.hear(hash, says)) && says == Said::Deleted {
                page.gone.push(document);
            }
        }
        match next {
            Some(next) => segment.stage = Stage::Ledger(next),
            None if segment.left() > 0 => segment.stage = Stage::BEGIN_OF_DOCUMENTS,
            None => search.leave_segment(),
        }
        Ok(page)
    }

    /// A page of a segment again, whose rows are named that are left.
    async fn name(
        &self,
        collection: usize,
        search: &mut RowSearch,
        after: Option<&Vec<String>>,
    ) -> Result<RowsPage, Error> {
        let table = search.place.table;
        let statements = &self.prepared.statements(collection).tables[table];
        let act = format!("look at rows of {}", statements.name);
        let (relation, id) = (self.prepared.relation_of(collection, table), self.prepared.id(collection));
        let mut params: Vec<Param<'_>> = vec![&after, &search.segment.until, &PAGE_ROWS, &true, &search.seed];
        if matches!(statements.pages, PageStatements::Remembered { .. }) {
            params.extend([&relation as Param<'_>, &id]);
        }
        let (mut page, mut last, mut count) = (RowsPage::default(), None, 0);
        for row in self.session.query(&act, statements.pages.page(), &params).await? {
            count = field(&row, 0, &act)?;
            let texts: Vec<String> = field(&row, 2, &act)?;
            if field::<Option<i64>>(&row, 1, &act)?.is_some_and(|hash| search.is_left(hash)) {
                page.extra.push(ExtraRow { table: statements.name.clone(), row_key: statements.row_key(&texts) });
            }
            last = Some(texts);
        }
        page.besides = u64::try_from(count).unwrap_or(0);
        match last.filter(|_| count == PAGE_ROWS) {
            Some(last) => search.segment.stage = Stage::Names(Some(last)),
            None => search.leave_segment(),
        }
        Ok(page)
    }
}

/// The hashes of the rows that documents have in a table, each with the place of its document. For a table whose rows hold the
/// document's id, that is one for each document, whether it has such a row or not.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn hashes_of_rows(
    session: &Session,
    prepared: &Prepared,
    (collection, table): (usize, usize),
    seed: i64,
    documents: &[(DocumentId, RawDocumentBuf)],
) -> Result<Vec<(usize, i64)>, Error> {
    let statements = &prepared.statements(collection).tables[table];
    let PageStatements::Remembered { hashes, .. } = &statements.pages else {
        let ids = documents.iter().map(|(document, _)| document.id.as_deref());
        let hashes = hashes_by_id(session, prepared, (collection, table), seed, ids).await?;
        return Ok(hashes.into_iter().enumerate().filter_map(|(place, hash)| Some((place, hash?))).collect());
    };
    let plan = prepared.plan(collection);
    let mapped =
        documents.iter().enumerate().filter_map(|(place, (_, document))| Some((place, plan.map(document).ok()?)));
    let mapped: Vec<_> = mapped.collect();
    let rows =
        mapped.iter().flat_map(|(place, rows)| rows.tables.get(table).into_iter().flatten().map(|row| (*place, row)));
    let (places, rows): (Vec<usize>, Vec<&Row>) = rows.unzip();
    let keys: Vec<Column> = statements.key.iter().map(|&at| params::column(at, rows.iter().copied())).collect();
    let act = format!("find the rows of documents in {}", statements.name);
    let mut params: Vec<Param<'_>> = vec![&seed];
    params.extend(params::refs(&keys));
    let hashes = session.query(&act, hashes, &params).await?;
    places.into_iter().zip(&hashes).map(|(place, row)| Ok((place, field(row, 0, &act)?))).collect()
}

/// The hash that a row of each document has in a table whose rows hold the document's id; `None` where there can be no such row.
async fn hashes_by_id(
    session: &Session,
    prepared: &Prepared,
    (collection, table): (usize, usize),
    seed: i64,
    documents: impl Iterator<Item = Option<&RawDocument>>,
) -> Result<Vec<Option<i64>>, Error> {
    let statements = &prepared.statements(collection).tables[table];
    let act = format!("find the rows of documents in {}", statements.name);
    let plan = prepared.plan(collection);
    let mut ids = Column::default();
    for id in documents {
        let keys = id.and_then(|id| plan.keys(id).ok());
        ids.push(keys.as_ref().and_then(|keys| keys.fields().nth(statements.of)).flatten());
    }
    let rows = session.query(&act, statements.pages.hashes(), &[&seed, &ids]).await?;
    rows.iter().map(|row| field(row, 0, &act)).collect()
}

/// A page of the ledger: collection, the key before it, most entries, most bytes of `_id`s.
const LEDGER: &str = "
SELECT key, target, deleted FROM
  (SELECT *, sum(octet_length(target)) OVER (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
     FROM (SELECT key, target, deleted FROM driftless.ledger WHERE collection = $1 AND key > $2 ORDER BY key LIMIT $3) AS page
  ) AS page
 WHERE coalesce(before, 0) < $4 ORDER BY key";

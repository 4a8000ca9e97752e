//! The baseline of one collection: a walk over everything that both sides hold, chunk after chunk.
//!
//! ```text
//!  documents  parts of the `_id` index ──▶ are their rows equal?              ┐
//!  ledger     pages of live entries ─────▶ does the source hold the document? ├─ each as of its own T ─▶ found | undecided
//!  rows       pages of the tables ───────▶ does a document have the row?      ┘
//! ```
//! A chunk is read from the source as of the last instant that the watermark covers, and compared with the target as it is. So
//! nothing waits for the sink, and the history of the source, some minutes, bounds how far the sink may be behind. Documents that
//! changed since are judged one by one at later times.
//!
//! A walk has no state but its cursor: whoever stores it behind every chunk goes on there, in whatever process. Changes behind a
//! chunk are the business of the delta, which therefore has to begin before the first chunk: `not_before`.
//!
//! Memory: a chunk of documents exists up to five times (as expected rows, as rows of the target or as parameters, and the next chunk
//! as read and as expected rows), so a walk holds about five times [`Limits::bytes`](crate::source::Limits), or five times the largest
//! document; a row of the target that is longer than the longest expected one is not read. A search for extra rows holds what
//! [`RowSearch`] says. Nothing grows with the collection.

use std::collections::HashSet;

use bson::raw::{RawDocument, RawDocumentBuf};
use futures_util::future::join;
use tokio::time::{Duration, interval};

use super::{
    Error,
    bounds::Bounds,
    examine::{Examined, Examiner, Mapped, POLL_INTERVAL},
    read::PieceReader,
    rows::next_page,
    sides::{SourceSide, TargetSide},
    step::{Again, Cursor, Judged, Phase, Step, Waits},
};
use crate::{
    control::findings::{Found, Kind, Subject},
    mapping::CollectionPlan,
    model::{ClusterTime, Key},
    source::{self, ReadTime},
    target::{DocumentId, ExtraRow, LivePage, RowSearch},
};

/// Documents that change without a pause are undecided each time they are read; the rest of a chunk goes on without them.
const ATTEMPTS: usize = 3;

/// Documents without a ledger entry that are kept: so many of them mean that the mapping is wrong, or that the ledger was lost.
const MAX_WITHOUT_ENTRY: usize = 10_000;

/// A chunk of documents that are mapped, and wait to be compared.
struct MappedChunk {
    documents: Mapped,
    /// The rest of what was read, without the documents.
    read: source::Chunk,
}

/// Parts that were read while the target compared the one before.
#[derive(Default)]
struct Ahead {
    /// Behind this `{_id: …}`.
    chunk: Option<(RawDocumentBuf, MappedChunk)>,
    /// Behind this key.
    page: Option<(Key, LivePage)>,
}

/// Walks over one collection.
pub(crate) struct Baseline<'a, S, T> {
    source: &'a S,
    target: &'a T,
    plan: &'a CollectionPlan,
    chunks: PieceReader<'a, S>,
    /// Apart, because a few documents say little about the size of a chunk.
    singles: PieceReader<'a, S>,
    ahead: Ahead,
    /// Whether the next chunk is read while one is compared.
    read_ahead: bool,
    /// The last time as of which the source could not be read any more.
    too_old: Option<ClusterTime>,
    /// The search for extra rows, and the place in the cursor at which it goes on.
    search: Option<(Option<Vec<u8>>, RowSearch)>,
    /// Documents of the source that were met without a ledger entry.
    without_entry: Vec<DocumentId>,
}

impl<'a, S: SourceSide, T: TargetSide> Baseline<'a, S, T> {
    /// Creates a walk. With `read_ahead` it is faster, but a chunk is older when it is judged: the caller should not pause then.
    pub(crate) fn new(
        source: &'a S,
        target: &'a T,
        plan: &'a CollectionPlan,
        bounds: Bounds,
        read_ahead: bool,
    ) -> Self {
        let (chunks, singles) = (PieceReader::new(source, bounds), PieceReader::new(source, bounds));
        Self {
            source,
            target,
            plan,
            chunks,
            singles,
            ahead: Ahead::default(),
            read_ahead,
            too_old: None,
            search: None,
            without_entry: Vec::new(),
        }
    }

    /// Sets whether the next chunk is read while one is compared.
    pub(crate) fn read_ahead(&mut self, read_ahead: bool) {
        self.read_ahead = read_ahead;
    }

    /// Judges the chunk at the cursor, as of a time that is not before `not_before`.
    ///
    /// # Errors
    /// [`Error::Source`] and [`Error::Target`], by the class of their cause. The same step can be tried again.
    pub(crate) async fn step(&mut self, cursor: &Cursor, not_before: ClusterTime) -> Result<Step, Error> {
        let Some(at) = self.target.watermark().await?.last_covered() else { return Ok(Step::Waits(Waits::Snapshot)) };
        if at < not_before {
            return Ok(Step::Waits(Waits::Delta));
        }
        if self.too_old.is_some_and(|too_old| at <= too_old) {
            return Ok(Step::Waits(Waits::History));
        }
        let judged = match cursor.phase {
            Phase::Documents => self.documents(cursor, at).await,
            Phase::Ledger => self.ledger(cursor, at).await,
            Phase::Rows => self.rows(cursor, at).await,
        };
        match judged {
            Err(Error::Source(source::Error::SnapshotTooOld { .. })) => {
                // A chunk that took longer than the history lasts has to be smaller.
                self.chunks.shrink();
                self.too_old = Some(at);
                Ok(Step::Waits(Waits::History))
            }
            judged => judged.map(Step::Judged),
        }
    }

    async fn documents(&mut self, cursor: &Cursor, at: ClusterTime) -> Result<Judged, Error> {
        let after = cursor.after.as_ref().and_then(|bytes| RawDocumentBuf::from_bytes(bytes.clone()).ok());
        let chunk = match self.ahead.chunk.take() {
            Some((behind, chunk)) if Some(&behind) == after.as_ref() => chunk,
            _ => mapped(&mut self.chunks, self.plan, after.as_deref(), at).await?,
        };
        let MappedChunk { documents, read } = chunk;
        let (examiner, count) = (self.examiner(), documents.len() as u64);
        let examine = examiner.mapped(documents, read.read_at);
        let examined = match read.last_id.clone().filter(|_| self.read_ahead && !read.end) {
            None => examine.await?,
            Some(after) => {
                let next = mapped(&mut self.chunks, self.plan, Some(&after), at);
                let (examined, next) = join(examine, next).await;
                // If it could not be read, the next step reads it and reports why.
                self.ahead.chunk = next.ok().map(|chunk| (after, chunk));
                examined?
            }
        };
        let until = read.last_id.filter(|_| !read.end).map(RawDocumentBuf::into_bytes);
        let judged = self.judged(cursor, until, read.read_at, count, examined).await?;
        self.keep_without_entry(&judged);
        Ok(Judged { bytes: read.bytes, ..judged })
    }

    /// Judges live entries of the ledger whose documents the source does not hold; the others were met among the documents.
    async fn ledger(&mut self, cursor: &Cursor, at: ClusterTime) -> Result<Judged, Error> {
        let after = cursor.after.as_ref().map(|bytes| Key::from_bytes(bytes.clone()));
        let LivePage { documents, entries, until } = match self.ahead.page.take() {
            Some((behind, page)) if Some(&behind) == after.as_ref() => page,
            _ => self.target.live(after.as_ref()).await?,
        };
        let looked = documents.len() as u64;
        let held = held(self.source, &documents, at);
        let held = match until.clone().filter(|_| self.read_ahead) {
            None => held.await?,
            Some(after) => {
                let (held, next) = join(held, self.target.live(Some(&after))).await;
                self.ahead.page = next.ok().map(|page| (after, page));
                held?
            }
        };
        let examined = self.examiner().not_held(documents, &held, at).await?;
        let until = until.map(|key| key.as_bytes().to_vec());
        Ok(Judged { work: entries, ..self.judged(cursor, until, at, looked, examined).await? })
    }

    /// Searches the tables for rows without a document, and for rows of documents that the source or the ledger does not have.
    async fn rows(&mut self, cursor: &Cursor, at: ClusterTime) -> Result<Judged, Error> {
        let mut search = match self.search.take() {
            Some((place, search)) if place == cursor.after => search,
            _ => {
                let mut missing = self.target.without_entry().await?;
                missing.extend(self.without_entry.iter().cloned());
                RowSearch::new(self.plan, cursor.after.as_deref(), missing)
            }
        };
        let (page, bytes) = match next_page(&mut self.chunks, self.target, &mut search, at).await {
            Ok(page) => page,
            Err(error) => {
                self.search = Some((cursor.after.clone(), search));
                return Err(error);
            }
        };
        let until = search.position();
        let held = held(self.source, &page.gone, at).await?;
        let mut examined = self.examiner().not_held(page.gone, &held, at).await?;
        // So many without an entry are found already, and are more than can be told apart.
        if self.without_entry.len() < MAX_WITHOUT_ENTRY {
            examined.extend(self.as_of(page.unrecorded, at).await?);
        }
        let judged = self.judged(cursor, until.clone(), at, page.rows, examined).await?;
        self.search = Some((until, search));
        let rows = page.extra.into_iter().map(|ExtraRow { table, row_key }| Found::row(table, row_key, at));
        let found = judged.found.into_iter().chain(rows).collect();
        Ok(Judged { work: page.rows + page.besides, bytes, found, ..judged })
    }

    /// Sums up a chunk, whose undecided documents are judged again.
    async fn judged(
        &mut self,
        cursor: &Cursor,
        until: Option<Vec<u8>>,
        as_of: ClusterTime,
        looked: u64,
        examined: Vec<Examined>,
    ) -> Result<Judged, Error> {
        let mut first = Again::default();
        first.take(examined, as_of);
        let Again { mut found, mut undecided, .. } = first;
        let mut poll = interval(POLL_INTERVAL);
        for _ in 0..ATTEMPTS {
            if undecided.is_empty() {
                break;
            }
            poll.tick().await;
            let mut again = self.judge_again(undecided).await?;
            found.append(&mut again.found);
            undecided = again.undecided;
        }
        let next = cursor.behind(until.clone());
        Ok(Judged { until, as_of, looked, work: looked, bytes: 0, found, undecided, next })
    }

    /// Judges documents again as they are now: back, and forwards those that leaves undecided.
    ///
    /// # Errors
    /// Those of [`Self::step`].
    pub(crate) async fn judge_again(&mut self, documents: Vec<DocumentId>) -> Result<Again, Error> {
        let mut again = Again::default();
        for back in self.examiner().back(&mut self.singles, documents).await? {
            again.take(vec![back.examined], back.as_of);
        }
        // A document without an entry, or one that was parked for long, can be judged only forwards.
        let left = std::mem::take(&mut again.undecided);
        self.forwards(left, &mut again).await?;
        Ok(again)
    }

    /// Judges documents as of the last time that is applied.
    async fn forwards(&mut self, documents: Vec<DocumentId>, again: &mut Again) -> Result<(), Error> {
        let Some(at) = self.target.watermark().await?.last_covered() else {
            again.undecided.extend(documents);
            return Ok(());
        };
        let examined = self.as_of(documents, at).await?;
        again.take(examined, at);
        Ok(())
    }

    /// Judges documents as of a time that is applied, whether the source holds them or not.
    async fn as_of(&mut self, documents: Vec<DocumentId>, at: ClusterTime) -> Result<Vec<Examined>, Error> {
        let (known, unknown): (Vec<_>, Vec<_>) = documents.into_iter().partition(|document| document.id.is_some());
        let mut examined: Vec<Examined> = unknown.into_iter().map(Examined::unknown).collect();
        let ids: Vec<_> = known.into_iter().filter_map(|document| document.id).collect();
        let mut rest = &ids[..];
        while let Some(piece) = self.singles.next_of(&mut rest, ReadTime::At(at)).await? {
            examined.extend(self.examiner().piece(&piece).await?);
        }
        Ok(examined)
    }

    /// Keeps the documents whose rows may be there without an entry, so that these rows are not taken for those of nobody.
    fn keep_without_entry(&mut self, judged: &Judged) {
        let missing = judged.found.iter().filter(|found| found.kind == Kind::Missing && found.entry.is_none());
        let missing = missing.filter_map(|found| match &found.subject {
            Subject::Document(document) => Some(document),
            Subject::Row { .. } => None,
        });
        let room = MAX_WITHOUT_ENTRY.saturating_sub(self.without_entry.len());
        self.without_entry.extend(missing.chain(&judged.undecided).take(room).cloned());
    }

    /// Judges without waiting, because everything is read as of what is applied.
    fn examiner(&self) -> Examiner<'a, T> {
        Examiner { target: self.target, plan: self.plan, wait: Duration::ZERO }
    }
}

/// Reads the documents that follow `after`, and maps them.
async fn mapped<S: SourceSide>(
    chunks: &mut PieceReader<'_, S>,
    plan: &CollectionPlan,
    after: Option<&RawDocument>,
    at: ClusterTime,
) -> Result<MappedChunk, Error> {
    let mut read = chunks.chunk(after, ReadTime::At(at)).await?;
    let documents = Mapped::new(plan, &std::mem::take(&mut read.documents))?;
    Ok(MappedChunk { documents, read })
}

/// Those of the documents that the source holds.
async fn held<S: SourceSide>(source: &S, documents: &[DocumentId], at: ClusterTime) -> Result<HashSet<Key>, Error> {
    if documents.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<_> = documents.iter().filter_map(|document| document.id.clone()).collect();
    let read = source.existing(&ids, ReadTime::At(at)).await?;
    Ok(read.value.iter().filter_map(|id| Key::from_id(id)).collect())
}

/// Returns whether the source has no collection of that name and, as far as is known, never had one: a mistyped name looks like
/// that. Only a walk that met nothing asks.
///
/// # Errors
/// [`Error::Source`] and [`Error::Target`], by the class of their cause.
pub(crate) async fn no_such_collection<S: SourceSide, T: TargetSide>(
    source: &S,
    target: &T,
    plan: &CollectionPlan,
) -> Result<bool, Error> {
    Ok(!plan.may_be_empty && !source.exists().await? && !target.knows_any().await?)
}

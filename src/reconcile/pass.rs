//! One pass over one collection: which documents are compared, and how often.
//!
//! ```text
//!  chunks of the source ──┐
//!                         ├─▶ examine ─▶ tally: equal | drift | undecided ─▶ report
//!  live ledger entries ───┘      ▲                              │
//!                                └── again at a later T ◀───────┘  within a bound
//! ```
//! A full pass works in both directions: it compares every document with its rows, and every live ledger entry with the source,
//! so that rows without a document are found too. A sample does the same with random documents of both sides.

use std::collections::HashSet;

use bson::raw::RawDocumentBuf;
use jiff::Timestamp;
use tokio::time::{Instant, interval};

use super::{
    Error,
    baseline::no_such_collection,
    bounds::Bounds,
    examine::{Examiner, POLL_INTERVAL},
    proof::Proof,
    read::PieceReader,
    report::{ExtraRows, Report},
    rows::next_page,
    sides::{SourceSide, TargetSide},
    tally::Tally,
};
use crate::{
    mapping::CollectionPlan,
    model::{ClusterTime, Key},
    source::{self, ReadTime},
    target::{DocumentId, RowSearch},
};

/// A pass under way.
struct Pass<'a, S, T> {
    source: &'a S,
    target: &'a T,
    plan: &'a CollectionPlan,
    pieces: PieceReader<'a, S>,
    examiner: Examiner<'a, T>,
    tally: Tally,
}

/// Compares up to `size` random documents of each side, or everything if the source has no more. Returns `None` while the snapshot
/// is not applied, because then a missing row proves nothing.
///
/// # Errors
/// [`Error::Source`] and [`Error::Target`], by the class of their cause. Nothing was changed.
pub(crate) async fn run<S: SourceSide, T: TargetSide>(
    source: &S,
    target: &T,
    plan: &CollectionPlan,
    size: usize,
    bounds: Bounds,
) -> Result<Option<Report>, Error> {
    // The age of the result counts from here, however long the pass takes.
    let at = Timestamp::now();
    if !target.watermark().await?.covers(ClusterTime::default()) {
        return Ok(None);
    }
    let pieces = PieceReader::new(source, bounds);
    let examiner = Examiner { target, plan, wait: bounds.wait };
    let mut pass = Pass { source, target, plan, pieces, examiner, tally: Tally::default() };
    let sample = (source.estimate().await? > size as u64).then_some(size);
    match sample {
        Some(size) => pass.sample(size).await?,
        None => pass.everything().await?,
    }
    // This reads every row, so a sample skips it.
    let extra_rows = if sample.is_none() { pass.extra_rows(bounds.findings).await? } else { ExtraRows::default() };
    pass.recheck_undecided(bounds).await?;
    let no_such_collection = pass.no_such_collection().await?;
    let proof = Proof { at, full: sample.is_none(), no_such_collection, ..Proof::default() };
    let name = plan.collection.clone();
    Ok(Some(Report::new(name, proof, pass.tally, extra_rows, bounds.findings)))
}

impl<S: SourceSide, T: TargetSide> Pass<'_, S, T> {
    async fn everything(&mut self) -> Result<(), Error> {
        let mut after: Option<RawDocumentBuf> = None;
        loop {
            let chunk = self.pieces.chunk(after.as_deref(), ReadTime::NOW).await?;
            let examined = self.examiner.present(&chunk.documents, chunk.read_at).await?;
            self.tally.take(chunk.read_at, examined);
            if chunk.end {
                break;
            }
            after = chunk.last_id;
        }
        let mut after: Option<Key> = None;
        loop {
            let live = self.target.live(after.as_ref()).await?;
            self.way_back(live.documents).await?;
            let Some(until) = live.until else { return Ok(()) };
            after = Some(until);
        }
    }

    /// Looks for rows that belong to no document; lists at most `most` of them.
    async fn extra_rows(&mut self, most: usize) -> Result<ExtraRows, Error> {
        let mut found = ExtraRows::default();
        let mut search = RowSearch::new(self.plan, None, self.tally.without_entry());
        while !search.has_ended() {
            let at = self.target.watermark().await?.last_covered().unwrap_or_default();
            let page = match next_page(&mut self.pieces, self.target, &mut search, at).await {
                // The target is behind by more than the source can look back.
                Err(Error::Source(source::Error::SnapshotTooOld { .. })) => {
                    found.undecided += 1;
                    break;
                }
                page => page?.0,
            };
            found.count += page.extra.len() as u64;
            found.undecided += page.undecided;
            let free = most.saturating_sub(found.first.len());
            found.first.extend(page.extra.into_iter().take(free));
            let (unrecorded, unknown): (Vec<_>, Vec<_>) = page.unrecorded.into_iter().partition(|one| one.id.is_some());
            let ids: Vec<_> = unrecorded.into_iter().filter_map(|document| document.id).collect();
            self.by_ids(&ids).await?;
            self.way_back(page.gone.into_iter().chain(unknown).collect()).await?;
        }
        Ok(found)
    }

    async fn sample(&mut self, size: usize) -> Result<(), Error> {
        let ids = self.source.sample(size).await?;
        self.by_ids(&ids).await?;
        let live = self.target.sample(size).await?;
        self.way_back(live).await
    }

    /// Examines documents by `_id`, whether they still exist or not.
    async fn by_ids(&mut self, ids: &[RawDocumentBuf]) -> Result<(), Error> {
        let mut rest = ids;
        while let Some(piece) = self.pieces.next_of(&mut rest, ReadTime::NOW).await? {
            let examined = self.examiner.piece(&piece).await?;
            self.tally.take(piece.read_at, examined);
        }
        Ok(())
    }

    /// Examines the live ledger entries whose documents the source does not hold.
    async fn way_back(&mut self, live: Vec<DocumentId>) -> Result<(), Error> {
        let ids: Vec<RawDocumentBuf> = live.iter().filter_map(|document| document.id.clone()).collect();
        let read = self.source.existing(&ids, ReadTime::NOW).await?;
        let held: HashSet<Key> = read.value.iter().filter_map(|id| Key::from_id(id)).collect();
        let examined = self.examiner.not_held(live, &held, read.read_at).await?;
        self.tally.take(read.read_at, examined);
        Ok(())
    }

    /// Examines undecided documents again, at later times, until they are decided or the bound is reached.
    async fn recheck_undecided(&mut self, bounds: Bounds) -> Result<(), Error> {
        let started = Instant::now();
        let mut poll = interval(POLL_INTERVAL);
        loop {
            let ids = self.tally.to_ask_again();
            if ids.is_empty() || started.elapsed() >= bounds.wait {
                return Ok(());
            }
            poll.tick().await;
            self.by_ids(&ids).await?;
        }
    }

    /// Returns whether nothing was compared because the source has no such collection.
    async fn no_such_collection(&self) -> Result<bool, Error> {
        Ok(self.tally.is_empty() && no_such_collection(self.source, self.target, self.plan).await?)
    }
}

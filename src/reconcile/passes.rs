//! Pass after pass over all collections: whose turn it is, at which pace, and what is stored behind each chunk.
//!
//! ```text
//!  turn: no complete pass under the present plan, smallest first │ the oldest pass, once it is old enough
//!   └─▶ chunk ─▶ one transaction of the lead: findings, chunk, where the pass goes on ─▶ pause by the rate ─▶ chunk …
//!                      └─▶ delta: documents that could not be judged, and documents of new findings
//! ```
//! Where the rate demands no pause, a chunk is judged while the one before it is stored. Chunks are stored one after the other.
//!
//! One collection has its turn for some seconds. If it has to wait, or its statements fail, its turn is over at once, it has to
//! pause, and the others go on. The delta judges what a chunk could not, and ends findings, so that a chunk, whose judgement is
//! some seconds old when it is stored, never takes back a later one.

use std::{sync::Arc, time::Duration};

use futures_util::future::join;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{
    Error,
    baseline::{Baseline, no_such_collection},
    both::Both,
    bounds::Bounds,
    delta::DeltaHandle,
    servers::{SourceCollection, TargetCollection},
    step::{Cursor, Judged, Phase, Step},
};
use crate::{
    control::{
        chunks::{self, At, Chunk, Pass, Passes},
        findings::{self, FoundBy, Recorded, Subject},
        lead::Lead,
    },
    mapping::{CollectionPlan, Found},
    metrics as names,
    model::{ClusterTime, Key},
    postgres::{self, Session},
    retry::{self, Backoff, Stalls},
    source::{Limits, Rate},
    target::{self, DocumentId},
};

/// How long a collection has its turn before a more urgent one is looked for.
const TURN: Duration = Duration::from_secs(10);
/// How often a collection is tried again that waits for something, and how often work is looked for when there is none.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for a lock on a table: meanwhile no other collection has its turn.
const LOCK_WAIT: &str = "SET lock_timeout = '2s'";
/// With a rate, a chunk is what the rate allows in a quarter of a second, so that both sides see a steady load; but not so little
/// that the statements cost more than the documents.
const CHUNKS_PER_SECOND: u64 = 4;
const MIN_DOCUMENTS: usize = 100;
/// Shorter pauses are added up, because a timer does not measure them.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// Undecided documents of a complete walk that are judged at once.
const UNDECIDED: i64 = 1_000;
/// Findings that a log line names.
const MAX_NAMED: usize = 10;

const NOT_FOLLOWED: &str = "the reconciler's change stream does not follow the collection yet";
const AWAITS_UNDECIDED: &str = "documents that could not be judged are being judged again";

/// When passes begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Age of a pass after which the next one begins.
    pub(crate) every: Duration,
    /// Delays after a failure.
    pub(crate) backoff: Backoff,
}

/// The task.
pub(crate) struct PassesTask {
    both: Arc<Both>,
    lead: Arc<Lead>,
    delta: DeltaHandle,
    pace: Pace,
    rate: Rate,
    stalls: Stalls,
    /// By place.
    lanes: Vec<Lane>,
}

/// The state of a collection in this process.
#[derive(Default)]
struct Lane {
    /// It has no turn before; `None`: at once.
    retry_at: Option<Instant>,
    /// The pause after its last failure.
    delay: Duration,
    /// Undecided documents that the delta was asked to judge.
    judging: Option<(Vec<Key>, oneshot::Receiver<()>)>,
}

/// Both sides of a collection.
type Sides<'a> = (SourceCollection<'a>, TargetCollection<'a>);

/// The walk of the last turn, with what it has read ahead. It goes on if the next turn is its own.
struct Walk<'a> {
    place: usize,
    pass: i64,
    baseline: Baseline<'a, SourceCollection<'a>, TargetCollection<'a>>,
}

/// The end of a turn.
enum Turn {
    /// It goes on next time.
    Over,
    /// Nothing can be done for now.
    Waits(String),
    /// A read failed; the session may be spent.
    Failed(Error),
}

impl PassesTask {
    /// Creates the task.
    pub(crate) fn new(both: Arc<Both>, lead: Arc<Lead>, delta: DeltaHandle, pace: Pace, stalls: Stalls) -> Self {
        let lanes = (0..both.len()).map(|_| Lane::default()).collect();
        let rate = both.rate();
        Self { both, lead, delta, pace, rate, stalls, lanes }
    }

    /// Passes over all collections until it is dropped.
    ///
    /// # Errors
    /// [`postgres::Error::CatalogChanged`]: the plan is outdated. Others are of the lead's session, or of opening one to read.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        let both = self.both.clone();
        loop {
            let session = both.session().await?;
            session.batch("bound the wait for locks", LOCK_WAIT).await?;
            self.with(&both, &session).await?;
        }
    }

    /// Gives turns until a read fails, after which its session is not used any more.
    async fn with(&mut self, both: &Both, session: &Session) -> Result<(), Error> {
        let sides = |place| (both.source_of(place), both.target_of(session, place));
        let sides: Vec<Sides<'_>> = (0..both.len()).map(sides).collect();
        let mut walk = None;
        loop {
            let Some((place, passes)) = self.next().await? else {
                sleep(POLL_INTERVAL).await;
                continue;
            };
            both.prepared.still_fits(session).await?;
            let turn = self.turn(both, &sides[place], &mut walk, place, passes).await?;
            let failed = matches!(turn, Turn::Failed(_));
            self.end_turn(place, turn).await?;
            if failed {
                return Ok(());
            }
        }
    }

    /// The collection whose turn it is.
    async fn next(&self) -> Result<Option<(usize, Passes)>, Error> {
        let passes =
            chunks::passes(&*self.lead.session().await, self.both.prepared.ids(), self.both.findings_kept).await?;
        let now = Instant::now();
        let ready = passes.into_iter().filter_map(|passes| {
            let place = self.both.prepared.collection_of(passes.collection)?;
            let rests = self.lanes[place].retry_at.is_some_and(|retry_at| retry_at > now);
            (!rests && is_due(&passes, self.pace.every)).then_some((place, passes))
        });
        Ok(ready.min_by_key(|(place, passes)| (urgency(passes), *place)))
    }

    async fn end_turn(&mut self, place: usize, turn: Turn) -> Result<(), Error> {
        let (lane, name) = (&mut self.lanes[place], &self.both.plan(place).collection);
        let stalls = self.stalls.of(&format!("baseline of {name}"));
        let (reason, hint) = match turn {
            Turn::Over => {
                (lane.retry_at, lane.delay) = (None, Duration::ZERO);
                stalls.goes_on();
                (None, None)
            }
            Turn::Waits(reason) => {
                lane.retry_at = Some(Instant::now() + POLL_INTERVAL);
                stalls.goes_on();
                (Some(reason), None)
            }
            Turn::Failed(Error::Target(error @ postgres::Error::CatalogChanged)) => return Err(error.into()),
            Turn::Failed(error) => {
                // At least as long as the turn of another collection.
                lane.delay =
                    (lane.delay * 2).clamp(self.pace.backoff.min.max(POLL_INTERVAL), self.pace.backoff.max.max(TURN));
                lane.retry_at = Some(Instant::now() + lane.delay);
                let (reason, hint) = (retry::chain(&error), error.next_step());
                tracing::warn!(collection = name, reason, hint, retry_in = ?lane.delay, "the baseline does not go on");
                stalls.waits(reason.clone(), hint.or(error.hint()));
                (Some(reason), hint)
            }
        };
        let id = self.both.prepared.id(place);
        chunks::waits(&*self.lead.session().await, id, reason.as_deref(), hint).await?;
        Ok(())
    }

    /// Gives a collection its turn.
    async fn turn<'a>(
        &mut self,
        both: &'a Both,
        sides: &'a Sides<'a>,
        walk: &mut Option<Walk<'a>>,
        place: usize,
        passes: Passes,
    ) -> Result<Turn, Error> {
        let Some(since) = passes.since else { return Ok(Turn::Waits(NOT_FOLLOWED.to_owned())) };
        let Some(pass) = passes.under_way else { return self.begin(both, place).await };
        match &pass.at {
            At::Undecided => self.complete(both, sides, place, &pass).await,
            At::Chunk { phase, after } => {
                let Some(phase) = Phase::from_name(phase) else { return self.begin(both, place).await };
                let cursor = Cursor { phase, after: after.clone() };
                self.walk(both, sides, walk, place, pass, cursor, since).await
            }
        }
    }

    async fn begin(&mut self, both: &Both, place: usize) -> Result<Turn, Error> {
        let name = &both.plan(place).collection;
        let estimate = match both.reader.estimate(name).await {
            Ok(estimate) => estimate,
            Err(error) => return Ok(Turn::Failed(error.into())),
        };
        let (session, id) = (self.lead.session().await, both.prepared.id(place));
        let begun = async {
            let expected = expected_work(&session, both.plan(place), estimate).await?;
            chunks::begin(&session, id, Phase::Documents.as_str(), estimate, expected).await
        };
        session.transaction("begin a pass", true, begun).await?;
        tracing::info!(collection = name, estimate, "a pass begins");
        Ok(Turn::Over)
    }

    /// Judges chunks until the turn is over.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is kept between turns cannot be kept in the task, for it borrows the session"
    )]
    async fn walk<'a>(
        &mut self,
        both: &'a Both,
        (source, target): &'a Sides<'a>,
        walk: &mut Option<Walk<'a>>,
        place: usize,
        mut pass: Pass,
        mut cursor: Cursor,
        since: ClusterTime,
    ) -> Result<Turn, Error> {
        let kept = walk.take().filter(|walk| (walk.place, walk.pass) == (place, pass.number));
        let Walk { baseline, .. } = walk.insert(kept.unwrap_or_else(|| {
            let baseline = Baseline::new(source, target, both.plan(place), self.bounds(both.bounds), false);
            Walk { place, pass: pass.number, baseline }
        }));
        let ends = Instant::now() + TURN;
        let mut step = baseline.step(&cursor, since).await;
        loop {
            let judged = match step {
                Ok(Step::Judged(judged)) => judged,
                Ok(Step::Waits(waits)) => return Ok(Turn::Waits(waits.as_str().to_owned())),
                Err(error) => return Ok(Turn::Failed(error)),
            };
            let next = judged.next.clone();
            let now = std::time::Instant::now();
            self.rate.spend(usize::try_from(judged.work).unwrap_or(usize::MAX), judged.bytes, now);
            let pause = self.rate.wait(now);
            let is_over = Instant::now() >= ends;
            // Without a pause the next chunk is judged while this one is stored; if this one is not, that judgement is dropped.
            let goes_on = !is_over && pause < SHORTEST_PAUSE;
            baseline.read_ahead(goes_on);
            let store = self.store(both, place, &pass, &cursor, judged);
            let (stored, judged) = match next.as_ref().filter(|_| goes_on) {
                Some(next) => {
                    let (stored, judged) = join(store, baseline.step(next, since)).await;
                    (stored?, Some(judged))
                }
                None => (store.await?, None),
            };
            let Some((stored, next)) = stored.zip(next) else {
                // The walk may have come further than what is stored.
                *walk = None;
                return Ok(Turn::Over);
            };
            (pass, cursor) = (stored, next);
            step = match judged {
                Some(judged) => judged,
                None if is_over => return Ok(Turn::Over),
                None => {
                    sleep(pause).await;
                    baseline.step(&cursor, since).await
                }
            };
        }
    }

    /// Bounds of chunks at the rate.
    fn bounds(&self, bounds: Bounds) -> Bounds {
        let (documents, _) = self.both.rates;
        if documents == 0 {
            return bounds;
        }
        let share = usize::try_from(documents / CHUNKS_PER_SECOND).unwrap_or(usize::MAX);
        let documents = bounds.limits.documents.min(share.max(MIN_DOCUMENTS));
        Bounds { limits: Limits { documents, ..bounds.limits }, ..bounds }
    }

    /// Stores a chunk with all that it found. Returns the pass behind it; `None` when its proof was voided meanwhile.
    async fn store(
        &self,
        both: &Both,
        place: usize,
        pass: &Pass,
        cursor: &Cursor,
        judged: Judged,
    ) -> Result<Option<Pass>, Error> {
        let (id, tables) = (both.prepared.id(place), both.tables(place));
        let scope = both.findings(place, &tables);
        let documents = if cursor.phase == Phase::Documents { judged.looked } else { 0 };
        let next = judged.next.as_ref().map(|next| (next.phase.as_str(), next.after.as_deref()));
        let session = self.lead.session().await;
        let store = async {
            let recorded = findings::record(&session, &scope, FoundBy::Baseline, &judged.found).await?;
            let chunk = Chunk {
                phase: cursor.phase.as_str(),
                after: cursor.after.as_deref(),
                until: judged.until.as_deref(),
                as_of: judged.as_of,
                looked: judged.looked,
                documents,
                work: judged.work,
                findings: judged.found.len() as u64,
            };
            let stored = chunks::finish(&session, id, pass, &chunk, next).await?;
            if stored.is_some() && !judged.undecided.is_empty() {
                chunks::store_undecided(&session, id, &judged.undecided).await?;
            }
            Ok((recorded, stored))
        };
        let (recorded, stored) = session.transaction("store a chunk", true, store).await?;
        drop(session);
        metrics::counter!(names::RECONCILE_DOCUMENTS, "collection" => scope.name.to_owned()).increment(documents);
        log(scope.name, &recorded);
        let new = recorded.new.into_iter().filter_map(|subject| match subject {
            Subject::Document(document) => Some(document),
            Subject::Row { .. } => None,
        });
        let again: Vec<DocumentId> = judged.undecided.into_iter().chain(new).collect();
        if !again.is_empty() {
            // Nobody waits for it: what was undecided is asked for again at the end of the pass.
            drop(self.delta.judge_again(place, again).await);
        }
        Ok(stored)
    }

    /// Completes a pass whose chunks are all judged, once nothing is undecided any more.
    async fn complete(
        &mut self,
        both: &Both,
        (source, target): &Sides<'_>,
        place: usize,
        pass: &Pass,
    ) -> Result<Turn, Error> {
        if !self.undecided(both, place).await? {
            return Ok(Turn::Waits(AWAITS_UNDECIDED.to_owned()));
        }
        let no_such_collection = if pass.documents == 0 {
            match no_such_collection(source, target, both.plan(place)).await {
                Ok(missing) => missing,
                Err(error) => return Ok(Turn::Failed(error)),
            }
        } else {
            false
        };
        let (id, tables) = (both.prepared.id(place), both.tables(place));
        let scope = both.findings(place, &tables);
        let lead = self.lead.session().await;
        let complete = async {
            let complete = chunks::complete(&lead, id, pass, no_such_collection).await?;
            for table in tables.iter().filter(|_| complete) {
                findings::end_rows(&lead, &scope, table, pass.began_us).await?;
            }
            Ok(complete)
        };
        if lead.transaction("complete a pass", true, complete).await? {
            tracing::info!(collection = scope.name, documents = pass.documents, "a pass is complete");
        }
        Ok(Turn::Over)
    }

    /// Has the delta judge what chunks left undecided; returns whether nothing is left.
    async fn undecided(&mut self, both: &Both, place: usize) -> Result<bool, Error> {
        let (lane, id) = (&mut self.lanes[place], both.prepared.id(place));
        if let Some((keys, mut done)) = lane.judging.take() {
            match done.try_recv() {
                Ok(()) => chunks::forget_undecided(&*self.lead.session().await, id, &keys).await?,
                Err(oneshot::error::TryRecvError::Empty) => {
                    lane.judging = Some((keys, done));
                    return Ok(false);
                }
                // The delta has lost the request, so it is made again.
                Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
        let documents = chunks::undecided(&*self.lead.session().await, id, UNDECIDED).await?;
        if documents.is_empty() {
            return Ok(true);
        }
        let keys = documents.iter().map(|document| document.key.clone()).collect();
        lane.judging = Some((keys, self.delta.judge_again(place, documents).await));
        Ok(false)
    }
}

/// About how much the first pass over a collection reads: each document, each of them again in the ledger and for each table that
/// is held against the ledger, and each row.
async fn expected_work(session: &Session, plan: &CollectionPlan, documents: u64) -> Result<u64, postgres::Error> {
    let held =
        plan.tables.iter().filter(|table| table.root && matches!(table.found, Found::ById { .. })).count() as u64;
    Ok(documents * (2 + held) + target::estimated_rows(session, plan).await?)
}

/// Whether a collection has something to do: a pass under way, none that counts, or one that is too old.
fn is_due(passes: &Passes, every: Duration) -> bool {
    passes.under_way.is_some() || passes.look_again || passes.complete.is_none_or(|age| age >= every)
}

/// Orders collections, the most urgent first: those without a pass that counts, small ones first, then those with the oldest.
fn urgency(passes: &Passes) -> (bool, u64, std::cmp::Reverse<Duration>) {
    match passes.complete {
        None => (false, passes.estimate, std::cmp::Reverse(Duration::ZERO)),
        Some(age) => (true, 0, std::cmp::Reverse(age)),
    }
}

fn log(collection: &str, recorded: &Recorded) {
    if recorded.new.is_empty() && recorded.left_out == 0 {
        return;
    }
    let named: Vec<_> = recorded.new.iter().take(MAX_NAMED).map(Subject::label).collect();
    let (new, not_kept, named) = (recorded.new.len(), recorded.left_out, named.join(" "));
    tracing::warn!(collection, new, not_kept, named, "drift: a pass has found differences");
}

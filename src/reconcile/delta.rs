//! The delta: every key that changes in the source is judged within seconds, and V is the time up to which all are.
//!
//! ```text
//!  change stream of keys ──▶ pending ──due: W covers its oldest change──▶ round: as of the last instant of W, else back
//!        │  reached             │ a set with a bound                        │ outcomes
//!        ▼                      ▼                                           ▼
//!   V = min(reached, oldest change that is not judged)          findings, V, token: one transaction of the lead
//! ```
//! The stream is the reconciler's own, so a change that the pipeline has lost is met here. It is read no further than the set has
//! room, so it gives way while the target catches up, and its token is stored behind the keys that are judged. A key that stays
//! undecided is stored itself, so that it holds no token back.
//!
//! Each collection has rounds of its own. One whose statements fail is tried again with back-off, and the others go on. If the set
//! is full of keys of a collection that cannot be judged, that collection is given up: its proof is void, its keys are forgotten,
//! and it is followed again once its keys can be judged.
//!
//! Documents with open findings are judged again every few seconds, so that findings end by themselves.

pub(super) mod followed;
pub(super) mod round;

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{
    Stream, StreamExt,
    stream::{self, FuturesUnordered},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use self::{
    followed::{Ask, Followed, Outcome},
    round::{Judged, Sessions},
};
use super::{Error, both::Both, pending::Marks};
use crate::{
    control::{
        findings::{self, FoundBy, Subject},
        lead::Lead,
        proofs::{self, Advance, Since},
    },
    metrics as names,
    model::{ClusterTime, Frontier, ResumeToken},
    postgres::{self, Session},
    retry::{self, Backoff, Stalls},
    source::{self, KeyBatch, KeyStream, Scope},
    target::{DocumentId, TargetReader},
};

/// Interval between two rounds of a collection. A hot key is judged so often, however often it changes.
const ROUND_INTERVAL: Duration = Duration::from_millis(250);
/// Keys of a round, so that its outcome and the watermark after it do not come late.
const ROUND_KEYS: usize = 2_000;
/// Interval at which V, findings and the token are recorded.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which the source is asked for its time.
const TIME_INTERVAL: Duration = Duration::from_millis(250);
/// Interval at which documents with open findings are judged again, and at most how many of a collection.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);
const RECHECKED: i64 = 1_000;
/// How long a key is undecided before it is stored, so that it holds no token back.
const STORED_AFTER: Duration = Duration::from_secs(10);
/// How long a collection is in trouble before it is given up, if the set has no room for the others.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);
/// Requests of other tasks that may wait.
const MAX_ASKS: usize = 64;
/// Ids that a log line names.
const MAX_NAMED: usize = 10;

const NO_TOKEN: &str = "the place of the reconciler's change stream is lost, so changes may have been missed";

/// Bounds of the delta.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeltaBounds {
    /// Keys that may wait, in all collections.
    pub(crate) keys: usize,
    /// Their bytes in memory.
    pub(crate) bytes: usize,
    /// Delays after a failure.
    pub(crate) backoff: Backoff,
}

/// Asks the delta to judge documents. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DeltaHandle {
    both: Arc<Both>,
    lead: Arc<Lead>,
    asks: mpsc::Sender<(usize, Ask)>,
}

impl DeltaHandle {
    /// Has documents of a collection, by place, judged in a snapshot of the target that is taken after this call. The receiver
    /// hears once all of them are, and what was found is recorded; it fails if they were not judged.
    pub(crate) async fn judge_again(&self, collection: usize, documents: Vec<DocumentId>) -> oneshot::Receiver<()> {
        let (done, judged) = oneshot::channel();
        // If the delta has ended, the receiver fails.
        let _ = self.asks.send((collection, Ask { documents, done })).await;
        judged
    }

    /// Voids the proof of a collection, by place: everything must be compared again.
    ///
    /// # Errors
    /// [`postgres::Error::Statement`] by its cause.
    pub(crate) async fn void(&self, collection: usize, because: &str) -> Result<(), postgres::Error> {
        let id = self.both.prepared.id(collection);
        proofs::void(&*self.lead.session().await, &[id], because, Since::AsBefore).await
    }
}

/// The task.
pub(crate) struct Delta {
    both: Arc<Both>,
    lead: Arc<Lead>,
    scope: Scope,
    bounds: DeltaBounds,
    stalls: Stalls,
    asks: mpsc::Receiver<(usize, Ask)>,
    /// By place.
    followed: Vec<Followed>,
    tables: Vec<Vec<String>>,
    /// Everything before this was given.
    reached: Frontier,
    /// The time of the stream's place: every change behind it is still to be given.
    place: ClusterTime,
    /// Tokens, by the first time that they leave out.
    tokens: Marks<ResumeToken>,
    stored: Option<ResumeToken>,
    /// When everything was before a frontier, by that frontier.
    complete: Marks<Instant>,
}

type Round = (usize, Result<Judged, Error>);

fn ticks(pause: Duration) -> Interval {
    let mut interval = interval(pause);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// The time of the source again and again, each with the moment at which it was asked: everything that had happened by then is at or
/// before that time. It is asked for, because a stream that always has more never says that it has given everything.
fn times(both: &Both) -> impl Stream<Item = (ClusterTime, Instant)> {
    let ticks = stream::unfold(ticks(TIME_INTERVAL), async |mut ticks| Some((ticks.tick().await, ticks)));
    // Errors are those of the stream, too, which reports them.
    ticks.filter_map(async |asked| Some((both.source.now().await.ok()?, asked)))
}

impl Delta {
    /// Creates the task, and the handle by which others ask it.
    pub(crate) fn new(
        both: Arc<Both>,
        lead: Arc<Lead>,
        scope: Scope,
        bounds: DeltaBounds,
        stalls: Stalls,
    ) -> (DeltaHandle, Self) {
        let (sender, asks) = mpsc::channel(MAX_ASKS);
        let handle = DeltaHandle { both: both.clone(), lead: lead.clone(), asks: sender };
        let delta = Self {
            scope,
            bounds,
            stalls,
            asks,
            followed: (0..both.len()).map(|_| Followed::default()).collect(),
            tables: (0..both.len()).map(|collection| both.tables(collection)).collect(),
            reached: Frontier::default(),
            place: ClusterTime::default(),
            tokens: Marks::default(),
            stored: None,
            complete: Marks::default(),
            both,
            lead,
        };
        (handle, delta)
    }

    /// Follows the source until it is dropped.
    ///
    /// # Errors
    /// [`postgres::Error::CatalogChanged`]: the plan is outdated. Others end the attempt of the role: those of the lead's session,
    /// and those of the stream that neither pass nor are lost history.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        let both = self.both.clone();
        let session = both.session().await?;
        let mut stream = self.begin().await?;
        let mut times = pin!(times(&both));
        let sessions = Sessions::new();
        let mut rounds = FuturesUnordered::new();
        let [mut round, mut record, mut recheck] = [ROUND_INTERVAL, RECORD_INTERVAL, RECHECK_INTERVAL].map(ticks);
        loop {
            let room = self.has_room();
            // Branches that make room come first, and the stream last.
            tokio::select! {
                biased;
                Some((collection, judged)) = rounds.next() => self.take(collection, judged)?,
                Some((collection, ask)) = self.asks.recv() => self.ask(collection, ask),
                _ = record.tick() => {
                    self.make_room().await?;
                    self.record().await?;
                }
                _ = recheck.tick() => self.recheck(&session).await?,
                _ = round.tick() => {
                    for (collection, documents, at) in self.due(&session).await? {
                        let judging = round::judge(&both, &sessions, collection, documents, at);
                        rounds.push(async move { (collection, judging.await) as Round });
                    }
                }
                Some((time, asked)) = times.next() => self.told(time, asked),
                batch = stream.next(), if room => match batch {
                    Ok(batch) => self.receive(batch).await?,
                    Err(error @ (source::Error::HistoryLost { .. } | source::Error::Behind { .. })) => {
                        stream = self.start_again(&retry::chain(&error)).await?;
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }

    /// Opens the stream behind the stored token.
    async fn begin(&mut self) -> Result<KeyStream, Error> {
        let lead = self.lead.clone();
        let session = lead.session().await;
        let followed = proofs::followed(&session, self.both.prepared.ids()).await?;
        let Some(token) = proofs::token(&session).await? else {
            if !followed.is_empty() {
                proofs::void(&session, &followed, NO_TOKEN, Since::Unknown).await?;
            }
            drop(session);
            return self.open_now().await;
        };
        (self.reached, self.place) = (token.frontier(), token.time());
        for collection in followed.iter().filter_map(|id| self.both.prepared.collection_of(*id)) {
            self.followed[collection].follows = true;
            for (document, since) in proofs::undecided(&session, self.both.prepared.id(collection)).await? {
                self.followed[collection].pending.restore(document, since, token.time());
            }
        }
        self.stored = Some(token.clone());
        Ok(self.open(Ok(token)))
    }

    fn open(&self, after: Result<ResumeToken, ClusterTime>) -> KeyStream {
        let source = self.both.source.clone().with_stalls(self.stalls.clone());
        KeyStream::open(&source, self.scope.clone(), after, self.bounds.backoff)
    }

    async fn open_now(&mut self) -> Result<KeyStream, Error> {
        let now = self.both.source.now().await?;
        (self.reached, self.place) = (Frontier(now), now);
        Ok(self.open(Err(now)))
    }

    /// The history is lost: what has changed meanwhile is not known, so every proof is void.
    async fn start_again(&mut self, because: &str) -> Result<KeyStream, Error> {
        tracing::warn!(because, "the proof of every collection is void: the reconciler begins its change stream again");
        let lead = self.lead.clone();
        let session = lead.session().await;
        let ids = self.both.prepared.ids();
        let act = "begin the delta again";
        let voided = async {
            proofs::void(&session, ids, because, Since::Unknown).await?;
            proofs::forget_token(&session).await
        };
        session.transaction(act, true, voided).await?;
        drop(session);
        self.followed.iter_mut().for_each(Followed::lose);
        (self.tokens, self.complete, self.stored) = (Marks::default(), Marks::default(), None);
        self.open_now().await
    }

    /// Takes a reply of the stream.
    async fn receive(&mut self, batch: KeyBatch) -> Result<(), Error> {
        for changed in batch.keys {
            let Some(collection) = self.both.prepared.named(&changed.collection) else { continue };
            let followed = &mut self.followed[collection];
            if followed.follows {
                followed.pending.insert(DocumentId { key: changed.key, id: Some(changed.id) }, changed.time);
            }
        }
        for replaced in batch.replaced {
            let Some(collection) = self.both.prepared.named(&replaced.collection) else { continue };
            tracing::warn!(collection = replaced.collection, because = replaced.because, "the proof is void");
            let (id, since) = (self.both.prepared.id(collection), Since::Time(replaced.time));
            proofs::void(&*self.lead.session().await, &[id], &replaced.because, since).await?;
        }
        self.reached = self.reached.max(batch.frontier);
        self.place = self.place.max(batch.token.time());
        self.tokens.add(batch.token.time().next(), batch.token);
        Ok(())
    }

    /// The source has told its time. A member that was just elected may know less than the one before it, so what it says is no news.
    fn told(&mut self, time: ClusterTime, asked: Instant) {
        let bound = time.next();
        if self.complete.last().is_none_or(|last| last <= bound) {
            self.complete.add(bound, asked);
        }
    }

    fn ask(&mut self, collection: usize, ask: Ask) {
        let followed = &mut self.followed[collection];
        // A dropped request fails, and is made again later.
        if followed.follows {
            followed.ask(ask, self.reached);
        }
    }

    fn has_room(&self) -> bool {
        let (keys, bytes) = self
            .followed
            .iter()
            .fold((0, 0), |(keys, bytes), followed| (keys + followed.pending.len(), bytes + followed.pending.bytes()));
        keys < self.bounds.keys && bytes < self.bounds.bytes
    }

    /// Gives up the collection in trouble that has the most keys, if the set is full.
    async fn make_room(&mut self) -> Result<(), Error> {
        if self.has_room() {
            return Ok(());
        }
        let long = |followed: &Followed| {
            followed.trouble.as_ref().is_some_and(|trouble| trouble.since.elapsed() > GIVEN_UP_AFTER)
        };
        let in_trouble =
            self.followed.iter_mut().enumerate().filter(|(_, followed)| followed.follows && long(followed));
        let Some((collection, followed)) = in_trouble.max_by_key(|(_, followed)| followed.pending.len()) else {
            return Ok(());
        };
        let reason = followed.trouble.as_ref().map(|trouble| trouble.reason.as_str()).unwrap_or_default();
        let because = format!("too many changed documents waited to be compared: {reason}");
        tracing::warn!(collection = self.both.plan(collection).collection, because, "the proof is void");
        followed.lose();
        let id = self.both.prepared.id(collection);
        proofs::void(&*self.lead.session().await, &[id], &because, Since::Unknown).await?;
        Ok(())
    }

    /// The keys that can be judged now, by collection, each with the time as of which; begins to follow collections whose
    /// snapshot is applied.
    async fn due(&mut self, session: &Session) -> Result<Vec<(usize, Vec<DocumentId>, ClusterTime)>, Error> {
        let now = Instant::now();
        let wanted = |followed: &Followed| !followed.follows || (followed.pending.len() > 0 && !followed.in_round);
        let places: Vec<usize> = (0..self.followed.len()).filter(|place| wanted(&self.followed[*place])).collect();
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let topics: Vec<_> = places.iter().map(|place| self.both.topic(*place)).collect();
        let reader = TargetReader::begin(session, &self.both.prepared).await?;
        let watermarks = reader.watermarks(&topics).await?;
        reader.end().await?;
        let (mut due, mut begin) = (Vec::new(), Vec::new());
        for (place, watermark) in places.into_iter().zip(watermarks) {
            let followed = &mut self.followed[place];
            let Some(at) = watermark.and_then(Frontier::last_covered) else {
                followed.has_no_watermark(now);
                continue;
            };
            if !followed.follows {
                begin.push(place);
            } else if followed.trouble.as_ref().is_none_or(|trouble| trouble.retry_at <= now) {
                let documents = followed.pending.due(at, ROUND_KEYS);
                if !documents.is_empty() {
                    followed.in_round = true;
                    due.push((place, documents, at));
                }
            }
        }
        self.follow(&begin).await?;
        Ok(due)
    }

    /// Begins to follow collections: every change behind the present place is given. Not before a token is stored, without which the
    /// changes are lost when the process ends.
    async fn follow(&mut self, places: &[usize]) -> Result<(), Error> {
        if places.is_empty() || self.stored.is_none() {
            return Ok(());
        }
        let ids: Vec<i32> = places.iter().map(|place| self.both.prepared.id(*place)).collect();
        proofs::follow(&*self.lead.session().await, &ids, self.place).await?;
        for place in places {
            self.followed[*place].follows = true;
            self.followed[*place].trouble = None;
        }
        Ok(())
    }

    /// Takes the result of a round.
    fn take(&mut self, collection: usize, judged: Result<Judged, Error>) -> Result<(), Error> {
        let now = Instant::now();
        let followed = &mut self.followed[collection];
        let stalls = self.stalls.of(&format!("delta of {}", self.both.plan(collection).collection));
        match judged {
            Ok(judged) => {
                followed.take(judged, now);
                stalls.goes_on();
            }
            Err(Error::Target(error @ postgres::Error::CatalogChanged)) => return Err(error.into()),
            Err(error) => {
                let (reason, backoff) = ((retry::chain(&error), error.next_step()), self.bounds.backoff);
                let hint = reason.1.or(error.hint());
                if let Some(reason) = followed.fail(reason, (backoff.min, backoff.max), now) {
                    tracing::warn!(collection = self.both.plan(collection).collection, reason, "keys cannot be judged");
                    stalls.waits(reason.to_owned(), hint);
                }
            }
        }
        Ok(())
    }

    /// Has documents with open findings judged again.
    async fn recheck(&mut self, session: &Session) -> Result<(), Error> {
        self.both.prepared.still_fits(session).await?;
        for (collection, followed) in self.followed.iter_mut().enumerate().filter(|(_, followed)| followed.follows) {
            let open = findings::open(session, Some(self.both.prepared.id(collection)), RECHECKED).await?;
            let documents = open.into_iter().filter_map(|finding| match finding.found.subject {
                Subject::Document(document) => Some(document),
                Subject::Row { .. } => None,
            });
            let documents: Vec<_> = documents.collect();
            followed.open = documents.iter().map(|document| document.key.clone()).collect();
            if !followed.in_round {
                let time = followed.unjudged_since(self.reached);
                documents.into_iter().for_each(|document| followed.pending.insert(document, time));
            }
        }
        Ok(())
    }

    /// Records V, what was found and the token, in one transaction: no V without the differences before it.
    async fn record(&mut self) -> Result<(), Error> {
        let lead = self.lead.clone();
        let session = lead.session().await;
        session.transaction("record the delta", true, self.record_in(&session)).await?;
        drop(session);
        for (collection, followed) in self.followed.iter_mut().enumerate() {
            for done in followed.answered.drain(..) {
                // The asking task may have ended.
                let _ = done.send(());
            }
            let name = || self.both.plan(collection).collection.clone();
            let (judged, resolved) = (std::mem::take(&mut followed.judged), std::mem::take(&mut followed.resolved));
            metrics::counter!(names::RECONCILE_DOCUMENTS, "collection" => name()).increment(judged);
            metrics::counter!(names::UNDECIDED_RESOLVED, "collection" => name()).increment(resolved);
        }
        Ok(())
    }

    async fn record_in(&mut self, session: &Session) -> Result<(), postgres::Error> {
        let stored_before = Instant::now().checked_sub(STORED_AFTER);
        let mut advances = Vec::with_capacity(self.followed.len());
        for collection in 0..self.followed.len() {
            self.record_outcomes(session, collection).await?;
            let id = self.both.prepared.id(collection);
            let followed = &mut self.followed[collection];
            let forget = std::mem::take(&mut followed.forget);
            if !forget.is_empty() {
                proofs::forget_undecided(session, id, &forget).await?;
            }
            let store = stored_before.map(|before| followed.pending.mark_stored(before)).unwrap_or_default();
            if !store.is_empty() {
                proofs::store_undecided(session, id, &store).await?;
            }
            advances.push(self.advance(collection));
        }
        proofs::advance(session, &advances).await?;
        let oldest = self.followed.iter().filter_map(|followed| followed.pending.oldest_not_stored()).min();
        let behind = oldest.unwrap_or(ClusterTime { t: u32::MAX, i: u32::MAX });
        let token = self.tokens.at(behind).cloned();
        self.tokens.forget_before(behind);
        if let (Some(token), Some(first)) =
            (token.filter(|token| self.stored.as_ref() != Some(token)), self.both.prepared.ids().first())
        {
            proofs::store_token(session, *first, &token).await?;
            self.stored = Some(token);
        }
        let slowest = advances.iter().filter_map(|advance| advance.verified).min();
        self.complete.forget_before(slowest.unwrap_or(self.reached).0);
        Ok(())
    }

    async fn record_outcomes(&mut self, session: &Session, collection: usize) -> Result<(), postgres::Error> {
        let scope = self.both.findings(collection, &self.tables[collection]);
        let followed = &mut self.followed[collection];
        let (mut found, mut equal) = (Vec::new(), Vec::new());
        for (key, outcome) in followed.outcomes.drain() {
            match outcome {
                Outcome::Differs(difference) => found.push(difference),
                Outcome::Equal(entry) => equal.push((key, entry)),
            }
        }
        let recorded = findings::record(session, &scope, FoundBy::Delta, &found).await?;
        let ended = findings::end_documents(session, &scope, &equal).await?;
        if !recorded.new.is_empty() {
            let named: Vec<_> = recorded.new.iter().take(MAX_NAMED).map(Subject::label).collect();
            let (collection, new) = (scope.name, recorded.new.len());
            tracing::warn!(collection, new, keys = named.join(" "), "drift: documents that changed are not equal");
        }
        if !ended.is_empty() {
            tracing::info!(collection = scope.name, count = ended.len(), "findings have ended");
        }
        Ok(())
    }

    /// How far a collection is verified.
    fn advance(&self, collection: usize) -> Advance {
        let followed = &self.followed[collection];
        let verified = followed.follows.then(|| followed.pending.verified(self.reached));
        let complete = verified.and_then(|verified| self.complete.at(verified.0));
        let undecided = followed.pending.undecided_keys();
        Advance {
            collection: self.both.prepared.id(collection),
            verified,
            age: complete.map(Instant::elapsed),
            undecided,
            oldest: followed.pending.oldest(),
            waits_for: followed.trouble.as_ref().map(|trouble| trouble.reason.clone()),
            hint: followed.trouble.as_ref().and_then(|trouble| trouble.hint).map(str::to_owned),
        }
    }
}

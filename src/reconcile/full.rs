//! A comparison of a whole collection on demand: one walk, now, that survives a server that is away for a while.
//!
//! Its findings are recorded as the reconciler's are, and documents that it judges equal end theirs. Memory: that of a walk, and at
//! most [`MAX_UNDECIDED`] documents and as many findings as are listed.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{
    Error,
    baseline::{Baseline, no_such_collection},
    both::Both,
    examine::POLL_INTERVAL,
    proof::Proof,
    report::Report,
    sides::{SourceSide, TargetSide},
    step::{Cursor, Judged, Phase, Step, Waits},
};
use crate::{
    control::findings::{self, Found, FoundBy, Kind, Subject},
    model::ClusterTime,
    postgres::{self, Session, session::field},
    retry::{Class, Classify},
    target::DocumentId,
};

/// How long a server may be away: it restarts in less, and a person waits for the command.
const OUTAGE: Duration = Duration::from_secs(60);
/// Pause between two attempts while a server is away.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Undecided documents that are kept to be judged again at the end; more are only counted.
const MAX_UNDECIDED: usize = 10_000;

/// The time that may be spent on waiting for the sink, for all collections together: one that stands costs it once.
pub(crate) struct Patience(Duration);

impl Patience {
    /// Creates the bound of all waits.
    pub(crate) fn new(wait: Duration) -> Self {
        Self(wait)
    }

    /// Waits a little; returns `false` when no time is left.
    async fn wait(&mut self) -> bool {
        let pause = POLL_INTERVAL.min(self.0);
        self.0 -= pause;
        sleep(pause).await;
        !pause.is_zero()
    }
}

/// How far a walk is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// The part of the walk.
    pub(crate) phase: Phase,
    /// Documents, entries or rows of the part that were looked at.
    pub(crate) looked: u64,
    /// Estimated number of documents.
    pub(crate) documents: u64,
}

/// The end of a walk.
pub(crate) enum Walked {
    /// Everything was looked at.
    Whole(Box<Report>),
    /// It could not go on.
    Waits(Waits),
}

/// A walk under way.
pub(crate) struct FullPass<'a> {
    both: &'a Both,
    collection: usize,
    /// Most findings of the report.
    most: usize,
    cursor: Option<Cursor>,
    /// When it began by PostgreSQL's clock, in microseconds since 1970.
    began_micros: Option<i64>,
    as_of: ClusterTime,
    estimate: u64,
    looked: u64,
    proof: Proof,
    listed: Vec<Found>,
    undecided: Vec<DocumentId>,
    more_undecided: u64,
    /// Whether findings were left out when they were recorded.
    left_out: bool,
}

impl<'a> FullPass<'a> {
    /// Begins a walk over a collection, by place, that lists at most `most` findings.
    pub(crate) fn new(both: &'a Both, collection: usize, most: usize) -> Self {
        Self {
            both,
            collection,
            most,
            cursor: Some(Cursor::BEGIN),
            began_micros: None,
            as_of: ClusterTime::default(),
            estimate: 0,
            looked: 0,
            proof: Proof { at: Timestamp::now(), full: true, ..Proof::default() },
            listed: Vec::new(),
            undecided: Vec::new(),
            more_undecided: 0,
            left_out: false,
        }
    }

    /// Walks to the end. After an error that may pass it goes on behind the last chunk, for as long as a server may be away.
    ///
    /// # Errors
    /// [`Error::Source`] and [`Error::Target`], by the class of their cause.
    pub(crate) async fn run(
        mut self,
        patience: &mut Patience,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Walked, Error> {
        let (mut away, mut reached) = (None, self.cursor.clone());
        loop {
            let error = match self.attempt(patience, progress).await {
                Ok(Some(waits)) => return Ok(Walked::Waits(waits)),
                Ok(None) => return Ok(Walked::Whole(Box::new(self.report()))),
                Err(error) => error,
            };
            if self.cursor != reached {
                (away, reached) = (None, self.cursor.clone());
            }
            let since: Instant = *away.get_or_insert_with(Instant::now);
            if error.class() != Class::Transient || since.elapsed() >= OUTAGE {
                return Err(error);
            }
            let (collection, reason) = (&self.both.plan(self.collection).collection, crate::retry::chain(&error));
            tracing::warn!(collection, reason, "the comparison is tried again");
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Walks in one session; returns what it waits for in vain.
    async fn attempt(
        &mut self,
        patience: &mut Patience,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Option<Waits>, Error> {
        let (both, place) = (self.both, self.collection);
        let session = both.session().await?;
        both.prepared.still_fits(&session).await?;
        let (source, target) = (both.source_of(place), both.target_of(&session, place));
        if self.began_micros.is_none() {
            self.estimate = source.estimate().await?;
            self.began_micros = Some(now(&session).await?);
        }
        let mut baseline = Baseline::new(&source, &target, both.plan(place), both.bounds, true);
        while let Some(cursor) = self.cursor.clone() {
            match baseline.step(&cursor, ClusterTime::default()).await? {
                Step::Judged(judged) => {
                    self.record(&session, &mut baseline, &judged.found).await?;
                    self.take(&cursor, judged);
                    progress(Progress { phase: cursor.phase, looked: self.looked, documents: self.estimate });
                }
                // The end of a snapshot may be hours away.
                Step::Waits(Waits::Snapshot) => return Ok(Some(Waits::Snapshot)),
                Step::Waits(waits) if !patience.wait().await => return Ok(Some(waits)),
                Step::Waits(_) => {}
            }
        }
        while !self.undecided.is_empty() {
            let judged = baseline.judge_again(self.undecided.clone()).await?;
            self.record(&session, &mut baseline, &judged.found).await?;
            self.undecided = judged.undecided;
            self.count(judged.found);
            if !self.undecided.is_empty() && !patience.wait().await {
                break;
            }
        }
        self.end_findings(&session, &mut baseline).await?;
        if self.proof.documents == 0 {
            self.proof.no_such_collection = no_such_collection(&source, &target, both.plan(place)).await?;
        }
        Ok(None)
    }

    /// Takes a chunk in.
    fn take(&mut self, cursor: &Cursor, judged: Judged) {
        self.as_of = self.as_of.max(judged.as_of);
        if cursor.phase == Phase::Documents {
            self.proof.documents += judged.looked;
        }
        self.looked += judged.looked;
        if judged.next.as_ref().is_none_or(|next| next.phase != cursor.phase) {
            self.looked = 0;
        }
        let room = MAX_UNDECIDED.saturating_sub(self.undecided.len());
        self.more_undecided += judged.undecided.len().saturating_sub(room) as u64;
        self.undecided.extend(judged.undecided.into_iter().take(room));
        self.count(judged.found);
        self.cursor = judged.next;
    }

    fn count(&mut self, found: Vec<Found>) {
        for found in &found {
            *match found.kind {
                Kind::Missing => &mut self.proof.missing,
                Kind::Extra => &mut self.proof.extra,
                Kind::Different | Kind::Version => &mut self.proof.different,
            } += 1;
        }
        let room = self.most.saturating_sub(self.listed.len());
        self.listed.extend(found.into_iter().take(room));
    }

    /// Records findings. A new one is judged once more, because a later judgement of the reconciler may be stored already.
    async fn record<T: TargetSide>(
        &mut self,
        session: &Session,
        baseline: &mut Baseline<'_, impl SourceSide, T>,
        found: &[Found],
    ) -> Result<(), Error> {
        if found.is_empty() {
            return Ok(());
        }
        let tables = self.both.tables(self.collection);
        let scope = self.both.findings(self.collection, &tables);
        let recorded = findings::record(session, &scope, FoundBy::Command, found);
        let recorded = session.transaction("record findings", true, recorded).await?;
        self.left_out |= recorded.left_out > 0;
        let new: Vec<DocumentId> = recorded.new.into_iter().filter_map(document).collect();
        self.end_if_equal(session, baseline, new).await
    }

    /// Ends the open findings that the walk has not met again.
    async fn end_findings<T: TargetSide>(
        &mut self,
        session: &Session,
        baseline: &mut Baseline<'_, impl SourceSide, T>,
    ) -> Result<(), Error> {
        let (id, tables) = (self.both.prepared.id(self.collection), self.both.tables(self.collection));
        let scope = self.both.findings(self.collection, &tables);
        let open = findings::open(session, Some(id), i64::from(self.both.findings_kept)).await?;
        let began = self.began_micros.unwrap_or_default();
        let old = open.into_iter().filter(|finding| finding.confirmed_ms * 1_000 < began);
        let documents: Vec<DocumentId> = old.filter_map(|finding| document(finding.found.subject)).collect();
        self.end_if_equal(session, baseline, documents).await?;
        if !self.left_out {
            for table in &self.both.plan(self.collection).tables {
                let name = table.table.label();
                let ended = findings::end_rows(session, &scope, &name, began);
                session.transaction("end findings", true, ended).await?;
            }
        }
        Ok(())
    }

    async fn end_if_equal<T: TargetSide>(
        &self,
        session: &Session,
        baseline: &mut Baseline<'_, impl SourceSide, T>,
        documents: Vec<DocumentId>,
    ) -> Result<(), Error> {
        if documents.is_empty() {
            return Ok(());
        }
        let equal = baseline.judge_again(documents).await?.equal;
        let tables = self.both.tables(self.collection);
        let scope = self.both.findings(self.collection, &tables);
        let ended = findings::end_documents(session, &scope, &equal);
        session.transaction("end findings", true, ended).await?;
        Ok(())
    }

    fn report(mut self) -> Report {
        self.proof.undecided = self.undecided.len() as u64 + self.more_undecided;
        let name = self.both.plan(self.collection).collection.clone();
        Report::of_walk(name, self.proof, self.as_of, self.listed)
    }
}

fn document(subject: Subject) -> Option<DocumentId> {
    match subject {
        Subject::Document(document) => Some(document),
        Subject::Row { .. } => None,
    }
}

/// PostgreSQL's clock in microseconds since 1970.
async fn now(session: &Session) -> Result<i64, postgres::Error> {
    let act = "read the clock";
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
    field(&session.query_one(act, sql, &[]).await?, 0, act)
}

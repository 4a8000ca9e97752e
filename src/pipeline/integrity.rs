//! Looks for rows that lack their parent, foreign key by foreign key.
//!
//! ```text
//!  page ─▶ rows without parent ─▶ wait until everything that they may refer to is applied ─▶ look at them again ─▶ orphans
//! ```
//! A child may be applied before its parent, because their topics are read independently. So a row counts only if its parent is
//! still missing when every collection has come to where the target was at the first look. Orphans are never repaired: their cause
//! is a reference of the source that dangles.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    Comparison,
    fit::{Fit, find},
    identity::configured,
};
use crate::{
    config::Config,
    control::{
        integrity::{self, Looked, Orphan, Progress, ShownOrphan},
        lead::Lead,
        settled::{Settled, Waits},
    },
    log::topic_name,
    mapping::{MappingFile, target::TableName},
    metrics as names,
    model::Namespace,
    postgres::{Error, Purpose, Refusal, Session},
    sink::Prepared,
    target::{Reference, RowKey, owners, references},
};

/// Rows of a page. One takes some tens of milliseconds where the parent's key is cached.
const PAGE: i64 = 5_000;
/// Rows without a parent that wait for a second look, so that many pages share one wait.
const MAX_CANDIDATES: usize = 20_000;
/// Longest time that they wait with the pages behind them: so much has to be looked at again after a restart.
const MAX_CANDIDATES_WAIT: Duration = Duration::from_secs(5);
/// Interval between two looks at the watermarks.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The means of a look: a session that reads, the plan, and the topics of its collections.
pub(crate) struct Looking<'a> {
    pub(crate) session: &'a Session,
    pub(crate) prepared: &'a Prepared,
    pub(crate) topics: Vec<String>,
    /// Rows a second; 0: as fast as it goes.
    pub(crate) rate: u64,
}

/// A look at one foreign key.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Where it goes on, and what it has counted, without the candidates.
    pub(crate) progress: Progress,
    /// Orphans that were found since they were last taken, up to a bound.
    pub(crate) orphans: Vec<Orphan>,
    /// Whether every row was looked at.
    pub(crate) ended: bool,
    /// Rows behind `progress` and the last of them.
    ahead: u64,
    last: Option<RowKey>,
    candidates: Vec<RowKey>,
    /// When the first of them was found.
    waiting_since: Option<Instant>,
}

impl Look {
    pub(crate) fn from(progress: Progress) -> Self {
        Self { last: progress.after.clone(), progress, ..Self::default() }
    }
}

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Progress was made and can be recorded.
    Settled,
    /// Rows wait for their second look, until the sink has come so far.
    Candidates,
}

impl<'a> Looking<'a> {
    pub(crate) fn new(session: &'a Session, prepared: &'a Prepared, prefix: &str, database: &str, rate: u64) -> Self {
        let collections = prepared.all().collections().iter();
        let topics = collections.map(|plan| topic_name(prefix, &Namespace::new(database, &plan.collection)));
        Self { session, prepared, topics: topics.collect(), rate }
    }

    /// Looks at the next page.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn step(&self, reference: &Reference, look: &mut Look) -> Result<Step, Error> {
        let began = Instant::now();
        let page = reference.page(self.session, look.last.as_ref(), PAGE).await?;
        let short = i64::try_from(page.rows).is_ok_and(|rows| rows < PAGE);
        look.ended = short || reference.key.is_empty();
        look.ahead += page.rows;
        look.last = page.last.or_else(|| look.last.take());
        look.candidates.extend(page.orphans);
        if look.candidates.is_empty() {
            look.pass();
        }
        self.pace(page.rows, began).await;
        let waits = !look.candidates.is_empty() && {
            let waited = look.waiting_since.get_or_insert(began).elapsed();
            look.ended || look.candidates.len() >= MAX_CANDIDATES || waited >= MAX_CANDIDATES_WAIT
        };
        Ok(if waits { Step::Candidates } else { Step::Settled })
    }

    /// Keeps to the rate.
    async fn pace(&self, rows: u64, began: Instant) {
        if self.rate > 0 {
            let due = Duration::from_secs_f64(rows as f64 / self.rate as f64);
            sleep(due.saturating_sub(began.elapsed())).await;
        }
    }

    /// Looks again at the candidates, once everything is applied that they may refer to.
    ///
    /// # Errors
    /// [`Error::Statement`] by its cause.
    pub(crate) async fn judge(&self, reference: &Reference, look: &mut Look) -> Result<(), Error> {
        let candidates = std::mem::take(&mut look.candidates);
        if reference.key.is_empty() {
            look.progress.orphans += reference.page(self.session, None, PAGE).await?.orphans.len() as u64;
        } else {
            let orphans = reference.still_orphans(self.session, &candidates).await?;
            look.progress.orphans += orphans.len() as u64;
            let room = integrity::MAX_ORPHANS.saturating_sub(look.orphans.len());
            look.orphans.extend(self.documents(reference, &orphans[..orphans.len().min(room)]).await?);
        }
        look.pass();
        Ok(())
    }

    /// Finds the documents of rows of a mapped table.
    async fn documents(&self, reference: &Reference, rows: &[RowKey]) -> Result<Vec<Orphan>, Error> {
        let mut found = vec![None; rows.len()];
        for place in tables_named(self.prepared, &reference.table) {
            let columns = &self.prepared.statements(place.0).tables[place.1].documents.columns;
            let named = reference.read(self.session, rows, columns).await?;
            let owners = owners(self.session, self.prepared, place, &named).await?.unwrap_or_default();
            for (found, owner) in found.iter_mut().zip(owners) {
                *found = found.take().or(owner);
            }
        }
        let orphans = rows.iter().map(|row| reference.named(row)).zip(found);
        Ok(orphans.map(|(row, owner)| (row, owner.map(|owner| (owner.collection, owner.document.key)))).collect())
    }
}

/// The places of a table in the plan: collection and table. A remembered table has several, and each of them knows every owner.
pub(super) fn tables_named(prepared: &Prepared, name: &TableName) -> Vec<(usize, usize)> {
    let plans = prepared.all().collections().iter().enumerate();
    let places = plans.flat_map(|(collection, plan)| {
        plan.tables.iter().enumerate().map(move |(table, plan)| ((collection, table), plan))
    });
    places.filter(|(_, plan)| plan.table == *name).map(|(place, _)| place).collect()
}

impl Look {
    /// Every row up to the last is judged.
    fn pass(&mut self) {
        self.waiting_since = None;
        self.progress.rows += std::mem::take(&mut self.ahead);
        self.progress.after.clone_from(&self.last);
    }
}

/// The reason why a look waits, in words.
pub(crate) fn in_words(waits: &Waits) -> String {
    match waits {
        Waits::Done => String::new(),
        Waits::ForSink => {
            "rows without a parent are looked at again when the sink has applied what the source had done by then"
                .to_owned()
        }
        Waits::ForSnapshot(topic) => {
            format!("the snapshot behind topic {topic} is not applied, so parents may still come")
        }
    }
}

/// The task of the reconciler that looks at one foreign key after the other.
pub(super) struct IntegrityTask {
    pub(super) config: Arc<Config>,
    pub(super) comparison: Arc<Comparison>,
    pub(super) lead: Arc<Lead>,
}

/// Pause after a look that failed: the others go on meanwhile.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(60);
/// Interval at which the task looks what is due.
const DUE_INTERVAL: Duration = Duration::from_secs(1);

impl IntegrityTask {
    /// Looks until cancelled.
    ///
    /// # Errors
    /// [`Error::Statement`], where the session is lost or the state cannot be written.
    pub(super) async fn run(self) -> Result<(), Error> {
        let Self { config, comparison, lead } = self;
        let prepared = &comparison.both.prepared;
        let session = comparison.both.target.open(Purpose::Read).await?;
        let references = references(&session, prepared.all()).await?;
        integrity::register(&*lead.session().await, &references).await?;
        let rate = config.reconcile.integrity_rate;
        let looking = Looking::new(&session, prepared, &config.log.prefix, &config.source.database, rate);
        let mut paused: HashMap<usize, Instant> = HashMap::new();
        loop {
            let due = integrity::due(&session, &references, config.reconcile.integrity_every).await?;
            export(&session).await?;
            paused.retain(|_, until| *until > Instant::now());
            let Some((place, progress)) = due.into_iter().find(|(place, _)| !paused.contains_key(place)) else {
                sleep(DUE_INTERVAL).await;
                continue;
            };
            let reference = &references[place];
            integrity::begin(&*lead.session().await, reference).await?;
            if let Err(error) = look(&looking, reference, progress, &lead).await {
                // A lost session ends the task; a table that cannot be read does not stop the looks at others.
                let Some(refusal) = error.refusal() else { return Err(error) };
                let because = because(reference, refusal);
                tracing::warn!(
                    table = reference.relation,
                    constraint = reference.constraint,
                    because,
                    "a foreign key cannot be looked at"
                );
                integrity::waits(&*lead.session().await, reference, &because).await?;
                paused.insert(place, Instant::now() + PAUSE_AFTER_ERROR);
            }
        }
    }
}

/// Looks at one foreign key from where it goes on, and records every step.
async fn look(looking: &Looking<'_>, reference: &Reference, progress: Progress, lead: &Lead) -> Result<(), Error> {
    let mut look = Look::from(progress);
    loop {
        if looking.step(reference, &mut look).await? == Step::Candidates {
            let mut settled = Settled::begin(looking.session, &looking.topics).await?;
            let mut told = Waits::Done;
            loop {
                match settled.look(looking.session).await? {
                    Waits::Done => break,
                    waits if waits == told => {}
                    waits => {
                        integrity::waits(&*lead.session().await, reference, &in_words(&waits)).await?;
                        told = waits;
                    }
                }
                sleep(POLL_INTERVAL).await;
            }
            looking.judge(reference, &mut look).await?;
        }
        let orphans = std::mem::take(&mut look.orphans);
        let session = lead.session().await;
        if look.ended {
            integrity::complete(&session, reference, None, &look.progress, &orphans).await?;
            if look.progress.orphans > 0 {
                tracing::warn!(
                    table = reference.relation,
                    constraint = reference.constraint,
                    orphans = look.progress.orphans,
                    "rows lack their parent"
                );
            }
            return Ok(());
        }
        integrity::save(&session, reference, &look.progress, &orphans).await?;
        drop(session);
    }
}

/// Why a look failed, in words.
pub(crate) fn because(reference: &Reference, refusal: &Refusal) -> String {
    const CANCELED: &str = "57014";
    if reference.key.is_empty() && refusal.code == CANCELED {
        return "the table has no primary key, and one statement cannot look at all of it within sink.statement_timeout".to_owned();
    }
    refusal.to_string()
}

/// Sets the metrics to what is recorded, so that a new leader shows what the one before has found.
async fn export(session: &Session) -> Result<(), Error> {
    for looked in integrity::list(session).await? {
        let labels = [("table", looked.relation), ("constraint", looked.constraint)];
        metrics::gauge!(names::ORPHANS, &labels).set(looked.orphans as f64);
        if let Some(at) = looked.looked_at {
            metrics::gauge!(names::INTEGRITY_TIMESTAMP, &labels).set(at.as_millisecond() as f64 / 1000.0);
        }
    }
    Ok(())
}

/// The outcome of a look at every foreign key.
pub(crate) struct Integrity {
    /// The foreign keys.
    pub(crate) looked: Vec<Looked>,
    /// Rows without their parent.
    pub(crate) orphans: Vec<Dangling>,
}

/// A row without its parent, with its reference.
#[derive(Debug, Serialize)]
pub(crate) struct Dangling {
    /// The row, and its document.
    #[serde(flatten)]
    pub(crate) orphan: ShownOrphan,
    /// The table that it refers to.
    pub(crate) parent: String,
    /// The columns that refer.
    pub(crate) columns: Vec<String>,
    /// Where in the document their values come from.
    pub(crate) paths: Vec<String>,
}

/// Looks at every foreign key now, and stores what it finds. Waits for the sink as long as a comparison does.
///
/// # Errors
/// Those of the target, and an error that [awaits the sink](super::Error::awaits_the_sink).
pub(crate) async fn integrity(config: &Config, mapping: &MappingFile, limit: usize) -> Result<Integrity, super::Error> {
    let Fit { target, prepared, control, .. } = find(config, mapping, &configured(config)).await?;
    let session = target.open(Purpose::Read).await?;
    let references = references(&session, prepared.all()).await?;
    integrity::register(&control, &references).await?;
    let looking = Looking::new(&session, &prepared, &config.log.prefix, &config.source.database, 0);
    let mut problems = HashMap::new();
    for reference in &references {
        let began = integrity::now(&control).await?;
        let mut look = Look::default();
        match look_now(&looking, reference, &mut look, config.reconcile.wait).await {
            Ok(None) => {
                integrity::complete(&control, reference, Some(began), &look.progress, &look.orphans).await?;
                continue;
            }
            Ok(Some(waits)) => problems.insert((&reference.relation, &reference.constraint), in_words(&waits)),
            Err(error) => match error.refusal() {
                Some(refusal) => {
                    problems.insert((&reference.relation, &reference.constraint), because(reference, refusal))
                }
                None => return Err(error.into()),
            },
        };
    }
    let mut looked = integrity::list(&control).await?;
    for looked in &mut looked {
        looked.waits_for = problems.get(&(&looked.relation, &looked.constraint)).cloned();
    }
    let orphans = integrity::orphans(&control, limit).await?.into_iter();
    let orphans = orphans.map(|orphan| dangling(&prepared, &references, orphan)).collect();
    Ok(Integrity { looked, orphans })
}

/// Looks at one foreign key; gives what it has waited for in vain.
async fn look_now(
    looking: &Looking<'_>,
    reference: &Reference,
    look: &mut Look,
    patience: Duration,
) -> Result<Option<Waits>, Error> {
    while !look.ended {
        if looking.step(reference, look).await? == Step::Candidates {
            let mut settled = Settled::begin(looking.session, &looking.topics).await?;
            let began = Instant::now();
            loop {
                match settled.look(looking.session).await? {
                    Waits::Done => break,
                    // A snapshot takes longer than anybody waits for a command.
                    waits @ Waits::ForSnapshot(_) => return Ok(Some(waits)),
                    waits if began.elapsed() >= patience => return Ok(Some(waits)),
                    _ => sleep(POLL_INTERVAL).await,
                }
            }
            looking.judge(reference, look).await?;
        }
    }
    Ok(None)
}

fn dangling(prepared: &Prepared, references: &[Reference], orphan: ShownOrphan) -> Dangling {
    let same = |known: &&Reference| known.relation == orphan.relation && known.constraint == orphan.constraint;
    let reference = references.iter().find(same);
    let (parent, columns) = reference.map(|known| (known.parent.clone(), known.columns.clone())).unwrap_or_default();
    let plan = orphan.collection.as_ref().and_then(|name| prepared.all().collection(name));
    let mut paths: Vec<String> = Vec::new();
    if let (Some(plan), Some(reference)) = (plan, reference) {
        let all = columns.iter().flat_map(|column| plan.paths_of(&reference.table, column));
        all.for_each(|path| {
            if !paths.iter().any(|known| known == path) {
                paths.push(path.to_owned())
            }
        });
    }
    Dangling { orphan, parent, columns, paths }
}

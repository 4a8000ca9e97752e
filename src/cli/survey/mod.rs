//! Converts the documents of a source without writing anything: they are read, mapped, judged by the target and dropped; only
//! findings and counts remain. `check` and `run --dry-run` share it.
//!
//! One chunk of documents is in memory at a time, and of all values of constraints so many bytes of hashes as `memory` allows.

mod extent;
mod progress;

use std::{collections::BTreeSet, time::Instant};

use bson::raw::RawDocumentBuf;

pub(super) use self::extent::{Bounds, Extent, MEMORY, Whole};
use self::progress::Progress;
use crate::{
    analyze::{Coverage, Mapped, Refusal, Survey},
    cli::setup::Setup,
    mapping::{Plan, Row, target::Catalog},
    postgres::{self, Session},
    retry,
    source::{self, Limits, Rate, ReadTime, Source, id_of},
    target::{Checks, Violation},
};

/// Documents whose rows are judged in one query.
const PAGE_DOCUMENTS: usize = 500;

/// A survey that has ended.
pub(super) struct Surveyed<'p> {
    pub(super) survey: Survey<'p>,
    /// The outcome of each collection, in the order of the plan.
    pub(super) collections: Vec<Outcome>,
}

/// The outcome of reading one collection.
pub(super) enum Outcome {
    /// It was not asked for.
    LeftOut,
    /// As many of its documents were seen as were asked for.
    Seen {
        /// Tables of which not all rows were judged by the target, because it refused too many.
        cut: Vec<String>,
    },
    /// Reading ended early; what was seen until then counts.
    Failed(Failed),
}

/// An error, and the server that it came from.
pub(super) enum Failed {
    Source(source::Error),
    Sink(postgres::Error),
}

impl From<source::Error> for Failed {
    fn from(error: source::Error) -> Self {
        Self::Source(error)
    }
}

impl From<postgres::Error> for Failed {
    fn from(error: postgres::Error) -> Self {
        Self::Sink(error)
    }
}

impl Failed {
    /// The server, the error with its causes, and the remedy.
    pub(super) fn described(&self) -> (&'static str, String, Option<&str>) {
        match self {
            Self::Source(error) => ("source", retry::chain(error), error.hint()),
            Self::Sink(error) => ("sink", retry::chain(error), error.hint()),
        }
    }
}

/// Returns a note on a table of which not all rows were judged.
pub(super) fn cut(table: &str) -> String {
    format!(
        "data: {table}: casts of values refused so many rows that the target judged no further ones; there may be more"
    )
}

/// Surveys the collections of a plan, one after the other. A collection that cannot be read does not keep the others from being
/// seen.
pub(super) async fn survey<'p>(
    setup: &Setup,
    source: &Source,
    (session, plan, catalog): (&Session, &'p Plan, &Catalog),
    (extent, bounds): (&Extent, Bounds),
) -> Surveyed<'p> {
    let coverage = match extent {
        Extent::Sample(_) => Coverage::Sample,
        Extent::Whole(names) if names.is_empty() => Coverage::All,
        Extent::Whole(_) => Coverage::Collections,
    };
    let memory = usize::try_from(bounds.memory.as_u64()).unwrap_or(usize::MAX);
    let survey = Survey::new(plan, catalog, coverage, memory);
    let rate = bounds.rate(&setup.config.source, Instant::now());
    let mut reading = Reading { setup, source, plan, session, survey, bounds, rate };
    let mut collections = Vec::new();
    for (place, collection) in plan.collections().iter().enumerate() {
        if extent.leaves_out(&collection.collection) {
            collections.push(Outcome::LeftOut);
            continue;
        }
        collections.push(match reading.collection(place, &collection.collection, extent).await {
            Ok(cut) => Outcome::Seen { cut },
            Err(failed) => Outcome::Failed(failed),
        });
    }
    Surveyed { survey: reading.survey, collections }
}

/// The survey under way, and everything it needs.
struct Reading<'a, 'p> {
    setup: &'a Setup,
    source: &'a Source,
    plan: &'p Plan,
    session: &'a Session,
    survey: Survey<'p>,
    bounds: Bounds,
    rate: Rate,
}

impl Reading<'_, '_> {
    /// Reads a collection; returns the tables of which not all rows were judged.
    async fn collection(&mut self, place: usize, name: &str, extent: &Extent) -> Result<Vec<String>, Failed> {
        let tables = &self.plan.collections()[place].tables;
        let mut checks = Vec::new();
        for table in tables {
            checks.push(Checks::of(self.session, table).await?);
        }
        match extent {
            Extent::Sample(n) => {
                let now = ReadTime::AtLeast(self.source.now().await?);
                let documents = self.source.reader().sample(name, *n, now).await?.value;
                self.see(place, &mut checks, &documents).await?;
            }
            Extent::Whole(_) => self.whole(place, name, &mut checks).await?,
        }
        let cut = tables.iter().zip(&checks).filter(|(_, checks)| checks.is_cut());
        Ok(cut.map(|(table, _)| table.table.label()).collect())
    }

    async fn whole(&mut self, place: usize, name: &str, checks: &mut [Checks]) -> Result<(), Failed> {
        let reader = self.source.reader();
        let config = &self.setup.config.source;
        let bytes = usize::try_from(config.chunk_bytes.as_u64()).unwrap_or(usize::MAX);
        let limits = Limits { documents: self.bounds.chunk(config), bytes };
        let now = ReadTime::AtLeast(self.source.now().await?);
        let mut progress = Progress::new(name, reader.estimate(name).await?);
        let mut after = None;
        loop {
            tokio::time::sleep(self.rate.wait(Instant::now())).await;
            let chunk = reader.chunk(name, after.as_deref(), limits, now).await?;
            let bytes = chunk.documents.iter().map(|document| document.as_bytes().len()).sum();
            self.rate.spend(chunk.documents.len(), bytes, Instant::now());
            self.see(place, checks, &chunk.documents).await?;
            progress.seen(self.survey.documents(place));
            if chunk.end {
                return Ok(());
            }
            after = chunk.last_id;
        }
    }

    async fn see(&mut self, place: usize, checks: &mut [Checks], documents: &[RawDocumentBuf]) -> Result<(), Failed> {
        for page in documents.chunks(PAGE_DOCUMENTS) {
            // Per table: the rows, and the position of the document of each.
            let mut tables: Vec<(Vec<Row>, Vec<usize>)> = vec![Default::default(); checks.len()];
            let mut dead = BTreeSet::new();
            for (at, document) in page.iter().enumerate() {
                let Some(Mapped { rows, repeats }) = self.survey.add(place, id_of(document), document) else {
                    continue;
                };
                dead.extend(repeats.then_some(at));
                for ((all, owners), rows) in tables.iter_mut().zip(rows.tables) {
                    owners.extend(std::iter::repeat_n(at, rows.len()));
                    all.extend(rows);
                }
            }
            for (table, (checks, (rows, owners))) in checks.iter_mut().zip(&tables).enumerate() {
                for violation in checks.violated(self.session, rows).await? {
                    let of: BTreeSet<usize> =
                        violation.rows.iter().filter_map(|row| owners.get(*row)).copied().collect();
                    let example = of.first().and_then(|at| page.get(*at)).and_then(|document| id_of(document));
                    self.survey.refuse(place, refusal(table, violation, of.len(), example));
                    dead.extend(of);
                }
            }
            self.survey.dead(place, dead.len() as u64);
        }
        Ok(())
    }
}

fn refusal(table: usize, violation: Violation, documents: usize, example: Option<RawDocumentBuf>) -> Refusal {
    let Violation { reason, constraint, columns, rows } = violation;
    let (rows, documents) = (rows.len() as u64, documents as u64);
    Refusal { table, reason, constraint, columns, rows, documents, example }
}

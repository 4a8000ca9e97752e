//! Checks the data: documents are read, mapped, checked against constraints, and dropped; only findings remain.

use bson::raw::RawDocumentBuf;

use super::{Report, names::Names, servers::Target};
use crate::{
    analyze::{self, Coverage, Survey},
    cli::{finding::Finding, setup::Setup},
    mapping::Row,
    postgres::{self, Purpose, Session},
    retry,
    source::{self, Limits, ReadTime, Source, id_of},
    target::{Checks, Violation},
};

/// How many documents are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// This many random documents of each collection.
    Sample(usize),
    /// Every document.
    All,
}

/// Documents whose rows are checked in one query.
const PAGE_ROWS: usize = 500;

/// Surveys every mapped collection. A collection that cannot be read is a fault; the others are still reported.
pub(super) async fn survey(
    setup: &Setup,
    (source, names): (&Source, &Names),
    target: &Target,
    extent: Extent,
    report: &mut Report,
) {
    let coverage = match extent {
        Extent::Sample(_) => Coverage::Sample,
        Extent::All => Coverage::All,
    };
    let opened =
        async { postgres::Postgres::new(&setup.config.sink, &setup.config.log.prefix)?.open(Purpose::Read).await };
    let session = match opened.await {
        Ok(session) => session,
        Err(error) => {
            let hint = error.hint().unwrap_or("is the server up, and is the connection string right?");
            return report.fault("sink", retry::chain(&error), hint);
        }
    };
    let survey = Survey::new(&target.plan, &target.catalog, coverage);
    let mut data = Data { setup, source, target, session, survey };
    for (place, plan) in target.plan.collections().iter().enumerate() {
        let read = data.collection(place, &plan.collection, extent).await;
        let is_empty = read.is_ok() && data.survey.documents(place) == 0;
        if is_empty && names.has(&plan.collection) && !plan.may_be_empty {
            report.warnings.push(names.empty(setup, &plan.collection));
        }
        if let Err(failed) = read {
            let (server, what, hint) = match &failed {
                Failed::Source(error) => ("source", retry::chain(error), error.hint()),
                Failed::Sink(error) => ("sink", retry::chain(error), error.hint()),
            };
            report.fault(
                server,
                format!("{}: {what}", plan.collection),
                hint.unwrap_or("the findings up to then are reported"),
            );
        }
    }
    let found = data.survey.findings(&setup.mapping, target.enforced);
    report.notes.extend(found.notes);
    report.faults.extend(found.faults.into_iter().map(Finding::from));
    report.warnings.extend(found.warnings.into_iter().map(Finding::from));
}

/// The survey under way, and everything it needs.
struct Data<'a> {
    setup: &'a Setup,
    source: &'a Source,
    target: &'a Target,
    session: Session,
    survey: Survey<'a>,
}

enum Failed {
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

impl Data<'_> {
    async fn collection(&mut self, place: usize, name: &str, extent: Extent) -> Result<(), Failed> {
        let mut checks = Vec::new();
        for table in &self.target.plan.collections()[place].tables {
            checks.push(Checks::of(&self.session, table).await?);
        }
        let reader = self.source.reader();
        let now = ReadTime::AtLeast(self.source.now().await?);
        if let Extent::Sample(n) = extent {
            return self.see(place, &mut checks, &reader.sample(name, n, now).await?.value).await;
        }
        let config = &self.setup.config.source;
        let bytes = usize::try_from(config.chunk_bytes.as_u64()).unwrap_or(usize::MAX);
        let limits = Limits { documents: config.chunk_documents, bytes };
        let mut after = None;
        loop {
            let chunk = reader.chunk(name, after.as_deref(), limits, now).await?;
            self.see(place, &mut checks, &chunk.documents).await?;
            if chunk.end {
                return Ok(());
            }
            after = chunk.last_id;
        }
    }

    async fn see(&mut self, place: usize, checks: &mut [Checks], documents: &[RawDocumentBuf]) -> Result<(), Failed> {
        for page in documents.chunks(PAGE_ROWS) {
            // Per table: the rows, and the document of each.
            let mut tables: Vec<(Vec<Row>, Vec<&RawDocumentBuf>)> = vec![Default::default(); checks.len()];
            for document in page {
                let Some(rows) = self.survey.add(place, id_of(document), document) else { continue };
                for ((all, owners), rows) in tables.iter_mut().zip(rows.tables) {
                    owners.extend(std::iter::repeat_n(document, rows.len()));
                    all.extend(rows);
                }
            }
            for (at, (checks, (rows, owners))) in checks.iter_mut().zip(&tables).enumerate() {
                for Violation { reason, name, rows, first } in checks.violated(&self.session, rows).await? {
                    let example = owners.get(first).and_then(|owner| id_of(owner));
                    self.survey.violate((place, at), (reason, name), rows, example);
                }
            }
        }
        Ok(())
    }
}

impl From<analyze::Finding> for Finding {
    fn from(finding: analyze::Finding) -> Self {
        let place = finding.place.map_or_else(|| "mapping".to_owned(), |place| place.to_string());
        Self { place, what: finding.what, hint: finding.hint }
    }
}

//! The data: documents are read, mapped, and forgotten; what they show is told.

use super::{Report, servers::Target};
use crate::{
    analyze::{self, Coverage, Survey},
    cli::setup::{Finding, Setup},
    retry,
    source::{self, Limits, ReadTime, Source, id_of},
};

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// So many random documents of each collection.
    Sample(usize),
    /// Every document.
    All,
}

/// Surveys every mapped collection. Where reading one fails, that is a fault and the others are still told.
pub(super) async fn survey(setup: &Setup, source: &Source, target: &Target, extent: Extent, report: &mut Report) {
    let coverage = match extent {
        Extent::Sample(_) => Coverage::Sample,
        Extent::All => Coverage::All,
    };
    let mut survey = Survey::new(&setup.mapping, &target.plan, &target.catalog, coverage);
    for (place, plan) in target.plan.collections().iter().enumerate() {
        let read = read(setup, source, &plan.collection, extent, |document| {
            survey.add(place, id_of(document), document);
        });
        if let Err(error) = read.await {
            let hint = error.hint().unwrap_or("what was read until then is told").to_owned();
            report.fault("source", format!("{}: {}", plan.collection, retry::chain(&error)), hint);
        }
    }
    let found = survey.findings(&setup.mapping, target.enforced);
    report.notes.extend(found.notes);
    report.faults.extend(found.faults.into_iter().map(Finding::from));
    report.warnings.extend(found.warnings.into_iter().map(Finding::from));
}

async fn read(
    setup: &Setup,
    source: &Source,
    collection: &str,
    extent: Extent,
    mut see: impl FnMut(&bson::RawDocument),
) -> Result<(), source::Error> {
    let reader = source.reader();
    let now = ReadTime::AtLeast(source.now().await?);
    match extent {
        Extent::Sample(n) => reader.sample(collection, n, now).await?.value.iter().for_each(|document| see(document)),
        Extent::All => {
            let limits = Limits {
                documents: setup.config.source.chunk_documents,
                bytes: usize::try_from(setup.config.source.chunk_bytes.as_u64()).unwrap_or(usize::MAX),
            };
            let mut after = None;
            loop {
                let chunk = reader.chunk(collection, after.as_deref(), limits, now).await?;
                chunk.documents.iter().for_each(|document| see(document));
                if chunk.end {
                    break;
                }
                after = chunk.last_id;
            }
        }
    }
    Ok(())
}

impl From<analyze::Finding> for Finding {
    fn from(finding: analyze::Finding) -> Self {
        let place = finding.place.map_or_else(|| "mapping".to_owned(), |place| place.to_string());
        Self { place, what: finding.what, hint: finding.hint }
    }
}

//! Checks the data: what a survey of the documents finds.

use super::{Report, names::Names, servers::Target};
use crate::{
    analyze,
    cli::{
        finding::Finding,
        setup::Setup,
        survey::{self, Bounds, Extent, Outcome, Surveyed},
    },
    retry,
    source::Source,
};

/// Surveys every mapped collection. A collection that cannot be read is a fault; the others are still reported.
pub(super) async fn survey(
    setup: &Setup,
    (source, names): (&Source, &Names),
    target: &Target,
    (extent, bounds): (&Extent, Bounds),
    report: &mut Report,
) {
    let session = match target.reading(setup).await {
        Ok(session) => session,
        Err(error) => {
            let hint = error.hint().unwrap_or("is the server up, and is the connection string right?");
            return report.fault("sink", retry::chain(&error), hint);
        }
    };
    let target_side = (&session, &target.plan, &target.catalog);
    let Surveyed { survey, collections } = survey::survey(setup, source, target_side, (extent, bounds)).await;
    for (place, (plan, outcome)) in target.plan.collections().iter().zip(&collections).enumerate() {
        let name = &plan.collection;
        match outcome {
            Outcome::LeftOut => {}
            Outcome::Seen { cut } => {
                if survey.documents(place) == 0 && names.has(name) && !plan.may_be_empty {
                    report.warnings.push(names.empty(setup, name));
                }
                report.notes.extend(cut.iter().map(|table| survey::cut(table)));
            }
            Outcome::Failed(failed) => {
                let (server, what, hint) = failed.described();
                let hint = hint.unwrap_or("the findings up to then are reported");
                report.fault(server, format!("{name}: {what}"), hint);
            }
        }
    }
    let found = survey.findings(&setup.mapping, target.enforced);
    report.notes.extend(found.notes);
    report.faults.extend(found.faults.into_iter().map(Finding::from));
    report.warnings.extend(found.warnings.into_iter().map(Finding::from));
    report.conversions = survey.conversions();
}

impl From<analyze::Finding> for Finding {
    fn from(finding: analyze::Finding) -> Self {
        let place = finding.place.map_or_else(|| "mapping".to_owned(), |place| place.to_string());
        Self { place, what: finding.what, hint: finding.hint }
    }
}

//! A survey: the documents of all collections, seen one after the other, and the findings about them.

use bson::raw::{RawDocument, RawDocumentBuf};

use super::{
    constraints::{Broken, Constraints},
    findings::{self, Findings},
    seen::{Coverage, Seen},
    shape::Shape,
    tally::{Tally, Violated},
};
use crate::{
    mapping::{Location, MappingFile, Plan, Rows, target::Catalog},
    model::{Key, Reason},
};

/// The documents of a plan that were seen so far.
#[derive(Debug)]
pub struct Survey<'p> {
    plan: &'p Plan,
    coverage: Coverage,
    seen: Vec<Seen>,
    constraints: Constraints,
}

impl<'p> Survey<'p> {
    /// A survey that has seen nothing yet.
    pub fn new(plan: &'p Plan, catalog: &Catalog, coverage: Coverage) -> Self {
        let plans = plan.collections().iter();
        let seen = plans.map(|collection| Seen { shape: Shape::default(), tally: Tally::new(collection) });
        let constraints = Constraints::new(plan, catalog, coverage == Coverage::All);
        Self { plan, coverage, seen: seen.collect(), constraints }
    }

    /// Adds a document of a collection, by its position in the plan; `id` is its `{_id: …}`. Returns its rows, which the target
    /// can judge.
    pub fn add(&mut self, collection: usize, id: Option<RawDocumentBuf>, document: &RawDocument) -> Option<Rows> {
        let mapped = self.plan.collections()[collection].map(document);
        let key = id.and_then(|id| Key::from_id(&id));
        let seen = &mut self.seen[collection];
        seen.shape.add(document);
        if let Ok(rows) = &mapped {
            self.constraints.add(collection, key.as_ref(), rows);
        }
        seen.tally.add(key, &mapped);
        mapped.ok()
    }

    /// Counts rows of a table that the target itself would refuse; `name` is its constraint or column, `example` the `{_id: …}`
    /// of a document.
    pub fn violate(
        &mut self,
        (collection, table): (usize, usize),
        (reason, name): (Reason, Option<String>),
        rows: u64,
        example: Option<RawDocumentBuf>,
    ) {
        let example = example.and_then(|id| Key::from_id(&id));
        self.seen[collection].tally.violate(Violated { table, name, reason }, rows, example);
    }

    /// Documents seen of a collection.
    pub fn documents(&self, collection: usize) -> u64 {
        self.seen[collection].shape.documents()
    }

    /// Every finding. `enforced` says whether the target enforces foreign keys while rows are written.
    pub fn findings(&self, file: &MappingFile, enforced: bool) -> Findings {
        let mut findings = Findings::default();
        for (plan, seen) in self.plan.collections().iter().zip(&self.seen) {
            let place = file.place_of(&plan.collection);
            findings::Collection { plan, seen, place, coverage: self.coverage }.report(&mut findings);
        }
        for broken in self.constraints.broken() {
            findings.constraint(self.place_of(file, &broken), &broken, enforced);
        }
        if self.constraints.is_cut() {
            findings.notes.push(
                "there are more unique values than are kept in memory: duplicates were looked for among the first ones, \
                 missing parents not at all"
                    .to_owned(),
            );
        }
        findings
    }
}

impl Survey<'_> {
    /// Where the mapping file declares the first column of a constraint, or its collection.
    fn place_of(&self, file: &MappingFile, broken: &Broken) -> Option<Location> {
        let places = self.plan.collections().iter().flat_map(|plan| plan.tables.iter().map(move |table| (plan, table)));
        let (plan, table) = places.into_iter().find(|(_, table)| table.table == broken.table)?;
        let column = table.columns.iter().find(|column| Some(&column.name) == broken.columns.first());
        column.and_then(|column| column.place.clone()).or_else(|| file.place_of(&plan.collection))
    }
}

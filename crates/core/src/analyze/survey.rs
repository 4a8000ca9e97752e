//! A survey: the documents of all collections, seen one after the other, and the findings about them.

use std::collections::HashMap;

use bson::raw::{RawDocument, RawDocumentBuf};

use super::{
    constraints::{Broken, Constraints},
    conversion::Conversion,
    findings::{self, Findings},
    seen::{Coverage, Seen},
    shape::Shape,
    tally::{Filled, Tally, Violated},
};
use crate::{
    mapping::{
        Location, MappingFile, Plan, Rows,
        target::{Catalog, TableName},
    },
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

/// A document that the mapping accepts.
#[derive(Debug)]
pub struct Mapped {
    /// Its rows, which the target can judge.
    pub rows: Rows,
    /// Whether one of them has a unique value that a row of an earlier document has.
    pub repeats: bool,
}

/// Rows that the target itself would refuse, all for the same reason.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Position of the table in the plan of the collection.
    pub table: usize,
    /// The reason.
    pub reason: Reason,
    /// The constraint, where the target names one.
    pub constraint: Option<String>,
    /// The columns, as far as they are known.
    pub columns: Vec<String>,
    /// How many rows.
    pub rows: u64,
    /// The number of documents.
    pub documents: u64,
    /// The `{_id: …}` of one of the documents.
    pub example: Option<RawDocumentBuf>,
}

/// How many values each column of a table has, whichever collections write it.
pub(super) type Values<'p> = HashMap<(&'p TableName, &'p str), u64>;

impl<'p> Survey<'p> {
    /// A survey that has seen nothing yet. `room` is the most bytes for hashes of the values of constraints.
    pub fn new(plan: &'p Plan, catalog: &Catalog, coverage: Coverage, room: usize) -> Self {
        let plans = plan.collections().iter();
        let seen = plans.map(|collection| Seen { shape: Shape::default(), tally: Tally::new(collection) });
        let constraints = Constraints::new(plan, catalog, coverage == Coverage::All, room);
        Self { plan, coverage, seen: seen.collect(), constraints }
    }

    /// Adds a document of a collection, by its position in the plan; `id` is its `{_id: …}`. Returns `None` for a document that
    /// the mapping refuses.
    pub fn add(&mut self, collection: usize, id: Option<RawDocumentBuf>, document: &RawDocument) -> Option<Mapped> {
        let mapped = self.plan.collections()[collection].map(document);
        let key = id.and_then(|id| Key::from_id(&id));
        let seen = &mut self.seen[collection];
        seen.shape.add(document);
        let repeats = mapped.as_ref().is_ok_and(|rows| self.constraints.add(collection, key.as_ref(), rows));
        seen.tally.add(key, &mapped);
        mapped.ok().map(|rows| Mapped { rows, repeats })
    }

    /// Counts rows that the target itself would refuse.
    pub fn refuse(&mut self, collection: usize, refusal: Refusal) {
        let Refusal { table, reason, constraint, columns, rows, documents, example } = refusal;
        let example = example.and_then(|id| Key::from_id(&id));
        let violated = Violated { table, constraint, columns, reason };
        self.seen[collection].tally.violate(violated, (rows, documents), example);
    }

    /// Counts documents that the mapping accepts and that would become dead letters nevertheless: the target refuses one of their
    /// rows, or another row has their unique value.
    pub fn dead(&mut self, collection: usize, documents: u64) {
        self.seen[collection].tally.dead += documents;
    }

    /// Documents seen of a collection.
    pub fn documents(&self, collection: usize) -> u64 {
        self.seen[collection].shape.documents()
    }

    /// Every finding. `enforced` says whether the target enforces foreign keys while rows are written.
    pub fn findings(&self, file: &MappingFile, enforced: bool) -> Findings {
        let mut findings = Findings::default();
        let values = self.values();
        for (plan, seen) in self.plan.collections().iter().zip(&self.seen) {
            let place = file.place_of(&plan.collection);
            findings::Collection { plan, seen, place, coverage: self.coverage, values: &values }.report(&mut findings);
        }
        for broken in self.constraints.broken() {
            findings.constraint(self.place_of(file, &broken), &broken, enforced);
        }
        findings.notes.extend(self.cut_note());
        findings
    }

    /// A note on values of constraints that were not kept, if some were not.
    pub fn cut_note(&self) -> Option<String> {
        self.constraints.is_cut().then(|| {
            "there are more unique values than are kept in memory: duplicates were looked for among the first ones, missing parents \
             not at all"
                .to_owned()
        })
    }

    /// The result of each collection in numbers, in the order of the plan.
    pub fn conversions(&self) -> Vec<Conversion> {
        let broken = self.constraints.broken();
        let collections = self.plan.collections().iter().zip(&self.seen);
        collections.map(|(plan, seen)| Conversion::new(plan, &seen.tally, &broken)).collect()
    }

    fn values(&self) -> Values<'_> {
        let mut values = Values::new();
        for (plan, seen) in self.plan.collections().iter().zip(&self.seen) {
            for (table, Filled { columns, .. }) in plan.tables.iter().zip(&seen.tally.tables) {
                for (column, count) in table.columns.iter().zip(columns) {
                    *values.entry((&table.table, column.name.as_str())).or_default() += count;
                }
            }
        }
        values
    }

    /// Where the mapping file declares the first column of a constraint, or its collection.
    fn place_of(&self, file: &MappingFile, broken: &Broken) -> Option<Location> {
        let places = self.plan.collections().iter().flat_map(|plan| plan.tables.iter().map(move |table| (plan, table)));
        let (plan, table) = places.into_iter().find(|(_, table)| table.table == broken.table)?;
        let column = table.columns.iter().find(|column| Some(&column.name) == broken.columns.first());
        column.and_then(|column| column.place.clone()).or_else(|| file.place_of(&plan.collection))
    }
}

//! The tables that the mapping wants, those of the target, and a sample of the documents.

use std::collections::BTreeMap;

use crate::{
    analyze::{Field, Sampled, sql_type},
    cli::setup::Setup,
    mapping::{
        Fault, Plan,
        target::{Catalog, TableName},
        wanted::{WantedColumn, WantedTable, difference::Difference},
    },
    postgres::{Postgres, Purpose, read_catalog},
    source::{ReadTime, Source},
};

/// Both sides.
pub(in crate::cli) struct Wanted {
    pub(super) tables: Vec<WantedTable>,
    pub(in crate::cli) catalog: Catalog,
    /// The part of the mapping that fits the target.
    pub(in crate::cli) plan: Plan,
    /// Faults of the mapping against the catalog.
    pub(in crate::cli) faults: Vec<Fault>,
    /// The fields of each collection's documents.
    fields: BTreeMap<String, Field>,
}

impl Wanted {
    /// Reads the catalog, and `sample` documents of each collection; with 0, MongoDB is not asked.
    pub(in crate::cli) async fn read(setup: &Setup, sample: usize) -> anyhow::Result<Self> {
        let session = Postgres::new(&setup.config.sink, &setup.config.log.prefix)?.open(Purpose::Read).await?;
        let catalog = read_catalog(&session).await?;
        let (plan, faults) = Plan::compile_partly(&setup.mapping, &catalog);
        let mut fields = BTreeMap::new();
        if sample > 0 {
            let source = Source::connect(&setup.config.source).await?;
            let (reader, now) = (source.reader(), ReadTime::AtLeast(source.now().await?));
            for name in setup.names() {
                let mut sampled = Sampled::default();
                let documents = reader.sample(&name, sample, now).await?.value;
                documents.iter().for_each(|document| sampled.add(document));
                if !documents.is_empty() {
                    fields.insert(name, sampled.fields());
                }
            }
        }
        Ok(Self { tables: setup.mapping.wanted(&catalog), catalog, plan, faults, fields })
    }

    /// Returns the type that takes every value of the sample.
    pub(super) fn sampled(&self, column: &WantedColumn) -> Option<String> {
        let (collection, paths) = column.paths()?;
        let fields = self.fields.get(collection)?;
        sql_type(&paths.iter().flat_map(|path| fields.at(path)).collect::<Vec<_>>())
    }

    pub(in crate::cli) fn difference(&self) -> Difference {
        Difference::new(&self.tables, &self.catalog, &self.plan, &|table, column| self.fills(table, column))
    }

    /// Returns whether a document of the sample has a value for a column; `None` if nobody knows.
    fn fills(&self, table: &TableName, column: &str) -> Option<bool> {
        let mut is_known = false;
        for plan in self.plan.collections().iter().filter(|plan| plan.tables.iter().any(|one| one.table == *table)) {
            let paths = plan.paths_of(table, column);
            let fields = self.fields.get(&plan.collection)?;
            // A rule or a constant fills it.
            if paths.is_empty() {
                return None;
            }
            is_known = true;
            let mut found = paths.iter().flat_map(|path| fields.at(&crate::analyze::names(path)));
            if found.any(Field::has_values) {
                return Some(true);
            }
        }
        is_known.then_some(false)
    }
}

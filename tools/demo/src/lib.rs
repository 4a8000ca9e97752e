//! A business-plan application to try everything on: its documents, its schema, its writes.
//!
//! Teams plan a company with it. People ([`Collection::Users`]) in organisations write plans with milestones. Each plan
//! has ordered sections and financial models, and sections rely on research packs with their sources.
//!
//! Owns: the shape of the application's documents ([`Generator`]), the initial load of a database ([`load`]), and a
//! seeded stream of every kind of write that the application can do ([`Workload`]). The target schema and the mapping
//! that belong to it are `config/demo/schema.sql` and `config/demo/mapping.toml`.
//!
//! Never does: read or write PostgreSQL, depend on Kafka, or use any part of the daemon, whose tests run on it. It
//! plays the application, so it uses the MongoDB driver with typed documents, as an application would.
//!
//! Invariants, so that any later difference between the two sides is a fault of the migration and not of the data:
//! - After each commit the source satisfies every constraint of the target schema. Only [`Workload::poison`] breaks
//!   one, on purpose, in a document nothing else refers to.
//! - The same seed gives the same documents; the same seed on the same data gives the same sequence of writes.

mod collection;
mod documents;
mod error;
mod load;
mod workload;

pub use collection::Collection;
pub use documents::{Generator, Sizes};
pub use error::Error;
pub use load::{Loaded, load, prepare};
pub use workload::{Counts, Operation, Poison, Poisoned, Until, Workload};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bson::{Bson, Document};

    use super::{Collection, Generator};

    /// Collects all paths of a document, looking through arrays of documents.
    fn paths(document: &Document, prefix: &str, into: &mut HashSet<String>) {
        for (name, value) in document {
            let path = format!("{prefix}{name}");
            match value {
                Bson::Document(inner) => paths(inner, &format!("{path}."), into),
                Bson::Array(values) => values
                    .iter()
                    .filter_map(Bson::as_document)
                    .for_each(|element| paths(element, &format!("{path}[]."), into)),
                _ => {}
            }
            into.insert(path);
        }
    }

    fn path_of(column: &toml::Value) -> &str {
        column.as_str().or_else(|| column.get("path").and_then(toml::Value::as_str)).expect("a path")
    }

    #[test]
    fn the_mapping_parses_and_names_fields_that_exist() {
        let mapping: toml::Table = include_str!("../../../config/demo/mapping.toml").parse().unwrap();
        let collections = mapping["collections"].as_table().unwrap();
        assert_eq!(collections.len(), Collection::ALL.len());
        let generator = Generator::new(1, 2_000);
        for collection in Collection::ALL {
            let mut known = HashSet::new();
            for index in 0..generator.sizes().get(collection) {
                paths(&generator.document(collection, index), "", &mut known);
            }
            let declared = &collections[collection.name()];
            for (column, declared) in declared["columns"].as_table().unwrap() {
                assert!(known.contains(path_of(declared)), "{collection}: {column}");
            }
            for (array, child) in declared.get("children").and_then(toml::Value::as_table).into_iter().flatten() {
                assert!(known.contains(&format!("{array}[].{}", child["id"]["from"].as_str().unwrap())), "{array}");
                for (column, declared) in child["columns"].as_table().unwrap() {
                    assert!(known.contains(&format!("{array}[].{}", path_of(declared))), "{array}: {column}");
                }
            }
        }
    }
}

//! Warns of mapped collections that are missing or empty in the source, and suggests similar names.

use std::collections::BTreeSet;

use crate::{
    cli::{finding::Finding, setup::Setup},
    mapping::{CollectionFile, near},
    source::{CollectionKind, Error, Facts, Source},
};

/// The most names that a hint lists.
const LISTED: usize = 8;

/// The names in the source.
pub(in crate::cli) struct Names {
    /// Collections of the database.
    collections: Vec<String>,
    /// Databases of the server that the user may list.
    databases: Vec<String>,
    /// Mapped collections that do not exist.
    missing: BTreeSet<String>,
}

impl Names {
    /// Reads them from the source.
    pub(super) async fn of(source: &Source, facts: &Facts) -> Result<Self, Error> {
        let missing = facts.collections.iter().filter(|(_, kind)| **kind == CollectionKind::Missing);
        let missing: BTreeSet<String> = missing.map(|(name, _)| name.clone()).collect();
        let mut collections = source.collection_names().await?;
        collections.retain(|name| !name.starts_with("system."));
        collections.sort_unstable();
        Ok(Self { collections, databases: source.database_names().await, missing })
    }

    /// Returns whether the source has a collection of that name.
    pub(in crate::cli) fn has(&self, collection: &str) -> bool {
        !self.missing.contains(collection)
    }

    /// Returns a warning for each mapped collection that does not exist, or a single one if the whole database does not.
    pub(super) fn missing(&self, setup: &Setup) -> Vec<Finding> {
        let mapped = setup.mapping.collections();
        let missing = mapped.filter(|known| !known.may_be_empty() && !self.has(known.name()));
        let missing: Vec<_> = missing.map(CollectionFile::name).collect();
        let database = &setup.config.source.database;
        if self.collections.is_empty() && !missing.is_empty() {
            let databases: Vec<&str> = self.databases.iter().map(String::as_str).collect();
            return vec![Finding {
                place: "source".to_owned(),
                what: format!("database {database} has no collections"),
                hint: format!("{}correct `source.database`", meant(database, &databases, "the server has ", "; ")),
            }];
        }
        let finding = |name: &str| {
            let what = format!("collection {name} does not exist in database {database}");
            self.finding(setup, name, what)
        };
        missing.into_iter().map(finding).collect()
    }

    /// Returns a warning about a collection without documents.
    pub(super) fn empty(&self, setup: &Setup, name: &str) -> Finding {
        self.finding(setup, name, format!("collection {name} has no documents"))
    }

    fn finding(&self, setup: &Setup, name: &str, what: String) -> Finding {
        let mapped = |other: &&str| setup.mapping.collections().any(|known| known.name() == *other);
        let others: Vec<&str> = self.collections.iter().map(String::as_str).filter(|other| !mapped(other)).collect();
        let hint = format!(
            "{}if this is intended, set `may_be_empty = true` for it",
            meant(name, &others, "unmapped collections: ", "; ")
        );
        let place = setup.mapping.place_of(name).map_or_else(|| "mapping".to_owned(), |place| place.to_string());
        Finding { place, what, hint }
    }
}

/// Returns the beginning of a hint: similar names, or else the existing ones.
fn meant(name: &str, others: &[&str], there_is: &str, end: &str) -> String {
    let near = near(name, others.iter().copied());
    let (names, ask) = if near.is_empty() { (others, false) } else { (near.as_slice(), true) };
    let listed: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match (listed.is_empty(), ask) {
        (true, _) => String::new(),
        (_, true) => format!("did you mean {}{more}? ", listed.join(", ")),
        (_, false) => format!("{there_is}{}{more}{end}", listed.join(", ")),
    }
}

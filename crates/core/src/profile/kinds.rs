//! Polymorphic collections: documents of several kinds, which a field names and which have different fields.

use std::collections::BTreeMap;

use super::report;
use crate::mapping::{Raw, Value};

/// Most fields of a collection that may name the kind; each costs a look at every document.
const MAX_CANDIDATES: usize = 3;
/// Most kinds; a field with more values than a person would make tables of names none.
const MAX_KINDS: usize = 24;
/// Most fields that are counted of a kind, to bound memory.
const MAX_FIELDS: usize = 300;
/// Longest name of a kind in bytes.
const MAX_NAME: usize = 64;
/// Nearly all documents of a kind have its own fields, and nearly none of another.
const NEARLY_ALL: f64 = 0.9;
const NEARLY_NONE: f64 = 0.02;

/// Candidates for the field that names the kind, each with its kinds.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates(BTreeMap<Box<str>, Option<BTreeMap<Box<str>, Kind>>>);

#[derive(Clone, Debug, Default)]
struct Kind {
    documents: u64,
    fields: BTreeMap<Box<str>, u64>,
}

impl Candidates {
    /// Takes a document in.
    pub(super) fn add(&mut self, document: Raw<'_>) {
        for (name, value) in document.fields().map_while(Result::ok) {
            let (Ok(name), Value::String(text)) = (std::str::from_utf8(name), value) else { continue };
            if !may_name_kinds(name) || (self.0.len() >= MAX_CANDIDATES && !self.0.contains_key(name)) {
                continue;
            }
            let known = self.0.entry(name.into()).or_insert_with(|| Some(BTreeMap::new()));
            let Some(kinds) = known else { continue };
            let kind = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_NAME);
            match kind {
                Some(kind) if kinds.contains_key(kind) || kinds.len() < MAX_KINDS => {
                    kinds.entry(kind.into()).or_default().add(document);
                }
                _ => *known = None,
            }
        }
    }

    /// The field that names the kind, if there is one, and the fields that only one kind has.
    pub(super) fn report(&self) -> Option<report::Kinds> {
        let known = self.0.iter().filter_map(|(name, kinds)| Some((name, kinds.as_ref()?)));
        let reports = known.filter_map(|(name, kinds)| {
            let own: BTreeMap<String, Vec<String>> =
                kinds.iter().map(|(kind, seen)| (kind.to_string(), seen.own(kind, kinds))).collect();
            let found = kinds.len() > 1 && own.values().any(|own| !own.is_empty());
            found.then(|| report::Kinds { by: name.to_string(), own })
        });
        reports.max_by_key(|report| report.own.values().filter(|own| !own.is_empty()).count())
    }
}

impl Kind {
    fn add(&mut self, document: Raw<'_>) {
        self.documents += 1;
        for (name, _) in document.fields().map_while(Result::ok) {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            if self.fields.len() < MAX_FIELDS && !self.fields.contains_key(name) {
                self.fields.insert(name.into(), 0);
            }
            if let Some(count) = self.fields.get_mut(name) {
                *count += 1;
            }
        }
    }

    fn share(&self, field: &str) -> f64 {
        self.fields.get(field).map_or(0.0, |count| *count as f64 / self.documents.max(1) as f64)
    }

    /// The fields that nearly all documents of this kind have, and nearly none of any other.
    fn own(&self, name: &str, kinds: &BTreeMap<Box<str>, Kind>) -> Vec<String> {
        let others = || kinds.iter().filter(|(other, _)| ***other != *name);
        let own = |field: &str| {
            self.share(field) >= NEARLY_ALL && others().all(|(_, other)| other.share(field) <= NEARLY_NONE)
        };
        self.fields.keys().filter(|field| own(field)).map(ToString::to_string).collect()
    }
}

/// Whether applications give such a name to the field: `type`, `__t`, `_class`, `eventType`, `targetKind`.
fn may_name_kinds(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    matches!(plain.as_str(), "t" | "cls" | "class" | "event" | "model" | "discriminator" | "category" | "entity")
        || plain.ends_with("type")
        || plain.ends_with("kind")
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn kinds_are_those_with_fields_of_their_own() {
        let mut candidates = Candidates::default();
        for _ in 0..20 {
            for document in [
                rawdoc! { "type": "login", "at": 1, "user": 2, "mediaType": "a" },
                rawdoc! { "type": "order", "at": 1, "total": 2, "mediaType": "b" },
            ] {
                candidates.add(Raw::new(document.as_bytes()));
            }
        }
        let report = candidates.report().expect("kinds");
        assert_eq!(report.by, "type");
        assert_eq!(report.own["login"], ["user"]);
        assert_eq!(report.own["order"], ["total"]);
    }

    #[test]
    fn a_list_of_values_alone_makes_no_kinds() {
        let mut candidates = Candidates::default();
        for kind in ["a", "b", "c"] {
            candidates.add(Raw::new(rawdoc! { "kind": kind, "at": 1 }.as_bytes()));
        }
        assert_eq!(candidates.report(), None);
    }
}

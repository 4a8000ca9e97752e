//! Constraints: demanded where nothing can break them, or where somebody wants them; comments otherwise.

use super::{
    build::{Body, Builder, ID, Place},
    claims,
    model::{Column, ForeignKey, Natural, Rule},
};
use crate::profile::{Field, Reference};

/// Most texts of a list that a column is limited to.
const MAX_LISTED: usize = 16;

impl<'a> Builder<'a> {
    /// The foreign key of a reference, or a comment in its place where the data breaks it or was not seen as a whole.
    pub(super) fn foreign_key(&self, body: &Body<'a>, field: &Field, column: &Column) -> Option<ForeignKey> {
        let (reference, target) = self.reference(field)?;
        let instead = why_not(reference, body.collection.all && target.all);
        let column = column.name.clone();
        Some(ForeignKey { column, table: target.table.clone(), key: ID.to_owned(), cascades: false, instead })
    }

    /// The reference of a field to another one that is unique.
    pub(super) fn natural(&self, all: bool, field: &Field) -> Option<Natural> {
        let reference = field.reference.as_ref()?;
        let target = self.targets.get(reference.collection.as_str())?;
        let (collection, path) = (reference.collection.clone(), reference.field.clone()?);
        Some(Natural { collection, path, instead: why_not(reference, all && target.all) })
    }

    /// Whether the column is `NOT NULL`.
    pub(super) fn not_null(&self, body: &Body<'a>, field: &Field, place: &Place<'a>) -> Rule {
        let all = body.collection.all;
        if place.optional || field.present == 0 {
            Rule::Broken
        } else if all && let Some(claim) = field.claims.iter().find(|claim| claim.required) {
            Rule::Demanded(format!("{} demands it", claim.by))
        } else if all && self.choices.strict {
            Rule::Demanded("every document has it".to_owned())
        } else {
            Rule::Satisfied
        }
    }

    /// The texts to which the column is limited.
    pub(super) fn check(&self, body: &Body<'a>, field: &Field) -> Option<(Vec<String>, Rule)> {
        let all = body.collection.all;
        // Only the texts are known one by one; a number would break the list.
        if field.kinds() != ["string"] {
            return None;
        }
        if let Some(claim) = claims::limit(field) {
            let rule = if all { Rule::Demanded(format!("{} lists them", claim.by)) } else { Rule::Satisfied };
            return Some((claim.texts.clone(), rule));
        }
        let kinds = field.kinds_of_text().filter(|kinds| (2..=MAX_LISTED).contains(&kinds.len()))?;
        let texts = kinds.into_iter().map(|(text, _)| text.to_owned()).collect();
        let strict = all && self.choices.strict;
        Some((texts, if strict { Rule::Demanded("no document has another".to_owned()) } else { Rule::Satisfied }))
    }
}

/// Why a reference is no foreign key, if it is none.
fn why_not(reference: &Reference, all: bool) -> Option<String> {
    let dangling = reference.looked - reference.found;
    if dangling > 0 {
        Some(format!("{dangling} of {} values dangle", reference.looked))
    } else if !(reference.exact && all) {
        Some("not proven: only a part of the documents was looked at".to_owned())
    } else {
        None
    }
}

/// Whether two values are equal in the column exactly where MongoDB takes them for equal.
pub(super) fn is_comparable(field: &Field, kind: &str) -> bool {
    let kinds = field.kinds();
    match kinds[..] {
        ["objectId" | "date" | "bool" | "binData"] => kind != "jsonb",
        ["string"] => kind == "text",
        _ => !kinds.is_empty() && kinds.iter().all(|kind| matches!(*kind, "int" | "long")),
    }
}

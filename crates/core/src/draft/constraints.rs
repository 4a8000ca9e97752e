//! Constraints: demanded where nothing can break them, or where somebody wants them; comments otherwise.

use super::{
    build::{Body, Builder, ID, Place},
    model::{Column, ForeignKey, Rule},
};
use crate::profile::Field;

/// Most texts of a list that a column is limited to.
const MAX_LISTED: usize = 16;

impl<'a> Builder<'a> {
    /// The foreign key of a reference, or a comment in its place where the data breaks it or was not seen as a whole.
    pub(super) fn foreign_key(&self, body: &Body<'a>, field: &Field, column: &Column) -> Option<ForeignKey> {
        let (reference, target) = self.reference(field)?;
        let dangling = reference.looked - reference.found;
        let instead = if dangling > 0 {
            Some(format!("{dangling} of {} values dangle", reference.looked))
        } else if !(reference.exact && body.collection.all && target.all) {
            Some("not proven: only a part of the documents was looked at".to_owned())
        } else {
            None
        };
        let column = column.name.clone();
        Some(ForeignKey { column, table: target.table.clone(), key: ID.to_owned(), cascades: false, instead })
    }

    /// Whether the column is `NOT NULL`.
    pub(super) fn not_null(&self, body: &Body<'a>, field: &Field, place: &Place<'a>) -> Rule {
        let all = body.collection.all;
        let validator = body.collection.validator.as_ref().filter(|validator| validator.enforced && !body.is_child);
        if place.optional || field.present == 0 {
            Rule::Broken
        } else if all && validator.is_some_and(|validator| validator.demands(&place.names)) {
            Rule::Demanded("the validator demands it")
        } else if all && self.choices.strict {
            Rule::Demanded("every document has it")
        } else {
            Rule::Satisfied
        }
    }

    /// The texts to which the column is limited.
    pub(super) fn check(&self, body: &Body<'a>, field: &Field, place: &Place<'a>) -> Option<(Vec<String>, Rule)> {
        let seen = field.few.as_ref()?;
        let all = body.collection.all;
        let validator = body.collection.validator.as_ref().filter(|validator| validator.enforced && !body.is_child);
        if let Some(texts) = validator.and_then(|validator| validator.texts(&place.names))
            && seen.keys().all(|text| texts.contains(text))
        {
            let rule = if all { Rule::Demanded("the validator lists them") } else { Rule::Satisfied };
            return Some((texts, rule));
        }
        let kinds = field.kinds_of_text().filter(|kinds| (2..=MAX_LISTED).contains(&kinds.len()))?;
        let texts = kinds.into_iter().map(|(text, _)| text.to_owned()).collect();
        Some((
            texts,
            if all && self.choices.strict { Rule::Demanded("no document has another") } else { Rule::Satisfied },
        ))
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

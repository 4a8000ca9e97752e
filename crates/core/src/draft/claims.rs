//! The claims about a field, as far as they decide something: always with the name of their author.

use crate::{
    mapping::target::quote_text,
    profile::{Claim, Field, Preset},
};

/// The list of texts that limits a field, if no document breaks it.
pub(super) fn limit(field: &Field) -> Option<&Claim> {
    let seen = field.few.as_ref()?;
    listing(field).find(|claim| seen.keys().all(|text| claim.texts.contains(text)))
}

/// The `DEFAULT` of a column, where its type has such a value.
pub(super) fn default(field: &Field, kind: &str) -> Option<String> {
    preset(field, kind).map(|(_, sql)| sql)
}

/// The remarks on a column: where its reference and its default come from, and which claims the documents break.
pub(super) fn remarks(field: &Field, kind: &str) -> Vec<String> {
    let without = field.of.saturating_sub(field.present) + field.count(&["null", "undefined"]);
    let mut remarks = Vec::new();
    let reference = field.reference.as_ref().and_then(|reference| reference.by);
    remarks.extend(reference.map(|by| format!("a reference by {by}")));
    for claim in field.claims.iter().filter(|claim| claim.required && without > 0) {
        remarks.push(format!("{} requires it, but {without} of {} have none", claim.by, field.of));
    }
    if limit(field).is_none() && field.kinds() == ["string"] {
        remarks.extend(listing(field).map(|claim| format!("not all of its texts are in the list of {}", claim.by)));
    }
    if let Some((claim, _)) = preset(field, kind) {
        let default = claim.default.as_ref().map(Preset::to_string).unwrap_or_default();
        let missing = if without > 0 { format!("; {without} of {} have none", field.of) } else { String::new() };
        remarks.push(format!("{} gives it the default {default}{missing}", claim.by));
    }
    remarks
}

fn listing(field: &Field) -> impl Iterator<Item = &Claim> {
    field.claims.iter().filter(|claim| !claim.texts.is_empty())
}

fn preset<'f>(field: &'f Field, kind: &str) -> Option<(&'f Claim, String)> {
    field.claims.iter().find_map(|claim| {
        let sql = match (claim.default.as_ref()?, kind) {
            (Preset::Text(text), "text") if !text.contains(char::is_control) => quote_text(text),
            (Preset::Number(number), "double precision" | "numeric") => number.to_string(),
            (Preset::Number(number), "integer" | "bigint") if number.is_i64() => number.to_string(),
            (Preset::Flag(flag), "boolean") => flag.to_string(),
            (Preset::Now, "timestamptz") => "now()".to_owned(),
            _ => return None,
        };
        Some((claim, sql))
    })
}

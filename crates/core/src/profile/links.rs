//! References: paths whose values are `_id`s of a collection.
//!
//! An ObjectId or a UUID is an id by itself; where half of the distinct ones are found, the others dangle. Numbers and texts meet by
//! chance, so for those the name of the field has to say the collection, and nearly all have to be found. Where somebody claims a
//! reference, nothing has to be found: the others dangle. `natural` finds references to other unique fields.

use super::{
    IdForm,
    natural::{self, Key},
    report::{Collection, Field, Path, Reference},
    sketch::{Hashes, Ids, Sketch},
};

/// The share of values that has to be found.
const OF_IDS: f64 = 0.5;
pub(super) const OF_OTHERS: f64 = 0.9;

/// Enters the references of all collections; `known` are the sketches and the ids of each.
pub(super) fn enter(collections: &mut [Collection], known: &[(Vec<Sketch>, Ids)]) {
    let names: Vec<String> = collections.iter().map(|collection| collection.name.clone()).collect();
    let keys = natural::keys(collections);
    for (place, collection) in collections.iter_mut().enumerate() {
        let sketches = &known[place].0;
        for field in &mut collection.fields {
            let own = field.name == "_id";
            field.each_mut(&Path::default().to_field(&field.name.clone()), &mut |path, field| {
                let Some(sketch) = field.sketch.take().and_then(|place| sketches.get(place)) else { return };
                let others = names.iter().zip(known).enumerate().filter(|(at, _)| !own || *at != place);
                let found = others.filter_map(|(_, (name, (_, ids)))| reference(path, field, sketch, name, ids));
                let ids = found.max_by(|(a, near), (b, nearer)| a.compare(b).then(near.cmp(nearer)));
                let of_key = |key: &Key| &known[key.at].0[key.sketch];
                field.reference = claimed(field, sketch, &names, known, &keys)
                    .or_else(|| ids.map(|(reference, _)| reference))
                    .or_else(|| natural::reference((place, path), field, sketch, &keys, &of_key));
            });
        }
    }
}

/// The reference that somebody claims.
fn claimed(
    field: &Field,
    sketch: &Sketch,
    names: &[String],
    known: &[(Vec<Sketch>, Ids)],
    keys: &[Key],
) -> Option<Reference> {
    let (by, referred) = field.claims.iter().find_map(|claim| Some((claim.by, claim.reference.as_ref()?)))?;
    let at = names.iter().position(|name| *name == referred.collection)?;
    let (sketches, ids) = &known[at];
    match &referred.field {
        None => Some(Reference { by: Some(by), ..found(&referred.collection, None, sketch, ids) }),
        Some(path) => {
            let key = keys.iter().find(|key| key.at == at && key.path == *path)?;
            Some(Reference { by: Some(by), ..found(&referred.collection, Some(path), sketch, &sketches[key.sketch]) })
        }
    }
}

/// The reference of a path to the `_id`s of a collection, and whether the name of the path says it.
fn reference(path: &Path, field: &Field, sketch: &Sketch, collection: &str, ids: &Ids) -> Option<(Reference, bool)> {
    if field.refers.is_empty() || !sketch.meets(ids) {
        return None;
    }
    let is_id = field.refers.iter().any(|form| matches!(form, IdForm::ObjectId | IdForm::Uuid));
    let near = is_named_after(path.last_name(), collection);
    if !is_id && !near {
        return None;
    }
    let reference = found(collection, None, sketch, ids);
    (reference.share() >= if is_id { OF_IDS } else { OF_OTHERS }).then_some((reference, near))
}

/// The reference of values to others, as far as they are found.
pub(super) fn found(collection: &str, path: Option<&str>, sketch: &Sketch, others: &impl Hashes) -> Reference {
    let found = sketch.found(others);
    Reference {
        collection: collection.to_owned(),
        field: path.map(str::to_owned),
        by: None,
        looked: found.looked,
        found: found.found,
        exact: found.exact,
    }
}

/// Whether a field is called like a collection: `plan`, `planId` or `plan_ids` like `plans` or `crm_Plans`.
pub(super) fn is_named_after(field: &str, collection: &str) -> bool {
    let (field, collection) = (plain(field), plain(collection));
    let field =
        ["ids", "id", "refs", "ref", "code", "key"].iter().find_map(|end| field.strip_suffix(end)).unwrap_or(&field);
    let (field, collection) = (singular(field), singular(&collection));
    field.len() >= 3
        && (field == collection
            || collection.ends_with(&field)
            || (collection.len() >= 3 && field.ends_with(&collection)))
}

pub(super) fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The name of one of many: `plan` of `plans`, `category` of `categories`.
pub(crate) fn singular(name: &str) -> String {
    match (name.strip_suffix("ies"), name.strip_suffix('s')) {
        (Some(stem), _) => format!("{stem}y"),
        (None, Some(stem)) if !stem.ends_with('s') => stem.to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("plan", "plans", true)]
    #[case("planIds", "crm_Plans", true)]
    #[case("parentCategoryId", "categories", true)]
    #[case("currency", "currencies", true)]
    #[case("position", "plans", false)]
    #[case("id", "ideas", false)]
    fn fields_are_named_after_collections(#[case] field: &str, #[case] collection: &str, #[case] expected: bool) {
        assert_eq!(is_named_after(field, collection), expected);
    }
}

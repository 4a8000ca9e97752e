//! References by natural key: paths whose values are those of a unique field of another collection, such as the code of a country.
//!
//! Texts and numbers meet by chance, so the name has to say the field or its collection, and nearly all values have to be found.

use super::{
    links::{OF_OTHERS, found, is_named_after, plain, singular},
    report::{Collection, Field, Path, Reference},
    sketch::Sketch,
};

/// Most unique fields of a collection that are looked at; each is compared with every path of such a name.
const MAX_KEYS: usize = 20;
/// Fewer distinct values than this are found by chance, unless the path is called like the collection.
const MIN_VALUES: u64 = 3;

/// A field that is unique in its collection.
#[derive(Debug)]
pub(super) struct Key {
    /// The place of the collection.
    pub(super) at: usize,
    collection: String,
    pub(super) path: String,
    name: String,
    /// Its place among the sketches of the collection.
    pub(super) sketch: usize,
    /// Whether MongoDB keeps it unique.
    indexed: bool,
    numbers: bool,
}

/// The unique fields of all collections: those that an index keeps so, and those that are.
pub(super) fn keys(collections: &[Collection]) -> Vec<Key> {
    let of = |(at, collection)| of_one(at, collection);
    collections.iter().enumerate().flat_map(of).collect()
}

fn of_one(at: usize, collection: &Collection) -> Vec<Key> {
    let is_indexed = |path: &str| collection.indexes.iter().any(|index| index.keeps_unique(path));
    let mut keys = Vec::new();
    for field in collection.fields.iter().filter(|field| field.name != "_id") {
        field.each(&mut |path, field| {
            let (path, name) = (path.to_string(), path.last_name().to_owned());
            let numbers = match field.kinds()[..] {
                ["string"] => false,
                ["int" | "long", ..] if field.kinds().iter().all(|kind| matches!(*kind, "int" | "long")) => true,
                _ => return,
            };
            let indexed = is_indexed(&path);
            let is_unique = field.nearly_unique().is_some_and(|distinct| distinct.exact && distinct.repeated == 0);
            // Elements of arrays and keys of maps are no fields.
            let is_field = !path.contains("[]") && !path.contains('*');
            if let Some(sketch) = field.sketch.filter(|_| is_field && (indexed || is_unique)) {
                keys.push(Key { at, collection: collection.name.clone(), path, name, sketch, indexed, numbers });
            }
        });
    }
    keys.sort_by_key(|key| !key.indexed);
    keys.truncate(MAX_KEYS);
    keys
}

/// The reference of a path to the best of the keys; `own` are the place of its collection and the path.
pub(super) fn reference<'s>(
    own: (usize, &Path),
    field: &Field,
    sketch: &Sketch,
    keys: &[Key],
    of_key: &impl Fn(&Key) -> &'s Sketch,
) -> Option<Reference> {
    let (at, path) = own;
    let kinds = field.kinds();
    let numbers = !kinds.is_empty() && kinds.iter().all(|kind| matches!(*kind, "int" | "long"));
    if !numbers && kinds != ["string"] {
        return None;
    }
    let name = path.last_name();
    let is_own = |key: &&Key| key.at == at && key.path == path.to_string();
    let is_key = keys.iter().any(|key| is_own(&key));
    let near = |key: &Key| is_named_after(name, &key.collection);
    // Of two unique fields neither refers to the other, unless a name says it.
    let says = |key: &Key| near(key) || (!numbers && !is_key && ends_with(name, &key.name));
    let named = keys.iter().filter(|key| !is_own(key) && key.numbers == numbers && says(key));
    let found = named.filter(|key| sketch.meets(of_key(key))).map(|key| {
        let found = found(&key.collection, Some(&key.path), sketch, of_key(key));
        (found, near(key), key.indexed)
    });
    found
        .filter(|(found, near, _)| found.share() >= OF_OTHERS && (*near || found.looked >= MIN_VALUES))
        .max_by(|(a, near, indexed), (b, nearer, other)| a.compare(b).then(near.cmp(nearer)).then(indexed.cmp(other)))
        .map(|(reference, ..)| reference)
}

/// Whether the name of a path ends with that of the field: `countryCode` and `code`, `sku` and `sku`.
fn ends_with(name: &str, key: &str) -> bool {
    let (name, key) = (plain(name), plain(key));
    key.len() >= 3 && (name.ends_with(&key) || singular(&name).ends_with(&key))
}

#[cfg(test)]
mod tests {
    use bson::{doc, rawdoc};

    use crate::profile::{Analysis, Database, Facts, Index, Reference};

    fn analysis() -> Analysis {
        let mut database = Database::new("shop");
        let unique =
            |name: &str| Index::read(&doc! { "key": { name: 1 }, "name": name, "unique": true }).expect("an index");
        let codes = ["de", "fr", "pl", "nl"];
        database.begin(Facts { name: "countries".to_owned(), indexes: vec![unique("code")], ..Facts::default() });
        codes
            .iter()
            .enumerate()
            .for_each(|(at, code)| database.add(&rawdoc! { "_id": at as i32, "code": *code, "rank": at as i32 }));
        database.end(true);
        database.begin(Facts { name: "people".to_owned(), indexes: vec![unique("contact.email")], ..Facts::default() });
        for at in 0..30 {
            database.add(&rawdoc! { "_id": at, "contact": { "email": format!("p{at}@x") }, "badge": format!("b{at}"), "rank": at % 4 });
        }
        database.end(true);
        database.begin(Facts { name: "orders".to_owned(), ..Facts::default() });
        for at in 0..40_i32 {
            let buyer = if at == 7 { "gone@x".to_owned() } else { format!("p{}@x", at % 30) };
            let code = codes[at as usize % 4];
            database.add(&rawdoc! {
                "_id": at + 1000, "country": code, "shipping": { "countryCode": code }, "buyerEmail": buyer, "badge": format!("b{}", at % 30),
                "promoCode": format!("promo{at}"), "rank": at % 4, "codes": [code],
            });
        }
        database.end(true);
        database.analysis()
    }

    #[test]
    fn values_of_a_unique_field_are_references() {
        let analysis = analysis();
        let orders = analysis.collections.iter().find(|collection| collection.name == "orders").expect("orders");
        let mut found = Vec::new();
        for field in &orders.fields {
            field.each(&mut |path, field| {
                if let Some(Reference { collection, field, looked, found: there, .. }) = &field.reference {
                    found.push(format!("{path} → {collection}.{} {there}/{looked}", field.as_deref().unwrap_or("_id")));
                }
            });
        }
        // A number that is the rank of a country by chance is none.
        assert_eq!(
            found,
            [
                "badge → people.badge 30/30",
                "buyerEmail → people.contact.email 30/31",
                "codes[] → countries.code 4/4",
                "country → countries.code 4/4",
                "shipping.countryCode → countries.code 4/4",
            ]
        );
        let countries =
            analysis.collections.iter().find(|collection| collection.name == "countries").expect("countries");
        assert!(countries.fields.iter().all(|field| field.reference.is_none()), "{countries:?}");
    }
}

//! What the server says about a collection: its indexes and its validator.

use bson::{Bson, Document};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::claims::{Description, of_validator};

/// An index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Its paths, each with `1`, `-1` or the kind of a special index: `text`, `2dsphere`, `hashed`.
    pub keys: Vec<(String, String)>,
    /// Whether it refuses a second document with the same values.
    #[serde(default)]
    pub unique: bool,
    /// Whether it leaves out documents without the field.
    #[serde(default)]
    pub sparse: bool,
    /// Whether it compares texts by the rules of a language.
    #[serde(default)]
    pub collation: bool,
    /// The condition of a partial index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<Value>,
    /// Seconds after which the server deletes documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
}

impl Index {
    /// Reads an answer of `listIndexes`; `None` for the index of `_id`, and for what is no index.
    pub fn read(described: &Document) -> Option<Self> {
        let name = described.get_str("name").ok()?;
        let keys = described.get_document("key").ok()?;
        if keys.len() == 1 && keys.contains_key("_id") {
            return None;
        }
        // A text index names its fields elsewhere.
        let weights = described.get_document("weights").ok().filter(|_| keys.contains_key("_fts"));
        let keys = match weights {
            Some(weights) => weights.keys().map(|name| (name.clone(), "text".to_owned())).collect(),
            None => keys.iter().map(|(name, kind)| (name.clone(), direction(kind))).collect(),
        };
        let is = |key: &str| described.get_bool(key).unwrap_or(false);
        Some(Self {
            name: name.to_owned(),
            keys,
            unique: is("unique"),
            sparse: is("sparse"),
            collation: described.contains_key("collation"),
            partial: described.get_document("partialFilterExpression").ok().map(json),
            expires: described.get("expireAfterSeconds").and_then(whole),
        })
    }

    /// Whether it keeps the values of this path alone unique, as PostgreSQL would compare them.
    pub(super) fn keeps_unique(&self, path: &str) -> bool {
        let is_plain = self.unique && !self.collation && self.partial.is_none();
        is_plain && matches!(&self.keys[..], [(only, kind)] if only == path && matches!(kind.as_str(), "1" | "-1"))
    }
}

/// A validator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validator {
    /// Whether the server refuses every document that breaks it.
    pub enforced: bool,
    /// Its `$jsonSchema`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

impl Validator {
    /// Reads the options of a collection, as `listCollections` gives them; `None` for one without a validator.
    pub fn read(options: &Document) -> Option<Self> {
        let validator = options.get_document("validator").ok().filter(|validator| !validator.is_empty())?;
        let says = |key: &str, usual: &str| options.get_str(key).map_or(true, |said| said == usual);
        Some(Self {
            enforced: says("validationLevel", "strict") && says("validationAction", "error"),
            schema: validator.get_document("$jsonSchema").ok().map(json),
        })
    }

    /// Its claims about every document; `None` where the server lets other documents in.
    pub fn description(&self) -> Option<Description> {
        self.schema.as_ref().filter(|_| self.enforced).map(of_validator)
    }
}

fn json(document: &Document) -> Value {
    serde_json::to_value(document).unwrap_or_default()
}

fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

fn direction(kind: &Bson) -> String {
    match (whole(kind), kind) {
        (Some(direction), _) => if direction < 0 { "-1" } else { "1" }.to_owned(),
        (None, Bson::String(kind)) => kind.clone(),
        _ => "1".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn an_index_is_read() {
        let index = Index::read(
            &doc! { "v": 2, "key": { "a.b": 1, "c": -1.0 }, "name": "n", "unique": true, "expireAfterSeconds": 5 },
        );
        let index = index.expect("an index");
        assert_eq!(index.keys, [("a.b".to_owned(), "1".to_owned()), ("c".to_owned(), "-1".to_owned())]);
        assert!(index.unique && !index.sparse && index.expires == Some(5));
        let text = Index::read(&doc! { "key": { "_fts": "text", "_ftsx": 1 }, "name": "t", "weights": { "title": 1 } });
        assert_eq!(text.expect("an index").keys, [("title".to_owned(), "text".to_owned())]);
        assert_eq!(Index::read(&doc! { "key": { "_id": 1 }, "name": "_id_" }), None);
    }

    #[test]
    fn a_validator_claims_what_it_enforces() {
        let schema = doc! { "$jsonSchema": { "required": ["status"] } };
        let enforced = Validator::read(&doc! { "validator": schema.clone() }).expect("a validator");
        assert!(enforced.enforced && enforced.description().is_some());
        let weak = Validator::read(&doc! { "validator": schema, "validationAction": "warn" }).expect("a validator");
        assert!(!weak.enforced && weak.description().is_none());
        let other = Validator::read(&doc! { "validator": { "a": 1 } }).expect("a validator");
        assert!(other.enforced && other.description().is_none());
    }
}

//! What the server says about a collection: its indexes and its validator.

use bson::{Bson, Document};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

    /// Whether it demands a value of a field: it requires the field, and a type that is not null.
    pub fn demands(&self, names: &[&str]) -> bool {
        let mut here = self.schema.as_ref();
        for name in names {
            let required = here.is_some_and(|here| lists(&here["required"], name));
            here =
                here.filter(|_| required).and_then(|here| here["properties"].get(*name)).filter(|here| is_typed(here));
        }
        here.is_some() && !names.is_empty()
    }

    /// The texts to which it limits a field, if it does.
    pub fn texts(&self, names: &[&str]) -> Option<Vec<String>> {
        let mut here = self.schema.as_ref()?;
        for name in names {
            here = here["properties"].get(*name)?;
        }
        let listed = here["enum"].as_array()?;
        let texts = listed.iter().filter(|value| !value.is_null()).map(|value| value.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<_>>>().filter(|texts| !texts.is_empty())
    }
}

fn lists(names: &Value, name: &str) -> bool {
    names.as_array().is_some_and(|names| names.iter().any(|known| known == name))
}

/// Whether null is none of its types.
fn is_typed(described: &Value) -> bool {
    match described.get("bsonType").or_else(|| described.get("type")) {
        Some(Value::String(name)) => name != "null",
        Some(Value::Array(names)) => !names.iter().any(|name| name == "null"),
        _ => false,
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
    fn a_validator_demands_and_limits() {
        let address = doc! { "bsonType": "object", "required": ["city", "zip"], "properties": {
            "city": { "bsonType": ["string"] }, "zip": { "bsonType": ["string", "null"] }, "n": { "enum": [1] },
        } };
        let schema = doc! {
            "required": ["status", "address"],
            "properties": { "status": { "type": "string", "enum": ["a", "b", bson::Bson::Null] }, "address": address },
        };
        let validator = Validator::read(&doc! { "validator": { "$jsonSchema": schema } }).expect("a validator");
        assert!(validator.enforced);
        assert!(validator.demands(&["status"]) && validator.demands(&["address", "city"]));
        assert!(!validator.demands(&["other"]) && !validator.demands(&["address", "zip"]));
        assert_eq!(validator.texts(&["status"]), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(validator.texts(&["address", "n"]), None);
        let weak = Validator::read(&doc! { "validator": { "a": 1 }, "validationAction": "warn" }).expect("a validator");
        assert!(!weak.enforced && weak.schema.is_none());
    }
}

//! Claims in the form of MongoDB's `$jsonSchema`.

use serde_json::Value;

use super::{Author, Claims, Description, Preset, Referred};

/// The claims of a validator.
pub(in crate::profile) fn of_validator(schema: &Value) -> Description {
    Description { by: Author::Validator, claims: claims(schema, true) }
}

/// The claims of a schema. Beside the keywords of MongoDB it may have `default`, a value or `{"function": "now"}`, and `reference`, the name of a
/// collection.
pub(super) fn claims(schema: &Value, required: bool) -> Claims {
    let listed = schema["required"].as_array();
    let is_required = |name: &str| listed.is_some_and(|names| names.iter().any(|listed| listed == name));
    let properties = schema["properties"].as_object().into_iter().flatten();
    let reference = schema["reference"].as_str();
    Claims {
        required: required && is_typed(schema),
        texts: texts(schema).unwrap_or_default(),
        default: default(&schema["default"]),
        reference: reference.map(|collection| Referred { collection: collection.to_owned(), field: None }),
        fields: properties.map(|(name, schema)| (name.clone(), claims(schema, is_required(name)))).collect(),
        elements: Some(&schema["items"]).filter(|items| items.is_object()).map(|items| Box::new(claims(items, true))),
    }
}

/// The texts of a list of values that has nothing else but null.
fn texts(schema: &Value) -> Option<Vec<String>> {
    let listed = schema["enum"].as_array()?.iter().filter(|value| !value.is_null());
    listed.map(|value| value.as_str().map(str::to_owned)).collect()
}

/// Whether null is none of its types.
fn is_typed(schema: &Value) -> bool {
    match schema.get("bsonType").or_else(|| schema.get("type")) {
        Some(Value::String(name)) => name != "null",
        Some(Value::Array(names)) => !names.iter().any(|name| name == "null"),
        _ => false,
    }
}

fn default(value: &Value) -> Option<Preset> {
    match value {
        Value::String(text) => Some(Preset::Text(text.clone())),
        Value::Number(number) => Some(Preset::Number(number.clone())),
        Value::Bool(flag) => Some(Preset::Flag(*flag)),
        Value::Object(call) if call.get("function").is_some_and(|function| function == "now") => Some(Preset::Now),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_demands_and_limits() {
        let claims = of_validator(&json!({
            "required": ["status", "address", "any"],
            "properties": {
                "status": { "type": "string", "enum": ["a", "b", null] },
                "address": { "bsonType": "object", "required": ["city", "zip"], "properties": {
                    "city": { "bsonType": ["string"] }, "zip": { "bsonType": ["string", "null"] }, "n": { "enum": [1] } } },
                "any": {},
                "lines": { "bsonType": "array", "items": { "bsonType": "object", "required": ["sku"], "properties": { "sku": { "bsonType": "string" } } } },
            },
        }))
        .claims;
        let [status, address, any, lines] = ["status", "address", "any", "lines"].map(|name| &claims.fields[name]);
        assert_eq!((status.required, status.texts.as_slice()), (true, &["a".to_owned(), "b".to_owned()][..]));
        assert!(address.required && address.fields["city"].required && !address.fields["zip"].required);
        assert!(!any.required && !lines.required && address.fields["n"].texts.is_empty());
        let elements = lines.elements.as_deref().expect("elements");
        assert!(elements.required && elements.fields["sku"].required);
    }
}

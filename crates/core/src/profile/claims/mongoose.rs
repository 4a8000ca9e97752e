//! Claims of the schemas of Mongoose. They are programs, so `config/mongoose.js` runs in the application's own Node.js and prints them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Author, Description, json_schema};

/// Reads what `config/mongoose.js` prints: an object with a schema for each collection, by its name.
///
/// # Errors
/// Fails for what is no JSON, or has another form.
pub fn mongoose(text: &str) -> Result<BTreeMap<String, Description>, serde_json::Error> {
    let schemas: BTreeMap<String, serde_json::Map<String, Value>> = serde_json::from_str(text)?;
    let described =
        |schema| Description { by: Author::Mongoose, claims: json_schema::claims(&Value::Object(schema), true) };
    Ok(schemas.into_iter().map(|(collection, schema)| (collection, described(schema))).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::Preset, *};

    #[test]
    fn schemas_of_mongoose_are_read() {
        let described = mongoose(include_str!("mongoose.json")).expect("schemas");
        let orders = &described["orders"].claims.fields;
        assert!(orders["status"].required && !orders["note"].required);
        assert_eq!(orders["status"].texts, ["open", "paid", "sent"]);
        assert_eq!(orders["status"].default, Some(Preset::Text("open".to_owned())));
        assert_eq!(orders["createdAt"].default, Some(Preset::Now));
        let customer = orders["customer"].reference.as_ref().expect("a reference");
        assert_eq!((customer.collection.as_str(), &customer.field), ("people", &None));
        let address = &orders["address"].fields;
        assert!(address["city"].required && !address["street"].required);
        let lines = orders["lines"].elements.as_deref().expect("elements");
        assert_eq!(lines.fields["product"].reference.as_ref().expect("a reference").collection, "products");
        assert_eq!(lines.fields["quantity"].default, Some(Preset::Number(1.into())));
        let tags = orders["tags"].elements.as_deref().expect("elements");
        assert_eq!(tags.texts, ["new", "gift"]);
        assert!(mongoose("[]").is_err() && mongoose("{\"a\": 1}").is_err());
    }
}

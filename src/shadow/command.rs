//! A command of MongoDB with placeholders. Pure.

use std::collections::BTreeSet;

use bson::{Bson, Document, raw::RawDocumentBuf};

/// `find` or `aggregate`, as Extended JSON; `{"$parameter": "name"}` stands for the value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    document: Document,
    /// The collection that it reads.
    pub(crate) collection: String,
    /// All collections that it reads: also those of `$lookup`, `$graphLookup` and `$unionWith`.
    pub(crate) collections: BTreeSet<String>,
    /// The parameters that it names.
    pub(crate) placeholders: BTreeSet<String>,
}

/// A fault and its remedy.
type Refused = (String, &'static str);

const PLACEHOLDER: &str = "$parameter";
const FIND: &str = "find";
const AGGREGATE: &str = "aggregate";
/// Fields of a command that decide where, when and in which transaction it is run: the comparison sets them itself.
const OURS: [&str; 8] =
    ["readConcern", "writeConcern", "lsid", "txnNumber", "autocommit", "startTransaction", "$readPreference", "$db"];
/// Stages that write.
const WRITING: [&str; 2] = ["$out", "$merge"];
/// Stages that read another collection, and where they name it.
const READING: [(&str, &str); 3] = [("$lookup", "from"), ("$graphLookup", "from"), ("$unionWith", "coll")];

impl Command {
    /// Reads a command.
    ///
    /// # Errors
    /// The fault and its remedy.
    pub(crate) fn parse(text: &str) -> Result<Self, Refused> {
        let hint = "write one document, such as { \"find\": \"users\", \"filter\": { … } }";
        let document: Document = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            (format!("`mongodb` is no Extended JSON, at line {line}, column {column} of it"), hint)
        })?;
        let Some((name, of)) = document.iter().next() else { return Err(("`mongodb` is empty".to_owned(), hint)) };
        if name != FIND && name != AGGREGATE {
            return Err((format!("`{name}` is not compared"), "write a `find` or an `aggregate`, its name first"));
        }
        let Bson::String(collection) = of else {
            return Err((format!("`{name}` names no collection"), "write the name of the collection behind it"));
        };
        if let Some(ours) = document.keys().find(|key| OURS.contains(&key.as_str())) {
            return Err((format!("`{ours}` cannot be set"), "remove it: both sides are read as of one instant"));
        }
        let pipeline = document.get("pipeline");
        if name == AGGREGATE && !matches!(pipeline, Some(Bson::Array(_))) {
            return Err(("`aggregate` has no `pipeline`".to_owned(), "write \"pipeline\": [ … ]"));
        }
        let mut seen = Seen { collections: BTreeSet::from([collection.clone()]), placeholders: BTreeSet::new() };
        document.iter().try_for_each(|(_, value)| seen.look(value))?;
        let Seen { collections, placeholders } = seen;
        Ok(Self { collection: collection.clone(), document, collections, placeholders })
    }

    /// Whether its answer has the documents of its collection, or parts of them.
    pub(crate) fn is_find(&self) -> bool {
        self.document.contains_key(FIND)
    }

    /// The command with the values of its parameters, ready to be sent; `None` if it cannot be encoded.
    pub(crate) fn fill(&self, values: &[(&str, Bson)]) -> Option<RawDocumentBuf> {
        RawDocumentBuf::try_from(&self.filled(values)).ok()
    }

    /// The same as a document.
    pub(crate) fn filled(&self, values: &[(&str, Bson)]) -> Document {
        let mut document = self.document.clone();
        document.iter_mut().for_each(|(_, value)| fill(value, values));
        // An aggregation without it answers in another form.
        if document.contains_key(AGGREGATE) && !document.contains_key("cursor") {
            document.insert("cursor", Document::new());
        }
        document
    }
}

struct Seen {
    collections: BTreeSet<String>,
    placeholders: BTreeSet<String>,
}

impl Seen {
    fn look(&mut self, value: &Bson) -> Result<(), Refused> {
        match value {
            Bson::Array(values) => values.iter().try_for_each(|value| self.look(value)),
            Bson::Document(document) => self.look_into(document),
            _ => Ok(()),
        }
    }

    fn look_into(&mut self, document: &Document) -> Result<(), Refused> {
        if let Some(name) = document.get(PLACEHOLDER) {
            return match name {
                Bson::String(name) if document.len() == 1 => {
                    self.placeholders.insert(name.clone());
                    Ok(())
                }
                _ => Err((
                    "a placeholder cannot be read".to_owned(),
                    "write { \"$parameter\": \"name\" }, and nothing else",
                )),
            };
        }
        for (name, value) in document {
            if WRITING.contains(&name.as_str()) {
                return Err((format!("the stage `{name}` writes"), "remove it: a comparison only reads"));
            }
            if let Some((_, field)) = READING.iter().find(|(stage, _)| stage == name) {
                let named = match value {
                    Bson::String(collection) => Some(collection),
                    Bson::Document(stage) => match stage.get(field) {
                        Some(Bson::String(collection)) => Some(collection),
                        _ => None,
                    },
                    _ => None,
                };
                self.collections.extend(named.cloned());
            }
            self.look(value)?;
        }
        Ok(())
    }
}

fn fill(value: &mut Bson, values: &[(&str, Bson)]) {
    match value {
        Bson::Array(elements) => elements.iter_mut().for_each(|element| fill(element, values)),
        Bson::Document(document) => match document.get(PLACEHOLDER) {
            Some(Bson::String(name)) => {
                let found = values.iter().find(|(known, _)| known == name);
                *value = found.map_or(Bson::Null, |(_, value)| value.clone());
            }
            _ => document.iter_mut().for_each(|(_, value)| fill(value, values)),
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bson::{doc, oid::ObjectId};
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_command_keeps_its_order_and_its_types() {
        let text = r#"{ "find": "b", "filter": { "z": 1, "a": { "$oid": "507f1f77bcf86cd799439011" },
            "at": { "$gte": { "$date": "2026-01-31T12:00:00Z" } }, "n": { "$numberDecimal": "1.10" } }, "sort": { "z": -1, "a": 1 } }"#;
        let filled = Command::parse(text).expect("a command").filled(&[]);
        let id = ObjectId::parse_str("507f1f77bcf86cd799439011").expect("an id");
        assert_eq!(filled.keys().collect::<Vec<_>>(), ["find", "filter", "sort"]);
        let filter = filled.get_document("filter").expect("a filter");
        assert_eq!(filter.get("a"), Some(&Bson::ObjectId(id)));
        let at = filter.get_document("at").and_then(|at| at.get_datetime("$gte")).expect("an instant");
        assert_eq!(at.timestamp_millis(), 1_769_860_800_000);
        assert!(matches!(filter.get("n"), Some(Bson::Decimal128(_))));
        let sort = filled.get_document("sort").expect("a sort");
        assert_eq!(sort.keys().collect::<Vec<_>>(), ["z", "a"]);
    }

    #[test]
    fn placeholders_are_filled_wherever_they_are() {
        let text = r#"{ "aggregate": "a", "pipeline": [
            { "$match": { "x": { "$in": [{ "$parameter": "one" }, 7] } } },
            { "$lookup": { "from": "b", "pipeline": [{ "$unionWith": "c" }], "as": "b" } },
            { "$unionWith": { "coll": "d", "pipeline": [] } } ] }"#;
        let command = Command::parse(text).expect("a command");
        assert_eq!(command.collections, ["a", "b", "c", "d"].map(str::to_owned).into());
        assert_eq!(command.placeholders, ["one".to_owned()].into());
        let filled = command.filled(&[("one", Bson::Document(doc! { "$parameter": "not again" }))]);
        let stages = filled.get_array("pipeline").expect("stages");
        let matched = stages[0].as_document().and_then(|stage| stage.get_document("$match").ok()).expect("a match");
        let list = matched.get_document("x").and_then(|x| x.get_array("$in")).expect("a list");
        assert_eq!(list[0], Bson::Document(doc! { "$parameter": "not again" }), "a value is no placeholder");
        assert_eq!(filled.get("cursor"), Some(&Bson::Document(doc! {})));
    }

    #[rstest]
    #[case("{", "`mongodb` is no Extended JSON, at line 1, column 1 of it")]
    #[case("[]", "`mongodb` is no Extended JSON, at line 1, column 0 of it")]
    #[case("{}", "`mongodb` is empty")]
    #[case(r#"{ "delete": "a" }"#, "`delete` is not compared")]
    #[case(r#"{ "filter": {}, "find": "a" }"#, "`filter` is not compared")]
    #[case(r#"{ "aggregate": 1, "pipeline": [] }"#, "`aggregate` names no collection")]
    #[case(r#"{ "aggregate": "a" }"#, "`aggregate` has no `pipeline`")]
    #[case(r#"{ "find": "a", "readConcern": {} }"#, "`readConcern` cannot be set")]
    #[case(r#"{ "aggregate": "a", "pipeline": [{ "$out": "b" }] }"#, "the stage `$out` writes")]
    #[case(r#"{ "aggregate": "a", "pipeline": [{ "$merge": { "into": "b" } }] }"#, "the stage `$merge` writes")]
    #[case(r#"{ "find": "a", "filter": { "x": { "$parameter": 1 } } }"#, "a placeholder cannot be read")]
    #[case(r#"{ "find": "a", "filter": { "x": { "$parameter": "y", "z": 1 } } }"#, "a placeholder cannot be read")]
    fn other_commands_are_refused(#[case] text: &str, #[case] expected: &str) {
        let (what, _) = Command::parse(text).expect_err("a fault");
        assert_eq!(what, expected);
    }
}

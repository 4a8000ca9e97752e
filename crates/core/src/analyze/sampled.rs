//! The fields of documents with their types, for those who decide on tables and columns before there is a plan.

use std::collections::BTreeMap;

use bson::raw::RawDocument;

use super::shape::{EVERY_NAME, Node, Shape, Step};
use crate::mapping::wanted::ELEMENT;

/// Documents of one collection, seen one after the other.
#[derive(Clone, Debug, Default)]
pub struct Sampled(Shape);

/// The values at one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// Types by MongoDB's names, and how often each occurred.
    pub types: BTreeMap<&'static str, u64>,
    /// Fields of the objects.
    pub fields: BTreeMap<String, Self>,
    /// Elements of the arrays.
    pub element: Option<Box<Self>>,
}

impl Sampled {
    /// Adds a document.
    pub fn add(&mut self, document: &RawDocument) {
        self.0.add(document);
    }

    /// The fields of the documents, as those of one object. Names beyond the most that are counted are left out.
    pub fn fields(&self) -> Field {
        field(self.0.root())
    }
}

impl Field {
    /// The fields at a path, through arrays; `*` is every name of a map, and `[]` what is in an array.
    pub fn at(&self, names: &[String]) -> Vec<&Self> {
        let Some((name, rest)) = names.split_first() else { return vec![self] };
        if name == ELEMENT {
            return self.element.iter().flat_map(|element| element.at(rest)).collect();
        }
        let arrays = std::iter::successors(Some(self), |field| field.element.as_deref());
        let found = arrays.into_iter().flat_map(|field| {
            field.fields.iter().filter(|(known, _)| *known == name || name == EVERY_NAME).map(|(_, field)| field)
        });
        found.flat_map(|field| field.at(rest)).collect()
    }

    /// Whether there is a value that is not null.
    pub fn has_values(&self) -> bool {
        self.kinds().next().is_some()
    }

    fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.types.keys().copied().filter(|kind| !matches!(*kind, "null" | "undefined"))
    }
}

/// The type of PostgreSQL that takes every value that was seen at these paths; `None` where there is no value.
pub fn sql_type(fields: &[&Field]) -> Option<String> {
    let kinds: Vec<&str> = fields.iter().flat_map(|field| field.kinds()).collect();
    let all = |of: &[&str]| kinds.iter().all(|kind| of.contains(kind));
    if kinds.is_empty() {
        return None;
    }
    let plain = match () {
        () if all(&["string", "symbol", "objectId"]) => "text",
        () if all(&["bool"]) => "boolean",
        () if all(&["int", "long"]) => "bigint",
        () if all(&["double"]) => "double precision",
        () if all(&["int", "long", "double", "decimal"]) => "numeric",
        () if all(&["date"]) => "timestamp with time zone",
        () if all(&["binData"]) => "bytea",
        () if all(&["array"]) => return Some(array_type(fields)),
        () => "jsonb",
    };
    Some(plain.to_owned())
}

/// An array of scalars is an array; everything else is JSON, and so is an array that never had an element.
fn array_type(fields: &[&Field]) -> String {
    let elements: Vec<&Field> = fields.iter().filter_map(|field| field.element.as_deref()).collect();
    match sql_type(&elements) {
        Some(element) if element != "jsonb" && !element.ends_with("[]") => format!("{element}[]"),
        _ => "jsonb".to_owned(),
    }
}

fn field(node: &Node) -> Field {
    let mut seen = Field { types: node.types().into_iter().collect(), ..Field::default() };
    for (step, next) in node.steps() {
        match step {
            Step::Field(name) => drop(seen.fields.insert(name, field(next))),
            Step::Element => seen.element = Some(Box::new(field(next))),
            Step::Others => {}
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use bson::{oid::ObjectId, rawdoc};

    use super::*;

    #[test]
    fn a_type_takes_every_value_that_was_seen() {
        let mut sampled = Sampled::default();
        sampled.add(&rawdoc! { "_id": ObjectId::new(), "n": 1, "m": 1, "d": 1.5, "l": ["a"], "o": [{ "x": true }], "e": [], "z": null });
        sampled.add(&rawdoc! { "_id": ObjectId::new(), "n": 1_i64, "m": 1.5, "d": null, "l": [], "o": [{ "x": 1 }] });
        let fields = sampled.fields();
        let told = |path: &str| {
            let names: Vec<String> = path.split('.').map(str::to_owned).collect();
            sql_type(&fields.at(&names))
        };
        for (path, expected) in [
            ("l.[]", Some("text")),
            ("o.[].x", Some("jsonb")),
            ("n.[]", None),
            ("_id", Some("text")),
            ("n", Some("bigint")),
            ("m", Some("numeric")),
            ("d", Some("double precision")),
            ("l", Some("text[]")),
            ("o", Some("jsonb")),
            ("o.x", Some("jsonb")),
            ("e", Some("jsonb")),
            ("z", None),
            ("none", None),
        ] {
            assert_eq!(told(path).as_deref(), expected, "{path}");
        }
    }
}

//! The analysis: what was found, as it is printed, written as JSON and read back.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{Author, Claim, Form, IdForm, Index, Validator, sketch::Sketch, tree::Node};

/// The name that stands for every key of a map.
pub(super) const EVERY_NAME: &str = "*";

/// The analysis of a database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The database.
    pub database: String,
    /// Its collections, by name.
    pub collections: Vec<Collection>,
}

/// A collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// Documents, as the server estimates them.
    pub documents: u64,
    /// Bytes of all documents, as the server counts them.
    pub bytes: u64,
    /// Documents that were read.
    pub seen: u64,
    /// Whether these are all of them.
    pub all: bool,
    /// The largest of them, in bytes.
    pub largest: u64,
    /// Its indexes, without the one of `_id`.
    pub indexes: Vec<Index>,
    /// Its validator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<Validator>,
    /// The sorts that every `_id` has.
    pub id_forms: Vec<IdForm>,
    /// The field that names the kind of a document, where there are kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Kinds>,
    /// Its fields, `_id` among them.
    pub fields: Vec<Field>,
    /// Fields that somebody claims, and that no document has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<(Author, String)>,
    /// Whether there were more paths than are counted.
    pub cut: bool,
}

/// The kinds of documents of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kinds {
    /// The field that names the kind.
    pub by: String,
    /// Each kind, with the fields that only it has.
    pub own: BTreeMap<String, Vec<String>>,
}

impl Collection {
    /// A line for each field that somebody claims and no document has.
    pub fn unseen_in_words(&self) -> impl Iterator<Item = String> {
        self.unseen.iter().map(|(by, name)| format!("no document has {name}, of which {by} says something"))
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.own.iter().filter(|(_, own)| !own.is_empty());
        let own: Vec<String> = own.map(|(kind, own)| format!("{kind} ({})", own.join(", "))).collect();
        write!(f, "kinds by {}, with the fields that only they have: {}", self.by, own.join("; "))
    }
}

/// The values at one path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Its name in the object around it; [`EVERY_NAME`] for the keys of a map, and empty for the elements of an array.
    pub name: String,
    /// Objects that have it; for elements, their number.
    pub present: u64,
    /// Objects that could have it.
    pub of: u64,
    /// How many values have each type, by MongoDB's names.
    pub types: BTreeMap<String, u64>,
    /// Column types that take every value without a loss; meaningless where all are null.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<Form>,
    /// Sorts of id that every value can refer to; meaningless where all are null.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refers: Vec<IdForm>,
    /// Smallest and largest int or long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<(i64, i64)>,
    /// Smallest and largest number of any type that is finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<(f64, f64)>,
    /// First and last date, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dates: Option<(i64, i64)>,
    /// Dates and decimals that PostgreSQL's types for them cannot hold.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub out_of_range: u64,
    /// NaN and infinities.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nonfinite: u64,
    /// Longest text or binary value in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub longest: u64,
    /// Empty texts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub empty: u64,
    /// Texts with a NUL character.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nul: u64,
    /// Texts that are no valid UTF-8.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bad_utf8: u64,
    /// Lengths of its arrays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<Lengths>,
    /// Distinct values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<Distinct>,
    /// The texts and how often each came, where there are few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub few: Option<BTreeMap<String, u64>>,
    /// The claims about it, each with its author.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// The collection whose `_id`s, or other unique values, its values are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// Whether its objects are maps, whose keys are data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub map: bool,
    /// Fields of its objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// Elements of its arrays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements: Option<Box<Field>>,
    /// Its place among the sketches.
    #[serde(skip)]
    pub(crate) sketch: Option<usize>,
}

/// Lengths of arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lengths {
    /// The shortest.
    pub min: u64,
    /// The longest.
    pub max: u64,
    /// All together.
    pub sum: u64,
}

/// Distinct values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distinct {
    /// How many there are.
    pub values: u64,
    /// How many of them came more than once.
    pub repeated: u64,
    /// Whether both are exact, and not estimated from a part.
    pub exact: bool,
}

/// A path whose values are ids of a collection, or values of a unique field there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The collection.
    pub collection: String,
    /// The path there, if it is not the `_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Who says so, if it is not only the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Author>,
    /// Distinct values that were looked for.
    pub looked: u64,
    /// How many of them are there.
    pub found: u64,
    /// Whether these are all values of both sides.
    pub exact: bool,
}

impl Reference {
    /// Its target: `users`, or `countries.code`.
    pub fn to(&self) -> String {
        match &self.field {
            Some(field) => format!("{}.{field}", self.collection),
            None => self.collection.clone(),
        }
    }

    /// The share of values that lead somewhere.
    pub(super) fn share(&self) -> f64 {
        self.found as f64 / self.looked.max(1) as f64
    }

    /// Compares these shares, exactly.
    pub(super) fn compare(&self, other: &Self) -> std::cmp::Ordering {
        (self.found * other.looked.max(1)).cmp(&(other.found * self.looked.max(1)))
    }

    /// The share of values that lead nowhere.
    pub fn dangling(&self) -> f64 {
        (self.looked - self.found) as f64 / self.looked.max(1) as f64
    }
}

impl Field {
    /// The report on a node; `of` is the number of objects or arrays around it.
    pub(super) fn of(name: &str, of: u64, node: &Node, sketches: &[Sketch]) -> Self {
        let values = &node.values;
        let count = |kind: &str| values.types.iter().find(|(name, _)| *name == kind).map_or(0, |(_, count)| *count);
        let objects = count("object");
        let map = node.is_map();
        let fields = if map {
            let entries = node.entries();
            vec![Self::of(EVERY_NAME, entries.present, &entries, sketches)]
        } else {
            node.fields.iter().map(|(name, node)| Self::of(name, objects, node, sketches)).collect()
        };
        let distinct = node.sketch.and_then(|place| sketches.get(place)).map(|sketch| Distinct {
            values: sketch.distinct(),
            repeated: sketch.repeated(),
            exact: sketch.is_exact(),
        });
        Self {
            name: name.to_owned(),
            present: node.present,
            of,
            types: values.types.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            forms: values.fits.forms(),
            refers: values.refers.id_forms(),
            whole: values.whole,
            numbers: values.numbers,
            dates: values.dates,
            out_of_range: values.out_of_range,
            nonfinite: values.nonfinite,
            longest: values.longest,
            empty: values.empty,
            nul: values.nul,
            bad_utf8: values.bad_utf8,
            lengths: values.lengths,
            distinct,
            few: values.few().map(|few| few.iter().map(|(text, count)| (text.to_string(), *count)).collect()),
            claims: Vec::new(),
            reference: None,
            map,
            fields,
            elements: node.elements.as_deref().map(|node| Box::new(Self::of("", node.present, node, sketches))),
            sketch: node.sketch,
        }
    }

    /// How many values have one of these types.
    pub fn count(&self, types: &[&str]) -> u64 {
        types.iter().filter_map(|name| self.types.get(*name)).sum()
    }

    /// The types of its values, without null and undefined.
    pub fn kinds(&self) -> Vec<&str> {
        let kinds = self.types.keys().map(String::as_str);
        kinds.filter(|name| !matches!(*name, "null" | "undefined")).collect()
    }

    /// Whether it may have no value: it is missing somewhere, or null.
    pub fn is_optional(&self) -> bool {
        self.present < self.of || self.count(&["null", "undefined"]) > 0
    }

    /// Calls `look` with every path of the field itself and below it.
    pub fn each<'f>(&'f self, look: &mut dyn FnMut(&Path, &'f Self)) {
        self.each_at(&Path::default().to_field(&self.name), look);
    }

    fn each_at<'f>(&'f self, path: &Path, look: &mut dyn FnMut(&Path, &'f Self)) {
        look(path, self);
        self.fields.iter().for_each(|field| field.each_at(&path.to_field(&field.name), look));
        self.elements.iter().for_each(|elements| elements.each_at(&path.to_elements(), look));
    }

    pub(super) fn each_mut(&mut self, path: &Path, look: &mut dyn FnMut(&Path, &mut Self)) {
        look(path, self);
        self.fields.iter_mut().for_each(|field| field.each_mut(&path.to_field(&field.name), look));
        self.elements.iter_mut().for_each(|elements| elements.each_mut(&path.to_elements(), look));
    }
}

/// A path as a person reads it: `a.b[].c`. A dot in a name is written `\.`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// The path to a field of the objects here.
    pub(super) fn to_field(&self, name: &str) -> Self {
        let name = name.replace('\\', "\\\\").replace('.', "\\.");
        Self(if self.0.is_empty() { name } else { format!("{}.{name}", self.0) })
    }

    fn to_elements(&self) -> Self {
        Self(format!("{}[]", self.0))
    }

    /// The last name in it.
    pub(super) fn last_name(&self) -> &str {
        self.0.trim_end_matches("[]").rsplit('.').next().unwrap_or_default()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

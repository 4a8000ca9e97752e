//! The paths of a collection: a tree of names, walked on the raw bytes.
//!
//! An object with very many names is one whose names are data (a map by id). Its further names share one node, so the tree stays
//! small whatever documents come.

use std::collections::BTreeMap;

use super::{form::identity, sketch::Sketch, sketch::hash, values::Values};
use crate::mapping::{Raw, Value};

/// Most names of one object that are counted one by one.
pub(super) const MAX_NAMES: usize = 300;
/// Most nodes of a collection. A node takes about half a kB.
const MAX_NODES: usize = 5_000;
/// Deepest level that is looked at; below it, objects and arrays are only counted.
const MAX_DEPTH: usize = 32;
/// Most paths of a collection whose distinct values are counted.
const MAX_SKETCHES: usize = 500;
/// Distinct ids of such a path that are kept; they may be references, and only exact numbers prove one.
const MAX_DISTINCT_IDS: usize = 1 << 17;
/// Distinct other values of such a path that are kept, to bound memory.
const MAX_DISTINCT: usize = 1 << 13;

/// The paths of a collection.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) root: Node,
    pub(super) sketches: Vec<Sketch>,
    nodes: usize,
    objects: u64,
    room: Vec<u8>,
}

/// The values at one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) values: Values,
    /// Objects that have the field at all.
    pub(super) present: u64,
    /// Fields by their names. Names that are no valid UTF-8 are among the others.
    pub(super) fields: BTreeMap<Box<str>, Node>,
    /// Fields beyond the names that are counted one by one.
    pub(super) others: Option<Box<Node>>,
    pub(super) elements: Option<Box<Node>>,
    /// Its place among the sketches.
    pub(super) sketch: Option<usize>,
    /// The last object that had the field: a name may come twice in one object.
    last: u64,
}

impl Tree {
    /// Takes a document in.
    pub(super) fn add(&mut self, document: Raw<'_>) {
        let mut root = std::mem::take(&mut self.root);
        self.fields(&mut root, document, 0);
        self.root = root;
    }

    /// Whether there were more paths than are counted.
    pub(super) fn is_cut(&self) -> bool {
        self.nodes >= MAX_NODES
    }

    /// Hashes that are kept.
    pub(super) fn hashes(&self) -> usize {
        self.sketches.iter().map(Sketch::len).sum()
    }

    /// Gives up hashes of the path that has the most.
    pub(super) fn thin(&mut self) {
        if let Some(largest) = self.sketches.iter_mut().max_by_key(|sketch| sketch.len()) {
            largest.thin();
        }
    }

    /// Reads the fields of an object up to the first that cannot be read.
    fn fields(&mut self, node: &mut Node, object: Raw<'_>, depth: usize) {
        self.objects += 1;
        let own = self.objects;
        for field in object.fields() {
            let Ok((name, value)) = field else { return };
            let name = std::str::from_utf8(name).ok();
            if let Some(name) = name
                && !node.fields.contains_key(name)
                && node.fields.len() < MAX_NAMES
                && self.has_room()
            {
                node.fields.insert(name.into(), Node::default());
            }
            let next = match name.and_then(|name| node.fields.get_mut(name)) {
                Some(next) => Some(next),
                None => self.shared(&mut node.others),
            };
            let Some(next) = next else { continue };
            next.present += u64::from(next.last != own);
            next.last = own;
            self.value(next, value, depth + 1);
        }
    }

    fn value(&mut self, node: &mut Node, value: Value<'_>, depth: usize) {
        node.values.add(value, &mut self.room);
        match value {
            Value::Document(_) | Value::Array(_) if depth >= MAX_DEPTH => {}
            Value::Document(object) => self.fields(node, object, depth),
            Value::Array(array) => {
                let mut length = 0;
                for element in array.fields() {
                    let Ok((_, element)) = element else { break };
                    length += 1;
                    let Some(next) = self.shared(&mut node.elements) else { continue };
                    next.present += 1;
                    self.value(next, element, depth + 1);
                }
                node.values.length(length);
            }
            value => self.distinct(node, value),
        }
    }

    fn distinct(&mut self, node: &mut Node, value: Value<'_>) {
        let Some(text) = identity(value) else { return };
        if node.sketch.is_none() && self.sketches.len() < MAX_SKETCHES {
            node.sketch = Some(self.sketches.len());
            self.sketches.push(Sketch::default());
        }
        let is_id = matches!(value, Value::ObjectId(_) | Value::Binary { .. });
        if let Some(sketch) = node.sketch.and_then(|place| self.sketches.get_mut(place)) {
            sketch.add(hash(&text), if is_id { MAX_DISTINCT_IDS } else { MAX_DISTINCT });
        }
    }

    /// The node that many values share, made where there is room for it.
    fn shared<'s>(&mut self, slot: &'s mut Option<Box<Node>>) -> Option<&'s mut Node> {
        if slot.is_none() && self.has_room() {
            *slot = Some(Box::default());
        }
        slot.as_deref_mut()
    }

    /// Whether another node may be made; it is counted.
    fn has_room(&mut self) -> bool {
        let room = self.nodes < MAX_NODES;
        self.nodes += usize::from(room);
        room
    }
}

impl Node {
    /// Adds what another node has, as if both had one name. Distinct values of several paths are not counted together.
    pub(super) fn merge(&mut self, other: &Self) {
        self.values.merge(&other.values);
        self.present += other.present;
        for (name, node) in &other.fields {
            self.fields.entry(name.clone()).or_default().merge(node);
        }
        for (own, other) in [(&mut self.others, &other.others), (&mut self.elements, &other.elements)] {
            if let Some(other) = other {
                own.get_or_insert_default().merge(other);
            }
        }
    }

    /// Whether its objects are maps, whose names are data: there are more names than are counted, or many of which each object has
    /// only few, or names that are ids, days or numbers.
    pub(super) fn is_map(&self) -> bool {
        const MANY: usize = 20;
        const FEW: u64 = 5;
        let names = self.fields.len();
        let objects = self.values.types.iter().find(|(name, _)| *name == "object").map_or(0, |(_, count)| *count);
        let entries: u64 = self.fields.values().map(|node| node.present).sum();
        let is_sparse = names > MANY && entries * FEW < names as u64 * objects;
        let are_data = names >= 2 && self.fields.keys().all(|name| is_data(name));
        self.others.is_some() || is_sparse || are_data
    }

    /// Everything below, as if all fields had one name.
    pub(super) fn entries(&self) -> Self {
        let mut entries = Self::default();
        self.fields.values().chain(self.others.as_deref()).for_each(|node| entries.merge(node));
        entries
    }
}

/// Whether a name is no name of a field: an id, a day, a number.
fn is_data(name: &str) -> bool {
    let digits = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b'T' | b'Z');
    let hexadecimal = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    name.bytes().any(|byte| byte.is_ascii_digit())
        && (name.bytes().all(digits) || (matches!(name.len(), 24 | 32 | 36) && name.bytes().all(hexadecimal)))
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    fn tree(documents: &[RawDocumentBuf]) -> Tree {
        let mut tree = Tree::default();
        documents.iter().for_each(|document| tree.add(Raw::new(document.as_bytes())));
        tree
    }

    #[test]
    fn a_field_is_counted_once_in_an_object() {
        let mut twice = rawdoc! { "a": 1 };
        twice.append(bson::cstr!("a"), 2);
        let tree = tree(&[twice, rawdoc! { "a": null }, rawdoc! { "list": [{ "b": 1 }, { "b": 2, "c": 1 }, 3] }]);
        assert_eq!(tree.root.fields["a"].present, 2);
        assert_eq!(tree.root.fields["a"].values.types, [("int", 2), ("null", 1)]);
        let elements = tree.root.fields["list"].elements.as_deref().expect("elements");
        assert_eq!((elements.present, elements.fields["b"].present, elements.fields["c"].present), (3, 2, 1));
    }

    #[test]
    fn objects_used_as_maps_are_known() {
        let days =
            tree(&[rawdoc! { "days": { "2025-03-01": 1, "2025-03-02": 2 }, "address": { "city": "x", "zip": 1 } }]);
        assert!(days.root.fields["days"].is_map() && !days.root.fields["address"].is_map());
        let many: Vec<_> = (0..400)
            .map(|at| {
                let mut map = RawDocumentBuf::new();
                map.append(bson::raw::CString::try_from(format!("key{at}")).expect("no NUL"), rawdoc! { "n": at });
                rawdoc! { "by_name": map }
            })
            .collect();
        let tree = tree(&many);
        let map = &tree.root.fields["by_name"];
        assert!(map.is_map());
        let entries = map.entries();
        assert_eq!((entries.present, entries.fields["n"].values.whole), (400, Some((0, 399))));
    }
}

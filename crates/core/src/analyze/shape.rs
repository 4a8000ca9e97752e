//! The shape of a collection: which paths its documents have, with which types, how often.
//!
//! A tree of field names, walked on the raw bytes. An object with very many names is one whose names are data (a map by id);
//! its further names share one node, `*`, so the tree stays small whatever documents come.

use std::{collections::HashMap, fmt};

use bson::{
    raw::{RawArray, RawBsonRef, RawDocument},
    spec::ElementType,
};

/// Most names of one object that are counted one by one.
const NAMES: usize = 300;
/// Most nodes of a collection.
const NODES: usize = 20_000;
/// Deepest level that is looked at; MongoDB allows 100.
const DEPTH: usize = 32;

/// Every name of a map, in a path.
pub(super) const EVERY_NAME: &str = "*";

/// Paths, types and counts of the documents seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    documents: u64,
    nodes: usize,
    root: Node,
}

/// The values at one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    types: Vec<(ElementType, u64)>,
    fields: HashMap<Box<str>, Node>,
    /// Fields beyond the names that are counted one by one.
    others: Option<Box<Node>>,
    elements: Option<Box<Node>>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    /// A field of that name.
    Field(String),
    /// Any further field.
    Others,
    /// Any element of an array.
    Element,
}

/// A path in documents, as `a.b[].c`. A dot in a name is written `\.`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Steps(pub(super) Vec<Step>);

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            match step {
                Step::Field(name) => write!(f, "{dot}{}", name.replace('\\', "\\\\").replace('.', "\\."))?,
                Step::Others => write!(f, "{dot}{EVERY_NAME}")?,
                Step::Element => f.write_str("[]")?,
            }
        }
        Ok(())
    }
}

impl Shape {
    /// Takes a document in.
    pub(super) fn add(&mut self, document: &RawDocument) {
        self.documents += 1;
        Walk { nodes: &mut self.nodes }.fields(&mut self.root, document, 0);
    }

    /// Documents seen.
    pub(super) fn documents(&self) -> u64 {
        self.documents
    }

    /// Whether there were more paths than are counted.
    pub(super) fn is_cut(&self) -> bool {
        self.nodes >= NODES
    }

    /// The document itself, from which all paths start.
    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// Types seen at a dotted path, through arrays, in whichever elements they are; the most frequent first.
    pub(super) fn types_at<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<(&'static str, u64)> {
        let mut here = vec![&self.root];
        for name in names {
            let here_too = here.into_iter().flat_map(through_arrays);
            here = match name {
                EVERY_NAME => here_too.flat_map(|node| node.fields.values().chain(node.others.as_deref())).collect(),
                name => here_too.filter_map(|node| node.field(name)).collect(),
            };
        }
        let mut types = Vec::new();
        // A value that is refused inside of an array column is one of its elements.
        for node in here.iter().flat_map(|node| std::iter::once(*node).chain(node.elements.as_deref())) {
            node.types().into_iter().for_each(|(name, count)| add(&mut types, name, count));
        }
        types.sort_by(|a: &(&str, u64), b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        types
    }
}

impl Node {
    /// Types by MongoDB's names, the most frequent first.
    pub(super) fn types(&self) -> Vec<(&'static str, u64)> {
        let mut types: Vec<_> = self.types.iter().map(|(kind, count)| (alias(*kind), *count)).collect();
        types.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        types
    }

    /// How many values there were.
    pub(super) fn count(&self) -> u64 {
        self.types.iter().map(|(_, count)| count).sum()
    }

    /// The node of a field.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        self.fields.get(name)
    }

    /// Names of the fields, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.fields.keys().map(AsRef::as_ref).collect();
        names.sort_unstable();
        names
    }

    /// The steps that lead on from here, sorted, and where they lead.
    pub(super) fn steps(&self) -> Vec<(Step, &Self)> {
        let fields = self.fields.iter().map(|(name, node)| (Step::Field(name.to_string()), node));
        let others = self.others.iter().map(|node| (Step::Others, &**node));
        let elements = self.elements.iter().map(|node| (Step::Element, &**node));
        let mut steps: Vec<_> = fields.chain(others).chain(elements).collect();
        steps.sort_by(|a, b| a.0.cmp(&b.0));
        steps
    }

    /// Everything below, as if all fields had one name: what a map holds.
    pub(super) fn entries(&self) -> Self {
        let mut entries = Self::default();
        self.fields.values().chain(self.others.as_deref()).for_each(|node| entries.merge(node));
        entries
    }

    fn merge(&mut self, other: &Self) {
        other.types.iter().for_each(|(kind, count)| add(&mut self.types, *kind, *count));
        for (name, node) in &other.fields {
            self.fields.entry(name.clone()).or_default().merge(node);
        }
        for (own, other) in [(&mut self.others, &other.others), (&mut self.elements, &other.elements)] {
            if let Some(other) = other {
                own.get_or_insert_default().merge(other);
            }
        }
    }

    fn see(&mut self, kind: ElementType) {
        add(&mut self.types, kind, 1);
    }
}

fn through_arrays(node: &Node) -> impl Iterator<Item = &Node> {
    std::iter::successors(Some(node), |node| node.elements.as_deref())
}

fn add<T: PartialEq>(counts: &mut Vec<(T, u64)>, what: T, count: u64) {
    match counts.iter_mut().find(|(known, _)| *known == what) {
        Some((_, seen)) => *seen += count,
        None => counts.push((what, count)),
    }
}

struct Walk<'n> {
    nodes: &'n mut usize,
}

impl Walk<'_> {
    /// Reads the fields of an object up to the first that cannot be read; the mapping reports that one.
    fn fields(&mut self, node: &mut Node, document: &RawDocument, depth: usize) {
        for element in document {
            let Ok((name, value)) = element else { return };
            if !node.fields.contains_key(name.as_str()) && node.fields.len() < NAMES && self.room() {
                node.fields.insert(name.as_str().into(), Node::default());
            }
            let next = match node.fields.get_mut(name.as_str()) {
                Some(next) => Some(next),
                None => self.shared(&mut node.others),
            };
            let Some(next) = next else { continue };
            self.value(next, value, depth + 1);
        }
    }

    fn elements(&mut self, node: &mut Node, array: &RawArray, depth: usize) {
        for element in array {
            let Ok(value) = element else { return };
            let Some(next) = self.shared(&mut node.elements) else { return };
            self.value(next, value, depth + 1);
        }
    }

    /// The node that many values share, made where there is room for it.
    fn shared<'s>(&mut self, slot: &'s mut Option<Box<Node>>) -> Option<&'s mut Node> {
        if slot.is_none() && self.room() {
            *slot = Some(Box::default());
        }
        slot.as_deref_mut()
    }

    /// Whether another node may be made; it is counted.
    fn room(&mut self) -> bool {
        let room = *self.nodes < NODES;
        *self.nodes += usize::from(room);
        room
    }

    fn value(&mut self, node: &mut Node, value: RawBsonRef<'_>, depth: usize) {
        node.see(value.element_type());
        match value {
            _ if depth >= DEPTH => {}
            RawBsonRef::Document(document) => self.fields(node, document, depth),
            RawBsonRef::Array(array) => self.elements(node, array, depth),
            _ => {}
        }
    }
}

/// MongoDB's own names of the types (`$type`).
fn alias(kind: ElementType) -> &'static str {
    match kind {
        ElementType::Double => "double",
        ElementType::String => "string",
        ElementType::EmbeddedDocument => "object",
        ElementType::Array => "array",
        ElementType::Binary => "binData",
        ElementType::Undefined => "undefined",
        ElementType::ObjectId => "objectId",
        ElementType::Boolean => "bool",
        ElementType::DateTime => "date",
        ElementType::Null => "null",
        ElementType::RegularExpression => "regex",
        ElementType::DbPointer => "dbPointer",
        ElementType::JavaScriptCode => "javascript",
        ElementType::Symbol => "symbol",
        ElementType::JavaScriptCodeWithScope => "javascriptWithScope",
        ElementType::Int32 => "int",
        ElementType::Timestamp => "timestamp",
        ElementType::Int64 => "long",
        ElementType::Decimal128 => "decimal",
        ElementType::MaxKey => "maxKey",
        ElementType::MinKey => "minKey",
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn shape(documents: &[bson::RawDocumentBuf]) -> Shape {
        let mut shape = Shape::default();
        documents.iter().for_each(|document| shape.add(document));
        shape
    }

    #[test]
    fn types_are_counted_by_path_through_arrays() {
        let shape = shape(&[
            rawdoc! { "_id": 1, "a": { "b": "x" }, "list": [{ "c": 1 }, { "c": "y" }, 5] },
            rawdoc! { "_id": "2", "a": null, "list": [{ "c": 2 }], "a.b": true },
        ]);
        assert_eq!(shape.documents(), 2);
        assert_eq!(shape.types_at(["a"]), [("null", 1), ("object", 1)]);
        assert_eq!(shape.types_at(["a", "b"]), [("string", 1)]);
        assert_eq!(shape.types_at(["list", "c"]), [("int", 2), ("string", 1)]);
        assert_eq!(shape.types_at(["list"]), [("object", 3), ("array", 2), ("int", 1)]);
        assert_eq!(shape.types_at(["a.b"]), [("bool", 1)]);
        assert!(shape.types_at(["b"]).is_empty());
        assert_eq!(shape.root().names(), ["_id", "a", "a.b", "list"]);
    }

    #[test]
    fn names_that_are_data_share_a_node() {
        let mut wide = bson::RawDocumentBuf::new();
        for at in 0..NAMES + 7 {
            wide.append(bson::raw::CString::try_from(format!("k{at}")).expect("no NUL"), 1);
        }
        let shape = shape(&[wide]);
        let others: Vec<_> = shape.root().steps().into_iter().filter(|(step, _)| *step == Step::Others).collect();
        assert_eq!((shape.root().names().len(), others[0].1.count()), (NAMES, 7));
        assert!(!shape.is_cut());
    }

    #[test]
    fn a_path_prints_as_one() {
        let field = |name: &str| Step::Field(name.to_owned());
        let steps = Steps(vec![field("a.b"), Step::Element, field("c"), Step::Others]);
        assert_eq!(steps.to_string(), "a\\.b[].c.*");
    }
}

//! All paths of a table, read in one pass over the document.
//!
//! Each path has a slot. A document is walked once; fields on no path are skipped by their length. When a name comes twice, the
//! last one wins, with everything below it. The slot of a path that leads through a value that is no document is blocked: the
//! value below cannot be reached, and that is not the same as being absent.

use crate::mapping::{
    Loss, Losses, Path,
    language::path::Segment,
    value::raw::{Raw, Value},
};
use crate::model::Reason;

/// The compiled paths. Slots are in the order of the paths, so those below a common prefix are neighbours.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    paths: Vec<Path>,
    root: Node,
}

#[derive(Clone, Debug)]
struct Node {
    name: Box<[u8]>,
    slot: Option<usize>,
    /// Slots of this node and everything below: `[from, to)`.
    from: usize,
    to: usize,
    /// Fields of a document, sorted by name.
    fields: Vec<Node>,
    /// Where the slots of `elements` start.
    split: usize,
    /// Elements of an array, sorted by index.
    elements: Vec<(usize, Node)>,
}

/// The result of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Slot<'a> {
    /// Nothing.
    #[default]
    Absent,
    /// A value, perhaps null.
    Present(Value<'a>),
    /// A value on the path is no document, or no array.
    Blocked,
}

impl Tree {
    /// Compiles paths; the same path twice is one slot.
    pub(crate) fn new(mut paths: Vec<Path>) -> Self {
        paths.sort();
        paths.dedup();
        let root = Node::new("", &paths, 0, 0);
        Self { paths, root }
    }

    /// The slot of a path; `None` for one that was not compiled.
    pub(crate) fn slot(&self, path: &Path) -> Option<usize> {
        self.paths.binary_search(path).ok()
    }

    /// Fills the slots.
    ///
    /// # Errors
    /// `MALFORMED`.
    pub(crate) fn read<'a>(
        &self,
        value: Value<'a>,
        slots: &mut Vec<Slot<'a>>,
        losses: &mut Losses,
    ) -> Result<(), Reason> {
        slots.clear();
        slots.resize(self.paths.len(), Slot::Absent);
        self.root.read(value, slots, losses)
    }
}

impl Node {
    /// The node of the paths that share `depth` segments; they are sorted and start at slot `from`.
    fn new(name: &str, paths: &[Path], from: usize, depth: usize) -> Self {
        let own = usize::from(paths.first().is_some_and(|path| path.segments().len() == depth));
        let to = from + paths.len();
        let (mut fields, mut elements, mut split) = (Vec::new(), Vec::new(), to);
        let mut at = own;
        while let Some(segment) = paths.get(at).and_then(|path| path.segments().get(depth)) {
            let shared = paths[at..].iter().take_while(|path| path.segments().get(depth) == Some(segment)).count();
            let below = &paths[at..at + shared];
            match segment {
                Segment::Field(name) => fields.push(Self::new(name, below, from + at, depth + 1)),
                Segment::Index(index) => {
                    split = split.min(from + at);
                    elements.push((*index as usize, Self::new("", below, from + at, depth + 1)));
                }
            }
            at += shared;
        }
        let slot = (own == 1).then_some(from);
        Self { name: name.as_bytes().into(), slot, from, to, fields, split, elements }
    }

    fn read<'a>(&self, value: Value<'a>, slots: &mut [Slot<'a>], losses: &mut Losses) -> Result<(), Reason> {
        if let Some(slot) = self.slot {
            slots[slot] = Slot::Present(value);
        }
        let start = self.from + usize::from(self.slot.is_some());
        if start == self.to {
            return Ok(());
        }
        match value {
            Value::Document(document) => {
                slots[self.split..self.to].fill(Slot::Blocked);
                self.descend(document, slots, losses)
            }
            Value::Array(array) if !self.elements.is_empty() => {
                slots[start..self.split].fill(Slot::Blocked);
                self.pick(array, slots, losses)
            }
            Value::Null | Value::Undefined => Ok(()),
            _ => {
                slots[start..self.to].fill(Slot::Blocked);
                Ok(())
            }
        }
    }

    /// Recursion ends with the longest path of the mapping, however deep the document is.
    fn descend<'a>(&self, document: Raw<'a>, slots: &mut [Slot<'a>], losses: &mut Losses) -> Result<(), Reason> {
        for field in document.fields() {
            let (name, value) = field?;
            let Ok(at) = self.fields.binary_search_by(|child| child.name.as_ref().cmp(name)) else { continue };
            let child = &self.fields[at];
            let below = &mut slots[child.from..child.to];
            if below.iter().any(|slot| *slot != Slot::Absent) {
                losses.add(Loss::DuplicateName);
                below.fill(Slot::Absent);
            }
            child.read(value, slots, losses)?;
        }
        Ok(())
    }

    /// The elements on the paths, by their position: the names of an array's fields are ignored.
    fn pick<'a>(&self, array: Raw<'a>, slots: &mut [Slot<'a>], losses: &mut Losses) -> Result<(), Reason> {
        let mut wanted = self.elements.iter().peekable();
        for (at, field) in array.fields().enumerate() {
            let (_, value) = field?;
            if let Some((_, node)) = wanted.next_if(|(index, _)| *index == at) {
                node.read(value, slots, losses)?;
            }
            if wanted.peek().is_none() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::{raw::RawDocumentBuf, rawdoc};
    use rstest::rstest;

    use super::*;

    const PATHS: [&str; 5] = ["_id", "a", "a.b", "a.b.c", r"a\.b"];
    const INDEXES: [&str; 5] = ["a", "a[0]", "a[2].b", "a[2].b[1]", "a.c"];

    fn read(paths: [&str; 5], document: &RawDocumentBuf) -> (Vec<String>, u64) {
        let paths: Vec<Path> = paths.iter().map(|path| Path::parse(path).expect("a path")).collect();
        let tree = Tree::new(paths.clone());
        let (mut slots, mut losses) = (Vec::new(), Losses::default());
        tree.read(Value::Document(Raw::new(document.as_bytes())), &mut slots, &mut losses).expect("a document");
        let shown = paths.iter().map(|path| match slots[tree.slot(path).expect("a slot")] {
            Slot::Absent => "-".to_owned(),
            Slot::Blocked => "blocked".to_owned(),
            Slot::Present(Value::Int32(value)) => value.to_string(),
            Slot::Present(Value::Null) => "null".to_owned(),
            Slot::Present(_) => "value".to_owned(),
        });
        (shown.collect(), losses.of(Loss::DuplicateName))
    }

    #[rstest]
    #[case::input_139_only_an_id(rawdoc! { "_id": 1 }, ["1", "-", "-", "-", "-"], 0)]
    #[case::input_116_dotted(rawdoc! { "a.b": 1, "a": { "b": 2 } }, ["-", "value", "2", "blocked", "1"], 0)]
    #[case::input_121_case(rawdoc! { "A": 1 }, ["-", "-", "-", "-", "-"], 0)]
    #[case::input_134_null(rawdoc! { "a": null }, ["-", "null", "-", "-", "-"], 0)]
    #[case::blocked(rawdoc! { "a": 5 }, ["-", "5", "blocked", "blocked", "-"], 0)]
    #[case::blocked_by_an_array(rawdoc! { "a": [{ "b": 1 }] }, ["-", "value", "blocked", "blocked", "-"], 0)]
    #[case::input_114_last_wins(rawdoc! { "_id": 1, "_id": 2 }, ["2", "-", "-", "-", "-"], 1)]
    #[case::input_114_with_all_below(rawdoc! { "a": { "b": 1 }, "a": { "x": 2 } }, ["-", "value", "-", "-", "-"], 1)]
    #[case::deep(rawdoc! { "x": { "_id": 9 }, "a": { "b": { "c": 3 } } }, ["-", "value", "value", "3", "-"], 0)]
    fn slots(#[case] document: RawDocumentBuf, #[case] expected: [&str; 5], #[case] duplicates: u64) {
        assert_eq!(read(PATHS, &document), (expected.map(str::to_owned).to_vec(), duplicates));
    }

    #[rstest]
    #[case::all(rawdoc! { "a": [1, 2, { "b": [3, 4] }] }, ["value", "1", "value", "4", "blocked"])]
    #[case::short(rawdoc! { "a": [1] }, ["value", "1", "-", "-", "blocked"])]
    #[case::empty(rawdoc! { "a": [] }, ["value", "-", "-", "-", "blocked"])]
    #[case::null_element(rawdoc! { "a": [null, 2, null] }, ["value", "null", "-", "-", "blocked"])]
    #[case::scalar_element(rawdoc! { "a": [1, 2, 3] }, ["value", "1", "blocked", "blocked", "blocked"])]
    #[case::document(rawdoc! { "a": { "c": 5 } }, ["value", "blocked", "blocked", "blocked", "5"])]
    #[case::names_of_digits(rawdoc! { "a": { "0": 5 } }, ["value", "blocked", "blocked", "blocked", "-"])]
    #[case::null(rawdoc! { "a": null }, ["null", "-", "-", "-", "-"])]
    fn elements_by_their_place(#[case] document: RawDocumentBuf, #[case] expected: [&str; 5]) {
        assert_eq!(read(INDEXES, &document).0, expected);
    }

    #[test]
    fn input_114_the_last_of_two_arrays_wins() {
        let document = rawdoc! { "a": [1, 2, { "b": [3, 4] }], "a": [9] };
        assert_eq!(read(INDEXES, &document), (["value", "9", "-", "-", "blocked"].map(str::to_owned).to_vec(), 1));
    }
}

//! Paths of the data that a mapping does not read.

use super::shape::{EVERY_NAME, Node, Shape, Step, Steps};
use crate::mapping::{Reached, Reads};

/// A path of the data that the mapping does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    /// The path; what lies below it is not read either.
    pub(super) path: Steps,
    /// Types and how often.
    pub(super) types: Vec<(&'static str, u64)>,
}

/// The topmost paths of the data that are not read, in order.
pub(super) fn unread(shape: &Shape, reads: &Reads) -> Vec<Unread> {
    let mut walk = Walk { reads, names: Vec::new(), path: Vec::new(), found: Vec::new() };
    walk.below(shape.root());
    walk.found
}

/// Whether a field of the document is read, itself or in parts.
pub(super) fn is_read(reads: &Reads, name: &str) -> bool {
    reads.reach(&[name]) != Reached::Not
}

struct Walk<'r> {
    reads: &'r Reads,
    /// Names from the document down to here; arrays are looked through.
    names: Vec<String>,
    path: Vec<Step>,
    found: Vec<Unread>,
}

impl Walk<'_> {
    fn below(&mut self, node: &Node) {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        if !self.reads.is_map(&names) {
            return node.steps().into_iter().for_each(|(step, next)| self.step(step, next));
        }
        // One entry of a map is as good as another.
        self.step(Step::Others, &node.entries());
        for (step, next) in node.steps().into_iter().filter(|(step, _)| *step == Step::Element) {
            self.step(step, next);
        }
    }

    fn step(&mut self, step: Step, node: &Node) {
        let name = match &step {
            Step::Field(name) => Some(name.clone()),
            Step::Others => Some(EVERY_NAME.to_owned()),
            // An element has the names of its array, which were checked already.
            Step::Element => None,
        };
        let named = name.is_some();
        self.names.extend(name);
        self.path.push(step);
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        match if named { self.reads.reach(&names) } else { Reached::Inside } {
            Reached::Not => self.found(node.types()),
            Reached::Inside => {
                if self.reads.is_only_counted(&names) {
                    self.found(node.types().into_iter().filter(|(kind, _)| says_something(kind)).collect());
                }
                self.below(node);
            }
            Reached::Under | Reached::Mapped => {}
        }
        self.path.pop();
        if named {
            self.names.pop();
        }
    }

    fn found(&mut self, types: Vec<(&'static str, u64)>) {
        if !types.is_empty() {
            self.found.push(Unread { path: Steps(self.path.clone()), types });
        }
    }
}

/// Whether a value of that type carries more than its presence: a set is often stored as `{"a": true}`. The contents of objects
/// and arrays are examined separately.
fn says_something(kind: &str) -> bool {
    !matches!(kind, "object" | "array" | "bool" | "null" | "undefined")
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::mapping::Path;

    fn paths(reads: &[(&[Option<&str>], bool)], document: &bson::RawDocumentBuf) -> Vec<String> {
        let mut known = Reads::default();
        for (names, taken) in reads {
            let names: Vec<_> = names.iter().map(|name| name.map(str::to_owned)).collect();
            known.add(&names, &Path::parse("$").expect("a path"), *taken);
        }
        let mut shape = Shape::default();
        shape.add(document);
        unread(&shape, &known).iter().map(|unread| unread.path.to_string()).collect()
    }

    #[test]
    fn the_names_of_a_map_are_no_paths() {
        let entry = |note: i32| rawdoc! { "points": 1, "note": note };
        let document = rawdoc! { "days": { "a": entry(1), "b": entry(2), "c": { "points": 3 } } };
        let days: &[Option<&str>] = &[Some("days")];
        let every: &[Option<&str>] = &[Some("days"), None];
        let points: &[Option<&str>] = &[Some("days"), None, Some("points")];
        assert_eq!(paths(&[(days, false), (every, false), (points, true)], &document), ["days.*.note"]);
        assert_eq!(paths(&[(days, false), (every, false), (every, true)], &document), [""; 0]);
    }

    #[rstest::rstest]
    #[case::a_set(rawdoc! { "m": { "a": true, "b": null } }, &[])]
    #[case::counts(rawdoc! { "m": { "a": 1, "b": 2 } }, &["m.*"])]
    #[case::objects(rawdoc! { "m": { "a": { "x": 1 }, "b": {} } }, &["m.*.x"])]
    fn of_a_map_whose_names_alone_are_read(#[case] document: bson::RawDocumentBuf, #[case] expected: &[&str]) {
        assert_eq!(paths(&[(&[Some("m")], false), (&[Some("m"), None], false)], &document), expected);
    }

    #[test]
    fn elements_that_are_only_counted() {
        assert_eq!(paths(&[(&[Some("tags")], false)], &rawdoc! { "tags": ["a", "b"] }), ["tags[]"]);
        assert_eq!(paths(&[(&[Some("tags")], false)], &rawdoc! { "tags": [{}, []] }), [""; 0]);
    }
}

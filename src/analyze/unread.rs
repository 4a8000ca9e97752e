//! What of the data lies outside of the paths that a mapping reads.

use super::{
    reads::{Reached, Reads},
    shape::{Node, Shape, Step, Steps},
};

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
        for (step, next) in node.steps() {
            let name = match &step {
                Step::Field(name) => Some(name.clone()),
                Step::Others => Some("*".to_owned()),
                Step::Element => None,
            };
            let named = name.is_some();
            self.names.extend(name);
            self.path.push(step);
            self.step(next, named);
            self.path.pop();
            if named {
                self.names.pop();
            }
        }
    }

    fn step(&mut self, node: &Node, named: bool) {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        // An element has the names of its array, which was asked for already.
        let reached = if named { self.reads.reach(&names) } else { Reached::Inside };
        match reached {
            Reached::Not => self.found.push(Unread { path: Steps(self.path.clone()), types: node.types() }),
            Reached::Inside => self.below(node),
            Reached::Under | Reached::Mapped => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[], &["_id", "a", "list"])]
    #[case(&["_id", "a.b", "list.c"], &["a.x", "list[].d"])]
    #[case(&["_id", "a", "list"], &[])]
    #[case(&["_id", "a", "list.c", "list.d"], &[])]
    #[case(&["_id", "a.b.c", "list"], &["a.x"])]
    fn what_is_not_read_is_named_at_its_top(#[case] reads: &[&str], #[case] expected: &[&str]) {
        let mut shape = Shape::default();
        shape.add(&rawdoc! { "_id": 1, "a": { "b": 1, "x": { "y": 2 } }, "list": [{ "c": 1, "d": 2 }] });
        let reads = Reads::to(reads);
        let unread: Vec<_> = unread(&shape, &reads).iter().map(|unread| unread.path.to_string()).collect();
        assert_eq!(unread, expected);
    }
}

//! What of the data lies outside of the paths that a mapping reads.

use super::shape::{Node, Shape, Step, Steps};
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

//! Which paths of a document a mapping reads, and what of the data lies outside of them.

use std::collections::HashMap;

use super::shape::{Node, Shape, Step, Steps};
use crate::mapping::{CollectionFile, CollectionPlan, ColumnFile, Path, TablePlan};

/// The paths that a mapping reads, as a tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    /// Whether everything below is read as well.
    whole: bool,
    fields: HashMap<String, Reads>,
    elements: Option<Box<Reads>>,
}

/// A path of the data that the mapping does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    /// The path; what lies below it is not read either.
    pub(super) path: Steps,
    /// Types and how often.
    pub(super) types: Vec<(&'static str, u64)>,
}

impl Reads {
    /// The paths that a collection's mapping reads.
    pub(super) fn of(file: &CollectionFile, plan: &CollectionPlan) -> Self {
        let mut reads = Self::default();
        reads.add(&[Step::Field("_id".to_owned())]);
        let fields = |path: &Path| path.segments().iter().cloned().map(Step::Field).collect::<Vec<_>>();
        let columns = |table: &TablePlan, declared: &[ColumnFile], before: &[Step], reads: &mut Self| {
            for column in &table.columns {
                let declared = declared.iter().find(|declared| declared.name.value == column.name);
                let path = declared.and_then(|declared| declared.path.as_ref()).map(|path| fields(&path.value));
                let path = path.unwrap_or_else(|| vec![Step::Field(column.name.clone())]);
                reads.add(&[before, &path].concat());
            }
        };
        if let Some(root) = plan.tables.first() {
            columns(root, &file.columns, &[], &mut reads);
        }
        for (child, table) in file.children.iter().zip(plan.tables.iter().skip(1)) {
            let element = [fields(&child.path.value), vec![Step::Element]].concat();
            reads.add(&[&element[..], &[Step::Field("_id".to_owned())]].concat());
            columns(table, &child.columns, &element, &mut reads);
        }
        reads
    }

    /// Adds a path whose value is read with everything in it.
    pub(super) fn add(&mut self, path: &[Step]) {
        match path.split_first() {
            None => self.whole = true,
            Some((Step::Field(name), rest)) => self.fields.entry(name.clone()).or_default().add(rest),
            Some((Step::Element, rest)) => self.elements.get_or_insert_default().add(rest),
            Some((Step::Others, _)) => self.whole = true,
        }
    }

    /// The topmost paths of the data that are not read, in order.
    pub(super) fn unread(&self, shape: &Shape) -> Vec<Unread> {
        let mut found = Vec::new();
        self.walk(shape.root(), &mut Vec::new(), &mut found);
        found
    }

    fn walk(&self, node: &Node, path: &mut Vec<Step>, found: &mut Vec<Unread>) {
        if self.whole {
            return;
        }
        for (step, below) in node.steps() {
            let read = match &step {
                Step::Field(name) => self.fields.get(name),
                Step::Element => self.elements.as_deref(),
                Step::Others => None,
            };
            path.push(step);
            match read {
                Some(read) => read.walk(below, path, found),
                // An array that is not read shows itself at its own path, unless something else was expected there.
                None => found.push(Unread { path: Steps(path.clone()), types: below.types() }),
            }
            path.pop();
        }
    }

    /// Whether a field of the document is read, itself or in parts.
    pub(super) fn field(&self, name: &str) -> bool {
        self.whole || self.fields.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use rstest::rstest;

    use super::*;

    fn steps(path: &str) -> Vec<Step> {
        let names = path.split('.').flat_map(|name| match name.strip_suffix("[]") {
            Some(name) => vec![Step::Field(name.to_owned()), Step::Element],
            None => vec![Step::Field(name.to_owned())],
        });
        names.collect()
    }

    #[rstest]
    #[case(&[], &["_id", "a", "list"])]
    #[case(&["_id", "a.b", "list[].c"], &["a.x", "list[].d"])]
    #[case(&["_id", "a", "list"], &[])]
    #[case(&["_id", "a", "list[].c", "list[].d"], &[])]
    #[case(&["_id", "a.b.c", "list"], &["a.x"])]
    fn what_is_not_read_is_named_at_its_top(#[case] reads: &[&str], #[case] expected: &[&str]) {
        let mut shape = Shape::default();
        shape.add(&rawdoc! { "_id": 1, "a": { "b": 1, "x": { "y": 2 } }, "list": [{ "c": 1, "d": 2 }] });
        let mut tree = Reads::default();
        reads.iter().for_each(|path| tree.add(&steps(path)));
        let unread: Vec<_> = tree.unread(&shape).iter().map(|unread| unread.path.to_string()).collect();
        assert_eq!(unread, expected);
    }

    #[test]
    fn the_whole_document_leaves_nothing_unread() {
        let mut shape = Shape::default();
        shape.add(&rawdoc! { "_id": 1, "a": [1] });
        let mut reads = Reads::default();
        reads.add(&[]);
        assert!(reads.unread(&shape).is_empty() && reads.field("anything"));
    }
}

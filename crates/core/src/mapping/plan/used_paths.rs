//! The paths that a mapping reads, so that `check` can name the fields that nothing reads.

use crate::mapping::{Path, language::path::Segment};

/// The paths that a mapping reads. Arrays are looked through: the field of an element has the path that it would have in a
/// single document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads(Vec<Read>);

/// How far the mapping reaches a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reached {
    /// Nothing reads it.
    Not,
    /// Something inside it is read.
    Inside,
    /// It is inside something that is read as a whole.
    Under,
    /// It is read itself.
    Mapped,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    /// `None` is every name of a map.
    names: Vec<Option<String>>,
    /// Whether the value itself is taken, not only values inside it.
    taken: bool,
}

impl Reads {
    /// How far the mapping reaches a path, given as the names of the fields from the document down.
    pub(crate) fn reach(&self, path: &[&str]) -> Reached {
        self.0.iter().map(|read| read.reach(path)).max().unwrap_or(Reached::Not)
    }

    /// Whether the names below a path are those of a map: data, where each is as good as another.
    pub(crate) fn is_map(&self, path: &[&str]) -> bool {
        self.0.iter().any(|read| read.goes_beyond(path) && read.names[path.len()].is_none())
    }

    /// Whether the values at a path make rows, and nothing takes the values themselves.
    pub(crate) fn is_only_counted(&self, path: &[&str]) -> bool {
        let here = |read: &Read| read.names.len() == path.len() && read.is_along(path);
        self.0.iter().any(here) && !self.0.iter().any(|read| read.goes_beyond(path) || (here(read) && read.taken))
    }

    /// Adds a path below a prefix.
    pub(crate) fn add(&mut self, prefix: &[Option<String>], path: &Path, taken: bool) {
        self.0.push(Read { names: joined(prefix, path), taken });
    }
}

/// The names of a path below a prefix; indexes are looked through.
pub(crate) fn joined(prefix: &[Option<String>], path: &Path) -> Vec<Option<String>> {
    let names = path.segments().iter().filter_map(|segment| match segment {
        Segment::Field(name) => Some(Some(name.clone())),
        Segment::Index(_) => None,
    });
    prefix.iter().cloned().chain(names).collect()
}

impl Read {
    /// Whether one of both leads through the other.
    fn is_along(&self, path: &[&str]) -> bool {
        self.names.iter().zip(path).all(|(name, other)| name.as_deref().is_none_or(|name| name == *other))
    }

    fn goes_beyond(&self, path: &[&str]) -> bool {
        self.names.len() > path.len() && self.is_along(path)
    }

    fn reach(&self, path: &[&str]) -> Reached {
        match (self.is_along(path), path.len().cmp(&self.names.len()), self.taken) {
            (false, ..) | (true, std::cmp::Ordering::Greater, false) => Reached::Not,
            (true, std::cmp::Ordering::Equal, true) => Reached::Mapped,
            (true, std::cmp::Ordering::Greater, true) => Reached::Under,
            (true, std::cmp::Ordering::Less | std::cmp::Ordering::Equal, _) => Reached::Inside,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&["a"], Reached::Mapped)]
    #[case(&["a", "x"], Reached::Under)]
    #[case(&["b"], Reached::Inside)]
    #[case(&["b", "c"], Reached::Mapped)]
    #[case(&["b", "d"], Reached::Not)]
    #[case(&["m"], Reached::Inside)]
    #[case(&["m", "anything"], Reached::Inside)]
    #[case(&["m", "anything", "v"], Reached::Mapped)]
    #[case(&["m", "anything", "w"], Reached::Not)]
    #[case(&["x"], Reached::Not)]
    fn reaches(#[case] path: &[&str], #[case] expected: Reached) {
        let parse = |path| Path::parse(path).expect("a path");
        let mut reads = Reads::default();
        reads.add(&[], &parse("a"), true);
        reads.add(&[], &parse("b.c[0]"), true);
        reads.add(&[], &parse("m"), false);
        reads.add(&[Some("m".to_owned()), None], &parse("v"), true);
        assert_eq!(reads.reach(path), expected);
    }

    #[test]
    fn the_whole_document_is_everything() {
        let mut reads = Reads::default();
        reads.add(&[], &Path::whole(), true);
        assert_eq!(reads.reach(&["x", "y"]), Reached::Under);
    }
}

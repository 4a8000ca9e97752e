//! The parts of a mapping file by its lines, for a file whose TOML is broken: a broken line concerns the collection around it.

use crate::mapping::Fault;

/// The parts of a file, in its order.
pub(super) struct Headers(Vec<Part>);

/// The lines from one header to the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The collection.
    pub(super) name: String,
    /// Offset of the header.
    start: usize,
    /// First and last line, from 1.
    lines: (u32, u32),
}

impl Headers {
    /// Finds the headers `[collections.<name>…]` of a text.
    pub(super) fn new(text: &str) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        let mut start = 0;
        for (line, number) in text.split_inclusive('\n').zip(1..) {
            match named(line) {
                Some(name) if parts.last().is_none_or(|part| part.name != name) => {
                    parts.push(Part { name, start, lines: (number, number) });
                }
                _ => parts.iter_mut().last().into_iter().for_each(|part| part.lines.1 = number),
            }
            start += line.len();
        }
        Self(parts)
    }

    /// The part that an offset is in; `None` before the first.
    pub(super) fn part_at(&self, offset: usize) -> Option<&Part> {
        self.0.iter().rev().find(|part| part.start <= offset)
    }

    /// The names of the collections.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|part| part.name.as_str())
    }
}

impl Part {
    /// Whether a fault is in these lines.
    pub(super) fn holds(&self, fault: &Fault) -> bool {
        let line = fault.location.as_ref().map(|location| location.line);
        line.is_some_and(|line| (self.lines.0..=self.lines.1).contains(&line))
    }
}

/// The collection that a line begins to describe.
fn named(line: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix('[')?.trim_start().strip_prefix("collections")?;
    let rest = rest.trim_start().strip_prefix('.')?.trim_start();
    let quote = rest.chars().next().filter(|letter| matches!(letter, '"' | '\''));
    let name = match quote {
        Some(quote) => rest[1..].split(quote).next()?,
        None => rest.split(['.', ']', ' ', '\t']).next()?,
    };
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_belong_to_the_collection_above_them() {
        let text = "namespace = \"dns\"\n[collections.a]\nx = 1\n[collections.a.columns]\n[ collections . \"b.c\" ]\ny\n";
        let headers = Headers::new(text);
        let parts: Vec<_> = headers.0.iter().map(|part| (part.name.as_str(), part.lines)).collect();
        assert_eq!(parts, [("a", (2, 4)), ("b.c", (5, 6))]);
        assert_eq!(headers.part_at(0), None);
        assert_eq!(headers.part_at(text.len() - 2).map(|part| part.name.as_str()), Some("b.c"));
    }
}

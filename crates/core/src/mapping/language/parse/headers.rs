//! The parts of a mapping file by its lines, for a file whose TOML is broken: a broken line concerns the collection around it.

/// The headers `[collections.<name>…]` of a file, in its order: offset and name.
pub(super) struct Headers(Vec<(usize, String)>);

impl Headers {
    /// Finds the headers of a text.
    pub(super) fn new(text: &str) -> Self {
        let mut headers = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            headers.extend(named(line).map(|name| (start, name)));
            start += line.len();
        }
        Self(headers)
    }

    /// The collection whose part an offset is in; `None` before the first.
    pub(super) fn collection_at(&self, offset: usize) -> Option<&str> {
        self.0.iter().rev().find(|(start, _)| *start <= offset).map(|(_, name)| name.as_str())
    }

    /// The names of the collections, some more than once.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, name)| name.as_str())
    }
}

/// The collection that a line begins to describe.
fn named(line: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix('[')?.trim_start().strip_prefix("collections")?;
    let rest = rest.trim_start().strip_prefix('.')?.trim_start();
    let quote = rest.chars().next().filter(|letter| matches!(letter, '"' | '\''));
    let name = match quote {
        Some(quote) => rest[1..].split(quote).next()?,
        None => rest.split(['.', ']', ' ', '\t', '\r', '\n']).next()?,
    };
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_belong_to_the_collection_above_them() {
        let text = "namespace = \"dns\"\n[collections.a]\nx = 1\n[collections.a.columns]\n[ collections . \"b.c\" ]\ny\n[collections.d\n";
        let headers = Headers::new(text);
        assert_eq!(headers.names().collect::<Vec<_>>(), ["a", "a", "b.c", "d"]);
        assert_eq!(headers.collection_at(0), None);
        assert_eq!(headers.collection_at(text.find('x').expect("x")), Some("a"));
        assert_eq!(headers.collection_at(text.find('y').expect("y")), Some("b.c"));
    }
}

//! Paths into a document: `a.b` is the field `b` of the document `a`.

use std::fmt;

/// A path of field names. `\.` is a dot inside a name, `\\` a backslash; a lone `$` is the value itself, which is what an
/// element of a child array is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<String>);

impl Path {
    /// The path to one field of the document, whatever its name holds.
    pub fn field(name: impl Into<String>) -> Self {
        Self(vec![name.into()])
    }

    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "$" {
            return Ok(Self(Vec::new()));
        }
        let mut segments = vec![String::new()];
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let Some(last) = segments.last_mut() else { continue };
            match letter {
                '.' => segments.push(String::new()),
                '\\' => match letters.next() {
                    Some(escaped @ ('.' | '\\' | '$')) => last.push(escaped),
                    _ => return Err("a backslash stands before a dot, a dollar sign or a backslash only"),
                },
                '\0' => return Err("a field name holds no NUL character"),
                other => last.push(other),
            }
        }
        if segments.iter().any(String::is_empty) {
            return Err("a path has no empty field names");
        }
        Ok(Self(segments))
    }

    /// The field names, outermost first; none for the value itself.
    pub fn segments(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("$");
        }
        for (at, segment) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            let escaped = segment.replace('\\', "\\\\").replace('.', "\\.");
            if self.0.len() == 1 && escaped == "$" {
                return f.write_str("\\$");
            }
            f.write_str(&escaped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("name", &["name"])]
    #[case("profile.address.city", &["profile", "address", "city"])]
    #[case(r"a\.b", &["a.b"])]
    #[case(r"a\\.b", &["a\\", "b"])]
    #[case("$set", &["$set"])]
    #[case(r"\$", &["$"])]
    #[case("$", &[])]
    fn input_116_a_dot_in_a_name_is_not_a_step(#[case] text: &str, #[case] expected: &[&str]) {
        let path = Path::parse(text).expect("a path");
        assert_eq!(path.segments(), expected);
        assert_eq!(path.to_string(), text);
    }

    #[rstest]
    #[case("")]
    #[case("a..b")]
    #[case(".a")]
    #[case("a.")]
    #[case(r"a\n")]
    #[case("a\\")]
    fn input_115_refuses_empty_names(#[case] text: &str) {
        assert!(Path::parse(text).is_err());
    }

    proptest! {
        #[test]
        fn printing_round_trips(segments in proptest::collection::vec("[^\0]+", 1..4)) {
            let path = Path(segments);
            prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
        }
    }
}

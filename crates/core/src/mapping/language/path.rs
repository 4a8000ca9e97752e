//! Paths into a document: `a.b` is the field `b` of the document `a`, `a[0]` the first element of the array `a`.

use std::fmt;

/// A path of field names and indexes.
///
/// `\.` is a dot inside a name, `\[` a bracket, `\\` a backslash; a lone `$` is the value itself, which is what an element
/// of a child array is called. `^.a` starts at the document or element around this one, `^^.a` one further up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    up: usize,
    segments: Vec<Segment>,
}

/// One step of a path. Names come before indexes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Segment {
    /// A field of a document.
    Field(String),
    /// An element of an array, from 0.
    Index(u32),
}

type Letters<'t> = std::iter::Peekable<std::str::Chars<'t>>;

impl Path {
    /// The path to one field of the document; the name may hold any character.
    pub fn field(name: impl Into<String>) -> Self {
        Self { up: 0, segments: vec![Segment::Field(name.into())] }
    }

    /// The path through objects to a field of the last one.
    pub(crate) fn fields(names: &[&str]) -> Self {
        Self { up: 0, segments: names.iter().map(|name| Segment::Field((*name).to_owned())).collect() }
    }

    /// The value itself.
    pub(crate) fn whole() -> Self {
        Self { up: 0, segments: Vec::new() }
    }

    /// Reads a path.
    ///
    /// # Errors
    /// A description of the fault.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let below = text.trim_start_matches('^');
        let up = text.len() - below.len();
        let below = match below.strip_prefix('.') {
            Some(below) if up > 0 => below,
            _ if up > 0 => return Err("`^` is followed by `.` and a path; write a name that starts with it as `\\^`"),
            _ => below,
        };
        let mut segments = Vec::new();
        let mut letters = below.chars().peekable();
        let mut more = true;
        if below == "$" || below.starts_with("$[") {
            letters.next();
            indexes(&mut letters, &mut segments)?;
            more = letters.next_if_eq(&'.').is_some();
        }
        while more {
            segments.push(Segment::Field(name(&mut letters)?));
            indexes(&mut letters, &mut segments)?;
            more = letters.next_if_eq(&'.').is_some();
        }
        if letters.next().is_some() {
            return Err("after an index comes a dot, another index or the end");
        }
        Ok(Self { up, segments })
    }

    /// How many documents or elements further out it starts.
    pub(crate) fn up(&self) -> usize {
        self.up
    }

    /// The same path, seen from where it starts.
    pub(crate) fn grounded(&self) -> Self {
        Self { up: 0, segments: self.segments.clone() }
    }

    /// The steps, outermost first; none for the value itself.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether it is the value itself.
    pub(crate) fn is_whole(&self) -> bool {
        self.segments.is_empty()
    }
}

/// A name, up to the dot or bracket that ends it.
fn name(letters: &mut Letters<'_>) -> Result<String, &'static str> {
    let mut name = String::new();
    while let Some(letter) = letters.next_if(|letter| !matches!(letter, '.' | '[')) {
        match letter {
            '\\' => match letters.next() {
                Some(escaped @ ('.' | '\\' | '$' | '[' | '^')) => name.push(escaped),
                _ => return Err("a backslash may only precede . $ [ ^ or \\"),
            },
            '\0' => return Err("a field name cannot hold a NUL character"),
            other => name.push(other),
        }
    }
    if name.is_empty() { Err("a field name in a path cannot be empty") } else { Ok(name) }
}

/// The indexes that follow: `[0]`, `[0][1]`.
fn indexes(letters: &mut Letters<'_>, segments: &mut Vec<Segment>) -> Result<(), &'static str> {
    while letters.next_if_eq(&'[').is_some() {
        let mut digits = String::new();
        while let Some(digit) = letters.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        match (letters.next(), digits.parse()) {
            (Some(']'), Ok(index)) => segments.push(Segment::Index(index)),
            _ => return Err("write an index as [0], and a bracket inside a name as `\\[`"),
        }
    }
    Ok(())
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.up > 0 {
            write!(f, "{}.", "^".repeat(self.up))?;
        }
        if !matches!(self.segments.first(), Some(Segment::Field(_))) {
            f.write_str("$")?;
        }
        for (at, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Field(name) => {
                    let escaped = name.replace('\\', "\\\\").replace('.', "\\.").replace('[', "\\[");
                    let alone = !matches!(self.segments.get(at + 1), Some(Segment::Field(_)));
                    let special = at == 0 && (escaped.starts_with('^') || (alone && escaped == "$"));
                    let (dot, escape) = (if at > 0 { "." } else { "" }, if special { "\\" } else { "" });
                    write!(f, "{dot}{escape}{escaped}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn names(names: &[&str]) -> Vec<Segment> {
        names.iter().map(|name| Segment::Field((*name).to_owned())).collect()
    }

    #[rstest]
    #[case("name", &["name"])]
    #[case("profile.address.city", &["profile", "address", "city"])]
    #[case(r"a\.b", &["a.b"])]
    #[case(r"a\\.b", &["a\\", "b"])]
    #[case("$set", &["$set"])]
    #[case(r"\$", &["$"])]
    #[case("$", &[])]
    #[case(r"\^a.^b", &["^a", "^b"])]
    #[case(r"a\[0]", &["a[0]"])]
    fn input_116_a_dot_in_a_name_is_not_a_step(#[case] text: &str, #[case] expected: &[&str]) {
        let path = Path::parse(text).expect("a path");
        assert_eq!(path.segments(), names(expected));
        assert_eq!(path.to_string(), text);
    }

    #[rstest]
    #[case("geo.coordinates[1]", 0, &["geo", "coordinates"], &[1])]
    #[case("$[0]", 0, &[], &[0])]
    #[case("a[2][3]", 0, &["a"], &[2, 3])]
    #[case("^.a", 1, &["a"], &[])]
    #[case("^^.a[0]", 2, &["a"], &[0])]
    #[case("^.$", 1, &[], &[])]
    #[case(r"^.\$[0]", 1, &["$"], &[0])]
    fn indexes_and_ways_up(#[case] text: &str, #[case] up: usize, #[case] fields: &[&str], #[case] indexes: &[u32]) {
        let path = Path::parse(text).expect("a path");
        let mut expected = names(fields);
        expected.extend(indexes.iter().map(|index| Segment::Index(*index)));
        assert_eq!((path.up(), path.segments()), (up, expected.as_slice()));
        assert_eq!(path.to_string(), text);
    }

    #[rstest]
    #[case("")]
    #[case("a..b")]
    #[case(".a")]
    #[case("a.")]
    #[case(r"a\n")]
    #[case("a\\")]
    #[case("a[")]
    #[case("a[]")]
    #[case("a[-1]")]
    #[case("a[0]b")]
    #[case("[0]")]
    #[case("a[99999999999]")]
    #[case("^")]
    #[case("^a")]
    #[case("^.")]
    fn input_115_refuses_empty_names(#[case] text: &str) {
        assert!(Path::parse(text).is_err());
    }

    fn segment() -> impl Strategy<Value = Segment> {
        prop_oneof![
            4 => "[^\0]+".prop_map(Segment::Field),
            1 => "[$^\\[\\].\\\\]{1,3}".prop_map(Segment::Field),
            1 => any::<u32>().prop_map(Segment::Index),
        ]
    }

    proptest! {
        #[test]
        fn printing_round_trips(segments in proptest::collection::vec(segment(), 0..4), up in 0_usize..3) {
            let path = Path { up, segments };
            prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[a$^\\[\\]0.\\\\]{0,8}|.*") {
            if let Ok(path) = Path::parse(&text) {
                prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
            }
        }
    }
}

//! Faults of a mapping file: the place, the fault, and a hint.

use std::fmt;

/// How many lines a fault names besides its own. The fix of a cause is the same on all of them.
const SHOWN_LINES: usize = 10;

/// A place in a mapping file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Name of the file as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One fault of a mapping. People read it; the program decides nothing by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where; `None` when the fault is in no single line.
    pub location: Option<Location>,
    /// The fault.
    pub what: String,
    /// A hint for fixing it.
    pub hint: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        write!(f, "{}", self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n    hint: {}", self.hint) }
    }
}

impl std::error::Error for Fault {}

/// Faults in the order of their places, each cause once: equal faults become the first of them, which names the lines of the
/// others.
pub(crate) fn each_cause_once(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by(|a, b| a.location.cmp(&b.location));
    let mut causes: Vec<(Fault, Vec<u32>)> = Vec::new();
    for fault in faults {
        let line = fault.location.as_ref().map(|location| location.line);
        match causes.iter_mut().find(|(first, _)| first.what == fault.what && first.hint == fault.hint) {
            Some((first, lines)) => {
                let known = first.location.as_ref().map(|location| location.line);
                lines.extend(line.filter(|line| known != Some(*line) && !lines.contains(line)));
            }
            None => causes.push((fault, Vec::new())),
        }
    }
    let named = causes.into_iter().map(|(fault, lines)| match lines.as_slice() {
        [] => fault,
        lines => Fault { what: format!("{} ({})", fault.what, also_on(lines)), ..fault },
    });
    named.collect()
}

/// Lines in words, the first few of many.
fn also_on(lines: &[u32]) -> String {
    let (shown, more) = lines.split_at(lines.len().min(SHOWN_LINES));
    let mut words: Vec<_> = shown.iter().map(ToString::to_string).collect();
    if !more.is_empty() {
        words.push(format!("{} more", more.len()));
    }
    let last = words.pop().unwrap_or_default();
    let plural = if lines.len() > 1 { "s" } else { "" };
    let and = if words.is_empty() { "" } else { " and " };
    format!("also on line{plural} {}{and}{last}", words.join(", "))
}

/// The known name that is most similar to a mistyped one, when it is similar enough.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    near(wrong, known).first().copied()
}

/// The known names that a mistyped one may mean, the most similar first: a few letters differ, or one is a part of the other.
pub fn near<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let letters = wrong.chars().count();
    // Two names that have no letter in common are not near, however short they are.
    let limit = (1 + letters / 4).min(letters.saturating_sub(1));
    let lower = wrong.to_lowercase();
    let holds = |one: &str, other: &str| other.chars().count() >= PART && one.contains(other);
    let mut near: Vec<_> = known
        .into_iter()
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, name)| {
            let name = name.to_lowercase();
            *distance <= limit || holds(&lower, &name) || holds(&name, &lower)
        })
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, name)| name).collect()
}

/// Letters that a name needs to be found in a longer one: `users` in `app_users`.
const PART: usize = 4;

/// Levenshtein's distance, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn fault(line: u32, what: &str) -> Fault {
        Fault {
            location: Some(Location { file: "m.toml".to_owned(), line, column: 1 }),
            what: what.to_owned(),
            hint: String::new(),
        }
    }

    #[rstest]
    #[case(&[7], "m.toml:3:1: x (also on line 7)")]
    #[case(&[7, 9, 7, 3], "m.toml:3:1: x (also on lines 7 and 9)")]
    #[case(&[4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], "m.toml:3:1: x (also on lines 4, 5, 6, 7, 8, 9, 10, 11, 12, 13 and 2 more)")]
    fn one_cause_is_one_fault(#[case] others: &[u32], #[case] expected: &str) {
        let mut faults = vec![fault(8, "y"), fault(3, "x")];
        faults.extend(others.iter().map(|line| fault(*line, "x")));
        let printed: Vec<_> = each_cause_once(faults).iter().map(ToString::to_string).collect();
        assert_eq!(printed, [expected, "m.toml:8:1: y"]);
    }

    #[rstest]
    #[case("tabel", Some("table"))]
    #[case("ignroe", Some("ignore"))]
    #[case("Table", Some("table"))]
    #[case("namespace", None)]
    #[case("x", None)]
    #[case("app_tables", Some("table"))]
    #[case("my_columns", Some("columns"))]
    fn proposes_what_was_meant(#[case] wrong: &str, #[case] expected: Option<&str>) {
        assert_eq!(nearest(wrong, ["table", "ignore", "columns"]), expected);
    }

    #[test]
    fn the_nearest_comes_first_and_nothing_is_near_to_a_letter() {
        assert_eq!(near("user", ["app_user_log", "users", "user_s", "orders"]), ["users", "user_s", "app_user_log"]);
        assert_eq!(near("zz", ["a", "b"]), [""; 0]);
        assert_eq!(near("x", ["a", "xy"]), [""; 0]);
    }
}

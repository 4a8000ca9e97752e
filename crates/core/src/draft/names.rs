//! Names of tables and columns.

use std::collections::BTreeSet;

use super::Naming;
use crate::mapping::target::quote_ident;

/// The longest name that PostgreSQL keeps, in bytes (`NAMEDATALEN` - 1).
const MAX_BYTES: usize = 63;
/// Columns that every table has.
const OF_THE_SYSTEM: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Names that are taken in one table, or in one schema.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken(BTreeSet<String>);

impl Taken {
    /// The names of a new table's columns.
    pub(super) fn columns() -> Self {
        Self(OF_THE_SYSTEM.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Takes the name, or the first one with a number that is free.
    pub(super) fn take(&mut self, wanted: &str) -> String {
        let first = cut(wanted, MAX_BYTES);
        let mut name = first.to_owned();
        for number in 2.. {
            if self.0.insert(name.clone()) {
                break;
            }
            let end = format!("_{number}");
            name = format!("{}{end}", cut(first, MAX_BYTES - end.len()));
        }
        name
    }
}

/// The beginning of a name, as many whole characters as fit.
fn cut(name: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    &name[..end]
}

/// The name for a path of fields.
pub(super) fn of(path: &[&str], naming: Naming) -> String {
    let parts: Vec<String> = match naming {
        Naming::Snake => path.iter().map(|name| snake(name)).filter(|name| !name.is_empty()).collect(),
        // A NUL is no character of a name here, and neither is it one of a field.
        Naming::AsIs => path.iter().map(|name| (*name).to_owned()).filter(|name| !name.is_empty()).collect(),
    };
    let name = parts.join("_");
    let is_letter = |letter: char| letter.is_alphabetic() || letter == '_';
    match naming {
        _ if name.is_empty() => "field".to_owned(),
        Naming::Snake if !name.starts_with(is_letter) => format!("n{name}"),
        _ => name,
    }
}

/// `createdAt`, `created-at` and `CreatedAt` as `created_at`; `HTTPServer` as `http_server`.
pub(crate) fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (at, letter) in letters.iter().enumerate() {
        if !letter.is_alphanumeric() {
            snake.push('_');
            continue;
        }
        let before = at.checked_sub(1).map(|at| letters[at]);
        let after = letters.get(at + 1);
        let begins = letter.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_uppercase() && after.is_some_and(|after| after.is_lowercase()))
            });
        if begins {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
}

/// A name as SQL has it: quoted, unless it is plain and no keyword.
pub(super) fn quoted(name: &str) -> String {
    let is_plain = name.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_plain && !KEYWORDS.contains(&name) { name.to_owned() } else { quote_ident(name) }
}

/// A text on one line, for a comment.
pub(crate) fn on_one_line(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') { ' ' } else { letter })
        .collect()
}

/// The words of PostgreSQL that cannot be names of columns without quotes.
///
/// Source: `kwlist.h`, RESERVED_KEYWORD and TYPE_FUNC_NAME_KEYWORD.
const KEYWORDS: [&str; 101] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("createdAt", "created_at")]
    #[case("HTTPServerURL", "http_server_url")]
    #[case("_id", "id")]
    #[case("a.b $c", "a_b_c")]
    #[case("Über", "über")]
    #[case("line2Text", "line2_text")]
    #[case("$$", "")]
    fn names_in_snake_case(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(snake(name), expected);
    }

    #[rstest]
    #[case(&["profile", "zipCode"], Naming::Snake, "profile_zip_code")]
    #[case(&["profile", "zipCode"], Naming::AsIs, "profile_zipCode")]
    #[case(&["2fa"], Naming::Snake, "n2fa")]
    #[case(&["$"], Naming::Snake, "field")]
    #[case(&["$"], Naming::AsIs, "$")]
    fn names_of_paths(#[case] path: &[&str], #[case] naming: Naming, #[case] expected: &str) {
        assert_eq!(of(path, naming), expected);
    }

    #[test]
    fn a_taken_name_gets_a_number_and_fits() {
        let mut taken = Taken::columns();
        let long = "ä".repeat(40);
        let names: Vec<String> = ["id", "id", "xmin", &long, &long].iter().map(|name| taken.take(name)).collect();
        assert_eq!(names[..3], ["id", "id_2", "xmin_2"]);
        assert_eq!((names[3].len(), names[4].len(), names[4].ends_with("_2")), (62, 62, true));
    }

    #[rstest]
    #[case("plain_1", "plain_1")]
    #[case("user", "\"user\"")]
    #[case("createdAt", "\"createdAt\"")]
    #[case("a\"b", "\"a\"\"b\"")]
    #[case("1st", "\"1st\"")]
    fn names_are_quoted_where_they_have_to_be(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(quoted(name), expected);
    }
}

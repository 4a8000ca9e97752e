//! Names of tables, exact: nothing is folded to lower case, and every name is quoted when it becomes SQL.

use std::fmt;

/// Schema and table, exact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Schema.
    pub schema: String,
    /// Table.
    pub name: String,
}

impl TableName {
    /// Names a table of a schema.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// Reads `schema.table`, or `table` in schema `public`. A part in double quotes may hold dots, and `""` for a quote.
    /// Without quotes a name is taken as written, upper case included. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, rest) = part(text)?;
        if rest.is_empty() {
            return Some(Self::new("public", first));
        }
        let (name, rest) = part(rest.strip_prefix('.')?)?;
        rest.is_empty().then(|| Self::new(first, name))
    }

    /// Writes `schema.table`, with quotes only where [`Self::parse`] needs them to read it back. In this form people, records and
    /// metrics name a table, so that the same table is found by its name wherever it was written.
    pub fn label(&self) -> String {
        format!("{}.{}", quote_where_needed(&self.schema), quote_where_needed(&self.name))
    }

    /// Writes `schema.table.column` like [`Self::label`].
    pub fn column_label(&self, column: &str) -> String {
        format!("{}.{}", self.label(), quote_where_needed(column))
    }
}

fn part(text: &str) -> Option<(String, &str)> {
    let (name, rest) = match text.strip_prefix('"') {
        None => text.find('.').map_or((text.to_owned(), ""), |at| (text[..at].to_owned(), &text[at..])),
        Some(quoted) => {
            let mut name = String::new();
            let mut rest = quoted;
            loop {
                let at = rest.find('"')?;
                name.push_str(&rest[..at]);
                rest = &rest[at + 1..];
                match rest.strip_prefix('"') {
                    Some(after) => rest = after,
                    None => break,
                }
                name.push('"');
            }
            (name, rest)
        }
    };
    (!name.is_empty()).then_some((name, rest))
}

/// The name as SQL, both parts quoted.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }
}

fn quote_where_needed(name: &str) -> String {
    if name.contains(['.', '"']) { quote_ident(name) } else { name.to_owned() }
}

/// A name as SQL: in double quotes, always, so that reserved words, upper case and dots mean what they say.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL: in single quotes.
pub fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("users", "public", "users")]
    #[case("app.users", "app", "users")]
    #[case("app.Users", "app", "Users")]
    #[case("\"my.schema\".\"a\"\"b\"", "my.schema", "a\"b")]
    #[case("app.\"select\"", "app", "select")]
    fn input_120_names_are_taken_exactly(#[case] text: &str, #[case] schema: &str, #[case] name: &str) {
        assert_eq!(TableName::parse(text), Some(TableName::new(schema, name)));
    }

    #[rstest]
    #[case("")]
    #[case(".")]
    #[case("a.")]
    #[case(".b")]
    #[case("a.b.c")]
    #[case("\"a")]
    #[case("\"a\"b")]
    fn refuses_what_is_no_name(#[case] text: &str) {
        assert_eq!(TableName::parse(text), None);
    }

    proptest! {
        #[test]
        fn quoting_round_trips(schema in ".+", name in ".+") {
            let table = TableName::new(schema, name);
            prop_assert_eq!(TableName::parse(&table.to_string()), Some(table));
        }
    }

    #[test]
    fn a_label_is_read_back() {
        for (schema, name) in [("app", "Users"), ("a.b", "c"), ("a\"b", "order"), ("public", "x y")] {
            let table = TableName::new(schema, name);
            assert_eq!(TableName::parse(&table.label()), Some(table));
        }
        assert_eq!(TableName::new("app", "Users").label(), "app.Users");
        assert_eq!(TableName::new("a.b", "Users").column_label("c\"d"), r#""a.b".Users."c""d""#);
    }
}

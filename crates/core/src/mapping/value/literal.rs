//! Texts of types that PostgreSQL refuses with a syntax error, as it would a wrong statement: `hstore`, `ltree`, `tsvector`.
//!
//! A refusal of data has a SQLSTATE of class 22 and costs one document; a syntax error stops everything. So texts that these
//! types would not read are found here. An `hstore` is also made of a document.
//!
//! Source: `parse_hstore` and `get_val` (hstore_io.c), `parse_ltree` (ltree_io.c), `gettoken_tsvector` (tsvector_parser.c).

use super::{
    raw::{Raw, Value},
    text,
};
use crate::mapping::{Loss, Losses};
use crate::model::Reason;

/// Longest label of an `ltree`, in characters.
const MAX_LABEL: usize = 1000;

/// The `hstore` of a document whose values are scalars; null stays NULL.
///
/// # Errors
/// `TYPE_MISMATCH` for anything inside that has no text, `BAD_UTF8`, `RANGE_TS`.
pub(crate) fn hstore_of(document: Raw<'_>, losses: &mut Losses) -> Result<String, Reason> {
    let mut pairs: Vec<(&str, Option<_>)> = Vec::new();
    for field in document.fields() {
        let (name, value) = field?;
        let name = std::str::from_utf8(name).map_err(|_| Reason::BadUtf8)?;
        let value = match value {
            Value::Null | Value::Undefined => None,
            value => Some(text::of_any(value)?),
        };
        match pairs.iter_mut().find(|(known, _)| *known == name) {
            None => pairs.push((name, value)),
            Some(pair) => {
                losses.add(Loss::DuplicateName);
                pair.1 = value;
            }
        }
    }
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let pairs = pairs.iter().map(|(name, value)| {
        format!("{}=>{}", quoted(name), value.as_ref().map_or_else(|| "NULL".to_owned(), |value| quoted(value)))
    });
    Ok(pairs.collect::<Vec<_>>().join(","))
}

/// Whether PostgreSQL reads the text as `hstore`.
pub(crate) fn is_hstore(text: &str) -> bool {
    let mut rest = text;
    loop {
        rest = spaces(rest);
        if rest.is_empty() {
            return true;
        }
        let Some(after) = word(rest, '=').and_then(|rest| spaces(rest).strip_prefix("=>")) else { return false };
        let Some(after) = word(spaces(after), ',') else { return false };
        rest = spaces(after);
        if rest.is_empty() {
            return true;
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return false,
        }
    }
}

/// Reads a key or value, quoted or up to white space or `end`, and returns the rest of the text.
fn word(text: &str, end: char) -> Option<&str> {
    let quoted = text.starts_with('"');
    let mut letters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {
                letters.next()?;
            }
            '"' if quoted => return Some(&text[at + 1..]),
            _ if quoted => {}
            letter if is_space(letter) || letter == end => return (at > 0).then_some(&text[at..]),
            _ => {}
        }
    }
    (!quoted && !text.is_empty()).then_some("")
}

fn spaces(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t'..='\r')
}

/// Whether PostgreSQL reads the text as `ltree`: labels of letters, digits, `_` and `-` between dots. Before version 16 it knows
/// no `-`, and what is a letter beyond ASCII is its locale's to say.
pub(crate) fn is_ltree(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.chars().count())
            && label.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-'))
    };
    text.is_empty() || (text.split('.').all(is_label) && text.len() <= usize::from(u16::MAX))
}

/// Whether PostgreSQL reads the text as `tsvector`.
pub(crate) fn is_tsvector(text: &str) -> bool {
    let mut rest = text;
    loop {
        rest = spaces(rest);
        if rest.is_empty() {
            return true;
        }
        let Some(after) = lexeme(rest) else { return false };
        rest = match after.strip_prefix(':') {
            None => after,
            Some(positions) => match self::positions(positions) {
                None => return false,
                Some(after) => after,
            },
        };
    }
}

/// Reads a lexeme, in single quotes or up to white space or a colon, and returns the rest of the text. A lexeme is not empty.
fn lexeme(text: &str) -> Option<&str> {
    let quoted = text.starts_with('\'');
    let mut letters = text.char_indices().skip(usize::from(quoted)).peekable();
    let mut empty = true;
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {
                letters.next()?;
            }
            '\'' if quoted && letters.next_if(|(_, next)| *next == '\'').is_none() => {
                return (!empty).then_some(&text[at + 1..]);
            }
            letter if !quoted && (is_space(letter) || letter == ':') => return (!empty).then_some(&text[at..]),
            _ => {}
        }
        empty = false;
    }
    (!quoted && !empty).then_some("")
}

/// Reads positions such as `1A,2`, from 1, each with a weight or none, and returns the rest of the text.
fn positions(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        // More digits than a 32-bit number has could read as 0.
        if !rest[..digits].parse::<i32>().is_ok_and(|position| position > 0) {
            return None;
        }
        rest = &rest[digits..];
        rest = rest.strip_prefix(['a', 'A', 'b', 'B', 'c', 'C', 'd', 'D', '*']).unwrap_or(rest);
        match rest.chars().next() {
            None => return Some(rest),
            Some(',') => rest = &rest[1..],
            Some(letter) if is_space(letter) => return Some(rest),
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn hstore(document: &bson::RawDocumentBuf) -> Result<String, Reason> {
        hstore_of(Raw::new(document.as_bytes()), &mut Losses::default())
    }

    #[rstest]
    #[case(rawdoc! {}, Ok(""))]
    #[case(rawdoc! { "a": 1, "b": null, "c": true }, Ok(r#""a"=>"1","b"=>NULL,"c"=>"true""#))]
    #[case(rawdoc! { "a\"\\": "NULL" }, Ok(r#""a\"\\"=>"NULL""#))]
    #[case::input_114_last_wins(rawdoc! { "a": 1, "b": 2, "a": 3 }, Ok(r#""a"=>"3","b"=>"2""#))]
    #[case::nested(rawdoc! { "a": {} }, Err(Reason::TypeMismatch))]
    fn documents_become_hstores(#[case] document: bson::RawDocumentBuf, #[case] expected: Result<&str, Reason>) {
        assert_eq!(hstore(&document).as_deref(), expected.as_ref().copied());
    }

    // As PostgreSQL 17 judges each, by `SELECT $1::hstore`.
    #[rstest]
    #[case("", true)]
    #[case("a=>1", true)]
    #[case(" a => 1 , b=>NULL ,", true)]
    #[case(r#""a b"=>"c\"d", e=>f\ g"#, true)]
    #[case("a=>b=c", true)]
    #[case("a=>=b", true)]
    #[case("\"\"=>\"\"", true)]
    #[case("a", false)]
    #[case("a=>", false)]
    #[case("a=>1 2", false)]
    #[case("=>1", false)]
    #[case("a= >1", false)]
    #[case("a=>\"b", false)]
    #[case(",", false)]
    fn knows_hstores(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_hstore(text), expected);
    }

    #[rstest]
    #[case("", true)]
    #[case("a.b_1.C-d", true)]
    #[case("a..b", false)]
    #[case(".a", false)]
    #[case("a b", false)]
    #[case("a@b", false)]
    fn knows_ltrees(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_ltree(text), expected);
        assert!(!is_ltree(&"x".repeat(MAX_LABEL + 1)));
    }

    // As PostgreSQL 17 judges each, by `SELECT $1::tsvector`.
    #[rstest]
    #[case("", true)]
    #[case("fat cat", true)]
    #[case("fat:1 cat:2A,3b 'a b':4*", true)]
    #[case("'it''s' a\\ b", true)]
    #[case("a'b", true)]
    #[case("a:", false)]
    #[case("a:x", false)]
    #[case("a:0", false)]
    #[case("a:1,", false)]
    #[case("a:1AA", false)]
    #[case(":1", false)]
    #[case("''", false)]
    #[case("'a", false)]
    #[case("a\\", false)]
    fn knows_tsvectors(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_tsvector(text), expected);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a\"'\\\\=>, :1A*.é]{0,16}|.{0,16}") {
            let _ = (is_hstore(&text), is_ltree(&text), is_tsvector(&text));
        }

        #[test]
        fn a_made_hstore_is_one(name in "[^\0]*", value in ".*") {
            let mut document = bson::RawDocumentBuf::new();
            document.append(bson::raw::CString::try_from(name).expect("no NUL"), value);
            prop_assert!(is_hstore(&hstore(&document).expect("an hstore")));
        }
    }
}

//! Texts of ranges and multiranges: `[1,5)`, `empty`, `{[1,5),[7,)}`.
//!
//! Taken apart and put together again, so that each bound is converted as a value of its type would be: PostgreSQL alone would
//! read `now` as a bound, and cut a zone or a digit that the bounds' type does not hold.
//!
//! Source: `range_parse` (rangetypes.c) and `multirange_in` (multirangetypes.c) of PostgreSQL.

use super::scalar;
use crate::mapping::{
    Loss, Losses,
    target::ColumnType,
    value::{
        policy::{Coercions, Policy, REFUSING},
        raw::Value,
        scalar::Scalar,
    },
};
use crate::model::Reason;

/// Bounds are texts, whatever their type.
static BOUNDS: Policy = Policy {
    declared: true,
    coerce: Coercions { text: true, number: true, boolean: true, date: true },
    trim: true,
    empty_is_null: false,
    null_values: Vec::new(),
    types: None,
    strip_prefix: None,
    strip_suffix: None,
    empty_elements: None,
    epoch: None,
    translate: Vec::new(),
    fallback: None,
    misfit: REFUSING.misfit,
};

/// The text of a range whose bounds have that type.
///
/// # Errors
/// `TYPE_MISMATCH` for what is no range, and the reasons of its bounds.
pub(crate) fn range(text: &str, of: &ColumnType) -> Result<String, Reason> {
    let mut out = String::new();
    let rest = one(text, of, &mut out)?;
    if rest.trim().is_empty() { Ok(out) } else { Err(Reason::TypeMismatch) }
}

/// The text of a multirange whose bounds have that type.
///
/// # Errors
/// As [`range`].
pub(crate) fn multirange(text: &str, of: &ColumnType) -> Result<String, Reason> {
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or(Reason::TypeMismatch)?;
    let mut out = "{".to_owned();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        rest = one(rest, of, &mut out)?.trim();
        if let Some(next) = rest.strip_prefix(',') {
            out.push(',');
            rest = next.trim();
            if rest.is_empty() {
                return Err(Reason::TypeMismatch);
            }
        } else if !rest.is_empty() {
            return Err(Reason::TypeMismatch);
        }
    }
    out.push('}');
    Ok(out)
}

/// Appends one range and gives what follows it.
fn one<'t>(text: &'t str, of: &ColumnType, out: &mut String) -> Result<&'t str, Reason> {
    const EMPTY: &str = "empty";
    let text = text.trim_start();
    if let Some((word, rest)) = text.split_at_checked(EMPTY.len())
        && word.eq_ignore_ascii_case(EMPTY)
    {
        out.push_str(EMPTY);
        return Ok(rest);
    }
    let open = text.chars().next().filter(|letter| matches!(letter, '[' | '(')).ok_or(Reason::TypeMismatch)?;
    out.push(open);
    let (lower, rest) = bound(&text[1..])?;
    push_bound(lower.as_deref(), of, out)?;
    out.push(',');
    let (upper, rest) = bound(rest.strip_prefix(',').ok_or(Reason::TypeMismatch)?)?;
    push_bound(upper.as_deref(), of, out)?;
    let close = rest.chars().next().filter(|letter| matches!(letter, ']' | ')')).ok_or(Reason::TypeMismatch)?;
    out.push(close);
    Ok(&rest[1..])
}

/// A bound, unquoted, and what follows it; `None` for no bound at all.
fn bound(text: &str) -> Result<(Option<String>, &str), Reason> {
    if text.starts_with([',', ')', ']']) {
        return Ok((None, text));
    }
    let mut bound = String::new();
    let mut quoted = false;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            ',' | ')' | ']' if !quoted => return Ok((Some(bound), &text[at..])),
            '\\' => bound.push(letters.next().ok_or(Reason::TypeMismatch)?.1),
            '"' if !quoted => quoted = true,
            '"' if letters.next_if(|(_, next)| *next == '"').is_some() => bound.push('"'),
            '"' => quoted = false,
            letter => bound.push(letter),
        }
    }
    Err(Reason::TypeMismatch)
}

fn push_bound(bound: Option<&str>, of: &ColumnType, out: &mut String) -> Result<(), Reason> {
    let Some(bound) = bound else { return Ok(()) };
    let endless = matches!(bound.trim(), "infinity" | "-infinity");
    let dated = matches!(of.base(), ColumnType::Date | ColumnType::Timestamp { .. } | ColumnType::Timestamptz { .. });
    let mut losses = Losses::default();
    let scalar = match endless && dated {
        true => Scalar::Text(bound.trim().into()),
        false => scalar(Value::String(bound.as_bytes()), of, &BOUNDS, &mut losses)?,
    };
    if losses.of(Loss::TimeOfDay) > 0 {
        return Err(Reason::Lossy);
    }
    out.push('"');
    for letter in scalar.to_text().chars() {
        if matches!(letter, '"' | '\\') {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const INSTANT: ColumnType = ColumnType::Timestamptz { precision: 6 };

    #[rstest]
    #[case("[1,5)", ColumnType::Int4, Ok(r#"["1","5")"#))]
    #[case(" ( 1 ,] ", ColumnType::Int8, Ok(r#"("1",]"#))]
    #[case("(,)", ColumnType::Int4, Ok("(,)"))]
    #[case("EMPTY", ColumnType::Int4, Ok("empty"))]
    #[case("[1.50,2]", ColumnType::Numeric { precision: None, scale: 0 }, Ok(r#"["150e-2","2e0"]"#))]
    #[case("[\"2020-01-01 00:00:00+00\",infinity)", INSTANT, Ok(r#"["2020-01-01 00:00:00.000000+00","infinity")"#))]
    #[case(r#"["a""b\"c","d,e"]"#, ColumnType::Text, Ok(r#"["a\"b\"c","d,e"]"#))]
    #[case::now("[now,]", INSTANT, Err(Reason::TypeMismatch))]
    #[case::half_a_day("[2020-01-01T12:00,]", ColumnType::Date, Err(Reason::Lossy))]
    #[case::seventh_digit("[2020-01-01T12:00:00.0000001,]", INSTANT, Err(Reason::Lossy))]
    #[case::fraction("[1,3.5]", ColumnType::Int4, Err(Reason::Lossy))]
    #[case::too_large("[1,3000000000]", ColumnType::Int4, Err(Reason::RangeInt))]
    #[case("[1,5", ColumnType::Int4, Err(Reason::TypeMismatch))]
    #[case("1,5", ColumnType::Int4, Err(Reason::TypeMismatch))]
    #[case("[1]", ColumnType::Int4, Err(Reason::TypeMismatch))]
    #[case("[1,2,3]", ColumnType::Int4, Err(Reason::TypeMismatch))]
    #[case("[1,2]x", ColumnType::Int4, Err(Reason::TypeMismatch))]
    #[case("", ColumnType::Int4, Err(Reason::TypeMismatch))]
    fn ranges(#[case] text: &str, #[case] of: ColumnType, #[case] expected: Result<&str, Reason>) {
        assert_eq!(range(text, &of).as_deref(), expected.as_ref().copied());
    }

    #[rstest]
    #[case("{}", Ok("{}"))]
    #[case(" { [1,2) , (5,) } ", Ok(r#"{["1","2"),("5",)}"#))]
    #[case("{[1,2),}", Err(Reason::TypeMismatch))]
    #[case("{[1,2)(3,4)}", Err(Reason::TypeMismatch))]
    #[case("[1,2)", Err(Reason::TypeMismatch))]
    fn multiranges(#[case] text: &str, #[case] expected: Result<&str, Reason>) {
        assert_eq!(multirange(text, &ColumnType::Int4).as_deref(), expected.as_ref().copied());
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"[\[\](){}",\\ 0-9.a-zé]{0,20}|.{0,20}"#) {
            let _ = (range(&text, &ColumnType::Text), multirange(&text, &INSTANT));
        }
    }
}

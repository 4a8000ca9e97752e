//! An array of scalars as PostgreSQL's array literal: `{1,NULL,"a \"b\""}`.
//!
//! A literal and not the binary form, because all rows of a batch travel as one array parameter per column, and an array of
//! arrays of different lengths does not exist. Every element that is not NULL is quoted, so that no element can be taken
//! for a delimiter, a brace or the word NULL.
//!
//! Nested arrays are dimensions: they must be rectangular, as PostgreSQL's are, else `TYPE_MISMATCH`. An array that holds
//! nothing but empty arrays becomes `{}`, which is the only empty array PostgreSQL has; that is counted. Elements that the
//! column's policy leaves out have no place in the dimensions.
//!
//! Source: PostgreSQL manual, section 8.15.6, "Array Input and Output Syntax"; `MAXDIM` is 6.

use super::{convert, nulled};
use crate::mapping::{
    Loss, Losses,
    target::ColumnType,
    value::{
        id::IdStep,
        json,
        policy::{EmptyElements, Policy},
        prepare::{is_empty_element, is_left_out, prepared},
        raw::{Raw, Value},
    },
};
use crate::model::Reason;

/// `MAXDIM` of PostgreSQL.
const MAX_DIMENSIONS: usize = 6;
/// See `json`: what PostgreSQL must be able to print.
const MAX_PRINTED: usize = 0x0fff_ffff;

/// Appends the literal of a BSON array.
///
/// # Errors
/// `TYPE_MISMATCH` for what is no rectangular array, `AMPLIFY`, and the reasons of its elements.
pub(crate) fn write(
    value: Value<'_>,
    element: &ColumnType,
    id: Option<&IdStep>,
    policy: &Policy,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<(), Reason> {
    let Value::Array(array) = value else { return Err(Reason::TypeMismatch) };
    let element = element.base();
    let lengths = match element {
        // Arrays inside are elements.
        ColumnType::Point | ColumnType::Vector(_) => vec![kept(array, policy).count()],
        _ => dimensions(array, policy, 1)?,
    };
    if policy.empty_elements == Some(EmptyElements::Drop) {
        (0..dropped(array, policy, lengths.len())?).for_each(|_| losses.add(Loss::Dropped));
    }
    if lengths.contains(&0) {
        losses.add_if(lengths.len() > 1, Loss::EmptyArray);
        out.extend_from_slice(b"{}");
        return Ok(());
    }
    let delimiter = match element {
        ColumnType::Other { delimiter, .. } => *delimiter,
        _ => b',',
    };
    let mut writer = Writer { element, delimiter, id, policy, losses, out, text: Vec::new(), printed: 0 };
    writer.array(array, lengths.len())
}

/// The places of the elements that are refused in themselves; none where the array as a whole is refused.
pub(crate) fn refused(array: Raw<'_>, element: &ColumnType, id: Option<&IdStep>, policy: &Policy) -> Vec<usize> {
    let element = element.base();
    let (mut losses, mut out) = (Losses::default(), Vec::new());
    let mut refuses = |value: Value<'_>| {
        out.clear();
        let (losses, out) = (&mut losses, &mut out);
        let mut writer = Writer { element, delimiter: b',', id, policy, losses, out, text: Vec::new(), printed: 0 };
        match value {
            // An array in an array is a dimension, unless it is an element.
            Value::Array(inner) if !matches!(element, ColumnType::Point | ColumnType::Vector(_)) => {
                dimensions(inner, policy, 1).is_ok_and(|lengths| writer.array(inner, lengths.len()).is_err())
            }
            value => is_left_out(value, policy).map_or(true, |left_out| !left_out && writer.element(value).is_err()),
        }
    };
    let fields = array.fields().enumerate().filter_map(|(at, field)| Some((at, field.ok()?.1)));
    fields.filter(|(_, value)| refuses(*value)).map(|(at, _)| at).collect()
}

/// The elements that have a place in the column.
fn kept<'a>(array: Raw<'a>, policy: &Policy) -> impl Iterator<Item = Result<Value<'a>, Reason>> {
    array.fields().filter_map(|field| {
        let element = field.map(|(_, value)| value);
        match element.and_then(|value| is_left_out(value, policy)) {
            Ok(true) => None,
            Ok(false) => Some(element),
            Err(reason) => Some(Err(reason)),
        }
    })
}

/// How many elements have none.
fn dropped(array: Raw<'_>, policy: &Policy, dimensions: usize) -> Result<usize, Reason> {
    let mut count = 0;
    for field in array.fields() {
        count += match field?.1 {
            Value::Array(inner) if dimensions > 1 => dropped(inner, policy, dimensions - 1)?,
            value => usize::from(is_left_out(value, policy)?),
        };
    }
    Ok(count)
}

/// The length of each dimension.
fn dimensions(array: Raw<'_>, policy: &Policy, depth: usize) -> Result<Vec<usize>, Reason> {
    if depth > MAX_DIMENSIONS {
        return Err(Reason::TypeMismatch);
    }
    let mut length = 0;
    let mut below: Option<Option<Vec<usize>>> = None;
    for element in kept(array, policy) {
        let inner = match element? {
            Value::Array(inner) => Some(dimensions(inner, policy, depth + 1)?),
            _ => None,
        };
        match &below {
            None => below = Some(inner),
            Some(first) if *first == inner => {}
            Some(_) => return Err(Reason::TypeMismatch),
        }
        length += 1;
    }
    let mut lengths = vec![length];
    lengths.extend(below.flatten().into_iter().flatten());
    Ok(lengths)
}

struct Writer<'o> {
    element: &'o ColumnType,
    delimiter: u8,
    id: Option<&'o IdStep>,
    policy: &'o Policy,
    losses: &'o mut Losses,
    out: &'o mut Vec<u8>,
    /// Room for the JSON of one element.
    text: Vec<u8>,
    printed: usize,
}

impl Writer<'_> {
    /// Recursion ends with the dimensions, of which there are six at most.
    fn array(&mut self, array: Raw<'_>, dimensions: usize) -> Result<(), Reason> {
        self.out.push(b'{');
        for (at, element) in kept(array, self.policy).enumerate() {
            if at > 0 {
                self.out.push(self.delimiter);
            }
            match element? {
                Value::Array(inner) if dimensions > 1 => self.array(inner, dimensions - 1)?,
                value => self.element(value)?,
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn element(&mut self, value: Value<'_>) -> Result<(), Reason> {
        let is_null = matches!(value, Value::Null | Value::Undefined);
        if is_null || self.policy.empty_elements == Some(EmptyElements::Null) && is_empty_element(value, self.policy) {
            self.losses.add_if(!is_null, Loss::Emptied);
            self.out.extend_from_slice(b"NULL");
            return Ok(());
        }
        match (self.element, value) {
            (ColumnType::Json | ColumnType::Jsonb, _) => match prepared(value, self.policy, self.losses) {
                Ok(Some(value)) => {
                    self.text.clear();
                    json::write(value, self.losses, &mut self.text)?;
                    quote(&self.text, self.out);
                }
                Ok(None) => self.out.extend_from_slice(b"NULL"),
                Err(reason) => {
                    nulled(reason, self.policy, self.losses)?;
                    self.out.extend_from_slice(b"NULL");
                }
            },
            (kind, _) => match convert(value, kind, self.id, self.policy, self.losses)? {
                None => self.out.extend_from_slice(b"NULL"),
                Some(scalar) => {
                    self.printed += scalar.printed_length();
                    if self.printed > MAX_PRINTED {
                        return Err(Reason::Amplify);
                    }
                    quote(scalar.to_text().as_bytes(), self.out);
                }
            },
        }
        Ok(())
    }
}

fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        if byte == b'"' || byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use bson::{RawArrayBuf, RawBson, raw::RawDocumentBuf, rawdoc};
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::mapping::{target::Finest, value::policy::REFUSING};

    fn literal(document: &RawDocumentBuf, kind: &ColumnType) -> Result<String, Reason> {
        let (_, value) = Raw::new(document.as_bytes()).fields().next().expect("a field").expect("a value");
        let mut out = Vec::new();
        write(value, kind, None, &REFUSING, &mut Losses::default(), &mut out)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    /// One dimension, read as the manual says: quoted elements with backslashes, or NULL.
    fn parse(literal: &str) -> Vec<Option<String>> {
        let mut letters =
            literal.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect("braces").chars().peekable();
        let mut elements = Vec::new();
        while letters.peek().is_some() {
            if letters.next_if_eq(&'"').is_some() {
                let mut element = String::new();
                loop {
                    match letters.next().expect("a closing quote") {
                        '"' => break,
                        '\\' => element.push(letters.next().expect("a character")),
                        other => element.push(other),
                    }
                }
                elements.push(Some(element));
            } else {
                let word: String = std::iter::from_fn(|| letters.next_if(|letter| *letter != ',')).collect();
                assert_eq!(word, "NULL");
                elements.push(None);
            }
            letters.next_if_eq(&',');
        }
        elements
    }

    #[rstest]
    #[case::numbers(rawdoc! { "v": [1, 2_i64, 3.0] }, ColumnType::Int4, Ok(r#"{"1","2","3"}"#))]
    #[case::nulls(rawdoc! { "v": [null, "NULL"] }, ColumnType::Text, Ok(r#"{NULL,"NULL"}"#))]
    #[case::input_054_hostile(rawdoc! { "v": ["a\"b\\c,{}", ""] }, ColumnType::Text, Ok(r#"{"a\"b\\c,{}",""}"#))]
    #[case::input_128_mixed(rawdoc! { "v": [1, "a", null] }, ColumnType::Int4, Err(Reason::TypeMismatch))]
    #[case::input_129_ragged(rawdoc! { "v": [[1, 2], [3]] }, ColumnType::Int4, Err(Reason::TypeMismatch))]
    #[case::input_129_half_nested(rawdoc! { "v": [[1], 2] }, ColumnType::Int4, Err(Reason::TypeMismatch))]
    #[case::rectangular(rawdoc! { "v": [[1, 2], [3, null]] }, ColumnType::Int4, Ok(r#"{{"1","2"},{"3",NULL}}"#))]
    #[case::input_130_empty(rawdoc! { "v": [] }, ColumnType::Int4, Ok("{}"))]
    #[case::input_130_nested_empty(rawdoc! { "v": [[]] }, ColumnType::Int4, Ok("{}"))]
    #[case::half_empty(rawdoc! { "v": [[], [1]] }, ColumnType::Int4, Err(Reason::TypeMismatch))]
    #[case::seven_dimensions(rawdoc! { "v": [[[[[[[1]]]]]]] }, ColumnType::Int4, Err(Reason::TypeMismatch))]
    #[case::no_array(rawdoc! { "v": 1 }, ColumnType::Int4, Err(Reason::TypeMismatch))]
    #[case::too_long(rawdoc! { "v": ["abc", "abcd"] }, ColumnType::Varchar(Some(3)), Err(Reason::TooLong))]
    #[case::nul(rawdoc! { "v": ["a\0"] }, ColumnType::Text, Err(Reason::NulInText))]
    #[case::booleans(rawdoc! { "v": [true, false] }, ColumnType::Bool, Ok(r#"{"t","f"}"#))]
    #[case::doubles(rawdoc! { "v": [f64::NAN, 5e-324] }, ColumnType::Float8, Ok(r#"{"NaN","5e-324"}"#))]
    #[case::json(rawdoc! { "v": [{ "a": "\"" }] }, ColumnType::Jsonb, Ok(r#"{"{\"a\":\"\\\"\"}"}"#))]
    #[case::points(rawdoc! { "v": [[1, 2], null] }, ColumnType::Point, Ok(r#"{"(1,2)",NULL}"#))]
    #[case::hstores(rawdoc! { "v": [{ "a": null }] }, ColumnType::Hstore, Ok(r#"{"\"a\"=>NULL"}"#))]
    #[case::boxes(
        rawdoc! { "v": ["(1,1),(0,0)", "(2,2),(0,0)"] },
        ColumnType::Other { name: "box".to_owned(), delimiter: b';' },
        Ok(r#"{"(1,1),(0,0)";"(2,2),(0,0)"}"#)
    )]
    #[case::intervals(
        rawdoc! { "v": ["1 day"] },
        ColumnType::Interval { precision: 6, finest: Finest::Second },
        Ok(r#"{"P0M1DT0.000000S"}"#)
    )]
    #[case::dates(rawdoc! { "v": [bson::DateTime::from_millis(-62_167_219_200_001)] }, ColumnType::Date, Ok(r#"{"0002-12-31 BC"}"#))]
    fn literals(#[case] document: RawDocumentBuf, #[case] kind: ColumnType, #[case] expected: Result<&str, Reason>) {
        assert_eq!(literal(&document, &kind).as_deref(), expected.as_ref().copied());
    }

    #[test]
    fn input_079_many_huge_decimals() {
        let mut array = RawArrayBuf::new();
        for _ in 0..200_000 {
            array.push("1E+6144".parse::<bson::Decimal128>().expect("a decimal"));
        }
        let kind = ColumnType::Numeric { precision: None, scale: 0 };
        assert_eq!(literal(&rawdoc! { "v": array }, &kind), Err(Reason::Amplify));
    }

    proptest! {
        #[test]
        fn elements_read_back(elements in proptest::collection::vec(proptest::option::of("[^\0]*"), 0..8)) {
            let mut array = RawArrayBuf::new();
            for element in &elements {
                array.push(element.clone().map_or(RawBson::Null, RawBson::String));
            }
            let literal = literal(&rawdoc! { "v": array }, &ColumnType::Text).expect("a literal");
            prop_assert_eq!(parse(&literal), elements);
        }
    }
}

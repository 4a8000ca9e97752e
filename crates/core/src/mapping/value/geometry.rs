//! Values that are made of several numbers: points and vectors.

use super::{
    number,
    policy::{Coercions, Policy, REFUSING},
    raw::{Raw, Value},
    scalar::Scalar,
    text::utf8,
};
use crate::mapping::Losses;
use crate::model::Reason;

/// The numbers of a text are texts.
static IN_TEXT: Policy = Policy {
    declared: true,
    trim: false,
    empty_is_null: false,
    null_values: Vec::new(),
    types: None,
    strip_prefix: None,
    strip_suffix: None,
    empty_elements: None,
    coerce: Coercions { text: false, number: true, boolean: false, date: false },
    epoch: None,
    translate: Vec::new(),
    fallback: None,
    misfit: REFUSING.misfit,
};

/// A point: `[x, y]`, GeoJSON `{type: "Point", coordinates: [x, y]}`, or its text `(x,y)`.
///
/// # Errors
/// `TYPE_MISMATCH` for anything else, and the reasons of its numbers.
pub(crate) fn point(value: Value<'_>, policy: &Policy, losses: &mut Losses) -> Result<Scalar<'static>, Reason> {
    match value {
        Value::Array(array) => pair(array, policy, losses),
        Value::Document(document) => {
            let (mut is_point, mut coordinates) = (false, None);
            for field in document.fields() {
                match field? {
                    (b"type", kind) => is_point = kind == Value::String(b"Point"),
                    (b"coordinates", Value::Array(array)) => coordinates = Some(array),
                    _ => {}
                }
            }
            let coordinates = coordinates.filter(|_| is_point).ok_or(Reason::TypeMismatch)?;
            pair(coordinates, policy, losses)
        }
        Value::String(bytes) => {
            let text = utf8(bytes)?;
            let inner = text.trim();
            let inner = inner.strip_prefix('(').map_or(Some(inner), |rest| rest.strip_suffix(')'));
            let (x, y) = inner.and_then(|inner| inner.split_once(',')).ok_or(Reason::TypeMismatch)?;
            let number = |text: &str| number::double(Value::String(text.as_bytes()), &IN_TEXT, &mut Losses::default());
            Ok(Scalar::Point(number(x)?, number(y)?))
        }
        _ => Err(Reason::TypeMismatch),
    }
}

fn pair(array: Raw<'_>, policy: &Policy, losses: &mut Losses) -> Result<Scalar<'static>, Reason> {
    let mut numbers = array.fields();
    let mut next = || match numbers.next() {
        Some(field) => number::double(field?.1, policy, losses),
        None => Err(Reason::TypeMismatch),
    };
    let point = Scalar::Point(next()?, next()?);
    // A third number is a height, which a point has no room for.
    if numbers.next().is_none() { Ok(point) } else { Err(Reason::TypeMismatch) }
}

/// The text of a vector: an array of finite numbers, or the text itself; with so many of them where the column says so.
///
/// # Errors
/// `TYPE_MISMATCH` for anything else, `NONFINITE`, and the reasons of its numbers.
pub(crate) fn vector(
    value: Value<'_>,
    length: Option<u32>,
    policy: &Policy,
    losses: &mut Losses,
) -> Result<String, Reason> {
    let mut numbers = Vec::new();
    match value {
        Value::Array(array) => {
            for field in array.fields() {
                numbers.push(number::single(field?.1, policy, losses)?);
            }
        }
        Value::String(bytes) => {
            let text = utf8(bytes)?;
            let inner = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            for part in inner.ok_or(Reason::TypeMismatch)?.split(',') {
                numbers.push(number::single(Value::String(part.as_bytes()), &IN_TEXT, &mut Losses::default())?);
            }
        }
        _ => return Err(Reason::TypeMismatch),
    }
    let expected = length.map_or(!numbers.is_empty(), |length| numbers.len() == length as usize);
    if !expected {
        return Err(Reason::TypeMismatch);
    }
    if !numbers.iter().all(|number| number.is_finite()) {
        return Err(Reason::NonFinite);
    }
    let numbers: Vec<_> = numbers.iter().map(|number| format!("{number:?}")).collect();
    Ok(format!("[{}]", numbers.join(",")))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use rstest::rstest;

    use super::*;

    fn first(document: &bson::RawDocumentBuf) -> Value<'_> {
        Raw::new(document.as_bytes()).fields().next().expect("a field").expect("a value").1
    }

    #[rstest]
    #[case::pair(rawdoc! { "v": [1, -2.5] }, Ok((1.0, -2.5)))]
    #[case::geo(rawdoc! { "v": { "type": "Point", "coordinates": [7.1, 50] } }, Ok((7.1, 50.0)))]
    #[case::text(rawdoc! { "v": " (7.1, 50) " }, Ok((7.1, 50.0)))]
    #[case::bare_text(rawdoc! { "v": "7.1,50" }, Ok((7.1, 50.0)))]
    #[case::height(rawdoc! { "v": [1, 2, 3] }, Err(Reason::TypeMismatch))]
    #[case::one(rawdoc! { "v": [1] }, Err(Reason::TypeMismatch))]
    #[case::texts(rawdoc! { "v": ["1", "2"] }, Err(Reason::TypeMismatch))]
    #[case::polygon(rawdoc! { "v": { "type": "Polygon", "coordinates": [1, 2] } }, Err(Reason::TypeMismatch))]
    #[case::no_point(rawdoc! { "v": "(1,2" }, Err(Reason::TypeMismatch))]
    #[case::too_fine(rawdoc! { "v": "(0.12345678901234567890,2)" }, Err(Reason::Lossy))]
    fn points(#[case] document: bson::RawDocumentBuf, #[case] expected: Result<(f64, f64), Reason>) {
        let found = point(first(&document), &REFUSING, &mut Losses::default());
        assert_eq!(found, expected.map(|(x, y)| Scalar::Point(x, y)));
    }

    #[rstest]
    #[case::numbers(rawdoc! { "v": [1, 2.5, 0.1] }, Some(3), Ok("[1.0,2.5,0.1]"))]
    #[case::widened(rawdoc! { "v": [f64::from(0.1_f32)] }, None, Ok("[0.1]"))]
    #[case::text(rawdoc! { "v": "[1, 2]" }, None, Ok("[1.0,2.0]"))]
    #[case::lossy(rawdoc! { "v": [0.123_456_789_012] }, None, Err(Reason::Lossy))]
    #[case::other_length(rawdoc! { "v": [1, 2] }, Some(3), Err(Reason::TypeMismatch))]
    #[case::empty(rawdoc! { "v": [] }, None, Err(Reason::TypeMismatch))]
    #[case::null(rawdoc! { "v": [1, null] }, None, Err(Reason::TypeMismatch))]
    #[case::infinite(rawdoc! { "v": [f64::INFINITY] }, None, Err(Reason::NonFinite))]
    fn vectors(
        #[case] document: bson::RawDocumentBuf,
        #[case] length: Option<u32>,
        #[case] expected: Result<&str, Reason>,
    ) {
        let found = vector(first(&document), length, &REFUSING, &mut Losses::default());
        assert_eq!(found.as_deref(), expected.as_ref().copied());
    }
}

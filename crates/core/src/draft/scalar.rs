//! The column type of scalars.

use crate::profile::{Field, Form};

/// Types that are exact whole numbers, and all that are numbers.
const WHOLE: [&str; 2] = ["int", "long"];
const NUMBERS: [&str; 4] = ["int", "long", "double", "decimal"];
/// Whole numbers beyond this are near the end of `integer`.
const NEAR_THE_END: i64 = 1 << 30;
/// Numbers beyond this would print with very many digits in `numeric`.
const HUGE: f64 = 1e100;

/// A column type, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) kind: &'static str,
    pub(super) remark: Option<String>,
}

impl Chosen {
    fn new(kind: &'static str) -> Self {
        Self { kind, remark: None }
    }

    fn because(kind: &'static str, remark: impl Into<String>) -> Self {
        Self { kind, remark: Some(remark.into()) }
    }
}

/// Chooses the type for a field, or for the elements of an array; `all` says whether every document was read.
pub(super) fn choose(field: &Field, all: bool) -> Chosen {
    let kinds = field.kinds();
    let fits = |form: Form| field.forms.contains(&form);
    let only = |types: &[&str]| kinds.iter().all(|kind| types.contains(kind));
    let mixed =
        || field.kinds().iter().map(|kind| format!("{kind} {}", field.count(&[*kind]))).collect::<Vec<_>>().join(", ");
    match kinds[..] {
        [] => Chosen::because("jsonb", "no value was seen"),
        ["bool"] if fits(Form::Boolean) => Chosen::new("boolean"),
        ["date"] if fits(Form::Timestamptz) => Chosen::new("timestamptz"),
        ["date"] => Chosen::because("jsonb", format!("{} of the dates are beyond timestamptz", field.out_of_range)),
        ["binData"] if fits(Form::Uuid) => Chosen::new("uuid"),
        ["binData"] if fits(Form::Bytea) => Chosen::new("bytea"),
        ["double"] if fits(Form::Double) => Chosen::new("double precision"),
        ["timestamp"] if fits(Form::Numeric) => Chosen::because("numeric", "a timestamp of the server, as its 64 bits"),
        ["int"] if all && fits(Form::Integer) && is_small(field) => Chosen::new("integer"),
        _ if only(&WHOLE) && fits(Form::Bigint) => Chosen::new("bigint"),
        // An application written in JavaScript stores every measured number so.
        ["double", "int"] if fits(Form::Double) => {
            Chosen::because("double precision", format!("numbers of several types: {}", mixed()))
        }
        _ if only(&NUMBERS) && fits(Form::Numeric) && !is_huge(field) => match kinds[..] {
            ["decimal"] => Chosen::new("numeric"),
            _ => Chosen::because("numeric", format!("numbers of several types: {}", mixed())),
        },
        _ if only(&NUMBERS) && fits(Form::Double) => {
            Chosen::because("double precision", format!("numbers of several types: {}", mixed()))
        }
        ["string"] if fits(Form::Text) => Chosen::new("text"),
        ["string"] => Chosen::because(
            "jsonb",
            format!("{} of the texts have a NUL character, and {} are not UTF-8", field.nul, field.bad_utf8),
        ),
        ["objectId"] if fits(Form::Text) => Chosen::because("text", "no collection has these ids"),
        [kind] if fits(Form::Text) => Chosen::because("text", format!("of type {kind}")),
        _ if fits(Form::Text) => Chosen::because("text", format!("mixed types: {}", mixed())),
        [kind] => Chosen::because("jsonb", format!("of type {kind}")),
        _ => Chosen::because("jsonb", format!("mixed types: {}", mixed())),
    }
}

fn is_small(field: &Field) -> bool {
    field.whole.is_some_and(|(low, high)| low > -NEAR_THE_END && high < NEAR_THE_END)
}

fn is_huge(field: &Field) -> bool {
    field.numbers.is_some_and(|(low, high)| low < -HUGE || high > HUGE)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn field(types: &[&str], forms: &[Form]) -> Field {
        Field {
            types: types.iter().map(|name| ((*name).to_owned(), 1)).collect(),
            forms: forms.to_vec(),
            whole: Some((1, 2)),
            numbers: Some((1.0, 2.0)),
            ..Field::default()
        }
    }

    const EVERY_NUMBER: [Form; 5] = [Form::Integer, Form::Bigint, Form::Double, Form::Numeric, Form::Text];

    #[rstest]
    #[case::small(&["int"], &EVERY_NUMBER, true, "integer")]
    #[case::sampled(&["int"], &EVERY_NUMBER, false, "bigint")]
    #[case::long(&["int", "long"], &EVERY_NUMBER, true, "bigint")]
    #[case::double(&["double"], &EVERY_NUMBER, true, "double precision")]
    #[case::measured(&["double", "int"], &EVERY_NUMBER, true, "double precision")]
    #[case::with_long(&["double", "int", "long"], &EVERY_NUMBER, true, "numeric")]
    #[case::with_decimal(&["decimal", "double", "int"], &EVERY_NUMBER, true, "numeric")]
    #[case::text_or_number(&["int", "string", "null"], &[Form::Text], true, "text")]
    #[case::text_or_flag(&["bool", "string"], &[], true, "jsonb")]
    #[case::far(&["date"], &[], true, "jsonb")]
    #[case::nothing(&["null"], &EVERY_NUMBER, true, "jsonb")]
    fn types_are_chosen_by_what_fits(
        #[case] types: &[&str],
        #[case] forms: &[Form],
        #[case] all: bool,
        #[case] expected: &str,
    ) {
        assert_eq!(choose(&field(types, forms), all).kind, expected);
    }

    #[test]
    fn a_huge_number_is_no_numeric() {
        let huge = Field { numbers: Some((0.0, 1e300)), ..field(&["double", "long"], &EVERY_NUMBER) };
        assert_eq!(choose(&huge, true).kind, "double precision");
    }
}

use bson::raw::RawBson;
use rstest::rstest;

use super::*;
use crate::mapping::{
    Epoch, Loss,
    value::policy::{Misfits, Written},
};
use crate::model::Reason;

const NUMERIC: ColumnType = ColumnType::Numeric { precision: None, scale: 0 };
const TSTZ: ColumnType = ColumnType::Timestamptz { precision: 6 };

fn at<T>(value: T) -> At<T> {
    At { value, line: 3, column: 7 }
}

fn numeric(precision: u16, scale: i16) -> ColumnType {
    ColumnType::Numeric { precision: Some(precision), scale }
}

fn status() -> ColumnType {
    ColumnType::Enum { oid: 16_384, labels: vec!["active".to_owned(), "gone".to_owned(), "other".to_owned()] }
}

fn coerce(coerce: Coerce) -> PolicyFile {
    PolicyFile { coerce: vec![at(coerce)], ..PolicyFile::default() }
}

fn misfit(misfits: &[Misfit]) -> PolicyFile {
    PolicyFile { misfit: misfits.iter().map(|misfit| at(*misfit)).collect(), ..PolicyFile::default() }
}

fn epoch(unit: Epoch) -> PolicyFile {
    PolicyFile { epoch: Some(at(unit)), ..PolicyFile::default() }
}

fn translate(pairs: &[(&str, &str)], fallback: Option<&str>) -> PolicyFile {
    let text = |text: &str| at(RawBson::String(text.to_owned()));
    PolicyFile {
        translate: pairs.iter().map(|(from, to)| (at((*from).to_owned()), text(to))).collect(),
        fallback: fallback.map(text),
        ..PolicyFile::default()
    }
}

/// The text of what is written, `NULL`, or the reason; and every loss that was counted.
fn written(value: Value<'_>, kind: &ColumnType, file: &PolicyFile) -> (Result<String, Reason>, Vec<Loss>) {
    let policy = compile(file, kind).expect("a policy");
    let mut losses = Losses::default();
    let found = convert::convert(value, kind.base(), None, &policy, &mut losses)
        .map(|scalar| scalar.map_or_else(|| "NULL".to_owned(), |scalar| scalar.to_text().into_owned()));
    (found, losses.iter().map(|entry| entry.loss).collect())
}

fn text(text: &str) -> Value<'_> {
    Value::String(text.as_bytes())
}

fn decimal(text: &str) -> Value<'static> {
    Value::Decimal(text.parse().expect("a decimal"))
}

#[rstest]
#[case(" a\u{a0}", true, false, "a", &[Loss::Trimmed])]
#[case("a", true, false, "a", &[])]
#[case("", false, true, "NULL", &[Loss::Emptied])]
#[case(" ", false, true, " ", &[])]
#[case(" ", true, true, "NULL", &[Loss::Emptied])]
fn trims_and_empties(
    #[case] value: &str,
    #[case] trim: bool,
    #[case] empty_is_null: bool,
    #[case] expected: &str,
    #[case] losses: &[Loss],
) {
    let file = PolicyFile { trim, empty_is_null, ..PolicyFile::default() };
    assert_eq!(written(text(value), &ColumnType::Text, &file), (Ok(expected.to_owned()), losses.to_vec()));
}

#[rstest]
#[case::input_050(text(" 12 "), ColumnType::Int4, Coerce::Number, Ok("12"))]
#[case::input_053(text(""), ColumnType::Int4, Coerce::Number, Err(Reason::TypeMismatch))]
#[case(text("9007199254740993"), ColumnType::Int8, Coerce::Number, Ok("9007199254740993"))]
#[case(text("1e3"), ColumnType::Int2, Coerce::Number, Ok("1000"))]
#[case(text("1.5"), ColumnType::Int4, Coerce::Number, Err(Reason::Lossy))]
#[case(text("70000"), ColumnType::Int2, Coerce::Number, Err(Reason::RangeInt))]
#[case(text("12 apples"), ColumnType::Int4, Coerce::Number, Err(Reason::TypeMismatch))]
#[case(text("0.1"), ColumnType::Float8, Coerce::Number, Ok("0.1"))]
#[case(text("0.1000000000000000055"), ColumnType::Float8, Coerce::Number, Err(Reason::Lossy))]
#[case(text("1e400"), ColumnType::Float8, Coerce::Number, Err(Reason::RangeNum))]
#[case(text("1.10"), NUMERIC, Coerce::Number, Ok("110e-2"))]
#[case::more_digits_than_a_decimal(
    text("115792089237316195423570985008687907853269984665640564039457584007913129639935"),
    NUMERIC,
    Coerce::Number,
    Ok("115792089237316195423570985008687907853269984665640564039457584007913129639935e0")
)]
#[case(text("1.005"), numeric(10, 2), Coerce::Number, Err(Reason::Lossy))]
#[case(text("1.5"), ColumnType::Money { scale: 2 }, Coerce::Number, Ok("150e-2"))]
#[case::a_boolean_is_no_number(Value::Bool(true), ColumnType::Int4, Coerce::Number, Err(Reason::TypeMismatch))]
#[case(text("TRUE"), ColumnType::Bool, Coerce::Boolean, Ok("t"))]
#[case(text(" off "), ColumnType::Bool, Coerce::Boolean, Ok("f"))]
#[case(text("yes"), ColumnType::Bool, Coerce::Boolean, Ok("t"))]
#[case(text("0"), ColumnType::Bool, Coerce::Boolean, Ok("f"))]
#[case(Value::Double(1.0), ColumnType::Bool, Coerce::Boolean, Ok("t"))]
#[case(Value::Int32(2), ColumnType::Bool, Coerce::Boolean, Err(Reason::TypeMismatch))]
#[case::input_051(text("maybe"), ColumnType::Bool, Coerce::Boolean, Err(Reason::TypeMismatch))]
#[case(text("t"), ColumnType::Bool, Coerce::Boolean, Err(Reason::TypeMismatch))]
#[case::input_049(text("2020-02-30"), ColumnType::Date, Coerce::Date, Err(Reason::TypeMismatch))]
#[case(text("2020-02-29"), ColumnType::Date, Coerce::Date, Ok("2020-02-29"))]
#[case(text("2020-02-29T12:30:15.25+01:00"), TSTZ, Coerce::Date, Ok("2020-02-29 11:30:15.250000+00"))]
#[case(text("2020-02-29"), ColumnType::Timestamp { precision: 6 }, Coerce::Date, Ok("2020-02-29 00:00:00.000000"))]
#[case(text("2020-02-29T12:30:15.1234567Z"), TSTZ, Coerce::Date, Err(Reason::Lossy))]
#[case(text("2020-02-29T12:30:15.5Z"), ColumnType::Timestamptz { precision: 0 }, Coerce::Date, Err(Reason::Lossy))]
#[case(text("-004800-01-01"), ColumnType::Date, Coerce::Date, Err(Reason::RangeTs))]
#[case::input_097(Value::Int64(1_600_000_000), TSTZ, Coerce::Date, Err(Reason::TypeMismatch))]
#[case(Value::Bool(true), ColumnType::Text, Coerce::Text, Ok("true"))]
#[case(Value::DateTime(0), ColumnType::Varchar(Some(24)), Coerce::Text, Ok("1970-01-01T00:00:00.000Z"))]
#[case(Value::DateTime(i64::MAX), ColumnType::Text, Coerce::Text, Err(Reason::RangeTs))]
#[case::too_long(Value::Bool(false), ColumnType::Varchar(Some(4)), Coerce::Text, Err(Reason::TooLong))]
fn coerces(
    #[case] value: Value<'_>,
    #[case] kind: ColumnType,
    #[case] how: Coerce,
    #[case] expected: Result<&str, Reason>,
) {
    let (found, losses) = written(value, &kind, &coerce(how));
    assert_eq!(found, expected.map(str::to_owned));
    assert!(expected.is_err() || losses.contains(&Loss::Coerced), "{losses:?}");
}

#[test]
fn a_value_of_the_columns_own_type_is_not_coerced() {
    for (value, kind, how) in [
        (Value::Int32(1), ColumnType::Int4, Coerce::Number),
        (Value::Bool(true), ColumnType::Bool, Coerce::Boolean),
        (Value::DateTime(0), TSTZ, Coerce::Date),
        (text("a"), ColumnType::Text, Coerce::Text),
        (Value::Int32(1), ColumnType::Text, Coerce::Text),
    ] {
        assert_eq!(written(value, &kind, &coerce(how)).1, []);
    }
}

#[rstest]
#[case(Value::Int32(1_600_000_000), TSTZ, Epoch::Seconds, Ok("2020-09-13 12:26:40.000000+00"))]
#[case(Value::Double(1_600_000_000.123_456), TSTZ, Epoch::Seconds, Ok("2020-09-13 12:26:40.123456+00"))]
#[case(Value::Double(-0.5), TSTZ, Epoch::Seconds, Ok("1969-12-31 23:59:59.500000+00"))]
#[case(Value::Int64(1_600_000_000_123), TSTZ, Epoch::Milliseconds, Ok("2020-09-13 12:26:40.123000+00"))]
#[case(decimal("1600000000123.4567"), TSTZ, Epoch::Milliseconds, Err(Reason::Lossy))]
#[case(Value::Int32(86_400), ColumnType::Date, Epoch::Seconds, Ok("1970-01-02"))]
#[case(Value::Int64(i64::MAX), TSTZ, Epoch::Seconds, Err(Reason::RangeTs))]
#[case(decimal("1E+6144"), TSTZ, Epoch::Seconds, Err(Reason::RangeTs))]
#[case(Value::Double(f64::NAN), TSTZ, Epoch::Seconds, Err(Reason::NonFinite))]
#[case(text("1600000000"), TSTZ, Epoch::Seconds, Err(Reason::TypeMismatch))]
#[case(Value::DateTime(0), TSTZ, Epoch::Seconds, Ok("1970-01-01 00:00:00.000000+00"))]
fn numbers_are_times(
    #[case] value: Value<'_>,
    #[case] kind: ColumnType,
    #[case] unit: Epoch,
    #[case] expected: Result<&str, Reason>,
) {
    assert_eq!(written(value, &kind, &epoch(unit)).0, expected.map(str::to_owned));
}

#[test]
fn a_text_of_digits_is_a_time_where_both_are_declared() {
    let file = PolicyFile { epoch: Some(at(Epoch::Milliseconds)), ..coerce(Coerce::Number) };
    let expected = Ok("1970-01-01 00:00:01.500000+00".to_owned());
    assert_eq!(written(text("1500"), &TSTZ, &file), (expected, vec![Loss::Coerced]));
}

#[rstest]
#[case::listed(text("Lead"), ColumnType::Text, Some("other"), Ok("lead"), &[])]
#[case::number(Value::Double(1.0), ColumnType::Text, None, Ok("one"), &[])]
#[case::boolean(Value::Bool(true), ColumnType::Text, None, Ok("yes"), &[])]
#[case::exact(text("lead"), ColumnType::Text, None, Ok("lead"), &[])]
#[case::unlisted(text("Won"), ColumnType::Text, Some("other"), Ok("other"), &[Loss::FellBack])]
#[case::unlisted_without_fallback(text("Won"), ColumnType::Text, None, Ok("Won"), &[])]
#[case::no_text(Value::Array(crate::mapping::value::raw::Raw::new(&[5, 0, 0, 0, 0])), ColumnType::Text, Some("other"), Err(Reason::TypeMismatch), &[])]
#[case::broken(Value::String(&[0xff]), ColumnType::Text, Some("other"), Err(Reason::BadUtf8), &[])]
fn translates(
    #[case] value: Value<'_>,
    #[case] kind: ColumnType,
    #[case] fallback: Option<&str>,
    #[case] expected: Result<&str, Reason>,
    #[case] losses: &[Loss],
) {
    let file = translate(&[("Lead", "lead"), ("1", "one"), ("true", "yes")], fallback);
    assert_eq!(written(value, &kind, &file), (expected.map(str::to_owned), losses.to_vec()));
}

#[rstest]
#[case::label(text("gone"), Ok("gone"), &[])]
#[case::listed(text("Live"), Ok("active"), &[])]
#[case::input_055_unknown(text("ACTIVE"), Ok("other"), &[Loss::FellBack])]
#[case::number(Value::Int32(5), Ok("other"), &[Loss::FellBack])]
fn an_unknown_label_falls_back(
    #[case] value: Value<'_>,
    #[case] expected: Result<&str, Reason>,
    #[case] losses: &[Loss],
) {
    let file = translate(&[("Live", "active")], Some("other"));
    assert_eq!(written(value, &status(), &file), (expected.map(str::to_owned), losses.to_vec()));
}

#[rstest]
#[case(text("abcd"), ColumnType::Varchar(Some(3)), Misfit::Truncate, Ok("abc"), Loss::Truncated)]
#[case::whole_characters(text("🦀é🦀x"), ColumnType::Varchar(Some(3)), Misfit::Truncate, Ok("🦀é🦀"), Loss::Truncated)]
#[case(text("0101"), ColumnType::Bit(3), Misfit::Truncate, Ok("010"), Loss::Truncated)]
#[case(text("a\0b"), ColumnType::Text, Misfit::Replace, Ok("a\u{fffd}b"), Loss::Replaced)]
#[case(Value::String(b"a\xffb"), ColumnType::Text, Misfit::Replace, Ok("a\u{fffd}b"), Loss::Replaced)]
#[case(Value::Double(2.5), ColumnType::Int4, Misfit::Round, Ok("3"), Loss::Rounded)]
#[case(Value::Double(-2.5), ColumnType::Int4, Misfit::Round, Ok("-3"), Loss::Rounded)]
#[case::input_076(Value::Double(1.005), numeric(10, 2), Misfit::Round, Ok("101e-2"), Loss::Rounded)]
#[case::input_077(Value::Double(1e-9), numeric(10, 2), Misfit::Round, Ok("0e-2"), Loss::Rounded)]
#[case(Value::Int64((1 << 53) + 1), ColumnType::Float8, Misfit::Round, Ok("9007199254740992"), Loss::Rounded)]
#[case(Value::Double(0.123_456_789_012), ColumnType::Float4, Misfit::Round, Ok("0.12345679"), Loss::Rounded)]
#[case::input_095(Value::DateTime(1500), ColumnType::Timestamptz { precision: 0 }, Misfit::Round, Ok("1970-01-01 00:00:01.000000+00"), Loss::Rounded)]
#[case(Value::DateTime(946_684_801_500), ColumnType::Timestamptz { precision: 0 }, Misfit::Round, Ok("2000-01-01 00:00:02.000000+00"), Loss::Rounded)]
#[case(text("23:59:59.9"), ColumnType::Time { precision: 0 }, Misfit::Round, Ok("24:00:00.000000"), Loss::Rounded)]
#[case(text("1.25 s"), ColumnType::Interval { precision: 1, finest: Finest::Second }, Misfit::Round, Ok("P0M0DT1.300000S"), Loss::Rounded)]
#[case::input_059(Value::Int32(70_000), ColumnType::Int2, Misfit::Clamp, Ok("32767"), Loss::Clamped)]
#[case(Value::Double(f64::NEG_INFINITY), ColumnType::Int4, Misfit::Clamp, Ok("-2147483648"), Loss::Clamped)]
#[case::input_067(Value::Double(f64::INFINITY), numeric(4, 2), Misfit::Clamp, Ok("9999e-2"), Loss::Clamped)]
#[case::input_075(
    decimal("-9.99E+6144"),
    numeric(38, 9),
    Misfit::Clamp,
    Ok("-99999999999999999999999999999999999999e-9"),
    Loss::Clamped
)]
#[case::input_080(decimal("1E+6144"), ColumnType::Float8, Misfit::Clamp, Ok("1.7976931348623157e308"), Loss::Clamped)]
#[case(Value::Double(1e300), ColumnType::Money { scale: 2 }, Misfit::Clamp, Ok("9223372036854775807e-2"), Loss::Clamped)]
#[case::input_086(
    Value::DateTime(i64::MIN),
    TSTZ,
    Misfit::Clamp,
    Ok("4714-11-24 00:00:00.000000+00 BC"),
    Loss::Clamped
)]
#[case::input_087(Value::DateTime(i64::MAX), TSTZ, Misfit::Clamp, Ok("294276-12-31 23:59:59.999999+00"), Loss::Clamped)]
#[case(Value::DateTime(i64::MAX), ColumnType::Timestamp { precision: 0 }, Misfit::Clamp, Ok("294276-12-31 23:59:59.000000"), Loss::Clamped)]
#[case(Value::DateTime(i64::MAX), ColumnType::Date, Misfit::Clamp, Ok("5874897-12-31"), Loss::Clamped)]
#[case::input_052(text("zz"), ColumnType::Uuid, Misfit::Null, Ok("NULL"), Loss::Nulled)]
fn misfits(
    #[case] value: Value<'_>,
    #[case] kind: ColumnType,
    #[case] how: Misfit,
    #[case] expected: Result<&str, Reason>,
    #[case] loss: Loss,
) {
    let (found, losses) = written(value, &kind, &misfit(&[how]));
    assert_eq!(found, expected.map(str::to_owned));
    assert!(losses.contains(&loss), "{losses:?}");
}

#[rstest]
#[case::other_reason(Value::Double(1.5), ColumnType::Int4, &[Misfit::Clamp], Err(Reason::Lossy))]
#[case::nan(Value::Double(f64::NAN), ColumnType::Int4, &[Misfit::Clamp, Misfit::Round], Err(Reason::NonFinite))]
#[case::type_of_value(text("x"), ColumnType::Int4, &[Misfit::Round, Misfit::Clamp], Err(Reason::TypeMismatch))]
#[case::rounded_over_the_end(Value::Double(99.995), numeric(4, 2), &[Misfit::Round], Err(Reason::RangeNum))]
#[case::rounded_and_clamped(Value::Double(99.995), numeric(4, 2), &[Misfit::Round, Misfit::Clamp], Ok("9999e-2"))]
#[case::replaced_and_cut(text("\0ab"), ColumnType::Varchar(Some(2)), &[Misfit::Replace, Misfit::Truncate], Ok("\u{fffd}a"))]
#[case::replaced_too_long(text("\0ab"), ColumnType::Varchar(Some(2)), &[Misfit::Replace], Err(Reason::TooLong))]
#[case::first_that_applies(Value::Double(1.5), ColumnType::Int4, &[Misfit::Round, Misfit::Null], Ok("2"))]
#[case::then_null(text("x"), ColumnType::Int4, &[Misfit::Round, Misfit::Null], Ok("NULL"))]
fn misfits_answer_reasons_of_their_own(
    #[case] value: Value<'_>,
    #[case] kind: ColumnType,
    #[case] how: &[Misfit],
    #[case] expected: Result<&str, Reason>,
) {
    assert_eq!(written(value, &kind, &misfit(how)).0, expected.map(str::to_owned));
}

#[test]
fn what_is_broken_or_floods_never_becomes_null() {
    let misfits = Misfits { null: true, ..Misfits::default() };
    assert!(!misfits.nulls(Reason::Malformed) && !misfits.nulls(Reason::Amplify) && misfits.nulls(Reason::TooBig));
}

#[test]
fn policies_are_for_the_elements_of_an_array() {
    let kind = ColumnType::Array(Box::new(ColumnType::Int2));
    let file = PolicyFile { empty_is_null: true, misfit: vec![at(Misfit::Clamp)], ..coerce(Coerce::Number) };
    let policy = compile(&file, &kind).expect("a policy");
    let document = bson::rawdoc! { "v": [1, " 2 ", "", null, 70_000] };
    let (_, value) =
        crate::mapping::value::raw::Raw::new(document.as_bytes()).fields().next().expect("one").expect("a value");
    let (mut losses, mut out) = (Losses::default(), Vec::new());
    assert_eq!(convert::write(value, &kind, None, &policy, &mut losses, &mut out), Ok(Written::Value));
    assert_eq!(out, br#"{"1","2",NULL,NULL,"32767"}"#);
    assert_eq!([Loss::Coerced, Loss::Emptied, Loss::Clamped].map(|loss| losses.of(loss)), [1, 1, 1]);

    let policy = compile(&misfit(&[Misfit::Null]), &kind).expect("a policy");
    out.clear();
    assert_eq!(convert::write(Value::Int32(1), &kind, None, &policy, &mut losses, &mut out), Ok(Written::Null));
    assert!(out.is_empty() && losses.of(Loss::Nulled) == 1);
}

#[test]
fn json_takes_the_first_policies_and_the_last() {
    let file = PolicyFile { trim: true, empty_is_null: true, ..misfit(&[Misfit::Null]) };
    let policy = compile(&file, &ColumnType::Jsonb).expect("a policy");
    let write = |value| {
        let mut out = Vec::new();
        convert::write(value, &ColumnType::Json, None, &policy, &mut Losses::default(), &mut out)
            .map(|written| (written, String::from_utf8(out).expect("UTF-8")))
    };
    assert_eq!(write(text(" a ")), Ok((Written::Value, "\"a\"".to_owned())));
    assert_eq!(write(text(" ")), Ok((Written::Null, String::new())));
    assert_eq!(write(Value::Null), Ok((Written::Value, "null".to_owned())));
}

#[rstest]
#[case::truncate_integer(misfit(&[Misfit::Truncate]), ColumnType::Int4, "`truncate` has no effect on int4")]
#[case::truncate_text(misfit(&[Misfit::Truncate]), ColumnType::Text, "`truncate` has no effect on text")]
#[case::round_text(misfit(&[Misfit::Round]), ColumnType::Text, "`round` has no effect on text")]
#[case::round_unlimited(misfit(&[Misfit::Round]), NUMERIC, "`round` has no effect on numeric")]
#[case::clamp_text(misfit(&[Misfit::Clamp]), ColumnType::Varchar(None), "`clamp` has no effect on varchar")]
#[case::replace_number(misfit(&[Misfit::Replace]), ColumnType::Float8, "`replace` has no effect on float8")]
#[case::after_null(misfit(&[Misfit::Null, Misfit::Round]), ColumnType::Int4, "`round` is never reached")]
#[case::epoch_text(epoch(Epoch::Seconds), ColumnType::Text, "`epoch` has no effect on text")]
#[case::epoch_of_an_array(
    epoch(Epoch::Seconds),
    ColumnType::Array(Box::new(ColumnType::Uuid)),
    "`epoch` has no effect on uuid"
)]
#[case::date_number(coerce(Coerce::Date), ColumnType::Int8, "`coerce = \"date\"` has no effect on int8")]
#[case::number_date(coerce(Coerce::Number), TSTZ, "`coerce = \"number\"` has no effect on timestamptz")]
#[case::number_json(coerce(Coerce::Number), ColumnType::Jsonb, "`coerce = \"number\"` has no effect on jsonb")]
#[case::fallback_alone(translate(&[], Some("x")), ColumnType::Text, "`fallback` has no effect here")]
#[case::no_label(translate(&[("a", "ACTIVE")], None), status(), "this value does not fit enum: TYPE_MISMATCH")]
#[case::fallback_no_label(translate(&[], Some("x")), status(), "this fallback does not fit enum: TYPE_MISMATCH")]
#[case::too_long(translate(&[("a", "abcd")], None), ColumnType::Varchar(Some(3)), "this value does not fit varchar: TOO_LONG")]
#[case::twice(translate(&[("a", "b"), ("a", "c")], None), ColumnType::Text, "\"a\" is translated twice")]
#[case::json(translate(&[("a", "b")], None), ColumnType::Jsonb, "`translate` has no effect on jsonb")]
fn what_means_nothing_is_a_fault(#[case] file: PolicyFile, #[case] kind: ColumnType, #[case] expected: &str) {
    let faults = compile(&file, &kind).expect_err("a fault");
    let found: Vec<_> = faults.iter().map(|fault| (fault.value.0.as_str(), fault.line)).collect();
    assert_eq!(found, [(expected, 3)]);
    assert!(!faults[0].value.1.is_empty());
}

#[test]
fn every_fault_at_once() {
    let file =
        PolicyFile { epoch: Some(at(Epoch::Seconds)), fallback: Some(at(RawBson::Null)), ..misfit(&[Misfit::Round]) };
    assert_eq!(compile(&file, &ColumnType::Uuid).map_err(|faults| faults.len()).err(), Some(3));
}

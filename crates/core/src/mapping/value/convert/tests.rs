use rstest::rstest;

use super::*;
use crate::mapping::{target::Finest, value::raw::Raw};

const NUMERIC: ColumnType = ColumnType::Numeric { precision: None, scale: 0 };

fn written(value: Value<'_>, kind: &ColumnType) -> Result<Vec<u8>, Reason> {
    let mut out = Vec::new();
    write(value, kind, None, &REFUSING, &mut Losses::default(), &mut out).map(|_| out)
}

/// The text form: what PostgreSQL would print, near enough to compare.
fn shown(value: Value<'_>, kind: &ColumnType) -> Result<String, Reason> {
    scalar(value, kind, &REFUSING, &mut Losses::default()).map(|scalar| scalar.to_text().into_owned())
}

fn decimal(text: &str) -> Value<'static> {
    Value::Decimal(text.parse().expect("a decimal"))
}

fn numeric(precision: u16, scale: i16) -> ColumnType {
    ColumnType::Numeric { precision: Some(precision), scale }
}

fn other(name: &str) -> ColumnType {
    ColumnType::Other { name: name.to_owned(), delimiter: b',' }
}

fn interval(precision: u8) -> ColumnType {
    ColumnType::Interval { precision, finest: Finest::Second }
}

fn range() -> ColumnType {
    ColumnType::Range(Box::new(ColumnType::Int4))
}

fn status() -> ColumnType {
    ColumnType::Enum { oid: 16_384, labels: vec!["active".to_owned(), "gone".to_owned()] }
}

#[rstest]
#[case(Value::Bool(true), ColumnType::Bool, &[1])]
#[case(Value::Int32(-2), ColumnType::Int2, &[0xff, 0xfe])]
#[case(Value::Int64(1), ColumnType::Int4, &[0, 0, 0, 1])]
#[case::input_061_smallest(Value::Int64(i64::MIN), ColumnType::Int8, &[0x80, 0, 0, 0, 0, 0, 0, 0])]
#[case::input_065_negative_zero(Value::Double(-0.0), ColumnType::Float8, &[0x80, 0, 0, 0, 0, 0, 0, 0])]
#[case(Value::Double(1.5), ColumnType::Float4, &[0x3f, 0xc0, 0, 0])]
#[case(Value::String(b"x"), ColumnType::Text, b"x")]
#[case::input_092_epoch(Value::DateTime(946_684_800_000), ColumnType::Timestamptz { precision: 6 }, &[0; 8])]
#[case(Value::DateTime(946_684_800_000), ColumnType::Date, &[0; 4])]
#[case(Value::Int32(1), NUMERIC, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 1])]
#[case::jsonb_version(Value::Int32(1), ColumnType::Jsonb, b"\x011")]
#[case::json(Value::Int32(1), ColumnType::Json, b"1")]
#[case::bytea(Value::Binary { subtype: 0, bytes: &[0, 255] }, ColumnType::Bytea, &[0, 255])]
#[case::domain(Value::Int32(1), ColumnType::Domain(Box::new(ColumnType::Int4)), &[0, 0, 0, 1])]
#[case::label(Value::String(b"active"), status(), b"active")]
#[case::time(Value::String(b"00:00:01"), ColumnType::Time { precision: 6 }, &[0, 0, 0, 0, 0, 15, 66, 64])]
#[case::timetz(Value::String(b"00:00+01"), ColumnType::Timetz { precision: 6 }, &[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xf1, 0xf0])]
#[case::interval(Value::String(b"P1M2DT-1S"), interval(6), &[0xff, 0xff, 0xff, 0xff, 0xff, 0xf0, 0xbd, 0xc0, 0, 0, 0, 2, 0, 0, 0, 1])]
#[case::point(Value::String(b"(1,-2)"), ColumnType::Point, &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0])]
#[case::money(Value::Int32(3), ColumnType::Money { scale: 2 }, &[0, 1, 0, 0, 0, 0, 0, 2, 0, 3])]
fn binary_forms(#[case] value: Value<'_>, #[case] kind: ColumnType, #[case] expected: &[u8]) {
    assert_eq!(written(value, &kind).as_deref(), Ok(expected));
}

#[rstest]
#[case::input_031_nul(Value::String(b"a\0b"), ColumnType::Text, Reason::NulInText)]
#[case::input_032_nul_only(Value::String(b"\0"), ColumnType::Citext, Reason::NulInText)]
#[case::input_035_lone_surrogate(Value::String(&[0xed, 0xa0, 0x80]), ColumnType::Text, Reason::BadUtf8)]
#[case::input_037_overlong(Value::String(&[0xc0, 0x80]), ColumnType::Text, Reason::BadUtf8)]
#[case::input_038_no_utf8(Value::String(&[0xff]), ColumnType::Text, Reason::BadUtf8)]
#[case::input_039_cut(Value::String(&[0xf0, 0x9f, 0xa6]), ColumnType::Text, Reason::BadUtf8)]
#[case::input_046_too_long(Value::String(b"abcd"), ColumnType::Varchar(Some(3)), Reason::TooLong)]
#[case::input_046_trailing_space(Value::String(b"abc "), ColumnType::Varchar(Some(3)), Reason::TooLong)]
#[case::input_046_char(Value::String(b"abcd"), ColumnType::Bpchar(Some(3)), Reason::TooLong)]
#[case::input_049_text_date(Value::String(b"2020-02-30"), ColumnType::Date, Reason::TypeMismatch)]
#[case::input_050_text_number(Value::String(b" 12 "), ColumnType::Int4, Reason::TypeMismatch)]
#[case::input_051_text_boolean(Value::String(b"maybe"), ColumnType::Bool, Reason::TypeMismatch)]
#[case::input_052_no_uuid(Value::String(b"zz"), ColumnType::Uuid, Reason::TypeMismatch)]
#[case::input_053_empty(Value::String(b""), ColumnType::Int4, Reason::TypeMismatch)]
#[case::input_055_no_label(Value::String(b"ACTIVE"), status(), Reason::TypeMismatch)]
#[case::input_059_smallint(Value::Int32(70_000), ColumnType::Int2, Reason::RangeInt)]
#[case::input_060_integer(Value::Double(3e9), ColumnType::Int4, Reason::RangeInt)]
#[case::input_063_fraction(Value::Double(1.5), ColumnType::Int4, Reason::Lossy)]
#[case::input_067_infinite(Value::Double(f64::INFINITY), numeric(10, 2), Reason::NonFinite)]
#[case::input_075_range(decimal("9.99E+6144"), numeric(38, 9), Reason::RangeNum)]
#[case::input_076_places(Value::Double(1.005), numeric(10, 2), Reason::Lossy)]
#[case::input_077_tiny(Value::Double(1e-9), numeric(10, 2), Reason::Lossy)]
#[case::input_080_range(decimal("1E+6144"), ColumnType::Float8, Reason::RangeNum)]
#[case::input_083_number_boolean(Value::Int32(1), ColumnType::Bool, Reason::TypeMismatch)]
#[case::input_084_timestamp(Value::Timestamp { t: u32::MAX, i: 1 }, ColumnType::Int8, Reason::TypeMismatch)]
#[case::input_086_date(Value::DateTime(i64::MIN), ColumnType::Timestamptz { precision: 6 }, Reason::RangeTs)]
#[case::input_090_date(Value::DateTime(9_224_318_016_000_000), ColumnType::Timestamp { precision: 6 }, Reason::RangeTs)]
#[case::input_095_seconds(Value::DateTime(1), ColumnType::Timestamptz { precision: 0 }, Reason::Lossy)]
#[case::input_097_seconds_as_number(Value::Int64(1_600_000_000), ColumnType::Timestamptz { precision: 6 }, Reason::TypeMismatch)]
#[case::input_105_min_key(Value::MinKey, ColumnType::Text, Reason::TypeMismatch)]
#[case::boolean_text(Value::Bool(true), ColumnType::Text, Reason::TypeMismatch)]
#[case::legacy_uuid(Value::Binary { subtype: 3, bytes: &[1; 16] }, ColumnType::Uuid, Reason::TypeMismatch)]
#[case::object_id_uuid(Value::ObjectId([1; 12]), ColumnType::Uuid, Reason::TypeMismatch)]
#[case::input_057_058_other(Value::Bool(true), other("inet"), Reason::TypeMismatch)]
#[case::other_document(Value::Document(Raw::new(&[5, 0, 0, 0, 0])), other("inet"), Reason::TypeMismatch)]
#[case::other_nul(Value::String(b"a\0"), other("xml"), Reason::NulInText)]
#[case::time_now(Value::String(b"now"), ColumnType::Time { precision: 6 }, Reason::TypeMismatch)]
#[case::time_with_zone(Value::String(b"12:00+01"), ColumnType::Time { precision: 6 }, Reason::TypeMismatch)]
#[case::time_digits(Value::String(b"12:00:00.25"), ColumnType::Time { precision: 1 }, Reason::Lossy)]
#[case::time_date(Value::DateTime(0), ColumnType::Time { precision: 6 }, Reason::TypeMismatch)]
#[case::timetz_without_zone(Value::String(b"12:00"), ColumnType::Timetz { precision: 6 }, Reason::TypeMismatch)]
#[case::interval_digits(Value::String(b"1.25 s"), interval(1), Reason::Lossy)]
#[case::interval_number(Value::Int32(5), interval(6), Reason::TypeMismatch)]
#[case::too_many_bits(Value::String(b"1111"), ColumnType::Bit(3), Reason::TooLong)]
#[case::too_few_bits(Value::String(b"11"), ColumnType::Bit(3), Reason::TypeMismatch)]
#[case::varbit_too_long(Value::String(b"1111"), ColumnType::Varbit(Some(3)), Reason::TooLong)]
#[case::no_bits(Value::String(b"x1f"), ColumnType::Varbit(None), Reason::TypeMismatch)]
#[case::money_digits(Value::Double(1.005), ColumnType::Money { scale: 2 }, Reason::Lossy)]
#[case::money_range(Value::Double(1e17), ColumnType::Money { scale: 2 }, Reason::RangeNum)]
#[case::money_text(Value::String(b"$1.50"), ColumnType::Money { scale: 2 }, Reason::TypeMismatch)]
#[case::money_nan(Value::Double(f64::NAN), ColumnType::Money { scale: 2 }, Reason::NonFinite)]
#[case::hstore_syntax(Value::String(b"a"), ColumnType::Hstore, Reason::TypeMismatch)]
#[case::hstore_nul(Value::String(b"a=>\0"), ColumnType::Hstore, Reason::NulInText)]
#[case::ltree_syntax(Value::String(b"a..b"), ColumnType::Ltree, Reason::TypeMismatch)]
#[case::tsvector_syntax(Value::String(b"a:x"), ColumnType::Tsvector, Reason::TypeMismatch)]
#[case::range_syntax(Value::String(b"[1"), range(), Reason::TypeMismatch)]
#[case::uuid_in_other_subtype(Value::Binary { subtype: 0, bytes: &[1; 16] }, ColumnType::Uuid, Reason::TypeMismatch)]
fn refusals(#[case] value: Value<'_>, #[case] kind: ColumnType, #[case] expected: Reason) {
    assert_eq!(written(value, &kind), Err(expected));
}

#[rstest]
#[case::input_041_emoji(Value::String("🦀🦀🦀".as_bytes()), ColumnType::Varchar(Some(3)), "🦀🦀🦀")]
#[case::input_042_bidi(Value::String("\u{202e}".as_bytes()), ColumnType::Text, "\u{202e}")]
#[case::input_043_escapes(Value::String(b"\x1b[31m\r\n"), ColumnType::Text, "\x1b[31m\r\n")]
#[case::input_047_padded(Value::String(b"a"), ColumnType::Bpchar(Some(3)), "a")]
#[case::input_048_words(Value::String(b"NaN"), ColumnType::Text, "NaN")]
#[case::input_054_quotes(Value::String(b"'; DROP TABLE x; --"), ColumnType::Text, "'; DROP TABLE x; --")]
#[case::input_064_whole(Value::Double(3.0), ColumnType::Int4, "3")]
#[case::input_066_nan(Value::Double(f64::NAN), NUMERIC, "NaN")]
#[case::input_066_nan_limited(Value::Double(f64::NAN), numeric(10, 2), "NaN")]
#[case::input_066_nan_double(Value::Double(f64::NAN), ColumnType::Float8, "NaN")]
#[case::input_067_infinite(Value::Double(f64::NEG_INFINITY), NUMERIC, "-Infinity")]
#[case::whole_double(Value::Double(4_611_686_018_427_387_904.0), NUMERIC, "4611686018427387904")]
#[case::whole_double_of_any_size(
    Value::Double(6.805_647_338_418_77e38),
    NUMERIC,
    "680564733841876926926749214863536422912e0"
)]
#[case::input_069_small(Value::Double(5e-324), NUMERIC, "5E-324")]
#[case::input_081_integer_text(Value::Int32(1), ColumnType::Text, "1")]
#[case::input_082_double_text(Value::Double(0.1), ColumnType::Text, "0.1")]
#[case::input_084_timestamp(Value::Timestamp { t: 1 << 31, i: 1 }, NUMERIC, "9223372036854775809")]
#[case::input_085_scale(decimal("1.10"), NUMERIC, "1.10")]
#[case::input_088_year_10000(Value::DateTime(253_402_300_800_000), ColumnType::Timestamp { precision: 6 }, "10000-01-01 00:00:00.000000")]
#[case::input_093_before_1970(Value::DateTime(-1), ColumnType::Timestamptz { precision: 3 }, "1969-12-31 23:59:59.999000+00")]
#[case::input_094_date(Value::DateTime(-1), ColumnType::Date, "1969-12-31")]
#[case::input_099_timestamp(Value::Timestamp { t: u32::MAX, i: u32::MAX }, NUMERIC, "18446744073709551615")]
#[case::input_101_symbol(Value::Symbol(b"s"), ColumnType::Text, "s")]
#[case::input_103_code(Value::Code(b"f()"), ColumnType::Text, "f()")]
#[case::input_106_regex(Value::Regex { pattern: b"^a", options: b"zx" }, ColumnType::Text, "/^a/zx")]
#[case::input_108_encrypted(Value::Binary { subtype: 6, bytes: &[1] }, ColumnType::Bytea, "\\x01")]
#[case::object_id(Value::ObjectId([0xab; 12]), ColumnType::Text, "abababababababababababab")]
#[case::decimal_text(decimal("1.10"), ColumnType::Text, "1.10")]
#[case::uuid_text(
    Value::String(b"C02BB386-0C9E-5F4E-A2B9-7E8F3A6D1C05"),
    ColumnType::Uuid,
    "c02bb386-0c9e-5f4e-a2b9-7e8f3a6d1c05"
)]
#[case::real(Value::Double(0.1), ColumnType::Float4, "0.1")]
#[case::widened_real(Value::Double(0.100_000_001_490_116_12), ColumnType::Float4, "0.1")]
#[case::time(Value::String(b"23:59:59.5"), ColumnType::Time { precision: 1 }, "23:59:59.500000")]
#[case::timetz(Value::String(b"12:30-02:30"), ColumnType::Timetz { precision: 6 }, "12:30:00.000000-02:30:00")]
#[case::interval(Value::String(b"1 day 02:00"), interval(0), "P0M1DT7200.000000S")]
#[case::bits(Value::String(b"101"), ColumnType::Bit(3), "101")]
#[case::varbit(Value::String(b""), ColumnType::Varbit(Some(3)), "")]
#[case::money(Value::Double(-1.5), ColumnType::Money { scale: 2 }, "-150e-2")]
#[case::smallest_money(decimal("-92233720368547758.08"), ColumnType::Money { scale: 2 }, "-9223372036854775808e-2")]
#[case::inet(Value::String(b"10.0.0.1"), other("inet"), "10.0.0.1")]
#[case::oid(Value::Int32(5), other("oid"), "5")]
#[case::range(Value::String(b"[1,5)"), range(), r#"["1","5")"#)]
#[case::hstore(Value::String(b"a=>1"), ColumnType::Hstore, "a=>1")]
#[case::ltree(Value::String(b"a.b"), ColumnType::Ltree, "a.b")]
#[case::tsvector(Value::String(b"a:1"), ColumnType::Tsvector, "a:1")]
fn conversions(#[case] value: Value<'_>, #[case] kind: ColumnType, #[case] expected: &str) {
    assert_eq!(shown(value, &kind).as_deref(), Ok(expected));
}

#[test]
fn losses_are_counted() {
    let mut losses = Losses::default();
    let mut out = Vec::new();
    for (value, kind) in [
        (Value::Double(-0.0), ColumnType::Int4),
        (Value::Double(-0.0), NUMERIC),
        (Value::Double(-0.0), ColumnType::Float8),
        (decimal("-0E-6176"), NUMERIC),
        (Value::DateTime(1), ColumnType::Date),
        (Value::Binary { subtype: 6, bytes: &[] }, ColumnType::Bytea),
    ] {
        write(value, &kind, None, &REFUSING, &mut losses, &mut out).expect("converted");
    }
    assert_eq!([Loss::ZeroSign, Loss::TimeOfDay, Loss::BinarySubtype].map(|loss| losses.of(loss)), [3, 1, 1]);
}

#[test]
fn input_044_045_sixteen_mebibytes() {
    let text = vec![1; 16 << 20];
    assert_eq!(written(Value::String(&text), &ColumnType::Text).map(|out| out.len()), Ok(text.len()));
}

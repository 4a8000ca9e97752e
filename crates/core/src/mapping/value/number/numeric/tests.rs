use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn parse(text: &str) -> Decimal {
    Decimal::from_bson(text.parse().expect("a decimal"))
}

fn binary(value: Decimal) -> Vec<u8> {
    let mut out = Vec::new();
    write_binary(value, &mut out);
    out
}

fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

/// Prints the binary form the long way, digit by digit, as PostgreSQL's `get_str_from_var` does.
fn printed(bytes: &[u8]) -> String {
    let words = words(bytes);
    let (weight, sign, scale) = (i32::from(words[1] as i16), words[2], usize::from(words[3]));
    match sign {
        0xc000 => return "NaN".to_owned(),
        0xd000 => return "Infinity".to_owned(),
        0xf000 => return "-Infinity".to_owned(),
        _ => {}
    }
    let digit = |power: i32| {
        let at = weight - power;
        usize::try_from(at).ok().and_then(|at| words[4..].get(at)).copied().unwrap_or(0)
    };
    let whole: String = (0..=weight.max(0)).rev().map(|power| format!("{:04}", digit(power))).collect();
    let whole = whole.trim_start_matches('0');
    let mut fraction: String =
        (0..scale.div_ceil(4)).map(|at| format!("{:04}", digit(-1 - i32::try_from(at).expect("small")))).collect();
    fraction.truncate(scale);
    let sign = if sign == 0x4000 { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Coefficient and exponent written out without an exponent, by moving the point in the text.
fn plain(negative: bool, coefficient: u128, exponent: i32) -> String {
    let mut digits = coefficient.to_string();
    if exponent > 0 && coefficient != 0 {
        digits.push_str(&"0".repeat(exponent.unsigned_abs() as usize));
    }
    let places = (-exponent).max(0).unsigned_abs() as usize;
    while digits.len() <= places {
        digits.insert(0, '0');
    }
    if places > 0 {
        digits.insert(digits.len() - places, '.');
    }
    if negative && coefficient != 0 { format!("-{digits}") } else { digits }
}

// Digits as `SELECT numeric_send(…)` of PostgreSQL 15 gives them.
#[rstest]
#[case("0", &[0, 0, 0, 0])]
#[case("1", &[1, 0, 0, 0, 1])]
#[case("-1", &[1, 0, 0x4000, 0, 1])]
#[case("12345678", &[2, 1, 0, 0, 1234, 5678])]
#[case("10000", &[1, 1, 0, 0, 1])]
#[case("0.0001", &[1, 0xffff, 0, 4, 1])]
#[case("1.10", &[2, 0, 0, 2, 1, 1000])]
#[case("123.45", &[2, 0, 0, 2, 123, 4500])]
#[case("1E+4", &[1, 1, 0, 0, 1])]
fn binary_form(#[case] value: &str, #[case] expected: &[u16]) {
    assert_eq!(words(&binary(parse(value))), expected);
}

#[test]
fn input_070_one_and_6144_zeros() {
    assert_eq!(printed(&binary(parse("1E+6144"))), format!("1{}", "0".repeat(6144)));
}

#[test]
fn input_071_the_smallest_decimal() {
    assert_eq!(printed(&binary(parse("1E-6176"))), format!("0.{}1", "0".repeat(6175)));
}

#[test]
fn input_072_negative_zero_loses_its_sign() {
    assert!(is_negative_zero(parse("-0E-6176")));
    assert_eq!(words(&binary(parse("-0E-6176"))), [0, 0, 0, 6176]);
}

#[rstest]
#[case("NaN", "NaN")]
#[case("-NaN", "NaN")]
#[case("Infinity", "Infinity")]
#[case("-Infinity", "-Infinity")]
fn input_073_074_decimals_that_are_no_numbers(#[case] value: &str, #[case] expected: &str) {
    assert_eq!(printed(&binary(parse(value))), expected);
    assert_eq!(text(parse(value)), expected);
}

#[test]
fn input_078_a_non_canonical_decimal_is_zero() {
    let mut bytes = [0xff; 16];
    bytes[15] = 0x30;
    let value = Decimal::from_bson(bson::Decimal128::from_bytes(bytes));
    assert!(matches!(value, Decimal::Finite { coefficient: 0, .. }));
}

#[rstest]
#[case::input_063_fraction(Value::Double(1.5), Err(Reason::Lossy))]
#[case::input_064_whole_double(Value::Double(3.0), Ok(3))]
#[case::input_061_smallest(Value::Int64(i64::MIN), Ok(i64::MIN))]
#[case::smallest_double(Value::Double(i64::MIN as f64), Ok(i64::MIN))]
#[case::two_to_63(Value::Double(9_223_372_036_854_775_808.0), Err(Reason::RangeInt))]
#[case::nan(Value::Double(f64::NAN), Err(Reason::NonFinite))]
#[case::infinity(Value::Double(f64::INFINITY), Err(Reason::NonFinite))]
#[case::negative_zero(Value::Double(-0.0), Ok(0))]
#[case::input_050_text(Value::String(b" 12 "), Err(Reason::TypeMismatch))]
#[case::input_053_empty_text(Value::String(b""), Err(Reason::TypeMismatch))]
#[case::boolean(Value::Bool(true), Err(Reason::TypeMismatch))]
fn whole_numbers(#[case] value: Value<'_>, #[case] expected: Result<i64, Reason>) {
    assert_eq!(integer(value), expected);
}

#[rstest]
#[case("3.00", Ok(3))]
#[case("3.5", Err(Reason::Lossy))]
#[case("1E-6176", Err(Reason::Lossy))]
#[case("1E+6144", Err(Reason::RangeInt))]
#[case("-9223372036854775808", Ok(i64::MIN))]
#[case("9223372036854775808", Err(Reason::RangeInt))]
#[case("0E+6000", Ok(0))]
#[case("NaN", Err(Reason::NonFinite))]
fn whole_decimals(#[case] value: &str, #[case] expected: Result<i64, Reason>) {
    assert_eq!(integer(Value::Decimal(value.parse().expect("a decimal"))), expected);
}

#[rstest]
#[case("0.1", Ok(0.1))]
#[case("1.50", Ok(1.5))]
#[case("1E+6144", Err(Reason::RangeNum))]
#[case("1E-6176", Err(Reason::Lossy))]
#[case("0.1000000000000000055", Err(Reason::Lossy))]
#[case("12345678901234567890", Err(Reason::Lossy))]
fn input_080_decimals_into_doubles(#[case] value: &str, #[case] expected: Result<f64, Reason>) {
    assert_eq!(double(Value::Decimal(value.parse().expect("a decimal"))), expected);
}

#[rstest]
#[case(Value::Int64(1 << 53), Ok(9_007_199_254_740_992.0))]
#[case::input_062_beyond_the_mantissa(Value::Int64((1 << 53) + 1), Err(Reason::Lossy))]
#[case(Value::Int64(i64::MAX), Err(Reason::Lossy))]
#[case(Value::Int32(-7), Ok(-7.0))]
fn integers_into_doubles(#[case] value: Value<'_>, #[case] expected: Result<f64, Reason>) {
    assert_eq!(double(value), expected);
}

#[rstest]
#[case(0.1, Ok(0.1))]
#[case(1.000_000_1, Ok(1.000_000_1))]
#[case(1.000_000_000_1, Err(Reason::Lossy))]
#[case(1e39, Err(Reason::RangeNum))]
#[case(1e-60, Err(Reason::Lossy))]
#[case(f64::INFINITY, Ok(f32::INFINITY))]
#[case(16_777_217.0, Err(Reason::Lossy))]
fn doubles_into_reals(#[case] value: f64, #[case] expected: Result<f32, Reason>) {
    assert_eq!(single(Value::Double(value)), expected);
}

#[rstest]
#[case::input_075_too_large("9.99E+6144", 38, 9, Err(Reason::RangeNum))]
#[case::input_076_too_many_places("1.005", 10, 2, Err(Reason::Lossy))]
#[case::input_077_would_be_zero("1E-9", 10, 2, Err(Reason::Lossy))]
#[case::input_067_infinite("Infinity", 10, 2, Err(Reason::NonFinite))]
#[case::input_066_nan("NaN", 10, 2, Ok(()))]
#[case("99999999.99", 10, 2, Ok(()))]
#[case("100000000.00", 10, 2, Err(Reason::RangeNum))]
#[case("1.100", 10, 2, Ok(()))]
#[case("0E-6176", 1, 0, Ok(()))]
#[case("1200", 2, -2, Ok(()))]
#[case("1250", 2, -2, Err(Reason::Lossy))]
#[case("0.001", 2, 3, Ok(()))]
#[case("0.1", 2, 3, Err(Reason::RangeNum))]
fn limits(#[case] value: &str, #[case] precision: u16, #[case] scale: i16, #[case] expected: Result<(), Reason>) {
    assert_eq!(fits(parse(value), precision, scale), expected);
}

#[rstest]
#[case(3.0, "3")]
#[case(0.1, "0.1")]
#[case::input_069(5e-324, "5e-324")]
#[case(1_700_000_000_000.0, "1700000000000")]
#[case(-0.0, "-0")]
#[case(1e21, "1000000000000000000000")]
#[case(4_611_686_018_427_387_904.0, "4611686018427387904")]
#[case(-4_611_686_018_427_387_904.0, "-4611686018427387904")]
// Python: int(1e23), int(3.4028234663852886e38), int(2.0**128).
#[case(1e23, "99999999999999991611392")]
#[case(3.402_823_466_385_288_6e38, "340282346638528859811704183484516925440")]
#[case(DECIMAL_END, "340282366920938463463374607431768211456")]
#[case(f64::NAN, "NaN")]
#[case(f64::NEG_INFINITY, "-Infinity")]
fn input_082_digits_of_a_double(#[case] value: f64, #[case] expected: &str) {
    assert_eq!(double_text(value), expected);
    if value.is_finite() && !exceeds_decimal(value) && value != 0.0 && value.fract() == 0.0 {
        assert_eq!(text(of_double(value)), expected);
    }
}

#[rstest]
#[case("4611686018427387904", Ok(4_611_686_018_427_387_904.0))]
#[case::prints_the_same("4611686018427388000", Ok(4_611_686_018_427_387_904.0))]
#[case::neither("4611686018427387905", Err(Reason::Lossy))]
#[case("1E+23", Ok(1e23))]
#[case("99999999999999991611392", Ok(1e23))]
fn decimals_that_a_double_is_or_prints(#[case] value: &str, #[case] expected: Result<f64, Reason>) {
    assert_eq!(double(Value::Decimal(value.parse().expect("a decimal"))), expected);
}

proptest! {
    #[test]
    fn binary_form_prints_every_digit(negative: bool, coefficient in 0..10u128.pow(34), exponent in -6176..=6111i32) {
        let value = Decimal::Finite { negative, coefficient, exponent };
        prop_assert_eq!(printed(&binary(value)), plain(negative, coefficient, exponent));
    }

    #[test]
    fn text_reads_back(negative: bool, coefficient in 0..10u128.pow(34), exponent in -6176..=6111i32) {
        let value = Decimal::Finite { negative, coefficient, exponent };
        prop_assert_eq!(parse(&text(value)), value);
    }

    #[test]
    fn doubles_keep_their_digits(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
        prop_assert_eq!(text(of_double(value)).parse::<f64>().expect("a number"), value);
        prop_assert_eq!(double_text(value).parse::<f64>().expect("a number"), value);
    }

    #[test]
    fn integers_keep_their_digits(value: i64) {
        prop_assert_eq!(printed(&binary(of_integer(value))), value.to_string());
    }

    #[test]
    fn a_whole_double_is_the_integer_it_equals(value: i64) {
        let double = value as f64;
        prop_assume!(double < i64::MAX as f64);
        let whole = (double as i64).to_string();
        prop_assert_eq!(integer(Value::Double(double)).expect("whole").to_string(), whole.clone());
        prop_assert_eq!(printed(&binary(of_double(double))), whole.clone());
        prop_assert_eq!(double_text(double), whole);
    }
}

//! Numbers: exact comparison of what MongoDB stores with what a PostgreSQL type can hold.
//!
//! Every number is brought to [`Decimal`] (sign, coefficient, exponent) where it must be exact. A double that is whole is
//! that whole number, with all its digits; any other double becomes its shortest decimal digits that read back as the
//! same double. This one rule holds wherever a double becomes digits: numbers, texts, JSON, keys, comparisons. Columns of
//! doubles hold the double itself.
//!
//! Source: `numeric_recv` and `numeric_in` of PostgreSQL for the binary form and its limits.

use crate::mapping::value::raw::Value;
use crate::model::{Decimal, Reason};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const NEGATIVE_INFINITY: u16 = 0xf000;

/// The number that a value is; `None` for what is no number.
pub(crate) fn decimal(value: Value<'_>) -> Option<Decimal> {
    match value {
        Value::Int32(value) => Some(of_integer(i64::from(value))),
        Value::Int64(value) => Some(of_integer(value)),
        Value::Double(value) => Some(of_double(value)),
        Value::Decimal(value) => Some(Decimal::from_bson(value)),
        _ => None,
    }
}

/// An integer as a decimal.
pub(crate) fn of_integer(value: i64) -> Decimal {
    Decimal::Finite { negative: value < 0, coefficient: u128::from(value.unsigned_abs()), exponent: 0 }
}

/// First double with more digits than a [`Decimal`] has room for: 2^128.
const DECIMAL_END: f64 = 340_282_366_920_938_463_463_374_607_431_768_211_456.0;

/// Whether a double is a whole number of more digits than a [`Decimal`] has room for; [`of_double`] rounds those.
pub(crate) fn exceeds_decimal(value: f64) -> bool {
    value.is_finite() && value.abs() >= DECIMAL_END
}

/// A double: a whole one exactly, any other by its shortest digits.
pub(crate) fn of_double(value: f64) -> Decimal {
    if value.fract() == 0.0 && value.abs() < DECIMAL_END {
        return Decimal::Finite { negative: value.is_sign_negative(), coefficient: value.abs() as u128, exponent: 0 };
    }
    shortest(value)
}

/// A double by the shortest digits that read back as the same double.
fn shortest(value: f64) -> Decimal {
    if value.is_nan() {
        return Decimal::NaN;
    }
    let negative = value.is_sign_negative();
    if value.is_infinite() {
        return Decimal::Infinite { negative };
    }
    // `d.ddde±x`: at most 17 digits, so the coefficient fits; the exponent is that of the first digit.
    let text = format!("{:e}", value.abs());
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let coefficient =
        digits.bytes().filter(u8::is_ascii_digit).fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    let fraction = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let exponent = exponent.parse::<i32>().unwrap_or(0) - i32::try_from(fraction).unwrap_or(0);
    Decimal::Finite { negative, coefficient, exponent }
}

/// Whether it is a zero with a minus sign, which numeric, integers and JSON do not know.
pub(crate) fn is_negative_zero(value: Decimal) -> bool {
    matches!(value, Decimal::Finite { negative: true, coefficient: 0, .. })
}

/// The whole number that a value is.
///
/// # Errors
/// `TYPE_MISMATCH` for what is no number, `NONFINITE`, `LOSSY` for a fraction, `RANGE_INT` beyond 64 bits.
pub(crate) fn integer(value: Value<'_>) -> Result<i64, Reason> {
    let (negative, coefficient, exponent) = match value {
        Value::Int32(value) => return Ok(i64::from(value)),
        Value::Int64(value) => return Ok(value),
        // By its exact binary value: shortest digits would round beyond 2^53.
        Value::Double(value) if value.is_finite() => {
            let bound = -(i64::MIN as f64);
            return match value {
                _ if value.fract() != 0.0 => Err(Reason::Lossy),
                _ if value < -bound || value >= bound => Err(Reason::RangeInt),
                _ => Ok(value as i64),
            };
        }
        _ => match decimal(value).ok_or(Reason::TypeMismatch)? {
            Decimal::Finite { negative, coefficient, exponent } => (negative, coefficient, exponent),
            Decimal::Infinite { .. } | Decimal::NaN => return Err(Reason::NonFinite),
        },
    };
    if coefficient == 0 {
        return Ok(0);
    }
    let power = power_of_ten(exponent.unsigned_abs());
    let magnitude = if exponent < 0 {
        match power {
            Some(power) if coefficient.is_multiple_of(power) => coefficient / power,
            _ => return Err(Reason::Lossy),
        }
    } else {
        power.and_then(|power| coefficient.checked_mul(power)).ok_or(Reason::RangeInt)?
    };
    let magnitude = i128::try_from(magnitude).map_err(|_| Reason::RangeInt)?;
    i64::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| Reason::RangeInt)
}

/// The double that a value is, where both are the same number or print the same digits.
///
/// # Errors
/// `TYPE_MISMATCH` for what is no number, `RANGE_NUM` beyond the largest double, `LOSSY` where digits would be lost.
pub(crate) fn double(value: Value<'_>) -> Result<f64, Reason> {
    let exact = match value {
        Value::Double(value) => return Ok(value),
        Value::Int32(value) => return Ok(f64::from(value)),
        _ => decimal(value).ok_or(Reason::TypeMismatch)?,
    };
    let near = match exact {
        Decimal::NaN => return Ok(f64::NAN),
        Decimal::Infinite { negative: false } => return Ok(f64::INFINITY),
        Decimal::Infinite { negative: true } => return Ok(f64::NEG_INFINITY),
        Decimal::Finite { .. } => text(exact).parse::<f64>().map_err(|_| Reason::Lossy)?,
    };
    if near.is_infinite() {
        return Err(Reason::RangeNum);
    }
    let same = match value {
        Value::Int64(value) => near as i128 == i128::from(value),
        _ => [of_double(near), shortest(near)].into_iter().any(|near| normalised(near) == normalised(exact)),
    };
    if same { Ok(near) } else { Err(Reason::Lossy) }
}

/// The single-precision number that a value is, where both are the same number or print the same digits.
///
/// # Errors
/// As [`double`].
pub(crate) fn single(value: Value<'_>) -> Result<f32, Reason> {
    narrowed(double(value)?)
}

/// The single-precision number that a double is, see [`single`].
///
/// # Errors
/// `RANGE_NUM`, `LOSSY`.
pub(crate) fn narrowed(wide: f64) -> Result<f32, Reason> {
    let narrow = wide as f32;
    if !wide.is_finite() || f64::from(narrow) == wide {
        return Ok(narrow);
    }
    if narrow.is_infinite() {
        return Err(Reason::RangeNum);
    }
    let printed = format!("{narrow:e}").parse::<f64>().map_err(|_| Reason::Lossy)?;
    if printed == wide { Ok(narrow) } else { Err(Reason::Lossy) }
}

/// Whether `numeric(precision, scale)` holds the number as it is.
///
/// # Errors
/// `NONFINITE` for an infinity, `LOSSY` for digits beyond the scale, `RANGE_NUM` for too many before it.
pub(crate) fn fits(value: Decimal, precision: u16, scale: i16) -> Result<(), Reason> {
    let (coefficient, exponent) = match value {
        Decimal::NaN => return Ok(()),
        Decimal::Infinite { .. } => return Err(Reason::NonFinite),
        Decimal::Finite { coefficient, exponent, .. } => (coefficient, exponent),
    };
    if coefficient == 0 {
        return Ok(());
    }
    let (coefficient, exponent) = stripped(coefficient, exponent);
    if exponent + digits(coefficient) > i32::from(precision) - i32::from(scale) {
        return Err(Reason::RangeNum);
    }
    if exponent < -i32::from(scale) { Err(Reason::Lossy) } else { Ok(()) }
}

/// Appends the binary form of `numeric`, scale kept.
pub(crate) fn write_binary(value: Decimal, out: &mut Vec<u8>) {
    let mut head = |count: usize, weight: i32, sign: u16, scale: i32| {
        // A Decimal128 has at most 10 digits of base 10,000, a weight within ±1,550 and a scale up to 6,176.
        for part in [count as u16, weight as i16 as u16, sign, scale as u16] {
            out.extend_from_slice(&part.to_be_bytes());
        }
    };
    let (negative, coefficient, exponent) = match value {
        Decimal::NaN => return head(0, 0, NAN, 0),
        Decimal::Infinite { negative: false } => return head(0, 0, INFINITY, 0),
        Decimal::Infinite { negative: true } => return head(0, 0, NEGATIVE_INFINITY, 0),
        Decimal::Finite { negative, coefficient, exponent } => (negative, coefficient, exponent),
    };
    let scale = (-exponent).max(0);
    if coefficient == 0 {
        return head(0, 0, POSITIVE, scale);
    }
    // Make the exponent a multiple of four; 34 digits and three more fit 128 bits.
    let shift = exponent.rem_euclid(4);
    let mut rest = coefficient * 10u128.pow(shift.unsigned_abs());
    let mut power = (exponent - shift) / 4;
    while rest.is_multiple_of(10_000) {
        rest /= 10_000;
        power += 1;
    }
    let mut digits = [0u16; 10];
    let mut count = 0;
    while rest > 0 {
        digits[count] = (rest % 10_000) as u16;
        rest /= 10_000;
        count += 1;
    }
    head(count, power + count as i32 - 1, if negative { NEGATIVE } else { POSITIVE }, scale);
    for digit in digits[..count].iter().rev() {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

/// The number as text, every digit and the scale kept: `1.10`, `1E+6144`, `NaN`, `-Infinity`. A finite one is also JSON.
pub(crate) fn text(value: Decimal) -> String {
    let (negative, coefficient, exponent) = match value {
        Decimal::NaN => return "NaN".to_owned(),
        Decimal::Infinite { negative: false } => return "Infinity".to_owned(),
        Decimal::Infinite { negative: true } => return "-Infinity".to_owned(),
        Decimal::Finite { negative, coefficient, exponent } => (negative, coefficient, exponent),
    };
    let sign = if negative { "-" } else { "" };
    let digits = coefficient.to_string();
    let adjusted = exponent + digits.len() as i32 - 1;
    if exponent > 0 || adjusted < -6 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}E{adjusted:+}");
    }
    if exponent == 0 {
        return format!("{sign}{digits}");
    }
    let places = exponent.unsigned_abs() as usize;
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    format!("{sign}{whole}.{fraction}")
}

/// A double as text: a whole one with all its digits, any other as [`shortest_text`]. A finite one is also JSON.
pub(crate) fn double_text(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { shortest_text(value) }
}

/// The shortest digits that read back as the same double, without a `.0`: for columns that hold doubles themselves.
pub(crate) fn shortest_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let mut text = format!("{value:?}");
    if text.ends_with(".0") {
        text.truncate(text.len() - 2);
    }
    text
}

/// Characters that PostgreSQL needs to print the number: it knows no exponents.
pub(crate) fn printed_length(value: Decimal) -> usize {
    match value {
        Decimal::Finite { coefficient, exponent, .. } => {
            digits(coefficient).unsigned_abs() as usize + exponent.unsigned_abs() as usize
        }
        Decimal::Infinite { .. } | Decimal::NaN => 0,
    }
}

fn normalised(value: Decimal) -> Decimal {
    match value {
        Decimal::Finite { coefficient: 0, .. } => of_integer(0),
        Decimal::Finite { negative, coefficient, exponent } => {
            let (coefficient, exponent) = stripped(coefficient, exponent);
            Decimal::Finite { negative, coefficient, exponent }
        }
        other => other,
    }
}

/// Without trailing zeros. The coefficient is not zero.
fn stripped(mut coefficient: u128, mut exponent: i32) -> (u128, i32) {
    while coefficient != 0 && coefficient.is_multiple_of(10) {
        coefficient /= 10;
        exponent += 1;
    }
    (coefficient, exponent)
}

fn digits(coefficient: u128) -> i32 {
    coefficient.checked_ilog10().map_or(1, |log| log as i32 + 1)
}

fn power_of_ten(exponent: u32) -> Option<u128> {
    10u128.checked_pow(exponent)
}

#[cfg(test)]
mod tests;

//! Numbers into number columns, with what the column's policies allow.
//!
//! The plain conversion is tried first and is all that most values need (see `numeric`). Values that it refuses come here: a text
//! where `coerce` takes texts, digits where `round` gives some up, a range where `clamp` knows its ends. From then on the
//! number is [`Digits`], and no binary fraction is on the way.

pub(crate) mod digits;
pub(crate) mod numeric;

use super::{
    number::digits::Digits,
    policy::{Policy, REFUSING},
    raw::Value,
    scalar::Scalar,
    text::utf8,
};
use crate::mapping::{Loss, Losses, target::ColumnType};
use crate::model::{Decimal, Reason};

/// The number that a value is, before the column limits it.
enum Number {
    Finite(Digits),
    Infinite { negative: bool },
    NaN,
}

/// A whole number between `low` and `high`.
///
/// # Errors
/// `TYPE_MISMATCH`, `NONFINITE`, `LOSSY` for a fraction, `RANGE_INT`.
pub(crate) fn whole(
    value: Value<'_>,
    (low, high): (i64, i64),
    policy: &Policy,
    losses: &mut Losses,
) -> Result<i64, Reason> {
    let reason = match numeric::integer(value) {
        Ok(whole) if (low..=high).contains(&whole) => {
            losses.add_if(numeric::decimal(value).is_some_and(numeric::is_negative_zero), Loss::ZeroSign);
            return Ok(whole);
        }
        Ok(_) => Reason::RangeInt,
        Err(reason) => reason,
    };
    if !policy.declared {
        return Err(reason);
    }
    let digits = match number(value, policy, losses)? {
        Number::NaN => return Err(Reason::NonFinite),
        Number::Infinite { negative } => {
            clamp(policy, losses, Reason::NonFinite)?;
            return Ok(if negative { low } else { high });
        }
        Number::Finite(digits) => digits,
    };
    let negative = digits.is_negative();
    match round(digits, 0, policy, losses)?.whole() {
        Ok(whole) if (i128::from(low)..=i128::from(high)).contains(&whole) => {
            losses.add_if(negative && whole == 0, Loss::ZeroSign);
            i64::try_from(whole).map_err(|_| Reason::RangeInt)
        }
        Ok(_) | Err(Reason::RangeInt) => {
            clamp(policy, losses, Reason::RangeInt)?;
            Ok(if negative { low } else { high })
        }
        Err(reason) => Err(reason),
    }
}

/// A number for `numeric`, within a precision and scale where there are any.
///
/// # Errors
/// `TYPE_MISMATCH`, `NONFINITE`, `LOSSY` for digits beyond the scale, `RANGE_NUM`.
pub(crate) fn exact(
    value: Value<'_>,
    limit: Option<(u16, i16)>,
    policy: &Policy,
    losses: &mut Losses,
) -> Result<Scalar<'static>, Reason> {
    match plain(value, limit) {
        Some(Ok(number)) => {
            losses.add_if(numeric::is_negative_zero(number), Loss::ZeroSign);
            return Ok(Scalar::Number(number));
        }
        Some(Err(reason)) if !policy.declared || matches!(value, Value::Timestamp { .. }) => return Err(reason),
        Some(Err(_)) | None => {}
    }
    let digits = match (number(value, policy, losses)?, limit) {
        (Number::NaN, _) => return Ok(Scalar::Number(Decimal::NaN)),
        (Number::Infinite { negative }, None) => return Ok(Scalar::Number(Decimal::Infinite { negative })),
        (Number::Infinite { negative }, Some((precision, scale))) => {
            clamp(policy, losses, Reason::NonFinite)?;
            return Ok(Scalar::Digits(Digits::largest(negative, precision, scale)));
        }
        (Number::Finite(digits), _) => digits,
    };
    let negative_zero = digits.is_zero() && digits.is_negative();
    let digits = match limit {
        None => digits,
        Some((precision, scale)) => {
            let negative = digits.is_negative();
            let places = i32::from(scale);
            let ends = i32::from(precision) - places;
            // Rounding can carry a number over the end, so the end is looked at afterwards.
            if digits.magnitude() <= ends || policy.misfit.round {
                let rounded = round(digits, places, policy, losses)?;
                if rounded.magnitude() <= ends { rounded } else { largest(negative, precision, scale, policy, losses)? }
            } else {
                largest(negative, precision, scale, policy, losses)?
            }
        }
    };
    losses.add_if(negative_zero, Loss::ZeroSign);
    Ok(Scalar::Digits(digits))
}

/// A whole number in an integer column or in numeric.
///
/// # Errors
/// `RANGE_INT`, `RANGE_NUM`.
pub(crate) fn integer(value: i64, kind: &ColumnType) -> Result<Scalar<'static>, Reason> {
    let out_of_range = |_| Reason::RangeInt;
    match kind.base() {
        ColumnType::Int2 => value.try_into().map(Scalar::Int2).map_err(out_of_range),
        ColumnType::Int4 => value.try_into().map(Scalar::Int4).map_err(out_of_range),
        ColumnType::Int8 => Ok(Scalar::Int8(value)),
        ColumnType::Numeric { precision, scale } => {
            let limit = precision.map(|precision| (precision, *scale));
            exact(Value::Int64(value), limit, &REFUSING, &mut Losses::default())
        }
        _ => Err(Reason::TypeMismatch),
    }
}

/// The number that a value is, within the limit; `None` where that has more digits than a [`Decimal`] has room for.
fn plain(value: Value<'_>, limit: Option<(u16, i16)>) -> Option<Result<Decimal, Reason>> {
    let number = match value {
        // Two unsigned halves: a signed shift would turn the far future into the past.
        Value::Timestamp { t, i } => {
            let bits = u64::from(t) << 32 | u64::from(i);
            Ok(Decimal::Finite { negative: false, coefficient: u128::from(bits), exponent: 0 })
        }
        Value::Double(value) if numeric::exceeds_decimal(value) => return None,
        _ => numeric::decimal(value).ok_or(Reason::TypeMismatch),
    };
    Some(number.and_then(|number| {
        limit.map_or(Ok(()), |(precision, scale)| numeric::fits(number, precision, scale)).map(|()| number)
    }))
}

/// An amount for `money`, which is a 64-bit number of its smallest unit.
///
/// # Errors
/// As [`exact`].
pub(crate) fn money(
    value: Value<'_>,
    scale: u8,
    policy: &Policy,
    losses: &mut Losses,
) -> Result<Scalar<'static>, Reason> {
    let places = i32::from(scale);
    let negative = match number(value, policy, losses)? {
        Number::NaN => return Err(Reason::NonFinite),
        Number::Infinite { negative } => {
            clamp(policy, losses, Reason::NonFinite)?;
            negative
        }
        Number::Finite(digits) => {
            losses.add_if(digits.is_zero() && digits.is_negative(), Loss::ZeroSign);
            let negative = digits.is_negative();
            let units = match digits.magnitude() <= 38 - places {
                true => round(digits, places, policy, losses)?.shifted(-places).whole()?,
                false => i128::MAX,
            };
            if let Ok(units) = i64::try_from(units) {
                return Ok(Scalar::Digits(Digits::new(units < 0, u128::from(units.unsigned_abs()), -places)));
            }
            clamp(policy, losses, Reason::RangeNum)?;
            negative
        }
    };
    let end = if negative { i64::MIN } else { i64::MAX };
    Ok(Scalar::Digits(Digits::new(negative, u128::from(end.unsigned_abs()), -places)))
}

/// A double.
///
/// # Errors
/// `TYPE_MISMATCH`, `RANGE_NUM`, `LOSSY` where digits would be lost.
pub(crate) fn double(value: Value<'_>, policy: &Policy, losses: &mut Losses) -> Result<f64, Reason> {
    match numeric::double(value) {
        Err(_) if policy.declared => {}
        plain => return plain,
    }
    let digits = match number(value, policy, losses)? {
        Number::NaN => return Ok(f64::NAN),
        Number::Infinite { negative } => return Ok(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        Number::Finite(digits) => digits,
    };
    let near = digits.text().parse::<f64>().map_err(|_| Reason::TypeMismatch)?;
    if near.is_infinite() {
        clamp(policy, losses, Reason::RangeNum)?;
        return Ok(f64::MAX.copysign(near));
    }
    if !is_printed_by(&digits.normalised(), &format!("{near:e}"), near)? {
        give_up_digits(policy, losses)?;
    }
    Ok(near)
}

/// A single-precision number.
///
/// # Errors
/// As [`double`].
pub(crate) fn single(value: Value<'_>, policy: &Policy, losses: &mut Losses) -> Result<f32, Reason> {
    match numeric::single(value) {
        Err(_) if policy.declared => {}
        plain => return plain,
    }
    let digits = match number(value, policy, losses)? {
        Number::NaN => return Ok(f32::NAN),
        Number::Infinite { negative } => return Ok(if negative { f32::NEG_INFINITY } else { f32::INFINITY }),
        Number::Finite(digits) => digits,
    };
    let near = digits.text().parse::<f32>().map_err(|_| Reason::TypeMismatch)?;
    if near.is_infinite() {
        clamp(policy, losses, Reason::RangeNum)?;
        return Ok(f32::MAX.copysign(near));
    }
    if !is_printed_by(&digits.normalised(), &format!("{near:e}"), f64::from(near))? {
        give_up_digits(policy, losses)?;
    }
    Ok(near)
}

/// Whether normalised digits are what a float prints, or the number it is.
fn is_printed_by(digits: &Digits, printed: &str, float: f64) -> Result<bool, Reason> {
    Ok(Digits::parse(printed)?.normalised() == *digits
        || Digits::parse(&numeric::double_text(float))?.normalised() == *digits)
}

/// The number that a value is, or that its text says where texts are taken.
pub(crate) fn digits(value: Value<'_>, policy: &Policy, losses: &mut Losses) -> Result<Digits, Reason> {
    match number(value, policy, losses)? {
        Number::Finite(digits) => Ok(digits),
        Number::Infinite { .. } | Number::NaN => Err(Reason::NonFinite),
    }
}

fn number(value: Value<'_>, policy: &Policy, losses: &mut Losses) -> Result<Number, Reason> {
    match value {
        Value::String(bytes) | Value::Symbol(bytes) if policy.coerce.number => {
            let digits = Digits::parse(&utf8(bytes)?)?;
            losses.add(Loss::Coerced);
            Ok(Number::Finite(digits))
        }
        Value::Double(value) if numeric::exceeds_decimal(value) => {
            Digits::parse(&numeric::double_text(value)).map(Number::Finite)
        }
        _ => Ok(match numeric::decimal(value).ok_or(Reason::TypeMismatch)? {
            Decimal::Finite { negative, coefficient, exponent } => {
                Number::Finite(Digits::new(negative, coefficient, exponent))
            }
            Decimal::Infinite { negative } => Number::Infinite { negative },
            Decimal::NaN => Number::NaN,
        }),
    }
}

fn round(digits: Digits, scale: i32, policy: &Policy, losses: &mut Losses) -> Result<Digits, Reason> {
    if !digits.is_finer_than(scale) {
        return Ok(digits);
    }
    give_up_digits(policy, losses)?;
    Ok(digits.rounded(scale))
}

fn largest(negative: bool, precision: u16, scale: i16, policy: &Policy, losses: &mut Losses) -> Result<Digits, Reason> {
    clamp(policy, losses, Reason::RangeNum)?;
    Ok(Digits::largest(negative, precision, scale))
}

/// Counts digits that are rounded away, where that is allowed.
fn give_up_digits(policy: &Policy, losses: &mut Losses) -> Result<(), Reason> {
    losses.add_if(policy.misfit.round, Loss::Rounded);
    if policy.misfit.round { Ok(()) } else { Err(Reason::Lossy) }
}

/// Counts a value that is moved to the nearest end, where that is allowed.
fn clamp(policy: &Policy, losses: &mut Losses, otherwise: Reason) -> Result<(), Reason> {
    losses.add_if(policy.misfit.clamp, Loss::Clamped);
    if policy.misfit.clamp { Ok(()) } else { Err(otherwise) }
}

//! One value into one column: checked against the column's type, then written as PostgreSQL reads it.
//!
//! | column | takes |
//! | --- | --- |
//! | boolean | boolean |
//! | smallint, integer, bigint | whole numbers of every numeric type |
//! | real, double precision | numbers that print the same digits there |
//! | numeric | numbers; a BSON timestamp as its unsigned 64 bits |
//! | text, varchar, char, citext | string, symbol, code, regular expression as `/pattern/options`, numbers, ObjectId, UUID |
//! | enum | string that is one of its labels |
//! | uuid | UUID (binary subtype 4), string in the usual spelling |
//! | date, timestamp, timestamptz | date |
//! | json, jsonb | everything, see `json` |
//! | bytea | binary data of every subtype |
//! | array | array of what the element's type takes, see `array` |
//!
//! Everything else is `TYPE_MISMATCH`: a text is never parsed into a number or a date, a number never becomes a boolean or
//! an instant. What would not fit is refused under its own reason. The losses that are part of a conversion are counted.

use std::borrow::Cow;

use super::{
    Loss, Losses, array,
    ids::{self, Id, IdStep},
    json, numeric,
    policy::{Policy, Written},
    target::ColumnType,
    time,
    value::Value,
};
use crate::model::{Decimal, Reason};

/// `jsonb_recv` wants the version of the format first.
pub(super) const JSONB_VERSION: u8 = 1;

/// A value of PostgreSQL, in none of its forms yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Bool(bool),
    Int2(i16),
    Int4(i32),
    Int8(i64),
    Float4(f32),
    Float8(f64),
    Number(Decimal),
    Text(Cow<'a, str>),
    Uuid([u8; 16]),
    Date(i32),
    Timestamp(i64),
    Timestamptz(i64),
    Bytes(&'a [u8]),
}

/// Appends the binary form of a value for a column of that type, in the type's [`ColumnType::param`]. With a reference,
/// the value is an `_id` of another collection.
///
/// The value is there: what is absent or null never comes here, except null into JSON.
///
/// # Errors
/// The reason why the column cannot hold the value.
pub(super) fn write<'a>(
    value: Value<'a>,
    kind: &ColumnType,
    reference: Option<&IdStep>,
    _policy: &Policy,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<Written, Reason> {
    match kind.base() {
        ColumnType::Array(element) => array::write(value, element, reference, losses, out)?,
        ColumnType::Json => json::write(value, losses, out)?,
        ColumnType::Jsonb => {
            out.push(JSONB_VERSION);
            json::write(value, losses, out)?;
        }
        kind => scalar(value, kind, reference, losses)?.write_binary(out),
    }
    Ok(Written::Value)
}

/// The value in a column of that type, which is neither JSON nor an array.
///
/// # Errors
/// The reason why the column cannot hold the value.
pub(super) fn scalar<'a>(
    value: Value<'a>,
    kind: &ColumnType,
    reference: Option<&IdStep>,
    losses: &mut Losses,
) -> Result<Scalar<'a>, Reason> {
    if let Some(step) = reference {
        return id(step.reference(value)?, kind, Reason::TooLong);
    }
    match (kind.base(), value) {
        (ColumnType::Bool, Value::Bool(value)) => Ok(Scalar::Bool(value)),
        (ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8, _) => {
            let whole = numeric::integer(value)?;
            losses.add_if(numeric::decimal(value).is_some_and(numeric::is_negative_zero), Loss::ZeroSign);
            integer(whole, kind)
        }
        (ColumnType::Float4, _) => numeric::single(value).map(Scalar::Float4),
        (ColumnType::Float8, _) => numeric::double(value).map(Scalar::Float8),
        (ColumnType::Numeric { precision, scale }, _) => number(value, *precision, *scale, losses),
        (ColumnType::Text | ColumnType::Varchar(_) | ColumnType::Bpchar(_) | ColumnType::Citext, _) => {
            bounded(text(value)?, kind).map(Scalar::Text)
        }
        (ColumnType::Enum { labels, .. }, Value::String(bytes) | Value::Symbol(bytes)) => {
            let text = utf8(bytes)?;
            let known = labels.iter().any(|label| *label == text);
            if known { Ok(Scalar::Text(text)) } else { Err(Reason::TypeMismatch) }
        }
        (ColumnType::Uuid, Value::Binary { subtype: 4, bytes }) => {
            bytes.try_into().map(Scalar::Uuid).map_err(|_| Reason::TypeMismatch)
        }
        (ColumnType::Uuid, Value::String(bytes)) => std::str::from_utf8(bytes)
            .ok()
            .and_then(ids::canonical_uuid)
            .map(|id| Scalar::Uuid(id.into_bytes()))
            .ok_or(Reason::TypeMismatch),
        (ColumnType::Date, Value::DateTime(ms)) => {
            let (days, time_of_day) = time::date(ms)?;
            losses.add_if(time_of_day, Loss::TimeOfDay);
            Ok(Scalar::Date(days))
        }
        (ColumnType::Timestamp { precision }, Value::DateTime(ms)) => {
            time::timestamp(ms, *precision).map(Scalar::Timestamp)
        }
        (ColumnType::Timestamptz { precision }, Value::DateTime(ms)) => {
            time::timestamp(ms, *precision).map(Scalar::Timestamptz)
        }
        (ColumnType::Bytea, Value::Binary { subtype, bytes }) => {
            losses.add_if(subtype != 0, Loss::BinarySubtype);
            Ok(Scalar::Bytes(bytes))
        }
        _ => Err(Reason::TypeMismatch),
    }
}

/// A key in a column of that type; `too_long` is the reason for a text that does not fit.
///
/// # Errors
/// `NUL_IN_TEXT`, `too_long`, `RANGE_INT`, `RANGE_NUM`, and `TYPE_MISMATCH` for a column that the rule does not fit.
pub(super) fn id<'a>(id: Id<'a>, kind: &ColumnType, too_long: Reason) -> Result<Scalar<'a>, Reason> {
    match (id, kind.base()) {
        (Id::Uuid(id), ColumnType::Uuid) => Ok(Scalar::Uuid(id.into_bytes())),
        (Id::Uuid(id), ColumnType::Text | ColumnType::Varchar(_)) => {
            bounded(id.hyphenated().to_string().into(), kind).map(Scalar::Text)
        }
        (Id::Text(text), ColumnType::Text | ColumnType::Varchar(_)) => bounded(text, kind)
            .map(Scalar::Text)
            .map_err(|reason| if reason == Reason::TooLong { too_long } else { reason }),
        (Id::Integer(value), _) => integer(value, kind),
        _ => Err(Reason::TypeMismatch),
    }
}

/// A whole number in an integer column or in numeric.
///
/// # Errors
/// `RANGE_INT`, `RANGE_NUM`.
pub(super) fn integer(value: i64, kind: &ColumnType) -> Result<Scalar<'static>, Reason> {
    let out_of_range = |_| Reason::RangeInt;
    match kind.base() {
        ColumnType::Int2 => value.try_into().map(Scalar::Int2).map_err(out_of_range),
        ColumnType::Int4 => value.try_into().map(Scalar::Int4).map_err(out_of_range),
        ColumnType::Int8 => Ok(Scalar::Int8(value)),
        ColumnType::Numeric { precision, scale } => {
            number(Value::Int64(value), *precision, *scale, &mut Losses::default())
        }
        _ => Err(Reason::TypeMismatch),
    }
}

fn number(
    value: Value<'_>,
    precision: Option<u16>,
    scale: i16,
    losses: &mut Losses,
) -> Result<Scalar<'static>, Reason> {
    let number = match value {
        // Two unsigned halves: a signed shift would turn the far future into the past.
        Value::Timestamp { t, i } => {
            let bits = u64::from(t) << 32 | u64::from(i);
            Decimal::Finite { negative: false, coefficient: u128::from(bits), exponent: 0 }
        }
        _ => numeric::decimal(value).ok_or(Reason::TypeMismatch)?,
    };
    if let Some(precision) = precision {
        numeric::fits(number, precision, scale)?;
    }
    losses.add_if(numeric::is_negative_zero(number), Loss::ZeroSign);
    Ok(Scalar::Number(number))
}

/// The text of a value that has exactly one.
fn text(value: Value<'_>) -> Result<Cow<'_, str>, Reason> {
    const UUID: u8 = 4;
    Ok(match value {
        Value::String(bytes) | Value::Symbol(bytes) | Value::Code(bytes) => utf8(bytes)?,
        Value::Regex { pattern, options } => format!("/{}/{}", utf8(pattern)?, utf8(options)?).into(),
        Value::Int32(value) => value.to_string().into(),
        Value::Int64(value) => value.to_string().into(),
        Value::Double(value) => numeric::double_text(value).into(),
        Value::Decimal(value) => numeric::text(Decimal::from_bson(value)).into(),
        Value::ObjectId(id) => hex::encode(id).into(),
        Value::Binary { subtype: UUID, bytes } => {
            let id = uuid::Uuid::from_slice(bytes).map_err(|_| Reason::TypeMismatch)?;
            id.hyphenated().to_string().into()
        }
        _ => return Err(Reason::TypeMismatch),
    })
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, Reason> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Reason::BadUtf8)
}

/// Checks what PostgreSQL would refuse, cut or pad: NUL and length. The cast to the column's type never changes the text
/// after this, except that `char(n)` pads, which it ignores when it compares.
fn bounded<'a>(text: Cow<'a, str>, kind: &ColumnType) -> Result<Cow<'a, str>, Reason> {
    if text.as_bytes().contains(&0) {
        return Err(Reason::NulInText);
    }
    let limit = match kind.base() {
        ColumnType::Varchar(limit) | ColumnType::Bpchar(limit) => *limit,
        _ => None,
    };
    // A text has no more characters than bytes: counting is only needed where the bytes exceed the limit.
    match limit {
        Some(limit) if text.len() > limit as usize && text.chars().count() > limit as usize => Err(Reason::TooLong),
        _ => Ok(text),
    }
}

impl Scalar<'_> {
    /// Appends the binary form, as the type's `recv` function reads it.
    pub(super) fn write_binary(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::Int2(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Int4(value) | Self::Date(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Int8(value) | Self::Timestamp(value) | Self::Timestamptz(value) => {
                out.extend_from_slice(&value.to_be_bytes());
            }
            Self::Float4(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Float8(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Number(value) => numeric::write_binary(*value, out),
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Uuid(bytes) => out.extend_from_slice(bytes),
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// The text form, as the type's `in` function reads it under every session setting.
    pub(super) fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Bool(value) => if *value { "t" } else { "f" }.into(),
            Self::Int2(value) => value.to_string().into(),
            Self::Int4(value) => value.to_string().into(),
            Self::Int8(value) => value.to_string().into(),
            Self::Float4(value) if value.is_finite() => format!("{value:?}").into(),
            Self::Float4(value) => numeric::double_text(f64::from(*value)).into(),
            Self::Float8(value) => numeric::double_text(*value).into(),
            Self::Number(value) => numeric::text(*value).into(),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).hyphenated().to_string().into(),
            Self::Date(days) => time::date_text(*days).into(),
            Self::Timestamp(micros) => time::timestamp_text(*micros, "").into(),
            Self::Timestamptz(micros) => time::timestamp_text(*micros, "+00").into(),
            Self::Bytes(bytes) => format!("\\x{}", hex::encode(bytes)).into(),
        }
    }
}

#[cfg(test)]
mod tests;

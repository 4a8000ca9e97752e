//! A value of PostgreSQL, between its conversion and the form in which it is written.

use std::borrow::Cow;

use super::{
    number::{digits::Digits, numeric},
    time::{self, interval::Interval},
};
use crate::model::Decimal;

/// A value of PostgreSQL, in none of its forms yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Bool(bool),
    Int2(i16),
    Int4(i32),
    Int8(i64),
    Float4(f32),
    Float8(f64),
    Number(Decimal),
    Digits(Digits),
    Text(Cow<'a, str>),
    Uuid([u8; 16]),
    Date(i32),
    Timestamp(i64),
    Timestamptz(i64),
    /// Microseconds since midnight.
    Time(i64),
    /// The same, and seconds east of UTC.
    Timetz(i64, i32),
    Interval(Interval),
    Point(f64, f64),
    Bytes(Cow<'a, [u8]>),
}

impl Scalar<'_> {
    /// Appends the binary form, as the type's `recv` function reads it.
    pub(crate) fn write_binary(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::Int2(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Int4(value) | Self::Date(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Int8(value) | Self::Timestamp(value) | Self::Timestamptz(value) | Self::Time(value) => {
                out.extend_from_slice(&value.to_be_bytes());
            }
            // PostgreSQL counts seconds west of UTC.
            Self::Timetz(micros, east) => {
                out.extend_from_slice(&micros.to_be_bytes());
                out.extend_from_slice(&(-east).to_be_bytes());
            }
            Self::Interval(Interval { months, days, micros }) => {
                out.extend_from_slice(&micros.to_be_bytes());
                out.extend_from_slice(&days.to_be_bytes());
                out.extend_from_slice(&months.to_be_bytes());
            }
            Self::Point(x, y) => {
                out.extend_from_slice(&x.to_be_bytes());
                out.extend_from_slice(&y.to_be_bytes());
            }
            Self::Float4(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Float8(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Number(value) => numeric::write_binary(*value, out),
            Self::Digits(digits) => digits.write_binary(out),
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Uuid(bytes) => out.extend_from_slice(bytes),
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// Characters that PostgreSQL needs to print it, where they can be many more than came.
    pub(crate) fn printed_length(&self) -> usize {
        match self {
            Self::Number(number) => numeric::printed_length(*number),
            Self::Digits(digits) => digits.printed_length(),
            _ => 0,
        }
    }

    /// The text form, as the type's `in` function reads it under every session setting.
    pub(crate) fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Bool(value) => if *value { "t" } else { "f" }.into(),
            Self::Int2(value) => value.to_string().into(),
            Self::Int4(value) => value.to_string().into(),
            Self::Int8(value) => value.to_string().into(),
            Self::Float4(value) if value.is_finite() => format!("{value:?}").into(),
            Self::Float4(value) => numeric::shortest_text(f64::from(*value)).into(),
            Self::Float8(value) => numeric::shortest_text(*value).into(),
            Self::Number(value) => numeric::text(*value).into(),
            Self::Digits(digits) => digits.text().into(),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).hyphenated().to_string().into(),
            Self::Date(days) => time::date_text(*days).into(),
            Self::Timestamp(micros) => time::timestamp_text(*micros, "").into(),
            Self::Timestamptz(micros) => time::timestamp_text(*micros, "+00").into(),
            Self::Time(micros) => time::clock_text(*micros).into(),
            Self::Timetz(micros, east) => format!("{}{}", time::clock_text(*micros), time::offset_text(*east)).into(),
            Self::Interval(interval) => interval.text().into(),
            Self::Point(x, y) => format!("({},{})", numeric::shortest_text(*x), numeric::shortest_text(*y)).into(),
            Self::Bytes(bytes) => format!("\\x{}", hex::encode(bytes)).into(),
        }
    }
}

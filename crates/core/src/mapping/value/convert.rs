//! One value into one column: checked against the column's type, then written as PostgreSQL reads it.
//!
//! | column | takes |
//! | --- | --- |
//! | boolean | boolean |
//! | smallint, integer, bigint | whole numbers of every numeric type |
//! | real, double precision | numbers that are the same, or print the same digits, there |
//! | numeric, money | numbers; numeric also a BSON timestamp as its unsigned 64 bits |
//! | text, varchar, char, citext | string, symbol, code, regular expression as `/pattern/options`, numbers, ObjectId, UUID |
//! | enum | string that is one of its labels |
//! | uuid | UUID (binary subtype 4), string in the usual spelling |
//! | date, timestamp, timestamptz | date |
//! | time, timetz | string `12:30:15.5`, for timetz with an offset, see `iso` |
//! | interval | string, see `interval` |
//! | bit, varbit | string of zeros and ones |
//! | json, jsonb | everything, see `json` |
//! | bytea | binary data of every subtype |
//! | range, multirange | string, see `range` |
//! | point, vector | arrays of numbers, strings, see `shape` |
//! | hstore | document of scalars, string, see `literal` |
//! | ltree, tsvector, every other base type | what text takes, in the type's own form |
//! | array | array of what the element's type takes, see `array` |
//!
//! Everything else is `TYPE_MISMATCH`: a text is not parsed into a number or a date, a number does not become a boolean or an
//! instant, unless the column's policy says so. What would not fit is refused under its own reason. The losses that are part of
//! a conversion, and every use of a policy, are counted.

use std::borrow::Cow;

use bson::raw::RawBson;

use super::{
    array, geometry, json, literal,
    number::{self, digits::Digits, numeric},
    policy::{Epoch, Policy, REFUSING, Written},
    prepare::prepared,
    range,
    raw::Value,
    text,
    time::{
        self, ATTOS_PER_SECOND,
        interval::{self, Interval},
        iso,
    },
};
use crate::mapping::{
    Loss, Losses,
    plan::target::ColumnType,
    rows::ids::{self, Id, IdStep},
};
use crate::model::{Decimal, Reason};

/// `jsonb_recv` wants the version of the format first.
pub(crate) const JSONB_VERSION: u8 = 1;

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

/// Appends the binary form of a value for a column of that type, in the type's [`ColumnType::param`]. With an id step, the
/// value is an `_id`, of its own or of another collection.
///
/// The value is there: what is absent or null never comes here, except null into JSON.
///
/// # Errors
/// The reason why the column cannot hold the value; what was appended until then is taken back.
pub(crate) fn write<'v>(
    value: Value<'v>,
    kind: &ColumnType,
    id: Option<&IdStep>,
    policy: &'v Policy,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<Written, Reason> {
    let start = out.len();
    let written = match kind.base() {
        ColumnType::Array(element) => array::write(value, element, id, policy, losses, out).map(|()| Written::Value),
        ColumnType::Json | ColumnType::Jsonb => prepared(value, policy, losses).and_then(|value| {
            let Some(value) = value else { return Ok(Written::Null) };
            if *kind.base() == ColumnType::Jsonb {
                out.push(JSONB_VERSION);
            }
            json::write(value, losses, out).map(|()| Written::Value)
        }),
        kind => {
            return convert(value, kind, id, policy, losses).map(|scalar| match scalar {
                None => Written::Null,
                Some(scalar) => {
                    scalar.write_binary(out);
                    Written::Value
                }
            });
        }
    };
    written.or_else(|reason| {
        out.truncate(start);
        nulled(reason, policy, losses).map(|()| Written::Null)
    })
}

/// A value that is neither JSON nor an array, through all policies of its column; `None` is NULL.
///
/// # Errors
/// The reason why the column cannot hold the value.
pub(crate) fn convert<'v>(
    value: Value<'v>,
    kind: &ColumnType,
    id: Option<&IdStep>,
    policy: &'v Policy,
    losses: &mut Losses,
) -> Result<Option<Scalar<'v>>, Reason> {
    if !policy.declared {
        return keyed(value, kind, id, policy, losses).map(Some);
    }
    let found = prepared(value, policy, losses).and_then(|value| {
        let Some(value) = value else { return Ok(None) };
        match translated(value, kind, policy, losses) {
            Some(known) => scalar(Value::from(known.as_raw_bson_ref()), kind, &REFUSING, losses).map(Some),
            None => keyed(value, kind, id, policy, losses).map(Some),
        }
    });
    found.or_else(|reason| nulled(reason, policy, losses).map(|()| None))
}

/// What stands for the value by its text; `None` where it stands for itself.
fn translated<'v>(value: Value<'_>, kind: &ColumnType, policy: &'v Policy, losses: &mut Losses) -> Option<&'v RawBson> {
    if policy.translate.is_empty() && policy.fallback.is_none() {
        return None;
    }
    // What has no text, or a broken one, is no unknown value but a wrong one.
    let text = text::of_any(value).ok()?;
    if let Some((_, to)) = policy.translate.iter().find(|(from, _)| **from == *text) {
        return Some(to);
    }
    let stays = matches!(kind.base(), ColumnType::Enum { labels, .. } if labels.iter().any(|label| **label == *text));
    let fallback = policy.fallback.as_ref().filter(|_| !stays)?;
    losses.add(Loss::FellBack);
    Some(fallback)
}

/// Counts a value that becomes NULL, where that is allowed.
///
/// # Errors
/// The reason, where it is not.
pub(crate) fn nulled(reason: Reason, policy: &Policy, losses: &mut Losses) -> Result<(), Reason> {
    losses.add_if(policy.misfit.nulls(reason), Loss::Nulled);
    if policy.misfit.nulls(reason) { Ok(()) } else { Err(reason) }
}

fn keyed<'v>(
    value: Value<'v>,
    kind: &ColumnType,
    step: Option<&IdStep>,
    policy: &Policy,
    losses: &mut Losses,
) -> Result<Scalar<'v>, Reason> {
    match step {
        Some(step) => id(step.reference(value)?, kind, Reason::TooLong),
        None => scalar(value, kind, policy, losses),
    }
}

/// The value in a column of that type, which is neither JSON nor an array.
///
/// # Errors
/// The reason why the column cannot hold the value.
pub(crate) fn scalar<'v>(
    value: Value<'v>,
    kind: &ColumnType,
    policy: &Policy,
    losses: &mut Losses,
) -> Result<Scalar<'v>, Reason> {
    let kind = kind.base();
    match (kind, value) {
        (ColumnType::Bool, Value::Bool(value)) => Ok(Scalar::Bool(value)),
        (ColumnType::Bool, value) if policy.coerce.boolean => boolean(value, losses).map(Scalar::Bool),
        (ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8, _) => {
            let (low, high) = match kind {
                ColumnType::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
                ColumnType::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
                _ => (i64::MIN, i64::MAX),
            };
            integer(number::whole(value, (low, high), policy, losses)?, kind)
        }
        (ColumnType::Float4, _) => number::single(value, policy, losses).map(Scalar::Float4),
        (ColumnType::Float8, _) => number::double(value, policy, losses).map(Scalar::Float8),
        (ColumnType::Numeric { precision, scale }, _) => {
            number::exact(value, precision.map(|precision| (precision, *scale)), policy, losses)
        }
        (ColumnType::Money { scale }, _) => number::money(value, *scale, policy, losses),
        (ColumnType::Text | ColumnType::Varchar(_) | ColumnType::Bpchar(_) | ColumnType::Citext, _) => {
            text::bounded(text::wanted(value, policy, losses)?, kind, policy, losses).map(Scalar::Text)
        }
        (ColumnType::Enum { labels, .. }, _) => {
            let text = match value {
                Value::String(bytes) | Value::Symbol(bytes) => text::utf8(bytes)?,
                value if policy.coerce.text => {
                    let text = text::of_any(value)?;
                    losses.add(Loss::Coerced);
                    text
                }
                _ => return Err(Reason::TypeMismatch),
            };
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
        (ColumnType::Date | ColumnType::Timestamp { .. } | ColumnType::Timestamptz { .. }, _) => {
            instant(value, kind, policy, losses)
        }
        (ColumnType::Bytea, Value::Binary { subtype, bytes }) => {
            losses.add_if(subtype != 0, Loss::BinarySubtype);
            Ok(Scalar::Bytes(bytes.into()))
        }
        (ColumnType::Point, _) => geometry::point(value, policy, losses),
        (ColumnType::Vector(length), _) => {
            geometry::vector(value, *length, policy, losses).map(|text| Scalar::Text(text.into()))
        }
        (ColumnType::Hstore, Value::Document(document)) => {
            let made = literal::hstore_of(document, losses)?;
            text::bounded(made.into(), kind, policy, losses).map(Scalar::Text)
        }
        _ => literal(value, kind, policy, losses),
    }
}

/// A value that a type takes as its text.
fn literal<'v>(
    value: Value<'v>,
    kind: &ColumnType,
    policy: &Policy,
    losses: &mut Losses,
) -> Result<Scalar<'v>, Reason> {
    let own = |holds: bool, text| if holds { Ok(Scalar::Text(text)) } else { Err(Reason::TypeMismatch) };
    let text = match (kind, value) {
        (
            ColumnType::Time { .. }
            | ColumnType::Timetz { .. }
            | ColumnType::Interval { .. }
            | ColumnType::Bit(_)
            | ColumnType::Varbit(_)
            | ColumnType::Range(_)
            | ColumnType::Multirange(_)
            | ColumnType::Hstore
            | ColumnType::Tsvector,
            Value::String(bytes) | Value::Symbol(bytes),
        ) => text::utf8(bytes)?,
        (ColumnType::Ltree | ColumnType::Other { .. }, value) => text::wanted(value, policy, losses)?,
        _ => return Err(Reason::TypeMismatch),
    };
    let text = text::bounded(text, kind, policy, losses)?;
    match kind {
        ColumnType::Time { precision } => match iso::clock(text.trim()) {
            Some(iso::Clock { attos, offset: None }) => {
                time::fit_clock(attos, *precision, policy, losses).map(Scalar::Time)
            }
            _ => Err(Reason::TypeMismatch),
        },
        ColumnType::Timetz { precision } => match iso::clock(text.trim()) {
            Some(iso::Clock { attos, offset: Some(offset) }) => {
                let micros = time::fit_clock(attos, *precision, policy, losses)?;
                Ok(Scalar::Timetz(micros, offset))
            }
            _ => Err(Reason::TypeMismatch),
        },
        ColumnType::Interval { precision, finest } => {
            interval::read(&text, *precision, *finest, policy, losses).map(Scalar::Interval)
        }
        ColumnType::Bit(_) | ColumnType::Varbit(_) => text::bits(text, kind, policy, losses).map(Scalar::Text),
        ColumnType::Range(of) => range::range(&text, of).map(|text| Scalar::Text(text.into())),
        ColumnType::Multirange(of) => range::multirange(&text, of).map(|text| Scalar::Text(text.into())),
        ColumnType::Hstore => own(literal::is_hstore(&text), text),
        ColumnType::Ltree => own(literal::is_ltree(&text), text),
        ColumnType::Tsvector => own(literal::is_tsvector(&text), text),
        _ => Ok(Scalar::Text(text)),
    }
}

/// An instant in a column of dates or timestamps: a date, and where the policy says so, a number or a text.
fn instant(
    value: Value<'_>,
    kind: &ColumnType,
    policy: &Policy,
    losses: &mut Losses,
) -> Result<Scalar<'static>, Reason> {
    let wrap = |micros| {
        if matches!(kind, ColumnType::Timestamp { .. }) {
            Scalar::Timestamp(micros)
        } else {
            Scalar::Timestamptz(micros)
        }
    };
    let attos = match (value, kind) {
        (Value::DateTime(ms), ColumnType::Date) => match time::date(ms) {
            Err(_) if policy.declared => i128::from(ms) * (ATTOS_PER_SECOND / 1000),
            plain => {
                let (days, time_of_day) = plain?;
                losses.add_if(time_of_day, Loss::TimeOfDay);
                return Ok(Scalar::Date(days));
            }
        },
        (Value::DateTime(ms), ColumnType::Timestamp { precision } | ColumnType::Timestamptz { precision }) => {
            match time::timestamp(ms, *precision) {
                Err(_) if policy.declared => i128::from(ms) * (ATTOS_PER_SECOND / 1000),
                plain => return plain.map(wrap),
            }
        }
        (Value::String(bytes) | Value::Symbol(bytes), _) if policy.coerce.date => {
            match (iso::instant(text::utf8(bytes)?.trim()), policy.epoch) {
                (Some(attos), _) => {
                    losses.add(Loss::Coerced);
                    attos
                }
                (None, Some(unit)) => since_epoch(value, unit, policy, losses)?,
                (None, None) => return Err(Reason::TypeMismatch),
            }
        }
        (value, _) => since_epoch(value, policy.epoch.ok_or(Reason::TypeMismatch)?, policy, losses)?,
    };
    match kind {
        ColumnType::Timestamp { precision } | ColumnType::Timestamptz { precision } => {
            time::fit_timestamp(attos, *precision, policy, losses).map(wrap)
        }
        _ => time::fit_date(attos, policy, losses).map(Scalar::Date),
    }
}

/// Attoseconds since 1970 of a number of seconds or milliseconds.
fn since_epoch(value: Value<'_>, unit: Epoch, policy: &Policy, losses: &mut Losses) -> Result<i128, Reason> {
    const PLACES: i32 = 18;
    let places = match unit {
        Epoch::Seconds => PLACES,
        Epoch::Milliseconds => PLACES - 3,
    };
    let digits = number::digits(value, policy, losses)?.shifted(-places);
    losses.add_if(!matches!(value, Value::String(_) | Value::Symbol(_)), Loss::Coerced);
    let negative = digits.is_negative();
    let rounds = policy.misfit.round && digits.is_finer_than(0);
    losses.add_if(rounds, Loss::Rounded);
    match if rounds { digits.rounded(0) } else { digits }.whole() {
        // Beyond every range there is, and small enough to be counted with.
        Err(Reason::RangeInt) => Ok(if negative { i128::MIN / 4 } else { i128::MAX / 4 }),
        whole => whole,
    }
}

fn boolean(value: Value<'_>, losses: &mut Losses) -> Result<bool, Reason> {
    let known = match value {
        Value::String(bytes) | Value::Symbol(bytes) => match text::utf8(bytes)?.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        },
        value => match numeric::integer(value) {
            Ok(0) => Some(false),
            Ok(1) => Some(true),
            _ => None,
        },
    };
    losses.add_if(known.is_some(), Loss::Coerced);
    known.ok_or(Reason::TypeMismatch)
}

/// A key in a column of that type; `too_long` is the reason for a text that does not fit.
///
/// # Errors
/// `NUL_IN_TEXT`, `too_long`, `RANGE_INT`, `RANGE_NUM`, and `TYPE_MISMATCH` for a column that the rule does not fit.
pub(crate) fn id<'a>(id: Id<'a>, kind: &ColumnType, too_long: Reason) -> Result<Scalar<'a>, Reason> {
    let losses = &mut Losses::default();
    let mut bounded = |text| {
        text::bounded(text, kind, &REFUSING, losses)
            .map(Scalar::Text)
            .map_err(|reason| if reason == Reason::TooLong { too_long } else { reason })
    };
    match (id, kind.base()) {
        (Id::Uuid(id), ColumnType::Uuid) => Ok(Scalar::Uuid(id.into_bytes())),
        (Id::Uuid(id), ColumnType::Text | ColumnType::Varchar(_)) => bounded(id.hyphenated().to_string().into()),
        (Id::Md5(bytes), ColumnType::Uuid) => Ok(Scalar::Uuid(bytes)),
        (Id::Md5(bytes), ColumnType::Text | ColumnType::Varchar(_)) => bounded(hex::encode(bytes).into()),
        (Id::Bytes(bytes), ColumnType::Bytea) => Ok(Scalar::Bytes(bytes)),
        (Id::Text(text), ColumnType::Text | ColumnType::Varchar(_)) => bounded(text),
        // Compared as text with the table that knows it, whatever the column is.
        (Id::Wanted(text), _) if text.contains('\0') => Err(Reason::NulInText),
        (Id::Wanted(text), _) => Ok(Scalar::Text(text)),
        (Id::Integer(value), _) => integer(value, kind),
        _ => Err(Reason::TypeMismatch),
    }
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
            number::exact(Value::Int64(value), limit, &REFUSING, &mut Losses::default())
        }
        _ => Err(Reason::TypeMismatch),
    }
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

#[cfg(test)]
mod tests;

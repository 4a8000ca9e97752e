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
//! | point, vector | arrays of numbers, strings, see `geometry` |
//! | hstore | document of scalars, string, see `literal` |
//! | ltree, tsvector, every other base type | what text takes, in the type's own form |
//! | array | array of what the element's type takes, see `array` |
//!
//! Everything else is `TYPE_MISMATCH`: a text is not parsed into a number or a date, a number does not become a boolean or an
//! instant, unless the column's policy says so. A value that would not fit is refused under its own reason. The losses that are
//! part of a conversion, and every use of a policy, are counted.
//!
//! This file, `array` and `range` call each other, because conversion is recursive: the elements of an array and the bounds of
//! a range are values of their own.

use bson::raw::RawBson;

use super::{
    geometry,
    id::{self, IdStep},
    json, literal, number,
    number::numeric,
    policy::{Policy, REFUSING, Written},
    prepare::prepared,
    raw::Value,
    scalar::Scalar,
    text,
    time::{self, interval, iso},
};
use crate::mapping::{Loss, Losses, target::ColumnType};
use crate::model::Reason;

pub(crate) mod array;
mod instant;
mod range;

use instant::instant;

/// Appends the binary form of a value for a column of that type, in the type's [`ColumnType::param`]. With an id step, the
/// value is an `_id`, of its own or of another collection.
///
/// The value is present: absent values and null are handled before, except null into JSON.
///
/// # Errors
/// The reason why the column cannot hold the value; `out` is then as it was.
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
                out.push(json::JSONB_VERSION);
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

/// The replacement of a value by its text; `None` for a value that is converted as it is.
fn translated<'v>(value: Value<'_>, kind: &ColumnType, policy: &'v Policy, losses: &mut Losses) -> Option<&'v RawBson> {
    if policy.translate.is_empty() && policy.fallback.is_none() {
        return None;
    }
    // A value without a text, or with a broken one, is not an unknown value but a wrong one.
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
        Some(step) => id::in_column(step.reference(value)?, kind, Reason::TooLong),
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
            number::integer(number::whole(value, (low, high), policy, losses)?, kind)
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
            .and_then(id::canonical_uuid)
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

#[cfg(test)]
mod tests;

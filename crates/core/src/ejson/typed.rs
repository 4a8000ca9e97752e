//! Typed values of Extended JSON: objects whose first name is a tag, such as `{"$oid": …}`.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bson::{Decimal128, spec::ElementType};
use hex::FromHex;
use serde::{
    Deserialize,
    de::{Error, IgnoredAny, MapAccess},
};

use super::append::{Value, length};

/// The first name of a typed value.
#[derive(Clone, Copy)]
pub(super) enum Tag {
    Oid,
    Symbol,
    Int,
    Long,
    Double,
    Decimal,
    Binary,
    Code,
    Scope,
    Timestamp,
    Regex,
    Date,
    MinKey,
    MaxKey,
    Undefined,
}

#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BinaryValue<'a> {
    #[serde(borrow)]
    base64: Cow<'a, str>,
    #[serde(borrow, rename = "subType")]
    subtype: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimestampValue {
    t: u32,
    i: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegexValue<'a> {
    #[serde(borrow)]
    pattern: Cow<'a, str>,
    #[serde(borrow)]
    options: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DateValue<'a> {
    #[serde(borrow, rename = "$numberLong")]
    millis: Cow<'a, str>,
}

impl Tag {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "$oid" => Self::Oid,
            "$symbol" => Self::Symbol,
            "$numberInt" => Self::Int,
            "$numberLong" => Self::Long,
            "$numberDouble" => Self::Double,
            "$numberDecimal" => Self::Decimal,
            "$binary" => Self::Binary,
            "$code" => Self::Code,
            "$scope" => Self::Scope,
            "$timestamp" => Self::Timestamp,
            "$regularExpression" => Self::Regex,
            "$date" => Self::Date,
            "$minKey" => Self::MinKey,
            "$maxKey" => Self::MaxKey,
            "$undefined" => Self::Undefined,
            _ => return None,
        })
    }

    /// Reads the value that follows the tag; code is the reader's, because a scope is a document.
    pub(super) fn value<'de, A: MapAccess<'de>>(self, value: Value<'_>, mut map: A) -> Result<(), A::Error> {
        match self {
            Self::Oid => {
                let id = parsed::<A, [u8; 12]>(&mut map, |text| FromHex::from_hex(text).ok())?;
                value.put(ElementType::ObjectId, &id);
            }
            Self::Symbol => {
                let Text(text) = map.next_value()?;
                value.put_string(ElementType::Symbol, &text)?;
            }
            Self::Int => {
                let number = parsed::<A, i32>(&mut map, |text| text.parse().ok())?;
                value.put(ElementType::Int32, &number.to_le_bytes());
            }
            Self::Long => {
                let number = parsed::<A, i64>(&mut map, |text| text.parse().ok())?;
                value.put(ElementType::Int64, &number.to_le_bytes());
            }
            Self::Double => {
                let number = parsed::<A, f64>(&mut map, double)?;
                value.put(ElementType::Double, &number.to_le_bytes());
            }
            Self::Decimal => {
                let number = parsed::<A, Decimal128>(&mut map, |text| text.parse().ok())?;
                value.put(ElementType::Decimal128, &number.bytes());
            }
            Self::Binary => binary(value, map.next_value()?)?,
            Self::Timestamp => {
                let TimestampValue { t, i } = map.next_value()?;
                value.put(ElementType::Timestamp, &[i.to_le_bytes(), t.to_le_bytes()].concat());
            }
            Self::Regex => {
                let RegexValue { pattern, options } = map.next_value()?;
                if pattern.contains('\0') || options.contains('\0') {
                    return Err(A::Error::custom("a NUL in a regular expression"));
                }
                value.put(
                    ElementType::RegularExpression,
                    &[pattern.as_bytes(), &[0], options.as_bytes(), &[0]].concat(),
                );
            }
            Self::Date => {
                let DateValue { millis } = map.next_value()?;
                let millis: i64 = millis.parse().map_err(|_| A::Error::custom("a date"))?;
                value.put(ElementType::DateTime, &millis.to_le_bytes());
            }
            Self::MinKey => constant(&mut map, value, ElementType::MinKey, 1u8)?,
            Self::MaxKey => constant(&mut map, value, ElementType::MaxKey, 1u8)?,
            Self::Undefined => constant(&mut map, value, ElementType::Undefined, true)?,
            Self::Code | Self::Scope => return Err(A::Error::custom("a scope without code")),
        }
        end(map)
    }
}

fn parsed<'de, A: MapAccess<'de>, T>(map: &mut A, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, A::Error> {
    let Text(text) = map.next_value()?;
    parse(&text).ok_or_else(|| A::Error::custom("a typed value that does not parse"))
}

fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        finite => finite.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

fn constant<'de, A: MapAccess<'de>, T: Deserialize<'de> + PartialEq>(
    map: &mut A,
    value: Value<'_>,
    kind: ElementType,
    expected: T,
) -> Result<(), A::Error> {
    if map.next_value::<T>()? != expected {
        return Err(A::Error::custom("a constant of another value"));
    }
    value.put(kind, &[]);
    Ok(())
}

fn binary<E: Error>(value: Value<'_>, BinaryValue { base64, subtype }: BinaryValue<'_>) -> Result<(), E> {
    let bytes = STANDARD.decode(base64.as_bytes()).map_err(|_| E::custom("a binary's base64"))?;
    let subtype = u8::from_str_radix(&subtype, 16).map_err(|_| E::custom("a binary's subtype"))?;
    let length = length::<E>(bytes.len())?;
    value.put(ElementType::Binary, &[&length[..], &[subtype], &bytes].concat());
    Ok(())
}

pub(super) fn end<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    match map.next_key::<IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(A::Error::custom("a name beside a typed value")),
    }
}

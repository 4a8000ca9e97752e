//! Texts: the text of a value that has one, and the part of it that a text column can hold.

use std::borrow::Cow;

use super::{number::numeric, policy::Policy, raw::Value, time};
use crate::mapping::{Loss, Losses, target::ColumnType};
use crate::model::{Decimal, Reason};

const REPLACEMENT: &str = "\u{fffd}";

/// The text of a value that has exactly one.
///
/// # Errors
/// `TYPE_MISMATCH` for a value without one, `BAD_UTF8`.
pub(crate) fn of(value: Value<'_>) -> Result<Cow<'_, str>, Reason> {
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

/// The text of a value of another type than text, where a column asks for it: also of booleans and dates.
///
/// # Errors
/// As [`of`]; `RANGE_TS` for a date outside of the years 0000 to 9999.
pub(crate) fn of_any(value: Value<'_>) -> Result<Cow<'_, str>, Reason> {
    match value {
        Value::Bool(value) => Ok(if value { "true" } else { "false" }.into()),
        Value::DateTime(ms) => time::iso_text(ms).map(Cow::Owned).ok_or(Reason::RangeTs),
        _ => of(value),
    }
}

/// The text of a value for a column, as far as its policy goes.
///
/// # Errors
/// As [`of`] and [`of_any`].
pub(crate) fn wanted<'a>(value: Value<'a>, policy: &Policy, losses: &mut Losses) -> Result<Cow<'a, str>, Reason> {
    match (of(value), value) {
        (Err(Reason::TypeMismatch), Value::Bool(_) | Value::DateTime(_)) if policy.coerce.text => {
            let text = of_any(value)?;
            losses.add(Loss::Coerced);
            Ok(text)
        }
        (Err(Reason::BadUtf8), Value::String(bytes) | Value::Symbol(bytes) | Value::Code(bytes))
            if policy.misfit.replace =>
        {
            losses.add(Loss::Replaced);
            Ok(String::from_utf8_lossy(bytes).into_owned().into())
        }
        (text, _) => text,
    }
}

/// A text without its prefix and suffix; `None` for a text that lacks one of them, or has nothing between them.
pub(crate) fn stripped<'v>(text: &'v [u8], prefix: Option<&str>, suffix: Option<&str>) -> Option<&'v [u8]> {
    let text = text.strip_prefix(prefix.unwrap_or_default().as_bytes())?;
    let text = text.strip_suffix(suffix.unwrap_or_default().as_bytes())?;
    Some(text).filter(|text| !text.is_empty())
}

/// Bytes as text.
///
/// # Errors
/// `BAD_UTF8`.
pub(crate) fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, Reason> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Reason::BadUtf8)
}

/// Checks for NUL and length, which PostgreSQL would refuse, cut or pad. The cast to the column's type never changes the text
/// after this, except that `char(n)` pads, and comparisons ignore the padding.
///
/// # Errors
/// `NUL_IN_TEXT`, `TOO_LONG`.
pub(crate) fn bounded<'a>(
    text: Cow<'a, str>,
    kind: &ColumnType,
    policy: &Policy,
    losses: &mut Losses,
) -> Result<Cow<'a, str>, Reason> {
    let text = match text.as_bytes().contains(&0) {
        false => text,
        true if policy.misfit.replace => {
            losses.add(Loss::Replaced);
            text.replace('\0', REPLACEMENT).into()
        }
        true => return Err(Reason::NulInText),
    };
    let limit = match kind.base() {
        ColumnType::Varchar(Some(limit)) | ColumnType::Bpchar(Some(limit)) => *limit as usize,
        _ => return Ok(text),
    };
    // A text has no more characters than bytes: counting is only needed where the bytes exceed the limit.
    match text.char_indices().nth(limit) {
        _ if text.len() <= limit => Ok(text),
        None => Ok(text),
        Some((end, _)) if policy.misfit.truncate => {
            losses.add(Loss::Truncated);
            Ok(cut(text, end))
        }
        Some(_) => Err(Reason::TooLong),
    }
}

/// Checks a text of bits: `bit(n)` holds exactly so many, `varbit(n)` at most.
///
/// # Errors
/// `TYPE_MISMATCH` for anything but zeros and ones, or too few of them; `TOO_LONG`.
pub(crate) fn bits<'a>(
    text: Cow<'a, str>,
    kind: &ColumnType,
    policy: &Policy,
    losses: &mut Losses,
) -> Result<Cow<'a, str>, Reason> {
    if !text.bytes().all(|byte| matches!(byte, b'0' | b'1')) {
        return Err(Reason::TypeMismatch);
    }
    let (least, most) = match kind.base() {
        ColumnType::Bit(length) => (*length as usize, *length as usize),
        ColumnType::Varbit(Some(limit)) => (0, *limit as usize),
        _ => (0, usize::MAX),
    };
    match text.len() {
        length if length < least => Err(Reason::TypeMismatch),
        length if length <= most => Ok(text),
        _ if policy.misfit.truncate => {
            losses.add(Loss::Truncated);
            Ok(cut(text, most))
        }
        _ => Err(Reason::TooLong),
    }
}

/// Keeps the text before a boundary of characters.
fn cut(text: Cow<'_, str>, end: usize) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

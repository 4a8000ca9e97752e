//! A value before it is converted: as its column's policy changes it, or empty.
//!
//! In this order: `type`, `trim`, `empty` and `null_values`, `strip_prefix` and `strip_suffix`. The same steps decide which
//! candidates of a column are passed over and which elements of an array are empty, so that a value is empty everywhere or
//! nowhere.

use super::{
    policy::{EmptyElements, Policy},
    raw::Value,
    text,
};
use crate::mapping::{Loss, Losses};
use crate::model::Reason;

/// The value as the conversion takes it; `None` for an empty one.
///
/// # Errors
/// `TYPE_MISMATCH` for a type that the column does not take, or a text without the prefix and suffix it should have.
pub(crate) fn prepared<'v>(
    value: Value<'v>,
    policy: &Policy,
    losses: &mut Losses,
) -> Result<Option<Value<'v>>, Reason> {
    if matches!(value, Value::Null | Value::Undefined) {
        return Ok(Some(value));
    }
    if policy.types.is_some_and(|types| !types.has(value)) {
        return Err(Reason::TypeMismatch);
    }
    if is_nothing(value, policy) {
        losses.add(Loss::Emptied);
        return Ok(None);
    }
    let strips = policy.strip_prefix.is_some() || policy.strip_suffix.is_some();
    let (Value::String(bytes) | Value::Symbol(bytes)) = value else {
        return if strips { Err(Reason::TypeMismatch) } else { Ok(Some(value)) };
    };
    let kept = trimmed(bytes, policy);
    losses.add_if(kept.len() < bytes.len(), Loss::Trimmed);
    let kept = if strips {
        text::stripped(kept, policy.strip_prefix.as_deref(), policy.strip_suffix.as_deref())
            .ok_or(Reason::TypeMismatch)?
    } else {
        kept
    };
    Ok(Some(Value::String(kept)))
}

/// Whether the policy takes a value for empty: an empty text under `empty`, or one of `null_values`.
pub(crate) fn is_nothing(value: Value<'_>, policy: &Policy) -> bool {
    if !policy.empty_is_null && policy.null_values.is_empty() {
        return false;
    }
    let among = |text: &[u8]| policy.null_values.iter().any(|one| one.as_bytes() == text);
    match value {
        Value::String(bytes) | Value::Symbol(bytes) => {
            let kept = trimmed(bytes, policy);
            (policy.empty_is_null && kept.is_empty()) || among(kept)
        }
        Value::Null | Value::Undefined => false,
        value => !policy.null_values.is_empty() && text::of_any(value).is_ok_and(|text| among(text.as_bytes())),
    }
}

/// Whether an element of an array is empty: null, undefined, an empty text, or a value that the policy takes for empty.
pub(crate) fn is_empty_element(value: Value<'_>, policy: &Policy) -> bool {
    match value {
        Value::Null | Value::Undefined => true,
        Value::String(bytes) | Value::Symbol(bytes) if trimmed(bytes, policy).is_empty() => true,
        value => is_nothing(value, policy),
    }
}

/// Whether an element is left out of an array column.
///
/// # Errors
/// `NOT_NULL` where empty elements are refused.
pub(crate) fn is_left_out(value: Value<'_>, policy: &Policy) -> Result<bool, Reason> {
    match policy.empty_elements {
        Some(EmptyElements::Drop) => Ok(is_empty_element(value, policy)),
        Some(EmptyElements::Reject) if is_empty_element(value, policy) => Err(Reason::NotNull),
        Some(EmptyElements::Reject | EmptyElements::Null) | None => Ok(false),
    }
}

/// Without white space around it, where the policy says so.
fn trimmed<'v>(bytes: &'v [u8], policy: &Policy) -> &'v [u8] {
    if !policy.trim {
        return bytes;
    }
    std::str::from_utf8(bytes).map_or(bytes.trim_ascii(), |text| text.trim().as_bytes())
}

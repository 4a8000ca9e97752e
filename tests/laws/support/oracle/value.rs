//! Canonical text of a value: it is the same from both sides exactly if the values are equal.

use std::collections::BTreeMap;

use mongodb::bson::Bson;
use serde_json::value::RawValue;

use super::application::root_id;

const DAY_MS: i64 = 86_400_000;

/// The kind of a column: how its values are read and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, character by character.
    Text,
    /// A whole number.
    Int,
    /// Floating point, by its bits.
    Float,
    /// Decimal, by its digits: `1.10` equals `1.1`.
    Numeric,
    /// True or false.
    Bool,
    /// Microseconds since 1970.
    Moment,
    /// Days since 1970.
    Day,
    /// The UUID of an ObjectId, or of its hex digits.
    Id,
    /// An array of such UUIDs.
    Ids,
    /// An array of texts.
    Texts,
    /// An array of whole numbers.
    Ints,
    /// JSON, by its meaning: the order of fields and the spelling of numbers do not count.
    Json,
    /// The id of the root row.
    Parent,
    /// The place in the array.
    Position,
}

impl Kind {
    /// Returns the SQL expression for the text of a column.
    pub(super) fn select(self, column: &str) -> String {
        match self {
            Self::Moment => format!("(extract(epoch from {column}) * 1000000)::bigint::text"),
            Self::Day => format!("({column} - date '1970-01-01')::text"),
            Self::Ids | Self::Texts | Self::Ints => format!("to_jsonb({column})::text"),
            _ => format!("{column}::text"),
        }
    }

    /// Returns the part of that text that is compared.
    pub(super) fn canonical(self, text: &str) -> String {
        match self {
            Self::Float => bits(text.parse().expect("a float")),
            Self::Numeric => digits(text),
            Self::Ids | Self::Texts | Self::Ints | Self::Json => meaning(text),
            _ => text.to_owned(),
        }
    }

    /// Returns the expected text of a value of the source; `None` for null.
    ///
    /// # Panics
    /// Panics if the value does not fit such a column: no valid document of the demo has one.
    pub(super) fn expect(self, value: &Bson) -> Option<String> {
        let text = match (self, value) {
            (_, Bson::Null) => return None,
            (Self::Text, Bson::String(text)) => text.clone(),
            (Self::Int, Bson::Int32(number)) => number.to_string(),
            (Self::Int, Bson::Int64(number)) => number.to_string(),
            (Self::Int, Bson::Double(number)) if number.fract() == 0.0 => format!("{number:.0}"),
            (Self::Float, Bson::Double(number)) => bits(*number),
            (Self::Float, Bson::Int32(number)) => bits(f64::from(*number)),
            (Self::Numeric, number) => number_digits(number).unwrap_or_else(|| unfit(self, value)),
            (Self::Bool, Bson::Boolean(value)) => value.to_string(),
            (Self::Moment, Bson::DateTime(at)) => (at.timestamp_millis() * 1000).to_string(),
            (Self::Day, Bson::DateTime(at)) if at.timestamp_millis() % DAY_MS == 0 => {
                (at.timestamp_millis() / DAY_MS).to_string()
            }
            (Self::Id, Bson::ObjectId(id)) => root_id(&id.to_hex()),
            (Self::Id, Bson::String(hex)) if hex.len() == 24 => root_id(hex),
            (Self::Ids, Bson::Array(values)) => list(values, |value| Some(quoted(&Self::Id.expect(value)?))),
            (Self::Texts, Bson::Array(values)) => list(values, |value| Some(quoted(&Self::Text.expect(value)?))),
            (Self::Ints, Bson::Array(values)) => list(values, |value| Some(digits(&Self::Int.expect(value)?))),
            (Self::Json, value) => json(value),
            _ => unfit(self, value),
        };
        Some(text)
    }
}

fn unfit(kind: Kind, value: &Bson) -> ! {
    panic!("the oracle does not know what a {:?} becomes in a column of kind {kind:?}", value.element_type())
}

fn bits(number: f64) -> String {
    format!("{:016x}", number.to_bits())
}

fn list(values: &[Bson], one: impl Fn(&Bson) -> Option<String>) -> String {
    let parts: Vec<_> = values.iter().map(|value| one(value).unwrap_or_else(|| "null".to_owned())).collect();
    format!("[{}]", parts.join(","))
}

fn number_digits(number: &Bson) -> Option<String> {
    match number {
        Bson::Decimal128(number) => Some(digits(&number.to_string())),
        Bson::Int32(number) => Some(digits(&number.to_string())),
        Bson::Int64(number) => Some(digits(&number.to_string())),
        // A whole number exactly; any other with the fewest digits that parse to the same double.
        Bson::Double(number) if number.is_finite() && number.fract() == 0.0 => Some(digits(&format!("{number:.0}"))),
        Bson::Double(number) if number.is_finite() => Some(digits(&number.to_string())),
        _ => None,
    }
}

/// Returns a document's value as JSON, in canonical form.
fn json(value: &Bson) -> String {
    match value {
        Bson::Null => "null".to_owned(),
        Bson::Boolean(value) => value.to_string(),
        Bson::String(text) => quoted(text),
        Bson::Array(values) => list(values, |value| Some(json(value))),
        Bson::Document(document) => {
            let fields: BTreeMap<&String, &Bson> = document.iter().collect();
            let parts: Vec<_> =
                fields.iter().map(|(name, value)| format!("{}:{}", quoted(name), json(value))).collect();
            format!("{{{}}}", parts.join(","))
        }
        Bson::DateTime(at) => {
            let at = jiff::Timestamp::from_millisecond(at.timestamp_millis()).expect("a date of our era");
            quoted(&at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        }
        number => number_digits(number).unwrap_or_else(|| unfit(Kind::Json, value)),
    }
}

/// Returns a number as its significant digits and their exponent.
fn digits(text: &str) -> String {
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let Ok(exponent) = exponent.parse::<i64>() else { return text.to_owned() };
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.to_owned();
    }
    let significant = all.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    if trimmed.is_empty() {
        return "0".to_owned();
    }
    let places = i64::try_from(fraction.len()).expect("a short number");
    let zeros = i64::try_from(significant.len() - trimmed.len()).expect("a short number");
    format!("{}{trimmed}e{}", if negative { "-" } else { "" }, exponent - places + zeros)
}

/// Returns JSON with its fields in order and its numbers as digits; no number is converted to a float.
fn meaning(text: &str) -> String {
    let failed = "the text is JSON";
    match text.trim_start().as_bytes().first() {
        Some(b'{') => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).expect(failed);
            let parts: Vec<_> =
                fields.iter().map(|(name, value)| format!("{}:{}", quoted(name), meaning(value.get()))).collect();
            format!("{{{}}}", parts.join(","))
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).expect(failed);
            let parts: Vec<_> = elements.iter().map(|element| meaning(element.get())).collect();
            format!("[{}]", parts.join(","))
        }
        Some(b'"') => quoted(&serde_json::from_str::<String>(text).expect(failed)),
        _ => digits(text.trim()),
    }
}

/// Returns a text as JSON writes it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

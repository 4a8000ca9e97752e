//! Types of BSON by the names that MongoDB's `$type` knows.

use super::raw::Value;

/// A set of types, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BsonTypes(u32);

const DOUBLE: u32 = 1;
const STRING: u32 = 1 << 1;
const OBJECT: u32 = 1 << 2;
const ARRAY: u32 = 1 << 3;
const BIN_DATA: u32 = 1 << 4;
const UNDEFINED: u32 = 1 << 5;
const OBJECT_ID: u32 = 1 << 6;
const BOOL: u32 = 1 << 7;
const DATE: u32 = 1 << 8;
const NULL: u32 = 1 << 9;
const REGEX: u32 = 1 << 10;
const DB_POINTER: u32 = 1 << 11;
const JAVASCRIPT: u32 = 1 << 12;
const SYMBOL: u32 = 1 << 13;
const JAVASCRIPT_WITH_SCOPE: u32 = 1 << 14;
const INT: u32 = 1 << 15;
const TIMESTAMP: u32 = 1 << 16;
const LONG: u32 = 1 << 17;
const DECIMAL: u32 = 1 << 18;
const MIN_KEY: u32 = 1 << 19;
const MAX_KEY: u32 = 1 << 20;

impl BsonTypes {
    /// Every name of a type, or of several, in a mapping file.
    pub(crate) const NAMES: [(&str, Self); 22] = [
        ("double", Self(DOUBLE)),
        ("string", Self(STRING)),
        ("object", Self(OBJECT)),
        ("array", Self(ARRAY)),
        ("binData", Self(BIN_DATA)),
        ("undefined", Self(UNDEFINED)),
        ("objectId", Self(OBJECT_ID)),
        ("bool", Self(BOOL)),
        ("date", Self(DATE)),
        ("null", Self(NULL)),
        ("regex", Self(REGEX)),
        ("dbPointer", Self(DB_POINTER)),
        ("javascript", Self(JAVASCRIPT)),
        ("symbol", Self(SYMBOL)),
        ("javascriptWithScope", Self(JAVASCRIPT_WITH_SCOPE)),
        ("int", Self(INT)),
        ("timestamp", Self(TIMESTAMP)),
        ("long", Self(LONG)),
        ("decimal", Self(DECIMAL)),
        ("minKey", Self(MIN_KEY)),
        ("maxKey", Self(MAX_KEY)),
        ("number", Self(DOUBLE | INT | LONG | DECIMAL)),
    ];

    /// These and those.
    pub(crate) fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether a value is of one of the types.
    pub(crate) fn has(self, value: Value<'_>) -> bool {
        self.0 & Self::of(value).0 != 0
    }

    /// The type of a value.
    fn of(value: Value<'_>) -> Self {
        Self(match value {
            Value::Double(_) => DOUBLE,
            Value::String(_) => STRING,
            Value::Document(_) => OBJECT,
            Value::Array(_) => ARRAY,
            Value::Binary { .. } => BIN_DATA,
            Value::Undefined => UNDEFINED,
            Value::ObjectId(_) => OBJECT_ID,
            Value::Bool(_) => BOOL,
            Value::DateTime(_) => DATE,
            Value::Null => NULL,
            Value::Regex { .. } => REGEX,
            Value::DbPointer { .. } => DB_POINTER,
            Value::Code(_) => JAVASCRIPT,
            Value::Symbol(_) => SYMBOL,
            Value::CodeWithScope { .. } => JAVASCRIPT_WITH_SCOPE,
            Value::Int32(_) => INT,
            Value::Timestamp { .. } => TIMESTAMP,
            Value::Int64(_) => LONG,
            Value::Decimal(_) => DECIMAL,
            Value::MinKey => MIN_KEY,
            Value::MaxKey => MAX_KEY,
        })
    }
}

/// The name of a value's type.
pub(crate) fn type_name(value: Value<'_>) -> &'static str {
    let own = BsonTypes::of(value);
    BsonTypes::NAMES.iter().find(|(_, known)| *known == own).map_or("unknown", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::value::raw::Raw;

    #[test]
    fn each_value_is_of_its_own_type_alone() {
        let empty = Raw::new(&[5, 0, 0, 0, 0]);
        let values = [
            ("double", Value::Double(1.0)),
            ("string", Value::String(b"1")),
            ("object", Value::Document(empty)),
            ("array", Value::Array(empty)),
            ("binData", Value::Binary { subtype: 4, bytes: &[] }),
            ("undefined", Value::Undefined),
            ("objectId", Value::ObjectId([1; 12])),
            ("bool", Value::Bool(true)),
            ("date", Value::DateTime(1)),
            ("null", Value::Null),
            ("regex", Value::Regex { pattern: b"", options: b"" }),
            ("dbPointer", Value::DbPointer { namespace: b"", id: [1; 12] }),
            ("javascript", Value::Code(b"")),
            ("symbol", Value::Symbol(b"")),
            ("javascriptWithScope", Value::CodeWithScope { code: b"", scope: empty }),
            ("int", Value::Int32(1)),
            ("timestamp", Value::Timestamp { t: 1, i: 1 }),
            ("long", Value::Int64(1)),
            ("decimal", Value::Decimal("1".parse().expect("a decimal"))),
            ("minKey", Value::MinKey),
            ("maxKey", Value::MaxKey),
        ];
        for (kind, value) in values {
            let number = matches!(kind, "double" | "int" | "long" | "decimal");
            for (name, types) in BsonTypes::NAMES {
                assert_eq!(types.has(value), name == kind || (name == "number" && number), "{kind} as {name}");
            }
        }
    }
}

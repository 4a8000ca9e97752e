//! Types that a mapping file says by itself.

use bson::raw::RawBson;

use crate::mapping::{Coerce, IdFile, IdRule};

/// The type of the ids that a rule makes; `None` for a rule that takes them from a table of the target.
pub(super) fn of_id(id: &IdFile) -> Option<&'static str> {
    match id.rule {
        IdRule::Uuid5 | IdRule::Md5 | IdRule::PadLeft | IdRule::PadRight | IdRule::Uuid => Some("uuid"),
        IdRule::Hex | IdRule::Text => Some("text"),
        IdRule::Integer => Some("bigint"),
        IdRule::Bytes => Some("bytea"),
        IdRule::Lookup => None,
    }
}

/// The type of a value of the mapping file.
pub(super) fn of_value(value: &RawBson) -> Option<&'static str> {
    match value {
        RawBson::String(_) => Some("text"),
        RawBson::Boolean(_) => Some("boolean"),
        RawBson::Int32(_) | RawBson::Int64(_) => Some("bigint"),
        RawBson::Double(_) => Some("double precision"),
        RawBson::Decimal128(_) => Some("numeric"),
        RawBson::DateTime(_) => Some("timestamp with time zone"),
        _ => None,
    }
}

/// The type that a coercion aims at.
pub(super) fn of_coercion(coerce: Coerce) -> &'static str {
    match coerce {
        Coerce::Text => "text",
        Coerce::Number => "numeric",
        Coerce::Boolean => "boolean",
        Coerce::Date => "timestamp with time zone",
    }
}

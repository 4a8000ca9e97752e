//! Why a record or a document was dead-lettered: the closed list of codes that operators filter by.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The reason of a dead letter. The code never changes once published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The bytes in the log are no record of ours.
    Malformed,
    /// The record's op is not one this version knows.
    UnknownOp,
    /// The document nests deeper than MongoDB allows.
    Depth,
    /// The `_id` cannot become the target's key.
    KeyUnsupported,
    /// The `_id` is longer than the target's key may be.
    KeyTooLong,
    /// A text holds a NUL character, which PostgreSQL cannot store.
    NulInText,
    /// A text is not valid UTF-8.
    BadUtf8,
    /// A text holds a character that the encoding of the target's database lacks.
    Encoding,
    /// A text is longer than its column.
    TooLong,
    /// A value has a type that its column does not take.
    TypeMismatch,
    /// An integer is outside its column's range.
    RangeInt,
    /// A number is outside its column's range.
    RangeNum,
    /// A date is outside its column's range.
    RangeTs,
    /// A number is NaN or infinite and its column cannot hold that.
    #[serde(rename = "NONFINITE")]
    NonFinite,
    /// Storing the value would change it.
    Lossy,
    /// The value or row is larger than PostgreSQL stores.
    TooBig,
    /// A small value would become a huge one.
    Amplify,
    /// A column that takes no NULL has no value.
    NotNull,
    /// A CHECK constraint refuses the row.
    Check,
    /// The row that a reference names never came.
    FkMissing,
    /// Another row holds the unique value.
    UniqueConflict,
    /// PostgreSQL refused the row for another reason, named in the detail.
    Refused,
}

impl Reason {
    /// The code as written in the dead-letter table, metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "MALFORMED",
            Self::UnknownOp => "UNKNOWN_OP",
            Self::Depth => "DEPTH",
            Self::KeyUnsupported => "KEY_UNSUPPORTED",
            Self::KeyTooLong => "KEY_TOO_LONG",
            Self::NulInText => "NUL_IN_TEXT",
            Self::BadUtf8 => "BAD_UTF8",
            Self::Encoding => "ENCODING",
            Self::TooLong => "TOO_LONG",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::RangeInt => "RANGE_INT",
            Self::RangeNum => "RANGE_NUM",
            Self::RangeTs => "RANGE_TS",
            Self::NonFinite => "NONFINITE",
            Self::Lossy => "LOSSY",
            Self::TooBig => "TOO_BIG",
            Self::Amplify => "AMPLIFY",
            Self::NotNull => "NOT_NULL",
            Self::Check => "CHECK",
            Self::FkMissing => "FK_MISSING",
            Self::UniqueConflict => "UNIQUE_CONFLICT",
            Self::Refused => "REFUSED",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

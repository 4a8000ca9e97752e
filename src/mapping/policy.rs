//! What a column's declaration says of values that are not there in the form that the column wants.

use bson::raw::RawBson;

use super::{At, target::ColumnType};

/// The policies of a column, as the file says them. The default refuses everything that does not fit as it is.
#[derive(Clone, Debug, Default)]
pub struct PolicyFile {
    /// Whether white space around a text is removed.
    pub trim: bool,
    /// Whether an empty text is NULL.
    pub empty_is_null: bool,
    /// Other types that are read as the column's.
    pub coerce: Vec<At<Coerce>>,
    /// The unit of numbers that are times since 1970.
    pub epoch: Option<At<Epoch>>,
    /// What a value becomes, by its text.
    pub translate: Vec<(At<String>, At<RawBson>)>,
    /// What a value becomes that `translate` does not list, or that is no label of the column's enum.
    pub fallback: Option<At<RawBson>>,
    /// What becomes of a value that does not fit: the first that applies; none refuses the document.
    pub misfit: Vec<At<Misfit>>,
}

/// A type that is read as the column's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coerce {
    /// Anything with one text into a text column: booleans, dates, UUIDs.
    Text,
    /// A text of digits into a number column.
    Number,
    /// `true`, `yes`, `on`, `1` and their opposites, as text or number, into a boolean column.
    Boolean,
    /// A date or instant as text (ISO 8601) into a date or timestamp column.
    Date,
}

/// The unit of numbers that are times since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epoch {
    /// Seconds, fractions allowed.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// What becomes of a value that does not fit its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// NULL.
    Null,
    /// Cut to the column's length.
    Truncate,
    /// Rounded to the digits that the column holds, half away from zero.
    Round,
    /// The nearest end of the column's range.
    Clamp,
    /// U+FFFD in place of NUL characters and bytes that are no UTF-8.
    Replace,
}

impl Coerce {
    /// Every type and its name in the file.
    pub(super) const NAMES: [(&str, Self); 4] =
        [("text", Self::Text), ("number", Self::Number), ("boolean", Self::Boolean), ("date", Self::Date)];
}

impl Epoch {
    /// Every unit and its name in the file.
    pub(super) const NAMES: [(&str, Self); 2] = [("seconds", Self::Seconds), ("milliseconds", Self::Milliseconds)];
}

impl Misfit {
    /// Every outcome and its name in the file.
    pub(super) const NAMES: [(&str, Self); 5] = [
        ("null", Self::Null),
        ("truncate", Self::Truncate),
        ("round", Self::Round),
        ("clamp", Self::Clamp),
        ("replace", Self::Replace),
    ];
}

/// The policies of a column, checked against its type.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {}

/// What came of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The value's binary form was appended.
    Value,
    /// Nothing was appended: the column takes its default or NULL.
    Null,
}

impl Policy {
    /// Checks the policies of a column of that type.
    ///
    /// # Errors
    /// Every policy that means nothing for the type: where it stands, what is wrong, what to do.
    pub(super) fn compile(_file: &PolicyFile, _kind: &ColumnType) -> Result<Self, Vec<At<(String, String)>>> {
        Ok(Self {})
    }
}

//! Policies: what a column's declaration does with values that do not have the form that the column needs.
//!
//! A value passes them in this order; in an array, each element does. Without any of them it is taken as it is, or refused.
//!
//! 1. `type`, `trim`, `empty`, `null_values`, `strip_prefix` and `strip_suffix`, see `prepare`.
//! 2. `translate`, `fallback`: by the value's text. A result of `translate` is final. A label of the column's enum stays;
//!    everything else with a text becomes the fallback, where there is one.
//! 3. The conversion, helped by `coerce` and `epoch`. `coerce` ignores white space around a number, boolean or date. A date
//!    without an offset from UTC is UTC.
//! 4. `misfit`, when the conversion refuses the value.
//!
//! Every use that loses something counts a [`Loss`](crate::mapping::Loss). In JSON columns, which hold every value, only the first
//! and the last apply, and only to the value itself, not to the values inside.

use bson::raw::RawBson;

use super::bson_type::BsonTypes;
use crate::model::Reason;

/// The outcome of an element that is null, undefined, an empty text, or empty under `empty` and `null_values`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmptyElements {
    /// It is left out.
    Drop,
    /// It becomes NULL.
    Null,
    /// It refuses the document.
    Reject,
}

/// A type that is read as the column's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coerce {
    /// Anything with one text into a text column: booleans, dates in the years 0000 to 9999, UUIDs.
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
pub(crate) enum Epoch {
    /// Seconds, fractions allowed.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// The outcome of a value that does not fit its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
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
    pub(crate) const NAMES: [(&str, Self); 4] =
        [("text", Self::Text), ("number", Self::Number), ("boolean", Self::Boolean), ("date", Self::Date)];
}

impl EmptyElements {
    /// Every outcome and its name in the file.
    pub(crate) const NAMES: [(&str, Self); 3] = [("drop", Self::Drop), ("null", Self::Null), ("reject", Self::Reject)];
}

impl Epoch {
    /// Every unit and its name in the file.
    pub(crate) const NAMES: [(&str, Self); 2] = [("seconds", Self::Seconds), ("milliseconds", Self::Milliseconds)];
}

impl Misfit {
    /// Every outcome and its name in the file.
    pub(crate) const NAMES: [(&str, Self); 5] = [
        ("null", Self::Null),
        ("truncate", Self::Truncate),
        ("round", Self::Round),
        ("clamp", Self::Clamp),
        ("replace", Self::Replace),
    ];
}

/// The policies of a column, checked against its type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    /// Whether anything at all is declared; most columns have nothing.
    pub(crate) declared: bool,
    pub(crate) trim: bool,
    pub(crate) empty_is_null: bool,
    pub(crate) null_values: Vec<String>,
    pub(crate) types: Option<BsonTypes>,
    pub(crate) strip_prefix: Option<String>,
    pub(crate) strip_suffix: Option<String>,
    pub(crate) empty_elements: Option<EmptyElements>,
    pub(crate) coerce: Coercions,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) translate: Vec<(String, RawBson)>,
    pub(crate) fallback: Option<RawBson>,
    pub(crate) misfit: Misfits,
}

/// The policy of a column that declares none.
pub(crate) static REFUSING: Policy = Policy {
    declared: false,
    trim: false,
    empty_is_null: false,
    null_values: Vec::new(),
    types: None,
    strip_prefix: None,
    strip_suffix: None,
    empty_elements: None,
    coerce: Coercions { text: false, number: false, boolean: false, date: false },
    epoch: None,
    translate: Vec::new(),
    fallback: None,
    misfit: Misfits { null: false, truncate: false, round: false, clamp: false, replace: false },
};

/// Which types are read as the column's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coercions {
    pub(crate) text: bool,
    pub(crate) number: bool,
    pub(crate) boolean: bool,
    pub(crate) date: bool,
}

/// Which outcomes are allowed. Their order says nothing: each but NULL answers reasons of its own, and NULL comes last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Misfits {
    pub(crate) null: bool,
    pub(crate) truncate: bool,
    pub(crate) round: bool,
    pub(crate) clamp: bool,
    pub(crate) replace: bool,
}

/// The result of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The value's binary form was appended.
    Value,
    /// Nothing was appended: the column takes its default or NULL.
    Null,
}

impl Misfits {
    /// Whether a value that is refused for that reason becomes NULL. Broken values, and values that would flood the target,
    /// never do.
    pub(crate) fn nulls(self, reason: Reason) -> bool {
        self.null && !matches!(reason, Reason::Malformed | Reason::Amplify)
    }
}

impl Policy {
    /// The part of the policy that a value of the mapping file passes: it is written as a document would hold it.
    pub(crate) fn reading(&self) -> Self {
        Self { declared: true, coerce: self.coerce, epoch: self.epoch, ..Self::default() }
    }

    /// Whether the policy may take a value for empty.
    pub(crate) fn gives_nothing(&self) -> bool {
        self.empty_is_null || !self.null_values.is_empty()
    }

    /// Whether a value may become NULL: then the column must have a default or take NULL.
    pub(crate) fn gives_null(&self) -> bool {
        self.misfit.null || self.gives_nothing()
    }
}

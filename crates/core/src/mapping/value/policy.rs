//! What a column's declaration says of values that are not there in the form that the column wants.
//!
//! A value passes them in this order; in an array, each element does. Without any of them it is taken as it is, or refused.
//!
//! 1. `type`, `trim`, `empty`, `null_values`, `strip_prefix` and `strip_suffix`, see `prepare`.
//! 2. `translate`, `fallback`: by the value's text. What `translate` lists is final. Of the rest, a label of the column's enum
//!    stays; everything else with a text becomes the fallback, where there is one.
//! 3. The conversion, helped by `coerce` and `epoch`. White space around what `coerce` reads as a number, boolean or date is no
//!    part of it. A date without an offset from UTC is UTC.
//! 4. `misfit`, when the conversion refuses the value.
//!
//! Every use that gives something up is a [`Loss`](crate::mapping::Loss) that is counted. In JSON columns, which hold every value, only the first and the last
//! apply, to the value itself and not to what is inside.

use bson::raw::RawBson;

use super::{convert, raw::Value};
use crate::mapping::{
    At, BsonTypes, Losses,
    plan::target::{ColumnType, Finest},
};
use crate::model::Reason;

/// The policies of a column, as the file says them. The default refuses everything that does not fit as it is.
#[derive(Clone, Debug, Default)]
pub struct PolicyFile {
    /// Whether white space around a text is removed.
    pub trim: bool,
    /// Whether an empty text is NULL.
    pub empty_is_null: bool,
    /// Other values that are NULL, by their text.
    pub null_values: Vec<At<String>>,
    /// The types that are taken; all others do not fit.
    pub types: Option<At<BsonTypes>>,
    /// What a text begins with, which is no part of the value.
    pub strip_prefix: Option<At<String>>,
    /// What a text ends with, which is no part of the value.
    pub strip_suffix: Option<At<String>>,
    /// What becomes of empty elements of an array.
    pub empty_elements: Option<At<EmptyElements>>,
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

/// What becomes of an element that is null, undefined, an empty text, or nothing under `empty` and `null_values`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyElements {
    /// It is left out.
    Drop,
    /// It becomes NULL.
    Null,
    /// It refuses the document.
    Reject,
}

/// A type that is read as the column's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coerce {
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
#[derive(Clone, Copy, Debug, Default)]
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

/// What came of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The value's binary form was appended.
    Value,
    /// Nothing was appended: the column takes its default or NULL.
    Null,
}

impl Misfits {
    /// Whether a value that is refused for that reason becomes NULL. What is broken or would flood the target never does.
    pub(crate) fn nulls(self, reason: Reason) -> bool {
        self.null && !matches!(reason, Reason::Malformed | Reason::Amplify)
    }
}

impl Policy {
    /// Checks the policies of a column of that type; those of an array are for its elements.
    ///
    /// # Errors
    /// Every policy that means nothing for the type: where it stands, what is wrong, what to do.
    pub(crate) fn compile(file: &PolicyFile, kind: &ColumnType) -> Result<Self, Vec<At<(String, String)>>> {
        let (kind, is_array) = match kind.base() {
            ColumnType::Array(element) => (element.base(), true),
            kind => (kind, false),
        };
        let mut checker = Checker { kind, file, faults: Vec::new() };
        let mut policy = Self::preparing(file);
        if let Some(empty) = &file.empty_elements {
            checker.applies(
                empty,
                is_array,
                "empty_elements",
                "it is for columns that hold an array, and for children",
            );
        }
        for coerce in &file.coerce {
            policy.declared = true;
            checker.coerce(coerce);
            match coerce.value {
                Coerce::Text => policy.coerce.text = true,
                Coerce::Number => policy.coerce.number = true,
                Coerce::Boolean => policy.coerce.boolean = true,
                Coerce::Date => policy.coerce.date = true,
            }
        }
        if let Some(epoch) = &file.epoch {
            policy.declared = true;
            checker.applies(epoch, is_instant(kind), "epoch", "it is for date, timestamp and timestamptz");
            policy.epoch = Some(epoch.value);
        }
        for (from, to) in &file.translate {
            policy.declared = true;
            checker.value(from, to, "this value");
            if policy.translate.iter().any(|(known, _)| *known == from.value) {
                checker.fault(from, format!("{:?} is translated twice", from.value), "keep one of them");
            }
            policy.translate.push((from.value.clone(), to.value.clone()));
        }
        if let Some(fallback) = &file.fallback {
            policy.declared = true;
            let known = !file.translate.is_empty() || matches!(kind, ColumnType::Enum { .. });
            if known {
                checker.value(fallback, fallback, "this fallback");
            } else {
                let hint = "it stands for values that `translate` does not list, or that an enum does not know";
                checker.fault(fallback, "`fallback` has nothing to fall back from".to_owned(), hint);
            }
            policy.fallback = Some(fallback.value.clone());
        }
        for misfit in &file.misfit {
            policy.declared = true;
            if policy.misfit.null {
                let what = format!("`{}` is never reached", name_of(&Misfit::NAMES, misfit.value));
                checker.fault(misfit, what, "put `null` last: it answers every reason");
            }
            checker.misfit(misfit);
            match misfit.value {
                Misfit::Null => policy.misfit.null = true,
                Misfit::Truncate => policy.misfit.truncate = true,
                Misfit::Round => policy.misfit.round = true,
                Misfit::Clamp => policy.misfit.clamp = true,
                Misfit::Replace => policy.misfit.replace = true,
            }
        }
        if checker.faults.is_empty() { Ok(policy) } else { Err(checker.faults) }
    }

    /// What is done to a value of whatever type before it is converted.
    fn preparing(file: &PolicyFile) -> Self {
        let text = |text: &Option<At<String>>| text.as_ref().map(|text| text.value.clone());
        let mut policy = Self {
            declared: false,
            trim: file.trim,
            empty_is_null: file.empty_is_null,
            null_values: file.null_values.iter().map(|text| text.value.clone()).collect(),
            types: file.types.as_ref().map(|types| types.value),
            strip_prefix: text(&file.strip_prefix),
            strip_suffix: text(&file.strip_suffix),
            empty_elements: file.empty_elements.as_ref().map(|empty| empty.value),
            ..Self::default()
        };
        policy.declared = policy.trim
            || policy.gives_nothing()
            || policy.types.is_some()
            || policy.strip_prefix.is_some()
            || policy.strip_suffix.is_some()
            || policy.empty_elements.is_some();
        policy
    }

    /// The part of the policy that a value of the mapping file passes: it is written as a document would hold it.
    pub(crate) fn reading(&self) -> Self {
        Self { declared: true, coerce: self.coerce, epoch: self.epoch, ..Self::default() }
    }

    /// Whether a value may be taken for none.
    pub(crate) fn gives_nothing(&self) -> bool {
        self.empty_is_null || !self.null_values.is_empty()
    }

    /// Whether a value may become NULL: then the column must have a default or take NULL.
    pub(crate) fn gives_null(&self) -> bool {
        self.misfit.null || self.gives_nothing()
    }
}

struct Checker<'f> {
    kind: &'f ColumnType,
    file: &'f PolicyFile,
    faults: Vec<At<(String, String)>>,
}

impl Checker<'_> {
    fn fault<T>(&mut self, at: &At<T>, what: String, hint: &str) {
        self.faults.push(at.with((what, hint.to_owned())));
    }

    fn applies<T>(&mut self, at: &At<T>, applies: bool, name: &str, hint: &str) {
        if !applies {
            self.fault(at, format!("`{name}` means nothing for {}", self.kind), hint);
        }
    }

    fn coerce(&mut self, coerce: &At<Coerce>) {
        let kind = self.kind;
        let (applies, hint) = match coerce.value {
            Coerce::Text => {
                let texts = is_text(kind) || matches!(kind, ColumnType::Enum { .. } | ColumnType::Other { .. });
                (texts, "it is for columns that hold text")
            }
            Coerce::Number => {
                let counts = self.file.epoch.is_some() && is_instant(kind);
                (is_number(kind) || counts, "it is for numbers, and for dates with `epoch`")
            }
            Coerce::Boolean => (*kind == ColumnType::Bool, "it is for boolean"),
            Coerce::Date => (is_instant(kind), "it is for date, timestamp and timestamptz"),
        };
        let name = format!("coerce = {:?}", name_of(&Coerce::NAMES, coerce.value));
        self.applies(coerce, applies, &name, hint);
    }

    fn misfit(&mut self, misfit: &At<Misfit>) {
        let kind = self.kind;
        let (applies, hint) = match misfit.value {
            Misfit::Null => (true, ""),
            Misfit::Truncate => {
                let limited = matches!(
                    kind,
                    ColumnType::Varchar(Some(_))
                        | ColumnType::Bpchar(_)
                        | ColumnType::Bit(_)
                        | ColumnType::Varbit(Some(_))
                );
                (limited, "it is for texts and bits with a length")
            }
            Misfit::Round => {
                let rounds = match kind {
                    ColumnType::Numeric { precision, .. } => precision.is_some(),
                    ColumnType::Timestamp { .. }
                    | ColumnType::Timestamptz { .. }
                    | ColumnType::Time { .. }
                    | ColumnType::Timetz { .. }
                    | ColumnType::Vector(_) => true,
                    ColumnType::Interval { finest, .. } => *finest == Finest::Second,
                    kind => is_number(kind),
                };
                (rounds, "it is for numbers and times that hold a limited number of digits")
            }
            Misfit::Clamp => {
                let clamps = match kind {
                    ColumnType::Numeric { precision, .. } => precision.is_some(),
                    kind => is_number(kind) || is_instant(kind),
                };
                (clamps, "it is for numbers and dates with a range")
            }
            Misfit::Replace => (is_text(kind), "it is for texts"),
        };
        self.applies(misfit, applies, name_of(&Misfit::NAMES, misfit.value), hint);
    }

    /// A value that stands for others must itself be one that the column takes.
    fn value<T>(&mut self, at: &At<T>, value: &At<RawBson>, name: &str) {
        let kind = self.kind;
        if matches!(kind, ColumnType::Json | ColumnType::Jsonb) {
            self.applies(at, false, "translate", "JSON holds every value as it is");
            return;
        }
        let taken = Value::from(value.value.as_raw_bson_ref());
        if let Err(reason) = convert::scalar(taken, kind, &REFUSING, &mut Losses::default()) {
            let what = format!("{name} does not fit {kind}: {reason}");
            self.fault(value, what, "write it as a document would hold it");
        }
    }
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, known)| *known == value).map_or("", |(name, _)| name)
}

fn is_text(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Text | ColumnType::Varchar(_) | ColumnType::Bpchar(_) | ColumnType::Citext)
}

fn is_number(kind: &ColumnType) -> bool {
    matches!(
        kind,
        ColumnType::Int2
            | ColumnType::Int4
            | ColumnType::Int8
            | ColumnType::Float4
            | ColumnType::Float8
            | ColumnType::Numeric { .. }
            | ColumnType::Money { .. }
    )
}

fn is_instant(kind: &ColumnType) -> bool {
    matches!(kind, ColumnType::Date | ColumnType::Timestamp { .. } | ColumnType::Timestamptz { .. })
}

#[cfg(test)]
mod tests;

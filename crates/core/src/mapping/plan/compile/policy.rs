//! The policies of a column, checked against its type.

use bson::raw::RawBson;

use crate::mapping::{
    At, Coerce, Losses, Misfit, PolicyFile,
    target::{ColumnType, Finest},
    value::{
        convert,
        policy::{Policy, REFUSING},
        raw::Value,
    },
};

/// Checks the policies of a column of that type; those of an array are for its elements.
///
/// # Errors
/// Every policy that has no meaning for the type: its place, the fault and a hint.
pub(crate) fn compile(file: &PolicyFile, kind: &ColumnType) -> Result<Policy, Vec<At<(String, String)>>> {
    let (kind, is_array) = match kind.base() {
        ColumnType::Array(element) => (element.base(), true),
        kind => (kind, false),
    };
    let mut checker = Checker { kind, file, faults: Vec::new() };
    let mut policy = preparing(file);
    if let Some(empty) = &file.empty_elements {
        checker.applies(empty, is_array, "empty_elements", "it is for columns that hold an array, and for children");
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
            let hint = "it replaces values that `translate` does not list, or that are no label of an enum";
            checker.fault(fallback, "`fallback` has no effect here".to_owned(), hint);
        }
        policy.fallback = Some(fallback.value.clone());
    }
    for misfit in &file.misfit {
        policy.declared = true;
        if policy.misfit.null {
            let what = format!("`{}` is never reached", name_of(&Misfit::NAMES, misfit.value));
            checker.fault(misfit, what, "put `null` last: it applies to every value");
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

/// The policies that apply to values of every type, before the conversion.
fn preparing(file: &PolicyFile) -> Policy {
    let text = |text: &Option<At<String>>| text.as_ref().map(|text| text.value.clone());
    let mut policy = Policy {
        declared: false,
        trim: file.trim,
        empty_is_null: file.empty_is_null,
        null_values: file.null_values.iter().map(|text| text.value.clone()).collect(),
        types: file.types.as_ref().map(|types| types.value),
        strip_prefix: text(&file.strip_prefix),
        strip_suffix: text(&file.strip_suffix),
        empty_elements: file.empty_elements.as_ref().map(|empty| empty.value),
        ..Policy::default()
    };
    policy.declared = policy.trim
        || policy.gives_nothing()
        || policy.types.is_some()
        || policy.strip_prefix.is_some()
        || policy.strip_suffix.is_some()
        || policy.empty_elements.is_some();
    policy
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
            self.fault(at, format!("`{name}` has no effect on {}", self.kind), hint);
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

    /// The column must take a value that replaces others.
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

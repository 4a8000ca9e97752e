//! The values at one path: types, ranges, lengths, the few distinct texts, and what they fit.

use std::collections::BTreeMap;

use super::{form::Fitting, report::Lengths};
use crate::mapping::{Value, type_name};

/// Most distinct texts of a path that are kept; more are no list of kinds.
pub(super) const MAX_FEW: usize = 24;
/// Longest text of such a list in bytes.
const MAX_FEW_BYTES: usize = 64;

/// The values at one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    pub(super) types: Vec<(&'static str, u64)>,
    pub(super) fits: Fitting,
    pub(super) refers: Fitting,
    pub(super) whole: Option<(i64, i64)>,
    pub(super) numbers: Option<(f64, f64)>,
    pub(super) dates: Option<(i64, i64)>,
    /// Values whose own column type refuses them.
    pub(super) out_of_range: u64,
    /// NaN and infinities.
    pub(super) nonfinite: u64,
    /// Longest text or binary value in bytes.
    pub(super) longest: u64,
    pub(super) empty: u64,
    pub(super) nul: u64,
    pub(super) bad_utf8: u64,
    pub(super) lengths: Option<Lengths>,
    few: Few,
}

#[derive(Clone, Debug)]
enum Few {
    Texts(BTreeMap<Box<str>, u64>),
    TooMany,
}

impl Default for Few {
    fn default() -> Self {
        Self::Texts(BTreeMap::new())
    }
}

impl Values {
    /// Takes a value in.
    pub(super) fn add(&mut self, value: Value<'_>, room: &mut Vec<u8>) {
        self.count(type_name(value), 1);
        match value {
            Value::Null | Value::Undefined => return,
            Value::Document(_) | Value::Array(_) => {
                self.fits.none();
                self.refers.none();
                return;
            }
            Value::Int32(number) => self.whole(i64::from(number)),
            Value::Int64(number) => self.whole(number),
            Value::Double(number) => self.number(number),
            Value::Decimal(number) => match number.to_string().parse() {
                Ok(number) => self.number(number),
                Err(_) => self.nonfinite += 1,
            },
            Value::DateTime(ms) => self.dates = Some(wider(self.dates, ms)),
            Value::String(text) => self.text(text),
            Value::Binary { bytes, .. } => self.longest = self.longest.max(bytes.len() as u64),
            _ => {}
        }
        self.fits.column(value, room);
        self.refers.reference(value);
        if matches!(value, Value::DateTime(_) | Value::Decimal(_)) && is_out_of_range(value, room) {
            self.out_of_range += 1;
        }
    }

    /// Counts the elements of an array.
    pub(super) fn length(&mut self, length: u64) {
        let lengths = self.lengths.get_or_insert(Lengths { min: length, max: length, sum: 0 });
        lengths.min = lengths.min.min(length);
        lengths.max = lengths.max.max(length);
        lengths.sum += length;
    }

    /// The distinct texts and how often each came, where there are few.
    pub(super) fn few(&self) -> Option<&BTreeMap<Box<str>, u64>> {
        match &self.few {
            Few::Texts(texts) if !texts.is_empty() => Some(texts),
            _ => None,
        }
    }

    /// Adds the values of another path.
    pub(super) fn merge(&mut self, other: &Self) {
        other.types.iter().for_each(|(name, count)| self.count(name, *count));
        self.fits.and(other.fits);
        self.refers.and(other.refers);
        if let Some((low, high)) = other.whole {
            self.whole = Some(wider(Some(wider(self.whole, low)), high));
        }
        if let Some((low, high)) = other.numbers {
            self.number(low);
            self.number(high);
        }
        if let Some((low, high)) = other.dates {
            self.dates = Some(wider(Some(wider(self.dates, low)), high));
        }
        self.out_of_range += other.out_of_range;
        self.nonfinite += other.nonfinite;
        self.longest = self.longest.max(other.longest);
        self.empty += other.empty;
        self.nul += other.nul;
        self.bad_utf8 += other.bad_utf8;
        if let Some(more) = other.lengths {
            let own = self.lengths.get_or_insert(Lengths { sum: 0, ..more });
            *own = Lengths { min: own.min.min(more.min), max: own.max.max(more.max), sum: own.sum + more.sum };
        }
        match &other.few {
            Few::Texts(texts) => texts.iter().for_each(|(text, count)| self.one_of_few(text, *count)),
            Few::TooMany => self.few = Few::TooMany,
        }
    }

    fn count(&mut self, name: &'static str, more: u64) {
        match self.types.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += more,
            None => self.types.push((name, more)),
        }
    }

    fn whole(&mut self, number: i64) {
        self.whole = Some(wider(self.whole, number));
        self.number(number as f64);
    }

    fn number(&mut self, number: f64) {
        if number.is_finite() {
            let (low, high) = self.numbers.unwrap_or((number, number));
            self.numbers = Some((low.min(number), high.max(number)));
        } else {
            self.nonfinite += 1;
        }
    }

    fn text(&mut self, bytes: &[u8]) {
        self.longest = self.longest.max(bytes.len() as u64);
        self.empty += u64::from(bytes.is_empty());
        self.nul += u64::from(bytes.contains(&0));
        match std::str::from_utf8(bytes) {
            Ok(text) => self.one_of_few(text, 1),
            Err(_) => self.bad_utf8 += 1,
        }
    }

    fn one_of_few(&mut self, text: &str, more: u64) {
        let Few::Texts(texts) = &mut self.few else { return };
        if let Some(count) = texts.get_mut(text) {
            *count += more;
        } else if texts.len() < MAX_FEW && text.len() <= MAX_FEW_BYTES {
            texts.insert(text.into(), more);
        } else {
            self.few = Few::TooMany;
        }
    }
}

fn wider<T: Copy + Ord>(range: Option<(T, T)>, value: T) -> (T, T) {
    range.map_or((value, value), |(low, high)| (low.min(value), high.max(value)))
}

/// Whether the column type that is meant for such values refuses this one.
fn is_out_of_range(value: Value<'_>, room: &mut Vec<u8>) -> bool {
    let mut fits = Fitting::default();
    fits.column(value, room);
    !fits.forms().iter().any(|form| matches!(form, super::Form::Timestamptz | super::Form::Numeric))
}

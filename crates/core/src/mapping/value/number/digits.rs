//! Decimal numbers of any length: what a text holds, and what is left after rounding.
//!
//! [`Decimal`] has at most 34 digits, which is all that MongoDB's own numbers need. A text may have more (amounts of 78 digits
//! are kept as texts for that reason), and so may the largest value of a `numeric(p, s)`. Arithmetic is on digits alone.

use crate::model::{Decimal, Reason};

/// Digits after the point that `numeric` of PostgreSQL holds; before the point it holds more than any value here has.
const MAX_PLACES: i32 = 16_383;

/// A finite number: `± digits × 10^exponent`. No leading zeros; zero has no digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digits {
    negative: bool,
    /// 0 to 9 each, the most significant first.
    digits: Vec<u8>,
    exponent: i32,
}

impl Digits {
    /// A number of whole units of `10^exponent`.
    pub(crate) fn new(negative: bool, coefficient: u128, exponent: i32) -> Self {
        let digits = match coefficient {
            0 => Vec::new(),
            _ => coefficient.to_string().bytes().map(|digit| digit - b'0').collect(),
        };
        Self { negative, digits, exponent }
    }

    /// Reads `-12`, `1.50`, `.5`, `1e3`; white space around it is no part of the number.
    ///
    /// # Errors
    /// `TYPE_MISMATCH` for anything else, `RANGE_NUM` for what no `numeric` holds.
    pub(crate) fn parse(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, power) = match text.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, Some(power)),
            None => (text, None),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) || whole.len() + fraction.len() == 0 {
            return Err(Reason::TypeMismatch);
        }
        let power = power.map_or(Ok(0), exponent)?;
        let places = i32::try_from(fraction.len()).map_err(|_| Reason::RangeNum)?;
        let exponent = power.checked_sub(places).ok_or(Reason::RangeNum)?;
        let digits = whole.bytes().chain(fraction.bytes()).skip_while(|digit| *digit == b'0');
        let number = Self { negative, digits: digits.map(|digit| digit - b'0').collect(), exponent };
        let held = number.magnitude() <= MAX_PLACES && exponent.abs() <= MAX_PLACES;
        if held { Ok(number) } else { Err(Reason::RangeNum) }
    }

    /// The largest number of `precision` digits, `scale` of them after the point.
    pub(crate) fn largest(negative: bool, precision: u16, scale: i16) -> Self {
        Self { negative, digits: vec![9; usize::from(precision)], exponent: -i32::from(scale) }
    }

    /// The number in units of `10^power`.
    pub(crate) fn shifted(mut self, power: i32) -> Self {
        self.exponent -= power;
        self
    }

    /// Rounded to so many places after the point, half away from zero.
    pub(crate) fn rounded(mut self, scale: i32) -> Self {
        let Ok(dropped) = usize::try_from(-scale - self.exponent) else { return self };
        if dropped == 0 {
            return self;
        }
        self.exponent = -scale;
        let Some(kept) = self.digits.len().checked_sub(dropped) else {
            self.digits.clear();
            return self;
        };
        let up = self.digits.get(kept).is_some_and(|digit| *digit >= 5);
        self.digits.truncate(kept);
        if up {
            match self.digits.iter().rposition(|digit| *digit < 9) {
                Some(at) => {
                    self.digits[at] += 1;
                    self.digits[at + 1..].fill(0);
                }
                None => {
                    self.digits.fill(0);
                    self.digits.insert(0, 1);
                }
            }
        }
        self
    }

    /// Whether there is a digit but zero beyond so many places after the point.
    pub(crate) fn is_finer_than(&self, scale: i32) -> bool {
        let dropped = usize::try_from(-scale - self.exponent).unwrap_or(0);
        self.digits.iter().rev().take(dropped).any(|digit| *digit != 0)
    }

    /// The power of ten that the number stays below: 2 for 12.5, −1 for 0.05.
    pub(crate) fn magnitude(&self) -> i32 {
        match i32::try_from(self.digits.len()) {
            Ok(0) => i32::MIN,
            Ok(length) => self.exponent.saturating_add(length),
            Err(_) => i32::MAX,
        }
    }

    /// Whether it is below zero, or a zero with a minus sign.
    pub(crate) fn is_negative(&self) -> bool {
        self.negative
    }

    /// Whether it is zero.
    pub(crate) fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// The whole number it is.
    ///
    /// # Errors
    /// `LOSSY` for a fraction, `RANGE_INT` for more than an `i128` holds.
    pub(crate) fn whole(&self) -> Result<i128, Reason> {
        if self.is_finer_than(0) {
            return Err(Reason::Lossy);
        }
        if self.is_zero() {
            return Ok(0);
        }
        if self.magnitude() > 38 {
            return Err(Reason::RangeInt);
        }
        let zeros = usize::try_from(self.exponent).unwrap_or(0);
        let dropped = usize::try_from(-self.exponent).unwrap_or(0);
        let digits = self.digits[..self.digits.len() - dropped].iter().copied().chain(std::iter::repeat_n(0, zeros));
        let magnitude = digits.fold(0i128, |sum, digit| sum * 10 + i128::from(digit));
        Ok(if self.negative { -magnitude } else { magnitude })
    }

    /// The same number without trailing zeros, whatever way it was written.
    pub(crate) fn normalised(mut self) -> Self {
        while self.digits.pop_if(|digit| *digit == 0).is_some() {
            self.exponent += 1;
        }
        if self.is_zero() {
            self.exponent = 0;
            self.negative = false;
        }
        self
    }

    /// With an exponent, which every reader of numbers knows; the scale is kept in it.
    pub(crate) fn text(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let digits: String = self.digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        format!("{sign}{}e{}", if digits.is_empty() { "0" } else { &digits }, self.exponent)
    }

    /// Characters that PostgreSQL needs to print it.
    pub(crate) fn printed_length(&self) -> usize {
        self.digits.len() + self.exponent.unsigned_abs() as usize
    }

    /// Appends the binary form of `numeric`, scale kept.
    pub(crate) fn write_binary(&self, out: &mut Vec<u8>) {
        const NEGATIVE: u16 = 0x4000;
        let scale = (-self.exponent).clamp(0, MAX_PLACES);
        // Groups of four digits, aligned at the point.
        let behind = usize::try_from(self.exponent.rem_euclid(4)).unwrap_or(0);
        let mut digits = self.digits.clone();
        digits.extend(std::iter::repeat_n(0, behind));
        let ahead = (4 - digits.len() % 4) % 4;
        digits.splice(0..0, std::iter::repeat_n(0, ahead));
        let mut groups: Vec<u16> = digits
            .chunks_exact(4)
            .map(|group| group.iter().fold(0, |sum, digit| sum * 10 + u16::from(*digit)))
            .collect();
        let weight = self.exponent.div_euclid(4) + i32::try_from(groups.len()).unwrap_or(i32::MAX) - 1;
        while groups.pop_if(|group| *group == 0).is_some() {}
        let sign = if self.negative && !groups.is_empty() { NEGATIVE } else { 0 };
        let weight = if groups.is_empty() { 0 } else { weight };
        // All within ±16,383 digits, see `parse`.
        for part in [groups.len() as u16, weight as i16 as u16, sign, scale as u16].iter().chain(&groups) {
            out.extend_from_slice(&part.to_be_bytes());
        }
    }
}

fn exponent(text: &str) -> Result<i32, Reason> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reason::TypeMismatch);
    }
    text.parse().map_err(|_| Reason::RangeNum)
}

impl TryFrom<Decimal> for Digits {
    type Error = Reason;

    fn try_from(value: Decimal) -> Result<Self, Reason> {
        match value {
            Decimal::Finite { negative, coefficient, exponent } => Ok(Self::new(negative, coefficient, exponent)),
            Decimal::Infinite { .. } | Decimal::NaN => Err(Reason::NonFinite),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::mapping::value::number::numeric;

    fn number(text: &str) -> Digits {
        Digits::parse(text).expect("a number")
    }

    #[rstest]
    #[case("12", "12e0")]
    #[case::input_050_white_space(" 12 ", "12e0")]
    #[case("-1.50", "-150e-2")]
    #[case("+.5", "5e-1")]
    #[case("5.", "5e0")]
    #[case("00012", "12e0")]
    #[case("1e3", "1e3")]
    #[case("1.5E-3", "15e-4")]
    #[case("-0.00", "-0e-2")]
    fn reads_numbers(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(number(text).text(), expected);
    }

    #[rstest]
    #[case::input_053_empty("")]
    #[case(" ")]
    #[case("-")]
    #[case(".")]
    #[case("1,5")]
    #[case("1_000")]
    #[case("0x10")]
    #[case("1e")]
    #[case("1e+")]
    #[case("1 2")]
    #[case("--1")]
    #[case("NaN")]
    #[case("Infinity")]
    #[case("\u{661}")]
    fn refuses_what_is_no_number(#[case] text: &str) {
        assert_eq!(Digits::parse(text), Err(Reason::TypeMismatch));
    }

    #[rstest]
    #[case("1e20000")]
    #[case("1e-20000")]
    #[case("1e99999999999")]
    fn refuses_what_no_numeric_holds(#[case] text: &str) {
        assert_eq!(Digits::parse(text), Err(Reason::RangeNum));
    }

    #[rstest]
    #[case("2.5", 0, "3e0")]
    #[case("-2.5", 0, "-3e0")]
    #[case("2.4999", 0, "2e0")]
    #[case::input_076("1.005", 2, "101e-2")]
    #[case::input_077("1e-9", 2, "0e-2")]
    #[case("0.5", 0, "1e0")]
    #[case("0.05", 0, "0e0")]
    #[case("99.995", 2, "10000e-2")]
    #[case("1250", -2, "13e2")]
    #[case("1.5", 3, "15e-1")]
    fn rounds_half_away_from_zero(#[case] text: &str, #[case] scale: i32, #[case] expected: &str) {
        assert_eq!(number(text).rounded(scale).text(), expected);
    }

    #[rstest]
    #[case("12.00", Ok(12))]
    #[case("-12e2", Ok(-1200))]
    #[case("0.000", Ok(0))]
    #[case("1.5", Err(Reason::Lossy))]
    #[case("170141183460469231731687303715884105727", Err(Reason::RangeInt))]
    fn whole_numbers(#[case] text: &str, #[case] expected: Result<i128, Reason>) {
        assert_eq!(number(text).whole(), expected);
    }

    proptest! {
        #[test]
        fn the_binary_form_is_that_of_a_decimal(negative: bool, coefficient in 0..10u128.pow(34), exponent in -6176..=6111i32) {
            let decimal = Decimal::Finite { negative, coefficient, exponent };
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            Digits::try_from(decimal).expect("finite").write_binary(&mut ours);
            numeric::write_binary(decimal, &mut theirs);
            prop_assert_eq!(ours, theirs);
            prop_assert_eq!(number(&numeric::text(decimal)), Digits::try_from(decimal).expect("finite"));
        }

        #[test]
        fn rounding_is_within_half_a_unit(value in -10i128.pow(18)..10i128.pow(18), places in 0..12i32) {
            let exact = Digits::new(value < 0, value.unsigned_abs(), -places);
            let rounded = exact.rounded(0).whole().expect("whole");
            let unit = 10i128.pow(places.unsigned_abs());
            prop_assert!((rounded * unit - value).abs() * 2 <= unit);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+ 0-9.eE]{0,12}|.{0,6}", scale in -30..30i32) {
            if let Ok(number) = Digits::parse(&text) {
                number.clone().rounded(scale).write_binary(&mut Vec::new());
                let _ = (number.whole(), number.text(), number.magnitude());
            }
        }
    }
}

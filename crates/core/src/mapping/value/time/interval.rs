//! Texts of intervals: ISO 8601 (`P1Y2M3DT4H5M6.5S`) and PostgreSQL's own (`1 year 2 mons -3 days 04:05:06.5`).
//!
//! Not left to PostgreSQL, whose reading depends on `IntervalStyle` and which spreads fractions and cuts units in silence. Months,
//! days and seconds are three numbers, as PostgreSQL keeps them; only what divides exactly moves from one unit to the next.

use super::{ATTOS_PER_SECOND, iso::attoseconds};
use crate::mapping::{
    Losses,
    target::Finest,
    value::{policy::Policy, time},
};
use crate::model::Reason;

const ATTOS_PER_MICRO: i128 = ATTOS_PER_SECOND / 1_000_000;
const MINUTE: i128 = 60 * ATTOS_PER_SECOND;
const HOUR: i128 = 60 * MINUTE;
const DAY: i128 = 24 * HOUR;

/// An interval as PostgreSQL keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) months: i32,
    pub(crate) days: i32,
    pub(crate) micros: i64,
}

/// While it is read: whole months, whole days, attoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    months: i128,
    days: i128,
    attos: i128,
}

/// A unit of time, and how many of the base it has.
#[derive(Clone, Copy)]
enum Unit {
    Months(i128),
    Days(i128),
    Attos(i128),
}

/// A number of a text: `mantissa × 10^-places`.
struct Amount {
    mantissa: i128,
    places: u32,
}

/// Reads an interval for a column that keeps so much of it.
///
/// # Errors
/// `TYPE_MISMATCH` for what says no interval in exactly one way, `LOSSY` for more than the column keeps, `RANGE_TS`.
pub(crate) fn read(
    text: &str,
    precision: u8,
    finest: Finest,
    policy: &Policy,
    losses: &mut Losses,
) -> Result<Interval, Reason> {
    let text = text.trim();
    let sum = match text.strip_prefix('P') {
        Some(rest) => iso(rest),
        None => plain(text),
    };
    let sum = sum.ok_or(Reason::TypeMismatch)?;
    let unit = 10i128.pow(u32::from(6 - precision.min(6))) * ATTOS_PER_MICRO;
    let attos = time::rounded(sum.attos, unit, policy, losses)?;
    let kept = match finest {
        Finest::Second => true,
        Finest::Minute => attos % MINUTE == 0,
        Finest::Hour => attos % HOUR == 0,
        Finest::Day => attos == 0,
        Finest::Month => attos == 0 && sum.days == 0,
        Finest::Year => attos == 0 && sum.days == 0 && sum.months % 12 == 0,
    };
    if !kept {
        return Err(Reason::Lossy);
    }
    let out_of_range = |_| Reason::RangeTs;
    Ok(Interval {
        months: sum.months.try_into().map_err(out_of_range)?,
        days: sum.days.try_into().map_err(out_of_range)?,
        micros: (attos / ATTOS_PER_MICRO).try_into().map_err(out_of_range)?,
    })
}

impl Interval {
    /// The text that PostgreSQL reads alike under every `IntervalStyle`.
    pub(crate) fn text(self) -> String {
        let (seconds, fraction) = (self.micros / 1_000_000, (self.micros % 1_000_000).abs());
        let sign = if self.micros < 0 && seconds == 0 { "-" } else { "" };
        format!("P{}M{}DT{sign}{seconds}.{fraction:06}S", self.months, self.days)
    }
}

impl Sum {
    /// Adds an amount of a unit; `None` where that gives no whole number of what is below.
    fn add(&mut self, amount: Amount, unit: Unit) -> Option<()> {
        let divisor = 10i128.checked_pow(amount.places)?;
        let product = |size: i128| amount.mantissa.checked_mul(size);
        let exact = |total: i128| (total % divisor == 0).then_some(total / divisor);
        match unit {
            Unit::Months(size) => self.months = self.months.checked_add(exact(product(size)?)?)?,
            Unit::Days(size) => {
                let total = product(size)?;
                self.days = self.days.checked_add(total / divisor)?;
                // The rest is below a day.
                self.attos = self.attos.checked_add(exact((total % divisor).checked_mul(DAY)?)?)?;
            }
            Unit::Attos(size) => self.attos = self.attos.checked_add(exact(product(size)?)?)?,
        }
        Some(())
    }
}

fn iso(text: &str) -> Option<Sum> {
    let (date, clock) = match text.split_once('T') {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    if date.is_empty() && clock.is_none() || clock == Some("") {
        return None;
    }
    let mut sum = Sum::default();
    designated(
        date,
        &mut sum,
        &[('Y', Unit::Months(12)), ('M', Unit::Months(1)), ('W', Unit::Days(7)), ('D', Unit::Days(1))],
    )?;
    let clock_units = [('H', Unit::Attos(HOUR)), ('M', Unit::Attos(MINUTE)), ('S', Unit::Attos(ATTOS_PER_SECOND))];
    designated(clock.unwrap_or(""), &mut sum, &clock_units)?;
    Some(sum)
}

/// Numbers with a letter behind each; every letter once, in the given order.
fn designated(mut text: &str, sum: &mut Sum, units: &[(char, Unit)]) -> Option<()> {
    let mut units = units.iter();
    while !text.is_empty() {
        let end = text.find(|letter: char| letter.is_ascii_alphabetic())?;
        let letter = text[end..].chars().next()?;
        let (_, unit) = units.find(|(known, _)| *known == letter)?;
        sum.add(amount(&text[..end])?, *unit)?;
        text = &text[end + 1..];
    }
    Some(())
}

fn plain(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let mut words = text.split_ascii_whitespace().peekable();
    words.peek()?;
    while let Some(word) = words.next() {
        if word.contains(':') {
            sum.attos = sum.attos.checked_add(clock(word)?)?;
            // A clock comes last, and only once.
            return words.next().is_none().then_some(sum);
        }
        sum.add(amount(word)?, unit(words.next()?)?)?;
    }
    Some(sum)
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word.to_ascii_lowercase().as_str() {
        "year" | "years" => Unit::Months(12),
        "mon" | "mons" | "month" | "months" => Unit::Months(1),
        "week" | "weeks" => Unit::Days(7),
        "day" | "days" => Unit::Days(1),
        "hour" | "hours" | "hr" | "hrs" | "h" => Unit::Attos(HOUR),
        "minute" | "minutes" | "min" | "mins" => Unit::Attos(MINUTE),
        "second" | "seconds" | "sec" | "secs" | "s" => Unit::Attos(ATTOS_PER_SECOND),
        "millisecond" | "milliseconds" | "ms" => Unit::Attos(ATTOS_PER_SECOND / 1000),
        "microsecond" | "microseconds" | "us" => Unit::Attos(ATTOS_PER_MICRO),
        _ => return None,
    })
}

/// `[-]hours:minutes[:seconds[.fraction]]`.
fn clock(text: &str) -> Option<i128> {
    let (sign, text) = signed(text);
    let mut parts = text.split(':');
    let hours = whole(parts.next()?)?;
    let below_sixty = |text: &str| whole(text).filter(|value| text.len() == 2 && *value < 60);
    let minutes = below_sixty(parts.next()?)?;
    let (seconds, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once('.') {
            None => (below_sixty(seconds)?, 0),
            Some((seconds, fraction)) => (below_sixty(seconds)?, attoseconds(fraction)?),
        },
    };
    let total = hours.checked_mul(HOUR)?.checked_add(minutes * MINUTE + seconds * ATTOS_PER_SECOND + fraction)?;
    parts.next().is_none().then_some(sign * total)
}

fn amount(text: &str) -> Option<Amount> {
    let (sign, text) = signed(text);
    let (whole_part, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    if text.ends_with('.') || whole_part.is_empty() || fraction.len() > 18 {
        return None;
    }
    let mantissa = whole(&format!("{whole_part}{fraction}"))?;
    Some(Amount { mantissa: sign * mantissa, places: u32::try_from(fraction.len()).ok()? })
}

fn signed(text: &str) -> (i128, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// At most 36 digits, which an `i128` holds; what is made of them is checked.
fn whole(text: &str) -> Option<i128> {
    let digits = !text.is_empty() && text.len() <= 36 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::mapping::value::policy::REFUSING;

    fn text(text: &str, precision: u8, finest: Finest) -> Result<String, Reason> {
        read(text, precision, finest, &REFUSING, &mut Losses::default()).map(Interval::text)
    }

    #[rstest]
    #[case("P1Y2M3DT4H5M6.5S", "P14M3DT14706.500000S")]
    #[case("P2W", "P0M14DT0.000000S")]
    #[case("PT-0.5S", "P0M0DT-0.500000S")]
    #[case("P-1Y", "P-12M0DT0.000000S")]
    #[case("1 year 2 mons -3 days 04:05:06.5", "P14M-3DT14706.500000S")]
    #[case("-00:00:01", "P0M0DT-1.000000S")]
    #[case("90 min", "P0M0DT5400.000000S")]
    #[case("1.5 hours", "P0M0DT5400.000000S")]
    #[case("1.5 days", "P0M1DT43200.000000S")]
    #[case("-1.5 weeks", "P0M-10DT-43200.000000S")]
    #[case("0.5 years", "P6M0DT0.000000S")]
    #[case("100:00", "P0M0DT360000.000000S")]
    #[case("250 ms", "P0M0DT0.250000S")]
    fn intervals(#[case] given: &str, #[case] expected: &str) {
        assert_eq!(text(given, 6, Finest::Second).as_deref(), Ok(expected));
    }

    #[rstest]
    #[case("")]
    #[case("P")]
    #[case("PT")]
    #[case("P1")]
    #[case("P1H")]
    #[case("P1M1Y")]
    #[case("5")]
    #[case("1-2")]
    #[case("1 fortnight")]
    #[case("0.1 months")]
    #[case("04:60")]
    #[case("04:05:06 1 day")]
    #[case("1 day ago")]
    #[case("zz")]
    #[case("é")]
    fn refuses_what_is_no_interval(#[case] given: &str) {
        assert_eq!(text(given, 6, Finest::Second), Err(Reason::TypeMismatch));
    }

    #[rstest]
    #[case::digits("1.25 s", 1, Finest::Second, Err(Reason::Lossy))]
    #[case::seventh_digit("0.0000001 s", 6, Finest::Second, Err(Reason::Lossy))]
    #[case("1.2 s", 1, Finest::Second, Ok("P0M0DT1.200000S"))]
    #[case::seconds("00:00:01", 6, Finest::Minute, Err(Reason::Lossy))]
    #[case("00:05:00", 6, Finest::Minute, Ok("P0M0DT300.000000S"))]
    #[case::minutes("00:05:00", 6, Finest::Hour, Err(Reason::Lossy))]
    #[case::hours("1 hour", 6, Finest::Day, Err(Reason::Lossy))]
    #[case::days("1 day", 6, Finest::Month, Err(Reason::Lossy))]
    #[case::months("14 mons", 6, Finest::Year, Err(Reason::Lossy))]
    #[case("24 mons", 6, Finest::Year, Ok("P24M0DT0.000000S"))]
    #[case::range("3000000000 days", 6, Finest::Second, Err(Reason::RangeTs))]
    fn nothing_is_cut(
        #[case] given: &str,
        #[case] precision: u8,
        #[case] finest: Finest,
        #[case] expected: Result<&str, Reason>,
    ) {
        assert_eq!(text(given, precision, finest).as_deref(), expected.as_ref().copied());
    }

    proptest! {
        #[test]
        fn reads_its_own_text(months: i32, days: i32, micros: i64) {
            let interval = Interval { months, days, micros };
            let back = read(&interval.text(), 6, Finest::Second, &REFUSING, &mut Losses::default());
            prop_assert_eq!(back, Ok(interval));
        }

        #[test]
        fn never_panics(text in ".{0,40}|P?[-+0-9.:YMWDTHS a-z]{0,40}") {
            let _ = read(&text, 3, Finest::Second, &REFUSING, &mut Losses::default());
        }
    }
}

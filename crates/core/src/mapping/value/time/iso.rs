//! Texts of dates, instants and times of day, as ISO 8601 writes them.
//!
//! Not left to PostgreSQL, which takes `now` for the instant at which it reads it, ignores a zone where the type has none, and
//! rounds digits it cannot hold. Here a text either says exactly one thing, or nothing.

use super::{ATTOS_PER_SECOND, days_from_civil};

const SECONDS_PER_DAY: i64 = 86_400;
/// Digits of a second that are kept; PostgreSQL keeps six.
const MAX_DIGITS: usize = 18;

/// A time of day, and its clock's offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// Attoseconds since midnight.
    pub(crate) attos: i128,
    /// Seconds east of UTC.
    pub(crate) offset: Option<i32>,
}

/// Attoseconds since 1970 of `2020-02-29`, `2020-02-29T12:30`, `2020-02-29T12:30:15.250+01:00`; without an offset, of UTC.
/// A year has four digits, or a sign and six. `None` for anything else, also for days that do not exist.
pub(crate) fn instant(text: &str) -> Option<i128> {
    let (date, clock) = match text.split_once(['T', 't', ' ']) {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    let seconds = days(date)? * SECONDS_PER_DAY;
    let clock = clock.map_or(Some(Clock { attos: 0, offset: None }), self::clock)?;
    let seconds = i128::from(seconds - i64::from(clock.offset.unwrap_or(0)));
    Some(seconds * ATTOS_PER_SECOND + clock.attos)
}

/// `12:30`, `12:30:15.250`, with `Z`, `+01`, `+01:00` or `+0100` behind it or not. `None` for anything else; a day has no
/// 24:00 and a minute no 60th second here.
pub(crate) fn clock(text: &str) -> Option<Clock> {
    let zone = text.find(['Z', 'z', '+', '-']).unwrap_or(text.len());
    let (time, zone) = text.split_at(zone);
    let (time, fraction) = match time.split_once('.') {
        Some((time, fraction)) => (time, Some(fraction)),
        None => (time, None),
    };
    let mut parts = time.split(':');
    let hours = two_digits(parts.next()?, 23)?;
    let minutes = two_digits(parts.next()?, 59)?;
    let seconds = match parts.next() {
        Some(seconds) => two_digits(seconds, 59)?,
        None if fraction.is_none() => 0,
        None => return None,
    };
    if parts.next().is_some() {
        return None;
    }
    let seconds = i128::from(hours * 3600 + minutes * 60 + seconds);
    let attos = seconds * ATTOS_PER_SECOND + fraction.map_or(Some(0), attoseconds)?;
    Some(Clock { attos, offset: if zone.is_empty() { None } else { Some(offset(zone)?) } })
}

/// Attoseconds of the digits behind a point.
pub(crate) fn attoseconds(digits: &str) -> Option<i128> {
    let kept = if digits.len() > MAX_DIGITS { digits.trim_end_matches('0') } else { digits };
    if digits.is_empty() || kept.len() > MAX_DIGITS || !kept.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{kept:0<MAX_DIGITS$}").parse().ok()
}

fn days(text: &str) -> Option<i64> {
    let (year, rest) = match text.strip_prefix(['+', '-']) {
        None => (number(text.get(..4)?)?, text.get(4..)?),
        Some(unsigned) => {
            let year = number(unsigned.get(..6)?)?;
            (if text.starts_with('-') { -year } else { year }, unsigned.get(6..)?)
        }
    };
    let (month, day) = rest.strip_prefix('-')?.split_once('-')?;
    let (month, day) = (two_digits(month, 12)?, two_digits(day, 31)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (month >= 1 && (1..=length).contains(&day)).then(|| days_from_civil(year, month, day))
}

fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("Z" | "z", "") => return Some(0),
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 => digits.split_at_checked(2)?,
        5 => digits.split_once(':')?,
        _ => return None,
    };
    // PostgreSQL takes offsets below 16 hours.
    let seconds = two_digits(hours, 15)? * 3600 + two_digits(minutes, 59)? * 60;
    i32::try_from(sign * seconds).ok()
}

fn two_digits(text: &str, most: i64) -> Option<i64> {
    number(text).filter(|value| text.len() == 2 && *value <= most)
}

fn number(text: &str) -> Option<i64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::mapping::value::time;

    const MS: i128 = ATTOS_PER_SECOND / 1000;

    #[rstest]
    #[case("1970-01-01", 0)]
    #[case("1970-01-02T00:00", 86_400_000)]
    #[case("2020-02-29 12:30:15.250", 1_582_979_415_250)]
    #[case("2020-02-29T12:30:15.25Z", 1_582_979_415_250)]
    #[case("2020-02-29T13:30:15.25+01:00", 1_582_979_415_250)]
    #[case("2020-02-29T10:00:15.25-0230", 1_582_979_415_250)]
    #[case("2020-02-29t12:30:15.2500000000000000000000z", 1_582_979_415_250)]
    #[case("0000-01-01", -62_167_219_200_000)]
    #[case("+010000-01-01T00:00:00Z", 253_402_300_800_000)]
    #[case("-000001-12-31", -62_167_305_600_000)]
    fn instants(#[case] text: &str, #[case] ms: i128) {
        assert_eq!(instant(text), Some(ms * MS));
    }

    #[rstest]
    #[case::input_049_no_such_day("2020-02-30")]
    #[case("2019-02-29")]
    #[case("1900-02-29")]
    #[case("2020-00-01")]
    #[case("2020-13-01")]
    #[case("2020-01-00")]
    #[case("2020-1-1")]
    #[case("20200101")]
    #[case("01/02/2020")]
    #[case("2020-01-01T")]
    #[case("2020-01-01T24:00")]
    #[case("2020-01-01T23:59:60")]
    #[case("2020-01-01T12")]
    #[case("2020-01-01T12:30.5")]
    #[case("2020-01-01T12:30:15.")]
    #[case("2020-01-01T12:30:15.0000000000000000001")]
    #[case("2020-01-01T12:30:15+")]
    #[case("2020-01-01T12:30:15+16:00")]
    #[case("2020-01-01T12:30:15 Europe/Berlin")]
    #[case("10000-01-01")]
    #[case("now")]
    #[case("today")]
    #[case("infinity")]
    #[case("1600000000")]
    #[case("")]
    #[case("é020-01-01")]
    fn refuses_what_is_no_instant(#[case] text: &str) {
        assert_eq!(instant(text), None);
    }

    #[rstest]
    #[case("12:30", 45_000_000, None)]
    #[case("23:59:59.999", 86_399_999, None)]
    #[case("00:00:00-02:30", 0, Some(-9000))]
    fn clocks(#[case] text: &str, #[case] ms: i128, #[case] offset: Option<i32>) {
        assert_eq!(clock(text), Some(Clock { attos: ms * MS, offset }));
    }

    proptest! {
        #[test]
        fn reads_what_time_writes(ms in -62_167_219_200_000i64..253_402_300_800_000) {
            prop_assert_eq!(instant(&time::iso_text(ms).expect("in range")), Some(i128::from(ms) * MS));
        }

        #[test]
        fn never_panics(text in ".{0,40}|[-+0-9TZ:. ]{0,32}") {
            let _ = (instant(&text), clock(&text));
        }
    }
}

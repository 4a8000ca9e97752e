//! Dates and instants, by integer arithmetic alone.
//!
//! Source: `timestamp.h` and `date.h` of PostgreSQL: the epoch is 2000-01-01, days begin at Julian day 0
//! (4714-11-24 BC), timestamps end before 294277, dates before 5874898.

pub(crate) mod interval;
pub(crate) mod iso;

use super::policy::Policy;
use crate::mapping::{Loss, Losses};
use crate::model::Reason;

/// The finest unit here, so that nothing is rounded before the column says to how many digits.
pub(crate) const ATTOS_PER_SECOND: i128 = 1_000_000_000_000_000_000;
const ATTOS_PER_MICRO: i128 = ATTOS_PER_SECOND / 1_000_000;
const MS_PER_DAY: i64 = 86_400_000;
const EPOCH_DAYS: i64 = 10_957;
const MIN_DAY: i64 = -2_451_545;
const END_DAY: i64 = 2_147_483_494 - 2_451_545;
const MIN_TIMESTAMP: i64 = -211_813_488_000_000_000;
const END_TIMESTAMP: i64 = 9_223_371_331_200_000_000;

/// Microseconds since 2000 of an instant in milliseconds since 1970.
///
/// # Errors
/// `RANGE_TS` outside of PostgreSQL's range, `LOSSY` where the column keeps fewer digits of the second.
pub(crate) fn timestamp(ms: i64, precision: u8) -> Result<i64, Reason> {
    let micros = ms
        .checked_sub(EPOCH_DAYS * MS_PER_DAY)
        .and_then(|ms| ms.checked_mul(1000))
        .filter(|micros| (MIN_TIMESTAMP..END_TIMESTAMP).contains(micros))
        .ok_or(Reason::RangeTs)?;
    let unit = 10i64.pow(u32::from(6 - precision.min(6)));
    if micros % unit == 0 { Ok(micros) } else { Err(Reason::Lossy) }
}

/// Days since 2000 of the UTC day of an instant, and whether the instant has a time of day besides.
///
/// # Errors
/// `RANGE_TS` outside of PostgreSQL's range.
pub(crate) fn date(ms: i64) -> Result<(i32, bool), Reason> {
    let days = ms.div_euclid(MS_PER_DAY) - EPOCH_DAYS;
    if !(MIN_DAY..END_DAY).contains(&days) {
        return Err(Reason::RangeTs);
    }
    Ok((i32::try_from(days).map_err(|_| Reason::RangeTs)?, ms.rem_euclid(MS_PER_DAY) != 0))
}

/// Microseconds since 2000 of an instant in attoseconds since 1970, with what the column's policy allows.
///
/// Rounds as PostgreSQL's own cast does: half away from the epoch of its timestamps.
///
/// # Errors
/// As [`timestamp`].
pub(crate) fn fit_timestamp(attos: i128, precision: u8, policy: &Policy, losses: &mut Losses) -> Result<i64, Reason> {
    let unit = 10i64.pow(u32::from(6 - precision.min(6)));
    let since = attos - i128::from(EPOCH_DAYS * MS_PER_DAY) * (ATTOS_PER_SECOND / 1000);
    let (first, last) = (i128::from(MIN_TIMESTAMP), i128::from(END_TIMESTAMP - unit));
    let end = i128::from(END_TIMESTAMP);
    let micros = if (first * ATTOS_PER_MICRO..end * ATTOS_PER_MICRO).contains(&since) {
        rounded(since, i128::from(unit) * ATTOS_PER_MICRO, policy, losses)? / ATTOS_PER_MICRO
    } else {
        since.div_euclid(ATTOS_PER_MICRO)
    };
    clamped(micros, first, last, policy, losses).and_then(|micros| i64::try_from(micros).map_err(|_| Reason::RangeTs))
}

/// As [`date`], of an instant in attoseconds since 1970, with what the column's policy allows.
///
/// # Errors
/// As [`date`].
pub(crate) fn fit_date(attos: i128, policy: &Policy, losses: &mut Losses) -> Result<i32, Reason> {
    let day = i128::from(MS_PER_DAY) * (ATTOS_PER_SECOND / 1000);
    losses.add_if(attos.rem_euclid(day) != 0, Loss::TimeOfDay);
    let days = attos.div_euclid(day) - i128::from(EPOCH_DAYS);
    let days = clamped(days, i128::from(MIN_DAY), i128::from(END_DAY - 1), policy, losses)?;
    i32::try_from(days).map_err(|_| Reason::RangeTs)
}

/// Microseconds since midnight of a time of day in attoseconds; 24:00 where it is rounded up to that.
///
/// # Errors
/// `LOSSY` where the column keeps fewer digits of the second.
pub(crate) fn fit_clock(attos: i128, precision: u8, policy: &Policy, losses: &mut Losses) -> Result<i64, Reason> {
    let unit = 10i128.pow(u32::from(6 - precision.min(6))) * ATTOS_PER_MICRO;
    i64::try_from(rounded(attos, unit, policy, losses)? / ATTOS_PER_MICRO).map_err(|_| Reason::RangeTs)
}

/// A multiple of the unit: the value itself, or the nearest one where the policy rounds, half away from zero.
///
/// # Errors
/// `LOSSY`.
pub(crate) fn rounded(value: i128, unit: i128, policy: &Policy, losses: &mut Losses) -> Result<i128, Reason> {
    if value % unit == 0 {
        return Ok(value);
    }
    if !policy.misfit.round {
        return Err(Reason::Lossy);
    }
    losses.add(Loss::Rounded);
    Ok((value + value.signum() * (unit / 2)) / unit * unit)
}

fn clamped(value: i128, first: i128, last: i128, policy: &Policy, losses: &mut Losses) -> Result<i128, Reason> {
    if (first..=last).contains(&value) {
        return Ok(value);
    }
    losses.add_if(policy.misfit.clamp, Loss::Clamped);
    if policy.misfit.clamp { Ok(value.clamp(first, last)) } else { Err(Reason::RangeTs) }
}

/// A day since 2000 as PostgreSQL reads it under every `DateStyle`.
pub(crate) fn date_text(days: i32) -> String {
    let (year, month, day) = civil(i64::from(days) + EPOCH_DAYS);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    format!("{year:04}-{month:02}-{day:02}{era}")
}

/// Microseconds since 2000 as PostgreSQL reads them; `zone` is `+00` or nothing.
pub(crate) fn timestamp_text(micros: i64, zone: &str) -> String {
    let day = MS_PER_DAY * 1000;
    let (days, rest) = (micros.div_euclid(day), micros.rem_euclid(day));
    let (year, month, date) = civil(days + EPOCH_DAYS);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{date:02} {hours:02}:{minutes:02}:{seconds:02}.{fraction:06}{zone}{era}")
}

/// Microseconds since midnight as PostgreSQL reads them.
pub(crate) fn clock_text(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    format!("{:02}:{:02}:{:02}.{fraction:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// An offset in seconds east of UTC as PostgreSQL reads it.
pub(crate) fn offset_text(east: i32) -> String {
    let sign = if east < 0 { '-' } else { '+' };
    let seconds = east.unsigned_abs();
    format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`; `None` outside of the years 0000 to 9999, which is all that ISO 8601 agrees on.
pub(crate) fn iso_text(ms: i64) -> Option<String> {
    let (year, month, day) = civil(ms.div_euclid(MS_PER_DAY));
    if !(0..=9999).contains(&year) {
        return None;
    }
    let rest = ms.rem_euclid(MS_PER_DAY);
    let (hours, minutes, seconds, fraction) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
    Some(format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{fraction:03}Z"))
}

/// Year, month and day of a day since 1970 in the proleptic Gregorian calendar, year 0 being 1 BC.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Day since 1970 of a date that exists; the inverse of [`civil`].
///
/// Source: the same, `days_from_civil`.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::input_086_smallest(i64::MIN, 6, Err(Reason::RangeTs))]
    #[case::input_087_largest(i64::MAX, 6, Err(Reason::RangeTs))]
    #[case::input_088_year_10000(253_402_300_800_000, 6, Ok("10000-01-01 00:00:00.000000+00"))]
    #[case::input_089_last_day(9_224_318_015_999_999, 6, Ok("294276-12-31 23:59:59.999000+00"))]
    #[case::input_090_first_day_beyond(9_224_318_016_000_000, 6, Err(Reason::RangeTs))]
    #[case::input_091_first_instant(-210_866_803_200_000, 6, Ok("4714-11-24 00:00:00.000000+00 BC"))]
    #[case::input_091_before_it(-210_866_803_200_001, 6, Err(Reason::RangeTs))]
    #[case::input_092_year_0(-62_167_219_200_000, 6, Ok("0001-01-01 00:00:00.000000+00 BC"))]
    #[case::input_093_before_1970(-1, 6, Ok("1969-12-31 23:59:59.999000+00"))]
    #[case::input_095_whole_seconds_only(1, 0, Err(Reason::Lossy))]
    #[case::input_095_a_whole_second(1000, 0, Ok("1970-01-01 00:00:01.000000+00"))]
    #[case::tenths(1100, 1, Ok("1970-01-01 00:00:01.100000+00"))]
    fn instants(#[case] ms: i64, #[case] precision: u8, #[case] expected: Result<&str, Reason>) {
        assert_eq!(timestamp(ms, precision).map(|micros| timestamp_text(micros, "+00")), expected.map(str::to_owned));
    }

    #[rstest]
    #[case::input_094_midnight(1_582_934_400_000, Ok(("2020-02-29", false)))]
    #[case::input_094_last_millisecond(1_583_020_799_999, Ok(("2020-02-29", true)))]
    #[case(-1, Ok(("1969-12-31", true)))]
    #[case(-62_167_219_200_000, Ok(("0001-01-01 BC", false)))]
    #[case(-210_866_803_200_000, Ok(("4714-11-24 BC", false)))]
    #[case(-210_866_803_200_001, Err(Reason::RangeTs))]
    #[case(185_331_707_078_399_999, Ok(("5874897-12-31", true)))]
    #[case(185_331_707_078_400_000, Err(Reason::RangeTs))]
    #[case(i64::MIN, Err(Reason::RangeTs))]
    #[case(i64::MAX, Err(Reason::RangeTs))]
    fn days(#[case] ms: i64, #[case] expected: Result<(&str, bool), Reason>) {
        let found = date(ms).map(|(days, time)| (date_text(days), time));
        assert_eq!(found, expected.map(|(text, time)| (text.to_owned(), time)));
    }

    #[rstest]
    #[case(0, Some("1970-01-01T00:00:00.000Z"))]
    #[case(253_402_300_799_999, Some("9999-12-31T23:59:59.999Z"))]
    #[case(253_402_300_800_000, None)]
    #[case(-62_167_219_200_000, Some("0000-01-01T00:00:00.000Z"))]
    #[case(-62_167_219_200_001, None)]
    #[case(i64::MIN, None)]
    #[case(i64::MAX, None)]
    fn iso(#[case] ms: i64, #[case] expected: Option<&str>) {
        assert_eq!(iso_text(ms).as_deref(), expected);
    }

    proptest! {
        #[test]
        fn iso_agrees_with_jiff(ms in -62_167_219_200_000i64..253_402_207_200_000) {
            let at: jiff::Timestamp = iso_text(ms).expect("in range").parse().expect("an instant");
            prop_assert_eq!(at.as_millisecond(), ms);
        }

        #[test]
        fn never_panics(ms: i64, precision: u8) {
            let _ = (timestamp(ms, precision), date(ms), iso_text(ms));
        }
    }
}

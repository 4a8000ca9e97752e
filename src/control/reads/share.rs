//! A share of the keys of a unit, in hundredths of a percent.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// The percentage of keys whose reads go to PostgreSQL, exact to a hundredth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Share(u16);

impl Share {
    /// No reads go to PostgreSQL.
    pub(crate) const NONE: Self = Self(0);
    /// All reads go to PostgreSQL.
    pub(crate) const ALL: Self = Self(10_000);

    /// The share of this many hundredths of a percent, 100 % at most.
    pub(crate) fn of_hundredths(hundredths: i32) -> Self {
        Self(u16::try_from(hundredths).unwrap_or(0).min(Self::ALL.0))
    }

    /// Hundredths of a percent, from 0 to 10,000.
    pub(crate) fn hundredths(self) -> u16 {
        self.0
    }

    /// Percent, from 0 to 100.
    pub(crate) fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// As an operator writes it: `5%`.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent())
    }
}

/// In percent.
impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.percent())
    }
}

impl FromStr for Share {
    type Err = String;

    /// Reads `5%`, `5` or `0.25%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is no share: write a percentage from 0 to 100 such as 5% or 0.25%");
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || part.len() > 2 || !digits(whole) || !digits(part) {
            return Err(fault());
        }
        let hundredths: u32 = format!("{whole}{part:0<2}").parse().map_err(|_| fault())?;
        let share = u16::try_from(hundredths).map(Self).map_err(|_| fault())?;
        if share > Self::ALL { Err(fault()) } else { Ok(share) }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::Share;

    #[rstest]
    #[case("5%", Some((500, "5%")))]
    #[case("5", Some((500, "5%")))]
    #[case("0.25%", Some((25, "0.25%")))]
    #[case("12.5 %", Some((1_250, "12.5%")))]
    #[case("100", Some((10_000, "100%")))]
    #[case("0%", Some((0, "0%")))]
    #[case("100.01%", None)]
    #[case("1000", None)]
    #[case("0.001", None)]
    #[case("-1", None)]
    #[case("+5", None)]
    #[case("%", None)]
    #[case("", None)]
    #[case("half", None)]
    #[case("٣", None)]
    fn is_read_as_written_or_refused(#[case] text: &str, #[case] expected: Option<(u16, &str)>) {
        let share = text.parse::<Share>();
        assert_eq!(
            share.as_ref().ok().map(|share| (share.hundredths(), share.to_string())),
            expected.map(|(hundredths, text)| (hundredths, text.to_owned()))
        );
        assert!(share.is_ok() || share.is_err_and(|fault| fault.contains(text)));
    }
}

//! Chooses the dead letters of a command.

use clap::{Args, ValueEnum};
use jiff::{Span, Timestamp, civil::DateTime, tz::TimeZone};

use crate::{analyze::advice, control::dead_letters::Filter, model::Reason, sink::dead_letter::State};

/// The chosen dead letters.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Only letters of this collection; may be repeated.
    #[arg(long = "collection", value_name = "NAME")]
    collections: Vec<String>,
    /// Only letters with this reason, such as `NUL_IN_TEXT`; may be repeated.
    #[arg(long = "reason", value_parser = reason)]
    reasons: Vec<Reason>,
    /// Only the letter with this number; may be repeated.
    #[arg(long = "id", value_name = "NUMBER")]
    ids: Vec<i64>,
    /// Only letters written at this time or later: `2026-01-31`, `2026-01-31T12:00:00Z`, or an age: `2h`, `3 days`.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only letters written before this time; takes the forms of `--since`.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Timestamp>,
}

impl Which {
    /// Returns the filter for letters in these states; an empty list means open and parked.
    pub(super) fn filter(self, states: &[StateArgument]) -> Filter {
        Filter {
            collections: self.collections,
            reasons: self.reasons.iter().map(|reason| reason.as_str().to_owned()).collect(),
            ids: self.ids,
            states: states.iter().flat_map(|state| state.states()).copied().collect(),
            since: self.since,
            until: self.until,
        }
    }

    /// Returns whether no option narrows the choice.
    pub(super) fn is_everything(&self) -> bool {
        let Self { collections, reasons, ids, since, until } = self;
        collections.is_empty() && reasons.is_empty() && ids.is_empty() && since.is_none() && until.is_none()
    }
}

/// The state of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum StateArgument {
    /// A person must act.
    Open,
    /// Waits for another document.
    Parked,
    /// Closed by a retry.
    Retried,
    /// Closed by a newer version.
    Superseded,
    /// Given up by an operator.
    Discarded,
    /// Any of these.
    All,
}

impl StateArgument {
    fn states(self) -> &'static [State] {
        match self {
            Self::Open => &[State::Open],
            Self::Parked => &[State::Parked],
            Self::Retried => &[State::Retried],
            Self::Superseded => &[State::Superseded],
            Self::Discarded => &[State::Discarded],
            Self::All => &State::ALL,
        }
    }
}

fn reason(text: &str) -> Result<Reason, String> {
    advice::named(&text.to_uppercase()).ok_or_else(|| "it is not a reason of a dead letter".to_owned())
}

fn moment(text: &str) -> Result<Timestamp, String> {
    moment_before(text, Timestamp::now())
}

/// Parses a time, in UTC unless it names another zone, or an age counted back from `now`.
fn moment_before(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(time) = text.parse::<DateTime>() {
        return time.to_zoned(TimeZone::UTC).map(|time| time.timestamp()).map_err(|error| error.to_string());
    }
    let wrong = || "it is neither a time such as 2026-01-31T12:00:00Z nor a duration such as 2h".to_owned();
    let span = text.parse::<Span>().map_err(|_| wrong())?;
    if span.is_negative() {
        return Err("an age counts back from now: omit the minus".to_owned());
    }
    now.to_zoned(TimeZone::UTC).checked_sub(span).map(|time| time.timestamp()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z")]
    #[case("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z")]
    #[case("2026-01-31 12:00", "2026-01-31T12:00:00Z")]
    #[case("2026-01-31", "2026-01-31T00:00:00Z")]
    #[case("2h", "2026-03-01T10:00:00Z")]
    #[case("90m", "2026-03-01T10:30:00Z")]
    #[case("1 day", "2026-02-28T12:00:00Z")]
    fn a_moment_is_a_time_or_so_long_ago(#[case] text: &str, #[case] expected: &str) {
        let now = "2026-03-01T12:00:00Z".parse().expect("a time");
        assert_eq!(moment_before(text, now).map(|time| time.to_string()), Ok(expected.to_owned()));
    }

    #[rstest]
    #[case("soon")]
    #[case("-2h")]
    #[case("")]
    #[case("9999999 years")]
    fn anything_else_is_refused(#[case] text: &str) {
        assert!(moment_before(text, Timestamp::UNIX_EPOCH).is_err());
    }
}

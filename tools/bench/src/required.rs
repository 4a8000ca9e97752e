//! The requirements on the daemon, and whether it meets them. Pure.
//!
//! Each line compares two figures of the same run, or one figure with a constant. A figure that was not measured is reported
//! as such and never counts as reached.

use serde::Serialize;

use crate::{
    report::{Chapter, Report, number},
    stats,
};

/// One line of the list.
pub(crate) struct Required {
    /// The subject of the line.
    what: &'static str,
    /// The figure that is judged.
    figure: &'static str,
    /// The bound that the figure is compared with.
    bound: Bound,
}

#[expect(clippy::enum_variant_names, reason = "they read as sentences")]
enum Bound {
    /// At least this many times another figure.
    AtLeastTimes(f64, &'static str),
    /// At least this many times another figure, or this value, if that is less.
    AtLeastTimesOr(f64, &'static str, f64, &'static str),
    /// At most one `n`th of another figure.
    AtMostOneOf(f64, &'static str),
    /// At most this value.
    AtMost(f64, &'static str),
    /// At most this value in every single run: for an event that must never happen, a median would hide too much.
    AtMostEver(f64, &'static str),
}

/// The outcome of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mark {
    /// As required.
    Reached,
    /// Not as required.
    Missed,
    /// One of the figures is missing.
    NotMeasured,
}

/// One judged line, in words.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Judged {
    /// The subject of the line.
    pub(crate) what: &'static str,
    /// The requirement.
    pub(crate) required: String,
    /// The measured value.
    pub(crate) found: String,
    /// The outcome.
    pub(crate) mark: Mark,
}

const fn line(what: &'static str, figure: &'static str, bound: Bound) -> Required {
    Required { what, figure, bound }
}

/// The list of requirements.
pub(crate) const REQUIRED: [Required; 25] = {
    use Bound::{AtLeastTimes, AtLeastTimesOr, AtMost, AtMostEver, AtMostOneOf};
    [
        line(
            "Source with full documents, updates",
            "stages.source",
            AtLeastTimes(2.2, "ceilings.stream.update_lookup"),
        ),
        line("Source with full documents, updates", "stages.source", AtLeastTimes(0.6, "ceilings.stream.bare")),
        line("Sink, upserts of existing rows", "stages.sink.rate", AtLeastTimes(0.6, "ceilings.upsert.one")),
        line("Snapshot, first row to last", "snapshot.rate", AtLeastTimes(0.5, "snapshot.copy")),
        line(
            "Snapshot, first row to last",
            "peer.driftless.snapshot.rate",
            AtLeastTimes(7.0, "peer.debezium.snapshot.rate"),
        ),
        line("Mixed backlog", "peer.driftless.backlog.rate", AtLeastTimes(8.0, "peer.debezium.backlog.rate")),
        line("Process start to first row", "snapshot.first_row", AtMost(2.0, "s")),
        line("Latency at 1,000/s, p50", "latency.1000.p50", AtMost(40.0, "ms")),
        line("Latency at 1,000/s, p99", "latency.1000.p99", AtMost(100.0, "ms")),
        line(
            "CPU per change, snapshot",
            "peer.driftless.snapshot.cpu",
            AtMostOneOf(12.0, "peer.debezium.snapshot.cpu"),
        ),
        line("CPU per change, backlog", "peer.driftless.backlog.cpu", AtMostOneOf(12.0, "peer.debezium.backlog.cpu")),
        line(
            "Peak memory, backlog",
            "peer.driftless.backlog.memory",
            AtMostOneOf(10.0, "peer.debezium.backlog.memory"),
        ),
        line("Peak memory, snapshot", "snapshot.memory", AtMostEver(150.0, "MB")),
        line("Peak memory, backlog", "backlog.memory", AtMostEver(150.0, "MB")),
        line("Peak memory, documents of 1 MiB", "large.memory", AtMostEver(150.0, "MB")),
        line("Everything compared", "proof.baseline", AtLeastTimesOr(0.5, "proof.scan", 60_000.0, "documents/s")),
        line("Everything compared", "proof.baseline", AtLeastTimesOr(0.5, "proof.read", 60_000.0, "documents/s")),
        line("Age of the proof at 300/s, p99", "proof.age.p99", AtMost(5.0, "s")),
        line("Looks without the verdict `in_sync` at 300/s", "proof.not_in_sync", AtMost(1.0, "%")),
        // From the start, since the first row comes sooner behind a command that has just connected.
        line(
            "Sink beside a guard",
            "proof.guard.with.rate_from_start",
            AtLeastTimes(0.95, "proof.guard.without.rate_from_start"),
        ),
        line("CPU of the delta per change", "proof.delta.cpu", AtMostOneOf(10.0, "proof.replication.cpu")),
        line(
            "Latency beside a reconciler, p50",
            "proof.latency.without.p50",
            AtLeastTimes(1.0 / 1.1, "proof.latency.beside.p50"),
        ),
        line("Peak memory, comparing", "proof.memory", AtMostEver(150.0, "MB")),
        line("Rows that differ from MongoDB", "differences", AtMostEver(0.0, "rows")),
        line("Rows that differ from MongoDB, beside a peer", "peer.driftless.differences", AtMostEver(0.0, "rows")),
    ]
};

/// Judges the whole list.
pub(crate) fn judge(report: &Report) -> Vec<Judged> {
    REQUIRED.iter().map(|line| line.judge(report)).collect()
}

impl Required {
    fn judge(&self, report: &Report) -> Judged {
        let found = report.figure(self.figure);
        let named = |id: &str| report.figure(id).map_or_else(|| id.to_owned(), |figure| figure.what.clone());
        let value = found.map(|figure| figure.median);
        // The ratio that is shown, and whether it is good enough.
        let (required, ratio) = match self.bound {
            Bound::AtMost(most, unit) => {
                let shown = value.map(|value| (format!("{} {unit}", number(value)), value <= most));
                (format!("at most {} {unit}", number(most)), shown)
            }
            Bound::AtMostEver(most, unit) => {
                let worst = found.and_then(|figure| stats::range(&figure.runs)).map(|(_, highest)| highest);
                let shown = worst.map(|worst| (format!("{} {unit}", number(worst)), worst <= most));
                (format!("at most {} {unit} in every run", number(most)), shown)
            }
            Bound::AtLeastTimes(times, other) => {
                let ratio = ratio(report, self.figure, other);
                (
                    format!("at least {} × {}", number(times), named(other)),
                    ratio.map(|ratio| (format!("{ratio:.2} ×"), ratio >= times)),
                )
            }
            Bound::AtLeastTimesOr(times, other, enough, unit) => {
                let ratio = ratio(report, self.figure, other);
                (
                    format!("at least {} × {}, or {} {unit}", number(times), named(other), number(enough)),
                    value.zip(ratio).map(|(value, ratio)| {
                        let shown = format!("{ratio:.2} ×, {} {unit}", number(value));
                        (shown, ratio >= times || value >= enough)
                    }),
                )
            }
            Bound::AtMostOneOf(parts, other) => {
                let ratio = ratio(report, other, self.figure);
                (
                    format!("at most 1/{parts} of {}", named(other)),
                    ratio.map(|ratio| (format!("1/{ratio:.1}"), ratio >= parts)),
                )
            }
        };
        let (found, mark) = match ratio {
            Some((found, true)) => (found, Mark::Reached),
            Some((found, false)) => (found, Mark::Missed),
            None => (String::new(), Mark::NotMeasured),
        };
        Judged { what: self.what, required, found, mark }
    }
}

/// Returns the ratio of two figures. Figures of one chapter with equally many runs were taken in turn: their ratio is the
/// median of the pairs' ratios, which holds when the machine's speed drifts. Otherwise it is the ratio of the medians.
fn ratio(report: &Report, one: &str, other: &str) -> Option<f64> {
    let (first, second) = (report.figure(one)?, report.figure(other)?);
    let holds_both = |chapter: &Chapter| [one, other].iter().all(|id| chapter.figures.iter().any(|f| f.id == *id));
    let ratios = if first.runs.len() == second.runs.len() && report.chapters.iter().any(holds_both) {
        first.runs.iter().zip(&second.runs).map(|(one, other)| one / other).collect()
    } else {
        vec![first.median / second.median]
    };
    stats::median(&ratios).filter(|ratio| ratio.is_finite())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::report::tests::report;

    fn mark(line: &Required, figures: &[(&str, f64)]) -> Mark {
        line.judge(&report(figures)).mark
    }

    #[rstest]
    #[case::above(&[("a", 70.0), ("b", 100.0)], Mark::Reached)]
    #[case::at_the_bound(&[("a", 50.0), ("b", 100.0)], Mark::Reached)]
    #[case::below(&[("a", 49.9), ("b", 100.0)], Mark::Missed)]
    #[case::without_the_other(&[("a", 49.9)], Mark::NotMeasured)]
    #[case::without_the_figure(&[("b", 100.0)], Mark::NotMeasured)]
    #[case::of_nothing(&[("a", 49.9), ("b", 0.0)], Mark::NotMeasured)]
    fn at_least_times(#[case] figures: &[(&str, f64)], #[case] expected: Mark) {
        assert_eq!(mark(&line("x", "a", Bound::AtLeastTimes(0.5, "b")), figures), expected);
    }

    #[rstest]
    #[case::enough_times(&[("a", 50.0), ("b", 100.0)], Mark::Reached)]
    #[case::enough(&[("a", 60.0), ("b", 1000.0)], Mark::Reached)]
    #[case::neither(&[("a", 59.0), ("b", 1000.0)], Mark::Missed)]
    #[case::without_the_other(&[("a", 60.0)], Mark::NotMeasured)]
    fn at_least_times_or(#[case] figures: &[(&str, f64)], #[case] expected: Mark) {
        assert_eq!(mark(&line("x", "a", Bound::AtLeastTimesOr(0.5, "b", 60.0, "s")), figures), expected);
    }

    #[rstest]
    #[case::a_tenth(&[("a", 10.0), ("b", 100.0)], Mark::Reached)]
    #[case::a_ninth(&[("a", 11.1), ("b", 100.0)], Mark::Missed)]
    #[case::without_the_other(&[("a", 1.0)], Mark::NotMeasured)]
    fn at_most_one_of(#[case] figures: &[(&str, f64)], #[case] expected: Mark) {
        assert_eq!(mark(&line("x", "a", Bound::AtMostOneOf(10.0, "b")), figures), expected);
    }

    #[rstest]
    #[case::below(&[("a", 1.9)], Mark::Reached)]
    #[case::above(&[("a", 2.1)], Mark::Missed)]
    #[case::not_measured(&[], Mark::NotMeasured)]
    fn at_most(#[case] figures: &[(&str, f64)], #[case] expected: Mark) {
        assert_eq!(mark(&line("x", "a", Bound::AtMost(2.0, "s")), figures), expected);
    }

    #[test]
    fn runs_in_turn_are_compared_pair_by_pair() {
        // The machine was half as fast in the second pair, and both figures show it.
        let figures = [("a", 100.0), ("b", 10.0), ("a", 50.0), ("b", 5.0), ("a", 100.0), ("b", 5.0)];
        assert_eq!(ratio(&report(&figures), "a", "b"), Some(10.0));
        assert_eq!(ratio(&report(&figures[..5]), "a", "b"), Some(100.0 / 7.5));
    }

    #[test]
    fn one_bad_run_is_too_many_where_it_must_never_happen() {
        let mut report = report(&[("a", 0.0), ("a", 0.0), ("a", 1.0)]);
        let ever = line("x", "a", Bound::AtMostEver(0.0, "rows"));
        assert_eq!(ever.judge(&report).mark, Mark::Missed);
        assert_eq!(line("x", "a", Bound::AtMost(0.0, "rows")).judge(&report).mark, Mark::Reached);
        report.chapters[0].figures[0].runs.pop();
        assert_eq!(ever.judge(&report).mark, Mark::Reached);
    }

    #[test]
    fn a_missed_line_says_what_was_found() {
        let judged = line("Snapshot", "a", Bound::AtLeastTimes(0.5, "b")).judge(&report(&[("a", 1.0), ("b", 4.0)]));
        let expected = Judged {
            what: "Snapshot",
            required: "at least 0.50 × what b says".to_owned(),
            found: "0.25 ×".to_owned(),
            mark: Mark::Missed,
        };
        assert_eq!(judged, expected);
    }
}

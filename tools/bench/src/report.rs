//! The measurements as plain data: chapters of figures. Written unchanged as JSON, and as Markdown by `markdown`.

use serde::Serialize;

use crate::{machine::Machine, scale::Scale, stats};

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// When the run began.
    pub(crate) began: String,
    /// The machine on which it ran.
    pub(crate) machine: Machine,
    /// The sizes of the run.
    pub(crate) scale: Scale,
    /// Settings of the daemon that differ from its defaults, as requested.
    pub(crate) settings: Vec<String>,
    /// The chapters, in the order of measuring.
    pub(crate) chapters: Vec<Chapter>,
}

/// Figures that belong together.
#[derive(Debug, Serialize)]
pub(crate) struct Chapter {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Its heading.
    pub(crate) title: &'static str,
    /// The method of measurement.
    pub(crate) method: &'static str,
    /// The measured figures.
    pub(crate) figures: Vec<Figure>,
    /// The reason why it ended early, if it did.
    pub(crate) failure: Option<String>,
}

/// One figure, from one or several runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// Its name in the JSON file and in the list of requirements.
    pub(crate) id: String,
    /// Its description for readers.
    pub(crate) what: String,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// The median of `runs`.
    pub(crate) median: f64,
    /// The value of each run, in order.
    pub(crate) runs: Vec<f64>,
}

impl Chapter {
    /// Creates a chapter without figures.
    pub(crate) fn new(name: &'static str, title: &'static str, method: &'static str) -> Self {
        Self { name, title, method, figures: Vec::new(), failure: None }
    }

    /// Adds one run of a figure, and shows it.
    #[expect(clippy::print_stderr, reason = "progress for the person who waits")]
    pub(crate) fn add(&mut self, id: impl Into<String>, what: impl Into<String>, unit: &'static str, value: f64) {
        let id = id.into();
        let known = self.figures.iter().position(|figure| figure.id == id);
        let at = known.unwrap_or_else(|| {
            self.figures.push(Figure { id, what: what.into(), unit, median: value, runs: Vec::new() });
            self.figures.len() - 1
        });
        let figure = &mut self.figures[at];
        eprintln!("        {}: {} {unit}", figure.what, number(value));
        figure.runs.push(value);
        figure.median = stats::median(&figure.runs).unwrap_or(value);
    }
}

impl Report {
    /// Returns the median of a figure; `None` when it was not measured.
    pub(crate) fn median(&self, id: &str) -> Option<f64> {
        self.figure(id).map(|figure| figure.median)
    }

    /// Returns a figure, from whichever chapter has it.
    pub(crate) fn figure(&self, id: &str) -> Option<&Figure> {
        self.chapters.iter().flat_map(|chapter| &chapter.figures).find(|figure| figure.id == id)
    }
}

/// Formats a number for readers, with as many digits as a measurement has.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => grouped(value),
        middle if middle >= 100.0 => format!("{value:.0}"),
        small if small >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
pub(crate) mod tests {
    use rstest::rstest;

    use super::*;

    /// Builds a report with these figures and nothing else.
    pub(crate) fn report(figures: &[(&str, f64)]) -> Report {
        let mut chapter = Chapter::new("one", "One", "By hand.");
        for (id, value) in figures {
            chapter.add(*id, format!("what {id} says"), "rows/s", *value);
        }
        Report {
            began: "2026-01-01".to_owned(),
            machine: Machine::default(),
            scale: Scale::quick(),
            settings: Vec::new(),
            chapters: vec![chapter],
        }
    }

    #[rstest]
    #[case(0.0, "0.00")]
    #[case(1.234, "1.23")]
    #[case(12.34, "12.3")]
    #[case(123.4, "123")]
    #[case(1234.5, "1,234")]
    #[case(12_345_678.0, "12,345,678")]
    #[case(-1234.0, "-1,234")]
    fn numbers(#[case] value: f64, #[case] expected: &str) {
        assert_eq!(number(value), expected);
    }

    #[test]
    fn runs_of_one_figure_are_gathered() {
        let mut chapter = Chapter::new("one", "One", "By hand.");
        for value in [3.0, 1.0, 2.0] {
            chapter.add("a", "a", "s", value);
        }
        chapter.add("b", "b", "s", 9.0);
        assert_eq!(chapter.figures.len(), 2);
        assert_eq!((chapter.figures[0].median, chapter.figures[0].runs.clone()), (2.0, vec![3.0, 1.0, 2.0]));
    }

    #[test]
    fn figures_are_found_by_name() {
        let report = report(&[("a", 1.0)]);
        assert_eq!(report.median("a"), Some(1.0));
        assert_eq!(report.median("b"), None);
    }
}

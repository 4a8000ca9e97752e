//! The report for people. Pure.

use std::fmt::Write as _;

use crate::{
    report::{Chapter, Report, number},
    required::{self, Mark},
    stats,
};

/// Returns the whole page; `plots` lists the files beside it, each with its name and what it shows.
pub(crate) fn page(report: &Report, plots: &[(String, String)]) -> String {
    let mut page = String::from("# Benchmarks\n\n");
    page.push_str(
        "Written by `make bench`, in one run on one machine: every ceiling, and every figure that is compared with it, was\n\
         measured with the same servers and the same data on the same processor. Absolute figures depend on the machine;\n\
         ratios carry over to others. [performance.md](performance.md) explains them.\n\n",
    );
    if report.scale.quick {
        page.push_str("**A quick run: small sizes, few repetitions. Good for a look, not for quoting.**\n\n");
    }
    if report.machine.was_busy() {
        page.push_str(
            "**The machine was not idle when the run began: the absolute figures are worse than they would be.**\n\n",
        );
    }
    machine(&mut page, report);
    list(&mut page, report);
    for (file, what) in plots {
        let _ = writeln!(page, "![{what}]({file})\n");
    }
    for part in &report.chapters {
        chapter(&mut page, part);
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn machine(page: &mut String, report: &Report) {
    page.push_str("## Machine and sizes\n\n| | |\n|---|---|\n");
    let _ = writeln!(page, "| began | {} |", report.began);
    for (name, value) in report.machine.lines() {
        let _ = writeln!(page, "| {name} | {} |", cell(&value));
    }
    for (name, value) in report.scale.lines() {
        let _ = writeln!(page, "| {name} | {value} |");
    }
    let settings = if report.settings.is_empty() { "defaults".to_owned() } else { report.settings.join(", ") };
    let _ = writeln!(page, "| settings of the daemon | {} |\n", cell(&settings));
}

fn list(page: &mut String, report: &Report) {
    page.push_str("## Targets\n\n| what | required | found | |\n|---|---|---|---|\n");
    for line in required::judge(report) {
        let (found, mark) = match line.mark {
            Mark::Reached => (line.found, "reached"),
            Mark::Missed => (line.found, "**MISSED**"),
            Mark::NotMeasured => ("not measured".to_owned(), ""),
        };
        let _ = writeln!(page, "| {} | {} | {found} | {mark} |", line.what, cell(&line.required));
    }
    page.push('\n');
}

fn chapter(page: &mut String, chapter: &Chapter) {
    let _ = writeln!(page, "## {}\n\n{}\n", chapter.title, chapter.method);
    if let Some(failure) = &chapter.failure {
        let _ = writeln!(page, "**This chapter ended early: {}**\n", cell(failure));
    }
    if chapter.figures.is_empty() {
        return;
    }
    page.push_str("| what | median | unit | lowest – highest | runs |\n|---|---:|---|---:|---:|\n");
    for figure in &chapter.figures {
        let range = match stats::range(&figure.runs) {
            Some((low, high)) if figure.runs.len() > 1 => format!("{} – {}", number(low), number(high)),
            _ => String::new(),
        };
        let (what, median) = (cell(&figure.what), number(figure.median));
        let _ = writeln!(page, "| {what} | {median} | {} | {range} | {} |", figure.unit, figure.runs.len());
    }
    page.push('\n');
}

/// Returns text that does not end a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn a_missed_figure_is_marked_and_one_that_is_not_there_is_named() {
        let page = page(&report(&[("snapshot.first_row", 3.0)]), &[]);
        assert!(page.contains("| Process start to first row | at most 2.00 s | 3.00 s | **MISSED** |"), "{page}");
        assert!(page.contains("| Latency at 1,000/s, p50 | at most 40.0 ms | not measured |  |"), "{page}");
    }

    #[test]
    fn every_figure_has_its_line() {
        let mut report = report(&[("a", 1000.0)]);
        report.chapters[0].add("a", "", "rows/s", 3000.0);
        report.chapters[0].failure = Some("a | b".to_owned());
        let page = page(&report, &[("benchmarks/x.svg".to_owned(), "A plot".to_owned())]);
        assert!(page.contains("| what a says | 2,000 | rows/s | 1,000 – 3,000 | 2 |"), "{page}");
        assert!(page.contains("ended early: a \\| b"), "{page}");
        assert!(page.contains("![A plot](benchmarks/x.svg)"), "{page}");
        assert!(page.contains("**A quick run"), "{page}");
    }
}

//! Prints the report of a command on standard output. Log lines go to standard error.

use std::{
    fmt,
    io::{self, Write},
};

use comfy_table::{Table, presets::ASCII_FULL_CONDENSED};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::finding::Finding;

/// The exit code of a command whose reader has gone: that of a program which SIGPIPE ends.
const READER_GONE: i32 = 128 + 13;

/// Prints a line, or several. It ends the process if nobody reads any more, as in `driftless status | head`.
pub(super) fn line(text: impl fmt::Display) {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(READER_GONE),
        outcome => outcome.expect("standard output takes the report"),
    }
}

/// Prints a line on standard error: a remark about statements on standard output, which psql is meant to read.
pub(super) fn note(text: impl fmt::Display) {
    // A note that nobody can read is no reason to fail.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints statements as one transaction for psql.
pub(super) fn transaction(statements: impl IntoIterator<Item = impl fmt::Display>) {
    line("BEGIN;");
    statements.into_iter().for_each(|statement| line(format_args!("{statement};")));
    line("COMMIT;");
}

/// Returns an empty table with these columns.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_FULL_CONDENSED).set_header(header);
    table
}

/// Prints one JSON document.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints the faults and their number.
pub(super) fn faults(faults: &[Finding]) {
    findings(faults, &[]);
}

/// Prints the warnings, then the faults, then the number of both.
pub(super) fn findings(faults: &[Finding], warnings: &[Finding]) {
    for Finding { place, what, hint } in warnings {
        line(format_args!("{place}: warning: {what}\n    hint: {hint}"));
    }
    for Finding { place, what, hint } in faults {
        line(format_args!("{place}: {what}\n    hint: {hint}"));
    }
    let warnings = match warnings.len() {
        0 => String::new(),
        number => format!(" and {}", count(number, "warning")),
    };
    line(format_args!("{}{warnings} found", count(faults.len(), "fault")));
}

/// Returns a line of standard error that shows the progress of a collection; invisible where that is no terminal.
pub(super) fn bar(collection: &str, documents: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(documents.max(1)), ProgressDrawTarget::stderr());
    bar.with_style(style).with_prefix(collection.to_owned())
}

/// Formats a time to the second, in UTC.
pub(super) fn time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Formats a number with its noun: `1 fault`, `2 faults`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

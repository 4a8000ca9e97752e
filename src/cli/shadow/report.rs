//! The report of a comparison of answers, as text and as JSON.

use serde_json::Value;

use crate::{
    cli::print,
    control::shadow::Outcome,
    shadow::{Checked, Example, QueryReport, Report},
};

/// The report as JSON.
pub(super) fn as_value(report: &Report) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(report)?;
    value["outcome"] = report.outcome().as_str().into();
    for (query, shown) in report.queries.iter().zip(value["queries"].as_array_mut().into_iter().flatten()) {
        shown["outcome"] = query.outcome().as_str().into();
        shown["ratio"] = query.ratio().into();
    }
    Ok(value)
}

/// Prints a table, then what is to be done about each query.
pub(super) fn print_report(report: &Report) {
    let mut table = print::table([
        "query",
        "answers",
        "equal",
        "different",
        "undecided",
        "PostgreSQL p50/p95/p99",
        "MongoDB p50/p95/p99",
        "ratio",
    ]);
    for query in &report.queries {
        let QueryReport { name, equal, different, undecided, postgresql, mongodb, .. } = query;
        let ms = |timing: &crate::shadow::Timing| {
            format!("{:.2} / {:.2} / {:.2} ms", timing.p50_ms, timing.p95_ms, timing.p99_ms)
        };
        table.add_row([
            name.clone(),
            query.outcome().as_str().to_owned(),
            equal.to_string(),
            different.to_string(),
            undecided.to_string(),
            ms(postgresql),
            ms(mongodb),
            query.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}")),
        ]);
    }
    print::line(table);
    for query in &report.queries {
        query.examples.iter().for_each(|example| print_example(&query.name, example));
        if let (Outcome::Undecided, Some(reason)) = (query.outcome(), &query.reason) {
            print::line(format!("{}: undecided: {reason}", query.name));
        }
        for scan in &query.scans {
            print::line(format!("{}: the statement scans {scan}", query.name));
        }
    }
}

fn print_example(query: &str, example: &Example) {
    let documents = example.parameters.iter().map(|(collection, id)| format!(", parameters of {collection} {id}"));
    let documents: String = documents.collect();
    print::line(format!("{query}: different as of {}{documents}: {}", example.as_of, example.what()));
    for (at, value) in example.values.iter().enumerate() {
        print::line(format!("    ${} = {value}", at + 1));
    }
    for row in &example.rows {
        print::line(format!("    {row}"));
        for (name, (expected, found)) in &row.values {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
            print::line(format!("        {name}: MongoDB {}, PostgreSQL {}", text(expected), text(found)));
        }
    }
}

/// Prints which queries were checked.
pub(super) fn print_checked(queries: &[Checked]) {
    for query in queries {
        print::line(format!("{}: fits both databases; it reads {}", query.name, query.collections.join(", ")));
        for scan in &query.scans {
            print::line(format!("{}: the statement scans {scan}", query.name));
        }
    }
    let noun = if queries.len() == 1 { "query" } else { "queries" };
    print::line(format!("{} {noun} checked, no faults found", queries.len()));
}

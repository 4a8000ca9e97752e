//! `docs/metrics.md` is made of the list of metrics, so that it cannot differ from it.

use std::fmt::Write;

/// A metric as the list declares it.
struct Declared {
    name: &'static str,
    kind: &'static str,
    /// Separated by commas; empty for none.
    labels: String,
    question: String,
}

const LIST: &str = include_str!("metrics.rs");
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

/// Every metric, in the order of the list.
fn declared() -> Vec<Declared> {
    let mut metrics = Vec::new();
    let mut comment = String::new();
    for line in LIST.lines() {
        if let Some(text) = line.strip_prefix("/// ") {
            comment = format!("{comment} {text}").trim().to_owned();
        } else if let Some(constant) = line.strip_prefix("pub(crate) const ") {
            let (constant, value) = constant.split_once(": &str = ").expect("the name of a metric");
            let (labels, question) = match comment.strip_prefix("`{").and_then(|rest| rest.split_once("}` ")) {
                Some((labels, question)) => (labels.to_owned(), question.to_owned()),
                None => (String::new(), comment.clone()),
            };
            metrics.push(Declared { name: value.trim_matches(['"', ';']), kind: kind(constant), labels, question });
            comment.clear();
        } else {
            comment.clear();
        }
    }
    metrics
}

/// The macro that describes a metric has its type.
fn kind(constant: &str) -> &'static str {
    let describes = |kind: &&str| {
        let act = format!("describe_{kind}!(");
        LIST.split(&act)
            .skip(1)
            .any(|rest| rest.trim_start().strip_prefix(constant).is_some_and(|rest| rest.starts_with(',')))
    };
    let found: Vec<&str> = ["gauge", "counter", "histogram"].into_iter().filter(describes).collect();
    assert_eq!(found.len(), 1, "{constant} is described once");
    found[0]
}

fn page() -> String {
    let mut page = "# Metrics\n\n\
        <!-- Generated from src/metrics.rs: UPDATE_DOCS=1 cargo test --lib metrics -->\n\n\
        `/metrics` of each process answers Prometheus. Labels are names of collections and tables, numbers of partitions, or words of \
        closed lists, never contents of documents. Times are timestamps in seconds since 1970, so that a stopped exporter cannot look fresh: `time() - x` is \
        an age, and 0 means never. Several processes export the facts that they share; fold them with `min` or `max` by `job`, as \
        `dashboards/driftless.rules.yml` does. Besides these, each process exports `process_*`: memory, CPU time, open files and \
        its start.\n\n\
        | name | type | labels | question |\n|---|---|---|---|\n"
        .to_owned();
    for Declared { name, kind, labels, question } in declared() {
        let labels = labels.split(", ").filter(|label| !label.is_empty()).map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        writeln!(page, "| `{name}` | {kind} | {labels} | {question} |").expect("a text takes every line");
    }
    page
}

#[test]
fn the_table_of_metrics_is_up_to_date() {
    assert!(declared().len() > 50, "the list is read as a whole");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(DOCS, page()).expect("write docs/metrics.md");
    }
    let found = std::fs::read_to_string(DOCS).unwrap_or_default();
    assert!(found == page(), "docs/metrics.md is not up to date: UPDATE_DOCS=1 cargo test --lib metrics");
}

#[test]
fn every_name_says_its_type_and_every_metric_answers_a_question() {
    for Declared { name, kind, question, .. } in declared() {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert!(question.contains('?'), "{name} answers a question");
    }
}

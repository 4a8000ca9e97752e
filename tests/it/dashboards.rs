//! The dashboards as files: what Grafana needs, what an operator needs, and that they say the same as the alerts.

use std::collections::{BTreeMap, BTreeSet};

use driftless_testing::{
    dashboards::{Dashboard, Panel},
    stack::root,
};
use serde_json::{Value, json};

/// The label of every series of one migration, as a selector begins.
const ONE_MIGRATION: &str = "{job=\"$job\"";

fn rules() -> String {
    std::fs::read_to_string(root().join("dashboards/driftless.rules.yml")).expect("read the rules")
}

fn panels() -> Vec<Panel> {
    Dashboard::all().iter().flat_map(Dashboard::panels).collect()
}

/// An alert as the rules declare it.
struct Alert {
    expression: String,
    severity: String,
}

fn alerts() -> BTreeMap<String, Alert> {
    let rules = rules();
    let alert = |text: &str| {
        let mut lines = text.lines().map(str::trim);
        let name = lines.next().expect("a name").to_owned();
        let rest: Vec<&str> = lines.collect();
        let field = |key: &str| rest.iter().position(|line| line.starts_with(key)).expect("the alert has it");
        let expression = rest[field("expr:")..]
            .iter()
            .take_while(|line| !matches!(line.split(' ').next(), Some("for:" | "labels:")));
        let expression = expression.map(|line| line.trim_start_matches("expr:")).collect::<Vec<_>>().join(" ");
        let severity = rest[field("severity:")].trim_start_matches("severity: ").to_owned();
        (name, Alert { expression, severity })
    };
    rules.split("- alert: ").skip(1).map(alert).collect()
}

#[test]
fn dashboards_have_what_grafana_needs() {
    let dashboards = Dashboard::all();
    let uids: Vec<_> = dashboards.iter().map(|one| one.json["uid"].as_str().expect("a fixed uid").to_owned()).collect();
    assert_eq!(uids, ["driftless-internals", "driftless-overview", "driftless-proof"]);
    for Dashboard { file, json } in &dashboards {
        assert_eq!(json["uid"], json!(file), "the file is named after the uid");
        assert!(json["schemaVersion"].as_i64() >= Some(39), "{file} is for Grafana 11 and later");
        let variables = json["templating"]["list"].as_array().expect("variables");
        assert_eq!((&variables[0]["name"], &variables[0]["type"]), (&json!("datasource"), &json!("datasource")));
        let job = &variables[1];
        assert_eq!((&job["name"], &job["multi"], &job["includeAll"]), (&json!("job"), &json!(false), &json!(false)));
        let ids: BTreeSet<_> =
            json["panels"].as_array().expect("panels").iter().map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(
            ids.len(),
            json["panels"].as_array().expect("panels").len(),
            "{file}: every panel has an id of its own"
        );
        let mut sources = Vec::new();
        collect(json, "datasource", &mut sources);
        let source = |source: &&Value| source["uid"] == "${datasource}" || source["type"] == "grafana";
        assert!(sources.len() > 10 && sources.iter().all(source), "{file}: the data source is a variable");
    }
}

/// Every value of a key, at any depth.
fn collect<'a>(json: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match json {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            if name == key {
                found.push(value);
            }
            collect(value, key, found);
        }),
        Value::Array(values) => values.iter().for_each(|value| collect(value, key, found)),
        _ => {}
    }
}

#[test]
fn panels_of_the_dashboards_say_what_to_do_and_show_one_migration() {
    let panels = panels();
    assert!(panels.len() > 60);
    for panel in &panels {
        let Panel { name, json } = panel;
        let description = json["description"].as_str().unwrap_or_default();
        assert!(description.split_whitespace().count() > 8, "{name} says what to do: {description}");
        let mut units = Vec::new();
        collect(&json["fieldConfig"], "unit", &mut units);
        assert!(!units.is_empty() || json["type"] == "state-timeline", "{name} has a unit");
        assert!(json["fieldConfig"]["defaults"]["noValue"].is_string(), "{name} has a word for nothing");
        if panel.is_state() {
            assert!(!panel.colour(None).contains("green"), "{name} is green without data");
            assert!(!panel.colour(Some(f64::NAN)).contains("green"), "{name} is green for what is unknown");
        }
        let mappings = json["fieldConfig"]["defaults"]["mappings"].as_array().into_iter().flatten();
        for range in mappings.filter(|mapping| mapping["type"] == "range") {
            let ends = ["from", "to"].map(|end| &range["options"][end]);
            assert!(ends.iter().all(|end| end.is_number()), "{name}: an open end of a range is 0 for Grafana");
        }
        let targets = json["targets"].as_array().expect("queries");
        targets.iter().for_each(|target| of_one_migration(name, target["expr"].as_str().expect("an expression")));
    }
    for Dashboard { file, json } in Dashboard::all() {
        let annotations = json["annotations"]["list"].as_array().expect("annotations").iter();
        annotations.filter_map(|one| one["expr"].as_str()).for_each(|expr| of_one_migration(&file, expr));
    }
}

/// Checks every selector of an expression.
fn of_one_migration(name: &str, expression: &str) {
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| c.is_alphabetic()) {
        let word = &rest[start..];
        let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        if word == "up" || word.starts_with("driftless_") || word.starts_with("process_") {
            assert!(after.starts_with(ONE_MIGRATION), "{name}: {word} shows every migration in {expression}");
        }
        // Labels and their values are no metrics.
        rest = after.strip_prefix('{').and_then(|labels| labels.split_once('}')).map_or(after, |(_, after)| after);
    }
}

#[test]
fn dashboards_name_every_alert_and_have_its_threshold() {
    let alerts = alerts();
    assert!(alerts.len() > 25);
    let mut shown = BTreeSet::new();
    for panel in panels() {
        for name in panel.alerts() {
            let alert = alerts.get(&name).unwrap_or_else(|| panic!("{}: there is no alert {name}", panel.name));
            check_threshold(&panel, &name, alert);
            shown.insert(name);
        }
    }
    let unseen: Vec<_> = alerts.keys().filter(|name| !shown.contains(*name)).collect();
    assert!(unseen.is_empty(), "no panel names {unseen:?}");
}

/// Checks that the panel turns to the colour of the alert where the alert begins.
fn check_threshold(panel: &Panel, name: &str, Alert { expression, severity }: &Alert) {
    let mappings = panel.json["fieldConfig"]["defaults"]["mappings"].as_array().into_iter().flatten();
    let words = mappings
        .filter(|one| one["type"] == "value")
        .filter_map(|one| one["options"].as_object())
        .map(serde_json::Map::len);
    let Some((comparison, bound)) = comparison(expression) else { return };
    // A panel of states has no scale on which the alert has a place; `tests/laws/dashboards.rs` sees its colour while the alert is active.
    if words.sum::<usize>() > 1 {
        return;
    }
    let colour = if severity == "critical" { "red" } else { "orange" };
    let steps = panel.steps();
    let at = |value: f64| steps.iter().position(|(from, _)| *from == Some(value));
    let turns = match comparison {
        '<' => at(bound).is_some_and(|at| steps[at].1 == "green" && steps[at - 1].1 == colour),
        // A count is more than 0 from 1 on.
        _ => at(bound.max(1.0)).is_some_and(|at| steps[at].1 == colour),
    };
    let scaleless = panel.json["type"] == "timeseries" && steps.len() == 1;
    assert!(
        turns || (scaleless && bound == 0.0),
        "{} does not turn {colour} at {name}: {comparison} {bound}",
        panel.name
    );
}

/// The first comparison of an expression, if it is one with a number that is more or less.
fn comparison(expression: &str) -> Option<(char, f64)> {
    let at = expression.find(['<', '>']).filter(|at| !expression[..*at].contains("=="))?;
    let bound = expression[at + 1..].split_whitespace().next()?.parse().ok()?;
    expression[at..].chars().next().map(|comparison| (comparison, bound))
}

#[test]
fn the_verdict_of_the_dashboards_is_the_one_that_the_rules_test() {
    let tested = std::fs::read_to_string(root().join("dashboards/driftless.rules.test.yml")).expect("read the tests");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let tested = words(&tested);
    let verdicts: Vec<_> = panels().into_iter().filter(|panel| panel.name.contains("Verdict")).collect();
    assert!(verdicts.len() > 1);
    for panel in verdicts {
        let queries = panel.queries("m");
        assert!(tested.contains(&format!("- expr: >- {}", words(&queries[0]))), "{}: {queries:?}", panel.name);
    }
}

//! The dashboards as Grafana reads them: their panels, the queries with their variables filled in, and the colours of values.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::stack::root;

/// A dashboard.
pub struct Dashboard {
    /// Its file, without the ending.
    pub file: String,
    /// The model.
    pub json: Value,
}

impl Dashboard {
    /// Returns every dashboard of the folder.
    pub fn all() -> Vec<Self> {
        let entries = std::fs::read_dir(root().join("dashboards")).expect("list the dashboards");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("read the folder").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        let dashboard = |path: std::path::PathBuf| {
            let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("read the dashboard");
            Self { file, json: serde_json::from_str(&text).expect("the dashboard is JSON") }
        };
        paths.into_iter().map(dashboard).collect()
    }

    /// Returns its panels, without the rows.
    pub fn panels(&self) -> Vec<Panel> {
        let panels = self.json["panels"].as_array().expect("panels").iter();
        let panel = |json: &Value| Panel { name: format!("{}: {}", self.file, json["title"]), json: json.clone() };
        panels.filter(|json| json["type"] != "row").map(panel).collect()
    }
}

/// A panel.
pub struct Panel {
    /// The file of its dashboard, and its title.
    pub name: String,
    /// The model.
    pub json: Value,
}

impl Panel {
    /// Returns its queries as Grafana sends them for one migration, whose processes are scraped each second.
    pub fn queries(&self, job: &str) -> Vec<String> {
        let targets = self.json["targets"].as_array().expect("queries").iter();
        let filled = |expr: &str| {
            let variables = [("$__rate_interval", "10s"), ("$job", job), ("$collection", ".*")];
            variables.iter().fold(expr.to_owned(), |expr, (variable, value)| expr.replace(variable, value))
        };
        targets.map(|target| filled(target["expr"].as_str().expect("an expression"))).collect()
    }

    /// Returns the alerts that its description names.
    pub fn alerts(&self) -> BTreeSet<String> {
        let description = self.json["description"].as_str().expect("a description");
        let words = description.split(|c: char| !c.is_alphanumeric());
        words.filter(|word| word.len() > NAME.len() && word.starts_with(NAME)).map(str::to_owned).collect()
    }

    /// Returns whether its colours say what is good and what is bad.
    pub fn is_state(&self) -> bool {
        ["stat", "bargauge", "state-timeline"].iter().any(|kind| self.json["type"] == *kind)
    }

    /// Returns the thresholds with their colours; the first one has no value.
    pub fn steps(&self) -> Vec<(Option<f64>, String)> {
        let steps = self.json["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array().expect("thresholds").iter();
        steps.map(|step| (step["value"].as_f64(), step["color"].as_str().expect("a colour").to_owned())).collect()
    }

    /// Returns the colour in which Grafana shows a value; that of the first threshold where there is none.
    pub fn colour(&self, value: Option<f64>) -> String {
        let mappings = self.json["fieldConfig"]["defaults"]["mappings"].as_array().into_iter().flatten();
        let mapped = |value: f64| mappings.clone().find_map(|mapping| Some(mapped(mapping, value)?.to_owned()));
        let step = |value: f64| {
            let reached = |(from, _): &(Option<f64>, String)| from.is_none_or(|from| from <= value);
            self.steps().into_iter().rfind(reached).expect("the first threshold has no value").1
        };
        match value {
            Some(value) => mapped(value).unwrap_or_else(|| step(value)),
            None => step(f64::NEG_INFINITY),
        }
    }
}

/// Beginning of the name of every alert.
const NAME: &str = "Driftless";

/// The colour of a value by one mapping, if that concerns it.
fn mapped(mapping: &Value, value: f64) -> Option<&str> {
    let options = &mapping["options"];
    let result = match mapping["type"].as_str()? {
        "value" => &options[value.to_string()],
        "range" => {
            // For Grafana an open end is 0.
            let [from, to] = ["from", "to"].map(|end| options[end].as_f64().unwrap_or_default());
            Some(&options["result"]).filter(|_| (from..=to).contains(&value))?
        }
        "special" => Some(&options["result"]).filter(|_| value.is_nan())?,
        other => panic!("a mapping of the type {other}"),
    };
    result["color"].as_str()
}

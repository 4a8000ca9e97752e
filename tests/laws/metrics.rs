//! Every metric in `src/metrics.rs` appears after a while of ordinary work, a real Prometheus answers every query of the
//! dashboard, and the alerts fire as their own tests expect.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
};

use driftless_demo::{Poison, Workload};
use mongodb::bson::oid::ObjectId;
use serde_json::Value;
use tokio::{io::AsyncWriteExt, sync::OnceCell};

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::{Load, fill, organisation},
    migration::Migration,
    stack::{Stack, root},
    wait,
};

/// Returns the shared servers, with Prometheus beside them.
async fn watched() -> &'static Stack {
    static WATCHED: OnceCell<Stack> = OnceCell::const_new();
    let instance = std::env::var("DRIFTLESS_INSTANCE").unwrap_or_else(|_| "main".to_owned());
    WATCHED.get_or_init(|| Stack::running(&instance, &["--prometheus"])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_every_query_of_the_dashboard_answer() {
    let stack = watched().await;
    let migration = Migration::demo_on(stack, "metrics").await;
    fill(&migration, 13, 500).await;
    let daemon = migration.daemon();
    let targets = Targets::watch(stack, &daemon);
    let load = Load::start(&migration, 13, 100.0);
    daemon.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    let mut workload = Workload::new(migration.mongo.clone(), &migration.name, 14);
    workload.poison(Poison::NulInText).await.expect("write a document that is refused");
    // PostgreSQL's numeric has only one zero.
    let mut minus_zero = organisation(ObjectId::new());
    minus_zero.insert("credit", -0.0);
    migration.collection("organisations").insert_one(minus_zero).await.expect("write a document that loses a sign");
    migration.succeed(&["guard", "install"]).await;
    migration.target.batch_execute("UPDATE app.organisations SET name = name").await.expect("write the target");

    wait::until("every metric is there", DEADLINE, async || {
        let (_, page) = daemon.page("/metrics").await?;
        let there: BTreeSet<&str> = page.lines().filter_map(name_of).collect();
        let absent: Vec<_> = declared().into_iter().filter(|name| !there.contains(name)).collect();
        wait::holds(absent.is_empty(), format!("absent: {absent:?}"))
    })
    .await;
    let (_, page) = daemon.page("/metrics").await.expect("the metrics");
    labels_are_documented(&page);
    well_formed(stack, &page).await;

    let prometheus = Prometheus { url: stack.value("PROMETHEUS_URL").to_owned() };
    let queries = queries();
    assert!(queries.len() > 10, "the dashboard has {} queries", queries.len());
    wait::until("every query of the dashboard has an answer", DEADLINE, async || {
        let mut empty = Vec::new();
        for (panel, query) in &queries {
            if prometheus.query(query).await?.is_empty() {
                empty.push(format!("{panel}: {query}"));
            }
        }
        wait::holds(empty.is_empty(), format!("{} of {} are empty:\n{}", empty.len(), queries.len(), empty.join("\n")))
    })
    .await;
    every_rule_is_loaded(&prometheus).await;

    load.end().await;
    drop(targets);
    daemon.stop(0).await;
    migration.finish().await;
}

/// `driftless.rules.test.yml` defines for invented series which alerts fire, when, and with which text.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_make_the_alerts_fire_that_the_rules_promise() {
    let stack = watched().await;
    let output = tokio::process::Command::new(stack.value("PROMTOOL"))
        .args(["test", "rules", "driftless.rules.test.yml"])
        .current_dir(root().join("dashboards"))
        .output()
        .await
        .expect("run promtool");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

/// The list of targets that Prometheus scrapes; dropping it restores the previous list.
struct Targets {
    file: String,
    before: String,
}

impl Targets {
    fn watch(stack: &Stack, daemon: &Daemon) -> Self {
        let file = stack.value("PROMETHEUS_TARGETS").to_owned();
        let before = std::fs::read_to_string(&file).expect("read the targets");
        let targets = serde_json::json!([{ "targets": [daemon.address()] }]);
        std::fs::write(&file, targets.to_string()).expect("write the targets");
        Self { file, before }
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        std::fs::write(&self.file, &self.before).expect("write the targets");
    }
}

struct Prometheus {
    url: String,
}

impl Prometheus {
    async fn get(&self, path: String) -> Result<Value, String> {
        let url = format!("{}{path}", self.url);
        let call = move || ureq::get(&url).call().and_then(|mut response| response.body_mut().read_json::<Value>());
        tokio::task::spawn_blocking(call).await.expect("the call does not panic").map_err(|error| error.to_string())
    }

    async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.get(format!("/api/v1/query?query={encoded}")).await?;
        answer["data"]["result"].as_array().cloned().ok_or_else(|| format!("{query}: {answer}"))
    }
}

async fn every_rule_is_loaded(prometheus: &Prometheus) {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("dashboards")).expect("list the dashboards") {
        let name = entry.expect("read the folder").file_name().into_string().expect("a plain name");
        if name.ends_with(".rules.yml") {
            files.insert(name);
        }
    }
    wait::until("every rule is evaluated without fault", DEADLINE, async || {
        let answer = prometheus.get("/api/v1/rules".to_owned()).await?;
        let groups = answer["data"]["groups"].as_array().ok_or("no groups")?;
        let file = |group: &Value| Some(group["file"].as_str()?.rsplit('/').next()?.to_owned());
        let loaded: BTreeSet<_> = groups.iter().filter_map(file).collect();
        wait::holds(loaded == files, format!("{loaded:?} of {files:?}"))?;
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let sick: Vec<_> = rules.filter(|rule| rule["health"] != "ok").map(|rule| rule["name"].to_string()).collect();
        wait::holds(sick.is_empty(), format!("not evaluated: {sick:?}"))
    })
    .await;
}

/// Returns every name that the list of metrics declares.
fn declared() -> Vec<&'static str> {
    let list = include_str!("../../src/metrics.rs");
    let names: Vec<_> = list.split('"').filter(|text| text.starts_with("driftless_")).collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

/// Checks that every series has just the labels that the list of metrics names.
fn labels_are_documented(page: &str) {
    let documented: BTreeMap<&str, BTreeSet<&str>> = include_str!("../../docs/metrics.md")
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').skip(1).map(str::trim);
            let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            let labels =
                cells.nth(1)?.split(", ").map(|label| label.trim_matches('`')).filter(|label| !label.is_empty());
            Some((name, labels.collect()))
        })
        .collect();
    for line in page.lines() {
        let Some(name) = name_of(line) else { continue };
        let name = ["_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(labels, _)| labels);
        let labels = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(label, _)| label);
        let found: BTreeSet<&str> = labels.filter(|label| *label != "le").collect();
        assert_eq!(documented.get(name), Some(&found), "{line}");
    }
}

/// Has `promtool` check names, help texts and types.
async fn well_formed(stack: &Stack, page: &str) {
    let mut promtool = tokio::process::Command::new(stack.value("PROMTOOL"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run promtool");
    let mut input = promtool.stdin.take().expect("an input");
    input.write_all(page.as_bytes()).await.expect("give it the metrics");
    drop(input);
    let output = promtool.wait_with_output().await.expect("run promtool");
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{told}");
}

/// Returns the metric that a line of the page belongs to; the lines of a histogram have their own suffixes.
fn name_of(line: &str) -> Option<&str> {
    let name = line.split(['{', ' ']).next().filter(|name| name.starts_with("driftless_"))?;
    Some(name.strip_suffix("_bucket").unwrap_or(name))
}

/// Returns every query of every panel, with its variables filled in as Grafana does.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value =
        serde_json::from_str(include_str!("../../dashboards/driftless.json")).expect("the dashboard is JSON");
    let mut queries = Vec::new();
    collect(&dashboard["panels"], &mut queries);
    queries
}

fn collect(panels: &Value, queries: &mut Vec<(String, String)>) {
    for panel in panels.as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let Some(query) = target["expr"].as_str() else { continue };
            let filled = [
                ("$__rate_interval", "30s"),
                ("$__interval", "5s"),
                ("$__range", "1m"),
                ("$job", ".*"),
                ("$collection", ".*"),
            ]
            .iter()
            .fold(query.to_owned(), |query, (variable, value)| query.replace(variable, value));
            queries.push((panel["title"].to_string(), filled));
        }
        collect(&panel["panels"], queries);
    }
}

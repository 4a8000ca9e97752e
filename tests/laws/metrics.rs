//! Every metric in `src/metrics.rs` appears with the labels that `docs/metrics.md` names, and the alerts fire as their own tests expect.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
};

use driftless_demo::{Poison, Workload};
use mongodb::bson::oid::ObjectId;
use tokio::{io::AsyncWriteExt, sync::OnceCell};

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::organisation,
    migration::Migration,
    stack::{Stack, root},
    wait,
};

/// Returns servers with Prometheus beside them, which a test may stop without harm to others.
pub(crate) async fn watched() -> &'static Stack {
    static WATCHED: OnceCell<Stack> = OnceCell::const_new();
    WATCHED.get_or_init(|| Stack::running("watched", &["--prometheus"])).await
}

/// Lets everything happen that a metric counts, until every metric is there. The daemon is guarded and under load.
pub(crate) async fn all_appear(stack: &Stack, migration: &Migration, daemon: &Daemon) {
    let mut workload = Workload::new(migration.mongo.clone(), &migration.name, 14);
    workload.poison(Poison::NulInText).await.expect("write a document that is refused");
    // PostgreSQL's numeric has only one zero.
    let mut minus_zero = organisation(ObjectId::new());
    minus_zero.insert("credit", -0.0);
    migration.collection("organisations").insert_one(minus_zero).await.expect("write a document that loses a sign");
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

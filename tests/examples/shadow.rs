//! Shadow reads of the examples: twenty-one pairs of queries, of which five are wrong on purpose. Exactly those are named, at rest and
//! while the application writes.

mod faults;
mod page;

use std::collections::BTreeMap;

use driftless_testing::{DEADLINE, drill, random, stack::root, wait};
use mongodb::bson::{DateTime, Document, doc};
use rand::Rng;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    business_plans, crm,
    draw::oid,
    harness::{Example, KEPT, Kind},
    learning, planning, skills_platform,
};

/// Runs of each pair while the application writes; a command may take no longer than a minute.
const RUNS_AT_ONCE: usize = 50;
/// The application writes in bursts, each followed by a pause, because a pair whose collections change all the time cannot be judged; in
/// beats of [`wait::repeat_until`].
const BURST: u64 = 10;
const PAUSE: u64 = 20;
/// Runs of each of the five files in the long version, so that they are a thousand.
const DRILL_RUNS: usize = 200;

/// A pair that is wrong, or slow.
enum Wrong {
    /// The rows are others.
    Rows(&'static str),
    /// The rows are the same in another order.
    Order(&'static str),
    /// This column differs.
    Column(&'static str, &'static str),
    /// An index on this table is missing.
    Index(&'static str, &'static str),
}

async fn start(name: &str, kinds: &'static [Kind]) -> Example {
    let mut example = Example::start(&format!("shadow_{name}"), name, kinds, 20).await;
    example.migration.set("shadow", "scan_above", "64KiB");
    example
}

/// Runs a file; returns the report and the exit code.
async fn run(example: &Example, file: &str, more: &[&str]) -> (Value, i32) {
    let path = root().join(file);
    let mut arguments = vec!["shadow", "run", path.to_str().expect("a path"), "--json"];
    arguments.extend(more);
    let output = example.migration.command(&arguments).await;
    let told = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&told)
        .unwrap_or_else(|error| panic!("{error}: {told} {}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.code().expect("it ends by itself"))
}

fn queries(report: &Value) -> BTreeMap<&str, &Value> {
    let queries = report["queries"].as_array().expect("queries");
    queries.iter().map(|query| (query["name"].as_str().expect("a name"), query)).collect()
}

/// Checks at rest that exactly the wrong pair is named, and with what.
async fn named(example: &Example, file: &str, wrong: Option<Wrong>) {
    let (report, code) = run(example, file, &["--runs", "12", "--warm-up", "1"]).await;
    let unequal = !matches!(wrong, None | Some(Wrong::Index(..)));
    assert_eq!(code, if unequal { 4 } else { 0 }, "{report:#}");
    for (name, query) in queries(&report) {
        let all =
            [&query["equal"], &query["different"], &query["undecided"]].map(|count| count.as_u64().expect("a count"));
        let missing = query["scans"].as_array().expect("scans").iter().find(|scan| scan["missing_index"] == true);
        assert_eq!((all.iter().sum::<u64>(), all[2]), (12, 0), "{name}: {query:#}");
        let example = &query["examples"][0];
        match &wrong {
            Some(Wrong::Rows(wrong)) if *wrong == name => {
                assert!(all[1] > 0 && example["rows"][0]["kind"] == "extra", "{name}: {query:#}");
            }
            Some(Wrong::Order(wrong)) if *wrong == name => {
                assert!(all[1] == 12 && example["order"] == true, "{name}: {query:#}");
            }
            Some(Wrong::Column(wrong, column)) if *wrong == name => {
                assert!(all[1] == 12 && query["examples"].to_string().contains(column), "{name}: {query:#}");
            }
            Some(Wrong::Index(wrong, table)) if *wrong == name => {
                assert_eq!(all[1], 0, "{name}: {query:#}");
                assert_eq!(missing.expect("a missing index")["table"], *table);
                continue;
            }
            _ => assert_eq!(all[1], 0, "{name}: {query:#}"),
        }
        assert_eq!(missing, None, "{name}: {query:#}");
    }
}

/// Writes to the collections of a file while it runs. No pair that is equal may be called different.
async fn under_writes(example: &Example, kinds: &'static [Kind], file: &str, wrong: &[&str]) {
    let (rounds, wait) = if drill() { (DRILL_RUNS / RUNS_AT_ONCE, "60s") } else { (1, "8s") };
    let text = std::fs::read_to_string(root().join(file)).expect("read the file");
    let written: Vec<&Kind> = kinds.iter().filter(|kind| text.contains(&format!("\"{}\"", kind.name))).collect();
    let before = example.migration.number("SELECT max(id) FROM driftless.shadow_run").await;
    let end = CancellationToken::new();
    let (_, mut rng) = random(file);
    let (mut beats, mut writes) = (0, 0);
    let application = wait::repeat_until(&end, async || {
        beats += 1;
        if beats % (BURST + PAUSE) >= BURST {
            return;
        }
        writes += 1;
        let kind = written[rng.random_range(0..written.len())];
        let index = rng.random_range(KEPT..kind.documents);
        let fresh = kind.document(index, 1_000 + writes);
        let id = fresh.get("_id").cloned().expect("an _id");
        example.migration.collection(kind.name).replace_one(doc! { "_id": id }, fresh).await.expect("replace");
    });
    let runs = async {
        for _ in 0..rounds {
            let runs = RUNS_AT_ONCE.to_string();
            run(example, file, &["--runs", &runs, "--warm-up", "0", "--wait", wait]).await;
        }
        end.cancel();
    };
    tokio::join!(application, runs);

    let of = |counter: &str| format!("sum((query ->> '{counter}')::int8)::int8");
    let sql = format!(
        "SELECT query ->> 'name', {}, {}, {} FROM driftless.shadow_run, jsonb_array_elements(report -> 'queries') AS query \
          WHERE id > $1 GROUP BY 1",
        of("equal"),
        of("different"),
        of("undecided")
    );
    let mut all = [0; 4];
    for row in example.migration.target.query(&sql, &[&before]).await.expect("read the results") {
        let (name, [equal, different, undecided]): (String, [i64; 3]) = (row.get(0), [1, 2, 3].map(|at| row.get(at)));
        assert_eq!(equal + different + undecided, i64::try_from(rounds * RUNS_AT_ONCE).expect("a few"), "{name}");
        let (right, wrong) = if wrong.contains(&&*name) { (0, different) } else { (different, 0) };
        for (sum, count) in all.iter_mut().zip([equal, right, wrong, undecided]) {
            *sum += count;
        }
    }
    let [equal, called, wrong, undecided] = all;
    eprintln!(
        "{file}: {rounds} times {RUNS_AT_ONCE} runs beside {writes} writes; answers: {equal} equal, {undecided} undecided, \
         {wrong} of a wrong pair different, {called} of the others"
    );
    assert!(writes > 0 && equal > 0);
    assert_eq!(called, 0, "{file}: answers that are equal were called different");
}

/// Returns what shadow reads say against the unit `plans`, according to the gate.
async fn against(example: &Example) -> Vec<String> {
    let output = example.migration.command(&["cutover", "check", "--unit", "plans", "--json"]).await;
    let gates: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let blockers = gates[0]["blockers"].as_array().expect("blockers").iter();
    let shadow = blockers.filter(|blocker| blocker["kind"] == "shadow");
    shadow.map(|blocker| blocker["what"].as_str().expect("a reason").to_owned()).collect()
}

/// Waits until the status page has these results of the files that the unit `plans` demands, and `cutover status` has them, too: each file
/// with its queries and their outcomes; none if it has not run yet.
async fn shown(example: &Example, expected: Value) {
    let results = |units: &[Value]| -> Value {
        let unit = units.iter().find(|unit| unit["unit"] == "plans").expect("the unit");
        let file = |file: &Value| {
            let queries = file["queries"].as_array().expect("queries");
            let measured =
                |query: &Value| ["postgresql", "mongodb"].iter().all(|side| query[side]["p50_ms"].as_f64() > Some(0.0));
            assert!(queries.iter().all(measured) && file["age_ms"].is_u64() != queries.is_empty(), "{file:#}");
            json!([
                file["file"],
                queries.iter().map(|query| json!([query["name"], query["outcome"]])).collect::<Value>()
            ])
        };
        unit["shadow"].as_array().map(|files| files.iter().map(file).collect::<Value>()).into()
    };
    wait::until("the status page shows what shadow reads have shown", DEADLINE, async || {
        let seen = results(&example.daemon.status().await?.reads);
        wait::holds(seen == expected, seen)
    })
    .await;
    let told = example.migration.succeed(&["cutover", "status", "--json"]).await;
    assert_eq!(results(&serde_json::from_str::<Vec<Value>>(&told).expect("JSON")), expected);
}

async fn end(example: Example) {
    example.daemon.stop(0).await;
    example.migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn business_plans() {
    let mut example = start("business_plans", business_plans::KINDS).await;
    let units = toml::toml! { plans = { collections = ["plans", "sections"], shadow = ["shadow.toml", "business_plans.toml"] } };
    example.migration.set("reads", "units", units);
    let uncompared = |file: &str| format!("{file}: its queries have not been compared yet");
    assert_eq!(against(&example).await, [uncompared("shadow.toml"), uncompared("business_plans.toml")]);
    // The page shows the units that a daemon knows, so it is started with them.
    example.daemon.stop(0).await;
    example.daemon = example.migration.daemon();
    shown(&example, json!([["shadow.toml", []], ["business_plans.toml", []]])).await;
    let (right, wrong) = ("config/examples/business_plans/shadow.toml", "tests/examples/shadow/business_plans.toml");
    named(&example, right, None).await;
    assert_eq!(against(&example).await, [uncompared("business_plans.toml")]);
    named(&example, wrong, Some(Wrong::Rows("public plans of a user"))).await;
    let different = "business_plans.toml: queries with different answers: public plans of a user";
    assert_eq!(against(&example).await, [different]);
    let equal = ["plans of a user", "sections of a plan", "plans by industry"].map(|name| [name, "equal"]);
    let different = [["public plans of a user", "different"]];
    shown(&example, json!([["shadow.toml", equal], ["business_plans.toml", different]])).await;
    for (lines, fault) in faults::BUSINESS_PLANS.iter().chain(faults::TYPES) {
        faults::is_refused(&example, "app", lines, fault).await;
    }
    for (parameter, fault) in faults::PARAMETERS {
        faults::is_refused(&example, "app", &faults::with_parameter(parameter), fault).await;
    }
    page::opens_from_its_file(&example, right).await;
    under_writes(&example, business_plans::KINDS, right, &[]).await;
    end(example).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crm() {
    let example = start("crm", crm::KINDS).await;
    let (file, wrong) = ("tests/examples/shadow/crm.toml", "contacts in the order of their ids");
    named(&example, file, Some(Wrong::Order(wrong))).await;
    for (lines, fault) in faults::CRM {
        faults::is_refused(&example, "public", lines, fault).await;
    }
    under_writes(&example, crm::KINDS, file, &[wrong]).await;
    end(example).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn learning() {
    let example = start("learning", learning::KINDS).await;
    let (file, wrong) = ("tests/examples/shadow/learning.toml", "learners by day");
    named(&example, file, Some(Wrong::Column(wrong, "\"day\""))).await;
    under_writes(&example, learning::KINDS, file, &[wrong]).await;
    end(example).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn planning() {
    let example = start("planning", planning::KINDS).await;
    let (file, wrong) = ("tests/examples/shadow/planning.toml", "balances");
    named(&example, file, Some(Wrong::Column(wrong, "\"columns\":[\"balance\"]"))).await;
    for (lines, fault) in faults::PLANNING {
        faults::is_refused(&example, "planning", lines, fault).await;
    }
    under_writes(&example, planning::KINDS, file, &[wrong]).await;
    end(example).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn skills_platform() {
    let example = start("skills_platform", skills_platform::KINDS).await;
    let seen = |number: u64| {
        let props = doc! { "path": format!("/page/{number}"), "referrer": "https://example.org" };
        let user = oid("visitors", number % 500);
        doc! { "_id": oid("views", number), "type": "page_view", "user": user, "at": DateTime::now(), "props": props }
    };
    let views: Vec<Document> = (0..4_000).map(seen).collect();
    example.migration.collection("analytics_events").insert_many(&views).await.expect("insert views");
    example.settle().await;
    example.migration.target.batch_execute("ANALYZE").await.expect("analyze");
    let (file, wrong) = ("tests/examples/shadow/skills_platform.toml", "pages that a user has seen");
    named(&example, file, Some(Wrong::Index(wrong, "analytics.page_views"))).await;
    for (lines, fault) in faults::SKILLS_PLATFORM {
        faults::is_refused(&example, "public", lines, fault).await;
    }
    under_writes(&example, skills_platform::KINDS, file, &[]).await;
    end(example).await;
}

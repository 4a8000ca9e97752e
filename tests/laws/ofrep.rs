//! The answers of the OpenFeature Remote Evaluation Protocol, as the official SDKs and their OFREP providers understand them: Python and
//! JavaScript, unknown flags and bad contexts included.

use std::{collections::BTreeSet, process::Stdio};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::support::{DEADLINE, daemon::Daemon, load::fill, migration::Migration, packages, stack::root, wait};

const TOKEN: &str = "s3cret";
/// Keys that are asked for at a share of a half: all on one side would be a wonder.
const KEYS: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn ofrep_answers_pass_the_clients_of_openfeature() {
    let mut migration = Migration::demo("ofrep").await;
    let token = migration.mapping().with_file_name("token");
    std::fs::write(&token, TOKEN).expect("write the token");
    migration.set("http", "token_file", token.to_str().expect("a plain name"));
    migration.set("cutover", "oplog_margin", "0s");
    fill(&migration, 91, 60).await;
    let mut daemon = migration.daemon();
    daemon.token = Some(TOKEN.to_owned());
    migration.quiesce(&daemon, DEADLINE).await;
    let share = ["cutover", "reads", "--unit", "users", "--share", "50%", "--force", "--why", "a test"];
    migration.succeed(&share).await;
    wait::until("half of the keys is cut over", DEADLINE, async || {
        let (_, text) = daemon.page("/api/v1/reads/users?key=1").await?;
        wait::holds(text.contains(r#""why":"share""#), text)
    })
    .await;

    let cases = cases();
    let expected = expected(&daemon, &cases).await;
    for (language, mut client) in clients(&migration).await {
        let url = format!("http://{}", daemon.address());
        let results = evaluate(client.args([url.as_str(), TOKEN]), &cases).await;
        for ((case, result), expected) in cases.iter().zip(&results).zip(&expected) {
            for (field, value) in expected.as_object().expect("an object") {
                assert_eq!(&result[field], value, "{language}: {field} of {case} in {result}");
            }
        }
        assert_eq!(results.len(), cases.len());
    }
    for (language, mut client) in clients(&migration).await {
        let url = format!("http://{}", daemon.address());
        let results = evaluate(client.args([url.as_str(), "wrong"]), &cases[..1]).await;
        assert_eq!(results[0]["value"], "default", "{language}");
        assert!(!results[0]["error"].is_null(), "{language}: {}", results[0]);
    }

    bulk(&daemon).await;
    migration.succeed(&["cutover", "back", "--unit", "users"]).await;
    wait::until("everything reads from MongoDB", DEADLINE, async || {
        let answer = daemon.post("/ofrep/v1/evaluate/flags/reads.users", &[], "{}").await?;
        let flag: Value = serde_json::from_str(&answer.text).map_err(|error| error.to_string())?;
        wait::holds(flag["value"] == "mongodb" && flag["reason"] == "DEFAULT", answer.text)
    })
    .await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// The questions, from the first key to what is wrong.
fn cases() -> Vec<Value> {
    let keys = (0..KEYS).map(|key| json!({ "flag": "reads.users", "key": format!("user-{key}") }));
    let others = [
        json!({ "flag": "reads.users" }),
        json!({ "flag": "reads.organisations", "key": "user-1" }),
        json!({ "flag": "reads.organisations", "attributes": { "country": "NO" } }),
        json!({ "flag": "reads.nothing", "key": "user-1" }),
        json!({ "flag": "users", "key": "user-1" }),
        json!({ "flag": "reads.users", "attributes": { "targetingKey": 7 } }),
        json!({ "flag": "reads.users", "key": "user-1", "type": "boolean" }),
    ];
    keys.chain(others).collect()
}

/// The results, of which those of the keys are what the plain interface says.
async fn expected(daemon: &Daemon, cases: &[Value]) -> Vec<Value> {
    let mut expected = Vec::new();
    for case in &cases[..KEYS] {
        let key = case["key"].as_str().expect("a key");
        let (_, text) = daemon.page(&format!("/api/v1/reads/users?key={key}")).await.expect("an answer");
        let read: Value = serde_json::from_str(&text).expect("JSON");
        expected.push(json!({ "value": read["reads"], "variant": read["reads"], "reason": "SPLIT", "error": null }));
    }
    let sides: BTreeSet<String> = expected.iter().map(|expected| expected["value"].to_string()).collect();
    assert_eq!(sides.len(), 2, "half of the keys is cut over");
    let none = json!({ "value": "mongodb", "reason": "DEFAULT", "error": null });
    let failed = |code: &str| json!({ "value": "default", "reason": "ERROR", "error": code });
    expected.extend([
        failed("TARGETING_KEY_MISSING"),
        none.clone(),
        none,
        failed("FLAG_NOT_FOUND"),
        failed("FLAG_NOT_FOUND"),
        failed("INVALID_CONTEXT"),
        json!({ "value": false, "reason": "ERROR", "error": "TYPE_MISMATCH" }),
    ]);
    expected
}

/// Bulk evaluation, as clients that poll use it.
async fn bulk(daemon: &Daemon) {
    let page = "/ofrep/v1/evaluate/flags";
    let context = r#"{"context":{"targetingKey":"user-1"}}"#;
    let first = daemon.post(page, &[], context).await.expect("an answer");
    assert_eq!(first.code, 200, "{}", first.text);
    let tag = first.etag.expect("an entity tag");
    let flags: Value = serde_json::from_str(&first.text).expect("JSON");
    let keys: Vec<&str> =
        flags["flags"].as_array().expect("flags").iter().filter_map(|flag| flag["key"].as_str()).collect();
    assert!(keys.contains(&"reads.users") && keys.contains(&"reads.all"), "{keys:?}");
    let again = daemon.post(page, &[("If-None-Match", &tag)], context).await.expect("an answer");
    assert_eq!((again.code, &*again.text), (304, ""));
    // Without a key, the units that need one fail for themselves; another context has another tag.
    let other = daemon.post(page, &[("If-None-Match", &tag)], "{}").await.expect("an answer");
    let flags: Value = serde_json::from_str(&other.text).expect("JSON");
    let users = flags["flags"].as_array().expect("flags").iter().find(|flag| flag["key"] == "reads.users");
    assert_eq!((other.code, &users.expect("the unit")["errorCode"]), (200, &"TARGETING_KEY_MISSING".into()));
    let bad = daemon.post(page, &[], r#"{"context":7}"#).await.expect("an answer");
    let failure: Value = serde_json::from_str(&bad.text).expect("JSON");
    assert_eq!((bad.code, &failure["errorCode"]), (400, &"INVALID_CONTEXT".into()));
}

/// The programs that ask, each with the packages of the example application.
async fn clients(migration: &Migration) -> [(&'static str, Command); 2] {
    let (programs, app) = (root().join("tests/laws/ofrep"), root().join("config/examples/business_plans/app"));
    let folder = migration.mapping().with_file_name(driftless_testing::unique("node"));
    let lock = app.join("javascript/package-lock.json");
    let python = packages::python(&app.join("python/requirements.txt"), &programs.join("client.py")).await;
    [("Python", python), ("JavaScript", packages::node(&lock, &programs.join("client.mjs"), folder).await)]
}

/// Runs a client with these cases; returns its results.
async fn evaluate(client: &mut Command, cases: &[Value]) -> Vec<Value> {
    let mut child = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("start the client");
    let cases = serde_json::to_vec(cases).expect("JSON");
    child.stdin.take().expect("its input").write_all(&cases).await.expect("give it the cases");
    let output = wait::soon("the end of the client", child.wait_with_output()).await.expect("wait for the client");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {complaint}"))
}

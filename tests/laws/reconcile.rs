//! `driftless reconcile`: what it finds, names and records, and its exit code, whatever else is wrong.

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::support::{
    DEADLINE,
    migration::Migration,
    stack::Stack,
    topic::{self, Record},
};

const SCHEMA: &str = "
CREATE TABLE users (id uuid PRIMARY KEY, name text);
CREATE TABLE logins (id uuid PRIMARY KEY, user_id uuid NOT NULL, ip text);
CREATE TABLE words (word text PRIMARY KEY, size integer);
";
const MAPPING: &str = r#"
namespace = "dns"
[collections.users]
table = "public.users"
id = "uuid5"
[collections.users.children.logins]
table = "public.logins"
parent = "user_id"
id = { column = "id", from = "_id" }
[collections.words]
table = "public.words"
columns = { word = "word", size = "size" }
"#;
const STRAY: &str = "00000000-0000-0000-0000-000000000001";

async fn migrated(test: &str) -> Migration {
    let stack = Stack::shared().await;
    let migration = Migration::new(stack, stack.mongo_uri(), test, SCHEMA, MAPPING).await;
    let users = (0..20).map(|id| doc! { "_id": id, "name": "n", "logins": [{ "_id": id, "ip": "::1" }] });
    migration.collection("users").insert_many(users.collect::<Vec<Document>>()).await.expect("insert users");
    let words = (0..20).map(|id| doc! { "_id": id, "word": format!("word {id}"), "size": id });
    migration.collection("words").insert_many(words.collect::<Vec<Document>>()).await.expect("insert words");
    let daemon = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&daemon, DEADLINE).await;
    daemon.stop(0).await;
    migration.succeed(&["reconcile", "--full"]).await;
    // As a replica, so that nothing but the statement changes rows.
    migration.target.batch_execute("SET session_replication_role = replica").await.expect("be a replica");
    migration
}

/// Runs `reconcile` with these arguments and `--json`; returns its exit code and its report.
async fn reconcile(migration: &Migration, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = migration.command(&[&["reconcile", "--json"], arguments].concat()).await;
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

#[tokio::test(flavor = "multi_thread")]
async fn extra_rows_are_named_by_their_keys_and_recorded_until_they_are_gone() {
    let migration = migrated("extra_rows").await;
    migration.target.batch_execute("CREATE TABLE kept AS SELECT * FROM users").await.expect("keep the rows");
    let daemon = migration.daemon_with(&["source", "sink"]);
    migration.collection("users").delete_one(doc! { "_id": 19 }).await.expect("delete a user");
    migration.quiesce(&daemon, DEADLINE).await;
    daemon.stop(0).await;
    // The row of a deleted document is there again.
    let damage = format!(
        "INSERT INTO users SELECT * FROM kept WHERE id NOT IN (SELECT id FROM users);
         DELETE FROM users WHERE id = (SELECT min(user_id::text)::uuid FROM logins);
         INSERT INTO users VALUES ('{STRAY}', 'stray');
         INSERT INTO logins VALUES ('{STRAY}', gen_random_uuid(), 'stray');
         INSERT INTO words VALUES ('stray', 1)"
    );
    migration.target.batch_execute(&damage).await.expect("damage");
    let (code, report) = reconcile(&migration, &["--full"]).await;
    assert_eq!(code, Some(4), "{report}");
    let findings = |collection: usize| report["reports"][collection]["findings"].as_array().expect("findings").clone();
    let row = |table: &str, key: Value| json!({ "table": table, "row": key, "kind": "extra", "columns": [] });
    let users = findings(0);
    assert_eq!(users.len(), 4, "the children of a missing root are no extra rows: {users:?}");
    assert_eq!(users[0]["kind"], "missing");
    assert!(users.contains(&json!({ "key": "19", "kind": "extra", "columns": [] })), "{users:?}");
    assert!(users.contains(&row("public.users", json!({ "id": STRAY }))), "{users:?}");
    assert!(users.contains(&row("public.logins", json!({ "id": STRAY }))), "{users:?}");
    let words = findings(1);
    assert_eq!(words, [row("public.words", json!({ "word": "stray" }))]);

    let text = migration.command(&["reconcile", "--full"]).await;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains(&format!("users extra row public.logins (id={STRAY})\n")), "{text}");

    let open = "SELECT count(*) FROM driftless.finding WHERE ended_at IS NULL";
    assert_eq!(migration.number(open).await, 5, "each is recorded once");
    migration.target.batch_execute("DELETE FROM words WHERE word = 'stray'").await.expect("remove the row");
    let (code, report) = reconcile(&migration, &["--full", "--collection", "words"]).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(migration.number(open).await, 4, "the finding of this collection has ended");
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_collection_that_fails_does_not_keep_the_others_from_being_compared() {
    let mut migration = migrated("one_fails").await;
    migration.set_failpoints("reconcile.walk=1*error");
    let (code, report) = reconcile(&migration, &["--full"]).await;
    assert_eq!(code, Some(5), "{report}");
    assert_eq!(report["failed"][0]["collection"], "users");
    assert_eq!(
        (&report["reports"][0]["collection"], &report["reports"][0]["documents"]),
        (&json!("words"), &json!(20))
    );
    migration.set_failpoints("");
    migration.finish().await;
}

/// A record that cannot be read belongs to the collection of its topic, and is drift although nobody knows its document.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_drift() {
    let migration = migrated("unreadable").await;
    let junk = Record {
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: Some(b"junk".to_vec()),
        value: Some(b"junk".to_vec()),
        headers: Vec::new(),
    };
    topic::append(migration.stack.kafka(), &migration.topic("users"), vec![junk]).await;
    let sink = migration.daemon_with(&["sink"]);
    let letters = "SELECT count(*) FROM driftless.dead_letter WHERE state = 'open'";
    migration.wait_for_number(letters, DEADLINE, 1).await;
    sink.stop(0).await;
    let (code, report) = reconcile(&migration, &["--full"]).await;
    assert_eq!(code, Some(4), "{report}");
    let lines: Vec<_> = report["reports"].as_array().expect("reports").iter().collect();
    assert_eq!((&lines[0]["dead_letters"], &lines[1]["dead_letters"]), (&json!(1), &json!(0)));
    assert_eq!((&lines[0]["missing"], &lines[0]["different"]), (&json!(0), &json!(0)));
    let (code, _) = reconcile(&migration, &["--full", "--collection", "words"]).await;
    assert_eq!(code, Some(0), "the other collection is equal");
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_prove_nothing() {
    let migration = migrated("counts").await;
    let (code, report) = reconcile(&migration, &["--counts"]).await;
    assert_eq!((code, &report["evidence"]), (Some(5), &json!("weak")));
    let line = |count: &Value| {
        assert!(count["at"].is_string() && count["took_ms"].is_number(), "{count}");
        format!("{} {} {} {}", count["collection"], count["what"], count["count"], count["exact"]).replace('"', "")
    };
    let counts: Vec<_> = report["counts"].as_array().expect("counts").iter().map(line).collect();
    let expected = [
        "users documents 20 false",
        "users live ledger entries 20 true",
        "users rows of public.users 20 true",
        "words documents 20 false",
        "words live ledger entries 20 true",
        "words rows of public.words 20 true",
    ];
    assert_eq!(counts, expected);
    let text = migration.command(&["reconcile", "--counts"]).await;
    assert!(String::from_utf8_lossy(&text.stdout).contains("Counts are weak evidence"));
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_what_is_proven_and_what_is_not() {
    let migration = migrated("proven").await;
    let output = migration.command(&["reconcile", "status", "--json"]).await;
    assert_eq!(output.status.code(), Some(5), "nobody proves: {}", String::from_utf8_lossy(&output.stderr));
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(status["collections"][0]["verdict"], "unknown");
    assert!(!status["blockers"].as_array().expect("blockers").is_empty());

    migration.target.batch_execute("UPDATE users SET name = 'another'").await.expect("damage");
    assert_eq!(reconcile(&migration, &["--full"]).await.0, Some(4));
    let output = migration.command(&["reconcile", "status"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("20 different"), "{text}");
    migration.finish().await;
}

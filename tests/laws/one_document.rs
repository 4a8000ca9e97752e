//! Law 5: nothing vanishes, and one document does not stop the rest. A value that PostgreSQL refuses, for whatever reason, and
//! a record that cannot be read are named and block the verdict; everything else is compared.

use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::support::{
    DEADLINE,
    migration::Migration,
    stack::Stack,
    topic::{self, Record},
};

const SCHEMA: &str = "CREATE TABLE hosts (id text PRIMARY KEY, address inet, note text)";
const MAPPING: &str = "[collections.hosts]\ntable = \"public.hosts\"\nid = \"text\"\n";
/// Exit code of `reconcile` if it found drift.
const DRIFT: i32 = 4;

async fn compared(migration: &Migration) -> Vec<Value> {
    let output = migration.command(&["reconcile", "--full", "--json"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(DRIFT), "{text} {}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_str(&text).expect("JSON");
    told["reports"][0]["findings"].as_array().expect("findings").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_compared_and_a_record_that_cannot_be_read_stop_nothing() {
    let stack = Stack::shared().await;
    let migration = Migration::new(stack, stack.mongo_uri(), "one_document", SCHEMA, MAPPING).await;
    let host = |id: usize| doc! { "_id": format!("h{id}"), "address": "10.0.0.1", "note": "n" };
    let mut hosts: Vec<Document> = (0..50).map(host).collect();
    hosts[7].insert("address", "nowhere");
    migration.collection("hosts").insert_many(&hosts).await.expect("insert the hosts");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    migration.target.batch_execute("UPDATE hosts SET note = 'x' WHERE id = 'h30'").await.expect("damage a row");

    let letter = migration.number("SELECT id FROM driftless.dead_letter").await;
    let found = compared(&migration).await;
    let of =
        |key: &str| found.iter().find(|finding| finding["key"] == format!("\"{key}\"")).expect("a finding").clone();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((&of("h7")["kind"], &of("h7")["letter"]), (&Value::from("different"), &Value::from(letter)));
    assert_eq!(of("h30")["columns"], serde_json::json!(["public.hosts.note"]));
    let drift = |status: &crate::support::status::Status| {
        status.phase("reconciler") == "running"
            && status.blockers.iter().any(|told| told.to_string().contains("2 different"))
    };
    daemon.wait_for("the reconciler names both", DEADLINE, drift).await;

    // Bytes that are not a record of this program, in the topic of the collection.
    migration.collection("hosts").delete_one(doc! { "_id": "h7" }).await.expect("delete the document");
    migration.quiesce(&daemon, DEADLINE).await;
    migration.wait_for_number("SELECT count(*) FROM driftless.dead_letter WHERE state = 'open'", DEADLINE, 0).await;
    let garbage = Record {
        partition: 0,
        offset: 0,
        timestamp_ms: Some(1),
        key: Some(b"k".to_vec()),
        value: Some(b"garbage".to_vec()),
        headers: Vec::new(),
    };
    topic::append(stack.kafka(), &migration.topic("hosts"), vec![garbage]).await;
    let blocked = |status: &crate::support::status::Status| {
        status.verdict == "drift" && status.collections.iter().any(|one| one.name == "hosts" && one.dead_letters == 1)
    };
    daemon.wait_for("it blocks the verdict of its collection", DEADLINE, blocked).await;
    let listed = migration.succeed(&["dlq", "list", "--collection", "hosts"]).await;
    assert!(listed.contains("MALFORMED"), "{listed}");
    daemon.stop(0).await;
    migration.finish().await;
}

//! Read your writes: a request that has written to MongoDB learns when PostgreSQL holds it, from any process of the migration, and never
//! too early.

use mongodb::bson::{Document, doc, oid::ObjectId};
use serde_json::Value;

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::{fill, organisation},
    migration::Migration,
    oracle::root_id,
    wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn applied_is_said_of_a_document_when_its_row_is_there() {
    let migration = Migration::demo("applied").await;
    fill(&migration, 81, 60).await;
    // The answers come from a process that does not run the sink.
    let answering = migration.daemon_with(&["source"]);
    let sink = migration.daemon_with(&["sink"]);
    sink.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;

    let id = ObjectId::new();
    let at = write(&migration, doc! { "insert": "organisations", "documents": [organisation(id)] }).await;
    is_applied(&answering, &format!("collection=organisations&id={id}&at={at}")).await;
    assert_eq!(rows(&migration, id).await, 1);
    assert!(in_sql(&migration, &at, Some(id)).await);
    let update = doc! { "q": { "_id": id }, "u": { "$set": { "employees": 77 } } };
    let at = write(&migration, doc! { "update": "organisations", "updates": [update] }).await;
    is_applied(&sink, &format!("collection=organisations&id=%7B%22%24oid%22%3A%22{id}%22%7D&at={at}")).await;
    let employees = format!("SELECT employees::int8 FROM app.organisations WHERE id = '{}'", root_id(&id.to_hex()));
    assert_eq!(migration.number(&employees).await, 77);
    let delete = doc! { "delete": "organisations", "deletes": [{ "q": { "_id": id }, "limit": 1 }] };
    let at = write(&migration, delete).await;
    is_applied(&answering, &format!("collection=organisations&id={id}&at={at}")).await;
    assert_eq!(rows(&migration, id).await, 0);
    // One that never was, and everything: the watermark says it.
    is_applied(&answering, &format!("collection=organisations&id={}&at={at}", ObjectId::new())).await;
    is_applied(&answering, &format!("collection=organisations&at={at}")).await;
    assert!(in_sql(&migration, &at, None).await);

    // Without the sink the answer is where the target is.
    sink.stop(0).await;
    let id = ObjectId::new();
    let at = write(&migration, doc! { "insert": "organisations", "documents": [organisation(id)] }).await;
    let question = format!("/api/v1/applied?collection=organisations&id={id}&at={at}&wait=300ms");
    let (code, answer) = asked(&answering, &question).await;
    assert_eq!((code, &answer["applied"]), (409, &false.into()), "{answer}");
    assert_eq!(answer["reason"], "the target has not come so far");
    let watermark: Vec<u32> =
        answer["watermark"].as_str().expect("a time").split('.').map(|part| part.parse().expect("a number")).collect();
    let written: Vec<u32> = at.split('.').map(|part| part.parse().expect("a number")).collect();
    assert!(watermark <= written, "{watermark:?} {written:?}");
    assert!(!in_sql(&migration, &at, Some(id)).await);
    // Who waits hears of the commit of another process.
    let sink = migration.daemon_with(&["sink"]);
    is_applied(&answering, &format!("collection=organisations&id={id}&at={at}")).await;
    assert_eq!(rows(&migration, id).await, 1);

    // A change that waits as a dead letter is not applied, although the watermark passes it.
    let mut refused = organisation(ObjectId::new());
    refused.insert("name", "a\0b");
    let id = refused.get_object_id("_id").expect("an id");
    let at = write(&migration, doc! { "insert": "organisations", "documents": [refused] }).await;
    wait::until("the dead letter is seen", DEADLINE, async || {
        let (_, answer) = asked(&answering, &format!("/api/v1/applied?collection=organisations&id={id}&at={at}")).await;
        wait::holds(answer["reason"] == "a change waits as a dead letter or for another document", answer)
    })
    .await;
    sink.stop(0).await;
    answering.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_for_applications_demand_the_token_and_say_what_is_wrong() {
    let mut migration = Migration::demo("answers").await;
    let token = migration.mapping().with_file_name("token");
    std::fs::write(&token, "s3cret\n").expect("write the token");
    migration.set("http", "token_file", token.to_str().expect("a plain name"));
    let daemon = migration.daemon();
    daemon.wait_for("it runs", DEADLINE, |status| status.phase("sink") == "running").await;
    for page in ["/api/v1/applied?collection=users&at=7.3", "/api/v1/reads/users"] {
        let (code, text) = daemon.page(page).await.expect("an answer");
        assert_eq!(code, 401, "{page}: {text}");
        assert!(text.contains("Authorization: Bearer"), "{text}");
    }
    for page in ["/livez", "/readyz", "/metrics", "/api/v1/status"] {
        let (code, _) = daemon.page(page).await.expect("an answer");
        assert_ne!(code, 401, "{page}");
    }
    daemon.stop(0).await;
    std::fs::write(&token, "\n").expect("write no token");
    migration.daemon().ends(1).await;

    migration.set("http", "token_file", migration.mapping().with_file_name("absent").to_str().expect("a plain name"));
    migration.daemon().ends(1).await;
    migration.finish().await;
}

/// Runs a command that writes; returns its operation time, as the interface takes it.
async fn write(migration: &Migration, command: Document) -> String {
    let answer = migration.source.run_command(command).await.expect("write");
    let time = answer.get_timestamp("operationTime").expect("a replica set reports its operation time");
    format!("{}.{}", time.time, time.increment)
}

/// Waits until the answer is yes.
async fn is_applied(daemon: &Daemon, question: &str) {
    wait::until(format!("{question} is applied"), DEADLINE, async || {
        let (code, answer) = asked(daemon, &format!("/api/v1/applied?{question}&wait=2s")).await;
        wait::holds(code == 200 && answer["applied"] == true, format!("{code} {answer}"))
    })
    .await;
}

async fn asked(daemon: &Daemon, page: &str) -> (u16, Value) {
    match daemon.page(page).await {
        Ok((code, text)) => (code, serde_json::from_str(&text).unwrap_or(Value::String(text))),
        // The process has just started.
        Err(error) => (0, Value::String(error)),
    }
}

async fn in_sql(migration: &Migration, at: &str, id: Option<ObjectId>) -> bool {
    let (t, i) = at.split_once('.').expect("a cluster time");
    let id = id.map_or("NULL".to_owned(), |id| format!("'{id}'"));
    let sql = format!("SELECT driftless.applied('organisations', {t}, {i}, {id})::text");
    migration.texts(&sql).await == [Some("true".to_owned())]
}

async fn rows(migration: &Migration, id: ObjectId) -> i64 {
    migration.number(&format!("SELECT count(*) FROM app.organisations WHERE id = '{}'", root_id(&id.to_hex()))).await
}

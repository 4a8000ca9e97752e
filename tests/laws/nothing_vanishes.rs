//! Law 5: nothing vanishes. A document that PostgreSQL refuses becomes a dead letter with its raw bytes and a reason. The rest
//! of its batch is applied, and the document is reported as drift until the data or the target is fixed.

use driftless_demo::{Collection, Generator};
use mongodb::bson::{Document, doc, oid::ObjectId};

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::fill,
    migration::Migration,
    oracle::{self, root_id},
    topic, wait,
};

/// A dead letter as it is in the table.
#[derive(Debug)]
struct Letter {
    reason: String,
    state: String,
    document: Document,
}

const SOUND: usize = 200;
const OPEN: &str = "SELECT count(*) FROM driftless.dead_letter WHERE state = 'open'";

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_document_is_kept_named_and_mended() {
    let migration = Migration::demo("dead_letters").await;
    fill(&migration, 7, 300).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    in_sync(&daemon).await;

    // One insert of many documents, three of them impossible.
    let plans = migration.collection("plans");
    let model = Generator::new(7, 300).document(Collection::Plans, 0);
    let plan = |change: Document| {
        let mut plan = model.clone();
        plan.insert("_id", ObjectId::new());
        plan.remove("milestones");
        plan.extend(change);
        plan
    };
    let nul = plan(doc! { "title": "before\0after" });
    let check = plan(doc! { "status": "on_holiday" });
    let long = plan(doc! { "title": "long ".repeat(80) });
    let refused = [(&nul, "NUL_IN_TEXT"), (&check, "CHECK"), (&long, "TOO_LONG")];
    let mut batch: Vec<Document> = (0..SOUND).map(|_| plan(doc! {})).collect();
    for (at, (document, _)) in refused.iter().enumerate() {
        batch.insert(50 * (at + 1), (*document).clone());
    }
    plans.insert_many(&batch).await.expect("insert the plans");
    let status = migration.quiesce(&daemon, DEADLINE).await;
    assert_eq!(status.dead_letters(), 3, "{}", status.summary());

    // The rest of the batch has rows, the three do not.
    let impossible: Vec<ObjectId> = refused.iter().map(|(document, _)| id(document)).collect();
    for document in &batch {
        let there = row_exists(&migration, id(document)).await;
        assert_eq!(there, !impossible.contains(&id(document)), "{}", id(document));
    }
    // Each document is kept as it was, with its reason.
    for (document, reason) in refused {
        let letter = letter_of(&migration, id(document)).await;
        assert_eq!((letter.reason.as_str(), letter.state.as_str()), (reason, "open"));
        assert_eq!(letter.document, *document, "the raw bytes are the document");
    }
    let listed = migration.succeed(&["dlq", "list", "--json"]).await;
    for (_, reason) in refused {
        assert!(listed.contains(reason), "`dlq list` names {reason}: {listed}");
    }
    let status = daemon.wait_for("the verdict is drift", DEADLINE, |status| status.verdict == "drift").await;
    let named = status.blockers.iter().any(|blocker| blocker.to_string().contains("plans"));
    assert!(named, "the verdict names the collection: {:?}", status.blockers);

    // Repair of the data: the letter closes itself.
    plans.update_one(doc! { "_id": id(&nul) }, doc! { "$set": { "title": "Mended" } }).await.expect("mend the title");
    migration.quiesce(&daemon, DEADLINE).await;
    assert!(row_exists(&migration, id(&nul)).await);
    assert_eq!(letter_of(&migration, id(&nul)).await.state, "superseded");
    // A delete of the document closes its letter, too.
    plans.delete_one(doc! { "_id": id(&long) }).await.expect("delete the plan");
    migration.quiesce(&daemon, DEADLINE).await;
    assert_eq!(letter_of(&migration, id(&long)).await.state, "superseded");
    assert_eq!(migration.number(OPEN).await, 1);

    // Repair of the target: `dlq retry` puts the document into the log again.
    migration
        .target
        .batch_execute("ALTER TABLE app.plans DROP CONSTRAINT plans_status_check")
        .await
        .expect("drop the list");
    migration.succeed(&["dlq", "retry", "--collection", "plans"]).await;
    migration.wait_for_number(OPEN, DEADLINE, 0).await;
    assert_eq!(letter_of(&migration, id(&check)).await.state, "retried");
    assert!(row_exists(&migration, id(&check)).await);
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    in_sync(&daemon).await;
    let healed = daemon.metric("driftless_drift_healed_total").await;
    assert_eq!(healed, Some(0.0), "a retry is a cause");
    daemon.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_succeeds_after_the_column_is_made_wider() {
    let migration = Migration::demo("wider").await;
    fill(&migration, 8, 100).await;
    let mut long = Generator::new(8, 100).document(Collection::Plans, 1);
    long.insert("_id", ObjectId::new());
    long.insert("title", "long ".repeat(80));
    long.insert("milestones", mongodb::bson::Array::new());
    migration.collection("plans").insert_one(&long).await.expect("insert the plan");
    // The snapshot reads it.
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    assert_eq!(letter_of(&migration, id(&long)).await.reason, "TOO_LONG");
    // A retry without a repair is refused once more, reports that, and leaves one letter open.
    let refused = migration.command(&["dlq", "retry"]).await;
    let told = String::from_utf8_lossy(&refused.stdout);
    assert!(refused.status.code() == Some(1) && told.contains("Refused again") && told.contains("TOO_LONG"), "{told}");
    assert_eq!(migration.number(OPEN).await, 1);
    assert!(!row_exists(&migration, id(&long)).await);
    daemon.stop(0).await;

    let wider = "ALTER TABLE app.plans DROP COLUMN search, ALTER COLUMN title TYPE varchar(1000)";
    migration.target.batch_execute(wider).await.expect("make the column wider");
    let mapping = std::fs::read_to_string(migration.mapping()).expect("read the mapping");
    migration.remap(&mapping.replace("ignore = [\"search\"]", "")).await;
    let daemon = migration.daemon();
    daemon.wait_for("the sink runs", DEADLINE, |status| status.phase("sink") == "running").await;
    migration.succeed(&["dlq", "retry"]).await;
    migration.wait_for_number(OPEN, DEADLINE, 0).await;
    assert!(row_exists(&migration, id(&long)).await);
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// Operators retry while the sink is behind or has halted. The log may then hold newer versions of the document than the dead
/// letter. A retry may put nothing older behind them, because compaction keeps only the last record.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_keeps_the_log_in_order() {
    let migration = Migration::demo("retry_order").await;
    fill(&migration, 10, 50).await;
    let plans = migration.collection("plans");
    let model = Generator::new(10, 50).document(Collection::Plans, 1);
    let long = |email: &str| {
        let mut long = model.clone();
        long.insert("_id", ObjectId::new());
        long.insert("title", format!("{email} {}", "long ".repeat(80)));
        long.insert("milestones", mongodb::bson::Array::new());
        long
    };
    let [kept, gone] = ["kept", "gone"].map(long);
    plans.insert_many([&kept, &gone]).await.expect("insert the plans");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    assert_eq!(migration.number(OPEN).await, 2);
    daemon.stop(0).await;

    // The newer versions are in the log before the retry, and the sink has read none of them.
    let leader = migration.daemon_with(&["source"]);
    plans.update_one(doc! { "_id": id(&kept) }, doc! { "$set": { "title": "Newer" } }).await.expect("repair the title");
    plans.delete_one(doc! { "_id": id(&gone) }).await.expect("delete the plan");
    wait::until("the newer versions are in the log", DEADLINE, async || {
        let records = migration.records("plans").await;
        let there = |op: &str| records.iter().any(|record| record.header("driftless.op") == Some(op));
        wait::holds(there("update") && there("delete"), records.len())
    })
    .await;
    migration.succeed(&["dlq", "retry", "--reason", "TOO_LONG", "--wait", "0s"]).await;
    let done = "SELECT count(*) FROM driftless.repair WHERE done_at IS NOT NULL AND refused IS NULL";
    migration.wait_for_number(done, DEADLINE, 2).await;
    leader.stop(0).await;

    let mut last = std::collections::BTreeMap::new();
    for record in migration.records("plans").await.into_iter().filter(topic::Record::is_change) {
        let version = record.header("driftless.version").expect("a change has a version").to_owned();
        let before = last.insert(record.key.clone(), (version.clone(), record));
        let before = before.map(|(version, _)| version).unwrap_or_default();
        assert!(before <= version, "a key goes from {before} back to {version}");
    }
    // Compaction keeps the last record of each key: the newest.
    let left = |document: &Document| {
        let key = format!("{{\"id\":\"{{\\\"$oid\\\": \\\"{}\\\"}}\"}}", id(document).to_hex());
        last.get(&Some(key.into_bytes())).map(|(_, record)| record)
    };
    let value = left(&kept).and_then(|record| record.value.as_deref()).expect("the document is in the log");
    assert!(String::from_utf8_lossy(value).contains("Newer"));
    let value = left(&gone).and_then(|record| record.value.as_deref()).expect("the delete is in the log");
    assert!(String::from_utf8_lossy(value).contains(r#""op":"d""#));

    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    for document in [&kept, &gone] {
        assert_ne!(letter_of(&migration, id(document)).await.state, "open");
    }
    let title = format!("SELECT title::text FROM app.plans WHERE id = '{}'", root_id(&id(&kept).to_hex()));
    assert_eq!(migration.texts(&title).await, [Some("Newer".to_owned())]);
    assert!(!row_exists(&migration, id(&gone)).await);
    assert_eq!(migration.number("SELECT count(*) FROM driftless.dead_letter").await, 2, "no further letter");
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// A retry without a leader reports that, and completes when a leader comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_waits_for_a_leader_and_says_so() {
    let migration = Migration::demo("retry_waits").await;
    fill(&migration, 12, 50).await;
    let mut plan = Generator::new(12, 50).document(Collection::Plans, 1);
    plan.insert("_id", ObjectId::new());
    plan.insert("status", "on_holiday");
    plan.insert("milestones", mongodb::bson::Array::new());
    migration.collection("plans").insert_one(&plan).await.expect("insert the plan");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    assert_eq!(migration.number(OPEN).await, 1);
    daemon.stop(0).await;
    let allow = "ALTER TABLE app.plans DROP CONSTRAINT plans_status_check";
    migration.target.batch_execute(allow).await.expect("drop the list");

    let asked = migration.command(&["dlq", "retry", "--wait", "1s"]).await;
    let told = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.code() == Some(1) && told.contains("no daemon leads the source"), "{told}");
    let daemon = migration.daemon();
    migration.wait_for_number(OPEN, DEADLINE, 0).await;
    assert_eq!(letter_of(&migration, id(&plan)).await.state, "retried");
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    // A record that nobody can read names no document: the command prints the way out.
    let foreign = topic::Record {
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: Some(b"?".to_vec()),
        value: None,
        headers: Vec::new(),
    };
    topic::append(migration.stack.kafka(), &migration.topic("plans"), vec![foreign]).await;
    migration.wait_for_number(OPEN, DEADLINE, 1).await;
    let asked = migration.command(&["dlq", "retry"]).await;
    let told = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.code() == Some(1) && told.contains("driftless dlq discard"), "{told}");
    daemon.stop(0).await;
    migration.finish().await;
}

/// A record that nobody can read belongs to no document. While its letter is open, it is drift of the collection whose topic
/// holds it.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_record_is_drift_of_its_collection() {
    let migration = Migration::demo("unreadable").await;
    fill(&migration, 9, 60).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    in_sync(&daemon).await;
    let foreign = topic::Record {
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: Some(b"?".to_vec()),
        value: Some(b"no envelope".to_vec()),
        headers: Vec::new(),
    };
    topic::append(migration.stack.kafka(), &migration.topic("plans"), vec![foreign]).await;
    migration.wait_for_number(OPEN, DEADLINE, 1).await;
    let status = daemon.wait_for("the verdict is drift", DEADLINE, |status| status.verdict == "drift").await;
    let [blocker] = &*status.blockers else { panic!("{:?}", status.blockers) };
    assert!(blocker.as_str().is_some_and(|text| text.starts_with("plans: dead letters open: 1; next: ")), "{blocker}");
    let plans = status.collections.iter().find(|collection| collection.name == "plans").expect("plans are mapped");
    assert_eq!(plans.dead_letters, 1);

    migration.succeed(&["dlq", "discard", "--reason", "MALFORMED", "--why", "nobody wrote it"]).await;
    in_sync(&daemon).await;
    daemon.stop(0).await;
    migration.finish().await;
}

async fn in_sync(daemon: &Daemon) {
    daemon.wait_for("the verdict is in sync", DEADLINE, |status| status.verdict == "in_sync").await;
}

fn id(document: &Document) -> ObjectId {
    document.get_object_id("_id").expect("an ObjectId")
}

async fn row_exists(migration: &Migration, id: ObjectId) -> bool {
    let id = root_id(&id.to_hex());
    migration.number(&format!("SELECT count(*) FROM app.plans WHERE id = '{id}'")).await == 1
}

/// Returns the newest dead letter of a document, found by the document in its bytes.
async fn letter_of(migration: &Migration, id: ObjectId) -> Letter {
    let query = "SELECT reason, state, value FROM driftless.dead_letter ORDER BY id DESC";
    let rows = migration.target.query(query, &[]).await.expect("read the dead letters");
    let letters = rows.iter().map(|row| {
        let value: Vec<u8> = row.get(2);
        let envelope: serde_json::Value = serde_json::from_slice(&value).expect("the value is the record's JSON");
        let after = envelope["after"].as_str().expect("the document is in `after`");
        // Canonical Extended JSON, read by the driver's own parser.
        let document: Document = serde_json::from_str(after).expect("`after` is Extended JSON");
        Letter { reason: row.get(0), state: row.get(1), document }
    });
    let letters: Vec<_> = letters.collect();
    let found = letters.into_iter().find(|letter| self::id(&letter.document) == id);
    found.unwrap_or_else(|| panic!("{id} has no dead letter"))
}

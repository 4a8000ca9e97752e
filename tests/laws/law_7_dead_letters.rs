//! Law 7 (and 5 of the design): what PostgreSQL refuses becomes a dead letter with its raw bytes and a reason, the rest of
//! its batch is applied, and it is named drift until the data or the target is mended.

use std::time::Duration;

use driftless::demo::{Collection, Generator};
use mongodb::bson::{Document, doc, oid::ObjectId};

use crate::support::{
    PATIENCE, beside_others,
    daemon::Daemon,
    load::fill,
    migration::Migration,
    oracle::{self, root_id},
    wait,
};

/// A dead letter as the table has it.
#[derive(Debug)]
struct Letter {
    reason: String,
    state: String,
    document: Document,
}

const SOUND: usize = 200;
const OPEN: &str = "SELECT count(*) FROM driftless.dead_letter WHERE state = 'open'";

#[tokio::test(flavor = "multi_thread")]
async fn law_7_a_refused_document_is_kept_named_and_mended() {
    let _machine = beside_others().await;
    let mut migration = Migration::demo("dead_letters").await;
    migration.set("reconcile", "sample", 2_000);
    migration.set("reconcile", "interval", "1s");
    fill(&migration, 7, 300).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, PATIENCE).await;
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
    let status = migration.quiesce(&daemon, PATIENCE).await;
    assert_eq!(status.dead_letters(), 3, "{}", status.summary());

    // The rest of the batch is there, the three are not.
    let impossible: Vec<ObjectId> = refused.iter().map(|(document, _)| id(document)).collect();
    for document in &batch {
        let there = row_exists(&migration, id(document)).await;
        assert_eq!(there, !impossible.contains(&id(document)), "{}", id(document));
    }
    // Each is kept as it was, with its reason.
    for (document, reason) in refused {
        let letter = letter_of(&migration, id(document)).await;
        assert_eq!((letter.reason.as_str(), letter.state.as_str()), (reason, "open"));
        assert_eq!(letter.document, *document, "the raw bytes are the document");
    }
    let listed = migration.succeed(&["dlq", "list", "--json"]).await;
    for (_, reason) in refused {
        assert!(listed.contains(reason), "`dlq list` names {reason}: {listed}");
    }
    let status = daemon.wait_for("the verdict is drift", PATIENCE, |status| status.verdict == "drift").await;
    let named = status.blockers.iter().any(|blocker| blocker.to_string().contains("plans"));
    assert!(named, "the verdict names the collection: {:?}", status.blockers);

    // Repair of the data: the entry closes itself.
    plans.update_one(doc! { "_id": id(&nul) }, doc! { "$set": { "title": "Mended" } }).await.expect("mend the title");
    migration.quiesce(&daemon, PATIENCE).await;
    assert!(row_exists(&migration, id(&nul)).await);
    assert_eq!(letter_of(&migration, id(&nul)).await.state, "superseded");
    // So does the delete of one.
    plans.delete_one(doc! { "_id": id(&long) }).await.expect("delete the plan");
    migration.quiesce(&daemon, PATIENCE).await;
    assert_eq!(letter_of(&migration, id(&long)).await.state, "superseded");
    assert_eq!(migration.number(OPEN).await, 1);

    // Repair of the target: the entry is tried again when it is told to, in the log's own way.
    migration
        .target
        .batch_execute("ALTER TABLE app.plans DROP CONSTRAINT plans_status_check")
        .await
        .expect("drop the list");
    migration.succeed(&["dlq", "retry", "--collection", "plans"]).await;
    migration.wait_for_number(OPEN, PATIENCE, 0).await;
    assert_eq!(letter_of(&migration, id(&check)).await.state, "retried");
    assert!(row_exists(&migration, id(&check)).await);
    migration.quiesce(&daemon, PATIENCE).await;
    oracle::assert_equal(&migration).await;
    in_sync(&daemon).await;
    daemon.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_7_a_retry_succeeds_after_the_column_is_made_wider() {
    let _machine = beside_others().await;
    let migration = Migration::demo("wider").await;
    fill(&migration, 8, 100).await;
    let mut long = Generator::new(8, 100).document(Collection::Plans, 1);
    long.insert("_id", ObjectId::new());
    long.insert("title", "long ".repeat(80));
    long.insert("milestones", mongodb::bson::Array::new());
    migration.collection("plans").insert_one(&long).await.expect("insert the plan");
    // The snapshot meets it.
    let daemon = migration.daemon();
    migration.quiesce(&daemon, PATIENCE).await;
    assert_eq!(letter_of(&migration, id(&long)).await.reason, "TOO_LONG");
    // A retry without a repair leaves it where it was, and adds no second entry.
    migration.succeed(&["dlq", "retry"]).await;
    migration.quiesce(&daemon, PATIENCE).await;
    wait::until("it is refused once more", PATIENCE, async || {
        let open = migration.number(OPEN).await;
        wait::holds(open == 1, open)
    })
    .await;
    assert!(!row_exists(&migration, id(&long)).await);
    daemon.stop(0).await;

    let wider = "ALTER TABLE app.plans DROP COLUMN search, ALTER COLUMN title TYPE varchar(1000)";
    migration.target.batch_execute(wider).await.expect("make the column wider");
    let mapping = std::fs::read_to_string(migration.mapping()).expect("read the mapping");
    std::fs::write(migration.mapping(), mapping.replace("ignore = [\"search\"]", "")).expect("write the mapping");
    let daemon = migration.daemon();
    daemon.wait_for("the sink runs", PATIENCE, |status| status.phase("sink") == "running").await;
    migration.succeed(&["dlq", "retry"]).await;
    migration.wait_for_number(OPEN, PATIENCE, 0).await;
    assert!(row_exists(&migration, id(&long)).await);
    migration.quiesce(&daemon, PATIENCE).await;
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_7_a_retry_loses_to_a_newer_version() {
    let _machine = beside_others().await;
    let migration = Migration::demo("retry_loses").await;
    fill(&migration, 10, 50).await;
    let plans = migration.collection("plans");
    let mut long = Generator::new(10, 50).document(Collection::Plans, 1);
    long.insert("_id", ObjectId::new());
    long.insert("title", "long ".repeat(80));
    long.insert("milestones", mongodb::bson::Array::new());
    plans.insert_one(&long).await.expect("insert the plan");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, PATIENCE).await;
    assert_eq!(letter_of(&migration, id(&long)).await.state, "open");
    daemon.stop(0).await;

    // The newer version lies in the log before the retried one, and the sink meets both.
    let daemon = migration.daemon_with(&["source"]);
    plans.update_one(doc! { "_id": id(&long) }, doc! { "$set": { "title": "Newer" } }).await.expect("mend the title");
    wait::until("the newer version is in the log", PATIENCE, async || {
        let records = migration.records("plans").await;
        let there = records.iter().any(|record| record.header("driftless.op") == Some("update"));
        wait::holds(there, records.len())
    })
    .await;
    migration.succeed(&["dlq", "retry", "--reason", "TOO_LONG"]).await;
    daemon.stop(0).await;
    let retried = "SELECT count(*) FROM driftless.action WHERE command = 'dlq retry' AND detail -> 'letters' <> '[]'";
    assert_eq!(migration.number(retried).await, 1);

    let daemon = migration.daemon();
    migration.quiesce(&daemon, PATIENCE).await;
    assert_eq!(letter_of(&migration, id(&long)).await.state, "superseded");
    let title = format!("SELECT title::text FROM app.plans WHERE id = '{}'", root_id(&id(&long).to_hex()));
    assert_eq!(migration.texts(&title).await, [Some("Newer".to_owned())]);
    assert_eq!(migration.number("SELECT count(*) FROM driftless.dead_letter").await, 1, "no second letter");
    daemon.stop(0).await;
    migration.finish().await;
}

async fn in_sync(daemon: &Daemon) {
    daemon.wait_for("the verdict is in sync", Duration::from_secs(60), |status| status.verdict == "in_sync").await;
}

fn id(document: &Document) -> ObjectId {
    document.get_object_id("_id").expect("an ObjectId")
}

async fn row_exists(migration: &Migration, id: ObjectId) -> bool {
    let id = root_id(&id.to_hex());
    migration.number(&format!("SELECT count(*) FROM app.plans WHERE id = '{id}'")).await == 1
}

/// The newest dead letter of a document, found by the document that its bytes hold.
async fn letter_of(migration: &Migration, id: ObjectId) -> Letter {
    let query = "SELECT reason, state, value FROM driftless.dead_letter ORDER BY id DESC";
    let rows = migration.target.query(query, &[]).await.expect("read the dead letters");
    let letters = rows.iter().map(|row| {
        let value: Vec<u8> = row.get(2);
        let envelope: serde_json::Value = serde_json::from_slice(&value).expect("the value is the record's JSON");
        let after = envelope["after"].as_str().expect("the document is in `after`");
        // Canonical Extended JSON, read by the driver's own reader.
        let document: Document = serde_json::from_str(after).expect("`after` is Extended JSON");
        Letter { reason: row.get(0), state: row.get(1), document }
    });
    let letters: Vec<_> = letters.collect();
    let found = letters.into_iter().find(|letter| self::id(&letter.document) == id);
    found.unwrap_or_else(|| panic!("{id} has no dead letter"))
}

//! Law 9 for a collection larger than the sample: a sample proves drift of the documents that it read, and nothing else.

use mongodb::bson::oid::ObjectId;

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::{fill, organisation},
    migration::Migration,
    oracle::root_id,
    status::Status,
    wait,
};

/// Number of documents on each side that a pass compares.
const SAMPLE: i64 = 20;
/// Conditions of results of the collection's samples, without and with drift.
const CLEAN: &str =
    "tier = 'sample' AND collection = 'organisations' AND checked >= 20 AND missing + extra + different = 0";
const DIRTY: &str = "tier = 'sample' AND collection = 'organisations' AND missing + extra + different > 0";

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_proves_drift_and_never_equality() {
    let mut migration = Migration::demo("samples").await;
    migration.set("reconcile", "sample", SAMPLE);
    migration.set("reconcile", "interval", "50ms");
    migration.set("reconcile", "fresh", "1h");
    fill(&migration, 43, 200).await;
    let ids: Vec<ObjectId> = (0..60).map(|_| ObjectId::new()).collect();
    let organisations = migration.collection("organisations");
    organisations.insert_many(ids.iter().map(|id| organisation(*id))).await.expect("insert documents");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;

    // Nothing is wrong, but nothing is proven.
    let start = results(&migration).await;
    met(&migration, CLEAN, start, 3).await;
    let status = daemon.wait_for("the verdict is unknown", DEADLINE, |status| status.verdict == "unknown").await;
    assert!(blocked(&status, "organisations: only a sample of "), "{:?}", status.blockers);
    let sample = migration.command(&["reconcile", "--collection", "organisations"]).await;
    let report = String::from_utf8_lossy(&sample.stdout);
    assert!(sample.status.code() == Some(5) && report.contains("no drift in the sample: below "), "{report}");

    migration.succeed(&["reconcile", "--full"]).await;
    in_sync(&daemon).await;

    // One row differs. A sample that does not read it proves nothing about it, and does not revoke the result of one that did.
    // As a replica, so that no trigger changes more.
    migration.target.batch_execute("SET session_replication_role = replica").await.expect("be a replica");
    let damaged = root_id(&ids[0].to_hex());
    let change = |by| format!("UPDATE app.organisations SET employees = employees + {by} WHERE id = '{damaged}'");
    assert_eq!(migration.target.execute(&change(1), &[]).await.expect("change a row by hand"), 1);
    let start = results(&migration).await;
    met(&migration, DIRTY, start, 1).await;
    let status = daemon.wait_for("the verdict is drift", DEADLINE, |status| status.verdict == "drift").await;
    assert!(blocked(&status, "organisations: documents that drift: 1 "), "{:?}", status.blockers);
    let status = with_a_clean_sample(&daemon).await;
    assert_eq!(status["verdict"], "drift", "{}", status["blockers"]);

    let found = format!(
        "SELECT DISTINCT different || ' ' || missing || ' ' || extra || ' ' || detail::text
           FROM driftless.reconcile_result WHERE id > {start} AND {DIRTY}"
    );
    let finding = format!(
        "1 0 0 [{{\"key\": \"{{\\\"$oid\\\":\\\"{}\\\"}}\", \"kind\": \"different\", \"columns\": [\"app.organisations.employees\"]}}]",
        ids[0].to_hex()
    );
    assert_eq!(migration.texts(&found).await, [Some(finding)], "no other document is claimed");

    // Only a full comparison revokes it.
    migration.target.execute(&change(-1), &[]).await.expect("change it back");
    migration.succeed(&["reconcile", "--full"]).await;
    in_sync(&daemon).await;
    daemon.stop(0).await;
    migration.finish().await;
}

async fn in_sync(daemon: &Daemon) {
    daemon.wait_for("the verdict is in sync", DEADLINE, |status| status.verdict == "in_sync").await;
}

fn blocked(status: &Status, by: &str) -> bool {
    status.blockers.iter().any(|blocker| blocker.as_str().is_some_and(|text| text.starts_with(by)))
}

/// Waits until the status shows a sample without drift, and returns that status.
async fn with_a_clean_sample(daemon: &Daemon) -> serde_json::Value {
    wait::until("the last sample is clean", DEADLINE, async || {
        let (_, text) = daemon.page("/api/v1/status").await?;
        let status: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let mut collections = status["collections"].as_array().into_iter().flatten();
        let shown = collections.find(|collection| collection["name"] == "organisations").ok_or("no collection")?;
        let clean = shown["evidence"]["sample"]["different"] == 0;
        if clean { Ok(status) } else { Err(text) }
    })
    .await
}

/// Returns the number of the last result.
async fn results(migration: &Migration) -> i64 {
    migration.number("SELECT coalesce(max(id), 0) FROM driftless.reconcile_result").await
}

/// Waits for `many` results of a kind that are later than `after`.
async fn met(migration: &Migration, kind: &str, after: i64, many: i64) {
    let query = format!("SELECT count(*) FROM driftless.reconcile_result WHERE id > {after} AND {kind}");
    wait::until(format!("{many} results are there: {kind}"), DEADLINE, async || {
        let found = migration.number(&query).await;
        wait::holds(found >= many, found)
    })
    .await;
}

//! Law 9: a proof that is fresh. The reconciler follows the source with a change stream of its own and judges every document that
//! changes, so a change that the pipeline has lost is found within seconds, whatever the document does meanwhile.

use futures_util::future::join_all;
use mongodb::bson::{doc, oid::ObjectId};
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::{fill, organisation},
    migration::Migration,
    skip::skip,
    topic::Record,
    wait,
};

/// The frontier of the proof of organisations, in seconds; 0 while there is none.
const VERIFIED: &str = "SELECT coalesce(max(p.verified_t), 0) FROM driftless.proof AS p \
     JOIN driftless.collection AS c ON c.id = p.collection WHERE c.name = 'organisations'";
/// When that was so by PostgreSQL's clock, in seconds; 0 while it is not known.
const VERIFIED_AT: &str = "SELECT coalesce(floor(extract(epoch FROM max(p.verified_at))), 0)::int8 FROM driftless.proof AS p \
     JOIN driftless.collection AS c ON c.id = p.collection WHERE c.name = 'organisations'";
/// Writers of one document.
const WRITERS: usize = 4;
/// Whether the baseline of organisations is complete.
const COMPLETE: &str = "SELECT count(*) FROM driftless.proof AS p JOIN driftless.collection AS c ON c.id = p.collection \
     WHERE c.name = 'organisations' AND p.complete_pass IS NOT NULL";
/// Open findings.
const OPEN: &str = "SELECT count(*) FROM driftless.finding WHERE ended_at IS NULL";

/// Waits until documents that changed up to now are judged.
async fn verified(migration: &Migration) {
    let now = migration.number("SELECT extract(epoch FROM clock_timestamp())::int8").await;
    // Something must happen later, so that the cluster time moves.
    wait::until("what has changed is judged", DEADLINE, async || {
        migration.collection("organisations").insert_one(organisation(ObjectId::new())).await.expect("insert");
        let seen = migration.number(VERIFIED).await;
        wait::holds(seen > now, format!("{seen} of {now}"))
    })
    .await;
}

/// Changes a document while no sink runs, and moves the position of its partition past the record.
async fn lose_a_change(migration: &Migration, sink: Daemon, id: ObjectId) -> Daemon {
    migration.quiesce(&sink, DEADLINE).await;
    sink.stop(0).await;
    let hex = id.to_hex();
    let of_it = |record: &Record| record.key.as_ref().is_some_and(|key| String::from_utf8_lossy(key).contains(&hex));
    let records = async || migration.records("organisations").await.into_iter().filter(of_it).collect::<Vec<_>>();
    let before = records().await.len();
    let organisations = migration.collection("organisations");
    organisations.update_one(doc! { "_id": id }, doc! { "$inc": { "employees": 1 } }).await.expect("update a document");
    let lost = wait::until("the change is in the log", DEADLINE, async || {
        let records = records().await;
        if records.len() > before { records.into_iter().next_back().ok_or(0) } else { Err(records.len()) }
    })
    .await;
    skip(migration, "organisations", &lost).await;
    migration.daemon_with(&["sink"])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delta_finds_a_change_that_the_pipeline_lost() {
    let mut migration = Migration::demo("delta").await;
    // A second baseline would find the difference, too.
    migration.set("reconcile", "baseline_every", "1h");
    fill(&migration, 31, 100).await;
    let ids = [ObjectId::new(), ObjectId::new()];
    migration.collection("organisations").insert_many(ids.map(organisation)).await.expect("insert documents");
    let source = migration.daemon_with(&["source"]);
    let sink = migration.daemon_with(&["sink"]);
    let reconciler = migration.daemon_with(&["reconciler"]);
    migration.quiesce(&sink, DEADLINE).await;
    migration.wait_for_number(COMPLETE, DEADLINE, 1).await;
    verified(&migration).await;
    assert_eq!(migration.number(OPEN).await, 0);

    let sink = lose_a_change(&migration, sink, ids[0]).await;
    migration.wait_for_number(OPEN, DEADLINE, 1).await;
    let found = "SELECT kind || ' ' || array_to_string(columns, ' ') || ' ' || found_by FROM driftless.finding";
    assert_eq!(migration.texts(found).await, [Some("different app.organisations.employees delta".to_owned())]);

    // A reconciler that did not run meanwhile begins where it was.
    reconciler.stop(0).await;
    let sink = lose_a_change(&migration, sink, ids[1]).await;
    migration.quiesce(&sink, DEADLINE).await;
    let reconciler = migration.daemon_with(&["reconciler"]);
    migration.wait_for_number(OPEN, DEADLINE, 2).await;

    // Findings end by themselves, and say why.
    let all = doc! { "_id": { "$in": ids.to_vec() } };
    let organisations = migration.collection("organisations");
    organisations.update_many(all, doc! { "$inc": { "employees": 1 } }).await.expect("update documents");
    migration.wait_for_number(OPEN, DEADLINE, 0).await;
    let ended = "SELECT DISTINCT ended_by FROM driftless.finding";
    assert_eq!(migration.texts(ended).await, [Some("new version".to_owned())]);
    verified(&migration).await;
    for daemon in [source, sink, reconciler] {
        daemon.stop(0).await;
    }
    migration.finish().await;
}

/// A document that is written without a pause is never equal to what the source holds now.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_never_rests_does_not_hold_the_proof_back() {
    let migration = Migration::demo("hot").await;
    fill(&migration, 32, 100).await;
    let id = ObjectId::new();
    let organisations = migration.collection("organisations");
    organisations.insert_one(organisation(id)).await.expect("insert a document");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    let end = CancellationToken::new();
    // So many at once that no reply of the stream says that the source has no more.
    let hot = join_all((0..WRITERS).map(async |_| {
        let mut writes = 0;
        while !end.is_cancelled() {
            let change = doc! { "$inc": { "employees": 1 } };
            organisations.update_one(doc! { "_id": id }, change).await.expect("update the document");
            writes += 1;
        }
        writes
    }));
    let watch = async {
        for _ in 0..3 {
            let now = migration.number("SELECT extract(epoch FROM clock_timestamp())::int8").await;
            wait::until("V has passed now", DEADLINE, async || {
                let (seen, as_of) = (migration.number(VERIFIED).await, migration.number(VERIFIED_AT).await);
                wait::holds(seen.min(as_of) > now, format!("{seen} as of {as_of}, and not {now}"))
            })
            .await;
        }
        end.cancel();
    };
    let (writes, ()) = tokio::join!(hot, watch);
    assert!(writes.iter().all(|writes| *writes > 0) && migration.number(OPEN).await == 0);
    daemon.stop(0).await;
    migration.finish().await;
}

/// One reconciler of a migration proves. Another one takes over when it dies, and goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn two_reconcilers_take_turns() {
    let migration = Migration::demo("turns").await;
    fill(&migration, 33, 100).await;
    let pipeline = migration.daemon_with(&["source", "sink"]);
    let first = migration.daemon_with(&["reconciler"]);
    migration.quiesce(&pipeline, DEADLINE).await;
    verified(&migration).await;
    let second = migration.daemon_with(&["reconciler"]);
    let phase =
        |wanted: &'static str| move |status: &crate::support::status::Status| status.phase("reconciler") == wanted;
    second.wait_for("the second one stands by", DEADLINE, phase("standby")).await;
    let status = first.status().await.expect("the status answers");
    assert_eq!(status.phase("reconciler"), "running");
    first.kill9().await;
    second.wait_for("the second one takes over", DEADLINE, phase("running")).await;
    verified(&migration).await;
    let third = migration.daemon_with(&["reconciler"]);
    third.wait_for("the third one stands by", DEADLINE, phase("standby")).await;
    second.stop(0).await;
    third.wait_for("the third one takes over", DEADLINE, phase("running")).await;
    verified(&migration).await;
    let void = "SELECT count(*) FROM driftless.proof WHERE void_because IS NOT NULL";
    assert_eq!(migration.number(void).await, 0, "none of them has lost its place");
    for daemon in [pipeline, third] {
        daemon.stop(0).await;
    }
    migration.finish().await;
}

/// An operator raises the epoch where the source runs. A process that only compares, and was not restarted, hears of it from the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_raised_epoch_is_no_difference() {
    let mut migration = Migration::demo("epoch").await;
    fill(&migration, 34, 100).await;
    let reconciler = migration.daemon_with(&["reconciler"]);
    let pipeline = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&pipeline, DEADLINE).await;
    verified(&migration).await;
    pipeline.stop(0).await;
    migration.set("source", "epoch", 2);
    let pipeline = migration.daemon_with(&["source", "sink"]);
    let older = "SELECT count(*) FROM driftless.ledger WHERE substr(version, 1, 4) < '\\x00000002'";
    migration.wait_for_number(older, DEADLINE, 0).await;
    migration.quiesce(&pipeline, DEADLINE).await;
    verified(&migration).await;
    let found = "SELECT kind || ' ' || found_by FROM driftless.finding";
    assert_eq!(migration.texts(found).await, [], "no entry is ahead of the source");

    // One that is ahead of the source by its epoch is still found.
    let ahead = "UPDATE driftless.ledger SET version = '\\x00000003' || substr(version, 5) \
                  WHERE key = (SELECT l.key FROM driftless.ledger AS l JOIN driftless.collection AS c ON c.id = l.collection \
                                WHERE c.name = 'organisations' LIMIT 1)";
    assert_eq!(migration.target.execute(ahead, &[]).await.expect("raise a version"), 1);
    migration.wait_for_number(OPEN, DEADLINE, 1).await;
    assert_eq!(migration.texts("SELECT kind FROM driftless.finding").await, [Some("version".to_owned())]);
    for daemon in [reconciler, pipeline] {
        daemon.stop(0).await;
    }
    migration.finish().await;
}

//! Law 9: a proof of everything. Passes over whole collections go on wherever a process died, wait for no other collection, and
//! skip nothing when the source forgets its past. What they compared is counted here from the stored chunks.

use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE,
    load::{fill, organisation},
    migration::Migration,
    small_server::SmallServer,
    stack::{Stack, root},
    wait,
};

const SCHEMA: &str = "CREATE TABLE things (id uuid PRIMARY KEY, n bigint);";
const MAPPING: &str = "namespace = \"dns\"\n[collections.things]\nid = \"uuid5\"\n";

/// Open findings.
const OPEN: &str = "SELECT count(*) FROM driftless.finding WHERE ended_at IS NULL";
/// Chunks that do not begin where the one before them in their phase ended, or end a phase too early or too late.
const BROKEN: &str = "SELECT count(*) FROM (
    SELECT after, until, lag(until) OVER phase AS before, row_number() OVER phase AS n,
           count(*) OVER (PARTITION BY collection, pass, phase) AS last
      FROM driftless.baseline_chunk WINDOW phase AS (PARTITION BY collection, pass, phase ORDER BY place)) AS c
    WHERE (n = 1 AND after IS NOT NULL) OR (n > 1 AND (before IS NULL OR after IS DISTINCT FROM before))
       OR (n = last) <> (until IS NULL)";

/// A column of the proof of a collection; 0 for NULL.
fn proof(collection: &str, column: &str) -> String {
    format!(
        "SELECT coalesce(max(p.{column}), 0)::int8 FROM driftless.proof AS p \
           JOIN driftless.collection AS c ON c.id = p.collection WHERE c.name = '{collection}'"
    )
}

/// Documents in the chunks of the last complete pass.
fn compared(collection: &str) -> String {
    format!(
        "SELECT coalesce(sum(b.documents), 0)::int8 FROM driftless.baseline_chunk AS b \
           JOIN driftless.proof AS p ON p.collection = b.collection AND p.complete_pass = b.pass \
           JOIN driftless.collection AS c ON c.id = b.collection WHERE c.name = '{collection}' AND b.phase = 'documents'"
    )
}

/// Lets no second pass begin, so that all chunks are of the first.
fn once(migration: &mut Migration) {
    migration.set("reconcile", "baseline_every", "1h");
}

/// Waits until the first pass over a collection is complete.
async fn complete(migration: &Migration, collection: &str) {
    let query = proof(collection, "complete_pass");
    wait::until("a pass is complete", DEADLINE, async || {
        let pass = migration.number(&query).await;
        let waits = "SELECT baseline_waits_for FROM driftless.proof WHERE baseline_waits_for IS NOT NULL";
        wait::holds(pass > 0, format!("{:?}", migration.texts(waits).await))
    })
    .await;
}

/// Documents with `_id`s of several types; the keys of some are hashes.
fn things() -> Vec<Document> {
    let mut ids: Vec<Bson> = (0..600).map(Bson::from).collect();
    ids.extend((0..600).map(|n| Bson::from(format!("text {n:04}"))));
    ids.extend((0..20).map(|n| Bson::from(format!("{n:02} {}", "x".repeat(2_000)))));
    ids.push("y".repeat(300_000).into());
    ids.extend((0..200).map(|_| ObjectId::new().into()));
    ids.into_iter().map(|id| doc! { "_id": id, "n": 1_i64 }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_is_killed_anywhere_skips_nothing() {
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), "killed", SCHEMA, MAPPING).await;
    once(&mut migration);
    migration.set("source", "chunk_documents", 20);
    migration.set("reconcile", "rate", 400);
    let documents = things();
    migration.collection("things").insert_many(&documents).await.expect("insert documents");
    let pipeline = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&pipeline, DEADLINE).await;

    let (place, mut killed_at) = (proof("things", "place"), Vec::new());
    while killed_at.len() < 5 {
        let reconciler = migration.daemon_with(&["reconciler"]);
        let before = killed_at.last().copied().unwrap_or(0);
        let reached = wait::until("the pass goes on", DEADLINE, async || {
            let place = migration.number(&place).await;
            if place > before { Ok(place) } else { Err(place) }
        })
        .await;
        reconciler.kill9().await;
        killed_at.push(reached);
    }
    let reconciler = migration.daemon_with(&["reconciler"]);
    complete(&migration, "things").await;
    assert_eq!(migration.number(&proof("things", "complete_pass")).await, 1, "no pass began anew: {killed_at:?}");
    assert_eq!(migration.number(BROKEN).await, 0);
    assert_eq!(migration.number(&compared("things")).await, documents.len() as i64);
    assert_eq!(migration.number(OPEN).await, 0);
    reconciler.stop(0).await;
    pipeline.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_cannot_be_compared_keeps_no_other_from_it() {
    let mut migration = Migration::demo("locked").await;
    once(&mut migration);
    fill(&migration, 41, 300).await;
    let pipeline = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&pipeline, DEADLINE).await;
    let holder = migration.connect().await;
    holder.batch_execute("BEGIN; LOCK app.organisations IN ACCESS EXCLUSIVE MODE").await.expect("lock a table");

    let reconciler = migration.daemon_with(&["reconciler"]);
    let others = "SELECT count(*) FROM driftless.proof AS p JOIN driftless.collection AS c ON c.id = p.collection \
                   WHERE c.name <> 'organisations' AND p.complete_pass IS NULL";
    migration.wait_for_number("SELECT sign(count(*))::int8 FROM driftless.proof", DEADLINE, 1).await;
    migration.wait_for_number(others, DEADLINE, 0).await;
    assert_eq!(migration.number(&proof("organisations", "complete_pass")).await, 0);
    let waits = "SELECT count(*) FROM driftless.proof WHERE baseline_waits_for LIKE '%lock timeout%'";
    migration.wait_for_number(waits, DEADLINE, 1).await;

    holder.batch_execute("COMMIT").await.expect("free the table");
    complete(&migration, "organisations").await;
    assert_eq!(migration.number(BROKEN).await, 0);
    reconciler.stop(0).await;
    pipeline.stop(0).await;
    migration.finish().await;
}

/// A chunk that MongoDB can no longer read as of its time is read as of a later one; while the target has come no further than what
/// MongoDB has forgotten, the pass waits and says so.
#[tokio::test(flavor = "multi_thread")]
async fn index_builds_and_a_short_history_skip_nothing() {
    let stack = Stack::shared().await;
    let server = SmallServer::start(stack, 100, 5).await;
    let read =
        |file: &str| std::fs::read_to_string(root().join("config/demo").join(file)).expect("read the demo's files");
    let mut migration = Migration::new(stack, &server.uri, "forgets", &read("schema.sql"), &read("mapping.toml")).await;
    once(&mut migration);
    migration.set("reconcile", "rate", 150);
    migration.set("source", "chunk_documents", 50);
    let organisations = migration.collection("organisations");
    organisations.insert_many((0..2_000).map(|_| organisation(ObjectId::new()))).await.expect("insert documents");
    let pipeline = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&pipeline, DEADLINE).await;
    let reconciler = migration.daemon_with(&["reconciler"]);
    let begun = proof("organisations", "place");
    wait::until("the pass has begun", DEADLINE, async || {
        let place = migration.number(&begun).await;
        wait::holds(place > 0, place)
    })
    .await;
    pipeline.sigstop().await;
    let end = CancellationToken::new();
    let build = async {
        wait::repeat_until(&end, async || {
            let index =
                doc! { "createIndexes": "organisations", "indexes": [{ "key": { "employees": 1 }, "name": "e" }] };
            migration.source.run_command(index).await.expect("build an index");
            let by_one = doc! { "$inc": { "employees": 1 } };
            organisations.update_one(doc! {}, by_one).await.expect("update a document");
            migration.source.run_command(doc! { "dropIndexes": "organisations", "index": "e" }).await.expect("drop it");
        })
        .await
    };
    let watch = async {
        let waits =
            "SELECT count(*) FROM driftless.proof WHERE baseline_waits_for LIKE 'MongoDB can no longer be read%'";
        wait::until("the pass waits for the target", DEADLINE, async || {
            let waiting = migration.number(waits).await;
            wait::holds(waiting > 0, waiting)
        })
        .await;
        pipeline.sigcont().await;
        complete(&migration, "organisations").await;
        end.cancel();
    };
    let (builds, ()) = tokio::join!(build, watch);
    assert!(builds > 0);
    assert_eq!(migration.number(BROKEN).await, 0);
    assert_eq!(migration.number(&compared("organisations")).await, 2_000);
    // Each document, its entry and its row, and each entry once more, with which the rows are compared: all of it is paced.
    assert_eq!(migration.number(&proof("organisations", "complete_work")).await, 4 * 2_000);
    assert_eq!(migration.number(OPEN).await, 0);
    reconciler.stop(0).await;
    pipeline.stop(0).await;
    migration.finish().await;
    server.end().await;
}

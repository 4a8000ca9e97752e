//! Law 9: a proof of everything. Passes over whole collections go on wherever a process died, wait for no other collection, and
//! skip nothing when the source forgets its past. What they compared is counted here from the stored chunks.

use std::collections::{HashMap, VecDeque};

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE,
    daemon::{Daemon, SIGABRT},
    drill,
    load::{fill, organisation},
    migration::Migration,
    small_server::SmallServer,
    stack::Stack,
    wait,
};

const SCHEMA: &str = "CREATE TABLE things (id uuid PRIMARY KEY, n bigint);";
const MAPPING: &str = "namespace = \"dns\"\n[collections.things]\nid = \"uuid5\"\n";

/// Chunks of the last complete pass that do not begin where the one before them in their phase ended, or end a phase too early or
/// too late.
const BROKEN: &str = "SELECT count(*) FROM (
    SELECT b.after, until, lag(until) OVER phase AS before, row_number() OVER phase AS n,
           count(*) OVER (PARTITION BY b.collection, b.phase) AS last
      FROM driftless.baseline_chunk AS b JOIN driftless.proof AS p ON p.collection = b.collection AND p.complete_pass = b.pass
    WINDOW phase AS (PARTITION BY b.collection, b.phase ORDER BY b.place)) AS c
    WHERE (n = 1 AND after IS NOT NULL) OR (n > 1 AND (before IS NULL OR after IS DISTINCT FROM before))
       OR (n = last) <> (until IS NULL)";
/// The end of each chunk of documents of the last complete pass, `{_id: …}` or nothing, and how many documents it holds.
const CHUNKS: &str = "SELECT b.until, b.documents FROM driftless.baseline_chunk AS b \
    JOIN driftless.proof AS p ON p.collection = b.collection AND p.complete_pass = b.pass \
    JOIN driftless.collection AS c ON c.id = b.collection WHERE c.name = $1 AND b.phase = 'documents' ORDER BY b.place";

/// The chunk that comes next, of the only collection.
const PLACE: &str = "SELECT coalesce(max(place), 0) FROM driftless.proof";

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
fn things(each: i64) -> Vec<Document> {
    let mut ids: Vec<Bson> = (0..each).map(Bson::from).collect();
    ids.extend((0..each).map(|n| Bson::from(format!("text {n:06}"))));
    ids.extend((0..20).map(|n| Bson::from(format!("{n:02} {}", "x".repeat(2_000)))));
    ids.push("y".repeat(300_000).into());
    ids.extend((0..each / 3).map(|_| ObjectId::new().into()));
    ids.into_iter().map(|id| doc! { "_id": id, "n": 1_i64 }).collect()
}

/// Checks the number of documents of each chunk against a count of the `_id`s between its ends.
async fn assert_counts(migration: &Migration, name: &str) {
    let failed = "list the documents";
    let (collection, by_id) = (migration.collection(name), doc! { "_id": 1 });
    let found = collection.find(doc! {}).projection(by_id.clone()).sort(by_id);
    let documents: Vec<Document> = found.await.expect(failed).try_collect().await.expect(failed);
    let places: HashMap<Vec<u8>, i64> =
        documents.iter().map(|id| mongodb::bson::serialize_to_vec(id).expect("it was read")).zip(1..).collect();
    let mut before = 0;
    for chunk in migration.target.query(CHUNKS, &[&name]).await.expect("read the chunks") {
        let until: Option<Vec<u8>> = chunk.get(0);
        let place = until.map_or(documents.len() as i64, |until| places[&until]);
        assert_eq!(chunk.get::<_, i64>(1), place - before, "documents up to place {place} of {}", documents.len());
        before = place;
    }
    assert_eq!(before, documents.len() as i64, "the last chunk ends behind the last document");
}

/// Each role has a process of its own, and they are killed in turn while documents change.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_beside_kills_of_every_role_skips_nothing() {
    // So many documents that the pass, at its rate, outlasts the kills; its rest has no rate.
    let (kills, each) = if drill() { (50, 20_000) } else { (5, 4_000) };
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), "killed", SCHEMA, MAPPING).await;
    once(&mut migration);
    let (documents, collection) = (things(each), migration.collection("things"));
    for some in documents.chunks(1_000) {
        collection.insert_many(some).await.expect("insert documents");
    }
    let pipeline = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&pipeline, DEADLINE).await;
    pipeline.stop(0).await;
    migration.set("source", "chunk_documents", 20);
    migration.set("reconcile", "rate", 100);

    let end = CancellationToken::new();
    let mut written = 0;
    let write = wait::repeat_until(&end, async || {
        written = (written + 7) % each;
        let count = doc! { "$inc": { "n": 1_i64 } };
        collection.update_one(doc! { "_id": written }, count).await.expect("update a document");
    });
    let kill = async {
        let roles = kill_in_turn(&migration, kills).await;
        end.cancel();
        roles
    };
    let (writes, mut roles) = tokio::join!(write, kill);
    eprintln!("baseline: {kills} kills up to chunk {}, beside {writes} writes", migration.number(PLACE).await);
    let reconciler = roles.extract_if(.., |(role, _)| *role == "reconciler").next().expect("it runs");
    reconciler.1.stop(0).await;
    migration.set("reconcile", "rate", 0);
    migration.set("source", "chunk_documents", 1_000);
    roles.push(("reconciler", migration.daemon_with(&["reconciler"])));
    complete(&migration, "things").await;

    assert_eq!(migration.number(&proof("things", "complete_pass")).await, 1, "no pass began anew");
    assert_eq!(migration.number(BROKEN).await, 0);
    assert_counts(&migration, "things").await;
    assert_eq!(migration.number("SELECT count(*) FROM driftless.finding").await, 0);
    for (_, daemon) in roles {
        daemon.stop(0).await;
    }
    migration.finish().await;
}

/// A pass begins as soon as the change stream of keys is followed; from then on a death costs no more than a chunk.
#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_the_first_chunk_voids_no_proof() {
    let mut migration = Migration::demo("first_chunk").await;
    once(&mut migration);
    fill(&migration, 43, 300).await;
    let pipeline = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&pipeline, DEADLINE).await;
    migration.set_failpoints(format!("{}=1*kill", driftless::failpoints::BASELINE_CHUNK.name));
    migration.daemon_with(&["reconciler"]).is_killed_by(SIGABRT).await;
    migration.set_failpoints("");

    let reconciler = migration.daemon_with(&["reconciler"]);
    complete(&migration, "organisations").await;
    let voided = "SELECT count(*) FROM driftless.proof WHERE void_because IS NOT NULL";
    assert_eq!(migration.number(voided).await, 0);
    reconciler.stop(0).await;
    pipeline.stop(0).await;
    migration.finish().await;
}

/// Kills a role once it works and the pass goes on, and starts it again; then the next one. Returns those that run.
async fn kill_in_turn(migration: &Migration, kills: usize) -> Vec<(&'static str, Daemon)> {
    let mut roles = VecDeque::from(["reconciler", "source", "sink"].map(|role| (role, migration.daemon_with(&[role]))));
    let mut before = 0;
    for _ in 0..kills {
        let (role, daemon) = roles.pop_front().expect("three roles");
        daemon.wait_for(&format!("the {role} runs"), DEADLINE, |status| status.phase(role) == "running").await;
        before = wait::until("the pass goes on", DEADLINE, async || {
            let place = migration.number(PLACE).await;
            if place > before { Ok(place) } else { Err(place) }
        })
        .await;
        daemon.kill9().await;
        roles.push_back((role, migration.daemon_with(&[role])));
    }
    assert_eq!(migration.number(&proof("things", "complete_pass")).await, 0, "the pass has outlasted the kills");
    roles.into()
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
    let mut migration = Migration::demo_from(stack, &server.uri, "forgets").await;
    migration.set("reconcile", "rate", 150);
    migration.set("source", "chunk_documents", 50);
    let organisations = migration.collection("organisations");
    organisations.insert_many((0..2_000).map(|_| organisation(ObjectId::new()))).await.expect("insert documents");
    let pipeline = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&pipeline, DEADLINE).await;
    let reconciler = migration.daemon_with(&["reconciler"]);
    let end = CancellationToken::new();
    let build = wait::repeat_until(&end, async || {
        let index = doc! { "createIndexes": "organisations", "indexes": [{ "key": { "employees": 1 }, "name": "e" }] };
        migration.source.run_command(index).await.expect("build an index");
        let by_one = doc! { "$inc": { "employees": 1 } };
        organisations.update_one(doc! {}, by_one).await.expect("update a document");
        migration.source.run_command(doc! { "dropIndexes": "organisations", "index": "e" }).await.expect("drop it");
    });
    let passes = if drill() { 10 } else { 1 };
    let watch = async {
        for pass in 1..=passes {
            forgets_once(&migration, &pipeline, pass).await;
            assert_eq!(migration.number(BROKEN).await, 0);
            assert_eq!(migration.number(&compared("organisations")).await, 2_000);
            // Each document, its entry and its row, and each entry once more, with which the rows are compared: all of it is paced.
            assert_eq!(migration.number(&proof("organisations", "complete_work")).await, 4 * 2_000);
        }
        end.cancel();
    };
    let (builds, ()) = tokio::join!(build, watch);
    eprintln!("baseline: {passes} passes beside {builds} index builds");
    assert!(builds > 0);
    assert_eq!(migration.number("SELECT count(*) FROM driftless.finding").await, 0);
    reconciler.stop(0).await;
    pipeline.stop(0).await;
    migration.finish().await;
    server.end().await;
}

/// Stops the pipeline in the middle of this pass until MongoDB has forgotten what the target has come to; then the pass must end.
async fn forgets_once(migration: &Migration, pipeline: &Daemon, pass: i64) {
    let begun = format!(
        "SELECT count(*) FROM driftless.proof AS p JOIN driftless.collection AS c ON c.id = p.collection \
          WHERE c.name = 'organisations' AND p.pass = {pass} AND p.place > 0 AND p.began_at IS NOT NULL"
    );
    migration.wait_for_number(&begun, DEADLINE, 1).await;
    pipeline.sigstop().await;
    let waits = "SELECT sign(count(*))::int8 FROM driftless.proof \
                  WHERE baseline_waits_for LIKE 'MongoDB can no longer be read%'";
    migration.wait_for_number(waits, DEADLINE, 1).await;
    pipeline.sigcont().await;
    migration.wait_for_number(&proof("organisations", "complete_pass"), 5 * DEADLINE, pass).await;
}

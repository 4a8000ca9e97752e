//! Law 9: a proof counts only for the collection, the mapping and the rows that were compared. Whatever replaces one of them voids it, and
//! everything is compared again.

use mongodb::bson::{Document, doc};

use crate::support::{DEADLINE, daemon::Daemon, migration::Migration, stack::Stack, status::Status, wait};

const SCHEMA: &str = "CREATE TABLE dropped (id uuid PRIMARY KEY, n bigint, note text);
    CREATE TABLE renamed (id uuid PRIMARY KEY, n bigint, note text);
    CREATE TABLE kept (id uuid PRIMARY KEY, n bigint, note text);";
const COLLECTIONS: [&str; 3] = ["dropped", "renamed", "kept"];
const DOCUMENTS: i64 = 50;

fn mapping() -> String {
    let collection = |name| format!("[collections.{name}]\nid = \"uuid5\"\non_drop = \"truncate\"\n");
    format!("namespace = \"dns\"\n{}", COLLECTIONS.map(collection).concat())
}

/// The number of the last complete pass over each collection, in the order of [`COLLECTIONS`].
async fn passes(migration: &Migration) -> Vec<i64> {
    let mut passes = Vec::new();
    for name in COLLECTIONS {
        let pass = format!(
            "SELECT coalesce(max(p.complete_pass), 0) FROM driftless.proof AS p \
               JOIN driftless.collection AS c ON c.id = p.collection WHERE c.name = '{name}'"
        );
        passes.push(migration.number(&pass).await);
    }
    passes
}

/// Waits for the passes that come. None but the first comes without a void proof.
async fn passed(migration: &Migration, wanted: [i64; 3]) {
    wait::until(format!("the passes are {wanted:?}"), DEADLINE, async || {
        let passes = passes(migration).await;
        wait::holds(passes == wanted, format!("{passes:?}"))
    })
    .await;
}

fn says(reconciler: &Daemon, because: &str) {
    let log = reconciler.log();
    assert!(log.contains("the proof is void") && log.contains(because), "{because}: {log}");
}

async fn in_sync(reconciler: &Daemon) {
    reconciler.wait_for("the verdict is in sync", DEADLINE, |status: &Status| status.verdict == "in_sync").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_replaces_a_collection_or_its_plan_voids_the_proof() {
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), "voided", SCHEMA, &mapping()).await;
    migration.set("reconcile", "baseline_every", "1h");
    // A baseline under no guard counts only as long as this.
    migration.set("reconcile", "fresh", "10m");
    for name in COLLECTIONS {
        let documents: Vec<Document> = (0..DOCUMENTS).map(|n| doc! { "_id": n, "n": n, "note": "a" }).collect();
        migration.collection(name).insert_many(documents).await.expect("insert documents");
    }
    let pipeline = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&pipeline, DEADLINE).await;
    let reconciler = migration.daemon_with(&["reconciler"]);
    passed(&migration, [1, 1, 1]).await;
    in_sync(&reconciler).await;

    migration.collection("dropped").drop().await.expect("drop a collection");
    migration
        .collection("dropped")
        .insert_one(doc! { "_id": 1, "n": 1, "note": "b" })
        .await
        .expect("insert a document");
    passed(&migration, [2, 1, 1]).await;
    says(&reconciler, "the collection was dropped at ");

    let (from, to) = (format!("{}.renamed", migration.name), format!("{}.elsewhere", migration.name));
    let rename = doc! { "renameCollection": from, "to": to };
    migration.mongo.database("admin").run_command(rename).await.expect("rename a collection");
    migration
        .collection("renamed")
        .insert_one(doc! { "_id": 1, "n": 1, "note": "b" })
        .await
        .expect("insert a document");
    passed(&migration, [2, 2, 1]).await;
    says(&reconciler, "renamed was renamed to elsewhere at ");
    migration.quiesce(&pipeline, DEADLINE).await;
    in_sync(&reconciler).await;
    reconciler.stop(0).await;
    pipeline.stop(0).await;

    // Rows of another mapping would be others.
    let other = mapping().replace("[collections.kept]\n", "[collections.kept]\nignore = [\"note\"]\n");
    migration.remap(&other).await;
    let pipeline = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&pipeline, DEADLINE).await;
    let reconciler = migration.daemon_with(&["reconciler"]);
    passed(&migration, [2, 2, 2]).await;
    in_sync(&reconciler).await;
    reconciler.stop(0).await;
    pipeline.stop(0).await;
    migration.finish().await;
}

//! Law 9: empty is not equal. A mapped name that leads to nothing in the source proves nothing until somebody confirms it.

use mongodb::bson::doc;

use crate::support::{DEADLINE, migration::Migration, stack::Stack};

const SCHEMA: &str = "CREATE TABLE public.users (id uuid PRIMARY KEY, name text)";
/// `user` instead of `users`.
const MISTYPED: &str = "namespace = \"dns\"\n[collections.user]\ntable = \"public.users\"\nid = \"uuid5\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_does_not_exist_is_no_proof() {
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), "names", SCHEMA, MISTYPED).await;
    // The source halts when the collection is dropped, and the watermark stays.
    migration.set("reconcile", "wait", "1s");
    migration.collection("users").insert_one(doc! { "_id": 1, "name": "a" }).await.expect("insert");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    let says = |text: &'static str| {
        move |blockers: &[serde_json::Value]| {
            blockers.iter().any(|one| one.as_str().is_some_and(|one| one.contains(text)))
        }
    };
    let named = says("user: the source has no such collection");
    let unproven = daemon.wait_for("the name is doubted", DEADLINE, |status| named(&status.blockers)).await;
    assert_eq!(unproven.verdict, "unknown");
    let output = migration.command(&["reconcile", "--full"]).await;
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(5), "{told}");
    assert!(told.contains("no such collection") && told.contains("user: the source has no such collection"), "{told}");

    // An existing, empty collection was read, at an instant.
    migration.source.create_collection("user").await.expect("create the collection");
    migration.succeed(&["reconcile", "--full"]).await;
    migration.collection("user").drop().await.expect("drop the collection again");
    assert_eq!(migration.command(&["reconcile", "--full"]).await.status.code(), Some(5));
    daemon.stop(3).await;

    let meant = format!("{MISTYPED}may_be_empty = true\non_drop = \"ignore\"\n");
    std::fs::write(migration.mapping(), meant).expect("write the mapping");
    let daemon = migration.daemon();
    daemon.wait_for("the verdict is in sync", DEADLINE, |status| status.verdict == "in_sync").await;
    migration.succeed(&["reconcile", "--full"]).await;
    // A collection that once had documents is known, and so is its emptiness.
    let sole = migration.collection("user");
    sole.insert_one(doc! { "_id": 1 }).await.expect("insert");
    sole.delete_one(doc! { "_id": 1 }).await.expect("delete");
    migration.quiesce(&daemon, DEADLINE).await;
    sole.drop().await.expect("drop the collection");
    daemon.stop(0).await;
    std::fs::write(migration.mapping(), MISTYPED).expect("write the mapping");
    migration.succeed(&["reconcile", "--full"]).await;
    migration.finish().await;
}

//! Continuity: a row stays only while its document does, even if no event reports that the document is gone. A collection
//! leaves the mapping and comes back, another one replaces it, history is lost, somebody writes into the target.

use std::collections::BTreeSet;

use mongodb::bson::{Document, doc};

use crate::support::{DEADLINE, daemon::Daemon, migration::Migration, stack::Stack, status::Status, wait};

const SCHEMA: &str = "
CREATE TABLE users (id uuid PRIMARY KEY, name varchar(10), key text);
CREATE TABLE orders (id uuid PRIMARY KEY, name text, owner uuid REFERENCES users (id));
";
const USERS: &str = "namespace = \"dns\"\n[collections.users]\nid = \"uuid5\"\ncolumns.key = \"_id\"\n";
const ORDERS: &str =
    "[collections.orders]\nid = \"uuid5\"\ncolumns.owner = { path = \"owner\", reference = \"users\" }\n";

/// A migration of two collections, and writes to both sides.
struct Case {
    migration: Migration,
}

impl Case {
    async fn new(test: &str, mapping: &str) -> Self {
        let stack = Stack::shared().await;
        Self { migration: Migration::new(stack, stack.mongo_uri(), test, SCHEMA, mapping).await }
    }

    /// Inserts documents whose `_id` is their name.
    async fn insert(&self, collection: &str, names: &[&str]) {
        let documents = names.iter().map(|name| doc! { "_id": *name, "name": *name });
        self.migration.collection(collection).insert_many(documents).await.expect("insert documents");
    }

    async fn delete(&self, collection: &str, name: &str) {
        let deleted = self.migration.collection(collection).delete_one(doc! { "_id": name }).await;
        assert_eq!(deleted.expect("delete a document").deleted_count, 1);
    }

    /// Returns the names of a collection's rows.
    async fn rows(&self, table: &str) -> BTreeSet<String> {
        self.migration.texts(&format!("SELECT name FROM {table}")).await.into_iter().flatten().collect()
    }

    /// Returns the names of a collection's documents.
    async fn documents(&self, collection: &str) -> BTreeSet<String> {
        let mut found = self.migration.collection(collection).find(doc! {}).await.expect("find documents");
        let mut names = BTreeSet::new();
        while found.advance().await.expect("read documents") {
            let document: Document = found.deserialize_current().expect("a document");
            names.insert(document.get_str("name").expect("a name").to_owned());
        }
        names
    }

    /// Waits until the rows equal the documents; then a full comparison must agree.
    async fn equal(&self, daemon: &Daemon, collections: &[&str]) {
        for collection in collections {
            let documents = self.documents(collection).await;
            wait::until(format!("{collection} is equal"), DEADLINE, async || {
                let rows = self.rows(collection).await;
                let status = daemon.status().await?;
                let equal = status.snapshot_complete() && rows == documents;
                wait::holds(equal, format!("{rows:?}, not {documents:?}: {}", status.summary()))
            })
            .await;
        }
        self.migration.succeed(&["reconcile", "--full"]).await;
    }

    /// Waits until a run of the collection's snapshot later than `run` is complete, and returns its number.
    async fn run_after(&self, daemon: &Daemon, collection: &str, run: u64) -> u64 {
        let what = format!("a run of {collection} after {run} is complete");
        let newer = |status: &Status| {
            status.process.snapshots.get(collection).is_some_and(|snapshot| snapshot.done && snapshot.run > run)
        };
        let status = daemon.wait_for(&what, DEADLINE, newer).await;
        status.process.snapshots[collection].run
    }

    async fn finish(self, daemon: Daemon) {
        daemon.stop(0).await;
        self.migration.finish().await;
    }
}

/// The last event before the stop belongs to the collection that leaves; until it is back, its changes have no events.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_leaves_and_comes_back() {
    let both = [USERS, ORDERS].concat();
    let case = Case::new("leaves", &both).await;
    case.insert("users", &["ann", "bob"]).await;
    case.insert("orders", &["first", "second"]).await;
    let daemon = case.migration.daemon();
    case.migration.quiesce(&daemon, DEADLINE).await;
    case.insert("orders", &["third"]).await;
    case.migration.wait_for_number("SELECT count(*) FROM orders", DEADLINE, 3).await;
    daemon.kill9().await;

    case.migration.remap(USERS).await;
    case.delete("users", "bob").await;
    let daemon = case.migration.daemon();
    case.insert("users", &["cyd"]).await;
    case.equal(&daemon, &["users"]).await;
    daemon.stop(0).await;
    // Outside of the mapping, the collection changes: one document is deleted, another one added.
    case.delete("orders", "first").await;
    case.insert("orders", &["fourth"]).await;
    let daemon = case.migration.daemon();
    case.insert("users", &["dan"]).await;
    case.equal(&daemon, &["users"]).await;
    daemon.stop(0).await;
    assert_eq!(case.rows("orders").await.len(), 3, "nobody has followed it");

    case.migration.remap(&both).await;
    // An unseen drop is no reason to halt either.
    case.migration.collection("orders").drop().await.expect("drop the collection");
    case.insert("orders", &["second", "fifth"]).await;
    let daemon = case.migration.daemon();
    case.run_after(&daemon, "orders", 0).await;
    case.equal(&daemon, &["users", "orders"]).await;
    case.delete("orders", "fifth").await;
    case.equal(&daemon, &["users", "orders"]).await;
    let runs = daemon.status().await.expect("the status answers").process.snapshots;
    assert_eq!(runs["users"].run, 0, "what was never left is not read again");
    daemon.stop(0).await;

    // Continuity depends on the progress of the stream, not on the number of its starts.
    let daemon = case.migration.daemon();
    case.equal(&daemon, &["users", "orders"]).await;
    let told = |status: &Status| status.process.snapshots.len() == 2;
    let again = daemon.wait_for("both snapshots are told", DEADLINE, told).await.process.snapshots;
    assert_eq!((again["users"].run, again["orders"].run), (0, runs["orders"].run));
    case.finish(daemon).await;
}

/// Whatever caused an extra row, `snapshot start` ends with its removal, and removes nothing that exists.
#[tokio::test(flavor = "multi_thread")]
async fn reading_again_ends_with_removal() {
    let case = Case::new("removal", USERS).await;
    let long = "k".repeat(1_500);
    case.insert("users", &["ann", "bob", "ghost"]).await;
    let users = case.migration.collection("users");
    users.insert_one(doc! { "_id": &long, "name": "long" }).await.expect("insert a document with a long _id");
    let daemon = case.migration.daemon();
    case.migration.quiesce(&daemon, DEADLINE).await;
    let target = &case.migration.target;
    let keep = "CREATE TABLE kept AS SELECT * FROM users; CREATE TABLE kept_ledger AS SELECT * FROM driftless.ledger";
    target.batch_execute(keep).await.expect("keep what is there");
    // Two documents are deleted; then their rows and ledger entries are restored as if the deletes were unknown. A third
    // document is a dead letter.
    case.delete("users", "ghost").await;
    users.delete_one(doc! { "_id": &long }).await.expect("delete the long one");
    let refused = doc! { "$set": { "name": "longer than its column" } };
    users.update_one(doc! { "_id": "bob" }, refused).await.expect("update a document");
    let waiting = "SELECT count(*) FROM driftless.dead_letter WHERE state = 'open'";
    case.migration.wait_for_number(waiting, DEADLINE, 1).await;
    case.migration.wait_for_number("SELECT count(*) FROM users", DEADLINE, 2).await;
    let back = "INSERT INTO users SELECT * FROM kept WHERE name IN ('ghost', 'long');
        UPDATE driftless.ledger AS l SET deleted = false, version = k.version, digest = k.digest, target = k.target, root = k.root
          FROM kept_ledger AS k WHERE k.key = l.key AND l.deleted;
        DELETE FROM users WHERE name = 'ann'";
    target.batch_execute(back).await.expect("put them back");
    assert_eq!(case.rows("users").await, ["bob", "ghost", "long"].map(str::to_owned).into());

    case.migration.succeed(&["snapshot", "start", "users"]).await;
    case.run_after(&daemon, "users", 0).await;
    case.migration.quiesce(&daemon, DEADLINE).await;
    let now = case.rows("users").await;
    assert_eq!(now, ["ann", "bob"].map(str::to_owned).into(), "the refused one keeps its row");
    users.update_one(doc! { "_id": "bob" }, doc! { "$set": { "name": "robert" } }).await.expect("update a document");
    case.equal(&daemon, &["users"]).await;

    // The removal is in the log, so a replay into the same tables ends there, too.
    case.migration.replay("users").await;
    case.equal(&daemon, &["users"]).await;
    case.finish(daemon).await;
}

/// Documents that arrive by a rename have no events, nor do the documents of the collection that they replace.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_replaced_is_read() {
    for (policy, constraints) in [("ignore", "replica"), ("truncate", "replica"), ("truncate", "enforce")] {
        let mapping = [&USERS.replace("id = ", &format!("on_drop = \"{policy}\"\nid = ")), ORDERS].concat();
        let mut case = Case::new(&format!("replaced_{policy}_{constraints}"), &mapping).await;
        case.migration.set("sink", "constraints", constraints);
        case.insert("users", &["ann", "bob", "cyd"]).await;
        let order = doc! { "_id": "first", "name": "first", "owner": "ann" };
        case.migration.collection("orders").insert_one(order).await.expect("insert an order");
        let daemon = case.migration.daemon();
        case.migration.quiesce(&daemon, DEADLINE).await;

        // A rename over the collection; the owner of the order still exists.
        case.insert("staging", &["ann", "dan"]).await;
        let name = |collection: &str| format!("{}.{collection}", case.migration.name);
        let rename = doc! { "renameCollection": name("staging"), "to": name("users"), "dropTarget": true };
        case.migration.mongo.database("admin").run_command(rename).await.expect("rename the collection");
        let run = case.run_after(&daemon, "users", 0).await;
        case.equal(&daemon, &["users", "orders"]).await;

        // `$out`, which is the server's own rename.
        case.insert("staging", &["ann", "eve"]).await;
        let out = [doc! { "$out": "users" }];
        case.migration.collection("staging").aggregate(out).await.expect("write the collection anew");
        let run = case.run_after(&daemon, "users", run).await;
        case.equal(&daemon, &["users", "orders"]).await;

        case.insert("users", &["fay"]).await;
        case.delete("users", "eve").await;
        case.equal(&daemon, &["users", "orders"]).await;
        let status = daemon.status().await.expect("the status answers");
        assert_eq!((status.process.snapshots["users"].run, status.dead_letters()), (run, 0), "{}", status.summary());
        assert_eq!(daemon.log().contains("emptied the tables"), policy == "truncate", "what was emptied is logged");
        case.finish(daemon).await;
    }
}

/// Events of a collection before the first start have no effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_drop_before_the_first_start_is_no_news() {
    let case = Case::new("dropped", USERS).await;
    case.insert("users", &["old"]).await;
    case.migration.collection("users").drop().await.expect("drop the collection");
    let daemon = case.migration.daemon();
    let leads = async || {
        let status = daemon.status().await?;
        wait::holds(status.phase("source") == "running", status.summary())
    };
    wait::until("the source is followed", DEADLINE, leads).await;
    case.insert("users", &["new"]).await;
    case.equal(&daemon, &["users"]).await;
    daemon.stop(0).await;

    // The same for a collection that is added later.
    case.insert("orders", &["old"]).await;
    case.migration.collection("orders").drop().await.expect("drop the collection");
    case.insert("orders", &["new"]).await;
    case.migration.remap(&[USERS, ORDERS].concat()).await;
    let daemon = case.migration.daemon();
    case.equal(&daemon, &["users", "orders"]).await;
    case.finish(daemon).await;
}

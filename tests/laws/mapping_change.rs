//! Law 10: a migration has one mapping. Another one is taken up by every process or by none: no row is written under a mapping that is
//! not recorded, what it changes is written again while the application writes, and nothing else is touched.

use mongodb::bson::{Document, doc};
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE, daemon::Daemon, migration::Migration, stack::Stack, status::Status, topic::delete_before, wait,
};

const SCHEMA: &str = "CREATE TABLE users (id uuid PRIMARY KEY, name text, age integer, visits bigint);
    CREATE TABLE pets (id uuid PRIMARY KEY, title text);";
const USERS: i64 = 400;
const PETS: i64 = 100;
const OLD: &str = "namespace = \"dns\"\n[collections.users]\nid = \"uuid5\"\ncolumns.age = { misfit = \"null\" }\n\
                   [collections.pets]\nid = \"uuid5\"\n";
const NUMBER: &str = "SELECT number FROM driftless.mapping";

/// The mapping with a column, a child and another policy more.
fn new() -> String {
    OLD.replace(
        "columns.age = { misfit = \"null\" }\n",
        "columns.age = { misfit = \"round\" }\ncolumns.city = \"address.city\"\n\
         children.tags = { table = \"public.tags\", parent = \"user_id\", order = \"position\", columns = { value = \"label\" } }\n",
    )
}

fn user(id: i64) -> Document {
    doc! {
        "_id": id, "name": format!("user {id}"), "age": 20.7, "visits": 0_i64, "tags": [{ "label": "a" }, { "label": "b" }],
        "address": { "city": format!("city {}", id % 7), "zip": "1010" },
    }
}

/// The application: it visits one user after the other until it is stopped.
async fn visits(users: mongodb::Collection<Document>, stop: CancellationToken) {
    for id in (0..USERS).cycle() {
        if stop.is_cancelled() {
            return;
        }
        let visit = doc! { "$inc": { "visits": 1_i64 } };
        users.update_one(doc! { "_id": id }, visit).await.expect("visit a user");
    }
}

async fn in_sync(daemon: &Daemon) {
    daemon.wait_for("both sides are in sync", DEADLINE, |status| status.verdict == "in_sync").await;
}

/// The output of a command that must find faults.
async fn refused(migration: &Migration, arguments: &[&str]) -> String {
    let output = migration.command(arguments).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said} {}", String::from_utf8_lossy(&output.stderr));
    said
}

fn write(migration: &Migration, mapping: &str) {
    std::fs::write(migration.mapping(), mapping).expect("write the mapping");
}

/// Complete passes over a collection.
fn passes(collection: &str) -> String {
    format!(
        "SELECT coalesce(max(p.complete_pass), 0) FROM driftless.proof AS p JOIN driftless.collection AS c ON c.id = p.collection \
          WHERE c.name = '{collection}'"
    )
}

const APPLY: [&str; 5] = ["mapping", "apply", "--execute", "--why", "a test"];

#[tokio::test(flavor = "multi_thread")]
async fn another_mapping_rewrites_what_it_changes_and_nothing_else() {
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), "mapping_change", SCHEMA, OLD).await;
    // A proof that nothing voids is not made again.
    migration.set("reconcile", "baseline_every", "1h");
    migration.set("reconcile", "fresh", "10m");
    migration.set("sink", "catalog_interval", "500ms");
    // Such a log may lose its beginning.
    migration.set("log", "cleanup_policy", "delete");
    migration.collection("users").insert_many((0..USERS).map(user)).await.expect("insert users");
    let pets = (0..PETS).map(|id| doc! { "_id": id, "title": format!("pet {id}") });
    migration.collection("pets").insert_many(pets).await.expect("insert pets");
    let early = migration.command(&["mapping", "diff"]).await;
    assert!(early.status.code() == Some(1) && String::from_utf8_lossy(&early.stderr).contains("none is recorded yet"));
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    in_sync(&daemon).await;
    // What was written to a table, and when.
    let newest_pet = "SELECT max(xmin::text::bigint) FROM pets";
    let pets_written = migration.number(newest_pet).await;
    assert_eq!(migration.number(NUMBER).await, 1);
    assert!(migration.succeed(&["mapping", "diff"]).await.contains("there is nothing to apply"));
    let checked = migration.succeed(&["check", "--sample", "0"]).await;
    assert!(!checked.contains("not the mapping of the migration"), "{checked}");

    let stop = CancellationToken::new();
    let application = tokio::spawn(visits(migration.collection("users"), stop.clone()));

    // What cannot be changed in place is refused, and what the target lacks is named.
    write(&migration, &OLD.replacen("uuid5", "md5", 1));
    let said = refused(&migration, &APPLY).await;
    assert!(said.contains("cannot be changed in place") && said.contains("md5"), "{said}");
    assert!(said.contains("empty public.users, and delete") && said.contains("(where `collection` is "), "{said}");
    write(&migration, &OLD.replace("null", "round"));
    let checked = migration.succeed(&["check", "--sample", "0"]).await;
    assert!(
        checked.contains("the file is not the mapping of the migration, which the first sink recorded"),
        "{checked}"
    );
    write(&migration, &new());
    for arguments in [&["mapping", "diff"][..], &APPLY] {
        let said = refused(&migration, arguments).await;
        for part in
            ["ADD COLUMN \"city\" text", "CREATE TABLE", "+ columns.city = \"address.city\"", "Nothing was recorded"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("pets"), "{said}");
    }
    assert_eq!(migration.number(NUMBER).await, 1);

    let said = migration.succeed(&[&APPLY[..], &["--schema"]].concat()).await;
    for part in
        ["~ columns.age.misfit = \"round\", before \"null\"", "public.tags", "by a replay of up to", "Recorded."]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    wait::until("the daemon takes the file up", DEADLINE, async || {
        wait::holds(daemon.log().contains("this process starts again with it"), "not yet")
    })
    .await;
    migration
        .wait_for_number("SELECT count(*) FROM users WHERE city LIKE 'city %' AND age = 21", DEADLINE, USERS)
        .await;
    migration.wait_for_number("SELECT count(*) FROM tags WHERE value IN ('a', 'b')", DEADLINE, 2 * USERS).await;
    stop.cancel();
    application.await.expect("the application does not panic");
    migration.quiesce(&daemon, DEADLINE).await;
    in_sync(&daemon).await;
    migration.succeed(&["reconcile", "--full"]).await;
    assert!(migration.number(&passes("users")).await > 1);
    assert_eq!(migration.number(&passes("pets")).await, 1, "the proof of the pets goes on");
    assert_eq!(migration.number(newest_pet).await, pets_written, "no pet is written again");
    let journal = "SELECT count(*) FROM driftless.action WHERE command = 'mapping apply' AND detail->>'why' = 'a test' \
                    AND detail->'collections' = '[\"users\"]'";
    assert_eq!(migration.number(journal).await, 1);

    // A log that has lost its beginning is not enough.
    migration.target.batch_execute("ALTER TABLE users ADD COLUMN zip text").await.expect("add a column");
    delete_before(stack.kafka(), &migration.topic("users"), 0, 1).await;
    write(&migration, &new().replace("columns.city", "columns.zip = \"address.zip\"\ncolumns.city"));
    let said = migration.succeed(&APPLY).await;
    assert!(said.contains("by a snapshot, because") && said.contains("older records are deleted"), "{said}");
    migration.wait_for_number("SELECT count(*) FROM users WHERE zip = '1010'", DEADLINE, USERS).await;
    migration.quiesce(&daemon, DEADLINE).await;
    in_sync(&daemon).await;

    // What leaves the mapping is not written any more. A column that the target has is filled by its name from then on.
    write(&migration, OLD);
    let said = migration.succeed(&["mapping", "diff", "--json"]).await;
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let users = &said["collections"][0];
    assert_eq!(
        (&users["left"], &users["effect"]),
        (&serde_json::json!(["public.tags"]), &"rewritten".into()),
        "{said}"
    );
    daemon.stop(0).await;

    // A process with another mapping writes and compares nothing until it has the recorded one.
    migration.collection("users").insert_one(user(USERS)).await.expect("insert a user");
    let daemon = migration.daemon();
    let halted = |status: &Status| {
        ["sink", "reconciler"].iter().all(|role| {
            let line = &status.process.roles[*role];
            line.phase == "halted" && line.hint.as_deref().is_some_and(|hint| hint.contains("driftless mapping apply"))
        })
    };
    daemon.wait_for("it is refused", DEADLINE, halted).await;
    wait::until("the user is in the log", DEADLINE, async || {
        let records = migration.records("users").await;
        let is_new = |key: &Vec<u8>| String::from_utf8_lossy(key).contains(&USERS.to_string());
        wait::holds(records.iter().filter_map(|record| record.key.as_ref()).any(is_new), records.len())
    })
    .await;
    assert_eq!(migration.number("SELECT count(*) FROM users").await, USERS);
    write(&migration, &new().replace("columns.city", "columns.zip = \"address.zip\"\ncolumns.city"));
    migration.wait_for_number("SELECT count(*) FROM users WHERE zip = '1010' AND age = 21", DEADLINE, USERS + 1).await;
    migration.quiesce(&daemon, DEADLINE).await;
    in_sync(&daemon).await;
    daemon.stop(0).await;
    migration.finish().await;
}

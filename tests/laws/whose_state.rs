//! Law 10: state belongs to one source, one log and one target, and records which. Foreign state is refused, and records that
//! were lost with a deleted topic are read again; nothing is mixed or skipped.

use driftless::failpoints as points;
use mongodb::bson::{Document, doc};

use crate::support::{DEADLINE, migration::Migration, stack::Stack, status::Status, topic, wait};

const SCHEMA: &str = "CREATE TABLE users (id uuid PRIMARY KEY, name text)";
const MAPPING: &str = "namespace = \"dns\"\n[collections.users]\ntable = \"public.users\"\nid = \"uuid5\"\n";
async fn users(test: &str) -> Migration {
    let stack = Stack::shared().await;
    let migration = Migration::new(stack, stack.mongo_uri(), test, SCHEMA, MAPPING).await;
    insert(&migration, 0..30).await;
    migration
}

async fn insert(migration: &Migration, ids: std::ops::Range<i32>) {
    let documents = ids.map(|id| doc! { "_id": id, "name": format!("user {id}") });
    migration.collection("users").insert_many(documents.collect::<Vec<Document>>()).await.expect("insert users");
}

/// Waits until the target holds the names of all users, and no others.
async fn equal(migration: &Migration) {
    let mut cursor = migration.collection("users").find(doc! {}).await.expect("find users");
    let mut expected = Vec::new();
    while cursor.advance().await.expect("read users") {
        expected.push(cursor.current().get_str("name").expect("a name").to_owned());
    }
    expected.sort();
    wait::until("both sides are equal", DEADLINE, async || {
        let found = migration.texts("SELECT name FROM users").await;
        let mut found: Vec<_> = found.into_iter().flatten().collect();
        found.sort();
        wait::holds(found == expected, format!("{found:?} instead of {expected:?}"))
    })
    .await;
}

fn refused(status: &Status, role: &str, names: &[&str]) -> bool {
    status.process.roles.get(role).is_some_and(|line| {
        let reason = line.reason.as_deref().unwrap_or_default();
        line.phase == "halted"
            && names.iter().all(|name| reason.contains(name))
            && line.hint.as_deref().is_some_and(|hint| hint.contains("log.prefix"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_under_the_same_prefix_is_refused() {
    let mut migration = users("other_database").await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    daemon.stop(0).await;

    let (own, other) = (migration.name.clone(), format!("{}_other", migration.name));
    let documents = migration.mongo.database(&other).collection::<Document>("users");
    documents.insert_one(doc! { "_id": 99, "name": "another" }).await.expect("insert");
    migration.set("source", "database", other.as_str());
    let daemon = migration.daemon();
    daemon
        .wait_for("every role is refused", DEADLINE, |status| {
            ["source", "sink", "reconciler"].iter().all(|role| refused(status, role, &[&own, &other]))
        })
        .await;
    daemon.stop(3).await;
    let check = migration.command(&["check"]).await;
    let told = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert_eq!(check.status.code(), Some(2), "{told}");
    assert!(told.contains(&own) && told.contains(&other), "{told}");

    // The remedy: with the setting restored, it continues.
    migration.set("source", "database", own.as_str());
    insert(&migration, 30..40).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    equal(&migration).await;
    daemon.stop(0).await;
    migration.mongo.database(&other).drop().await.expect("drop the other database");
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_with_another_source_or_target_does_not_stand_by() {
    let mut migration = users("second").await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    let other = format!("{}_other", migration.name);
    let admin = migration.connect().await;
    admin.batch_execute(&format!("DROP DATABASE IF EXISTS {other}")).await.expect("drop");
    admin.batch_execute(&format!("CREATE DATABASE {other}")).await.expect("create the other target");
    let url = migration.stack.postgres_url(&other);
    let (target, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("connect");
    tokio::spawn(connection);
    target.batch_execute(SCHEMA).await.expect("make its tables");
    drop(target);

    let own_url = migration.stack.postgres_url(&migration.name);
    migration.set("sink", "url", url.as_str());
    let own = migration.name.clone();
    let second = migration.daemon();
    second
        .wait_for("another target is refused", DEADLINE, |status| {
            ["source", "sink", "reconciler"].iter().all(|role| refused(status, role, &[&own, &other]))
        })
        .await;
    second.stop(3).await;
    migration.set("sink", "url", own_url.as_str());
    migration.set("source", "database", other.as_str());
    let second = migration.daemon();
    second.wait_for("another source is refused", DEADLINE, |status| refused(status, "source", &[&own, &other])).await;
    second.stop(3).await;
    assert_eq!(daemon.status().await.expect("the first answers").phase("source"), "running");
    daemon.stop(0).await;
    admin.batch_execute(&format!("DROP DATABASE {other} WITH (FORCE)")).await.expect("drop the other target");
    drop(admin);
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_were_made_again_skip_nothing() {
    let migration = users("new_topics").await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    daemon.stop(0).await;

    // A delete that reaches the topic and no sink is lost with the topic.
    let users = migration.collection("users");
    let source = migration.daemon_with(&["source"]);
    users.delete_one(doc! { "_id": 4 }).await.expect("delete");
    wait::until("the delete is in the topic", DEADLINE, async || {
        let records = migration.records("users").await;
        wait::holds(records.iter().any(|record| record.header("driftless.op") == Some("delete")), records.len())
    })
    .await;
    source.stop(0).await;
    topic::remove(migration.stack.kafka(), &migration.topic("users")).await;
    users.update_one(doc! { "_id": 1 }, doc! { "$set": { "name": "changed" } }).await.expect("update");
    users.delete_one(doc! { "_id": 2 }).await.expect("delete");
    insert(&migration, 30..40).await;
    let mut daemon = migration.daemon();
    for restart in [true, false] {
        migration.quiesce(&daemon, DEADLINE).await;
        equal(&migration).await;
        if restart {
            daemon.stop(0).await;
            daemon = migration.daemon();
        }
    }
    daemon.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_under_the_daemon_shows_and_is_made_good() {
    let migration = users("deleted_topic").await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    daemon.wait_for("it is in sync", DEADLINE, |status| status.verdict == "in_sync").await;

    topic::remove(migration.stack.kafka(), &migration.topic("users")).await;
    daemon.wait_for("it is not in sync", DEADLINE, |status| status.verdict != "in_sync").await;
    wait::until("the log names the topic", DEADLINE, async || {
        let named = format!("use the topic `{}`", migration.topic("users"));
        wait::holds(daemon.log().contains(&named), "not there")
    })
    .await;
    migration.collection("users").delete_one(doc! { "_id": 3 }).await.expect("delete");
    insert(&migration, 30..40).await;
    migration.quiesce(&daemon, DEADLINE).await;
    equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// The sink's watch over the topics waits here, so that its consumer is the first to hear that the topic is another one: it misses the
/// offset from which it was to go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_misses_its_offset_asks_whether_the_topic_was_made_again() {
    let mut migration = users("missed_offset").await;
    let source = migration.daemon_with(&["source"]);
    migration.set_failpoints(format!(
        "{}=pause({})",
        points::TOPICS_WATCH.name,
        migration.mapping().with_file_name("never").display()
    ));
    let sink = migration.daemon_with(&["sink"]);
    migration.quiesce(&sink, DEADLINE).await;
    // The topic that takes the name gets one record for each user, far fewer than these.
    for round in 0..20 {
        let change = doc! { "$set": { "name": format!("round {round}") } };
        migration.collection("users").update_many(doc! {}, change).await.expect("update");
        migration.quiesce(&sink, DEADLINE).await;
    }

    topic::remove(migration.stack.kafka(), &migration.topic("users")).await;
    wait::until("the sink says why it begins again", DEADLINE, async || {
        let replaced = format!("use the topic `{}`: it was deleted and created again", migration.topic("users"));
        wait::holds(sink.log().contains(&replaced), "not there")
    })
    .await;
    insert(&migration, 30..40).await;
    migration.quiesce(&sink, DEADLINE).await;
    equal(&migration).await;
    sink.stop(0).await;
    source.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_topic_freezes_no_watermark() {
    let migration = users("lost_state").await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    daemon.stop(0).await;
    topic::remove(migration.stack.kafka(), &format!("{}.state", migration.name)).await;
    // Nothing remembers this delete any more: only a new snapshot finds it.
    migration.collection("users").delete_one(doc! { "_id": 2 }).await.expect("delete");
    insert(&migration, 30..40).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

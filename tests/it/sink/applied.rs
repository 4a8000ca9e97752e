//! `driftless.applied`: the rule behind read your writes, case by case, and the keys that SQL computes.

use bson::{Binary, oid::ObjectId, rawdoc, spec::BinarySubtype};
use driftless::{
    log::Topic,
    model::{Key, Namespace, Version},
    postgres::Purpose,
    sink::checkpoint,
};

use driftless_testing::roles::postgresql;

use super::world::{TOPIC, World, change, user};

/// A world whose users have a topic.
async fn world() -> World {
    let world = World::new().await;
    let control = world.target.open(Purpose::Control).await.expect("connects");
    let topic =
        Topic { namespace: Namespace::new("shop", "users"), name: TOPIC.into(), partitions: 1, id: Some("one".into()) };
    checkpoint::bind(&control, &[topic]).await.expect("ties");
    world
}

/// Asks about a document, or about all, as of the second `t` with the increment 1.
async fn applied(world: &World, id: Option<i32>, t: u32) -> bool {
    let id = id.map_or("NULL".to_owned(), |id| format!("'{id}'"));
    world.rows(&format!("SELECT driftless.applied('users', {t}, 1, {id})")).await == ["t"]
}

async fn frontier(world: &mut World, seq: u64, changes: u64, t: u32) {
    let records = world.append_frontier(seq, changes, t);
    world.apply_records(records).await.expect("applies");
}

#[tokio::test]
async fn applied_is_said_only_when_no_change_up_to_the_time_is_missing() {
    let mut world = world().await;
    world.apply(&[user(1, 5, "five")]).await;
    assert!(!applied(&world, Some(1), 5).await, "the snapshot is not applied, so other documents may be missing");
    frontier(&mut world, 1, 1, 5).await;

    // The version: later than the time, or of the time and outside of a transaction.
    for (id, t, expected) in
        [(Some(1), 4, true), (Some(1), 5, true), (Some(1), 6, false), (Some(2), 5, false), (None, 5, false)]
    {
        assert_eq!(applied(&world, id, t).await, expected, "{id:?} at {t}");
    }
    // The watermark says it of every document, of one that never was, too; and a tombstone is a version.
    world.apply(&[change("users", 1, 7, None)]).await;
    frontier(&mut world, 2, 1, 8).await;
    for (id, t, expected) in
        [(Some(1), 7, true), (Some(2), 7, true), (None, 7, true), (Some(2), 8, false), (None, 8, false)]
    {
        assert_eq!(applied(&world, id, t).await, expected, "{id:?} at {t}");
    }

    // More operations of a transaction may follow the first one; a read contains them all.
    for (op, expected) in [(1, false), (u32::MAX, true), (0, true)] {
        let mut change = user(3, 9, "nine");
        change.version.op = op;
        world.execute("DELETE FROM driftless.ledger").await;
        world.apply(&[change]).await;
        assert_eq!(applied(&world, Some(3), 9).await, expected, "operation {op}");
    }

    // A change that waits as a dead letter is in the ledger, and not in the rows.
    world.apply(&[change("users", 4, 10, Some(rawdoc! { "_id": 4, "email": "a\0b" }))]).await;
    frontier(&mut world, 3, 4, 20).await;
    for (id, expected) in [(Some(4), false), (None, false), (Some(3), true)] {
        assert_eq!(applied(&world, id, 10).await, expected, "{id:?}");
    }
    world.apply(&[user(4, 21, "good")]).await;
    assert!(applied(&world, Some(4), 21).await && applied(&world, None, 10).await);
    // One that cannot be read may be of any document.
    world.execute("INSERT INTO driftless.dead_letter (migration, topic, partition, log_offset, reason, headers, timestamp_ms, state) \
                   SELECT id, 't.shop.users', 0, 1000, 'X', '{}', 0, 'open' FROM driftless.identity").await;
    assert!(!applied(&world, Some(4), 21).await);
    world.end().await;
}

#[tokio::test]
async fn applied_needs_no_right_of_the_application_and_refuses_bad_questions() {
    let mut world = world().await;
    world.apply(&[user(1, 5, "five")]).await;
    frontier(&mut world, 1, 1, 6).await;
    let client = world.database.client().await;
    let role = driftless_testing::unique("reader");
    client
        .batch_execute(&format!(
            "CREATE ROLE {role}; {}; SET ROLE {role}",
            postgresql("application.sql", &[("role", &role)])
        ))
        .await
        .expect("a role");
    client.query("SELECT unit, share FROM driftless.reads", &[]).await.expect("it may ask where to read");
    let asked = client.query_one("SELECT driftless.applied('users', 5, 1, '1')", &[]).await.expect("an answer");
    assert!(asked.get::<_, bool>(0));
    assert!(client.query_one("SELECT * FROM driftless.ledger", &[]).await.is_err(), "it may read nothing else");
    for (question, text) in [
        ("'bills', 5, 1", "the migration has no collection 'bills'"),
        ("'users', NULL, 1", "at_t and at_i are no cluster time"),
        ("'users', 5, 4294967296", "at_t and at_i are no cluster time"),
        ("'users', 5, 1, '1.5'", "SQL cannot compute the key of this _id"),
        ("'users', 5, 1, NULL, 'other'", "0 migrations in this database have the prefix asked for"),
    ] {
        let error = client.query_one(&format!("SELECT driftless.applied({question})"), &[]).await.expect_err("refused");
        assert_eq!(error.as_db_error().expect("of the server").message(), text);
    }
    client.batch_execute(&format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")).await.expect("no role");
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn sql_computes_the_keys_and_the_buckets_of_the_daemon() {
    let world = World::new().await;
    let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: (0..16).collect() };
    let oid = ObjectId::from_bytes([0xab; 12]);
    for (text, id) in [
        (oid.to_hex(), rawdoc! { "_id": oid }),
        (format!(r#"{{"$oid": "{oid}"}}"#), rawdoc! { "_id": oid }),
        (format!(r#""{oid}""#), rawdoc! { "_id": oid.to_hex() }),
        (r#"{"$uuid":"00010203-0405-0607-0809-0a0b0c0d0e0f"}"#.to_owned(), rawdoc! { "_id": uuid }),
        ("00010203-0405-0607-0809-0a0b0c0d0e0f".to_owned(), rawdoc! { "_id": "00010203-0405-0607-0809-0a0b0c0d0e0f" }),
        ("0".to_owned(), rawdoc! { "_id": 0 }),
        ("-1".to_owned(), rawdoc! { "_id": -1 }),
        (i64::MAX.to_string(), rawdoc! { "_id": i64::MAX }),
        (i64::MIN.to_string(), rawdoc! { "_id": i64::MIN }),
        (r#"{"$numberInt":"7"}"#.to_owned(), rawdoc! { "_id": 7 }),
        (r#"{"$numberLong":"7"}"#.to_owned(), rawdoc! { "_id": 7 }),
        ("007".to_owned(), rawdoc! { "_id": "007" }),
        (" 7".to_owned(), rawdoc! { "_id": " 7" }),
        (r#""a\"b""#.to_owned(), rawdoc! { "_id": "a\"b" }),
        (r#""""#.to_owned(), rawdoc! { "_id": "" }),
        ("zoë@example.org".to_owned(), rawdoc! { "_id": "zoë@example.org" }),
        ("x".repeat(1_023), rawdoc! { "_id": "x".repeat(1_023) }),
    ] {
        let expected = Key::from_id(&id).expect("a key");
        let meant = driftless_core::ejson::id_of(&text).expect("an id");
        assert_eq!(Key::from_id(&meant), Some(expected.clone()), "{text}");
        let found = world.rows(&format!("SELECT encode(driftless.key_of('{text}'), 'hex')")).await;
        assert_eq!(found, [hex::encode(expected.as_bytes())], "{text}");
    }
    for refused in ["", "1.5", "1e3", "true", "null", "9223372036854775808", r#"{"a":1}"#, "{}", r#"{"$oid":"07"}"#] {
        let client = world.database.client().await;
        let error = client.query_one("SELECT driftless.key_of($1)", &[&refused]).await.expect_err("no key");
        assert_eq!(
            error.as_db_error().expect("of the server").message(),
            "SQL cannot compute the key of this _id",
            "{refused}"
        );
    }
    let long = "x".repeat(1_024);
    assert!(world.database.client().await.query_one("SELECT driftless.key_of($1)", &[&long]).await.is_err());
    // The numbers are those of the test beside the computation in Rust.
    let buckets =
        "SELECT driftless.bucket('billing', '42'), driftless.bucket('billing', ''), driftless.bucket('all', 'zoë')";
    assert_eq!(world.rows(buckets).await, ["8047|4923|7310"]);
    assert_eq!(Version::snapshot(1, Default::default()).to_bytes()[12..], [0xff; 4], "as the rule in SQL writes it");
    world.end().await;
}

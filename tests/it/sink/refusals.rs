//! Law 5 in the sink alone: a record that cannot be applied is set aside whole, and the rest goes on.

use bson::rawdoc;
use driftless::{
    control::dead_letters,
    postgres::Error,
    sink::{self},
};

use super::world::{TOPIC, World, change, user};

#[tokio::test]
async fn poison_is_isolated_with_its_record_and_closed_by_a_later_version() {
    let mut world = World::new().await;
    world.apply(&[user(3, 1, "three")]).await;
    let mut changes = (10..60).map(|id| user(id, 2, &format!("{id}"))).collect::<Vec<_>>();
    // Refused by the mapping, by a CHECK, and by a domain; the old rows of 3 stay.
    changes.insert(7, change("users", 1, 2, Some(rawdoc! { "_id": 1, "email": "a\0b" })));
    changes.insert(20, change("users", 2, 2, Some(rawdoc! { "_id": 2, "email": "two", "age": -1 })));
    changes.push(change("users", 3, 2, Some(rawdoc! { "_id": 3, "email": "three", "score": -5 })));
    changes.push(change("users", 4, 2, Some(rawdoc! { "_id": 4, "email": "four", "name": "x".repeat(21) })));
    let records = world.append(&changes);
    let outcome = world.apply_records(records.clone()).await.expect("applies");
    let counts = outcome.counts["users"];
    assert_eq!((counts.applied, counts.dead_lettered, counts.parked, counts.superseded), (50, 4, 0, 0));
    assert_eq!(
        world.rows("SELECT reason FROM driftless.dead_letter WHERE state = 'open' ORDER BY 1").await,
        ["CHECK", "CHECK", "NUL_IN_TEXT", "TOO_LONG"]
    );
    assert_eq!(world.rows("SELECT count(*) FROM app.users").await, ["51"]);
    assert_eq!(
        world.rows("SELECT deleted FROM driftless.ledger WHERE version < '\\x0000000100000003'").await.len(),
        54
    );

    let all = dead_letters::records(&world.session, &dead_letters::Filter::default(), 10).await.expect("reads");
    assert_eq!(all.len(), 4);
    for (_, record) in &all {
        assert!(records.contains(record), "the record comes back exactly as it was");
    }
    let details = world.rows("SELECT detail FROM driftless.dead_letter").await.join(" ");
    assert!(details.contains("users_age_check") && !details.contains("three"), "{details}");

    let outcome =
        world.apply(&[user(1, 3, "one"), user(2, 3, "two"), user(3, 3, "3"), change("users", 4, 3, None)]).await;
    assert_eq!(outcome.counts["users"].applied, 4);
    assert_eq!(world.rows("SELECT DISTINCT state FROM driftless.dead_letter").await, ["superseded"]);
    world.end().await;
}

#[tokio::test]
async fn bytes_that_are_no_record_are_kept_and_passed_over() {
    let mut world = World::new().await;
    let mut records = world.append(&[user(1, 1, "a"), user(2, 1, "b"), user(3, 1, "c")]);
    records[0].value = Some(vec![0, 159, 146, 150]);
    records[1].key = None;
    records[1].headers.push("odd", &[0, 255]);
    // The topic identifies the collection that has lost something.
    let mut batch = world.batch(records.clone());
    batch.file(|topic| world.prepared.named("users").filter(|_| topic == TOPIC));
    let outcome = sink::apply(&world.session, &world.prepared, &batch, &[None], &world.limits).await.expect("applies");
    assert_eq!((outcome.counts["users"].applied, outcome.counts["users"].dead_lettered), (1, 2));
    let filed = dead_letters::groups(&world.session, &dead_letters::Filter::default(), 10).await.expect("reads");
    assert!(filed.iter().all(|group| group.collection == "users"), "{filed:?}");
    assert_eq!(world.rows("SELECT email FROM app.users").await, ["c"]);
    let kept = dead_letters::records(&world.session, &dead_letters::Filter::default(), 10).await.expect("reads");
    assert_eq!(kept.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), records[..2]);
    world.end().await;
}

#[tokio::test]
async fn a_retried_record_closes_its_letter_when_it_passes() {
    let mut world = World::new().await;
    let bad = change("users", 1, 2, Some(rawdoc! { "_id": 1, "email": "a", "age": -1 }));
    world.apply(std::slice::from_ref(&bad)).await;
    assert_eq!(world.letters().await, ["CHECK|open|1"]);
    // Produced again without a fix: one letter stays open, that of the later record.
    world.apply(std::slice::from_ref(&bad)).await;
    assert_eq!(world.letters().await, ["CHECK|retried|1", "CHECK|open|1"]);
    world
        .database
        .client()
        .await
        .batch_execute("ALTER TABLE app.users DROP CONSTRAINT users_age_check")
        .await
        .expect("ok");
    world.apply(&[bad]).await;
    assert_eq!(world.rows("SELECT age FROM app.users").await, ["-1"]);
    assert_eq!(world.letters().await, ["CHECK|retried|1", "CHECK|retried|1"]);
    world.end().await;
}

#[tokio::test]
async fn the_breaker_stops_before_anything_is_written() {
    let mut world = World::new().await;
    world.limits.dead_letters_left = 5;
    let mut changes = (0..20)
        .map(|id| change("users", id, 1, Some(rawdoc! { "_id": id, "email": format!("{id}"), "age": -1 })))
        .collect::<Vec<_>>();
    let records = world.append(&changes);
    let refused = world.apply_records(records).await;
    assert!(matches!(refused, Err(Error::Breaker { .. })), "{refused:?}");
    for change in &mut changes {
        change.document = Some(rawdoc! { "_id": 1, "email": "\0" });
    }
    world.offset = 0;
    let records = world.append(&changes);
    let refused = world.apply_records(records).await;
    assert!(matches!(refused, Err(Error::Breaker { .. })), "{refused:?}");
    assert_eq!(world.rows("SELECT FROM driftless.ledger").await.len(), 0);
    assert_eq!(world.rows("SELECT next_offset FROM driftless.position").await.len(), 0);
    world.end().await;
}

#[tokio::test]
async fn a_missing_table_halts() {
    use driftless::retry::{Class, Classify};
    let mut world = World::new().await;
    world.database.client().await.batch_execute("DROP TABLE app.users CASCADE").await.expect("ok");
    let records = world.append(&[user(1, 1, "a")]);
    let error = world.apply_records(records).await.expect_err("no table");
    assert_eq!(error.class(), Class::Halt, "{error:?}");
    assert_eq!(world.rows("SELECT FROM driftless.ledger").await.len(), 0);
    world.end().await;
}

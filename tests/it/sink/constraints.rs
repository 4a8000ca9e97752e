//! Constraints and triggers of the target, under `replica` and under `enforce`.

use bson::rawdoc;
use driftless::{
    config::Constraints,
    postgres::{self, ConstraintMode, Postgres, Purpose},
    sink::dead_letter,
};

use super::world::{World, change, partition, plan, sink_config, user};

#[tokio::test]
async fn quiet_triggers_and_foreign_keys_as_in_logical_replication() {
    let mut world = World::with(Constraints::Auto).await;
    assert_eq!(world.session.constraint_mode(), ConstraintMode::Replica);
    world.apply(&[user(1, 1, "a"), plan(1, 1, Some(77), &[])]).await;
    world.apply(&[user(1, 2, "b")]).await;
    assert_eq!(world.rows("SELECT email, updated_at = 'epoch' FROM app.users").await, ["b|t"]);
    assert_eq!(world.rows("SELECT count(*) FROM app.plans").await, ["1"]);
    world.end().await;
}

#[tokio::test]
async fn documents_swap_unique_values_in_one_batch() {
    let mut world = World::new().await;
    world.apply(&[user(1, 1, "a"), user(2, 1, "b"), user(3, 1, "c"), user(4, 1, "d")]).await;
    let sql = "UPDATE app.users SET updated_at = '2001-01-01Z'";
    world.database.client().await.batch_execute(sql).await.expect("ok");
    world.apply(&[user(1, 2, "b"), user(2, 2, "a"), user(3, 2, "d"), user(4, 2, "new"), user(5, 2, "c")]).await;
    let sql = "SELECT email FROM app.users ORDER BY (SELECT key FROM driftless.ledger LIMIT 1), email";
    assert_eq!(world.rows(sql).await, ["a", "b", "c", "d", "new"]);
    assert_eq!(world.letters().await, [""; 0]);
    // A column that is not mapped keeps its values: only the new row has the default.
    assert_eq!(world.rows("SELECT count(*) FROM app.users WHERE updated_at = 'epoch'").await, ["1"]);
    world.end().await;
}

#[tokio::test]
async fn a_unique_value_freed_later_is_taken_then_and_swaps_beside_it_go_on() {
    let mut world = World::new().await;
    world.apply(&[user(1, 1, "a"), user(2, 1, "b"), user(3, 1, "c")]).await;
    world.apply(&[user(9, 1, "held")]).await;
    // 1 and 2 swap; 3 needs the value that 9 holds; 5 needs the one that 3 will free.
    world.apply(&[user(1, 2, "b"), user(2, 2, "a"), user(3, 2, "held"), user(5, 2, "c")]).await;
    let sql = "SELECT email FROM app.users ORDER BY email";
    assert_eq!(world.rows(sql).await, ["a", "b", "c", "held"]);
    assert_eq!(world.letters().await, ["UNIQUE_CONFLICT|parked|1", "UNIQUE_CONFLICT|parked|1"]);
    world.retry_parked().await;
    assert_eq!(world.letters().await, ["UNIQUE_CONFLICT|parked|2", "UNIQUE_CONFLICT|parked|2"]);
    world.apply(&[user(9, 3, "free")]).await;
    world.retry_parked().await;
    assert_eq!(world.rows(sql).await, ["a", "b", "c", "free", "held"]);
    assert_eq!(world.letters().await, ["UNIQUE_CONFLICT|retried|2", "UNIQUE_CONFLICT|retried|2"]);
    world.end().await;
}

#[tokio::test]
async fn a_value_never_freed_becomes_a_dead_letter() {
    let mut world = World::new().await;
    world.apply(&[user(1, 1, "a")]).await;
    world.apply(&[user(2, 2, "a")]).await;
    world.retry_parked().await;
    world.retry_parked().await;
    assert_eq!(world.letters().await, ["UNIQUE_CONFLICT|open|3"]);
    world.end().await;
}

#[tokio::test]
async fn parked_records_are_read_within_bounds_and_none_is_left_out() {
    let mut world = World::with(Constraints::Enforce).await;
    let title = "x".repeat(10_000);
    world.apply(&(0..9).map(|id| plan(id, 1, Some(1), &[(id, title.as_str())])).collect::<Vec<_>>()).await;
    world.execute("UPDATE driftless.dead_letter SET next_attempt_at = '-infinity'").await;
    let kib = |kib: u64| dead_letter::Bounds { documents: 1_000, bytes: kib << 10 };
    let due = async |bounds| dead_letter::due(&world.session, &[partition()], bounds).await.expect("reads").len();
    // At least one record is read; the record that reaches the bound is the last.
    assert_eq!((due(kib(0)).await, due(kib(1)).await, due(kib(30)).await, due(kib(1_000)).await), (1, 1, 3, 9));
    assert_eq!(due(dead_letter::Bounds { documents: 4, bytes: 1 << 20 }).await, 4);
    let plans =
        world.rows("SELECT id FROM driftless.collection WHERE name = 'plans'").await[0].parse().expect("a number");
    let (mut after, mut read) = (0, Vec::new());
    loop {
        let parked = dead_letter::freed(&world.session, &[plans], after, kib(30)).await.expect("reads");
        read.extend(parked.records.iter().map(|record| record.offset));
        let Some(last) = parked.more_after else { break };
        after = last;
    }
    read.sort_unstable();
    assert_eq!(read, (0..9).collect::<Vec<_>>());
    world.end().await;
}

#[tokio::test]
async fn enforced_a_child_waits_for_its_parent() {
    let mut world = World::with(Constraints::Enforce).await;
    assert_eq!(world.session.constraint_mode(), ConstraintMode::Enforce);
    // Within a batch the order does not matter.
    world.apply(&[plan(1, 1, Some(1), &[(1, "m")]), user(1, 1, "a"), plan(2, 1, Some(2), &[(2, "m")])]).await;
    assert_eq!(world.rows("SELECT count(*) FROM app.plans").await, ["1"]);
    assert_eq!(world.rows("SELECT count(*) FROM app.milestones").await, ["1"]);
    assert_eq!(world.letters().await, ["FK_MISSING|parked|1"]);
    world.apply(&[user(2, 2, "b")]).await;
    world.retry_parked().await;
    assert_eq!(world.rows("SELECT count(*) FROM app.milestones").await, ["2"]);
    assert_eq!(world.letters().await, ["FK_MISSING|retried|1"]);
    // Parent and child deleted together, in the wrong order.
    world.apply(&[change("users", 1, 5, None), change("plans", 1, 5, None)]).await;
    assert_eq!(world.rows("SELECT count(*) FROM app.users").await, ["1"]);
    assert_eq!(world.rows("SELECT count(*) FROM app.plans").await, ["1"]);
    world.end().await;
}

#[tokio::test]
async fn enforced_a_value_freed_by_a_delete_of_the_same_batch_is_taken() {
    let mut world = World::with(Constraints::Enforce).await;
    world.apply(&[user(1, 1, "a")]).await;
    world.apply(&[user(2, 2, "a"), change("users", 1, 2, None)]).await;
    assert_eq!(world.rows("SELECT email FROM app.users").await, ["a"]);
    assert_eq!(world.letters().await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn enforced_a_deferred_constraint_is_met_inside_the_batch() {
    let tables = "CREATE TABLE a (id text PRIMARY KEY, n integer UNIQUE DEFERRABLE INITIALLY DEFERRED)";
    let mapping = "[collections.a]\ntable = \"public.a\"\nid = \"text\"\n";
    let mut world = World::of(Constraints::Enforce, tables, mapping).await;
    let document = |id: &str, n: i32, t| {
        let mut change = change("a", 1, t, Some(rawdoc! { "_id": id, "n": n }));
        change.id = rawdoc! { "_id": id };
        change.key = driftless::model::Key::from_id(&change.id).expect("a key");
        change
    };
    world.apply(&[document("x", 1, 1), document("y", 2, 1), document("z", 2, 1)]).await;
    assert_eq!(world.rows("SELECT id, n FROM a ORDER BY id").await, ["x|1", "y|2"]);
    assert_eq!(world.letters().await, ["UNIQUE_CONFLICT|parked|1"]);
    world.apply(&[document("x", 2, 2), document("y", 1, 2)]).await;
    assert_eq!(world.rows("SELECT id, n FROM a ORDER BY id").await, ["x|2", "y|1"]);
    world.end().await;
}

#[tokio::test]
async fn a_role_without_the_right_enforces_unless_told_otherwise() {
    let world = World::new().await;
    let role = format!("it_{}", uuid::Uuid::new_v4().simple());
    let client = world.database.client().await;
    client.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await.expect("ok");
    let mut config = sink_config(&world.database);
    config.url = Some(world.database.url_as(Some(&role)).into());
    let session = Postgres::new(&config, "t").expect("a target").open(Purpose::Apply).await.expect("connects");
    assert_eq!(session.constraint_mode(), ConstraintMode::Enforce);
    config.constraints = Constraints::Replica;
    let refused = Postgres::new(&config, "t").expect("a target").open(Purpose::Apply).await;
    assert!(matches!(refused.err(), Some(postgres::Error::ReplicaDenied)));
    drop(session);
    client.batch_execute(&format!("DROP ROLE {role}")).await.expect("ok");
    world.end().await;
}

//! Two workers that want the same values, parents or keys wait for each other in one order, so neither is ever the victim of a
//! deadlock. A third session holds both in the middle of their batches until each has the lock that the other wants.

use bson::rawdoc;
use driftless::{config::Constraints, model::Change, postgres::Purpose, sink};

use super::world::{World, change, plan, user};

/// Applies both batches at once, while `hold` keeps them from finishing until both wait.
async fn race(world: &World, hold: &str, one: &[Change], two: &[Change]) {
    let other = world.target.open(Purpose::Apply).await.expect("connects");
    let batches = [world.parked(one), world.parked(two)];
    let lock = world.hold(hold).await;
    let (first, second, ()) = tokio::join!(
        sink::apply(&world.session, &world.prepared, &batches[0], &[], &world.limits),
        sink::apply(&other, &world.prepared, &batches[1], &[], &world.limits),
        async {
            world.blocked(2).await;
            lock.batch_execute("ROLLBACK").await.expect("lets go");
        },
    );
    first.expect("the first applies");
    second.expect("the second applies");
}

#[tokio::test]
async fn unique_values_that_cross_between_batches() {
    let mut world = World::with(Constraints::Replica).await;
    world.apply(&[user(1, 1, "a"), user(2, 1, "b"), user(10, 1, "c"), user(20, 1, "d")]).await;
    // Each batch frees the value that the last row of the other needs, and is held before it takes its own.
    let held = "SELECT FROM app.users WHERE email IN ('c', 'd') FOR UPDATE";
    race(&world, held, &[user(1, 2, "x"), user(10, 2, "b")], &[user(2, 2, "y"), user(20, 2, "a")]).await;
    world.retry_parked().await;
    assert_eq!(world.rows("SELECT email FROM app.users ORDER BY email").await, ["a", "b", "x", "y"]);
    world.end().await;
}

#[tokio::test]
async fn parents_that_go_while_children_of_the_other_batch_come() {
    let mut world = World::with(Constraints::Enforce).await;
    world.apply(&[user(1, 1, "a"), user(2, 1, "b")]).await;
    let held = "SELECT FROM app.users FOR KEY SHARE";
    let one = [plan(1, 2, Some(2), &[]), change("users", 1, 2, None)];
    let two = [plan(2, 2, Some(1), &[]), change("users", 2, 2, None)];
    race(&world, held, &one, &two).await;
    // One batch was first: its child references the other's parent, whose removal waits. The child of the removed parent waits,
    // too.
    assert_eq!(world.counts(&["plans", "users"]).await, [1, 1]);
    assert_eq!(world.letters().await, ["FK_MISSING|parked|1"; 2]);
    world.end().await;
}

#[tokio::test]
async fn natural_keys_that_cross_between_batches() {
    let tables = "CREATE TABLE codes (code text PRIMARY KEY, n integer)";
    let mapping = "[collections.codes]\ntable = \"public.codes\"\nkey = [\"code\"]\ncolumns.code = \"code\"\n";
    let mut world = World::of(Constraints::Replica, tables, mapping).await;
    let code = |id: i32, t: u32, code: &str| change("codes", id, t, Some(rawdoc! { "_id": id, "code": code, "n": id }));
    world.apply(&[code(1, 1, "a"), code(2, 1, "b"), code(3, 1, "c"), code(4, 1, "d")]).await;
    // Each batch has released its own key, and waits at the row that both release.
    let held =
        "SELECT FROM driftless.owner WHERE key IN (SELECT key FROM driftless.owner ORDER BY key OFFSET 2) FOR UPDATE";
    let one = [code(1, 2, "b"), code(3, 2, "x")];
    let two = [code(2, 2, "a"), code(4, 2, "y")];
    race(&world, held, &one, &two).await;
    world.retry_parked().await;
    world.retry_parked().await;
    assert_eq!(world.rows("SELECT code, n FROM codes ORDER BY n").await, ["b|1", "a|2", "x|3", "y|4"]);
    world.end().await;
}

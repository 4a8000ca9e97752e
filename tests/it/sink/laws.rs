//! Laws 2, 3 and 4 in the sink alone: one transaction, any order, whole documents.

use bson::rawdoc;
use driftless::{
    model::{Change, Control, ControlKind, Namespace, Op, Version},
    postgres::{Error, Purpose},
    sink,
};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::world::{World, change, plan, user};

/// Generates a history of a few documents with every kind of change: inserts, updates, deletes, revivals, snapshots, child
/// rows.
fn history(random: &mut ChaCha8Rng) -> Vec<Change> {
    let mut history = Vec::new();
    for t in 1..60 {
        let id = random.random_range(1..5);
        let mut next = match random.random_range(0..8) {
            0 => change("users", id, t, None),
            1 => change("plans", id, t, None),
            2..5 => {
                let mut document = rawdoc! { "_id": id, "email": format!("{id}@x"), "age": t as i32 };
                if random.random() {
                    document.append(
                        bson::raw::cstr!("tags"),
                        rawdoc! {"x": ["a", "b, \"c\""]}.get_array("x").expect("set").to_owned(),
                    );
                    document.append(bson::raw::cstr!("meta"), rawdoc! { "at": t as i32, "deep": { "f": 1.5 } });
                    document.append(bson::raw::cstr!("status"), "active");
                }
                change("users", id, t, Some(document))
            }
            _ => {
                let mut milestones = (1..5).map(|m| (10 * id + m, "m")).collect::<Vec<_>>();
                milestones.shuffle(random);
                milestones.truncate(random.random_range(0..5));
                plan(id, t, None, &milestones)
            }
        };
        if next.document.is_some() && random.random_ratio(1, 6) {
            next.op = Op::Snapshot;
            next.version = Version::snapshot(1, next.version.time);
        }
        history.push(next);
    }
    history
}

#[tokio::test]
async fn any_order_repetition_and_split_ends_in_one_state() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let history = history(&mut random);
    let mut in_order = World::new().await;
    for change in &history {
        in_order.apply(std::slice::from_ref(change)).await;
    }
    let expected = in_order.state().await;
    assert!(
        in_order.rows("SELECT 1 FROM app.milestones").await.len()
            + in_order.rows("SELECT 1 FROM app.users").await.len()
            > 0
    );
    in_order.end().await;
    for round in 0..4 {
        let mut world = World::new().await;
        let mut changes = history.clone();
        changes.extend((0..20).map(|_| history[random.random_range(0..history.len())].clone()));
        if round > 0 {
            changes.shuffle(&mut random);
        }
        let mut rest = changes.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(random.random_range(1..=rest.len().min(30)));
            let records = if round == 3 { world.append_compacted(batch) } else { world.append(batch) };
            world.apply_records(records).await.expect("applies");
            rest = after;
        }
        // The whole log is applied once more, as by a replay.
        world.apply(&changes).await;
        assert_eq!(world.state().await, expected, "seed {seed}, round {round}");
        world.end().await;
    }
}

#[tokio::test]
async fn a_deleted_document_stays_dead() {
    let mut world = World::new().await;
    world.apply(&[user(1, 1, "a"), plan(1, 1, None, &[(1, "m")])]).await;
    world.apply(&[change("users", 1, 5, None), change("plans", 1, 5, None)]).await;
    world.apply(&[user(1, 4, "late"), plan(1, 4, None, &[(1, "late")])]).await;
    assert_eq!(world.rows("SELECT FROM app.users").await.len(), 0);
    assert_eq!(world.rows("SELECT FROM app.milestones").await.len(), 0);
    assert_eq!(world.rows("SELECT deleted FROM driftless.ledger").await, ["t", "t"]);
    world.apply(&[user(1, 6, "again")]).await;
    assert_eq!(world.rows("SELECT email FROM app.users").await, ["again"]);
    world.end().await;
}

#[tokio::test]
async fn a_removed_field_clears_its_column() {
    let mut world = World::new().await;
    let full = rawdoc! { "_id": 1, "email": "a", "name": "n", "age": 3, "meta": { "x": 1 }, "tags": ["a"] };
    world.apply(&[change("users", 1, 1, Some(full))]).await;
    world.apply(&[change("users", 1, 2, Some(rawdoc! { "_id": 1, "email": "a" }))]).await;
    let sql = "SELECT email, name, age, meta, tags FROM app.users";
    assert_eq!(world.rows(sql).await, ["a|NULL|NULL|NULL|NULL"]);
    world.end().await;
}

#[tokio::test]
async fn a_document_that_changed_often_in_a_batch_is_written_once() {
    let mut world = World::new().await;
    let hot = (1..100).map(|t| user(1, t, &format!("{t}@x"))).collect::<Vec<_>>();
    let outcome = world.apply(&hot).await;
    assert_eq!(outcome.touched["app.users"], (1, 0));
    assert_eq!(outcome.counts["users"].superseded, 98);
    assert_eq!(world.rows("SELECT email FROM app.users").await, ["99@x"]);
    world.end().await;
}

#[tokio::test]
async fn child_rows_keep_their_ids_and_only_changed_ones_are_touched() {
    let mut world = World::new().await;
    world.apply(&[plan(1, 1, None, &[(1, "a"), (2, "b"), (3, "c")])]).await;
    let sql = "SELECT id, title, xmin FROM app.milestones ORDER BY title";
    let before = world.rows(sql).await;
    let outcome = world.apply(&[plan(1, 2, None, &[(1, "a"), (2, "b2")])]).await;
    let after = world.rows(sql).await;
    assert_eq!(before[0], after[0], "an equal row is not written");
    assert_eq!(before[1].split('|').next(), after[1].split('|').next(), "the id is stable");
    assert_eq!(outcome.touched["app.milestones"], (1, 1));
    // Reordered: rows of one document trade the unique (plan_id, place).
    world.apply(&[plan(1, 3, None, &[(2, "b2"), (1, "a")])]).await;
    assert_eq!(world.rows("SELECT title FROM app.milestones ORDER BY place").await, ["b2", "a"]);
    world.apply(&[plan(1, 4, None, &[])]).await;
    assert_eq!(world.rows("SELECT FROM app.milestones").await.len(), 0);
    assert_eq!(world.letters().await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn a_moved_offset_is_reported_and_nothing_is_written() {
    let mut world = World::new().await;
    world.apply(&[user(1, 1, "a")]).await;
    let before = world.state().await;
    let records = world.append(&[user(2, 2, "b")]);
    let batch = world.batch(records);
    for expected in [None, Some(0), Some(7)] {
        let refused = sink::apply(&world.session, &world.prepared, &batch, &[expected], &world.limits).await;
        assert!(matches!(refused, Err(Error::OffsetMoved { found: Some(1), .. })), "{refused:?}");
    }
    assert_eq!(world.state().await, before);
    world.end().await;
}

#[tokio::test]
async fn two_workers_cannot_both_apply_a_batch() {
    let mut world = World::new().await;
    let other = world.target.open(Purpose::Apply).await.expect("connects");
    let records = world.append(&[user(1, 1, "a")]);
    let batch = world.batch(records);
    let (first, second) = tokio::join!(
        sink::apply(&world.session, &world.prepared, &batch, &[None], &world.limits),
        sink::apply(&other, &world.prepared, &batch, &[None], &world.limits),
    );
    assert_eq!(first.is_ok() as u8 + second.is_ok() as u8, 1);
    let lost = first.err().or(second.err());
    assert!(matches!(lost, Some(Error::OffsetMoved { .. })), "{lost:?}");
    world.end().await;
}

#[tokio::test]
async fn a_truncation_voids_what_came_before_it_and_nothing_after() {
    let mut world = World::new().await;
    world.apply(&[user(1, 1, "old"), user(2, 9, "new"), plan(1, 1, None, &[(1, "m")])]).await;
    let drop = |truncate| Control {
        namespace: Namespace::new("shop", "users"),
        kind: ControlKind::Drop,
        version: Version { epoch: 1, time: driftless::model::ClusterTime { t: 5, i: 1 }, op: 0 },
        truncate,
    };
    let ignored = world.append_control(&drop(false));
    world.apply_records(ignored).await.expect("applies");
    assert_eq!(world.rows("SELECT FROM app.users").await.len(), 2);
    let record = world.append_control(&drop(true));
    world.apply_records(record).await.expect("applies");
    world.apply(&[user(3, 4, "late"), user(1, 3, "late")]).await;
    assert_eq!(world.rows("SELECT email FROM app.users").await, ["new"]);
    assert_eq!(world.rows("SELECT title FROM app.milestones").await, ["m"]);
    world.apply(&[user(1, 6, "again")]).await;
    assert_eq!(world.rows("SELECT email FROM app.users ORDER BY 1").await, ["again", "new"]);
    world.end().await;
}

/// If the target enforces its foreign keys, a truncation removes the rows that nothing references, and never halts.
#[tokio::test]
async fn a_truncation_leaves_what_others_reference() {
    let mut world = World::with(driftless::config::Constraints::Enforce).await;
    let users = (1..=9).map(|id| user(id, 1, &format!("{id}@x"))).collect::<Vec<_>>();
    world.apply(&users).await;
    world.apply(&[plan(1, 1, Some(3), &[(1, "m")]), plan(2, 1, Some(7), &[])]).await;
    let control = Control {
        namespace: Namespace::new("shop", "users"),
        kind: ControlKind::Drop,
        version: Version { epoch: 1, time: driftless::model::ClusterTime { t: 5, i: 1 }, op: 0 },
        truncate: true,
    };
    let record = world.append_control(&control);
    world.apply_records(record).await.expect("applies");
    assert_eq!(world.rows("SELECT email FROM app.users ORDER BY 1").await, ["3@x", "7@x"]);
    let live = "SELECT count(*) FROM driftless.ledger AS l JOIN driftless.collection AS c ON c.id = l.collection \
                 WHERE c.name = 'users' AND NOT l.deleted";
    assert_eq!(world.rows(live).await, ["2"], "the ledger says what is there");
    // A late change is void all the same; a delete waits for the rows that reference its own.
    world.apply(&[user(3, 4, "late"), change("users", 3, 6, None), change("users", 7, 6, None)]).await;
    world.apply(&[change("plans", 1, 6, None), change("plans", 2, 6, None)]).await;
    world.retry_parked().await;
    assert_eq!(world.counts(&["users", "plans", "milestones"]).await, [0, 0, 0]);
    world.end().await;
}

#[tokio::test]
async fn a_hashed_key_is_found_again_by_a_truncation() {
    let tables = "CREATE TABLE docs (id text PRIMARY KEY, n integer)";
    let mapping = "[collections.docs]\ntable = \"public.docs\"\nid = \"text\"\n";
    let mut world = World::of(driftless::config::Constraints::Replica, tables, mapping).await;
    let id = rawdoc! { "_id": "k".repeat(1500) };
    let mut long = change("docs", 1, 1, Some(rawdoc! { "_id": "k".repeat(1500), "n": 1 }));
    long.key = driftless::model::Key::from_id(&id).expect("a key");
    long.id = id;
    world.apply(&[long]).await;
    assert_eq!(world.rows("SELECT n FROM docs").await, ["1"]);
    let control = Control {
        namespace: Namespace::new("shop", "docs"),
        kind: ControlKind::Drop,
        version: Version { epoch: 2, time: Default::default(), op: 0 },
        truncate: true,
    };
    let record = world.append_control(&control);
    world.apply_records(record).await.expect("applies");
    assert_eq!(world.rows("SELECT n FROM docs").await, [""; 0]);
    world.end().await;
}

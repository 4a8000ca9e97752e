//! The search for rows that belong to no document: over many pages, and while documents change.

use std::sync::atomic::{AtomicBool, Ordering};

use bson::rawdoc;
use driftless::{
    config::Constraints,
    model::{Change, Namespace, Removal},
    postgres::Purpose,
    sink,
};
use driftless_testing::random;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::world::{World, change, extra_rows};

const TABLES: &str = "
CREATE SCHEMA app;
CREATE TABLE app.users (id uuid PRIMARY KEY, name text);
CREATE TABLE app.logins (id uuid PRIMARY KEY, user_id uuid NOT NULL);
CREATE TABLE app.tags (topic text NOT NULL, place integer NOT NULL, PRIMARY KEY (topic, place));
";

const MAPPING: &str = r#"
namespace = "dns"
[collections.users]
table = "app.users"
id = "uuid5"
[collections.users.children.logins]
table = "app.logins"
parent = "user_id"
id = { column = "id", from = "_id" }
[collections.tags]
table = "app.tags"
columns = { topic = "topic", place = "place" }
"#;

fn user(id: i32, t: u32, logins: &[i32]) -> Change {
    let mut array = bson::RawArrayBuf::new();
    logins.iter().for_each(|&login| array.push(rawdoc! { "_id": login }));
    change("users", id, t, Some(rawdoc! { "_id": id, "name": "n", "logins": array }))
}

fn tag(id: i32, t: u32, topic: &str, place: i32) -> Change {
    change("tags", id, t, Some(rawdoc! { "_id": id, "topic": topic, "place": place }))
}

#[tokio::test]
async fn pages_follow_the_order_of_the_key() {
    let mut world = World::of(Constraints::Replica, TABLES, MAPPING).await;
    let users: Vec<_> = (0..40).map(|id| user(id, 1, &[id])).collect();
    world.apply(&users).await;
    world.apply(&(0..40).map(|id| tag(id, 1, &format!("{}", id % 3), id)).collect::<Vec<_>>()).await;
    world
        .execute(
            "SET session_replication_role = replica;
             INSERT INTO app.users SELECT gen_random_uuid() FROM generate_series(1, 25000);
             INSERT INTO app.logins SELECT gen_random_uuid(), gen_random_uuid() FROM generate_series(1, 10000);
             INSERT INTO app.tags SELECT 'stray ' || n % 7, n FROM generate_series(1, 20000) AS n",
        )
        .await;
    let mut found = world.extra_rows("users").await;
    found.extend(world.extra_rows("tags").await);
    found.sort();
    let of = |table: &str| found.iter().filter(|row| row.starts_with(table)).count();
    assert_eq!((of("app.users "), of("app.logins "), of("app.tags ")), (25_000, 10_000, 20_000));
    found.dedup();
    assert_eq!(found.len(), 55_000, "none is met twice");
    world.end().await;
}

#[tokio::test]
async fn documents_that_change_meanwhile_have_no_extra_rows() {
    let (seed, _) = random("extra_rows");
    let mut world = World::of(Constraints::Replica, TABLES, MAPPING).await;
    let (session, prepared) = (world.target.open(Purpose::Read).await.expect("connects"), world.prepared.clone());
    let done = AtomicBool::new(false);
    let write = async {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for t in 1..150 {
            let batch: Vec<_> = (0..30)
                .map(|_| {
                    let id = random.random_range(0..60);
                    match random.random_range(0..5) {
                        0 => change("users", id, t, None),
                        1 => change("tags", id, t, None),
                        2 => tag(id, t, "t", random.random_range(0..60)),
                        _ => user(id, t, &[id * 2, id * 2 + random.random_range(0..3)][..random.random_range(0..=2)]),
                    }
                })
                .collect();
            world.limits.parked_attempts = 1_000;
            world.apply(&batch).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let search = async {
        let mut searches = 0;
        while !done.load(Ordering::Relaxed) {
            for collection in 0..2 {
                let mut found = extra_rows(&session, &prepared, collection).await;
                // A document that was deleted behind the page of its row; it is judged before it counts.
                found.retain(|found| !found.starts_with("gone "));
                assert_eq!(found, [""; 0], "seed {seed}");
            }
            searches += 1;
        }
        searches
    };
    let ((), searches) = tokio::join!(write, search);
    assert!(searches > 1, "the searches race with the writes");
    world.end().await;
}

/// A removal asks the ledger whose the row is before it locks anything. A document that comes after that, and before the lock, keeps
/// its row.
#[tokio::test]
async fn a_row_whose_document_comes_while_its_removal_waits_stays() {
    let mut world = World::of(Constraints::Replica, TABLES, MAPPING).await;
    world.apply(&[user(1, 1, &[]), user(2, 1, &[])]).await;
    world
        .execute(
            "DELETE FROM driftless.ledger; ANALYZE driftless.ledger;
             INSERT INTO driftless.repair (collection, relation, row_key, who, command)
             SELECT c.id, 'app.users', jsonb_build_object('id', u.id), 'a test', 'repair'
               FROM driftless.collection AS c, app.users AS u WHERE c.name = 'users'",
        )
        .await;
    let requests = world.rows("SELECT id FROM driftless.repair ORDER BY id").await;
    let removal = |request: &String| Removal {
        namespace: Namespace::new("shop", "users"),
        request: request.parse().expect("a number"),
        table: "app.users".to_owned(),
        row_key: serde_json::json!({}),
    };
    let records = requests.iter().flat_map(|request| world.append_removal(&removal(request))).collect();
    let (batch, expected) = (world.batch(records), [world.applied]);
    let (late, other) = (world.parked(&[user(2, 2, &[])]), world.target.open(Purpose::Apply).await.expect("connects"));
    // Batches that write documents hold this lock, too, and so can go on beside it.
    let lock = world.hold("SELECT FROM driftless.collection FOR SHARE").await;
    let (removed, ()) =
        tokio::join!(sink::apply(&world.session, &world.prepared, &batch, &expected, &world.limits), async {
            world.blocked(1).await;
            sink::apply(&other, &world.prepared, &late, &[], &world.limits).await.expect("applies the document");
            lock.batch_execute("ROLLBACK").await.expect("lets go");
        },);
    assert_eq!(removed.expect("removes").touched["app.users"], (0, 1));
    assert_eq!(world.counts(&["users"]).await, [1], "the row without a document is gone");
    let refused = "SELECT refused FROM driftless.repair WHERE refused IS NOT NULL";
    assert_eq!(world.rows(refused).await, ["a document has the row by now"]);
    world.end().await;
}

//! Deferrable constraints, which PostgreSQL does not check under `session_replication_role = replica`.

use bson::{RawDocumentBuf, rawdoc};
use driftless::config::Constraints;
use rstest::rstest;

use super::world::{World, change};

const MAPPING: &str = "[collections.a]\ntable = \"public.a\"\nid = \"integer\"\n";

async fn world(constraint: &str) -> World {
    let tables = format!(
        "CREATE EXTENSION btree_gist;
         CREATE TABLE a (id integer PRIMARY KEY, n integer, m text, low integer, high integer, {constraint})"
    );
    World::of(Constraints::Replica, &tables, MAPPING).await
}

/// Makes a document whose values collide with those of any document with the same `n`.
fn document(id: i32, n: Option<i32>) -> RawDocumentBuf {
    let mut document = rawdoc! { "_id": id, "m": "x" };
    if let Some(n) = n {
        document.append(bson::raw::cstr!("n"), n);
        document.append(bson::raw::cstr!("low"), 10 * n);
        document.append(bson::raw::cstr!("high"), 10 * n + 10);
    }
    document
}

const ROWS: &str = "SELECT id, n FROM a ORDER BY id";

#[rstest]
#[case::unique("UNIQUE (n) DEFERRABLE INITIALLY DEFERRED")]
#[case::immediate("UNIQUE (n) DEFERRABLE INITIALLY IMMEDIATE")]
#[case::two_columns("UNIQUE (m, n) DEFERRABLE")]
#[case::nulls("UNIQUE NULLS NOT DISTINCT (n) DEFERRABLE")]
#[case::exclusion("EXCLUDE USING gist (n WITH =, m WITH =) DEFERRABLE")]
#[case::overlap("EXCLUDE USING gist (int4range(low, high) WITH &&) DEFERRABLE INITIALLY DEFERRED")]
#[case::partial("EXCLUDE USING gist (int4range(low, high) WITH &&, m WITH =) WHERE (high > 0) DEFERRABLE")]
#[tokio::test]
async fn a_deferrable_constraint_holds(#[case] constraint: &str) {
    let mut world = world(constraint).await;
    let a = |id: i32, t: u32, n: i32| change("a", id, t, Some(document(id, Some(n))));
    world.apply(&[a(1, 1, 1), a(2, 1, 2)]).await;
    // One conflict with an existing row, one among the rows of the batch; the rest of the batch is written.
    world.apply(&[a(3, 2, 2), a(4, 2, 4), a(5, 2, 4), a(6, 2, 6)]).await;
    assert_eq!(world.rows(ROWS).await, ["1|1", "2|2", "4|4", "6|6"]);
    assert_eq!(world.letters().await, ["UNIQUE_CONFLICT|parked|1"; 2]);
    let named = "SELECT bool_and(detail LIKE '%constraint a_%') FROM driftless.dead_letter";
    assert_eq!(world.rows(named).await, ["t"]);
    // Values move inside one batch, beside a document that cannot have its value.
    world.apply(&[a(1, 3, 2), a(2, 3, 1), a(7, 3, 6)]).await;
    assert_eq!(world.rows(ROWS).await, ["1|2", "2|1", "4|4", "6|6"]);
    // The freed values are taken.
    world.apply(&[a(1, 4, 10), change("a", 4, 4, None)]).await;
    world.retry_parked().await;
    assert_eq!(world.rows(ROWS).await, ["1|10", "2|1", "3|2", "5|4", "6|6"]);
    world.end().await;
}

#[tokio::test]
async fn nulls_collide_only_where_the_constraint_says_so() {
    let null = |id: i32| change("a", id, 1, Some(document(id, None)));
    for (constraint, rows) in [("UNIQUE NULLS NOT DISTINCT (n) DEFERRABLE", 1), ("UNIQUE (n) DEFERRABLE", 2)] {
        let mut world = world(constraint).await;
        world.apply(&[null(1), null(2)]).await;
        assert_eq!(world.rows(ROWS).await.len(), rows, "{constraint}");
        world.end().await;
    }
}

#[tokio::test]
async fn two_sessions_cannot_both_write_one_value() {
    let world = world("UNIQUE (n) DEFERRABLE INITIALLY DEFERRED").await;
    let other = world.target.open(driftless::postgres::Purpose::Apply).await.expect("connects");
    let batches = [1, 2].map(|id| world.parked(&[change("a", id, 1, Some(document(id, Some(7))))]));
    // Both sessions have written the ledger before either may write the table.
    let lock = world.hold("LOCK TABLE a IN ACCESS EXCLUSIVE MODE").await;
    let (first, second, ()) = tokio::join!(
        driftless::sink::apply(&world.session, &world.prepared, &batches[0], &[], &world.limits),
        driftless::sink::apply(&other, &world.prepared, &batches[1], &[], &world.limits),
        async {
            world.blocked(2).await;
            lock.batch_execute("ROLLBACK").await.expect("lets go");
        },
    );
    first.expect("applies");
    second.expect("applies");
    assert_eq!(world.rows("SELECT count(*) FROM a").await, ["1"]);
    assert_eq!(world.letters().await, ["UNIQUE_CONFLICT|parked|1"]);
    drop(other);
    world.end().await;
}

//! Documents whose rows are not always in the same table: kinds, filters, nested children, ids from a table.

use std::collections::BTreeSet;

use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use driftless::{
    config::Constraints,
    model::{Change, Control, ControlKind, Namespace, Version},
};
use rstest::rstest;

use super::world::{World, change};

const TABLES: &str = "
CREATE SCHEMA app;
CREATE TABLE app.logins (id uuid PRIMARY KEY, ip text);
CREATE TABLE app.steps (id uuid PRIMARY KEY, login_id uuid NOT NULL REFERENCES app.logins, name text NOT NULL);
CREATE TABLE app.orders (id uuid PRIMARY KEY, total integer NOT NULL CHECK (total >= 0));
CREATE TABLE app.lines (
    id uuid PRIMARY KEY,
    order_id uuid NOT NULL REFERENCES app.orders,
    place integer NOT NULL,
    UNIQUE (order_id, place)
);
CREATE TABLE app.notes (
    line_id uuid NOT NULL REFERENCES app.lines,
    place integer NOT NULL,
    order_id uuid NOT NULL,
    word text,
    PRIMARY KEY (line_id, place)
);
CREATE TABLE app.members (id uuid PRIMARY KEY, name text);
CREATE TABLE app.ids (old_id text PRIMARY KEY, new_id bigint NOT NULL UNIQUE);
CREATE TABLE app.accounts (id bigint PRIMARY KEY, boss bigint REFERENCES app.accounts, name text);
CREATE TABLE app.cards (id uuid PRIMARY KEY, account_id bigint NOT NULL REFERENCES app.accounts, word text);
";

const MAPPING: &str = r#"
namespace = "dns"
[collections.events]
id = "uuid5"
split = { by = "kind", unlisted = "ignore" }
[collections.events.variants.login]
table = "app.logins"
[collections.events.variants.login.children.steps]
table = "app.steps"
parent = "login_id"
id = { column = "id", from = "_id" }
[collections.events.variants.order]
table = "app.orders"
[collections.events.variants.order.children.lines]
table = "app.lines"
parent = "order_id"
order = "place"
id = { column = "id", from = "_id" }
[collections.events.variants.order.children.lines.children.notes]
table = "app.notes"
parent = "line_id"
root = "order_id"
order = "place"
[collections.events.variants.order.children.lines.children.notes.columns]
word = "$"
[collections.members]
table = "app.members"
id = "uuid5"
filter = { path = "active", is = true }
[collections.accounts]
table = "app.accounts"
id = { rule = "lookup", table = "app.ids", from = "old_id", to = "new_id", type = "integer" }
[collections.accounts.columns]
boss = { path = "boss", reference = "accounts" }
[collections.accounts.children.cards]
table = "app.cards"
parent = "account_id"
id = { column = "id", from = "_id" }
"#;

async fn world(constraints: Constraints) -> World {
    World::of(constraints, TABLES, MAPPING).await
}

fn login(id: i32, t: u32, steps: &[i32]) -> Change {
    let mut array = RawArrayBuf::new();
    steps.iter().for_each(|&step| array.push(rawdoc! { "_id": step, "name": "s" }));
    change("events", id, t, Some(rawdoc! { "_id": id, "kind": "login", "ip": "::1", "steps": array }))
}

fn order(id: i32, t: u32, total: i32, lines: &[(i32, &[&str])]) -> Change {
    let mut array = RawArrayBuf::new();
    for (line, notes) in lines {
        let mut words = RawArrayBuf::new();
        notes.iter().for_each(|note| words.push(*note));
        array.push(rawdoc! { "_id": *line, "notes": words });
    }
    change("events", id, t, Some(rawdoc! { "_id": id, "kind": "order", "total": total, "lines": array }))
}

fn other(id: i32, t: u32) -> Change {
    change("events", id, t, Some(rawdoc! { "_id": id, "kind": "other" }))
}

fn member(id: i32, t: u32, active: bool) -> Change {
    change("members", id, t, Some(rawdoc! { "_id": id, "name": "n", "active": active }))
}

fn account(id: i32, t: u32, boss: Option<i32>, cards: &[i32]) -> Change {
    let mut array = RawArrayBuf::new();
    cards.iter().for_each(|&card| array.push(rawdoc! { "_id": card, "word": "w" }));
    let mut document: RawDocumentBuf = rawdoc! { "_id": id, "name": "n", "cards": array };
    if let Some(boss) = boss {
        document.append(bson::raw::cstr!("boss"), boss);
    }
    change("accounts", id, t, Some(document))
}

const EVENTS: [&str; 5] = ["logins", "steps", "orders", "lines", "notes"];

#[rstest]
#[tokio::test]
async fn a_document_moves_to_another_kind_and_back_with_its_children(
    #[values(Constraints::Replica, Constraints::Enforce)] constraints: Constraints,
) {
    let mut world = world(constraints).await;
    let document = |t| order(1, t, 5, &[(1, &["a", "b"]), (2, &["c"])]);
    world.apply(&[document(1), login(2, 1, &[7])]).await;
    assert_eq!(world.counts(&EVENTS).await, [1, 1, 1, 2, 3]);
    world.apply(&[login(1, 2, &[1, 2, 3])]).await;
    assert_eq!(world.counts(&EVENTS).await, [2, 4, 0, 0, 0]);
    let outcome = world.apply(&[other(1, 3)]).await;
    assert_eq!(world.counts(&EVENTS).await, [1, 1, 0, 0, 0]);
    assert_eq!(outcome.losses.values().copied().collect::<Vec<_>>(), [1], "what gives no rows is counted");
    world.apply(&[document(4), document(1), login(1, 2, &[])]).await;
    assert_eq!(world.counts(&EVENTS).await, [1, 1, 1, 2, 3]);
    assert_eq!(world.differences(&[document(4), login(2, 1, &[7])]).await, BTreeSet::new());
    assert_eq!(world.extra_rows("events").await, [""; 0]);
    world.apply(&[change("events", 1, 5, None), change("events", 2, 5, None)]).await;
    assert_eq!(world.counts(&EVENTS).await, [0, 0, 0, 0, 0]);
    world.end().await;
}

#[tokio::test]
async fn nested_children_are_pruned_with_their_parents() {
    let mut world = world(Constraints::Enforce).await;
    world.apply(&[order(1, 1, 5, &[(1, &["a", "b"]), (2, &["c"])]), order(2, 1, 5, &[(1, &["z"])])]).await;
    let outcome = world.apply(&[order(1, 2, 5, &[(2, &["c", "d"])])]).await;
    let sql = "SELECT word FROM app.notes ORDER BY word";
    assert_eq!(world.rows(sql).await, ["c", "d", "z"]);
    assert_eq!(outcome.touched["app.notes"], (1, 2));
    world.apply(&[order(1, 3, 5, &[])]).await;
    assert_eq!(world.rows(sql).await, ["z"]);
    assert_eq!(world.letters().await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn a_refused_move_leaves_the_rows_where_they_were() {
    let mut world = world(Constraints::Replica).await;
    world.apply(&[login(1, 1, &[1])]).await;
    world.apply(&[order(1, 2, -5, &[])]).await;
    assert_eq!(world.letters().await, ["CHECK|open|1"]);
    assert_eq!(world.counts(&EVENTS).await, [1, 1, 0, 0, 0]);
    assert_eq!(world.extra_rows("events").await, [""; 0], "the ledger knows where they are");
    let rejected = change("events", 1, 3, Some(rawdoc! { "_id": 1, "kind": "order", "total": "no number" }));
    world.apply(&[rejected]).await;
    assert_eq!(world.extra_rows("events").await, [""; 0]);
    world.apply(&[order(1, 4, 5, &[])]).await;
    assert_eq!(world.counts(&EVENTS).await, [0, 0, 1, 0, 0]);
    world.end().await;
}

#[tokio::test]
async fn a_filter_stops_and_starts_to_match() {
    let mut world = world(Constraints::Replica).await;
    world.apply(&[member(1, 1, true), member(2, 1, false)]).await;
    assert_eq!(world.counts(&["members"]).await, [1]);
    world.apply(&[member(1, 2, false), member(2, 2, true), member(3, 2, true)]).await;
    assert_eq!(world.counts(&["members"]).await, [2]);
    assert_eq!(world.differences(&[member(1, 2, false), member(2, 2, true)]).await, BTreeSet::new());
    assert_eq!(world.differences(&[member(2, 2, false)]).await, ["app.members".to_owned()].into());
    assert_eq!(world.rows("SELECT root IS NULL FROM driftless.ledger ORDER BY key").await, ["t", "f", "f"]);
    world.apply(&[member(1, 3, true), change("members", 2, 3, None), member(3, 1, false)]).await;
    assert_eq!(world.counts(&["members"]).await, [2]);
    assert_eq!(world.extra_rows("members").await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn a_truncation_empties_every_kind() {
    let mut world = world(Constraints::Enforce).await;
    world.apply(&[order(1, 1, 5, &[(1, &["a"])]), login(2, 1, &[7]), other(3, 1), login(4, 9, &[8])]).await;
    let control = Control {
        namespace: Namespace::new("shop", "events"),
        kind: ControlKind::Drop,
        version: Version { epoch: 1, time: driftless::model::ClusterTime { t: 5, i: 1 }, op: 0 },
        truncate: true,
    };
    let record = world.append_control(&control);
    world.apply_records(record).await.expect("applies");
    assert_eq!(world.counts(&EVENTS).await, [1, 1, 0, 0, 0]);
    assert_eq!(world.extra_rows("events").await, [""; 0]);
    world.end().await;
}

/// The key of a row that no document has.
const STRAY: &str = "00000000-0000-0000-0000-000000000001";

#[rstest]
#[case::root("INSERT INTO app.orders VALUES ('{STRAY}', 1)", r#"app.orders {"id":"{STRAY}"}"#)]
#[case::other_root("INSERT INTO app.logins VALUES ('{STRAY}')", r#"app.logins {"id":"{STRAY}"}"#)]
#[case::child("INSERT INTO app.steps VALUES ('{STRAY}', gen_random_uuid(), '')", r#"app.steps {"id":"{STRAY}"}"#)]
#[case::grandchild(
    "INSERT INTO app.notes VALUES ('{STRAY}', 7, gen_random_uuid(), '')",
    r#"app.notes {"line_id":"{STRAY}","place":"7"}"#
)]
#[case::the_root_row_is_missing("DELETE FROM app.orders", "")]
#[case::the_other_root_holds_a_row_of_a_live_document("INSERT INTO app.logins SELECT id FROM app.orders", "")]
#[case::a_deleted_document("{DELETED}; DELETE FROM app.lines; DELETE FROM app.notes", "gone Int64(1)")]
#[case::children_of_a_deleted_document("{DELETED}; DELETE FROM app.orders", "gone Int64(1), gone Int64(1)")]
#[tokio::test]
async fn a_stray_row_is_named_by_its_key(#[case] sql: &str, #[case] expected: &str) {
    const DELETED: &str = "UPDATE driftless.ledger SET deleted = true \
                            WHERE root = (SELECT id FROM driftless.relation WHERE name = '\"app\".\"orders\"')";
    let mut world = world(Constraints::Replica).await;
    world.apply(&[order(1, 1, 5, &[(1, &["a"])]), login(2, 1, &[7])]).await;
    let fill = |text: &str| text.replace("{STRAY}", STRAY).replace("{DELETED}", DELETED);
    world.execute(&format!("SET session_replication_role = replica; {}", fill(sql))).await;
    assert_eq!(world.extra_rows("events").await.join(", "), fill(expected));
    world.end().await;
}

#[tokio::test]
async fn a_row_whose_id_no_document_gets_from_the_table_of_ids_is_extra() {
    let mut world = world(Constraints::Replica).await;
    world.execute("INSERT INTO app.ids VALUES ('1', 100), ('2', 200)").await;
    world.apply(&[account(1, 1, None, &[1]), account(2, 1, None, &[])]).await;
    world.execute("SET session_replication_role = replica; INSERT INTO app.accounts VALUES (5), (6)").await;
    let last = "SELECT key FROM driftless.ledger ORDER BY key DESC LIMIT 1";
    world.execute(&format!("UPDATE driftless.ledger SET deleted = true WHERE key = ({last})")).await;
    let expected = ["gone Int64(2)", r#"app.accounts {"id":"5"}"#, r#"app.accounts {"id":"6"}"#];
    assert_eq!(world.extra_rows("accounts").await, expected);
    world.end().await;
}

#[tokio::test]
async fn rows_of_the_kind_that_a_document_was_are_drift() {
    let mut world = world(Constraints::Replica).await;
    let document = order(1, 1, 5, &[(1, &["a"])]);
    world.apply(std::slice::from_ref(&document)).await;
    world.execute("INSERT INTO app.logins SELECT id, '' FROM app.orders").await;
    assert_eq!(world.differences(std::slice::from_ref(&document)).await, ["app.logins".to_owned()].into());
    world.execute("INSERT INTO app.steps SELECT gen_random_uuid(), id, '' FROM app.orders").await;
    let expected = ["app.logins", "app.steps"].map(str::to_owned);
    assert_eq!(world.differences(&[document]).await, expected.into());
    world.end().await;
}

#[rstest]
#[tokio::test]
async fn an_id_without_an_entry_waits_for_it(
    #[values(Constraints::Replica, Constraints::Enforce)] constraints: Constraints,
) {
    let mut world = world(constraints).await;
    world.execute("INSERT INTO app.ids VALUES ('1', 100), ('2', 200)").await;
    let changes = [account(1, 1, None, &[1]), account(2, 1, Some(1), &[]), account(3, 1, Some(1), &[3])];
    world.apply(&changes).await;
    assert_eq!(world.letters().await, ["FK_MISSING|parked|1"]);
    let names = world.rows("SELECT detail LIKE '%app.ids%' FROM driftless.dead_letter").await;
    assert_eq!(names, ["t"], "the table of ids is named");
    let accounts = "SELECT id, boss FROM app.accounts ORDER BY id";
    assert_eq!(world.rows(accounts).await, ["100|NULL", "200|100"]);
    world.retry_parked().await;
    assert_eq!(world.letters().await, ["FK_MISSING|parked|2"]);
    world.execute("INSERT INTO app.ids VALUES ('3', 300)").await;
    world.retry_parked().await;
    assert_eq!(world.letters().await, ["FK_MISSING|retried|2"]);
    assert_eq!(world.rows(accounts).await, ["100|NULL", "200|100", "300|100"]);
    assert_eq!(world.rows("SELECT account_id FROM app.cards ORDER BY 1").await, ["100", "300"]);
    assert_eq!(world.differences(&changes).await, BTreeSet::new());
    world.apply(&[account(1, 2, None, &[2]), account(3, 2, None, &[])]).await;
    assert_eq!(world.rows("SELECT account_id FROM app.cards").await, ["100"]);
    world.apply(&[change("accounts", 3, 3, None), change("accounts", 2, 3, None)]).await;
    assert_eq!(world.rows(accounts).await, ["100|NULL"]);
    assert_eq!(world.extra_rows("accounts").await, [""; 0]);
    world.end().await;
}

/// Rows from before this ledger (from an earlier copy, say) still belong to their documents.
#[tokio::test]
async fn a_delete_finds_rows_that_the_ledger_never_heard_of() {
    let mut world = world(Constraints::Replica).await;
    world.apply(&[login(1, 10, &[1, 2]), login(2, 11, &[3]), order(3, 12, 5, &[(1, &["a"])])]).await;
    world.execute("DELETE FROM driftless.ledger").await;
    world.apply(&[change("events", 1, 20, None), change("events", 3, 21, None)]).await;
    assert_eq!(world.counts(&["logins", "steps", "orders", "lines", "notes"]).await, [1, 1, 0, 0, 0]);
    world.end().await;
}

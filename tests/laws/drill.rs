//! Law 9, by damage: everything that can be wrong with a row is found with its kind and its columns, nothing else is reported, and
//! a repair through the log makes everything equal again while the application writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mongodb::bson::{DateTime, Decimal128, Document, doc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, daemon::Daemon, drill, migration::Migration, wait};

const SCHEMA: &str = "
    CREATE SCHEMA shop;
    CREATE TABLE shop.orders (
        id text PRIMARY KEY, customer text, amount numeric(20, 4), big bigint, ratio double precision, note text,
        placed_at timestamptz, tags text[], meta jsonb);
    CREATE TABLE shop.lines (
        order_id text REFERENCES shop.orders, position integer, sku text, quantity integer,
        PRIMARY KEY (order_id, position));
    CREATE TABLE shop.clicks (id text PRIMARY KEY, count integer);";

const MAPPING: &str = r#"
    [collections.orders]
    table = "shop.orders"
    id = "text"
    columns.placed_at = "placedAt"

    [collections.orders.children.lines]
    table = "shop.lines"
    parent = "order_id"
    order = "position"

    [collections.clicks]
    table = "shop.clicks"
    id = "text"
    may_be_empty = true
"#;

/// `_id` of the order with this number; the texts sort like the numbers.
fn name(number: i64) -> String {
    format!("{number:07}")
}

/// Id of a row that no document stands behind.
fn nobody(number: i64) -> String {
    format!("nobody-{number}")
}

/// The change to the documents of a block before their rows are damaged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing.
    Nothing,
    /// They are updated; the rows and ledger entries from before the update are kept.
    Updated,
    /// They are deleted; the rows and ledger entries from before the delete are kept.
    Deleted,
}

/// One kind of damage, done to a block of documents.
struct Damage {
    name: &'static str,
    before: Before,
    /// `{ids}` stands for the condition that an order is in the block, `{o}` for the same about its lines, `{entries}` about its ledger
    /// entry.
    statements: &'static str,
    kind: &'static str,
    columns: &'static [&'static str],
}

const fn damage(
    name: &'static str,
    statements: &'static str,
    kind: &'static str,
    columns: &'static [&'static str],
) -> Damage {
    Damage { name, before: Before::Nothing, statements, kind, columns }
}

/// Puts rows of orders and of lines back as they were before their documents changed.
const OLD_ROWS: &str = "DELETE FROM shop.lines WHERE {o}; DELETE FROM shop.orders WHERE {ids};
    INSERT INTO shop.orders SELECT * FROM kept.orders WHERE {ids};
    INSERT INTO shop.lines SELECT * FROM kept.lines WHERE {o};";
/// The same, with their ledger entries.
const OLD_ROWS_AND_ENTRIES: &str = "DELETE FROM shop.lines WHERE {o}; DELETE FROM shop.orders WHERE {ids};
    INSERT INTO shop.orders SELECT * FROM kept.orders WHERE {ids};
    INSERT INTO shop.lines SELECT * FROM kept.lines WHERE {o};
    DELETE FROM driftless.ledger WHERE {entries};
    INSERT INTO driftless.ledger SELECT * FROM kept.ledger WHERE {entries};";

const DAMAGES: &[Damage] = &[
    damage("row missing", "DELETE FROM shop.orders WHERE {ids}", "missing", &[]),
    Damage {
        name: "stale by one update",
        before: Before::Updated,
        statements: OLD_ROWS_AND_ENTRIES,
        kind: "different",
        columns: &["shop.orders.customer"],
    },
    Damage {
        name: "lost delete",
        before: Before::Deleted,
        statements: OLD_ROWS_AND_ENTRIES,
        kind: "extra",
        columns: &[],
    },
    Damage { name: "resurrected row", before: Before::Deleted, statements: OLD_ROWS, kind: "extra", columns: &[] },
    damage(
        "contents of two rows swapped",
        "UPDATE shop.orders AS a SET customer = b.customer, big = b.big FROM shop.orders AS b
          WHERE b.id = lpad((a.id::integer # 1)::text, 7, '0') AND a.{ids}",
        "different",
        &["shop.orders.big", "shop.orders.customer"],
    ),
    damage(
        "the same corruption",
        "UPDATE shop.orders SET customer = 'same' WHERE {ids}",
        "different",
        &["shop.orders.customer"],
    ),
    damage(
        "last digit of a decimal",
        "UPDATE shop.orders SET amount = amount + 0.0001 WHERE {ids}",
        "different",
        &["shop.orders.amount"],
    ),
    damage(
        "integer beyond 2^53",
        "UPDATE shop.orders SET big = big + 1 WHERE {ids}",
        "different",
        &["shop.orders.big"],
    ),
    damage("-0.0", "UPDATE shop.orders SET ratio = 0 WHERE {ids}", "different", &["shop.orders.ratio"]),
    damage("NaN", "UPDATE shop.orders SET ratio = 'NaN' WHERE {ids}", "different", &["shop.orders.ratio"]),
    damage("empty for null", "UPDATE shop.orders SET note = '' WHERE {ids}", "different", &["shop.orders.note"]),
    damage(
        "null for a text",
        "UPDATE shop.orders SET customer = NULL WHERE {ids}",
        "different",
        &["shop.orders.customer"],
    ),
    damage(
        "a null member is missing",
        "UPDATE shop.orders SET meta = meta - 'nothing' WHERE {ids}",
        "different",
        &["shop.orders.meta"],
    ),
    damage(
        "text truncated",
        "UPDATE shop.orders SET customer = left(customer, -1) WHERE {ids}",
        "different",
        &["shop.orders.customer"],
    ),
    damage(
        "case",
        "UPDATE shop.orders SET customer = upper(customer) WHERE {ids}",
        "different",
        &["shop.orders.customer"],
    ),
    damage(
        "trailing blank",
        "UPDATE shop.orders SET customer = customer || ' ' WHERE {ids}",
        "different",
        &["shop.orders.customer"],
    ),
    damage(
        "Unicode form",
        "UPDATE shop.orders SET customer = normalize(customer, NFD) WHERE {ids}",
        "different",
        &["shop.orders.customer"],
    ),
    damage(
        "array order",
        "UPDATE shop.orders SET tags = ARRAY[tags[2], tags[1], tags[3]] WHERE {ids}",
        "different",
        &["shop.orders.tags"],
    ),
    damage("array emptied", "UPDATE shop.orders SET tags = '{}' WHERE {ids}", "different", &["shop.orders.tags"]),
    damage("child row missing", "DELETE FROM shop.lines WHERE {o} AND position = 1", "different", &["shop.lines"]),
    damage(
        "child row extra",
        "INSERT INTO shop.lines SELECT id, 99, 'none', 1 FROM shop.orders WHERE {ids}",
        "different",
        &["shop.lines"],
    ),
    damage(
        "field of a child row",
        "UPDATE shop.lines SET quantity = quantity + 1 WHERE {o} AND position = 0",
        "different",
        &["shop.lines.quantity"],
    ),
    damage(
        "nested field",
        "UPDATE shop.orders SET meta = jsonb_set(meta, '{deep,x}', '-1') WHERE {ids}",
        "different",
        &["shop.orders.meta"],
    ),
    damage(
        "a millisecond",
        "UPDATE shop.orders SET placed_at = placed_at + interval '1 ms' WHERE {ids}",
        "different",
        &["shop.orders.placed_at"],
    ),
    damage(
        "a time zone",
        "UPDATE shop.orders SET placed_at = placed_at + interval '1 h' WHERE {ids}",
        "different",
        &["shop.orders.placed_at"],
    ),
    Damage {
        name: "ledger version wrongly high",
        before: Before::Updated,
        statements: "UPDATE driftless.ledger SET version = decode(repeat('ff', 16), 'hex') WHERE {entries}",
        kind: "version",
        columns: &[],
    },
    Damage {
        name: "ledger entry removed",
        before: Before::Updated,
        statements: "DELETE FROM driftless.ledger WHERE {entries}",
        kind: "missing",
        columns: &[],
    },
];

/// The blocks of documents, one for each damage, and the numbers of the drill.
struct Plan {
    /// Documents of a block; even, because some are swapped in pairs.
    each: i64,
    documents: i64,
    /// Longest wait for all of them.
    deadline: Duration,
}

impl Plan {
    fn new() -> Self {
        let (each, documents, deadline) = if drill() { (50, 100_000, 10 * DEADLINE) } else { (2, 400, DEADLINE) };
        Self { each, documents, deadline }
    }

    /// The orders of a block, by number.
    fn ids(&self, block: usize) -> std::ops::Range<i64> {
        let first = self.each * i64::try_from(block).expect("few");
        first..first + self.each
    }

    /// The condition that this column holds the id of an order of the block.
    fn within(&self, block: usize, column: &str) -> String {
        let ids = self.ids(block);
        format!("{column} BETWEEN '{}' AND '{}'", name(ids.start), name(ids.end - 1))
    }
}

/// An order. Fields that the damages need are exact and unusual: a decimal with 17 digits, whole numbers beyond 2^53, -0.0.
fn order(number: i64) -> Document {
    let amount: Decimal128 = format!("1234567890123.{:04}", number % 10_000).parse().expect("a decimal");
    let line = |place: i32| doc! { "sku": format!("sku-{number}-{place}"), "quantity": place + 1 };
    doc! {
        "_id": name(number), "customer": format!("Jürgen Groß {number}x"), "amount": amount, "big": (1_i64 << 53) + 2 * number + 1,
        "ratio": -0.0, "placedAt": DateTime::from_millis(1_700_000_000_000 + number), "tags": [format!("a{number}"), "b", "c"],
        "meta": { "nothing": null, "deep": { "x": number } }, "lines": [line(0), line(1), line(2)],
    }
}

/// Complete passes over the orders.
const COMPLETE: &str = "SELECT coalesce(max(p.complete_pass), 0) FROM driftless.proof AS p \
     JOIN driftless.collection AS c ON c.id = p.collection WHERE c.name = 'orders'";

/// Findings by subject: `_id` of the document or primary key of the row, with kind and columns.
type Findings = BTreeMap<String, (String, BTreeSet<String>)>;

/// Returns the findings that the damages of the table, and rows without a document, must give.
fn expected(plan: &Plan) -> Findings {
    let mut findings = Findings::new();
    for (block, damage) in DAMAGES.iter().enumerate() {
        let columns: BTreeSet<String> = damage.columns.iter().map(|&column| column.to_owned()).collect();
        for number in plan.ids(block) {
            findings.insert(name(number), (damage.kind.to_owned(), columns.clone()));
        }
    }
    for row in 0..plan.each {
        findings.insert(format!("shop.orders {}", nobody(row)), ("extra".to_owned(), BTreeSet::new()));
    }
    findings
}

/// The open findings that the daemon has stored.
async fn stored(migration: &Migration) -> Findings {
    // The key of a text is one byte and the text.
    let query =
        "SELECT kind, columns, coalesce(convert_from(substr(key, 2), 'UTF8'), relation || ' ' || (row_key ->> 'id'))
                   FROM driftless.finding WHERE ended_at IS NULL";
    let rows = migration.target.query(query, &[]).await.expect("read the findings");
    let finding =
        |row: &tokio_postgres::Row| (row.get(2), (row.get(0), row.get::<_, Vec<String>>(1).into_iter().collect()));
    rows.iter().map(finding).collect()
}

/// Returns the differences between two sets of findings, as a failed test shows them.
fn unlike(found: &Findings, wanted: &Findings) -> Result<(), String> {
    let missed: Vec<_> = wanted.iter().filter(|(subject, what)| found.get(*subject) != Some(what)).take(20).collect();
    let more: Vec<_> = found.iter().filter(|(subject, _)| !wanted.contains_key(*subject)).take(20).collect();
    let seen: Vec<_> = missed.iter().map(|(subject, _)| (subject, found.get(*subject))).collect();
    wait::holds(missed.is_empty() && more.is_empty(), format!("missed {missed:?}; seen {seen:?}; more {more:?}"))
}

struct Drill {
    migration: Migration,
    plan: Plan,
}

impl Drill {
    /// Brings everything into the target; `every` is the age of a pass at which the next one begins.
    async fn begin(test: &str, every: &str) -> (Self, Daemon) {
        let stack = crate::support::stack::Stack::shared().await;
        let mut migration = Migration::new(stack, stack.mongo_uri(), test, SCHEMA, MAPPING).await;
        migration.set("reconcile", "baseline_every", every);
        let plan = Plan::new();
        let orders: Vec<Document> = (0..plan.documents).map(order).collect();
        for some in orders.chunks(1_000) {
            migration.collection("orders").insert_many(some).await.expect("insert orders");
        }
        let daemon = migration.daemon();
        migration.quiesce(&daemon, plan.deadline).await;
        (Self { migration, plan }, daemon)
    }

    /// Keeps rows and ledger entries aside, and changes documents whose rows shall be wrong in a way that needs a change.
    async fn prepare(&self, daemon: &Daemon) {
        let target = &self.migration.target;
        let keep = "CREATE SCHEMA kept;
            CREATE TABLE kept.orders AS SELECT * FROM shop.orders;
            CREATE TABLE kept.lines AS SELECT * FROM shop.lines;
            CREATE TABLE kept.ledger AS SELECT * FROM driftless.ledger";
        target.batch_execute(keep).await.expect("keep rows aside");
        let orders = self.migration.collection("orders");
        for (block, damage) in DAMAGES.iter().enumerate() {
            let ids: Vec<String> = self.plan.ids(block).map(name).collect();
            let these = doc! { "_id": { "$in": ids } };
            match damage.before {
                Before::Nothing => {}
                Before::Updated => {
                    let update = doc! { "$set": { "customer": "Updated" } };
                    orders.update_many(these, update).await.expect("update orders");
                }
                Before::Deleted => drop(orders.delete_many(these).await.expect("delete orders")),
            }
        }
        self.migration.quiesce(daemon, self.plan.deadline).await;
    }

    /// Damages the rows, as a replica, so that neither triggers nor cascades act.
    async fn damage(&self) {
        let target = &self.migration.target;
        target.batch_execute("SET session_replication_role = replica").await.expect("be a replica");
        for (block, damage) in DAMAGES.iter().enumerate() {
            let entries = self.plan.within(block, "convert_from(substr(key, 2), 'UTF8')");
            let statements = damage.statements.replace("{ids}", &self.plan.within(block, "id"));
            let statements =
                statements.replace("{o}", &self.plan.within(block, "order_id")).replace("{entries}", &entries);
            target.batch_execute(&statements).await.unwrap_or_else(|error| panic!("{}: {error:?}", damage.name));
        }
        let rows = (0..self.plan.each).map(|row| format!("('{}', 'nobody')", nobody(row)));
        let rows = rows.collect::<Vec<_>>().join(", ");
        let extra = format!("INSERT INTO shop.orders (id, customer) VALUES {rows}");
        target.batch_execute(&extra).await.expect("add rows without a document");
        target.batch_execute("SET session_replication_role = origin").await.expect("be an ordinary session again");
    }

    /// Waits until the daemon has found exactly this.
    async fn finds(&self, daemon: &Daemon, wanted: &Findings) {
        let before = self.migration.number(COMPLETE).await;
        wait::until("the daemon has found every damage, and nothing else", self.plan.deadline, async || {
            unlike(&stored(&self.migration).await, wanted)
        })
        .await;
        let (found, passes) = (wanted.len(), self.migration.number(COMPLETE).await - before);
        eprintln!("drill: {found} findings in {} documents, while {passes} passes ended", self.plan.documents);
        daemon.wait_for("the verdict is drift", self.plan.deadline, |status| status.verdict == "drift").await;
    }

    /// Checks rows against those that were kept aside, but for the orders that were changed on purpose.
    async fn assert_restored(&self) {
        for (table, id) in [("orders", "id"), ("lines", "order_id")] {
            let changed = DAMAGES.iter().enumerate().filter(|(_, damage)| damage.before != Before::Nothing);
            let changed = changed.map(|(block, _)| self.plan.within(block, id)).collect::<Vec<_>>().join(" OR ");
            let all = |schema: &str| format!("SELECT t::text FROM {schema}.{table} AS t WHERE NOT ({changed})");
            let (now, then) = (all("shop"), all("kept"));
            let query = format!("(({now}) EXCEPT ({then})) UNION ALL (({then}) EXCEPT ({now}))");
            let unequal = self.migration.texts(&query).await;
            assert!(unequal.is_empty(), "{} rows of {table} differ: {:?}", unequal.len(), unequal.first());
        }
    }
}

/// An application that changes other documents than the damaged ones, all the time.
fn clicks(migration: &Migration, end: CancellationToken) -> JoinHandle<()> {
    let clicks = migration.collection("clicks");
    tokio::spawn(async move {
        let mut written = 0;
        while !end.is_cancelled() {
            let count = doc! { "$inc": { "count": 1 } };
            let click = clicks.update_one(doc! { "_id": name(written % 20) }, count).upsert(true);
            click.await.expect("count a click");
            written += 1;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damage_is_found_and_repaired_through_the_log() {
    let (mut drill, daemon) = Drill::begin("drill", "1h").await;
    drill.prepare(&daemon).await;
    // One pass must find everything, so it begins behind the damage: a ledger entry that goes in the middle of a pass is met by its
    // rows first.
    drill.migration.wait_for_number(COMPLETE, drill.plan.deadline, 1).await;
    let cancel = CancellationToken::new();
    let load = clicks(&drill.migration, cancel.clone());
    drill.damage().await;
    daemon.stop(0).await;
    drill.migration.set("reconcile", "baseline_every", "1s");
    let daemon = drill.migration.daemon();
    let wanted = expected(&drill.plan);
    drill.finds(&daemon, &wanted).await;

    let dry = drill.migration.command(&["repair", "--dry-run", "--json"]).await;
    assert_eq!(dry.status.code(), Some(4), "{}", String::from_utf8_lossy(&dry.stdout));
    drill.migration.succeed(&["repair", "--force", "--why", "the drill"]).await;
    wait::until("every finding has ended", drill.plan.deadline, async || {
        unlike(&stored(&drill.migration).await, &Findings::new())
    })
    .await;
    // Without a guard only a pass counts that is younger than `reconcile.fresh`, and at full size each takes longer.
    drill.migration.succeed(&["guard", "install"]).await;
    daemon.wait_for("the verdict is in sync", drill.plan.deadline, |status| status.verdict == "in_sync").await;
    cancel.cancel();
    load.await.expect("the application does not panic");
    drill.assert_restored().await;
    let full = drill.migration.succeed(&["reconcile", "--full"]).await;
    assert!(full.contains("equal"), "{full}");

    // Every finding ended, and by the repair.
    let ended = "SELECT DISTINCT ended_by FROM driftless.finding";
    assert_eq!(drill.migration.texts(ended).await, [Some("repair".to_owned())]);
    daemon.stop(0).await;
    drill.migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_hand_is_named_within_seconds() {
    let (drill, daemon) = Drill::begin("rogue", "1s").await;
    drill.migration.succeed(&["guard", "install"]).await;
    daemon.wait_for("the verdict is in sync", drill.plan.deadline, |status| status.verdict == "in_sync").await;
    let rogue = format!("UPDATE shop.orders SET customer = 'rogue' WHERE {}", drill.plan.within(0, "id"));
    drill.migration.target.batch_execute(&rogue).await.expect("change rows by hand");
    let status = daemon.wait_for("the verdict is drift", drill.plan.deadline, |status| status.verdict == "drift").await;
    assert!(status.blockers.iter().any(|blocker| blocker.to_string().contains("orders")), "{:?}", status.blockers);
    let found = "SELECT count(*) FROM driftless.finding WHERE ended_at IS NULL AND columns = '{shop.orders.customer}'";
    drill.migration.wait_for_number(found, drill.plan.deadline, drill.plan.each).await;
    let recorded = "SELECT sum(rows)::int8 FROM driftless.foreign_write WHERE operation = 'UPDATE'";
    assert_eq!(drill.migration.number(recorded).await, drill.plan.each);
    daemon.stop(0).await;
    drill.migration.finish().await;
}

//! Law 10, with two mappings at once: another mapping and other tables are filled and proven beside the running migration, and take its
//! place in one transaction. Neither side ever writes what belongs to the other, and readers of the tables never fail.

use std::{
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use mongodb::{
    Collection,
    bson::{Document, doc},
};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, daemon::Daemon, migration::Migration, stack::Stack, status::Status, wait};

const BEFORE_SCHEMA: &str =
    "CREATE SCHEMA app; CREATE TABLE app.orders (id uuid PRIMARY KEY, name text, total integer)";
const BEFORE: &str = "namespace = \"dns\"\n[collections.orders]\ntable = \"app.orders\"\nid = \"uuid5\"\n";
/// A column is renamed, another one is new, and a table is split off.
const AFTER_SCHEMA: &str = "CREATE TABLE app_v2.orders (id uuid PRIMARY KEY, title text, total integer, city text); \
    CREATE TABLE app_v2.items (order_id uuid REFERENCES app_v2.orders, place integer, sku text, PRIMARY KEY (order_id, place))";
const AFTER: &str = "namespace = \"dns\"\n[collections.orders]\ntable = \"app.orders\"\nid = \"uuid5\"\n\
    [collections.orders.columns]\ntitle = \"name\"\n\
    [collections.orders.children.items]\ntable = \"app.items\"\nparent = \"order_id\"\norder = \"place\"\n";
const ORDERS: i32 = 400;
const BEGIN: [&str; 3] = ["--execute", "--why", "roll out"];
const SWAP: [&str; 4] = ["--swap", "--execute", "--why", "roll out"];
/// Pace of the application.
const BETWEEN_WRITES: Duration = Duration::from_millis(4);

fn order(id: i32, total: i32) -> Document {
    let items: Vec<_> = (0..id % 4).map(|item| doc! { "sku": format!("{id}-{item}-{total}") }).collect();
    doc! { "_id": id, "name": format!("order {id}"), "total": total, "city": format!("city {}", total % 7), "items": items }
}

/// Updates, inserts and deletes orders until it is told to stop.
async fn write(orders: Collection<Document>, stop: CancellationToken) {
    let mut pace = tokio::time::interval(BETWEEN_WRITES);
    for round in 0.. {
        if stop.is_cancelled() {
            return;
        }
        pace.tick().await;
        let id = (round * 7) % (ORDERS + 50);
        match round % 5 {
            0 => orders.delete_one(doc! { "_id": id }).await.map(|_| ()),
            _ => orders.replace_one(doc! { "_id": id }, order(id, round)).upsert(true).await.map(|_| ()),
        }
        .expect("write an order");
    }
}

/// Reads the running table as the application does, until it is told to stop; no read may fail.
async fn read(client: Client, stop: CancellationToken) {
    let mut pace = tokio::time::interval(BETWEEN_WRITES);
    while !stop.is_cancelled() {
        pace.tick().await;
        client.query_one("SELECT count(*), sum(total) FROM app.orders", &[]).await.expect("read the orders");
    }
}

/// A replay into a schema with the mapping of a file.
struct Beside<'m> {
    migration: &'m Migration,
    schema: &'static str,
    file: PathBuf,
}

impl Beside<'_> {
    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let file = self.file.to_str().expect("a path of text");
        [&["replay", "--into", self.schema, "--mapping", file], more].concat()
    }

    async fn succeed(&self, more: &[&str]) -> String {
        self.migration.succeed(&self.arguments(more)).await
    }

    async fn refused(&self, more: &[&str], why: &str) {
        refused(self.migration.command(&self.arguments(more)).await, why);
    }

    /// Runs another command about it.
    async fn command(&self, arguments: &[&str]) -> Output {
        self.migration.command_into(self.schema, &self.file, arguments).await
    }

    fn daemon(&self) -> Daemon {
        self.migration.daemon_into(self.schema, &self.file)
    }

    /// Guards its tables and waits until it is proven.
    async fn proven(&self, daemon: &Daemon) {
        let guarded = self.command(&["guard", "install"]).await;
        assert!(guarded.status.success(), "{}", said(&guarded));
        in_sync(daemon).await;
    }

    /// Swaps as soon as the verdict is in sync; between two looks it may be a second old.
    async fn swap(&self, daemon: &Daemon) -> String {
        wait::until("the replay is swapped in", DEADLINE, async || {
            in_sync(daemon).await;
            let output = self.migration.command(&self.arguments(&SWAP)).await;
            if output.status.success() { Ok(said(&output)) } else { Err(said(&output)) }
        })
        .await
    }
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).join("")
}

fn refused(output: Output, why: &str) {
    let said = said(&output);
    assert!(!output.status.success() && said.contains(why), "not {why:?}: {} {said}", output.status);
}

async fn in_sync(daemon: &Daemon) {
    daemon.wait_for("both sides are in sync", DEADLINE, |status| status.verdict == "in_sync").await;
}

/// Waits until the sink has halted for that reason.
async fn halted(daemon: &Daemon, why: &str) {
    let halted = |status: &Status| {
        let sink = &status.process.roles["sink"];
        sink.phase == "halted" && sink.reason.as_ref().is_some_and(|reason| reason.contains(why))
    };
    daemon.wait_for("the sink halts", DEADLINE, halted).await;
}

/// The orders as the new tables should hold them, and as they do.
async fn equal(migration: &Migration) {
    let mut expected = Vec::new();
    let mut cursor = migration.collection("orders").find(doc! {}).await.expect("find orders");
    while cursor.advance().await.expect("read orders") {
        let found: Document = cursor.deserialize_current().expect("an order");
        let skus: Vec<&str> = found
            .get_array("items")
            .expect("items")
            .iter()
            .filter_map(|item| item.as_document()?.get_str("sku").ok())
            .collect();
        let text = |field: &str| found.get_str(field).expect("a text").to_owned();
        expected.push(format!(
            "{} {} {} {}",
            text("name"),
            found.get_i32("total").expect("a total"),
            text("city"),
            skus.join(",")
        ));
    }
    expected.sort();
    let sql = "SELECT concat_ws(' ', title, total, city, '') || \
               coalesce((SELECT string_agg(sku, ',' ORDER BY place) FROM app.items WHERE order_id = o.id), '') FROM app.orders AS o";
    let mut found: Vec<String> = migration.texts(sql).await.into_iter().flatten().collect();
    found.sort();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_mapping_is_filled_and_proven_beside_the_running_one_and_swapped_in() {
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), "into", BEFORE_SCHEMA, BEFORE).await;
    migration.set("sink", "catalog_interval", "500ms");
    // A swap gives up in half of that, and a reader looks for a deadlock after all of it.
    let deadlocks = format!("ALTER DATABASE {} SET deadlock_timeout = '200ms'", migration.name);
    migration.target.batch_execute(&deadlocks).await.expect("have deadlocks found early");
    let [before, after] =
        [("before.toml", BEFORE), ("after.toml", AFTER)].map(|(name, text)| migration.write_file(name, text));
    let into = Beside { migration: &migration, schema: "app_v2", file: after.clone() };
    let orders = migration.collection("orders");
    orders.insert_many((0..ORDERS).map(|id| order(id, 0))).await.expect("insert orders");
    into.refused(&["--execute", "--why", "too early"], "app_v2").await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    let (writing, reading) = (CancellationToken::new(), CancellationToken::new());
    let writer = tokio::spawn(write(migration.collection("orders"), writing.clone()));
    let reader = tokio::spawn(read(migration.connect().await, reading.clone()));

    begin(&into, &before).await;
    let sibling = fill(&into, &daemon).await;
    stand_in_the_way(&into).await;
    let told = swap_past_a_reader(&into, &sibling).await;
    assert!(told.contains("The proof goes on for 1 collection and the guard for 2 tables"), "{told}");
    let columns = "SELECT count(*) FROM information_schema.columns WHERE column_name = ";
    assert_eq!(migration.number(&format!("{columns} 'title' AND table_schema = 'app'")).await, 1);
    assert_eq!(migration.number(&format!("{columns} 'name' AND table_schema = 'app_before'")).await, 1);
    let recorded = "SELECT number FROM driftless.mapping AS m JOIN driftless.identity AS i ON i.id = m.migration \
                     WHERE i.beside IS NULL AND m.why = 'roll out'";
    assert_eq!(migration.number(recorded).await, 2);

    // A process with the old mapping, or of the replay, writes nothing any more. The daemon takes the new one up by itself.
    halted(&daemon, "that of the migration is another one").await;
    halted(&sibling, "there is none").await;
    let sibling_log = sibling.log();
    sibling.stop(3).await;
    std::fs::write(migration.mapping(), AFTER).expect("write the mapping");
    in_sync(&daemon).await;

    writing.cancel();
    writer.await.expect("the writer");
    migration.quiesce(&daemon, DEADLINE).await;
    in_sync(&daemon).await;
    equal(&migration).await;

    // The old tables are a replay themselves: they can be swapped back, or dropped.
    let back = Beside { schema: "app_before", file: before, ..into };
    refused(migration.command(&["uninstall", "--confirm", &migration.name]).await, "app_before");
    let sibling = back.daemon();
    back.proven(&sibling).await;
    let end = ["--drop", "--tables", "--execute", "--why", "done"];
    back.refused(&end, "stop its processes first").await;
    back.swap(&sibling).await;
    halted(&daemon, "that of the migration is another one").await;
    halted(&sibling, "that of the migration is another one").await;
    sibling.stop(3).await;
    std::fs::write(migration.mapping(), BEFORE).expect("write the mapping");
    in_sync(&daemon).await;
    assert_eq!(migration.number(recorded).await, 3);
    assert_eq!(migration.number(&format!("{columns} 'name' AND table_schema = 'app'")).await, 1);
    let dropped = Beside { file: after, ..back }.succeed(&end).await;
    assert!(dropped.contains("app_before.orders"), "{dropped}");
    assert_eq!(migration.number("SELECT count(*) FROM driftless.identity").await, 1);
    let left = "SELECT count(*) FROM information_schema.tables WHERE table_schema IN ('app_before', 'app_v2')";
    assert_eq!(migration.number(left).await, 0);
    in_sync(&daemon).await;

    reading.cancel();
    reader.await.expect("no read fails");
    for log in [daemon.log(), sibling_log] {
        assert!(!log.contains("40P01"), "a deadlock: {log}");
    }
    daemon.stop(0).await;
    migration.finish().await;
}

/// Nothing begins that does not fit, and a replay that was not begun is not known.
async fn begin(into: &Beside<'_>, other: &Path) {
    let migration = into.migration;
    Beside { migration, schema: "app", file: into.file.clone() }
        .refused(&[], "the mapping itself names the schema app")
        .await;
    into.refused(&[], "app_v2").await;
    into.refused(&["--swap"], "there is none").await;
    into.refused(&["--drop"], "there is none").await;
    let statements = said(&migration.command(&into.arguments(&["--create"])).await);
    assert!(statements.contains("CREATE SCHEMA IF NOT EXISTS \"app_v2\""), "{statements}");
    let tables = format!("CREATE SCHEMA app_v2; {AFTER_SCHEMA}");
    migration.target.batch_execute(&tables).await.expect("make the new tables");
    let orphan = into.daemon();
    halted(&orphan, "there is none").await;
    orphan.stop(3).await;

    let dry = into.succeed(&[]).await;
    assert!(dry.contains("app_v2.items, app_v2.orders") && dry.contains("Nothing was changed"), "{dry}");
    assert_eq!(migration.number("SELECT count(*) FROM driftless.identity").await, 1);
    into.succeed(&BEGIN).await;
    let again = into.succeed(&BEGIN).await;
    assert!(again.contains("begun before"), "{again}");
    // It keeps the mapping that it was begun with.
    let tables = "ALTER TABLE app_v2.orders ADD COLUMN name text";
    migration.target.batch_execute(tables).await.expect("have both mappings fit");
    let another = Beside { migration, schema: "app_v2", file: other.to_owned() };
    another.refused(&BEGIN, "another mapping is being replayed there").await;
    another.refused(&SWAP, "begun with another mapping").await;
    migration.target.batch_execute("ALTER TABLE app_v2.orders DROP COLUMN name").await.expect("take it back");
    let commands: [&[&str]; 5] = [
        &["mapping", "diff"],
        &["snapshot", "start", "orders"],
        &["repair"],
        &["uninstall"],
        &["run", "--role", "source"],
    ];
    for command in commands {
        refused(into.command(command).await, "takes what the running migration reads");
    }
}

/// It is filled while the running one goes on, and does not mind being killed.
async fn fill(into: &Beside<'_>, running: &Daemon) -> Daemon {
    let migration = into.migration;
    let sibling = into.daemon();
    wait::until("the first rows are there", DEADLINE, async || {
        let rows = migration.number("SELECT count(*) FROM app_v2.orders").await;
        wait::holds(rows > 0, rows)
    })
    .await;
    sibling.kill9().await;
    into.refused(&SWAP, "not proven to be in sync").await;
    let sibling = into.daemon();
    into.proven(&sibling).await;
    let now = running.status().await.expect("the running one answers");
    assert!(["source", "sink", "reconciler"].iter().all(|role| now.phase(role) == "running"), "{}", now.summary());
    in_sync(running).await;
    let status = said(&migration.command(&["status", "--daemon", &running.address()]).await);
    assert!(status.contains("replay into app_v2") && status.contains("roll out"), "{status}");
    sibling
}

/// A view would go on reading the old table, and a transaction holds it.
async fn stand_in_the_way(into: &Beside<'_>) {
    let migration = into.migration;
    let view = "CREATE VIEW public.totals AS SELECT total FROM app.orders";
    migration.target.batch_execute(view).await.expect("make a view");
    into.refused(&SWAP, "totals reads app.orders").await;
    migration.target.batch_execute("DROP VIEW public.totals").await.expect("drop the view");
    let dump = migration.connect().await;
    dump.batch_execute("SET application_name = 'a dump'; BEGIN; SELECT count(*) FROM app.orders").await.expect("read");
    into.refused(&[&SWAP[..], &["--force"]].concat(), "(a dump) has used \"app\".\"orders\"").await;
    dump.batch_execute("COMMIT").await.expect("end the read");
    assert_eq!(migration.number("SELECT count(*) FROM driftless.identity").await, 2);
}

/// Swaps while a transaction reads first a table that the swap locks late, and then one that it has locked.
async fn swap_past_a_reader(into: &Beside<'_>, sibling: &Daemon) -> String {
    let reader = into.migration.connect().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM app_v2.items").await.expect("read a new table");
    let (told, ()) = tokio::join!(into.swap(sibling), async {
        let waits = "SELECT count(*) FROM pg_locks WHERE relation = 'app_v2.items'::regclass AND NOT granted";
        into.migration.wait_for_number(waits, DEADLINE, 1).await;
        reader.batch_execute("SELECT count(*) FROM app.orders; COMMIT").await.expect("no reader is the victim");
    });
    told
}

//! Laws 3 and 6, for repairs: every damage is repaired through the log while the application writes, nothing newer is overwritten, and
//! a row that no document stands behind goes, once.

use mongodb::bson::{Document, doc, oid::ObjectId};
use rstest::rstest;
use serde_json::Value;

use crate::support::{
    DEADLINE,
    load::{Load, fill, organisation},
    migration::Migration,
    oracle::{self, root_id},
    random,
    status::Status,
    wait,
};

/// An organisation that the application never touches, and how its row or ledger entry is damaged.
struct Damage {
    name: &'static str,
    /// Whether its document is deleted before; row and entry of before are kept in `kept`.
    deleted: bool,
    /// Whether its document is changed after.
    changed: bool,
    /// `{id}` stands for the row's id, `{next}` for that of the next organisation, `{swapped}` for a column, `{entry}` for the condition on
    /// the entry.
    statements: &'static str,
    kind: &'static str,
}

const RESTORE: &str = "INSERT INTO app.organisations SELECT * FROM kept.organisations WHERE id = '{id}';";

const fn damage(name: &'static str, statements: &'static str, kind: &'static str) -> Damage {
    Damage { name, deleted: false, changed: false, statements, kind }
}

const DAMAGES: &[Damage] = &[
    damage("row missing", "DELETE FROM app.organisations WHERE id = '{id}'", "missing"),
    damage("rogue update", "UPDATE app.organisations SET name = 'rogue' WHERE id = '{id}'", "different"),
    damage(
        "two rows swapped",
        "UPDATE app.organisations AS a SET {swapped} = b.{swapped} || 'x' FROM app.organisations AS b
             WHERE (a.id = '{id}' AND b.id = '{next}') OR (a.id = '{next}' AND b.id = '{id}');
         UPDATE app.organisations SET {swapped} = left({swapped}, -1) WHERE id IN ('{id}', '{next}')",
        "different",
    ),
    damage("the other of them", "SELECT", "different"),
    Damage { deleted: true, ..damage("resurrected row", RESTORE, "extra") },
    Damage {
        deleted: true,
        ..damage(
            "lost delete",
            "INSERT INTO app.organisations SELECT * FROM kept.organisations WHERE id = '{id}';
             DELETE FROM driftless.ledger WHERE {entry};
             INSERT INTO driftless.ledger SELECT * FROM kept.ledger WHERE {entry}",
            "extra",
        )
    },
    Damage {
        changed: true,
        ..damage(
            "version of a later epoch",
            "UPDATE driftless.ledger SET version = decode(repeat('ff', 16), 'hex') WHERE {entry}",
            "version",
        )
    },
    Damage {
        changed: true,
        ..damage(
            "version an hour ahead",
            "UPDATE driftless.ledger
                SET version = substr(version, 1, 4) || int4send((upper_t + 3600)::int4) || substr(version, 9) WHERE {entry}",
            "version",
        )
    },
    damage("entry removed", "DELETE FROM driftless.ledger WHERE {entry}", "missing"),
    damage(
        "entry and row removed",
        "DELETE FROM driftless.ledger WHERE {entry}; DELETE FROM app.organisations WHERE id = '{id}'",
        "missing",
    ),
];

/// Damage to the children of plans, by the plan's row; the plans are the application's own.
const OF_PLANS: &[&str] = &[
    "DELETE FROM app.plan_milestones WHERE id = (SELECT min(id::text)::uuid FROM app.plan_milestones WHERE plan_id = '{id}')",
    "INSERT INTO app.plan_milestones (id, plan_id, position, name, due_on, done, weight)
         VALUES (gen_random_uuid(), '{id}', 99, 'Stray', now(), false, 1)",
    "UPDATE app.plan_milestones SET name = 'rogue' WHERE plan_id = '{id}'",
    "DELETE FROM app.plan_milestones WHERE plan_id = '{id}'; DELETE FROM driftless.ledger WHERE {entry}",
];

/// The condition on the ledger entry of a document with this ObjectId.
fn entry(collection: &str, id: ObjectId) -> String {
    let of = format!("SELECT id FROM driftless.collection WHERE name = '{collection}'");
    format!("collection = ({of}) AND position('\\x{}'::bytea IN key) > 0", id.to_hex())
}

async fn run(migration: &Migration, statements: &str) {
    migration.target.batch_execute(statements).await.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
}

/// Damages the organisations of [`DAMAGES`] and some plans; returns the arguments that name all of them.
async fn spoil(migration: &Migration, markers: &[ObjectId], swapped: &str) -> Vec<String> {
    run(migration, "SET session_replication_role = replica").await;
    let mut named = vec!["--collection=organisations".to_owned(), "--collection=plans".to_owned()];
    for (place, (damage, id)) in DAMAGES.iter().zip(markers).enumerate() {
        let next = markers[(place + 1) % markers.len()];
        let statements = damage.statements.replace("{id}", &root_id(&id.to_hex()).to_string());
        let statements =
            statements.replace("{next}", &root_id(&next.to_hex()).to_string()).replace("{swapped}", swapped);
        run(migration, &statements.replace("{entry}", &entry("organisations", *id))).await;
        named.push(format!("--id={id}"));
        if damage.changed {
            let raise = doc! { "$inc": { "employees": 1 } };
            migration.collection("organisations").update_one(doc! { "_id": id }, raise).await.expect("change it");
        }
    }
    let with_children = doc! { "milestones.1": { "$exists": true } };
    for statements in OF_PLANS {
        let not_yet = named.iter().filter_map(|named| ObjectId::parse_str(named.strip_prefix("--id=")?).ok());
        let filter = doc! { "$and": [with_children.clone(), { "_id": { "$nin": not_yet.collect::<Vec<_>>() } }] };
        let plan = migration.collection("plans").find_one(filter).await.expect("read a plan").expect("a plan");
        let id = plan.get_object_id("_id").expect("an ObjectId");
        let statements = statements.replace("{id}", &root_id(&id.to_hex()).to_string());
        run(migration, &statements.replace("{entry}", &entry("plans", id))).await;
        named.push(format!("--id={id}"));
    }
    run(migration, "SET session_replication_role = origin").await;
    named
}

/// Inserts the organisations, one for each damage, and deletes those of the documents that are to be deleted.
async fn markers(migration: &Migration, daemon: &crate::support::daemon::Daemon) -> Vec<ObjectId> {
    let organisations = migration.collection("organisations");
    let markers: Vec<ObjectId> = DAMAGES.iter().map(|_| ObjectId::new()).collect();
    let document = |id: &ObjectId| {
        let mut document = organisation(*id);
        document.insert("about", id.to_hex());
        document
    };
    let documents: Vec<Document> = markers.iter().map(document).collect();
    organisations.insert_many(documents).await.expect("insert organisations");
    migration.quiesce(daemon, DEADLINE).await;
    let keep = "CREATE SCHEMA kept; CREATE TABLE kept.organisations AS SELECT * FROM app.organisations;
        CREATE TABLE kept.ledger AS SELECT * FROM driftless.ledger";
    run(migration, keep).await;
    for (_, id) in DAMAGES.iter().zip(&markers).filter(|(damage, _)| damage.deleted) {
        organisations.delete_one(doc! { "_id": id }).await.expect("delete it");
    }
    migration.quiesce(daemon, DEADLINE).await;
    markers
}

/// Number of documents of the application.
async fn documents(migration: &Migration) -> u64 {
    let mut count = 0;
    for collection in ["users", "plans", "sections", "research_packs", "financial_models"] {
        count += migration.collection(collection).count_documents(doc! {}).await.expect("count documents");
    }
    count
}

fn json(output: &std::process::Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {complained}"))
}

async fn repair(migration: &Migration, arguments: &[String]) -> std::process::Output {
    let arguments: Vec<&str> = ["repair", "--json"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    migration.command(&arguments).await
}

#[rstest]
#[case::replica("replica")]
#[case::enforce("enforce")]
#[tokio::test(flavor = "multi_thread")]
async fn every_damage_is_repaired_through_the_log_while_writes_go_on(#[case] constraints: &str) {
    let (seed, _) = random("repair");
    let mut migration = Migration::demo(&format!("repair_{constraints}")).await;
    migration.set("sink", "constraints", constraints);
    if constraints == "enforce" {
        // They overwrite `updated_at` whenever a row is written.
        let triggers =
            ["organisations", "users", "plans", "sections"].map(|table| format!("DROP TRIGGER touch ON app.{table}"));
        run(&migration, &triggers.join(";")).await;
        // The application exchanges addresses between users. Unique values of rows that others reference cannot be exchanged while
        // references are checked.
        run(&migration, "ALTER TABLE app.users DROP CONSTRAINT users_email_key").await;
    }
    fill(&migration, seed, 300).await;
    let daemon = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&daemon, DEADLINE).await;
    // The application knows the documents that are there when it begins to write, and no others.
    let before = documents(&migration).await;
    let load = Load::start(&migration, seed, 20.0);
    wait::until("the application writes", DEADLINE, async || {
        wait::holds(documents(&migration).await != before, before)
    })
    .await;
    let markers = markers(&migration, &daemon).await;
    // Nor can slugs be exchanged then.
    let named = spoil(&migration, &markers, if constraints == "replica" { "slug" } else { "about" }).await;

    let output = repair(&migration, &named).await;
    let report = json(&output);
    assert_eq!((output.status.code(), &report["left"]), (Some(0), &serde_json::json!([])), "{report:#}");
    for value in ["Marker", "rogue", "Stray"] {
        assert!(!String::from_utf8_lossy(&output.stdout).contains(value), "a value is shown: {report:#}");
    }
    for (damage, id) in DAMAGES.iter().zip(&markers) {
        let found = format!(
            "SELECT kind || ' ' || ended_by FROM driftless.finding WHERE position('\\x{}'::bytea IN key) > 0",
            id.to_hex()
        );
        let expected = format!("{} repair", damage.kind);
        assert_eq!(migration.texts(&found).await, [Some(expected)], "{}: {report:#}", damage.name);
    }
    let without = "SELECT count(*) FROM driftless.finding AS f WHERE NOT EXISTS (SELECT FROM driftless.evidence WHERE finding = f.id)";
    assert_eq!(migration.number(without).await, 0, "both sides are kept");
    let public = "SELECT count(*) FROM information_schema.table_privileges
         WHERE table_schema = 'driftless' AND table_name = 'evidence' AND grantee = 'PUBLIC'";
    assert_eq!(migration.number(public).await, 0);
    load.end().await;
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;

    // Whatever was repaired changes again, and a replay brings the repairs back.
    let raise = doc! { "$inc": { "employees": 1 } };
    let these = doc! { "_id": { "$in": &markers } };
    migration.collection("organisations").update_many(these, raise).await.expect("change them");
    migration.quiesce(&daemon, DEADLINE).await;
    migration.replay("organisations").await;
    replayed(&migration).await;
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// Waits until everything is applied again.
async fn replayed(migration: &Migration) {
    let behind = "SELECT count(*) FROM driftless.position WHERE coalesce(next_offset, 0) < reread_to";
    migration.wait_for_number(behind, DEADLINE, 0).await;
}

/// Opens the finding of a row that no document stands behind.
async fn find_row(migration: &Migration, id: &str) {
    let find = format!(
        "INSERT INTO driftless.finding (collection, relation, row_key, kind, as_of_t, as_of_i, plan, found_by)
         SELECT id, 'app.organisations', '{{\"id\": \"{id}\"}}', 'extra', 1, 1, '\\x00', 'baseline'
           FROM driftless.collection WHERE name = 'organisations'"
    );
    run(migration, &find).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_no_document_is_removed_once_and_never_one_of_a_document() {
    let (seed, _) = random("stray_rows");
    let migration = Migration::demo("stray_rows").await;
    fill(&migration, seed, 100).await;
    let daemon = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&daemon, DEADLINE).await;
    let stray = "00000000-0000-4000-8000-000000000000";
    let insert = format!(
        "INSERT INTO app.organisations (id, name, slug, kind, employees, credit, created_at, updated_at)
         VALUES ('{stray}', 'Stray', 'stray', 'company', 1, 1.50, now(), now())"
    );
    run(&migration, &insert).await;
    find_row(&migration, stray).await;
    let count = format!("SELECT count(*) FROM app.organisations WHERE id = '{stray}'");

    let dry = migration.command(&["repair", "--dry-run"]).await;
    assert_eq!((dry.status.code(), migration.number(&count).await), (Some(0), 1));
    assert_eq!(migration.number("SELECT count(*) FROM driftless.repair").await, 0, "a dry run asks for nothing");

    let output = repair(&migration, &["--collection=organisations".to_owned()]).await;
    assert_eq!((output.status.code(), migration.number(&count).await), (Some(0), 0), "{:#}", json(&output));
    let ended = "SELECT ended_by FROM driftless.finding";
    assert_eq!(migration.texts(ended).await, [Some("repair".to_owned())]);
    let kept = "SELECT rows -> 'app.organisations' -> 0 ->> 'credit' FROM driftless.evidence";
    assert_eq!(migration.texts(kept).await, [Some("1.50".to_owned())], "its content is kept");

    // The record comes again, and the row that is there by now is another one.
    run(&migration, &insert).await;
    migration.replay("organisations").await;
    replayed(&migration).await;
    assert_eq!(migration.number(&count).await, 1, "a replay removes nothing");
    run(&migration, &format!("DELETE FROM app.organisations WHERE id = '{stray}'")).await;

    // A finding that is wrong: the row is a document's.
    let marker = ObjectId::new();
    migration.collection("organisations").insert_one(organisation(marker)).await.expect("insert it");
    migration.quiesce(&daemon, DEADLINE).await;
    find_row(&migration, &root_id(&marker.to_hex()).to_string()).await;
    let output = repair(&migration, &[]).await;
    let report = json(&output);
    assert_eq!((output.status.code(), &report["asked"]), (Some(0), &serde_json::json!(0)), "{report:#}");
    assert_eq!(migration.number("SELECT count(*) FROM driftless.finding WHERE ended_at IS NULL").await, 0);
    // A request for the removal of its row is refused, too.
    let request = "INSERT INTO driftless.repair (collection, relation, row_key, who, command)
        SELECT collection, relation, row_key, 'a test', 'repair' FROM driftless.finding WHERE ended_by = 'source'";
    run(&migration, request).await;
    let refused = "SELECT count(*) FROM driftless.repair WHERE refused = 'a document has the row by now'";
    migration.wait_for_number(refused, DEADLINE, 1).await;
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_findings_are_not_repaired_without_force_and_a_reason() {
    let (seed, _) = random("systematic");
    let migration = Migration::demo("systematic").await;
    fill(&migration, seed, 300).await;
    let daemon = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&daemon, DEADLINE).await;
    // As a replica, so that no trigger touches another column.
    run(&migration, "SET session_replication_role = replica; UPDATE app.users SET full_name = full_name || '!'").await;
    let mut named = vec!["--collection=users".to_owned()];
    let mut users = migration.collection("users").find(doc! {}).await.expect("read users");
    while users.advance().await.expect("read users") {
        let user = Document::try_from(users.current()).expect("a document");
        named.push(format!("--id={}", user.get_object_id("_id").expect("an ObjectId")));
    }
    let documents = named.len() - 1;
    assert!(documents > 20, "{documents} are too few to be systematic");

    let output = repair(&migration, &named).await;
    let report = json(&output);
    assert_eq!(output.status.code(), Some(4), "{report:#}");
    let common = report["systematic"][0]["common"].as_array().expect("what they have in common");
    let common: Vec<_> = common.iter().map(|common| (&common["what"], &common["value"])).collect();
    assert_eq!(
        common,
        [(&Value::from("column"), &Value::from("app.users.full_name")), (&"kind".into(), &"different".into())]
    );
    let open = "SELECT count(*) FROM driftless.finding WHERE ended_at IS NULL";
    assert_eq!(migration.number(open).await, i64::try_from(documents).expect("few"));
    assert_eq!(migration.number("SELECT count(*) FROM driftless.repair").await, 0);

    let force = ["--force".to_owned()];
    assert_eq!(repair(&migration, &force).await.status.code(), Some(2), "a reason is asked for");
    let force = ["--force".to_owned(), "--why=a drill".to_owned()];
    let output = repair(&migration, &force).await;
    assert_eq!(output.status.code(), Some(0), "{:#}", json(&output));
    assert_eq!(migration.number(open).await, 0);
    let why = "SELECT detail ->> 'why' FROM driftless.action WHERE command = 'repair'";
    assert_eq!(migration.texts(why).await, [Some("a drill".to_owned())]);
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// More differences than are kept as findings are drift until the last of them is repaired, in as many rounds as it takes.
#[tokio::test(flavor = "multi_thread")]
async fn more_differences_than_are_kept_are_repaired_in_rounds() {
    let (seed, _) = random("rounds");
    let mut migration = Migration::demo("rounds").await;
    migration.set("reconcile", "findings_kept", 20);
    migration.set("reconcile", "baseline_every", "1h");
    migration.set("reconcile", "fresh", "10m");
    fill(&migration, seed, 300).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    let in_sync = |status: &Status| status.verdict == "in_sync";
    daemon.wait_for("the verdict is in sync", DEADLINE, in_sync).await;
    run(&migration, "SET session_replication_role = replica; UPDATE app.users SET full_name = full_name || '!'").await;
    let users = migration.number("SELECT count(*) FROM app.users").await;
    assert!(users > 40, "{users} are too few for several rounds");
    let again = "UPDATE driftless.proof SET complete_began_at = complete_began_at - interval '2 h'";
    run(&migration, again).await;

    let left = async || migration.number("SELECT count(*) FROM app.users WHERE full_name LIKE '%!'").await;
    let open = "SELECT count(*) FROM driftless.finding WHERE ended_at IS NULL";
    let mut rounds = 0;
    while left().await > 0 {
        let before = left().await;
        wait::until("findings are kept", DEADLINE, async || {
            let found = migration.number(open).await;
            wait::holds(found == before.min(20), format!("{found} of {before}"))
        })
        .await;
        let all = format!("documents that drift: {before} (");
        let says = |status: &Status| {
            status.verdict == "drift" && status.blockers.iter().any(|told| told.to_string().contains(&all))
        };
        daemon.wait_for(&all, DEADLINE, says).await;
        let output = repair(&migration, &["--force".to_owned(), "--why=a drill".to_owned()]).await;
        assert_eq!(output.status.code(), Some(0), "{:#}", json(&output));
        assert!(left().await < before, "a round repairs something");
        rounds += 1;
    }
    assert_eq!(rounds, (users + 19) / 20);
    daemon.wait_for("the verdict is in sync", DEADLINE, in_sync).await;
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// Tables whose rows are found in every way: by the document's id in one of several tables, by remembered keys, in a shared table.
const SHAPES: &str = "
    CREATE SCHEMA a;
    CREATE TABLE a.logins (id integer PRIMARY KEY, ip text);
    CREATE TABLE a.orders (id integer PRIMARY KEY, total integer);
    CREATE TABLE a.lines (order_id integer REFERENCES a.orders, place integer, sku text, PRIMARY KEY (order_id, place));
    CREATE TABLE a.words (word text PRIMARY KEY, size integer);
    CREATE TABLE a.pets (id integer PRIMARY KEY, kind text, name text);
    CREATE TABLE a.members (id integer PRIMARY KEY, name text);";

const MAPPING: &str = r#"
    [collections.events]
    id = "integer"
    split = { by = "kind", unlisted = "ignore" }
    [collections.events.variants.login]
    table = "a.logins"
    [collections.events.variants.order]
    table = "a.orders"
    [collections.events.variants.order.children.lines]
    table = "a.lines"
    parent = "order_id"
    order = "place"
    [collections.words]
    table = "a.words"
    key = ["word"]
    columns.word = "word"
    [collections.cats]
    table = "a.pets"
    id = "integer"
    shared = true
    columns.kind = { constant = "cat" }
    [collections.dogs]
    table = "a.pets"
    id = "integer"
    shared = true
    columns.kind = { constant = "dog" }
    [collections.members]
    table = "a.members"
    id = "integer"
    filter = { path = "active", is = true }
"#;

/// Damage by collection and `_id`.
const SHAPED: &[(&str, i32, &str)] = &[
    ("events", 1, "INSERT INTO a.orders VALUES (1, 5)"),
    ("events", 2, "DELETE FROM a.orders WHERE id = 2; INSERT INTO a.logins VALUES (2, 'rogue')"),
    ("events", 4, "DELETE FROM a.lines WHERE order_id = 4 AND place = 0; INSERT INTO a.lines VALUES (4, 9, 'rogue')"),
    ("words", 1, "UPDATE a.words SET size = 9 WHERE word = 'one'; DELETE FROM driftless.owner"),
    ("words", 2, "DELETE FROM a.words WHERE word = 'two'"),
    ("words", 3, "UPDATE a.words SET word = 'rogue' WHERE word = 'three'; DELETE FROM driftless.ledger WHERE {entry}"),
    ("cats", 1, "UPDATE a.pets SET kind = 'rogue' WHERE id = 1"),
    ("dogs", 2, "DELETE FROM a.pets WHERE id = 2; DELETE FROM driftless.ledger WHERE {entry}"),
    ("members", 2, "INSERT INTO a.members VALUES (2, 'rogue')"),
];

async fn fill_shapes(migration: &Migration) {
    let lines = vec![doc! { "sku": "a" }, doc! { "sku": "b" }];
    let documents = [
        (
            "events",
            vec![
                doc! { "_id": 1, "kind": "login", "ip": "::1" },
                doc! { "_id": 2, "kind": "order", "total": 2, "lines": &lines },
                doc! { "_id": 3, "kind": "other" },
                doc! { "_id": 4, "kind": "order", "total": 4, "lines": &lines },
            ],
        ),
        (
            "words",
            ["one", "two", "three"]
                .iter()
                .zip(1..)
                .map(|(word, n)| doc! { "_id": n, "word": word, "size": n })
                .collect(),
        ),
        ("cats", vec![doc! { "_id": 1, "name": "Minka" }]),
        ("dogs", vec![doc! { "_id": 2, "name": "Rex" }]),
        (
            "members",
            vec![doc! { "_id": 1, "name": "Ann", "active": true }, doc! { "_id": 2, "name": "Bob", "active": false }],
        ),
    ];
    for (collection, documents) in documents {
        migration.collection(collection).insert_many(documents).await.expect("insert documents");
    }
}

/// Every row of every table.
async fn dump(migration: &Migration) -> Vec<Option<String>> {
    let tables = ["logins", "orders", "lines", "words", "pets", "members"];
    let each = tables.map(|table| format!("SELECT '{table} ' || t::text FROM a.{table} AS t"));
    migration.texts(&format!("{} ORDER BY 1", each.join(" UNION ALL "))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_found_in_any_way_are_repaired() {
    let stack = crate::support::stack::Stack::shared().await;
    let migration = Migration::new(stack, stack.mongo_uri(), "repair_shapes", SHAPES, MAPPING).await;
    fill_shapes(&migration).await;
    let daemon = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&daemon, DEADLINE).await;
    let before = dump(&migration).await;

    run(&migration, "SET session_replication_role = replica").await;
    for (collection, id, statements) in SHAPED {
        let of = format!("SELECT id FROM driftless.collection WHERE name = '{collection}'");
        // The key of a whole number ends in its bytes; there are few.
        let entry = format!(
            "collection = ({of}) AND key = (SELECT key FROM driftless.ledger WHERE collection = ({of})
            ORDER BY key OFFSET {id} - 1 LIMIT 1)"
        );
        let entry = if *collection == "dogs" { format!("collection = ({of})") } else { entry };
        run(&migration, &statements.replace("{entry}", &entry)).await;
    }
    assert_ne!(dump(&migration).await, before);
    for (collection, id, statements) in SHAPED {
        let output = repair(&migration, &[format!("--collection={collection}"), format!("--id={id}")]).await;
        let report = json(&output);
        assert_eq!((output.status.code(), &report["repaired"]), (Some(0), &1.into()), "{statements}: {report:#}");
    }
    // The row of no document is left, and goes by its key.
    let find = "INSERT INTO driftless.finding (collection, relation, row_key, kind, as_of_t, as_of_i, plan, found_by)
        SELECT id, 'a.words', '{\"word\": \"rogue\"}', 'extra', 1, 1, '\\x00', 'baseline' FROM driftless.collection WHERE name = 'words'";
    run(&migration, find).await;
    assert_eq!(repair(&migration, &[]).await.status.code(), Some(0));
    assert_eq!(dump(&migration).await, before);
    migration.succeed(&["reconcile", "--full"]).await;

    // Both sides of a document, without a value and with all of them.
    run(&migration, "UPDATE a.members SET name = 'rogue' WHERE id = 1").await;
    let shown = migration.command(&["diff", "--collection", "members", "--id", "1"]).await;
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.code() == Some(4) && text.contains("a.members.name"), "{text}");
    assert!(!text.contains("rogue") && !text.contains("Ann"), "a value is shown: {text}");
    let shown = migration.command(&["diff", "--collection", "members", "--id", "1", "--reveal", "--json"]).await;
    let report = json(&shown);
    let column = &report[0]["rows"][0]["columns"][1];
    assert_eq!((&column["expected"], &column["found"]), (&"Ann".into(), &"rogue".into()), "{report:#}");
    migration.succeed(&["diff", "--collection", "events", "--id", "4"]).await;
    daemon.stop(0).await;
    migration.finish().await;
}

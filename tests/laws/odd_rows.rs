//! Law 9: a row has one name. Whoever meets it – a walk, the guard, a repair, the look at foreign keys – names its table and its key
//! in the same form, whatever they are called and whatever the type of the key.

use mongodb::bson::{Binary, DateTime, Decimal128, Document, doc, spec::BinarySubtype};
use serde_json::Value;

use crate::support::{DEADLINE, migration::Migration, stack::Stack};

const SCHEMA: &str = r#"
CREATE SCHEMA app;
CREATE TABLE app."Users" ("Id" uuid PRIMARY KEY, note text);
CREATE TABLE app."Orders" (n integer PRIMARY KEY, user_id uuid CONSTRAINT "Buyer" REFERENCES app."Users");
CREATE TABLE app."by.instant" (at timestamptz PRIMARY KEY, note text);
CREATE TABLE app."by ""day""" (day date PRIMARY KEY, note text);
CREATE TABLE app.amounts (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount numeric NOT NULL UNIQUE, note text);
CREATE TABLE app.digests (digest bytea PRIMARY KEY, note text);
CREATE TABLE app.ratios (ratio float8 PRIMARY KEY, note text);
CREATE TABLE app.spans ("Span" interval PRIMARY KEY, note text);"#;

const MAPPING: &str = r#"
namespace = "dns"
[collections.users]
table = "app.Users"
id = "uuid5"
[collections.instants]
table = 'app."by.instant"'
columns.at = "at"
[collections.days]
table = 'app."by ""day"""'
columns.day = "day"
[collections.amounts]
table = "app.amounts"
key = ["amount"]
columns.amount = "amount"
ignore = ["id"]
[collections.digests]
table = "app.digests"
columns.digest = "digest"
[collections.ratios]
table = "app.ratios"
columns.ratio = "ratio"
[collections.spans]
table = "app.spans"
columns.Span = "span"
"#;

/// A table as SQL, its label, the key of a row that no document has, as SQL, and the same as the target prints it.
const STRAYS: [(&str, &str, &str, &str, &str); 7] = [
    (
        r#"app."Users""#,
        "app.Users",
        r#""Id""#,
        "'0A000000-0000-0000-0000-00000000000B'",
        "0a000000-0000-0000-0000-00000000000b",
    ),
    (
        r#"app."by.instant""#,
        r#"app."by.instant""#,
        "at",
        "'2026-03-01 12:00:00.123456+02'",
        "2026-03-01 10:00:00.123456+00",
    ),
    (r#"app."by ""day""""#, r#"app."by ""day""""#, "day", "'2026-03-01'", "2026-03-01"),
    ("app.amounts", "app.amounts", "amount", "1.10", "1.10"),
    ("app.digests", "app.digests", "digest", r"'\x005cff'", r"\x005cff"),
    ("app.ratios", "app.ratios", "ratio", "0.1::float8 + 0.2", "0.30000000000000004"),
    ("app.spans", "app.spans", r#""Span""#, "'1 year 2 mons 3 days -04:05:06.7'", "1 year 2 mons 3 days -04:05:06.7"),
];

/// A session that prints everything otherwise than ours does.
const OTHER_FORMS: &str = "SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; \
     SET bytea_output = 'escape'; SET extra_float_digits = 0";

async fn insert(migration: &Migration) {
    let day = DateTime::parse_rfc3339_str("2026-01-01T00:00:00Z").expect("a date");
    let amount: Decimal128 = "12.50".parse().expect("a decimal");
    let digest = Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 1, 2] };
    let documents: [(&str, Document); 7] = [
        ("users", doc! { "_id": 1 }),
        ("instants", doc! { "_id": 1, "at": day }),
        ("days", doc! { "_id": 1, "day": day }),
        ("amounts", doc! { "_id": 1, "amount": amount }),
        ("digests", doc! { "_id": 1, "digest": digest }),
        ("ratios", doc! { "_id": 1, "ratio": 0.7 }),
        ("spans", doc! { "_id": 1, "span": "P1Y2M" }),
    ];
    for (collection, mut document) in documents {
        document.insert("note", "n");
        migration.collection(collection).insert_one(document).await.expect("insert a document");
    }
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_has_one_name() {
    let stack = Stack::shared().await;
    let migration = Migration::new(stack, stack.mongo_uri(), "odd_rows", SCHEMA, MAPPING).await;
    insert(&migration).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    migration.succeed(&["reconcile", "--full"]).await;
    let named = async |query: &str| {
        let names = migration.texts(query).await.into_iter().map(|name| name.expect("a name")).collect();
        sorted(names)
    };

    // A walk meets the rows.
    let strays = STRAYS
        .iter()
        .map(|(table, _, column, key, _)| format!("INSERT INTO {table} ({column}, note) VALUES ({key}, 'stray');"));
    migration.target.batch_execute(&strays.collect::<String>()).await.expect("insert rows of nobody");
    let walked = migration.command(&["reconcile", "--full"]).await;
    assert_eq!(walked.status.code(), Some(4), "{}", String::from_utf8_lossy(&walked.stdout));
    let rows = "SELECT relation || ' ' || (SELECT string_agg(key || ' ' || value, ', ') FROM jsonb_each_text(row_key)) \
                  FROM driftless.finding";
    let wanted = STRAYS.iter().map(|(_, label, column, _, key)| format!("{label} {} {key}", column.trim_matches('"')));
    let wanted = sorted(wanted.collect());
    assert_eq!(named(rows).await, wanted);

    // The guard meets them: the same findings are confirmed.
    migration.succeed(&["guard", "install"]).await;
    let seen = STRAYS.iter().map(|(table, ..)| format!("UPDATE {table} SET note = 'seen' WHERE note = 'stray';"));
    let writer = migration.connect().await;
    writer.batch_execute(OTHER_FORMS).await.expect("set the session");
    writer.batch_execute(&seen.collect::<String>()).await.expect("update the rows");
    let judged = "SELECT count(*) FROM driftless.foreign_write WHERE judged_at IS NOT NULL";
    migration.wait_for_number(judged, DEADLINE, 7).await;
    let labels = sorted(STRAYS.iter().map(|(_, label, ..)| (*label).to_owned()).collect());
    assert_eq!(named("SELECT relation FROM driftless.foreign_write").await, labels);
    assert_eq!(named(rows).await, wanted, "no row is found under another name");
    let confirmed = "SELECT count(*) FROM driftless.finding AS f JOIN driftless.foreign_write AS w USING (relation) \
                      WHERE f.confirmed_at > w.at";
    assert_eq!(migration.number(confirmed).await, 7);

    // The look at foreign keys names tables like everybody else.
    let dangling = r#"SET session_replication_role = replica;
        INSERT INTO app."Orders" VALUES (1, '0a000000-0000-0000-0000-00000000000c'); RESET session_replication_role"#;
    migration.target.batch_execute(dangling).await.expect("insert a row without its parent");
    let looked = migration.command(&["integrity", "--json"]).await;
    let looked: Value = serde_json::from_slice(&looked.stdout).expect("JSON");
    let orphan = &looked["orphans"][0];
    assert_eq!((&orphan["relation"], &orphan["parent"]), (&"app.Orders".into(), &"app.Users".into()), "{looked}");
    assert_eq!(named("SELECT relation || ' ' || parent FROM driftless.integrity").await, ["app.Orders app.Users"]);
    let shown = migration.succeed(&["diff", "--collection", "days", "--id", "1", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown[0]["rows"][0]["table"], r#"app."by ""day""""#, "{shown}");

    // A repair finds them by these names.
    migration.succeed(&["repair"]).await;
    for (table, ..) in STRAYS {
        assert_eq!(migration.number(&format!("SELECT count(*) FROM {table}")).await, 1, "{table}");
    }
    assert_eq!(named(rows).await, wanted);
    assert_eq!(migration.number("SELECT count(*) FROM driftless.finding WHERE ended_by = 'repair'").await, 7);
    daemon.stop(0).await;
    migration.finish().await;
}

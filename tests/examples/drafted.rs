//! `analyze` and `init` on data that no mapping was written for: the documents of every example, the demo's, and documents of odd
//! shapes, all in one database. The drafted project is used as it is: every document must become rows, and both sides must be equal,
//! also after further writes.

use std::time::Duration;

use driftless_demo::{Generator, load};
use driftless_testing::{DEADLINE, migration::Migration, random, stack::Stack};
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc, oid::ObjectId,
    spec::BinarySubtype,
};

use crate::{business_plans, crm, harness::Kind, learning, planning, skills_platform, writes::Writes};

/// Documents that are changed once both sides are equal.
const WRITES: u64 = 5_000;
/// Documents of the demo.
const DEMO: u64 = 600;
/// There are about 90 collections, each with a topic and a snapshot of its own.
const LONG: Duration = DEADLINE.saturating_mul(3);

#[tokio::test(flavor = "multi_thread")]
async fn what_init_drafts_needs_no_edit() {
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), "drafted", "", "").await;
    migration.set("log", "partitions", 1);
    // The commands compare; passes beside them would only cost time.
    migration.set("reconcile", "baseline_every", "6h");
    load(&migration.source, &Generator::new(7, DEMO), |_| {}).await.expect("load the demo");
    let examples: [(&str, &[Kind]); 5] = [
        ("b", business_plans::KINDS),
        ("c", crm::KINDS),
        ("l", learning::KINDS),
        ("p", planning::KINDS),
        ("s", skills_platform::KINDS),
    ];
    for (prefix, kinds) in examples {
        for kind in kinds {
            let documents: Vec<_> = (0..kind.documents).map(|index| kind.document(index, 0)).collect();
            let collection = migration.collection(&format!("{prefix}_{}", kind.name));
            collection.insert_many(&documents).await.expect("fill the source");
        }
    }
    odd_collections(&migration).await;

    // The analysis is a file for `init`, and a page for people. Of values, logs have none.
    let folder = migration.mapping().with_file_name("project");
    let (page, analysis) = (folder.with_extension("html"), folder.with_extension("json"));
    let output = migration.command(&["analyze", "--all", "--json", "--html", path(&page)]).await;
    let logged = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{logged}");
    assert!(!logged.contains("secret value"), "{logged}");
    std::fs::write(&analysis, &output.stdout).expect("keep the analysis");
    let page = std::fs::read_to_string(page).expect("the page");
    assert!(page.contains("&lt;b&gt;bold&lt;/b&gt;") && !page.contains("<b>bold") && !page.contains("<script"));
    let init = ["init", "--yes", "--to", path(&folder), "--from-analysis", path(&analysis)];
    migration.succeed(&init).await;
    let refused = migration.command(&init).await;
    assert!(!refused.status.success(), "nothing is overwritten");

    migration.succeed(&["schema", "apply", "--file", path(&folder.join("schema.sql"))]).await;
    std::fs::copy(folder.join("mapping.toml"), migration.mapping()).expect("take the mapping over");
    migration.succeed(&["check", "--all"]).await;

    let daemon = migration.daemon();
    migration.quiesce(&daemon, LONG).await;
    nothing_is_refused(&migration).await;
    let (_, rng) = random("what_init_drafts_needs_no_edit");
    Writes { source: migration.source.clone(), rng }.write(WRITES).await;
    migration.quiesce(&daemon, LONG).await;
    nothing_is_refused(&migration).await;
    agree(&migration).await;

    // Some decisions that a person would look for.
    let columns = "SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position) FROM information_schema.columns
        WHERE table_schema = 'app' AND table_name = ";
    for (table, expected) in [
        (
            "odd_numbers",
            "id bigint, big bigint, far double precision, mixed numeric, money numeric, ratio double precision, small integer, text_or_number text, extra jsonb",
        ),
        ("odd_lists_lines", "id uuid, odd_list_id bigint, position integer, sku text, extra jsonb"),
        ("odd_lists_lines_parts", "odd_lists_line_id uuid, position integer, n integer, extra jsonb"),
        ("odd_lists_owners", "odd_list_id bigint, position integer, odd_owner_id uuid"),
    ] {
        assert_eq!(migration.texts(&format!("{columns}'{table}'")).await, [Some(expected.to_owned())], "{table}");
    }
    let foreign =
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'app.odd_lists_owners'::regclass";
    assert_eq!(migration.number(foreign).await, 2, "to the list and to the owner");
    daemon.stop(0).await;
    migration.finish().await;
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().expect("a path of text")
}

async fn nothing_is_refused(migration: &Migration) {
    let dead =
        "SELECT concat_ws(' ', collection, reason, detail) FROM driftless.dead_letter WHERE state = 'open' LIMIT 20";
    assert_eq!(migration.texts(dead).await, [] as [Option<String>; 0]);
}

/// Both sides are equal. Some collections at a time: each of many takes its moment.
async fn agree(migration: &Migration) {
    const AT_ONCE: usize = 4;
    let names = migration.source.list_collection_names().await.expect("the collections");
    for names in names.chunks(AT_ONCE) {
        let mut arguments = vec!["reconcile", "--full"];
        names.iter().for_each(|name| arguments.extend(["--collection", name]));
        let output = migration.command(&arguments).await;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(output.status.code(), Some(0), "{} {}", said[0], said[1]);
    }
}

/// Collections whose documents have every odd shape.
async fn odd_collections(migration: &Migration) {
    let fill = async |name: &str, documents: Vec<Document>| {
        migration.collection(name).insert_many(documents).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    };
    let decimal = |text: &str| Bson::Decimal128(text.parse::<Decimal128>().expect("a decimal"));
    let owners: Vec<ObjectId> = (1..9).map(|at| ObjectId::from_bytes([at; 12])).collect();
    fill("odd_owners", owners.iter().map(|id| doc! { "_id": id, "name": "secret value" }).collect()).await;
    fill("odd_numbers", numbers(&decimal)).await;
    fill(
        "odd_mixed",
        vec![
            doc! { "_id": 1, "v": 1, "w": true, "x": "a", "y": { "z": 1 }, "when": DateTime::MAX, "deep": { "a": { "b": { "c": { "d": 1 } } } } },
            doc! { "_id": 2, "v": "one", "w": "yes", "x": Bson::Null, "y": "text", "when": DateTime::MIN, "deep": { "a": Bson::Null } },
            doc! { "_id": 3, "v": ObjectId::new(), "w": DateTime::now(), "y": ["list"], "nothing": Bson::Null, "when": DateTime::now(), "deep": Bson::Null },
        ],
    )
    .await;
    fill(
        "odd_texts",
        vec![
            doc! { "_id": "a", "nul": "before\0after", "long": "x".repeat(20_000), "html": "<b>bold</b>", "status": "open" },
            doc! { "_id": "B", "nul": "plain", "long": "", "html": "<b>bold</b>", "status": "it's \"done\"\n; DROP TABLE x; --" },
            doc! { "_id": "507f1f77bcf86cd799439011", "nul": "", "long": " ", "html": "<b>bold</b>", "status": "open" },
        ],
    )
    .await;
    fill(
        "odd_maps",
        (0..30)
            .map(|at| {
                let key = format!("k{at}");
                doc! { "_id": at, "byDay": { "2025-03-01": at, "2025-03-02": { "n": at } }, "by_key": { key: { "n": at } }, "empty": {} }
            })
            .collect(),
    )
    .await;
    fill("odd_lists", lists(&owners)).await;
    fill("odd names.x", vec![names()]).await;
    fill("OddNames X", vec![names()]).await;
    fill("odd_names_x", vec![names()]).await;
    fill("odd_ids", ids()).await;
    fill(
        "odd_uuids",
        (0..3).map(|at| doc! { "_id": uuid(at), "ref": uuid(at), "raw": binary(at), "old": old_uuid(at) }).collect(),
    )
    .await;
    fill(
        "odd_types",
        vec![
            doc! { "_id": ObjectId::new(), "regex": Regex { pattern: cstr("a+".to_owned()), options: cstr("i".to_owned()) }, "code": Bson::JavaScriptCode("f()".to_owned()),
                "scope": Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code: "g()".to_owned(), scope: doc! { "a": 1 } }),
                "symbol": Bson::Symbol("s".to_owned()), "at": Bson::Timestamp(Timestamp { time: u32::MAX, increment: 1 }), "low": Bson::MinKey, "undefined": Bson::Undefined },
            doc! { "_id": ObjectId::new(), "regex": "text", "low": Bson::MaxKey },
        ],
    )
    .await;
    migration.source.create_collection("odd_empty").await.expect("an empty collection");
    let wide = (0..500).map(|at| (format!("field{at}"), Bson::from(at))).collect::<Document>();
    fill("odd_wide", vec![wide]).await;
}

fn cstr(text: String) -> mongodb::bson::raw::CString {
    text.try_into().expect("no NUL")
}

fn numbers(decimal: &dyn Fn(&str) -> Bson) -> Vec<Document> {
    vec![
        doc! { "_id": 1, "small": 1, "big": i64::MAX, "ratio": 0.1, "mixed": 1, "far": f64::MAX, "money": decimal("12.30"), "textOrNumber": 7 },
        doc! { "_id": 2_i64, "small": -5, "big": 1, "ratio": f64::NAN, "mixed": 0.5, "far": 1_i64, "money": decimal("1E+40"), "textOrNumber": "07" },
        doc! { "_id": 3.0, "small": 0, "big": i64::MIN, "ratio": f64::INFINITY, "mixed": i64::MAX, "far": 5e-324, "money": decimal("NaN"), "textOrNumber": 0.25 },
        doc! { "_id": decimal("4"), "small": 2, "big": 3, "ratio": -1.0, "mixed": decimal("0.1"), "far": -1e300, "money": decimal("Infinity"), "textOrNumber": "x" },
    ]
}

fn lists(owners: &[ObjectId]) -> Vec<Document> {
    (0..6_i32)
        .map(|at| {
            let owners: Vec<ObjectId> = owners.iter().take(at as usize).copied().collect();
            doc! {
                "_id": at, "tags": ["a", Bson::Null, "b\\\"{}"], "numbers": [1, 2.5], "any": [1, "x", { "y": 1 }], "grid": [[1, 2], [3]],
                "lines": [{ "sku": "s", "parts": [{ "n": 1 }, { "n": at }] }, { "sku": Bson::Null, "parts": [] }, {}],
                "owners": owners, "holes": [{ "a": 1 }, Bson::Null], "none": [], "late": if at == 5 { Bson::from(doc! { "a": [1] }) } else { Bson::Null },
            }
        })
        .collect()
}

/// Names that a path, an identifier or a statement could trip over.
fn names() -> Document {
    let long = "n".repeat(70);
    let mut document = doc! { "_id": ObjectId::new() };
    for (at, name) in [
        "",
        "a.b",
        "$set",
        "x[0]",
        "user",
        "USER",
        "User",
        "select",
        "\"quoted\"",
        "'; --",
        "two\nlines",
        "\u{1}",
        "^up",
        "back\\slash",
        "xmin",
        "id",
        "Id",
        "extra",
        "ä ö",
        "2nd",
        "createdAt",
        "created_at",
    ]
    .into_iter()
    .enumerate()
    {
        document.insert(name, at as i32);
    }
    document.insert(format!("{long}1"), 1);
    document.insert(format!("{long}2"), 2);
    document.insert("inside", doc! { "a.b": 1, "$ref": "x", "": 2, "ID": 3 });
    document.insert("rows", vec![doc! { "_id": ObjectId::new(), "id": 1, "position": 2, "user": 3, "$": 4 }]);
    document
}

/// An `_id` of every type, for which no rule makes a key.
fn ids() -> Vec<Document> {
    let ids: Vec<Bson> = vec![
        1.into(),
        2.5.into(),
        "text".into(),
        ObjectId::new().into(),
        uuid(1),
        DateTime::from_millis(5).into(),
        true.into(),
        doc! { "a": 1, "b": { "c": [1, 2] } }.into(),
        Bson::Null,
        Bson::MinKey,
        Bson::MaxKey,
        Bson::Timestamp(Timestamp { time: 1, increment: 2 }),
    ];
    ids.into_iter().map(|id| doc! { "_id": id, "list": [{ "a": 1 }], "tags": ["x"] }).collect()
}

fn uuid(at: u8) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![at; 16] })
}

fn old_uuid(at: u8) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::UuidOld, bytes: vec![at; 16] })
}

fn binary(at: u8) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![at; 3] })
}

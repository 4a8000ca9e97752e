//! Law 5: nothing vanishes. A snapshot that walks `_id` ranges skips no type: a document with any `_id` that MongoDB accepts
//! becomes a row or a dead letter. The same holds for the stream.

use std::collections::BTreeSet;

use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document, Timestamp, doc, oid::ObjectId, spec::BinarySubtype};

use crate::support::{DEADLINE, migration::Migration, stack::Stack};

const SCHEMA: &str = "CREATE TABLE things (id uuid PRIMARY KEY, label text NOT NULL, number bigint);";
const MAPPING: &str = r#"
namespace = "dns"
[collections.things]
id = "uuid5"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn odd_ids_become_rows_or_dead_letters() {
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), "odd_ids", SCHEMA, MAPPING).await;
    // Chunks of two documents, so that chunks end inside and between the types.
    migration.set("source", "chunk_documents", 2);
    let things = migration.collection("things");
    let before: Vec<_> =
        ids(1).into_iter().map(|(name, id)| doc! { "_id": id, "label": format!("before {name}") }).collect();
    things.insert_many(&before).await.expect("insert what the snapshot reads");
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    all_are_somewhere(&migration, &before).await;

    let after: Vec<_> =
        ids(2).into_iter().map(|(name, id)| doc! { "_id": id, "label": format!("after {name}") }).collect();
    things.insert_many(&after).await.expect("insert what the stream reads");
    // Updates are looked up by `_id`, whatever its type.
    things.update_many(doc! {}, doc! { "$set": { "number": 7_i64 } }).await.expect("update all");
    migration.quiesce(&daemon, DEADLINE).await;
    let all: Vec<_> = before.iter().chain(&after).cloned().collect();
    all_are_somewhere(&migration, &all).await;
    assert_eq!(migration.number("SELECT count(*) FROM things WHERE number IS DISTINCT FROM 7").await, 0);

    things.delete_many(doc! {}).await.expect("delete all");
    let status = migration.quiesce(&daemon, DEADLINE).await;
    assert_eq!(migration.number("SELECT count(*) FROM things").await, 0);
    assert_eq!(status.dead_letters(), 0, "a deleted document is no dead letter any more: {}", status.summary());
    daemon.stop(0).await;
    migration.finish().await;
}

/// Returns ids of every type that MongoDB accepts; two rounds give at least two of each type.
fn ids(round: u8) -> Vec<(String, Bson)> {
    let n = i32::from(round);
    let binary = |subtype| Bson::Binary(Binary { subtype, bytes: vec![round; 16] });
    let mut ids = vec![
        ("text".to_owned(), format!("text {n}").into()),
        ("int32".to_owned(), Bson::Int32(10 + n)),
        ("int64".to_owned(), Bson::Int64((1 << 53) + i64::from(n))),
        ("double".to_owned(), Bson::Double(f64::from(n) + 0.5)),
        ("decimal".to_owned(), format!("{n}.25").parse::<Decimal128>().expect("a decimal").into()),
        ("uuid".to_owned(), binary(BinarySubtype::Uuid)),
        ("old uuid".to_owned(), binary(BinarySubtype::UuidOld)),
        ("binary".to_owned(), binary(BinarySubtype::Generic)),
        ("date".to_owned(), DateTime::from_millis(i64::from(n)).into()),
        ("timestamp".to_owned(), Bson::Timestamp(Timestamp { time: u32::from(round), increment: u32::MAX })),
        ("document".to_owned(), doc! { "a": n, "b": { "c": [1, 2] } }.into()),
        ("boolean".to_owned(), Bson::Boolean(round == 1)),
        ("empty text".to_owned(), "  ".repeat(n as usize - 1).into()),
    ];
    ids.extend((0..5).map(|count| (format!("object id {count}"), ObjectId::new().into())));
    if round == 1 {
        ids.extend([
            ("null".to_owned(), Bson::Null),
            ("min key".to_owned(), Bson::MinKey),
            ("max key".to_owned(), Bson::MaxKey),
        ]);
    }
    ids
}

/// Checks that each document has exactly one place: its row or an open dead letter.
async fn all_are_somewhere(migration: &Migration, documents: &[Document]) {
    let expected: BTreeSet<String> =
        documents.iter().map(|one| one.get_str("label").expect("a label").to_owned()).collect();
    let rows: BTreeSet<String> = migration.texts("SELECT label FROM things").await.into_iter().flatten().collect();
    let letters = "SELECT value FROM driftless.dead_letter WHERE state = 'open'";
    let letters = migration.target.query(letters, &[]).await.expect("read the dead letters");
    let label = |row: &tokio_postgres::Row| {
        let envelope: serde_json::Value = serde_json::from_slice(row.get(0)).expect("the value is the record's JSON");
        let document: Document =
            serde_json::from_str(envelope["after"].as_str().expect("`after`")).expect("Extended JSON");
        document.get_str("label").expect("a label").to_owned()
    };
    let dead: BTreeSet<String> = letters.iter().map(label).collect();
    eprintln!("odd_ids: {} rows, {} dead letters: {dead:?}", rows.len(), dead.len());
    assert!(rows.is_disjoint(&dead), "a document is a row and a dead letter");
    assert_eq!(rows.union(&dead).cloned().collect::<BTreeSet<_>>(), expected);
    assert!(rows.iter().any(|label| label.contains("object id")) && rows.iter().any(|label| label.contains("int32")));
}

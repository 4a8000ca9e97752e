//! Reads at one cluster time, and collections that cannot be followed.

use std::collections::BTreeSet;

use bson::{
    Document, doc,
    raw::{RawBson, RawDocumentBuf},
    rawdoc,
};
use driftless::{
    model::{ClusterTime, Key},
    retry::{Class, Classify},
    source::{Chunk, CollectionKind, Error, Limits, ReadTime},
};
use mongodb::Database;

use super::Shop;

/// Returns `_id`s of every type that MongoDB accepts, several of some types.
pub(super) fn ids() -> Vec<RawDocumentBuf> {
    // `{_id: "\xff\xfe"}`: MongoDB stores text that is not UTF-8.
    let invalid = [&17i32.to_le_bytes()[..], b"\x02_id\0", &3i32.to_le_bytes(), b"\xff\xfe\0", &[0]].concat();
    let decimal: bson::Decimal128 = "1E+300".parse().expect("the server answers");
    vec![
        rawdoc! { "_id": RawBson::MinKey },
        rawdoc! { "_id": RawBson::Null },
        rawdoc! { "_id": f64::NAN },
        rawdoc! { "_id": -1.5 },
        rawdoc! { "_id": 1 },
        rawdoc! { "_id": 2i64 },
        rawdoc! { "_id": decimal },
        rawdoc! { "_id": "" },
        rawdoc! { "_id": "a" },
        rawdoc! { "_id": "b" },
        RawDocumentBuf::from_bytes(invalid).expect("the server answers"),
        rawdoc! { "_id": {} },
        rawdoc! { "_id": { "a": 1, "b": "x" } },
        rawdoc! { "_id": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] } },
        rawdoc! { "_id": bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![1; 16] } },
        rawdoc! { "_id": bson::oid::ObjectId::from_bytes([7; 12]) },
        rawdoc! { "_id": false },
        rawdoc! { "_id": true },
        rawdoc! { "_id": bson::DateTime::from_millis(-1) },
        rawdoc! { "_id": bson::Timestamp { time: 1, increment: 1 } },
        rawdoc! { "_id": RawBson::MaxKey },
    ]
}

/// Inserts bytes as they are.
pub(super) async fn insert_raw(database: &Database, collection: &str, documents: &[RawDocumentBuf]) {
    let mut array = bson::RawArrayBuf::new();
    documents.iter().for_each(|document| array.push(document.clone()));
    let reply = database
        .run_raw_command(rawdoc! { "insert": collection, "documents": array })
        .await
        .expect("the server answers");
    assert_eq!(reply.get_i32("n").expect("the server answers") as usize, documents.len(), "{reply}");
}

#[tokio::test]
async fn chunks_walk_across_types() {
    let shop = Shop::open("chunks").await;
    let clustered = doc! { "key": { "_id": 1 }, "unique": true };
    shop.database
        .run_command(doc! { "create": "clustered", "clusteredIndex": clustered })
        .await
        .expect("the server answers");
    for collection in ["plain", "clustered"] {
        insert_raw(&shop.database, collection, &ids()).await;
        let reader = shop.source.reader();
        for documents in [1, 2, 5, 20, 21, 100] {
            let limits = Limits { documents, bytes: 1 << 20 };
            let mut at = ReadTime::AtLeast(shop.now().await);
            let (mut after, mut read) = (None, Vec::new());
            loop {
                let chunk = reader.chunk(collection, after.as_deref(), limits, at).await.expect("the server answers");
                assert!(chunk.documents.len() <= documents + usize::from(chunk.end));
                at = ReadTime::At(chunk.read_at);
                read.extend(chunk.documents);
                after = chunk.last_id;
                if chunk.end {
                    break;
                }
            }
            let keys = |documents: &[RawDocumentBuf]| {
                documents
                    .iter()
                    .map(|document| Key::from_id(document).expect("the server answers"))
                    .collect::<BTreeSet<_>>()
            };
            assert_eq!(keys(&read), keys(&ids()), "{collection} by {documents}");
            assert_eq!(read.len(), ids().len(), "{collection} by {documents}");
        }
    }
    shop.close().await;
}

/// A chunk continues at its position, although its last document is gone.
#[tokio::test]
async fn a_chunk_goes_on_behind_a_deleted_document() {
    let shop = Shop::open("behind").await;
    let orders = shop.collection("orders");
    orders.insert_many((0..6).map(|id| doc! { "_id": id })).await.expect("the server answers");
    let reader = shop.source.reader();
    let limits = Limits { documents: 3, bytes: 1 << 20 };
    let ids = |chunk: &Chunk| {
        chunk.documents.iter().map(|d| d.get_i32("_id").expect("the server answers")).collect::<Vec<_>>()
    };
    let first =
        reader.chunk("orders", None, limits, ReadTime::AtLeast(shop.now().await)).await.expect("the server answers");
    assert_eq!((ids(&first), first.end), (vec![0, 1, 2], false));
    orders.delete_one(doc! { "_id": 2 }).await.expect("the server answers");
    let now = ReadTime::AtLeast(shop.now().await);
    let second = reader.chunk("orders", first.last_id.as_deref(), limits, now).await.expect("the server answers");
    assert_eq!(ids(&second), [3, 4, 5]);
    let third = reader.chunk("orders", second.last_id.as_deref(), limits, now).await.expect("the server answers");
    assert_eq!((ids(&third), third.end), (vec![], true));
    let none = reader.chunk("nothing", None, limits, now).await.expect("the server answers");
    assert_eq!((ids(&none), none.end, none.last_id), (vec![], true, None));
    // A limit of two bytes still allows one reply, and no more.
    let small = Limits { documents: 3, bytes: 2 };
    assert!(!reader.chunk("orders", None, small, now).await.expect("the server answers").documents.is_empty());
    shop.close().await;
}

#[tokio::test]
async fn reads_at_one_time_agree() {
    let shop = Shop::open("reads").await;
    let orders = shop.collection("orders");
    orders.insert_many((0..50).map(|id| doc! { "_id": id, "v": 0 })).await.expect("the server answers");
    let reader = shop.source.reader();
    let whole = Limits { documents: 100, bytes: 1 << 20 };
    let read = async |at| reader.chunk("orders", None, whole, at).await;
    let before = read(ReadTime::AtLeast(shop.now().await)).await.expect("the server answers");
    orders.delete_many(doc! { "_id": { "$lt": 10 } }).await.expect("the server answers");
    orders.update_many(doc! {}, doc! { "$set": { "v": 1 } }).await.expect("the server answers");
    orders.insert_one(doc! { "_id": 50, "v": 1 }).await.expect("the server answers");
    let (at, now) = (ReadTime::At(before.read_at), ReadTime::AtLeast(shop.now().await));
    let count = async |at| read(at).await.expect("the server answers").documents.len();
    assert_eq!((before.documents.len(), count(at).await, count(now).await), (50, 50, 41));
    assert_eq!(reader.estimate("orders").await.expect("the server answers"), 41);

    let ids = [rawdoc! { "_id": 3 }, rawdoc! { "_id": 30i64 }, rawdoc! { "_id": 50 }];
    let values = |documents: &[RawDocumentBuf]| {
        documents
            .iter()
            .map(|d| (d.get_i32("_id").expect("the server answers"), d.get_i32("v").expect("the server answers")))
            .collect::<BTreeSet<_>>()
    };
    let then = reader.by_ids("orders", &ids, at).await.expect("the server answers");
    assert_eq!((values(&then.value), then.read_at), (BTreeSet::from([(3, 0), (30, 0)]), before.read_at));
    assert_eq!(
        values(&reader.by_ids("orders", &ids, now).await.expect("the server answers").value),
        BTreeSet::from([(30, 1), (50, 1)])
    );

    let mut held = reader.existing("orders", &ids, now).await.expect("the server answers").value;
    held.sort_by_key(|id| id.get_i32("_id").expect("an id"));
    assert_eq!(held, [rawdoc! { "_id": 30 }, rawdoc! { "_id": 50 }]);

    let sample = reader.sample("orders", 10, now).await.expect("the server answers");
    assert_eq!(values(&sample.value).len(), 10);
    assert!(
        values(&reader.sample("orders", 10, at).await.expect("the server answers").value).iter().all(|(_, v)| *v == 0)
    );
    assert!(reader.sample("nothing", 10, now).await.expect("the server answers").value.is_empty());

    let old = ReadTime::At(ClusterTime { t: before.read_at.t - 3600, i: 1 });
    let error = read(old).await.unwrap_err();
    assert!(matches!(error, Error::SnapshotTooOld { .. }), "{}", driftless::retry::chain(&error));
    assert_eq!(error.class(), Class::Transient);
    shop.close().await;
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let shop = Shop::open("refused").await;
    let create = |command: Document| shop.database.run_command(command).into_future();
    create(doc! { "create": "orders" }).await.expect("the server answers");
    create(doc! { "create": "view", "viewOn": "orders", "pipeline": [] }).await.expect("the server answers");
    create(doc! { "create": "series", "timeseries": { "timeField": "t" } }).await.expect("the server answers");
    create(doc! { "create": "capped", "capped": true, "size": 4096 }).await.expect("the server answers");
    let names = ["orders", "view", "series", "capped", "missing"];
    let facts = shop.source.facts(names).await.expect("the server answers");
    let kinds: Vec<_> = names.iter().map(|name| facts.collections[*name]).collect();
    use CollectionKind::{Capped, Missing, Plain, TimeSeries, View};
    assert_eq!(kinds, [Plain, View, TimeSeries, Capped, Missing]);
    assert!(facts.server.replica_set.is_some() && facts.feature_version.is_some());
    assert!(facts.oplog.expect("the server answers").window_seconds() > 0);
    let faults = shop.source.faults(names).await.expect("the server answers");
    let told = |what: &str| faults.iter().any(|fault| fault.what.contains(what));
    assert!(faults.len() == 3 && told("view is a view") && told("time-series") && told("capped"), "{faults:?}");
    assert!(shop.source.faults(["orders", "missing"]).await.expect("the server answers").is_empty());
    shop.close().await;
}

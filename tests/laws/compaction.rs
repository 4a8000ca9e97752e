//! Law 3 on a log that a broker has compacted: a target that begins late is filled from what is left, and nothing that compaction
//! removed is taken for a loss.

use driftless_demo::Collection;
use mongodb::bson::{doc, oid::ObjectId};

use crate::support::{
    DEADLINE,
    load::{fill, organisation},
    migration::Migration,
    oracle, random, topic, wait,
};

/// Settings with which the broker compacts a topic within seconds: it closes a segment behind every batch of records.
const COMPACTED: [(&str, &str); 6] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "1"),
    ("min.cleanable.dirty.ratio", "0"),
    ("max.compaction.lag.ms", "1"),
    ("max.message.bytes", "67108864"),
    ("message.timestamp.type", "CreateTime"),
];
/// Updates of one document, one after the other.
const UPDATES: i32 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_late_target_is_filled_from_a_compacted_log() {
    let (seed, _) = random("compaction");
    let mut migration = Migration::demo("compacted").await;
    migration.set("log", "partitions", 1);
    let brokers = migration.stack.kafka();
    for collection in Collection::ALL {
        topic::create(brokers, &migration.topic(collection.name()), &COMPACTED).await;
    }
    fill(&migration, seed, 300).await;
    let source = migration.daemon_with(&["source"]);
    let organisations = migration.collection("organisations");
    let (hot, last) = (ObjectId::new(), ObjectId::new());
    organisations.insert_one(organisation(hot)).await.expect("insert");
    for _ in 0..UPDATES {
        let raise = doc! { "$inc": { "employees": 1 } };
        organisations.update_one(doc! { "_id": hot }, raise).await.expect("update");
    }
    organisations.insert_one(organisation(last)).await.expect("insert");
    let topic = migration.topic("organisations");
    wait::until("the log is compacted", DEADLINE, async || {
        let records = topic::records(brokers, &topic).await;
        let count = |id: ObjectId| {
            let id = id.to_hex();
            let keys = records.iter().filter_map(|record| record.key.as_deref());
            keys.filter(|key| String::from_utf8_lossy(key).contains(&id)).count()
        };
        let (end, left, written) = (records.last().map_or(0, |record| record.offset), count(hot), count(last));
        let removed = end - i64::try_from(records.len()).expect("not many");
        let seen =
            format!("{left} changes of the hot document, {written} of the last, {removed} offsets without a record");
        wait::holds(written == 1 && left < 10 && removed > 100, seen)
    })
    .await;

    let sink = migration.daemon_with(&["sink", "reconciler"]);
    let status = migration.quiesce(&sink, DEADLINE).await;
    assert_eq!((status.gaps(), status.dead_letters()), (0, 0), "{}", status.summary());
    oracle::assert_equal(&migration).await;
    sink.stop(0).await;
    source.stop(0).await;
    migration.finish().await;
}

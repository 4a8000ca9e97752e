//! Law 3: any repetition, delay or reordering of changes ends in the same rows. `tests/it/sink/laws.rs` tests this in the sink
//! alone; here it is tested end to end: all records of the topics arrive again, shuffled and repeated.

use driftless_demo::Collection;
use rand::{Rng, seq::SliceRandom};

use crate::support::{
    DEADLINE,
    load::{Load, fill},
    migration::Migration,
    oracle, random, topic, wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn old_records_in_any_order_change_nothing() {
    let (seed, mut random) = random("any_order");
    let migration = Migration::demo("order").await;
    fill(&migration, seed, 600).await;
    let daemon = migration.daemon();
    let load = Load::start(&migration, seed, 200.0);
    daemon.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    let deletes = "SELECT count(*) FROM driftless.ledger WHERE deleted";
    wait::until("a few documents are deleted", DEADLINE, async || {
        let deleted = migration.number(deletes).await;
        wait::holds(deleted >= 20, deleted)
    })
    .await;
    load.end().await;
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    let before = everything(&migration).await;

    let mut appended = 0;
    for collection in Collection::ALL {
        let changes = migration.records(collection.name()).await.into_iter().filter(topic::Record::is_change);
        let mut again: Vec<_> = changes.flat_map(|record| vec![record; random.random_range(1..=3)]).collect();
        again.shuffle(&mut random);
        for record in &mut again {
            // A record with this mark is not counted among those that a publisher has promised.
            record.headers.push(("driftless.retry".to_owned(), b"1".to_vec()));
        }
        appended += again.len();
        let topic = migration.topic(collection.name());
        topic::append(migration.stack.kafka(), &topic, again).await;
        consumed(&migration, collection.name()).await;
    }
    eprintln!("any_order: {appended} records came again");
    assert!(appended > 1_000, "{appended} are too few");

    assert_eq!(everything(&migration).await, before);
    oracle::assert_equal(&migration).await;
    let status = migration.quiesce(&daemon, DEADLINE).await;
    assert_eq!(status.dead_letters(), 0, "{}", status.summary());
    assert_eq!(status.gaps(), 0);
    daemon.stop(0).await;
    migration.finish().await;
}

/// Waits until the sink has read the last committed record that is now in the collection's topic.
async fn consumed(migration: &Migration, collection: &str) {
    let mut last = std::collections::HashMap::new();
    for record in migration.records(collection).await {
        last.insert(record.partition, record.offset);
    }
    let topic = migration.topic(collection);
    let query = "SELECT next_offset FROM driftless.position WHERE topic = $1 AND partition = $2";
    for (partition, offset) in last {
        wait::until(format!("{topic} {partition} is read up to {offset}"), DEADLINE, async || {
            let row =
                migration.target.query_one(query, &[&topic, &partition]).await.map_err(|error| error.to_string())?;
            let next: Option<i64> = row.get(0);
            wait::holds(next > Some(offset), format!("{next:?}"))
        })
        .await;
    }
}

/// Returns a digest of every table and of the ledger entries of all documents.
async fn everything(migration: &Migration) -> Vec<(String, Option<String>)> {
    let tables =
        migration.texts("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'app'").await;
    let mut digests = Vec::new();
    for table in tables.into_iter().flatten() {
        let query = format!("SELECT md5(string_agg(one::text, '|' ORDER BY one::text)) FROM {table} one");
        digests.extend(migration.texts(&query).await.into_iter().map(|digest| (table.clone(), digest)));
    }
    let ledger = "SELECT md5(string_agg(concat_ws(' ', collection, key, version, deleted), '|' ORDER BY collection, key)) FROM driftless.ledger";
    digests.extend(migration.texts(ledger).await.into_iter().map(|digest| ("ledger".to_owned(), digest)));
    digests
}

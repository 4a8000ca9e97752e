//! Law 9: the unknown is shown as unknown. When MongoDB no longer has the history between the stored token and now, the source
//! does not continue from now: it halts, reports the reason and the remedy, and the verdict is unknown.

use driftless_demo::Collection;
use mongodb::bson::{Document, Timestamp, doc};

use crate::support::{
    DEADLINE,
    load::{Marker, fill},
    migration::Migration,
    oracle,
    small_server::SmallServer,
    stack::{Stack, root},
    wait,
};

const SCHEMA: &str = "config/demo/schema.sql";
const MAPPING: &str = "config/demo/mapping.toml";

/// Writes into another collection until the oplog holds nothing older than now.
async fn forget(client: &mongodb::Client) {
    let now = oldest(client, -1).await;
    let filler = client.database("filler").collection::<Document>("filler");
    let documents: Vec<_> = (0..100).map(|_| doc! { "filler": "x".repeat(16_000) }).collect();
    wait::until("the oplog has lost its history", DEADLINE, async || {
        filler.insert_many(&documents).await.expect("write filler");
        let oldest = oldest(client, 1).await;
        wait::holds((oldest.time, oldest.increment) > (now.time, now.increment), format!("{oldest:?} of {now:?}"))
    })
    .await;
}

/// Returns the time of the first oplog entry in this order.
async fn oldest(client: &mongodb::Client, order: i32) -> Timestamp {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let entry = oplog.find_one(doc! {}).sort(doc! { "$natural": order }).await.expect("read the oplog");
    entry.expect("an entry").get_timestamp("ts").expect("a time")
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_history_halts_and_stays_unknown() {
    let stack = Stack::shared().await;
    let server = SmallServer::start(stack, 1, 0).await;
    let read = |file: &str| std::fs::read_to_string(root().join(file)).expect("read the demo's files");
    let mut migration = Migration::new(stack, &server.uri, "history", &read(SCHEMA), &read(MAPPING)).await;
    fill(&migration, 9, 200).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    let followed = "SELECT count(*) FROM driftless.proof WHERE since_t IS NOT NULL";
    migration.wait_for_number(followed, DEADLINE, i64::try_from(Collection::ALL.len()).expect("few")).await;
    migration.wait_for_number("SELECT count(*) FROM driftless.delta", DEADLINE, 1).await;
    daemon.stop(0).await;

    // While nothing reads, documents are changed and deleted, and then the oplog loses those entries.
    let lost = Marker::write(&migration).await;
    let gone = delete_some(&migration).await;
    forget(&migration.mongo).await;
    let published = published(&migration).await;

    // Twice, because a restart must not make it continue from now.
    for _ in 0..2 {
        let daemon = migration.daemon();
        let halted = daemon.wait_for("the source halts", DEADLINE, |status| status.phase("source") == "halted").await;
        let role = &halted.process.roles["source"];
        let reason = role.reason.clone().expect("a halted role says why");
        let hint = role.hint.clone().expect("a halted role says what to do");
        eprintln!("lost_history: {reason} / {hint}");
        assert!(["history", "oplog"].iter().any(|word| reason.to_lowercase().contains(word)), "{reason}");
        assert!(hint.len() > 20, "{hint}");
        assert_eq!(halted.verdict, "unknown");
        assert!(halted.blockers.iter().any(|blocker| blocker.to_string().contains("source")), "{:?}", halted.blockers);
        // The reconciler's own stream has lost its history, too: no collection is proven until everything is compared again.
        let void = "SELECT count(*) FROM driftless.proof WHERE void_because LIKE '%history is lost%'";
        let collections = i64::try_from(Collection::ALL.len()).expect("few");
        migration.wait_for_number(void, DEADLINE, collections).await;
        migration.wait_for_number("SELECT count(*) FROM driftless.delta", DEADLINE, 1).await;
        let (ready, told) = daemon.page("/readyz").await.expect("the page answers");
        assert_eq!(ready, 503, "{told}");
        let (live, _) = daemon.page("/livez").await.expect("the page answers");
        assert_eq!(live, 200, "it waits for a person, it is not dead");

        // A write of now must not arrive: it would hide that something before it is missing.
        let later = Marker::write(&migration).await;
        let now = daemon.status().await.expect("the status answers");
        assert_eq!((now.phase("source"), now.verdict.as_str()), ("halted", "unknown"));
        // This exit code reports that it was still halted at its end.
        daemon.stop(3).await;
        assert!(!lost.is_in(&migration.target).await && !later.is_in(&migration.target).await);
    }
    assert_eq!(self::published(&migration).await, published, "nothing was published");

    // The remedy that the hint names: another epoch. Everything is read again, and the rows of deleted documents are removed.
    migration.set("source", "epoch", 2);
    let daemon = migration.daemon();
    let status = migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    assert_eq!((status.dead_letters(), gone > 0), (0, true), "{}", status.summary());
    migration.succeed(&["reconcile", "--full"]).await;
    daemon.stop(0).await;
    migration.finish().await;
    server.end().await;
}

/// Deletes every other document of two collections that others do not reference; returns the number.
async fn delete_some(migration: &Migration) -> u64 {
    let mut deleted = 0;
    for name in ["plans", "research_packs"] {
        let collection = migration.collection(name);
        let mut found = collection.find(doc! {}).projection(doc! { "_id": 1 }).await.expect("list documents");
        let mut ids = Vec::new();
        while found.advance().await.expect("list documents") {
            ids.push(found.deserialize_current().expect("a document").get("_id").expect("an _id").clone());
        }
        let half: Vec<_> = ids.into_iter().step_by(2).collect();
        deleted +=
            collection.delete_many(doc! { "_id": { "$in": half } }).await.expect("delete documents").deleted_count;
    }
    deleted
}

/// Returns the number of committed records in all topics, the state topic included.
async fn published(migration: &Migration) -> usize {
    let mut count =
        crate::support::topic::records(migration.stack.kafka(), &format!("{}.state", migration.name)).await.len();
    for collection in Collection::ALL {
        count += migration.records(collection.name()).await.len();
    }
    count
}

//! Law 2: rows, ledger and offset commit in one transaction. A replay from the first offset of every topic, while the
//! application writes, ends in the same rows, and no row or ledger entry becomes older on the way.

use std::collections::HashMap;

use driftless_demo::Collection;
use mongodb::bson::doc;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE,
    load::{Load, Marker, fill},
    migration::Migration,
    oracle, random, topic, wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_from_the_start_makes_nothing_older() {
    let (seed, _) = random("one_transaction");
    let migration = Migration::demo("replay").await;
    fill(&migration, seed, 1_500).await;
    let daemon = migration.daemon();
    let load = Load::start(&migration, seed, 120.0);
    daemon.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    // Changes to replay besides the snapshot: updates and deletes of the documents that it read.
    let changes = "SELECT count(*) FROM driftless.ledger WHERE substr(version, 13, 4) <> '\\xffffffff'";
    wait::until("the stream has changed a few hundred documents", DEADLINE, async || {
        let changed = migration.number(changes).await;
        wait::holds(changed >= 300, changed)
    })
    .await;

    let marker = Marker::write(&migration).await;
    let (end, quiet) = (CancellationToken::new(), CancellationToken::new());
    let raised = tokio::sync::Notify::new();
    let other = migration.connect().await;
    let replays = async {
        for collection in Collection::ALL {
            replay(&migration, collection.name()).await;
        }
        load.end().await;
        quiet.cancel();
        raised.notified().await;
        let status = migration.quiesce(&daemon, DEADLINE).await;
        end.cancel();
        status
    };
    let raises = async {
        let times = wait::repeat_until(&quiet, async || marker.raise(&migration).await).await;
        raised.notify_one();
        times
    };
    let (looks, status, raises) = tokio::join!(watch(other, &marker, &end), replays, raises);
    eprintln!("one_transaction: the versions were looked at {looks} times, the marker was raised {raises} times");
    assert!(looks > 10, "the replay was over before the versions were looked at");

    oracle::assert_equal(&migration).await;
    assert_eq!(status.dead_letters(), 0, "{}", status.summary());
    let recorded =
        migration.number("SELECT count(*) FROM driftless.action WHERE who <> '' AND command LIKE 'replay%'").await;
    assert_eq!(recorded, Collection::ALL.len() as i64, "each replay is recorded");
    daemon.stop(0).await;
    migration.finish().await;
}

/// A replay moves exactly what was asked for, and nothing when it cannot: not forward, not into deleted records, not in another topic
/// of the name. It says beforehand what it would do.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_moves_what_it_says_and_nothing_before_it_is_told_to() {
    let mut migration = Migration::demo("dry_replay").await;
    migration.set("log", "cleanup_policy", "delete");
    fill(&migration, 1, 100).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    daemon.stop(0).await;
    let before = positions(&migration, "users").await;
    let report = plan(&migration, &["--collection", "users", "--to-earliest"]).await;
    let offsets: i64 = before.values().flatten().sum();
    assert_eq!((report["executed"].as_bool(), report["records"].as_i64()), (Some(false), Some(offsets)), "{report}");
    assert_eq!(report["tables"], serde_json::json!(["app.users"]));
    let time = |name: &str| report[name].as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time");
    assert!(time("from") <= time("to"), "{report}");
    for last in [&["--by-duration", "P7D"][..], &["--to-datetime", "2020-01-01T00:00:00"]] {
        let since = plan(&migration, &[&["--collection", "users"], last].concat()).await;
        assert_eq!(since["records"], report["records"], "every record is younger");
    }

    // Refused as a whole, with the reason.
    let topic = |collection: &str| migration.topic(collection);
    let plans = positions(&migration, "plans").await;
    let (partition, end) =
        plans.iter().find_map(|(partition, end)| Some((*partition, end.filter(|end| *end > 3)?))).expect("records");
    topic::delete_before(migration.stack.kafka(), &topic("plans"), partition, 2).await;
    let file = std::env::temp_dir().join(format!("{}.csv", migration.name));
    std::fs::write(&file, format!("{0},{partition},3\n{0},{partition}9,0\n", topic("plans"))).expect("write the file");
    let file = file.to_str().expect("a path");
    let refused: [(&[&str], i32, &str); 6] = [
        (&["--collection", "plans", "--to-offset", "1"], 2, "offset 1 is not in the log any more, which begins at 2"),
        (&["--collection", "plans", "--to-offset", "999999"], 1, "nothing from offset 999999 on is applied"),
        (
            &["--collection", "plans", "--to-datetime", "2100-01-01"],
            1,
            "no record since 2100-01-01T00:00:00Z is applied",
        ),
        (&["--collection", "plans", "--partition", "99", "--to-earliest"], 2, "the topic has no such partition"),
        (&["--topic", "another.topic", "--to-earliest"], 2, "no collection of the mapping has this topic"),
        (&["--from-file", file], 2, "the topic has no such partition"),
    ];
    for (flags, code, reason) in refused {
        let output = migration.command(&[&["replay", "--execute", "--why", "a test"], flags].concat()).await;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(code) && said.contains(reason), "{flags:?}: {} {said}", output.status);
    }
    let recreated = format!("UPDATE driftless.position SET topic_id = 'another' WHERE topic = '{}'", topic("sections"));
    migration.target.batch_execute(&recreated).await.expect("ok");
    let output = migration.command(&["replay", "--collection", "sections", "--to-earliest"]).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(2) && said.contains("was deleted and created again"), "{said}");
    assert_eq!(
        (positions(&migration, "users").await, positions(&migration, "plans").await),
        (before.clone(), plans.clone())
    );
    assert_eq!(
        migration.number("SELECT count(*) FROM driftless.action WHERE command LIKE 'replay%'").await,
        0,
        "nothing was done, nothing is recorded"
    );

    // From a file one partition moves alone; back beyond the beginning it goes to the beginning.
    std::fs::write(file, format!("# an export\n{},{partition},3\n", topic("plans"))).expect("write the file");
    migration.succeed(&["replay", "--from-file", file, "--execute", "--why", "a lost column"]).await;
    let moved =
        plans.iter().map(|(number, end)| (*number, if *number == partition { Some(3) } else { *end })).collect();
    assert_eq!(positions(&migration, "plans").await, moved);
    let acts =
        "SELECT command || ': ' || (detail->>'why') FROM driftless.action WHERE who <> '' AND command LIKE 'replay%'";
    let acts = migration.texts(acts).await;
    assert_eq!(acts, [Some("replay: a lost column".to_owned())]);
    let shift = format!("{}:{partition}", topic("plans"));
    let cut = plan(&migration, &["--topic", &shift, "--shift-by", "-999999"]).await;
    assert_eq!(
        (cut["partitions"][0]["new_offset"].as_i64(), cut["partitions"][0]["cut"].as_bool()),
        (Some(2), Some(true)),
        "{end}: {cut}"
    );
    migration.succeed(&["replay", "--topic", &shift, "--shift-by", "-999999", "--execute", "--why", "a test"]).await;
    migration.replay("users").await;
    let after = positions(&migration, "users").await;
    assert!(after.values().all(|offset| offset.is_none_or(|offset| offset == 0)), "{after:?}");

    // The position decides, not the offset that Kafka remembers: everything is read once more.
    let daemon = migration.daemon();
    caught_up(&migration, "users", &before).await;
    let wrote = daemon.metric("driftless_sink_changes_total").await.expect("the metric is there");
    let users = migration.collection("users").count_documents(doc! {}).await.expect("count users");
    assert!(wrote >= users as f64, "{wrote} changes were handled again, of {users} users");
    // A start that is not in the log would have halted the sink.
    caught_up(&migration, "plans", &plans).await;
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// Returns what a replay says that it would do.
async fn plan(migration: &Migration, flags: &[&str]) -> serde_json::Value {
    let said = migration.succeed(&[&["replay", "--json"], flags].concat()).await;
    serde_json::from_str(&said).expect("JSON")
}

/// Moves a collection's offsets to the start, and follows until everything has been read again.
async fn replay(migration: &Migration, collection: &str) {
    let before = positions(migration, collection).await;
    let flags = ["--collection", collection, "--to-earliest", "--execute", "--why", "a test", "--follow"];
    let said = migration.succeed(&[&["replay"], &flags[..]].concat()).await;
    assert!(said.trim_end().ends_with("records are applied again."), "{said}");
    let now = positions(migration, collection).await;
    assert!(before.iter().all(|(partition, offset)| now[partition] >= *offset), "{now:?} of {before:?}");
}

async fn caught_up(migration: &Migration, collection: &str, before: &HashMap<i32, Option<i64>>) {
    wait::until(format!("{collection} is read again"), DEADLINE, async || {
        let now = positions(migration, collection).await;
        wait::holds(
            before.iter().all(|(partition, offset)| now[partition] >= *offset),
            format!("{now:?} of {before:?}"),
        )
    })
    .await;
}

/// Returns the consumed offset of each partition.
async fn positions(migration: &Migration, collection: &str) -> HashMap<i32, Option<i64>> {
    let query = "SELECT partition, next_offset FROM driftless.position WHERE topic = $1";
    let rows = migration.target.query(query, &[&migration.topic(collection)]).await.expect("read the positions");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Repeatedly reads every ledger entry and a row whose number only grows; returns how often.
///
/// # Panics
/// Panics if one becomes older or vanishes.
async fn watch(target: Client, marker: &Marker, end: &CancellationToken) -> u64 {
    let mut seen: HashMap<(i32, Vec<u8>), Vec<u8>> = HashMap::new();
    let mut employees = None;
    wait::repeat_until(end, async || {
        let now = marker.employees(&target).await;
        assert!(now >= employees, "the marker's row went from {employees:?} back to {now:?}");
        employees = now;
        let rows =
            target.query("SELECT collection, key, version FROM driftless.ledger", &[]).await.expect("read the ledger");
        assert!(rows.len() >= seen.len(), "{} entries have vanished", seen.len() - rows.len());
        for row in rows {
            let (key, version): ((i32, Vec<u8>), Vec<u8>) = ((row.get(0), row.get(1)), row.get(2));
            if let Some(before) = seen.get(&key) {
                assert!(*before <= version, "the version of {key:?} went from {before:?} back to {version:?}");
            }
            seen.insert(key, version);
        }
    })
    .await
}

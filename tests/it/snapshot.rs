//! `driftless snapshot`: requests and output, with and without a leader that reports.

use driftless::{
    control::snapshots::{self, SnapshotRequest},
    postgres::{Postgres, Purpose, Session},
    status::{SnapshotPhase, SnapshotStatus},
};
use driftless_testing::{postgres::Database, stack::setting};
use serde_json::Value;

use crate::{
    cli::{Said, driftless},
    sink::world::{MAPPING, sink_config},
};

/// Runs `driftless snapshot …` on a target that no daemon has seen.
fn snapshot(database: &Database, arguments: &[&str]) -> Said {
    let config = format!(
        "mapping = \"m.toml\"\n[source]\nuri = \"{}\"\ndatabase = \"shop\"\n[log]\nbrokers = \"{}\"\nprefix = \"t\"\n\
         replication = 1\n[sink]\nurl = \"{}\"\n",
        setting("MONGO_URI"),
        setting("KAFKA_BROKERS"),
        database.url()
    );
    driftless(&[("driftless.toml", &config), ("m.toml", MAPPING)], &[&["snapshot"], arguments].concat())
}

fn succeeds(database: &Database, arguments: &[&str]) -> String {
    let said = snapshot(database, arguments);
    assert_eq!(said.code, 0, "{arguments:?}: {} {}", said.stdout, said.stderr);
    said.stdout
}

async fn session(database: &Database) -> Session {
    let target = Postgres::new(&sink_config(database), "t").expect("a target");
    target.open(Purpose::Control).await.expect("connects")
}

async fn tell(session: &Session, collection: &str, line: &SnapshotStatus) {
    snapshots::report(session, vec![(&collection.to_owned(), line)]).await.expect("reported");
}

fn running(run: u64) -> SnapshotStatus {
    SnapshotStatus {
        phase: SnapshotPhase::Running,
        run,
        documents: 250,
        bytes: 1 << 20,
        estimated: 1_000,
        rate: 10,
        seconds_left: Some(75),
        parts: 8,
        parts_done: 2,
        ..SnapshotStatus::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_reach_the_leader_and_its_lines_the_operator() {
    let database = Database::create().await;
    // Before any daemon has run.
    let told = succeeds(&database, &["status"]);
    assert_eq!(told.matches("no daemon has reported on it").count(), 2, "{told}");
    assert_eq!(succeeds(&database, &["pause", "users"]).lines().next(), Some("Asked to pause: users."));
    let session = session(&database).await;
    let wished = async |collection: &str| snapshots::requests(&session).await.expect("wishes").get(collection).copied();
    assert_eq!(wished("users").await, Some(SnapshotRequest { run: 0, paused: true, empties: 0 }));
    assert_eq!(wished("plans").await, None);

    // A leader reports; it knows of more runs than PostgreSQL does.
    tell(&session, "users", &SnapshotStatus { phase: SnapshotPhase::Paused, ..running(4) }).await;
    succeeds(&database, &["resume"]);
    assert_eq!(wished("users").await, Some(SnapshotRequest { run: 0, paused: false, empties: 0 }));
    succeeds(&database, &["start", "users"]);
    assert_eq!(wished("users").await, Some(SnapshotRequest { run: 5, paused: false, empties: 0 }));
    let lines: Value = serde_json::from_str(&succeeds(&database, &["status", "users", "--json"])).expect("JSON");
    let line = &lines.as_array().expect("lines")[0];
    let shown = (&line["collection"], &line["phase"], &line["documents"], &line["note"]);
    assert_eq!(shown, (&"users".into(), &"paused".into(), &250.into(), &"asked to start".into()));

    tell(&session, "users", &running(5)).await;
    let table = succeeds(&database, &["status", "users"]);
    assert!(table.contains("| running | 250       | 1000     | 25 | 10/s | 1 min 15 s | 2/8   |"), "{table}");
    let actions = driftless::control::status::read(&session, 10).await.expect("the status").actions;
    let commands: Vec<_> = actions.iter().map(|action| action.command.as_str()).collect();
    assert_eq!(commands, ["snapshot start", "snapshot resume", "snapshot pause"]);
    drop(session);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn following_ends_when_everything_is_done() {
    let database = Database::create().await;
    succeeds(&database, &["resume"]);
    let session = session(&database).await;
    let done = SnapshotStatus { phase: SnapshotPhase::Done, done: true, documents: 1_000, ..running(0) };
    for collection in ["users", "plans"] {
        tell(&session, collection, &done).await;
    }
    // Without a terminal, the output is lines.
    let told = succeeds(&database, &["status", "--follow"]);
    let expected = ["plans", "users"].map(|name| format!("{name}: done, 1000 documents, 1.0 MiB\n"));
    assert_eq!(told, expected.concat());
    drop(session);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_not_mapped_is_named() {
    let database = Database::create().await;
    for command in ["start", "status", "pause", "resume"] {
        let said = snapshot(&database, &[command, "users", "user", "plan"]);
        assert_eq!(said.code, 1);
        assert!(said.stderr.contains("find user, plan in the mapping: it has plans, users"), "{}", said.stderr);
    }
    database.drop().await;
}

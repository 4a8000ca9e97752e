//! `driftless dlq`: the dead letters that operators see, and their actions on them.

use bson::{oid::ObjectId, raw::RawBson, rawdoc};
use driftless::{
    control::{dead_letters, repairs},
    model::{ClusterTime, Key, Op, Version},
};
use driftless_testing::stack::setting;

use crate::{
    cli::{Said, driftless},
    sink::world::{MAPPING, World, change, user},
};

/// Runs `driftless dlq …` on the world's database.
fn dlq(world: &World, arguments: &[&str]) -> Said {
    let config = format!(
        "mapping = \"m.toml\"\n[source]\nuri = \"{}\"\ndatabase = \"shop\"\n[log]\nbrokers = \"{}\"\nprefix = \"t\"\n\
         replication = 1\n[sink]\nurl = \"{}\"\n",
        setting("MONGO_URI"),
        setting("KAFKA_BROKERS"),
        world.database.url()
    );
    driftless(&[("driftless.toml", &config), ("m.toml", MAPPING)], &[&["dlq"], arguments].concat())
}

fn succeeds(world: &World, arguments: &[&str]) -> String {
    let said = dlq(world, arguments);
    assert_eq!(said.code, 0, "{arguments:?}: {} {}", said.stdout, said.stderr);
    said.stdout
}

/// Replaces the times of the run with a fixed text.
fn settled(text: &str) -> String {
    let mut settled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("Z") {
        let time = at.checked_sub(19).and_then(|from| rest.get(from..at));
        let is_time = time.is_some_and(|time| time.starts_with("20") && time.as_bytes()[10] == b' ');
        settled.push_str(&rest[..if is_time { at - 19 } else { at + 1 }]);
        settled.push_str(if is_time { "YYYY-MM-DD HH:MM:SSZ" } else { "" });
        rest = &rest[at + 1..];
    }
    settled + rest
}

/// Opens a world with three texts that are too long, a number that a CHECK refuses, and a document that is valid.
async fn world_with_letters() -> World {
    let mut world = World::new().await;
    let long = |id: RawBson, email: &str| {
        rawdoc! { "_id": id, "email": email, "name": "a name of more than twenty letters" }
    };
    let mut changes =
        (1..=3).map(|id| change("users", id, 1, Some(long(id.into(), &format!("{id}@x"))))).collect::<Vec<_>>();
    let id = ObjectId::from_bytes([7; 12]);
    changes[2].document = Some(long(id.into(), "3@x"));
    changes[2].id = rawdoc! { "_id": id };
    changes[2].key = Key::from_id(&changes[2].id).expect("a key");
    changes.push(change("users", 4, 1, Some(rawdoc! { "_id": 4, "email": "4@x", "age": -1 })));
    changes.push(user(5, 1, "5@x"));
    world.apply(&changes).await;
    world
}

#[tokio::test]
async fn letters_are_listed_grouped_and_shown_without_their_contents() {
    let world = world_with_letters().await;
    let listed = succeeds(&world, &["list"]);
    let grouped = succeeds(&world, &["list", "--group"]);
    let filtered = succeeds(&world, &["list", "--reason", "too_long", "--since", "1h", "--id", "3"]);
    insta::assert_snapshot!(settled(&format!("{listed}\n{grouped}\n{filtered}")));
    assert!(succeeds(&world, &["list", "--until", "1h"]).ends_with("0 dead letters\n"));
    assert!(succeeds(&world, &["list", "--collection", "plans"]).ends_with("0 dead letters\n"));
    let shown = succeeds(&world, &["show", "3"]);
    insta::assert_snapshot!(settled(&shown));
    for text in [listed, grouped, shown] {
        assert!(!text.contains("twenty letters"), "contents are hidden: {text}");
    }
    let revealed = succeeds(&world, &["show", "3", "--reveal", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&revealed).expect("JSON");
    assert_eq!(report["key"]["$oid"], "070707070707070707070707");
    assert_eq!(report["contents"]["document"]["name"], "a name of more than twenty letters");
    let absent = dlq(&world, &["show", "99"]);
    assert!(absent.code == 1 && absent.stderr.contains("find dead letter 99"), "{}", absent.stderr);
    world.end().await;
}

#[tokio::test]
async fn a_letter_closes_itself_when_a_good_version_is_applied() {
    let mut world = world_with_letters().await;
    world.apply(&[user(1, 2, "1@x")]).await;
    let open = succeeds(&world, &["list", "--collection", "users", "--json"]);
    let open: Vec<serde_json::Value> = serde_json::from_str(&open).expect("JSON");
    assert_eq!(open.iter().map(|letter| letter["id"].clone()).collect::<Vec<_>>(), [2, 3, 4]);
    let closed = succeeds(&world, &["list", "--state", "superseded", "--json"]);
    let closed: Vec<serde_json::Value> = serde_json::from_str(&closed).expect("JSON");
    assert_eq!((closed.len(), &closed[0]["key"]), (1, &serde_json::json!(1)));
    assert!(closed[0]["closed_at"].is_string(), "{}", closed[0]);
    world.end().await;
}

#[tokio::test]
async fn a_discard_names_what_it_gives_up_and_is_written_down() {
    let world = world_with_letters().await;
    let everything = dlq(&world, &["discard", "--why", "no time"]);
    assert!(everything.code == 1 && everything.stderr.contains("choose them with"), "{}", everything.stderr);
    assert_eq!(dlq(&world, &["discard", "--reason", "TOO_LONG"]).code, 2, "it asks why");
    let dry = succeeds(&world, &["discard", "--reason", "TOO_LONG", "--dry-run"]);
    assert!(dry.contains("3 dead letters of 1 kind\nNothing was discarded"), "{dry}");
    assert_eq!(world.rows("SELECT count(*) FROM driftless.action").await, ["0"]);

    let done = succeeds(&world, &["discard", "--reason", "TOO_LONG", "--why", "test accounts"]);
    assert!(done.contains("3 dead letters discarded."), "{done}");
    let noted = "SELECT command, detail ->> 'why', detail -> 'letters', detail #> '{filter,reasons}', who <> '' \
                   FROM driftless.action";
    assert_eq!(world.rows(noted).await, [r#"dlq discard|test accounts|[1, 2, 3]|["TOO_LONG"]|t"#]);
    let states = "SELECT state FROM driftless.dead_letter ORDER BY id";
    assert_eq!(world.rows(states).await, ["discarded", "discarded", "discarded", "open"]);
    let shown = succeeds(&world, &["show", "1"]);
    assert!(shown.contains(", dlq discard: test accounts") && !shown.contains("hint:"), "{shown}");
    // A closed letter is not discarded a second time.
    let again = succeeds(&world, &["discard", "--id", "1", "--why", "again", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&again).expect("JSON")["letters"], serde_json::json!([]));
    world.end().await;
}

#[tokio::test]
async fn an_export_holds_contents_only_when_they_are_asked_for() {
    let world = world_with_letters().await;
    let plain = succeeds(&world, &["export"]);
    assert_eq!(plain.lines().count(), 4);
    assert!(!plain.contains("twenty letters") && !plain.contains("contents"), "{plain}");
    let revealed = succeeds(&world, &["export", "--reveal", "--reason", "CHECK"]);
    let line: serde_json::Value = serde_json::from_str(&revealed).expect("one line of JSON");
    assert_eq!(line["contents"]["document"]["age"]["$numberInt"], "-1");
    let refused = dlq(&world, &["export", "--format", "raw"]);
    assert!(refused.code == 1 && refused.stderr.contains("--reveal"), "{}", refused.stderr);

    let file = std::env::temp_dir().join(driftless_testing::unique("export"));
    let path = file.to_str().expect("a path");
    let said = succeeds(&world, &["export", "--format", "raw", "--reveal", "--output", path]);
    assert!(said.starts_with("4 dead letters written to "), "{said}");
    let text = std::fs::read_to_string(&file).expect("the file");
    let first: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    let stored =
        world.rows("SELECT translate(encode(value, 'base64'), E'\\n', '') FROM driftless.dead_letter WHERE id = 1");
    assert_eq!([first["value"].as_str().expect("text")], stored.await.as_slice());
    let again = dlq(&world, &["export", "--output", path]);
    assert!(again.code == 1 && again.stderr.contains("create "), "a file is never overwritten: {}", again.stderr);
    std::fs::remove_file(file).expect("removed");
    world.end().await;
}

/// A retry asks the leader once for each document, those with long `_id`s included, and follows the outcome.
#[tokio::test]
async fn a_retry_asks_for_each_document_and_follows_it() {
    let mut world = world_with_letters().await;
    let long = rawdoc! { "_id": "x".repeat(2_000) };
    let mut hashed = change("users", 6, 1, Some(rawdoc! { "_id": "x".repeat(2_000), "email": "6@x", "age": -1 }));
    (hashed.key, hashed.id) = (Key::from_id(&long).expect("a key"), long.clone());
    world.apply(&[hashed]).await;
    let mut foreign = world.append(&[user(7, 1, "7@x")]);
    foreign[0].value = None;
    world.apply_records(foreign).await.expect("applies");

    let filter = dead_letters::Filter::default();
    let retried = dead_letters::retry(&world.session, &filter, "me").await.expect("asks");
    assert_eq!((&retried.letters[..], &retried.unreadable[..]), (&[1, 2, 3, 4, 5][..], &[6][..]));
    let waiting = repairs::waiting(&world.session, 10).await.expect("reads");
    let ids: Vec<i64> = waiting.iter().map(|request| request.id).collect();
    assert_eq!((ids.len(), &ids), (5, &retried.requests));
    assert!(waiting.iter().any(|request| request.document() == Some(long.clone())), "from the ledger");
    assert!(waiting.iter().all(|request| request.document().is_some()));

    let version = |t| Version::snapshot(1, ClusterTime { t, i: 0 });
    repairs::done(&world.session, &ids[..4], version(9)).await.expect("notes");
    repairs::refuse(&world.session, &ids[4..], "no").await.expect("notes");
    let progress = async || repairs::progress(&world.session, &ids).await.expect("reads");
    let logged = progress().await;
    assert_eq!((logged.asked, logged.logged, logged.applied, logged.refused), (0, 4, 0, 1));
    assert_eq!(repairs::refusals(&world.session, &ids).await.expect("reads"), [("users: no".to_owned(), 1)]);
    assert_eq!(repairs::letters(&world.session, &ids).await.expect("reads").len(), 5);

    // One document is applied as it was read, one is gone, one is refused again.
    let read = |id: i32, document| {
        let mut read = change("users", id, 9, Some(document));
        (read.op, read.version) = (Op::Repair, version(9));
        read
    };
    let mut gone = change("users", 2, 9, None);
    gone.version = version(9);
    let applied = read(1, rawdoc! { "_id": 1, "email": "1@x" });
    let refused = read(4, rawdoc! { "_id": 4, "email": "4@x", "age": -2 });
    world.apply(&[applied, gone, refused]).await;
    let states = "SELECT state FROM driftless.dead_letter WHERE id IN (1, 2, 4) ORDER BY id";
    assert_eq!(world.rows(states).await, ["retried", "superseded", "superseded"]);
    let passed = repairs::progress(&world.session, &ids).await.expect("reads");
    assert_eq!((passed.logged, passed.applied), (1, 3));
    assert_eq!(repairs::letters(&world.session, &ids).await.expect("reads").len(), 3);
    world.end().await;
}

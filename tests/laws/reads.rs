//! Law 9 for reads that are cut over: they stay on PostgreSQL only while the proof holds, every break of it takes them back and says why,
//! and a process that does not know sends them to MongoDB.

use std::path::Path;

use driftless_demo::{Poison, Workload};
use driftless_testing::proxy::{Line, Proxy};
use serde_json::Value;

use crate::support::{DEADLINE, daemon::Daemon, load::fill, migration::Migration, wait};

/// Names a unit in the configuration; `bounds` are its own.
fn unit(migration: &mut Migration, name: &str, collections: &[&str], bounds: &[(&str, &str)]) {
    let collections = collections.iter().map(|&name| toml::Value::from(name)).collect::<Vec<_>>();
    let mut unit: toml::Table = bounds.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    unit.insert("collections".to_owned(), collections.into());
    let mut units = migration.get("reads", "units").cloned().unwrap_or_else(|| toml::Table::new().into());
    units.as_table_mut().expect("a section").insert(name.to_owned(), unit.into());
    migration.set("reads", "units", units);
}

/// Bounds that nothing but an unequal row breaks, so that a slow machine does not.
const PATIENT: [(&str, &str); 3] = [("patience", "1h"), ("fresh", "1h"), ("max_staleness", "1h")];

/// Gives a unit a share as soon as the gate is ready.
async fn give(migration: &Migration, unit: &str, share: &str) {
    wait::until(format!("{share} of {unit} are on PostgreSQL"), DEADLINE, async || {
        let given = migration.command(&["cutover", "reads", "--unit", unit, "--share", share]).await;
        let said = String::from_utf8_lossy(&given.stdout).into_owned();
        wait::holds(given.status.success(), format!("{said}{}", String::from_utf8_lossy(&given.stderr)))
    })
    .await;
}

/// Returns a unit as the view shows it: share, wish, whether it is tripped, and why.
async fn view(migration: &Migration, unit: &str) -> (f64, f64, bool, String) {
    let sql = "SELECT share::float8, wish::float8, tripped, coalesce(reason, '') FROM driftless.reads WHERE unit = $1";
    let row = migration.target.query_one(sql, &[&unit]).await.expect("the unit is in the view");
    (row.get(0), row.get(1), row.get(2), row.get(3))
}

/// Waits until the unit is tripped; returns why.
async fn tripped(migration: &Migration, unit: &str) -> String {
    wait::until(format!("{unit} is tripped"), DEADLINE, async || {
        let (share, wish, tripped, why) = view(migration, unit).await;
        wait::holds(tripped && share == 0.0 && wish > 0.0, format!("{share} of {wish}: {why}"))?;
        Ok::<_, String>(why)
    })
    .await
}

/// Waits until the process itself sends this share to PostgreSQL.
async fn answers(daemon: &Daemon, unit: &str, share: f64) {
    let metric = format!("driftless_reads_share_percent{{unit=\"{unit}\"}}");
    wait::until(format!("a process answers {share} % of {unit}"), DEADLINE, async || {
        let found = daemon.metric(&metric).await;
        wait::holds(found == Some(share), format!("{found:?}"))
    })
    .await;
}

async fn history(migration: &Migration, unit: &str) -> Vec<Value> {
    let said = migration.succeed(&["cutover", "history", "--unit", unit, "--json"]).await;
    let changes: Vec<Value> = serde_json::from_str(&said).expect("JSON");
    changes.into_iter().rev().collect()
}

fn actions(history: &[Value]) -> Vec<&str> {
    history.iter().filter_map(|change| change["action"].as_str()).collect()
}

const ROGUE: &str = "SET session_replication_role = replica; \
     UPDATE app.users SET updated_at = updated_at + interval '1 day' WHERE id = (SELECT min(id::text)::uuid FROM app.users); \
     SET session_replication_role = origin";
/// Changes an organisation by hand; its guard sees it.
const SEEN: &str = "UPDATE app.organisations SET name = name || '!' \
                     WHERE id = (SELECT min(id::text)::uuid FROM app.organisations)";

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_taken_back_by_a_rogue_row_and_return_once_it_is_repaired() {
    let mut migration = Migration::demo("reads").await;
    migration.set("cutover", "fresh", "1h");
    let recovering = [PATIENT.as_slice(), &[("recover_after", "1s")]].concat();
    unit(&mut migration, "people", &["users"], &recovering);
    unit(&mut migration, "companies", &["organisations"], &[PATIENT.as_slice(), &[("recover_after", "1h")]].concat());
    unit(&mut migration, "work", &["plans"], &PATIENT);
    let file = migration.mapping().with_file_name("reads.json");
    migration.set("reads", "file", file.to_str().expect("a plain name"));
    fill(&migration, 61, 100).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    migration.succeed(&["guard", "install"]).await;
    for (unit, share) in [("people", "50%"), ("companies", "12.5%"), ("work", "100%")] {
        give(&migration, unit, share).await;
    }
    answers(&daemon, "people", 50.0).await;
    assert_eq!(view(&migration, "companies").await, (12.5, 12.5, false, String::new()));
    in_file(&file, "people", 50.0).await;
    let shown = daemon.status().await.expect("a status").reads;
    assert!(shown.iter().any(|unit| unit["unit"] == "people" && unit["share"] == 50.0), "{shown:?}");

    // A row that the guard does not see.
    migration.target.batch_execute(ROGUE).await.expect("edit a row by hand");
    let why = tripped(&migration, "people").await;
    assert_eq!(why, "users: documents that drift: 1 (0 missing, 0 extra, 1 different)");
    answers(&daemon, "people", 0.0).await;
    in_file(&file, "people", 0.0).await;
    assert_eq!(daemon.metric("driftless_reads_trips_total{unit=\"people\"}").await, Some(1.0));
    assert!(daemon.log().contains("the proof broke"), "the log says so, too");
    // The others keep their reads.
    assert_eq!(view(&migration, "work").await, (100.0, 100.0, false, String::new()));

    migration.succeed(&["repair", "--collection", "users"]).await;
    answers(&daemon, "people", 50.0).await;
    let changes = history(&migration, "people").await;
    assert_eq!(actions(&changes), ["share", "trip", "recover"], "{changes:?}");
    assert!(changes.iter().all(|change| change["verified"]["t"].is_u64()), "{changes:?}");
    assert_eq!(changes[1]["why"], Value::from(why));
    // It does not go on before the repair.
    let early = "SELECT count(*) FROM driftless.read_change AS r, driftless.finding AS f \
                  WHERE r.action = 'recover' AND f.ended_at > r.at - interval '1 second'";
    assert_eq!(migration.number(early).await, 0);

    a_green_time_begins_again_with_each_break(&migration, &daemon).await;
    let back = migration.succeed(&["cutover", "back", "--unit", "all", "--why", "the end", "--by", "ann"]).await;
    let expected =
        "All reads of companies go to MongoDB.\nAll reads of people go to MongoDB.\nAll reads of work go to MongoDB.\n";
    let mut lines: Vec<&str> = back.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.join("\n") + "\n", expected);
    let last = history(&migration, "work").await.pop().expect("a change");
    assert_eq!((&last["who"], &last["why"], &last["share"]), (&"ann".into(), &"the end".into(), &0.0.into()));
    daemon.stop(0).await;
    migration.finish().await;
}

/// A unit that waits an hour is green, red and green again; the second green time begins later, and an operator ends the wait.
async fn a_green_time_begins_again_with_each_break(migration: &Migration, daemon: &Daemon) {
    let green =
        "SELECT (extract(epoch FROM green_since) * 1000)::int8::text FROM driftless.read_unit WHERE unit = 'companies'";
    let is_green = async |wanted: bool| {
        wait::until(format!("companies are green: {wanted}"), DEADLINE, async || {
            let since = migration.texts(green).await.remove(0);
            wait::holds(since.is_some() == wanted, format!("{since:?}"))?;
            Ok::<_, String>(since.and_then(|ms| ms.parse::<i64>().ok()))
        })
        .await
    };
    let mut begun = Vec::new();
    for _ in 0..2 {
        migration.target.batch_execute(SEEN).await.expect("edit a row by hand");
        let why = tripped(migration, "companies").await;
        assert!(why.contains("organisations: "), "{why}");
        is_green(false).await;
        migration.wait_for_number("SELECT count(*) FROM driftless.finding WHERE ended_at IS NULL", DEADLINE, 1).await;
        migration.succeed(&["repair", "--collection", "organisations"]).await;
        begun.push(is_green(true).await);
    }
    assert!(begun[0] < begun[1], "{begun:?}");
    let changes = history(migration, "companies").await;
    assert_eq!(actions(&changes), ["share", "trip"], "the second break is no second trip");
    give(migration, "companies", "20%").await;
    answers(daemon, "companies", 20.0).await;
}

async fn in_file(file: &Path, unit: &str, share: f64) {
    wait::until(format!("the file says {share} of {unit}"), DEADLINE, async || {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        let content: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let found = &content["units"][unit];
        let holds = found["valid_until"].is_string() == (share > 0.0) && found["reason"].is_string() == (share == 0.0);
        wait::holds(found["share"] == share && holds, text)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_taken_back_by_every_part_of_the_proof_that_breaks() {
    let mut migration = Migration::demo("reads_broken").await;
    migration.set("reads", "patience", "1s");
    migration.set("cutover", "fresh", "1h");
    let hour = "1h";
    unit(&mut migration, "letters", &["plans"], &[("fresh", hour), ("max_staleness", hour)]);
    unit(&mut migration, "proof", &["users"], &[("fresh", "5s"), ("max_staleness", hour)]);
    unit(&mut migration, "stale", &["sections"], &[("fresh", hour), ("max_staleness", "5s")]);
    unit(&mut migration, "halted", &["organisations"], &[("fresh", hour), ("max_staleness", hour)]);
    fill(&migration, 62, 100).await;
    let source = migration.daemon_with(&["source"]);
    let reconciler = migration.daemon_with(&["reconciler"]);
    let sink = migration.daemon_with(&["sink"]);
    migration.quiesce(&sink, DEADLINE).await;
    migration.succeed(&["guard", "install"]).await;

    give(&migration, "letters", "100%").await;
    let mut workload = Workload::new(migration.mongo.clone(), &migration.name, 63);
    let poisoned = workload.poison(Poison::NulInText).await.expect("write a document that is refused");
    let why = tripped(&migration, "letters").await;
    assert!(why.contains("plans: dead letters open: 1") || why.starts_with("plans: documents that drift: 1 "), "{why}");
    // It is refused as long as the letter is open, and lets nobody force it in silence.
    let refused = migration.command(&["cutover", "reads", "--unit", "letters", "--share", "1%"]).await;
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("next: `driftless dlq list --collection plans --group`"), "{said}");
    assert!(view(&migration, "letters").await.2, "it is tripped as before");
    workload.mend(poisoned).await.expect("correct the document");
    give(&migration, "letters", "1%").await;

    give(&migration, "proof", "100%").await;
    reconciler.sigstop().await;
    let why = tripped(&migration, "proof").await;
    assert!(why.starts_with("users: verified as of "), "{why}");
    reconciler.sigcont().await;

    give(&migration, "stale", "100%").await;
    source.sigstop().await;
    let why = tripped(&migration, "stale").await;
    assert!(why.starts_with("sections: the target is complete as of "), "{why}");
    source.sigcont().await;

    give(&migration, "halted", "100%").await;
    // A reconciler would find the rows of the dropped collection, which is drift.
    reconciler.sigstop().await;
    migration.collection("organisations").drop().await.expect("drop a collection, at which the source halts");
    let why = tripped(&migration, "halted").await;
    assert!(why.contains("the source has halted: "), "{why}");
    reconciler.sigcont().await;

    source.stop(3).await;
    reconciler.stop(0).await;
    sink.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_to_mongodb_where_a_process_does_not_know() {
    let mut migration = Migration::demo("reads_unknown").await;
    migration.set("cutover", "fresh", "1h");
    unit(&mut migration, "people", &["users"], &PATIENT);
    fill(&migration, 64, 50).await;
    let judge = migration.daemon();
    migration.quiesce(&judge, DEADLINE).await;
    migration.succeed(&["guard", "install"]).await;
    give(&migration, "people", "50%").await;
    answers(&judge, "people", 50.0).await;

    // A process that answers, and runs no role. PostgreSQL is away from it alone.
    let url = migration.stack.postgres_url(&migration.name);
    let server = address(&url);
    let proxy = Proxy::to(server.to_owned()).await;
    migration.set("sink", "url", url.replace(server, &proxy.address.to_string()));
    migration.set("source", "uri", "mongodb://127.0.0.1:1");
    migration.set("log", "brokers", "127.0.0.1:2");
    let sidecar = migration.daemon_with(&["reads"]);
    answers(&sidecar, "people", 50.0).await;
    let without_role = "SELECT count(*) FROM driftless.process WHERE roles = '{}'";
    migration.wait_for_number(without_role, DEADLINE, 1).await;
    for line in [Line::Cut, Line::Stalled] {
        proxy.set(line);
        answers(&sidecar, "people", 0.0).await;
        let known = sidecar.metric("driftless_reads_known").await;
        assert_eq!(known, Some(0.0), "{line:?}");
        assert_eq!(view(&migration, "people").await.0, 50.0, "the others know");
        proxy.set(Line::Open);
        answers(&sidecar, "people", 50.0).await;
    }

    // Taking back needs nothing but PostgreSQL: no source, no log, no mapping that can be read.
    let mapping = std::fs::read_to_string(migration.mapping()).expect("read the mapping");
    std::fs::write(migration.mapping(), "[collections").expect("break the mapping");
    let back = migration.succeed(&["cutover", "back", "--unit", "people"]).await;
    assert_eq!(back, "All reads of people go to MongoDB.\n");
    answers(&sidecar, "people", 0.0).await;
    answers(&judge, "people", 0.0).await;
    let again = migration.succeed(&["cutover", "back", "--unit", "people"]).await;
    assert_eq!(again, "All reads of people went to MongoDB already.\n");
    let wrong = migration.command(&["cutover", "back", "--unit", "poeple"]).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("find the unit poeple: there are only all, people"));
    std::fs::write(migration.mapping(), mapping).expect("write the mapping");

    // A unit that nobody judges any more is no longer proven, for nobody.
    give(&migration, "people", "30%").await;
    answers(&sidecar, "people", 30.0).await;
    judge.kill9().await;
    answers(&sidecar, "people", 0.0).await;
    let (share, wish, tripped, why) = view(&migration, "people").await;
    assert_eq!((share, wish, tripped, &*why), (0.0, 30.0, false, "no process judges the unit"));
    sidecar.stop(0).await;
    migration.finish().await;
}

/// `host:port` of a connection string.
fn address(url: &str) -> &str {
    let (_, rest) = url.rsplit_once('@').or_else(|| url.split_once("://")).expect("the URL names a server");
    rest.split('/').next().unwrap_or(rest)
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_are_forced_keep_what_was_accepted_and_lose_to_everything_else() {
    let mut migration = Migration::demo("reads_forced").await;
    migration.set("cutover", "fresh", "1h");
    unit(&mut migration, "people", &["users"], &PATIENT);
    fill(&migration, 65, 50).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    migration.target.batch_execute(ROGUE).await.expect("edit a row by hand");
    migration.wait_for_number("SELECT count(*) FROM driftless.finding WHERE ended_at IS NULL", DEADLINE, 1).await;
    let given = ["cutover", "reads", "--unit", "people", "--share", "5%", "--force"];
    let refused = migration.command(&given).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--why <WHY>"));
    let force = async |why: &str| {
        let said = migration.succeed(&[&given[..], &["--why", why]].concat()).await;
        assert!(said.ends_with("5% of the reads of people go to PostgreSQL.\n"), "{said}");
        answers(&daemon, "people", 5.0).await;
        let forced = history(&migration, "people").await.pop().expect("a change");
        assert_eq!((&forced["forced"], &forced["why"]), (&true.into(), &why.into()));
    };
    force("one row is known").await;

    // Judgements go on, and what is new trips.
    migration.target.batch_execute(LETTER).await.expect("make a dead letter");
    assert_eq!(tripped(&migration, "people").await, "users: dead letters open: 1");

    // It is accepted for as long as it lasts, and its end changes nothing for those who ask.
    force("the letter is known, too").await;
    let given = shares(&migration).await;
    let accepted = "SELECT array_to_string(accepted, ', ') FROM driftless.read_unit WHERE unit = 'people'";
    migration.target.batch_execute("DELETE FROM driftless.dead_letter").await.expect("settle the dead letter");
    wait::until("only the row is still accepted", DEADLINE, async || {
        let accepted = migration.texts(accepted).await;
        wait::holds(accepted == [Some("users drift".to_owned())], format!("{accepted:?}"))
    })
    .await;
    assert_eq!(shares(&migration).await, given);
    migration.target.batch_execute(LETTER).await.expect("make the dead letter again");
    assert_eq!(tripped(&migration, "people").await, "users: dead letters open: 1");
    assert_eq!(actions(&history(&migration, "people").await), ["share", "trip", "share", "trip"]);
    daemon.stop(0).await;
    migration.finish().await;
}

/// A dead letter, as the sink writes it.
const LETTER: &str = "INSERT INTO driftless.dead_letter (migration, collection, topic, partition, log_offset, reason, headers, timestamp_ms, state) \
     SELECT c.migration, c.id, 'a topic', 0, 0, 'TOO_LONG', '{}', 0, 'open' \
       FROM driftless.collection AS c WHERE c.name = 'users'";

/// Returns the shares, and how often they have changed.
async fn shares(migration: &Migration) -> Vec<Option<String>> {
    migration.texts("SELECT concat_ws(' ', unit, share, epoch) FROM driftless.reads ORDER BY unit").await
}

//! A wrong mapping must not dead-letter a table: `check` reports it beforehand, and the sink stops while the dead letters are
//! few.

use crate::support::{DEADLINE, daemon::Daemon, load::fill, migration::Migration};

const LETTERS: &str = "SELECT count(*) FROM driftless.dead_letter";
const LIMIT: i64 = 20;

async fn halted(daemon: &Daemon) -> crate::support::status::Role {
    let status = daemon.wait_for("the sink halts", DEADLINE, |status| status.phase("sink") == "halted").await;
    status.process.roles["sink"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_mapping_stops_the_sink_and_a_mended_one_goes_on_from_there() {
    let mut migration = Migration::demo("breaker").await;
    migration.set("sink", "breaker_dead_letters", LIMIT);
    fill(&migration, 9, 1_000).await;
    let right = std::fs::read_to_string(migration.mapping()).expect("read the mapping");
    migration.succeed(&["check", "--all"]).await;

    // A path that no document has, for a column that is NOT NULL.
    let plans = "[collections.plans.columns]\n";
    assert!(right.contains(plans), "the demo maps plans");
    let wrong = right.replace(plans, &format!("{plans}title = \"titel\"\n"));
    std::fs::write(migration.mapping(), wrong).expect("write the mapping");
    let checked = migration.command(&["check"]).await;
    let told = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(2), "{told}");
    let fault = "would become dead letters: NOT_NULL in column \"title\" of app.plans at path \"titel\"";
    assert!(told.contains(fault), "{told}");

    let daemon = migration.daemon();
    let sink = halted(&daemon).await;
    let reason = sink.reason.expect("a reason");
    assert!(reason.contains("dead letters within") && reason.contains("NOT_NULL"), "{reason}");
    let hint = sink.hint.expect("a hint");
    assert!(hint.contains("driftless check") && hint.contains("breaker_dead_letters"), "{hint}");
    assert!(migration.number(LETTERS).await <= LIMIT);
    daemon.stop(3).await;

    migration.remap(&right).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    migration.succeed(&["dlq", "retry"]).await;
    migration.wait_for_number("SELECT count(*) FROM driftless.dead_letter WHERE state = 'open'", DEADLINE, 0).await;
    migration.succeed(&["reconcile", "--full"]).await;
    daemon.stop(0).await;
    migration.finish().await;
}

//! Law 9 at the moment it is for: the command, the page and the metric say the same about a cutover, name everything that stands in
//! the way, and leave evidence that nobody can change unseen.

use serde_json::Value;

use crate::support::{DEADLINE, daemon::Daemon, load::fill, migration::Migration, wait};

#[tokio::test(flavor = "multi_thread")]
async fn gate_says_ready_or_everything_that_stands_in_the_way() {
    let mut migration = Migration::demo("gate").await;
    migration.set("cutover", "fresh", "1h");
    fill(&migration, 51, 100).await;
    let none = migration.command(&["cutover", "check"]).await;
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("run the daemon first"));

    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    agreed(&migration, &daemon, 0).await;
    wait::until("the metric says so, too", DEADLINE, async || {
        let ready = daemon.metric("driftless_cutover_ready").await;
        // Six collections, and all of them.
        wait::holds(ready == Some(7.0), format!("{ready:?}"))
    })
    .await;
    evidence_is_verified_and_no_change_of_it_passes(&migration).await;

    // One collection drifts: the others are still ready, all of them together are not.
    let change = "UPDATE app.users SET updated_at = updated_at + interval '1 day' WHERE id = (SELECT min(id::text)::uuid FROM app.users)";
    migration.target.batch_execute("SET session_replication_role = replica").await.expect("be a replica");
    assert_eq!(migration.target.execute(change, &[]).await.expect("change a row by hand"), 1);
    let gates = agreed(&migration, &daemon, 4).await;
    assert_eq!(kinds(&gates, "users"), ["drift"]);
    assert_eq!((kinds(&gates, "plans"), kinds(&gates, "all")), (vec![], vec!["drift".to_owned()]));
    assert_eq!(check(&migration, &["--unit", "plans"]).await.0, Some(0));
    assert_eq!(check(&migration, &["--unit", "users"]).await.0, Some(4));
    let unknown = migration.command(&["cutover", "check", "--unit", "bills"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("find the unit bills: there are only "));

    // A role that no process runs is missing.
    daemon.stop(0).await;
    let sink = migration.daemon_with(&["sink"]);
    wait::until("only the sink is reported", DEADLINE, async || {
        let (code, gates) = check(&migration, &["--unit", "plans"]).await;
        let what: Vec<&str> = blockers(&gates, "plans").filter_map(|blocker| blocker["what"].as_str()).collect();
        let missing = ["no process runs the source", "no process runs the reconciler"];
        let only = what.starts_with(&missing) && !what.contains(&"no process runs the sink");
        wait::holds(code == Some(5) && only, format!("{what:?}"))
    })
    .await;
    sink.stop(0).await;
    migration.finish().await;
}

async fn evidence_is_verified_and_no_change_of_it_passes(migration: &Migration) {
    let evidence = migration.mapping().with_file_name("evidence.json");
    let file = evidence.to_str().expect("a plain name");
    let said = migration.succeed(&["cutover", "check", "--evidence", file]).await;
    let digest = said.rsplit("note its digest: ").next().expect("a digest").trim().to_owned();
    let verified = migration.succeed(&["cutover", "verify", file, "--digest", &digest]).await;
    assert!(verified.contains("unit all was ready at ") && verified.contains("100 documents"), "{verified}");
    let text = std::fs::read_to_string(&evidence).expect("read the evidence");
    assert!(text.contains("MongoDB 6.") && text.contains("PostgreSQL ") && !text.contains("mongodb://"), "{text}");
    std::fs::write(&evidence, text.replacen("\"findings\": 0", "\"findings\": 1", 1)).expect("change it");
    let refused = migration.command(&["cutover", "verify", file]).await;
    let report = String::from_utf8_lossy(&refused.stdout);
    assert_eq!(refused.status.code(), Some(2), "{report}");
    assert!(report.contains("the content was changed"), "{report}");
}

/// Waits until the command ends with this code, and the page says the same as the command.
async fn agreed(migration: &Migration, daemon: &Daemon, code: i32) -> Value {
    wait::until(format!("the command ends with {code} and the page agrees"), DEADLINE, async || {
        let (found, gates) = check(migration, &[]).await;
        let (_, page) = daemon.page("/api/v1/cutover").await?;
        let page: Value = serde_json::from_str(&page).map_err(|error| error.to_string())?;
        wait::holds(found == Some(code) && said(&gates) == said(&page), format!("{found:?} {gates} {page}"))?;
        Ok::<_, String>(gates)
    })
    .await
}

/// Whether each unit is ready, and what stands in its way.
fn said(gates: &Value) -> Vec<(Value, Value, Value)> {
    let each = gates.as_array().into_iter().flatten();
    each.map(|gate| (gate["unit"].clone(), gate["ready"].clone(), gate["blockers"].clone())).collect()
}

async fn check(migration: &Migration, more: &[&str]) -> (Option<i32>, Value) {
    let output = migration.command(&[&["cutover", "check", "--json"], more].concat()).await;
    let gates = serde_json::from_slice(&output.stdout);
    (output.status.code(), gates.unwrap_or_else(|_| String::from_utf8_lossy(&output.stderr).into()))
}

fn blockers<'a>(gates: &'a Value, unit: &'a str) -> impl Iterator<Item = &'a Value> {
    let of = gates.as_array().into_iter().flatten().filter(move |gate| gate["unit"] == unit);
    of.flat_map(|gate| gate["blockers"].as_array().into_iter().flatten())
}

fn kinds(gates: &Value, unit: &str) -> Vec<String> {
    blockers(gates, unit).filter_map(|blocker| blocker["kind"].as_str().map(str::to_owned)).collect()
}

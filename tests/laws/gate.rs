//! Law 9 at the moment it is for: the command, the page and the metric say the same about a cutover, name everything that stands in
//! the way, and leave evidence that nobody can change unseen.

use serde_json::Value;

use crate::support::{DEADLINE, daemon::Daemon, load::fill, migration::Migration, wait};

/// What would be proven by a baseline of one collection: three chunks that hold everything.
const PROVE: &str = "
    UPDATE driftless.proof SET complete_pass = 1, complete_began_at = clock_timestamp(), complete_t = 1, complete_i = 1,
           complete_documents = 7, void_because = NULL, verified_t = 4000000000, verified_i = 1,
           verified_at = clock_timestamp() + interval '1 second', complete_ended_at = clock_timestamp() + interval '1 second';
    DELETE FROM driftless.baseline_chunk;
    INSERT INTO driftless.baseline_chunk (collection, pass, place, phase, as_of_t, as_of_i, documents, findings)
    SELECT p.collection, 1, e.place, e.phase, 1, e.place, CASE e.phase WHEN 'documents' THEN 7 ELSE 1 END, 0
      FROM driftless.proof AS p, unnest(ARRAY['documents', 'ledger', 'rows']) WITH ORDINALITY AS e(phase, place)";

#[tokio::test(flavor = "multi_thread")]
async fn gate_says_ready_or_everything_that_stands_in_the_way() {
    let mut migration = Migration::demo("gate").await;
    migration.set("cutover", "fresh", "1h");
    fill(&migration, 51, 100).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    let (code, gates) = check(&migration, &[]).await;
    assert_eq!(code, Some(5), "{gates}");
    assert_eq!(kinds(&gates, "users"), ["baseline"]);

    wait::until("the reconciler has planned the proof", DEADLINE, async || {
        let planned = migration.number("SELECT count(*) FROM driftless.proof").await;
        wait::holds(planned == 6, planned)
    })
    .await;
    migration.target.batch_execute(PROVE).await.expect("prove everything");
    agreed(&migration, &daemon, 0).await;
    assert!(
        daemon.metric("driftless_cutover_ready").await.is_some_and(|ready| ready >= 7.0),
        "six collections and all"
    );
    let evidence = migration.mapping().with_file_name("evidence.json");
    let file = evidence.to_str().expect("a plain name");
    let said = migration.succeed(&["cutover", "check", "--evidence", file]).await;
    let digest = said.rsplit("note its digest: ").next().expect("a digest").trim().to_owned();
    let verified = migration.succeed(&["cutover", "verify", file, "--digest", &digest]).await;
    assert!(verified.contains("unit all was ready at ") && verified.contains("42 documents"), "{verified}");
    let text = std::fs::read_to_string(&evidence).expect("read the evidence");
    assert!(text.contains("MongoDB 6.") && text.contains("PostgreSQL ") && !text.contains("mongodb://"), "{text}");
    std::fs::write(&evidence, text.replace("\"documents\": 7", "\"documents\": 8")).expect("change it");
    let refused = migration.command(&["cutover", "verify", file]).await;
    let report = String::from_utf8_lossy(&refused.stdout);
    assert_eq!(refused.status.code(), Some(2), "{report}");
    assert!(report.contains("the content was changed"), "{report}");

    // One collection drifts: the others are still ready, all of them together are not.
    let finding = "INSERT INTO driftless.finding (collection, key, kind, as_of_t, as_of_i, plan, found_by)
        SELECT collection, '\\x00', 'missing', 1, 1, plan, 'command' FROM driftless.proof AS p
          JOIN driftless.collection AS c ON c.id = p.collection WHERE c.name = 'users'";
    assert_eq!(migration.target.execute(finding, &[]).await.expect("find something"), 1);
    let gates = agreed(&migration, &daemon, 4).await;
    assert_eq!(kinds(&gates, "users"), ["drift"]);
    assert_eq!((kinds(&gates, "plans"), kinds(&gates, "all")), (vec![], vec!["drift".to_owned()]));
    assert_eq!(check(&migration, &["--unit", "plans"]).await.0, Some(0));
    let unknown = migration.command(&["cutover", "check", "--unit", "bills"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("find the unit bills: there are only "));
    migration.target.execute("DELETE FROM driftless.finding", &[]).await.expect("forget it");

    // What no process does is not done.
    daemon.stop(0).await;
    let sink = migration.daemon_with(&["sink"]);
    wait::until("only the sink is reported", DEADLINE, async || {
        let (code, gates) = check(&migration, &["--unit", "users"]).await;
        let what: Vec<&str> = blockers(&gates, "users").filter_map(|blocker| blocker["what"].as_str()).collect();
        let missing = ["no process runs the source", "no process runs the reconciler"];
        wait::holds(
            code == Some(5) && what.starts_with(&missing) && !what.contains(&"no process runs the sink"),
            format!("{what:?}"),
        )
    })
    .await;
    sink.stop(0).await;
    migration.finish().await;
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

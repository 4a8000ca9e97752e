//! Law 9: the verdict follows from what is proven: what lies behind is no drift, and what drifts is named and counted once.

use mongodb::bson::{doc, oid::ObjectId};

use crate::support::{
    DEADLINE,
    load::{Marker, fill, organisation},
    migration::Migration,
    wait,
};

/// Complete passes over the collection with the fewest.
const PASSES: &str = "SELECT coalesce(min(coalesce(complete_pass, 0)), 0) FROM driftless.proof";

/// The image of an updated document is read later than its event. If the document is deleted in between, the update yields no
/// change, only the delete does; a reconciler that read the document in between must wait for the delete.
#[tokio::test(flavor = "multi_thread")]
async fn verdict_waits_for_the_delete_behind_an_update() {
    const DOCUMENTS: u64 = 100;
    const MISSING: u64 = 2 * DOCUMENTS;
    const MAX_ROUNDS: u64 = 20;
    let mut migration = Migration::demo("behind").await;
    // A source that is stopped for a while remains the leader.
    migration.set("log", "session_timeout", "60s");
    let source = migration.daemon_with(&["source"]);
    let sink = migration.daemon_with(&["sink"]);
    let organisations = migration.collection("organisations");
    let marker = Marker::write(&migration).await;
    migration.quiesce(&sink, DEADLINE).await;
    // The server records every read.
    migration.source.run_command(doc! { "profile": 2 }).await.expect("record reads");
    // An update whose delete comes in the same reply needs no lookup, so a round may race in vain.
    let (mut round, mut missing) = (0, 0.0);
    while missing < MISSING as f64 {
        assert!(round < MAX_ROUNDS, "{missing} updates were looked up after their document was gone");
        let these = doc! { "about": format!("round {round}") };
        round += 1;
        let documents = (0..DOCUMENTS).map(|_| {
            let mut document = organisation(ObjectId::new());
            document.extend(these.clone());
            document
        });
        organisations.insert_many(documents).await.expect("insert documents");
        migration.quiesce(&sink, DEADLINE).await;

        source.sigstop().await;
        organisations.update_many(these.clone(), doc! { "$inc": { "employees": 1 } }).await.expect("update them");
        let before = reads_at_one_instant(&migration).await;
        let writes = async {
            wait::until("the comparison has read documents as they are now", DEADLINE, async || {
                let now = reads_at_one_instant(&migration).await;
                wait::holds(now > before, now)
            })
            .await;
            // Other writes carry the frontier past that read before the deletes come.
            for _ in 0..8 {
                marker.raise(&migration).await;
            }
            organisations.delete_many(these).await.expect("delete them");
            source.sigcont().await;
        };
        let compared = migration.command(&["reconcile", "--full", "--collection", "organisations"]);
        let (compared, ()) = tokio::join!(compared, writes);
        let report = String::from_utf8_lossy(&compared.stdout).into_owned();
        assert_eq!(compared.status.code(), Some(0), "{report} {}", String::from_utf8_lossy(&compared.stderr));
        missing = source.metric("driftless_source_lookups_missing_total").await.unwrap_or_default();
    }
    migration.source.run_command(doc! { "profile": 0 }).await.expect("record no more");
    source.stop(0).await;
    sink.stop(0).await;
    migration.finish().await;
}

/// Returns the number of reads of organisations as of a cluster time; only the comparison reads so.
async fn reads_at_one_instant(migration: &Migration) -> u64 {
    let reads = doc! { "ns": format!("{}.organisations", migration.name), "command.readConcern.level": "snapshot" };
    migration.collection("system.profile").count_documents(reads).await.expect("count the reads")
}

/// A row that nothing replicated has no ledger entry and no document: only counting finds it.
#[tokio::test(flavor = "multi_thread")]
async fn verdict_names_a_row_that_no_document_stands_behind() {
    let migration = Migration::demo("surplus").await;
    fill(&migration, 29, 100).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    daemon.wait_for("the verdict is in sync", DEADLINE, |status| status.verdict == "in_sync").await;
    migration.succeed(&["reconcile", "--full"]).await;

    let stray = "INSERT INTO app.organisations (id, name, slug, kind, employees, credit, created_at, updated_at)
        VALUES (gen_random_uuid(), 'Stray', 'stray', 'company', 1, 0, now(), now())";
    migration.target.execute(stray, &[]).await.expect("write a row into the target by hand");
    let status = daemon.wait_for("the verdict is drift", DEADLINE, |status| status.verdict == "drift").await;
    let named =
        status.blockers.iter().any(|blocker| blocker.to_string().contains("organisations: documents that drift: 1"));
    assert!(named, "the verdict names the table: {:?}", status.blockers);
    let output = migration.command(&["reconcile", "--full"]).await;
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stdout));

    let remove = "DELETE FROM app.organisations WHERE name = 'Stray'";
    migration.target.execute(remove, &[]).await.expect("remove the row again");
    daemon.wait_for("the verdict is in sync again", DEADLINE, |status| status.verdict == "in_sync").await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// A replay fixes rows that were changed by hand, because it applies the existing versions; that is no fault of the program.
#[tokio::test(flavor = "multi_thread")]
async fn verdict_knows_a_replay_as_a_cause() {
    let migration = Migration::demo("replay_heals").await;
    fill(&migration, 41, 100).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    daemon.wait_for("the verdict is in sync", DEADLINE, |status| status.verdict == "in_sync").await;

    let by_hand = "UPDATE app.organisations SET employees = employees + 1";
    assert!(migration.target.execute(by_hand, &[]).await.expect("change rows by hand") > 0);
    daemon.wait_for("the verdict is drift", DEADLINE, |status| status.verdict == "drift").await;
    migration.replay("organisations").await;
    daemon.wait_for("the verdict is in sync again", DEADLINE, |status| status.verdict == "in_sync").await;
    let healed = daemon.metric("driftless_drift_healed_total").await;
    assert_eq!(healed, Some(0.0), "a replay is a cause");
    daemon.stop(0).await;
    migration.finish().await;
}

/// If there is more drift than a report lists, the report says how much more, and the log does not repeat it per document.
#[tokio::test(flavor = "multi_thread")]
async fn verdict_says_how_much_more_drifts_than_it_lists() {
    let migration = Migration::demo("many").await;
    let daemon = migration.daemon();
    let ids: Vec<ObjectId> = (0..105).map(|_| ObjectId::new()).collect();
    let organisations = migration.collection("organisations");
    organisations.insert_many(ids.iter().map(|id| organisation(*id))).await.expect("insert documents");
    migration.quiesce(&daemon, DEADLINE).await;
    migration.target.batch_execute("DELETE FROM app.organisations").await.expect("remove rows by hand");
    daemon.wait_for("the verdict is drift", DEADLINE, |status| status.verdict == "drift").await;

    let full = ["reconcile", "--full", "--collection", "organisations"];
    let report = async |more: &[&str]| {
        let output = migration.command(&[&full[..], more].concat()).await;
        assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let text = report(&[]).await;
    let lines = |text: &str| text.lines().filter(|line| line.starts_with("organisations missing {\"$oid\":")).count();
    assert_eq!(lines(&text), 100, "{text}");
    assert!(text.ends_with("organisations: 5 more; `--findings 105` lists all of them\n"), "{text}");
    let text = report(&["--findings", "105"]).await;
    assert_eq!((lines(&text), text.contains("more;")), (105, false), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report(&["--json"]).await).expect("JSON");
    let listed = &json["reports"][0];
    assert_eq!((&listed["missing"], &listed["findings_left_out"]), (&105.into(), &5.into()));

    let begun = migration.number(PASSES).await;
    wait::until("it was met by several passes", DEADLINE, async || {
        let now = migration.number(PASSES).await;
        wait::holds(now >= begun + 3, now)
    })
    .await;
    let open = "SELECT count(*) FROM driftless.finding WHERE ended_at IS NULL AND kind = 'missing'";
    assert_eq!(migration.number(open).await, 105, "each is one finding");
    let log = daemon.log();
    let told: Vec<&str> =
        log.lines().filter(|line| line.contains("found differences collection=\"organisations\"")).collect();
    // One for each chunk, whose sizes grow, and none for what is known.
    assert!((1..=5).contains(&told.len()), "{} lines: {told:?}", told.len());
    let first = ids.iter().min().expect("some");
    assert!(told.iter().any(|line| line.contains(&first.to_hex())), "{told:?}");
    daemon.stop(0).await;
    migration.finish().await;
}

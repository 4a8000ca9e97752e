//! A reset empties the tables of a collection through the log and reads it again, beside live writes. An uninstallation leaves the rows of
//! the application and nothing else.

use mongodb::bson::doc;

use crate::support::{
    DEADLINE,
    load::{Load, fill},
    migration::Migration,
    oracle, topic, wait,
};

const PLANS: &str = "SELECT count(*) FROM app.plans";

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_reads_a_collection_again_and_nothing_older_comes_back() {
    let migration = Migration::demo("reset").await;
    fill(&migration, 71, 300).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    // Deletes before the reset must not come back, neither by the snapshot nor by a replay.
    let few = migration.collection("plans").find_one(doc! {}).await.expect("find").expect("a plan");
    migration
        .collection("plans")
        .delete_one(doc! { "_id": few.get_object_id("_id").expect("an id") })
        .await
        .expect("delete");
    migration.quiesce(&daemon, DEADLINE).await;
    let before = migration.number(PLANS).await;
    let run = "SELECT coalesce((told->>'run')::int8, 0) FROM driftless.snapshot WHERE collection = 'plans'";

    let said = migration.succeed(&["reset", "--collection", "plans"]).await;
    assert!(said.contains("Nothing was changed") && said.contains("app.plans"), "{said}");
    let wrong = migration.command(&["reset", "--collection", "plans", "--confirm", "users", "--why", "a test"]).await;
    assert_eq!(wrong.status.code(), Some(1), "{}", String::from_utf8_lossy(&wrong.stderr));
    assert_eq!((migration.number(run).await, migration.number(PLANS).await), (0, before));
    assert_eq!(migration.number("SELECT count(*) FROM driftless.action WHERE command = 'reset'").await, 0);

    let load = Load::start(&migration, 72, 60.0);
    migration.succeed(&["reset", "--collection", "plans", "--confirm", "plans", "--why", "a wrong id rule"]).await;
    let emptied = "emptied the tables of a collection that was dropped, replaced or reset";
    wait::until("the tables are emptied", DEADLINE, async || wait::holds(daemon.log().contains(emptied), "not yet"))
        .await;
    let done = "SELECT count(*) FROM driftless.snapshot WHERE collection = 'plans' AND told->>'run' = '1' AND (told->>'done')::bool";
    migration.wait_for_number(done, DEADLINE, 1).await;
    load.end().await;
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    let proven = "SELECT count(*) FROM driftless.proof AS p JOIN driftless.collection AS c ON c.id = p.collection, driftless.action AS a \
                   WHERE c.name = 'plans' AND a.command = 'reset' AND a.detail->>'why' = 'a wrong id rule' AND p.complete_began_at > a.at";
    migration.wait_for_number(proven, DEADLINE, 1).await;

    // Once more from the first record: the reset is one of them.
    migration.replay("plans").await;
    migration
        .wait_for_number(
            "SELECT count(*) FROM driftless.position WHERE reread_to IS NOT NULL OR next_offset IS NULL",
            DEADLINE,
            0,
        )
        .await;
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uninstallation_leaves_the_rows_and_nothing_else() {
    let migration = Migration::demo("uninstall").await;
    fill(&migration, 73, 100).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    migration.succeed(&["guard", "install", "--mode", "refuse"]).await;
    // Another migration in the same schema.
    migration.target.batch_execute("INSERT INTO driftless.identity (prefix) VALUES ('other')").await.expect("ok");
    let (brokers, name) = (migration.stack.kafka(), migration.name.clone());
    let topics = || async { topic::names(brokers, &format!("{name}.")).await.len() };
    let rows = migration.number("SELECT count(*) FROM app.users").await;
    let made = topics().await;
    assert!(made > 1);

    let confirm = ["uninstall", "--confirm", name.as_str()];
    let said = migration.succeed(&["uninstall"]).await;
    assert!(said.contains("Nothing was removed") && said.contains(&format!("topic {name}.state")), "{said}");
    for (arguments, reason) in
        [(["uninstall", "--confirm", "other"], "--confirm names other"), (confirm, "stop its processes first")]
    {
        let refused = migration.command(&arguments).await;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && said.contains(reason), "{said}");
    }
    assert_eq!(topics().await, made);
    daemon.stop(0).await;

    migration.succeed(&confirm).await;
    assert_eq!(topics().await, 0);
    assert_eq!(migration.texts("SELECT prefix FROM driftless.identity").await, [Some("other".to_owned())]);
    assert_eq!(
        migration
            .number("SELECT (SELECT count(*) FROM driftless.ledger) + (SELECT count(*) FROM driftless.position)")
            .await,
        0
    );
    let written = migration.target.execute("UPDATE app.users SET full_name = full_name", &[]).await;
    assert_eq!(written.expect("no guard refuses it"), u64::try_from(rows).expect("a count"));
    assert!(
        migration.succeed(&confirm).await.contains("MongoDB: nothing"),
        "there is nothing left, and that is no error"
    );

    // It may begin again; the last migration takes the schema along.
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    daemon.stop(0).await;
    migration.target.batch_execute("DELETE FROM driftless.identity WHERE prefix = 'other'").await.expect("ok");
    migration.succeed(&confirm).await;
    assert_eq!(topics().await, 0);
    assert_eq!(migration.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'driftless'").await, 0);
    assert_eq!(migration.number("SELECT count(*) FROM app.users").await, rows);
    migration.finish().await;
}

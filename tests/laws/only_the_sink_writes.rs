//! Law 6: only the sink writes replicated rows. The other roles and the operators' commands work with a PostgreSQL role that may
//! read the tables of the application but not write them, and the reconciler waits for what only the sink makes.

use crate::support::{
    DEADLINE,
    daemon::Daemon,
    load::{Load, fill},
    migration::Migration,
    oracle, random, roles,
    status::Status,
    topic,
};

/// A role that may read the tables of the application, and not write them.
async fn reader(migration: &Migration) -> String {
    let role = format!("{}_reader", migration.name);
    let rights = format!(
        "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN;
         GRANT USAGE ON SCHEMA app TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA app TO {role}"
    );
    migration.target.batch_execute(&rights).await.expect("make a role that only reads");
    let writable = format!(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'app' AND
             has_table_privilege('{role}', format('%I.%I', schemaname, tablename), 'INSERT, UPDATE, DELETE, TRUNCATE')"
    );
    assert_eq!(migration.number(&writable).await, 0);
    role
}

/// The address of the target for a role.
fn address(migration: &Migration, role: &str) -> String {
    let url = migration.stack.postgres_url(&migration.name);
    let (_, host) = url.rsplit_once('@').expect("a role in the address");
    format!("postgresql://{role}@{host}")
}

async fn drop_role(migration: &Migration, role: &str) {
    migration.target.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.expect("drop the role");
}

#[tokio::test(flavor = "multi_thread")]
async fn source_and_commands_need_no_right_to_write_rows() {
    let (seed, _) = random("only_the_sink_writes");
    let mut migration = Migration::demo("readers").await;
    fill(&migration, seed, 300).await;
    // A superuser, who also creates the product's schema.
    let sink = migration.daemon_with(&["sink"]);
    let schema = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('driftless.ledger')";
    migration.wait_for_number(schema, DEADLINE, 1).await;

    let role = reader(&migration).await;
    let operates = roles::postgresql("operator.sql", &[("role", &role), ("schema", "app")]);
    migration.target.batch_execute(&operates).await.expect("let it operate");
    migration.set("sink", "url", address(&migration, &role));
    let source = migration.daemon_with(&["source"]);
    let load = Load::start(&migration, seed, 100.0);
    sink.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    migration.succeed(&["snapshot", "start", "plans"]).await;
    migration.replay("users").await;
    load.end().await;
    migration.quiesce(&sink, DEADLINE).await;
    oracle::assert_equal(&migration).await;

    source.stop(0).await;
    sink.stop(0).await;
    drop_role(&migration, &role).await;
    migration.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reconciler_changes_nothing_and_waits_for_what_the_sink_makes() {
    let (seed, _) = random("only_the_sink_writes");
    let mut migration = Migration::demo("waiting_reader").await;
    fill(&migration, seed, 200).await;
    let role = reader(&migration).await;
    let (owner, reader) = (migration.stack.postgres_url(&migration.name), address(&migration, &role));
    migration.set("sink", "url", reader.as_str());

    refused(&migration, &["read schema driftless: it does not exist", "start the sink"]).await;
    let reconciler = migration.daemon_with(&["reconciler"]);
    waits(&reconciler, "read schema driftless: it does not exist").await;
    assert_eq!(migration.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'driftless'").await, 0);

    // The schema alone: nothing is registered in it, and the role may not read it yet.
    migration.set("sink", "url", owner.as_str());
    migration.succeed(&["schema", "apply"]).await;
    migration.set("sink", "url", reader.as_str());
    let told = refused(&migration, &[&format!("the role {role} lacks"), "USAGE on schema driftless"]).await;
    // The log line escapes the quotes of the statements.
    let told = told.replace("\\\"", "\"");
    let granted: Vec<&str> = told.split("GRANT ").skip(1).filter_map(|grant| Some(grant.split_once(';')?.0)).collect();
    assert!(!granted.is_empty() && granted.iter().all(|grant| !grant.contains("app.")), "{told}");
    for grant in granted {
        migration.target.batch_execute(&format!("GRANT {grant}")).await.expect("do as it says");
    }
    refused(&migration, &["the sink has not registered it", "start the sink"]).await;
    waits(&reconciler, "the sink has not registered it").await;
    let made = migration
        .number("SELECT (SELECT count(*) FROM driftless.collection) + (SELECT count(*) FROM driftless.identity)");
    assert_eq!(made.await, 0);
    let topics = topic::names(migration.stack.kafka(), &format!("{}.", migration.name)).await;
    assert_eq!(topics, Vec::<String>::new(), "only source and sink create topics");

    // Everything is there: the same role compares.
    migration.set("sink", "url", owner.as_str());
    let daemon = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&daemon, DEADLINE).await;
    // With the rights of the script instead of those that were printed.
    let script = roles::postgresql("reader.sql", &[("role", &role), ("schema", "app")]);
    migration.target.batch_execute(&format!("DROP OWNED BY {role}; {script}")).await.expect("the rights of the script");
    migration.set("sink", "url", reader.as_str());
    migration.succeed(&["reconcile", "--full"]).await;
    let sees = format!("SELECT count(*) WHERE has_table_privilege('{role}', 'driftless.evidence', 'SELECT')");
    assert_eq!(migration.number(&sees).await, 0, "the contents of documents");
    reconciler.wait_for("it compares", DEADLINE, |status| status.phase("reconciler") == "running").await;
    reconciler.wait_for("the verdict is in sync", DEADLINE, |status| status.verdict == "in_sync").await;

    reconciler.stop(0).await;
    daemon.stop(0).await;
    drop_role(&migration, &role).await;
    migration.finish().await;
}

/// Runs `reconcile`, which must fail with an error that says all of that; returns the error.
async fn refused(migration: &Migration, says: &[&str]) -> String {
    let output = migration.command(&["reconcile"]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(says.iter().all(|part| told.contains(part)), "{says:?}: {told}");
    told
}

async fn waits(reconciler: &Daemon, reason: &str) {
    let waits = |status: &Status| {
        let line = &status.process.roles["reconciler"];
        line.phase == "stalled" && line.reason.as_deref().is_some_and(|found| found.contains(reason))
    };
    reconciler.wait_for(reason, DEADLINE, waits).await;
}

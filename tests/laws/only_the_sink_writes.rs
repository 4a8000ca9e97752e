//! Law 6: only the sink writes replicated rows. The source and the operators' commands work with a PostgreSQL role that may
//! read the tables of the application but not write them.

use crate::support::{
    DEADLINE,
    load::{Load, fill},
    migration::Migration,
    oracle, random,
};

#[tokio::test(flavor = "multi_thread")]
async fn source_and_commands_need_no_right_to_write_rows() {
    let (seed, _) = random("only_the_sink_writes");
    let mut migration = Migration::demo("readers").await;
    fill(&migration, seed, 300).await;
    // A superuser, who also creates the product's schema.
    let sink = migration.daemon_with(&["sink"]);
    let schema = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('driftless.ledger')";
    migration.wait_for_number(schema, DEADLINE, 1).await;

    let (name, url) = (migration.name.clone(), migration.stack.postgres_url(&migration.name));
    let role = format!("{name}_reader");
    let rights = format!(
        "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN;
         GRANT USAGE ON SCHEMA app, driftless TO {role};
         GRANT SELECT ON ALL TABLES IN SCHEMA app TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA driftless TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA driftless TO {role}"
    );
    migration.target.batch_execute(&rights).await.expect("make a role that only reads");
    let writable = format!(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'app' AND
             has_table_privilege('{role}', format('%I.%I', schemaname, tablename), 'INSERT, UPDATE, DELETE, TRUNCATE')"
    );
    assert_eq!(migration.number(&writable).await, 0);
    let (_, host) = url.rsplit_once('@').expect("a role in the address");
    migration.set("sink", "url", format!("postgresql://{role}@{host}"));

    let source = migration.daemon_with(&["source"]);
    let load = Load::start(&migration, seed, 100.0);
    sink.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    migration.succeed(&["snapshot", "start", "plans"]).await;
    migration.succeed(&["replay", "--collection", "users", "--to-earliest"]).await;
    load.end().await;
    migration.quiesce(&sink, DEADLINE).await;
    oracle::assert_equal(&migration).await;

    source.stop(0).await;
    sink.stop(0).await;
    migration.target.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.expect("drop the role");
    migration.finish().await;
}

//! Law 6, seen from outside: what somebody else writes into a guarded table is compared again within seconds, and whatever it has
//! made wrong is named. The look for rows without a parent goes on where a killed process has left it.

use driftless_testing::wait;

use crate::support::{
    DEADLINE,
    load::{Load, fill},
    migration::Migration,
    random,
};

const OPEN_WRITES: &str = "SELECT count(*) FROM driftless.foreign_write WHERE judged_at IS NULL";
const JUDGED: &str = "SELECT count(*) FROM driftless.foreign_write WHERE judged_at IS NOT NULL";

/// Counts open findings.
fn findings(collection: &str, condition: &str) -> String {
    format!(
        "SELECT count(*) FROM driftless.finding AS f JOIN driftless.collection AS c ON c.id = f.collection \
          WHERE c.name = '{collection}' AND f.ended_at IS NULL AND {condition}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_into_guarded_tables_is_found_and_named() {
    let (seed, _) = random("guard");
    let mut migration = Migration::demo("guard").await;
    // Every pass but the first is one that a foreign write asks for.
    migration.set("reconcile", "baseline_every", "1h");
    fill(&migration, seed, 300).await;
    let daemon = migration.daemon();
    daemon.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    migration.quiesce(&daemon, DEADLINE).await;
    let installed = migration.succeed(&["guard", "install"]).await;
    assert!(installed.ends_with("tables guarded.\n"), "{installed}");
    migration.succeed(&["guard", "status"]).await;

    // Replication goes on, and none of it counts as foreign.
    let load = Load::start(&migration, seed, 100.0);
    let applied = "SELECT count(*) FROM driftless.ledger";
    let before = migration.number(applied).await;
    wait::until("changes are applied", DEADLINE, async || {
        let now = migration.number(applied).await;
        wait::holds(now >= before + 20, format!("{before} {now}"))
    })
    .await;
    load.end().await;
    migration.quiesce(&daemon, DEADLINE).await;
    assert_eq!(migration.number("SELECT count(*) FROM driftless.foreign_write").await, 0);

    let rogue = |sql: &'static str| {
        let target = &migration.target;
        async move { target.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")) }
    };
    rogue("UPDATE app.organisations SET name = name || '!' WHERE id = (SELECT min(id::text)::uuid FROM app.organisations)").await;
    let different = findings("organisations", "f.kind = 'different' AND 'app.organisations.name' = ANY (f.columns)");
    migration.wait_for_number(&different, DEADLINE, 1).await;
    // A child row leads to its document.
    rogue("CREATE TABLE public.kept AS SELECT * FROM app.plan_milestones ORDER BY id LIMIT 1").await;
    rogue("DELETE FROM app.plan_milestones WHERE id = (SELECT id FROM public.kept)").await;
    let child = findings("plans", "f.kind = 'different' AND 'app.plan_milestones' = ANY (f.columns)");
    migration.wait_for_number(&child, DEADLINE, 1).await;
    rogue("DELETE FROM app.users WHERE id = (SELECT id FROM app.users AS u WHERE NOT EXISTS (SELECT FROM app.plans AS p WHERE p.owner_id = u.id) \
           AND NOT EXISTS (SELECT FROM app.research_packs AS r WHERE r.owner_id = u.id) ORDER BY id LIMIT 1)").await;
    migration.wait_for_number(&findings("users", "f.kind = 'missing'"), DEADLINE, 1).await;
    // A row that no document stands behind is named by its key.
    rogue("INSERT INTO app.organisations SELECT (jsonb_populate_record(t, \
           '{\"id\": \"00000000-0000-0000-0000-000000000001\", \"slug\": \"rogue\"}')).* FROM app.organisations AS t LIMIT 1").await;
    let row = findings(
        "organisations",
        "f.kind = 'extra' AND f.relation = 'app.organisations' AND f.row_key = '{\"id\": \"00000000-0000-0000-0000-000000000001\"}'",
    );
    migration.wait_for_number(&row, DEADLINE, 1).await;
    migration.wait_for_number(OPEN_WRITES, DEADLINE, 0).await;
    // A cascade of a statement is a write of its own.
    let judged = migration.number(JUDGED).await;
    assert!(judged >= 4, "{judged}");

    // A value that was changed back is no finding any more, and the cause is known.
    rogue("INSERT INTO app.plan_milestones SELECT * FROM public.kept").await;
    migration.wait_for_number(&child, DEADLINE, 0).await;
    let healed = "SELECT count(*) FROM driftless.finding WHERE ended_by = 'foreign write'";
    migration.wait_for_number(healed, DEADLINE, 1).await;

    // A truncation has no keys: everything of that table is compared again.
    rogue("TRUNCATE app.plan_milestones").await;
    let void = "SELECT count(*) FROM driftless.proof AS p JOIN driftless.collection AS c ON c.id = p.collection \
                 WHERE c.name = 'plans' AND p.void_because LIKE 'foreign write to app.plan_milestones: TRUNCATE by %'";
    migration.wait_for_number(void, DEADLINE, 1).await;
    migration.wait_for_number(OPEN_WRITES, DEADLINE, 0).await;
    let compared = "SELECT count(*) FROM driftless.foreign_write AS w, driftless.proof AS p \
                      JOIN driftless.collection AS c ON c.id = p.collection \
                     WHERE c.name = 'plans' AND w.operation = 'TRUNCATE' \
                       AND p.complete_began_at > w.voided_at AND w.judged_at > p.complete_ended_at";
    assert_eq!(migration.number(compared).await, 1, "it is judged behind a baseline that began after it");

    // A foreign write that could not be recorded may have touched anything.
    rogue("CREATE TABLE public.passes AS SELECT collection, complete_pass FROM driftless.proof").await;
    rogue("SELECT nextval('driftless.foreign_write_lost')").await;
    let same = "SELECT count(*) FROM driftless.proof AS p JOIN public.passes AS b USING (collection) \
                 WHERE p.complete_pass <= b.complete_pass OR p.void_because IS NOT NULL";
    migration.wait_for_number(same, DEADLINE, 0).await;
    assert!(daemon.log().contains("foreign writes could not be recorded"), "{}", daemon.log());
    migration.wait_for_number("SELECT min(lost) FROM driftless.guard", DEADLINE, 1).await;

    // A trigger that is disabled is noticed, and the proof counts only from when the guard holds again.
    rogue("ALTER TABLE app.users DISABLE TRIGGER driftless_guard_rows").await;
    wait::until("the break is noticed", DEADLINE, async || {
        let holds = daemon.metric("driftless_guard_holds{table=\"app.users\"}").await;
        wait::holds(holds == Some(0.0), format!("{holds:?}"))
    })
    .await;
    migration.succeed(&["guard", "install"]).await;
    wait::until("the guard holds again", DEADLINE, async || {
        let holds = daemon.metric("driftless_guard_holds{table=\"app.users\"}").await;
        wait::holds(holds == Some(1.0), format!("{holds:?}"))
    })
    .await;
    migration.succeed(&["guard", "remove"]).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// Rows that a look at 2,000 rows a second does not pass before it is killed.
const ROWS: i64 = 30_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_look_for_rows_without_a_parent_goes_on_after_a_kill() {
    let (seed, _) = random("integrity");
    let mut migration = Migration::demo("integrity").await;
    migration.set("reconcile", "integrity_rate", 2_000);
    fill(&migration, seed, 100).await;
    let more = format!(
        "CREATE TABLE app.audit (n integer PRIMARY KEY, user_id uuid CONSTRAINT audited REFERENCES app.users (id)); \
         INSERT INTO app.audit SELECT n, NULL FROM generate_series(1, {ROWS}) AS n; \
         SET session_replication_role = replica; \
         UPDATE app.audit SET user_id = '00000000-0000-0000-0000-000000000001' WHERE n IN (3, {ROWS}); \
         SET session_replication_role = origin"
    );
    migration.target.batch_execute(&more).await.expect("makes a table that refers to a mapped one");
    let daemon = migration.daemon();
    let schema = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('driftless.integrity')";
    migration.wait_for_number(schema, DEADLINE, 1).await;
    let audited = "FROM driftless.integrity WHERE constraint_name = 'audited'";
    let at_work = format!("SELECT count(*) {audited} AND rows_so_far > 0");
    migration.wait_for_number(&at_work, DEADLINE, 1).await;
    daemon.kill9().await;
    let so_far = migration.number(&format!("SELECT rows_so_far {audited}")).await;
    assert!((1..ROWS).contains(&so_far), "{so_far}");
    let began = migration.texts(&format!("SELECT began_at::text {audited}")).await;
    let daemon = migration.daemon();
    migration.wait_for_number(&format!("SELECT count(*) {audited} AND looked_at IS NOT NULL"), DEADLINE, 1).await;
    assert_eq!(migration.texts(&format!("SELECT looked_at::text {audited}")).await, began, "it is the same look");
    assert_eq!(migration.number(&format!("SELECT rows {audited}")).await, ROWS);
    assert_eq!(migration.number(&format!("SELECT orphans {audited}")).await, 2);
    assert_eq!(migration.number("SELECT count(*) FROM driftless.orphan WHERE constraint_name = 'audited'").await, 2);
    daemon.stop(0).await;
    migration.finish().await;
}

//! Indexes and foreign keys that are deferred until after the load come back as they were.

use driftless::{
    control::load_indexes::{self, LoadIndex},
    postgres::{Purpose, Session, migrate, rehearse},
};

use super::world::{World, plan, user};

const DEFINITIONS: &str = "
SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index WHERE indrelid::regclass::text LIKE 'app.%'
UNION ALL SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid), convalidated
  FROM pg_constraint WHERE conrelid::regclass::text LIKE 'app.%' ORDER BY 1";

async fn control(world: &World) -> (Session, Vec<String>) {
    let tables = ["users", "plans", "milestones"].map(|name| format!("\"app\".\"{name}\""));
    (world.target.open(Purpose::Control).await.expect("connects"), tables.into())
}

fn problems(all: &[LoadIndex]) -> Vec<String> {
    let problem = |one: &LoadIndex| Some(format!("{}: {}", one.name, one.problem.as_ref()?));
    all.iter().filter_map(problem).collect()
}

#[tokio::test]
async fn what_was_dropped_is_built_again_as_it_was() {
    let mut world = World::new().await;
    let (session, tables) = control(&world).await;
    let before = world.rows(DEFINITIONS).await;
    let told = load_indexes::drop_before_load(&session, &tables, "test", true).await.expect("tells");
    assert_eq!(world.rows(DEFINITIONS).await, before, "a dry run drops nothing");
    let dropped = load_indexes::drop_before_load(&session, &tables, "test", false).await.expect("drops");
    assert_eq!((dropped.len(), &dropped), (3, &told));
    assert_eq!(problems(&dropped), [""; 0]);
    let left = world.rows(DEFINITIONS).await;
    assert_eq!(left.len(), before.len() - 3);
    assert!(left.iter().any(|line| line.contains("UNIQUE INDEX milestones_plan_id_place_key")), "{left:?}");
    assert!(load_indexes::drop_before_load(&session, &tables, "test", false).await.expect("finds nothing").is_empty());
    world.apply(&[user(1, 1, "a"), plan(1, 1, Some(1), &[(1, "m")])]).await;
    let told = load_indexes::build_after_load(&session, "test", true).await.expect("tells");
    assert_eq!(world.rows(DEFINITIONS).await, left, "a dry run builds nothing");
    assert_eq!(load_indexes::build_after_load(&session, "test", false).await.expect("builds"), told);
    assert_eq!(world.rows(DEFINITIONS).await, before);
    assert!(load_indexes::build_after_load(&session, "test", false).await.expect("finds nothing").is_empty());
    let actions = "SELECT command FROM driftless.action ORDER BY id";
    let before_load = "schema before-load";
    let after_load = "schema after-load";
    assert_eq!(world.rows(actions).await, [before_load, before_load, after_load, after_load]);
    world.end().await;
}

#[tokio::test]
async fn a_dry_run_leaves_a_target_without_the_schema_as_it_is() {
    let world = World::new().await;
    let (session, tables) = control(&world).await;
    world.execute("DROP SCHEMA driftless CASCADE").await;
    assert_eq!(rehearse(&session).await.expect("tells")[..3], ["tables", "snapshots", "deferred"]);
    let told = load_indexes::drop_before_load(&session, &tables, "test", true).await.expect("tells");
    assert_eq!(told.len(), 3);
    assert!(load_indexes::build_after_load(&session, "test", true).await.expect("finds nothing").is_empty());
    assert_eq!(world.rows("SELECT to_regnamespace('driftless') IS NULL").await, ["t"]);
    migrate(&session).await.expect("migrates");
    assert_eq!(rehearse(&session).await.expect("tells"), [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn what_could_be_lost_is_left_as_it_is() {
    let mut world = World::new().await;
    let (session, tables) = control(&world).await;
    world.apply(&[plan(1, 1, None, &[])]).await;
    world.execute("COMMENT ON INDEX app.milestones_plan_id_idx IS 'why it is there'").await;
    world.execute("CREATE INDEX by_title ON app.milestones (title); CLUSTER app.milestones USING by_title").await;
    let before = world.rows(DEFINITIONS).await;
    let found = load_indexes::drop_before_load(&session, &tables, "test", false).await.expect("looks");
    let expected = [
        "plans_owner_id_fkey: its table already has rows",
        "app.by_title: the table is clustered by it",
        "app.milestones_plan_id_idx: it has a comment",
    ];
    assert_eq!(problems(&found), expected);
    assert_eq!(world.rows(DEFINITIONS).await.len(), before.len() - 1, "only the foreign key of the empty table went");
    world.end().await;
}

#[tokio::test]
async fn a_build_that_failed_half_way_is_taken_up_again() {
    let world = World::new().await;
    let (session, tables) = control(&world).await;
    let before = world.rows(DEFINITIONS).await;
    load_indexes::drop_before_load(&session, &tables, "test", false).await.expect("drops");
    // An interrupted build leaves an index that is not valid.
    world.execute("CREATE INDEX milestones_plan_id_idx ON app.milestones USING btree (plan_id)").await;
    let broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.milestones_plan_id_idx'::regclass";
    world.execute(broken).await;
    let orphan = "INSERT INTO app.plans (id, owner_id) VALUES (gen_random_uuid(), gen_random_uuid())";
    world.execute(orphan).await;
    let built = load_indexes::build_after_load(&session, "test", false).await.expect("builds what it can");
    let failed = problems(&built);
    assert_eq!(failed.len(), 1);
    assert!(failed[0].starts_with("plans_owner_id_fkey: ") && failed[0].contains("23503"), "{failed:?}");
    assert_eq!(world.rows("SELECT name FROM driftless.deferred").await, ["plans_owner_id_fkey"]);
    world.execute("DELETE FROM app.plans").await;
    let built = load_indexes::build_after_load(&session, "test", false).await.expect("builds the rest");
    assert_eq!(built[0].sql, ["ALTER TABLE app.plans VALIDATE CONSTRAINT plans_owner_id_fkey"]);
    assert_eq!(world.rows(DEFINITIONS).await, before);
    world.end().await;
}

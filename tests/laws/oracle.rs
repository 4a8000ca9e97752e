//! The oracle itself: a comparison that cannot fail proves nothing.

use std::collections::BTreeSet;

use crate::support::{
    DEADLINE, load,
    migration::Migration,
    oracle::{Difference, compare},
};

/// Each spoils one thing on the target; the column that must be named, or what else must be said.
const SPOILED: &[(&str, &str)] = &[
    ("DELETE FROM app.financial_models WHERE id = (SELECT min(id::text)::uuid FROM app.financial_models)", "missing"),
    ("DELETE FROM app.plan_milestones WHERE id = (SELECT min(id::text)::uuid FROM app.plan_milestones)", "missing"),
    (
        "UPDATE app.sections SET id = gen_random_uuid() WHERE id = (SELECT min(id::text)::uuid FROM app.sections)",
        "extra",
    ),
    ("UPDATE app.users SET full_name = full_name || ' '", "full_name"),
    ("UPDATE app.users SET rating = rating + 1e-12", "rating"),
    ("UPDATE app.users SET phone = ''  WHERE phone IS NULL", "phone"),
    ("UPDATE app.users SET tags = '{}' || tags || '{x}'", "tags"),
    ("UPDATE app.users SET preferences = preferences || '{\"theme\": null}'", "preferences"),
    ("UPDATE app.users SET created_at = created_at + interval '1 ms'", "created_at"),
    ("UPDATE app.organisations SET credit = credit + 0.01", "credit"),
    ("UPDATE app.organisations SET founded_on = founded_on - 1", "founded_on"),
    ("UPDATE app.plans SET owner_id = id", "owner_id"),
    ("UPDATE app.plans SET is_public = NOT is_public", "is_public"),
    ("UPDATE app.plans SET collaborator_ids = collaborator_ids || id", "collaborator_ids"),
    ("UPDATE app.research_sources SET position = position + 1", "position"),
];

#[tokio::test(flavor = "multi_thread")]
async fn oracle_names_every_kind_of_difference() {
    let migration = Migration::demo("oracle").await;
    load::fill(&migration, 5, 400).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    compare(&migration).await.assert_equal();
    daemon.stop(0).await;

    // As a replica, so that no trigger or cascade spoils more than was asked for.
    migration.target.batch_execute("SET session_replication_role = replica").await.expect("be a replica");
    for (statement, wanted) in SPOILED {
        let before = names(&compare(&migration).await.differences);
        migration.target.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        let after = names(&compare(&migration).await.differences);
        assert!(after.len() > before.len(), "{statement} was not seen");
        assert!(after.difference(&before).any(|(_, name)| name == wanted), "{statement}: {wanted} was not named");
    }
    migration.finish().await;
}

/// Every difference as its place and what it is.
fn names(differences: &[Difference]) -> BTreeSet<(String, &'static str)> {
    let name = |difference: &Difference| match difference {
        Difference::Missing { table, key } => (format!("{table} {key}"), "missing"),
        Difference::Extra { table, key } => (format!("{table} {key}"), "extra"),
        Difference::Different { table, key, column, .. } => (format!("{table} {key}"), *column),
    };
    differences.iter().map(name).collect()
}

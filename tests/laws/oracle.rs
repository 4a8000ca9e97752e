//! The oracle itself, and the product's comparison beside it: a comparison that cannot fail proves nothing.

use std::collections::BTreeSet;

use crate::support::{
    DEADLINE, load,
    migration::Migration,
    oracle::{Difference, compare},
};

/// Statements that each damage one thing on the target. With each: the column or other text that the oracle must report, and
/// the kind and place that the product must report.
const SPOILED: &[(&str, &str, &str)] = &[
    (
        "DELETE FROM app.financial_models WHERE id = (SELECT min(id::text)::uuid FROM app.financial_models)",
        "missing",
        "missing financial_models",
    ),
    (
        "DELETE FROM app.plan_milestones WHERE id = (SELECT min(id::text)::uuid FROM app.plan_milestones)",
        "missing",
        "different plans app.plan_milestones",
    ),
    (
        "UPDATE app.sections SET id = gen_random_uuid() WHERE id = (SELECT min(id::text)::uuid FROM app.sections)",
        "extra",
        "missing sections",
    ),
    (
        "INSERT INTO app.organisations (id, name, slug, kind, employees, credit, created_at, updated_at)
             VALUES (gen_random_uuid(), 'Stray', 'stray', 'company', 1, 0, now(), now())",
        "extra",
        "extra organisations app.organisations",
    ),
    ("UPDATE app.users SET full_name = full_name || ' '", "full_name", "different users app.users.full_name"),
    ("UPDATE app.users SET rating = rating + 1e-12", "rating", "different users app.users.rating"),
    ("UPDATE app.users SET phone = ''  WHERE phone IS NULL", "phone", "different users app.users.phone"),
    ("UPDATE app.users SET tags = '{}' || tags || '{x}'", "tags", "different users app.users.tags"),
    (
        "UPDATE app.users SET preferences = preferences || '{\"theme\": null}'",
        "preferences",
        "different users app.users.preferences",
    ),
    (
        "UPDATE app.users SET created_at = created_at + interval '1 ms'",
        "created_at",
        "different users app.users.created_at",
    ),
    (
        "UPDATE app.organisations SET credit = credit + 0.01",
        "credit",
        "different organisations app.organisations.credit",
    ),
    (
        "UPDATE app.organisations SET founded_on = founded_on - 1",
        "founded_on",
        "different organisations app.organisations.founded_on",
    ),
    ("UPDATE app.plans SET owner_id = id", "owner_id", "different plans app.plans.owner_id"),
    ("UPDATE app.plans SET is_public = NOT is_public", "is_public", "different plans app.plans.is_public"),
    (
        "UPDATE app.plans SET collaborator_ids = collaborator_ids || id",
        "collaborator_ids",
        "different plans app.plans.collaborator_ids",
    ),
    (
        "UPDATE app.research_sources SET position = position + 1",
        "position",
        "different research_packs app.research_sources.position",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn oracle_names_every_kind_of_difference() {
    let migration = Migration::demo("oracle").await;
    load::fill(&migration, 5, 400).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    compare(&migration).await.assert_equal();
    daemon.stop(0).await;

    // As a replica, so that no trigger or cascade causes further damage.
    migration.target.batch_execute("SET session_replication_role = replica").await.expect("be a replica");
    for (statement, wanted, _) in SPOILED {
        let before = names(&compare(&migration).await.differences);
        migration.target.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        let after = names(&compare(&migration).await.differences);
        assert!(after.len() > before.len(), "{statement} was not seen");
        assert!(after.difference(&before).any(|(_, name)| name == wanted), "{statement}: {wanted} was not named");
    }
    migration.finish().await;
}

/// `driftless reconcile --full` also finds everything that the oracle's list damages, with its kind and its column.
#[tokio::test(flavor = "multi_thread")]
async fn reconcile_finds_everything_that_the_oracle_finds() {
    let migration = Migration::demo("spoiled").await;
    load::fill(&migration, 5, 400).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    migration.succeed(&["reconcile", "--full"]).await;

    migration.target.batch_execute("SET session_replication_role = replica").await.expect("be a replica");
    for (statement, ..) in SPOILED {
        migration.target.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let output = migration.command(&["reconcile", "--full", "--json", "--findings", "10000"]).await;
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut found = BTreeSet::new();
    for one in report["reports"].as_array().expect("reports") {
        for finding in one["findings"].as_array().expect("findings") {
            let place = format!(
                "{} {}",
                finding["kind"].as_str().expect("a kind"),
                one["collection"].as_str().expect("a name")
            );
            let columns = finding["columns"].as_array().into_iter().flatten().chain(finding.get("table"));
            found.extend(columns.filter_map(|column| column.as_str()).map(|column| format!("{place} {column}")));
            found.insert(place);
        }
    }
    for (statement, _, wanted) in SPOILED {
        assert!(found.contains(*wanted), "{statement}: {wanted} is not among {found:?}");
    }
    daemon.stop(0).await;
    migration.finish().await;
}

/// Returns every difference as its place and its kind or column.
fn names(differences: &[Difference]) -> BTreeSet<(String, &'static str)> {
    let name = |difference: &Difference| match difference {
        Difference::Missing { table, key } => (format!("{table} {key}"), "missing"),
        Difference::Extra { table, key } => (format!("{table} {key}"), "extra"),
        Difference::Different { table, key, column, .. } => (format!("{table} {key}"), *column),
    };
    differences.iter().map(name).collect()
}

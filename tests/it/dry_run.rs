//! `driftless run --dry-run`: whole collections are converted, and nothing is written.

use bson::doc;

use crate::data::{Site, messy};

#[tokio::test]
async fn a_dry_run_counts_dead_letters_by_reason_and_column_and_writes_nothing() {
    let site = messy().await;
    let said = site.run(&["run", "--dry-run", "--rate", "100000"]);
    assert_eq!(said.code, 2, "{}{}", said.stdout, said.stderr);
    insta::assert_snapshot!(said.stdout);
    let json = site.run(&["run", "--dry-run", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!((&report["documents"], &report["dead_letters"]), (&11.into(), &6.into()));
    // `check --all` is the same code.
    let check = site.run(&["check", "--all", "--json"]);
    let check: serde_json::Value = serde_json::from_str(&check.stdout).expect("JSON");
    assert_eq!(check["conversions"], report["conversions"]);

    let one = site.run(&["run", "--dry-run", "--collection", "plans", "--json"]);
    let one: serde_json::Value = serde_json::from_str(&one.stdout).expect("JSON");
    let names: Vec<_> =
        one["conversions"].as_array().expect("conversions").iter().map(|one| &one["collection"]).collect();
    assert_eq!(names, ["plans"]);

    let query = "SELECT (SELECT count(*) FROM app.users) + (SELECT count(*) FROM app.plans), to_regnamespace('driftless') IS NULL";
    let row = site.target.client().await.query_one(query, &[]).await.expect("counts");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (0, true), "nothing is written");
    site.end().await;
}

#[tokio::test]
async fn a_dry_run_of_clean_documents_succeeds_and_its_options_need_it() {
    let site = Site::new().await;
    site.insert("users", [doc! { "_id": 1, "contact": { "email": "1@x" } }]).await;
    let said = site.run(&["run", "--dry-run"]);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert!(
        said.stdout.ends_with("0 of 1 document would become dead letters. Nothing was written.\n"),
        "{}",
        said.stdout
    );
    let refused = site.run(&["run", "--collection", "users"]);
    assert!(refused.code == 2 && refused.stderr.contains("--dry-run"), "{}", refused.stderr);
    let unknown = site.run(&["run", "--dry-run", "--collection", "usres"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("find collection usres"), "{}", unknown.stderr);
    site.end().await;
}

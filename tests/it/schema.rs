//! `driftless schema`: what the mapping wants beside what the target has, and files of statements.

use bson::{DateTime, doc};

use crate::data::Site;

const MAPPING: &str = r#"
namespace = "dns"
[collections.users]
table = "app.users"
id = "uuid5"
ignore = ["created_by", "nick", "born", "grade"]
columns.email = "contact.email"
columns.phone = "contact.phone"
columns.joined = "joined"
[collections.orders]
table = "shop.orders"
id = "uuid5"
columns.user_id = { path = "user", reference = "users" }
columns.total = "total"
columns.tags = "tags"
columns.shipped = "shipped"
[collections.orders.children.lines]
table = "shop.lines"
parent = "order_id"
order = "position"
columns.sku = "sku"
[collections.orders.children.labels]
table = "shop.labels"
parent = "order_id"
order = "position"
columns.label = "$"
"#;

async fn site() -> Site {
    let site = Site::new().await;
    let user = doc! { "_id": 1, "contact": { "email": "1@x", "phone": "+1" }, "joined": DateTime::from_millis(0) };
    site.insert("users", [user]).await;
    let line = |sku: i32| doc! { "sku": sku };
    site.insert(
        "orders",
        [doc! { "_id": 1, "user": 1, "total": 2.5, "tags": ["a"], "labels": ["b"], "lines": [line(1), line(2)] }],
    )
    .await;
    site
}

#[tokio::test]
async fn what_the_target_lacks_is_printed_added_and_then_fits() {
    let site = site().await;
    let run = |code: i32, arguments: &[&str]| {
        let said = site.run_mapped(MAPPING, "auto", arguments);
        assert_eq!(said.code, code, "{arguments:?}: {}{}", said.stdout, said.stderr);
        said.stdout
    };
    let before = run(2, &["schema", "diff"]);
    insta::assert_snapshot!(before);
    // The type of `shipped` is in no document, so its table is left to a person.
    let shipped = doc! { "_id": 2, "user": 1, "shipped": true };
    site.insert("orders", [shipped]).await;
    let dry = run(0, &["schema", "apply", "--missing", "--dry-run"]);
    assert!(dry.starts_with("BEGIN;\n"), "{dry}");
    // What a dry run prints is for psql, to the last line.
    let client = site.target.client().await;
    client.batch_execute(&dry.replace("COMMIT;", "ROLLBACK;")).await.unwrap_or_else(|error| panic!("{error:?}: {dry}"));
    assert_eq!(run(2, &["schema", "diff"]).matches("CREATE TABLE").count(), 3);
    run(0, &["schema", "apply", "--missing"]);
    let after = run(0, &["schema", "diff"]);
    assert!(after.contains("-- The target has every table and column that the mapping names."), "{after}");
    insta::assert_snapshot!(run(0, &["schema", "print"]));
    run(0, &["run", "--dry-run"]);
    site.end().await;
}

#[tokio::test]
async fn a_file_of_statements_is_run_in_one_transaction_or_not_at_all() {
    let site = Site::new().await;
    let good = "BEGIN;\nCREATE TABLE shelves (id integer PRIMARY KEY);\n\
                CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'a;b'; $$;\nCOMMIT;\n";
    let run = |text: &str, arguments: &[&str]| {
        site.run_with_files(&[("s.sql", text)], "auto", &[&["schema", "apply", "--file", "s.sql"], arguments].concat())
    };
    let exists = async |name: &str| {
        let client = site.target.client().await;
        let row = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&name]).await.expect("asks");
        row.get::<_, bool>(0)
    };
    let dry = run(good, &["--dry-run"]);
    assert!(dry.code == 0 && dry.stdout.contains("CREATE TABLE shelves"), "{}{}", dry.stdout, dry.stderr);
    assert!(!exists("public.shelves").await);
    let broken = run(&format!("{good}CREATE TABLE other (id nothing);\n"), &[]);
    assert_eq!(broken.code, 1, "{}", broken.stdout);
    assert!(
        broken.stderr.contains("s.sql:5") && broken.stderr.contains("type \"nothing\" does not exist"),
        "{}",
        broken.stderr
    );
    assert!(!exists("public.shelves").await, "the whole file was rolled back");
    let said = run(good, &[]);
    assert!(
        said.code == 0 && said.stdout == "2 statements of s.sql run in one transaction.\n",
        "{}{}",
        said.stdout,
        said.stderr
    );
    assert!(exists("public.shelves").await);
    let refused = run("\\c other\n", &[]);
    assert!(refused.code == 1 && refused.stderr.contains("s.sql:1: this is a command of psql"), "{}", refused.stderr);
    site.end().await;
}

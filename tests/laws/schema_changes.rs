//! Schema changes of the target under a running daemon: it continues if the mapping still fits, and otherwise names the part
//! that does not. Nothing is restarted, and nothing is lost.

use mongodb::bson::{Document, doc};

use crate::support::{DEADLINE, daemon::Daemon, migration::Migration, stack::Stack, wait};

const SCHEMA: &str = "
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE users (id uuid PRIMARY KEY, name varchar(8), age integer, mood mood, comment text);
CREATE TABLE pets (id uuid PRIMARY KEY, title text);
";

const MAPPING: &str = "
namespace = \"dns\"
[collections.users]
table = \"public.users\"
id = \"uuid5\"
columns.comment = \"remark\"
[collections.pets]
table = \"public.pets\"
id = \"uuid5\"
";

/// Starts a migration with a user and a pet; returns it with its daemon, in sync.
async fn begin(test: &str) -> (Migration, Daemon) {
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), test, SCHEMA, MAPPING).await;
    migration.set("sink", "catalog_interval", "500ms");
    write(
        &migration,
        "users",
        doc! { "_id": 1, "name": "ann", "age": 7, "mood": "good", "remark": "r", "city": "Bern" },
    )
    .await;
    write(&migration, "pets", doc! { "_id": 1, "title": "cat" }).await;
    let daemon = migration.daemon();
    migration.quiesce(&daemon, DEADLINE).await;
    in_sync(&daemon).await;
    (migration, daemon)
}

async fn write(migration: &Migration, collection: &str, document: Document) {
    let id = document.get("_id").cloned().expect("an id");
    let collection = migration.collection(collection);
    collection.replace_one(doc! { "_id": id }, document).upsert(true).await.expect("write a document");
}

async fn alter(migration: &Migration, sql: &str) {
    migration.target.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn in_sync(daemon: &Daemon) {
    daemon.wait_for("both sides are in sync", DEADLINE, |status| status.verdict == "in_sync").await;
}

/// Waits until the sink has halted; returns its reason and hint.
async fn halted(daemon: &Daemon) -> String {
    let status = daemon.wait_for("the sink halts", DEADLINE, |status| status.phase("sink") == "halted").await;
    let role = &status.process.roles["sink"];
    format!("{} / {}", role.reason.as_deref().unwrap_or(""), role.hint.as_deref().unwrap_or(""))
}

/// The schema grows under the daemon: the same process picks up every step.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_grows_is_taken_up() {
    let (migration, daemon) = begin("schema_grows").await;

    // A column that the mapping fills by its name: new documents have it at once; older rows are reported and found different.
    alter(&migration, "ALTER TABLE users ADD COLUMN city text").await;
    write(&migration, "users", doc! { "_id": 2, "name": "bob", "city": "Rome" }).await;
    daemon.wait_for("the older row is found different", DEADLINE, |status| status.verdict == "drift").await;
    let command = "driftless replay --collection users --to-earliest";
    wait::until("the log says how older rows get the value", DEADLINE, async || {
        wait::holds(daemon.log().contains(command), "no such line")
    })
    .await;
    migration.replay("users").await;
    migration.wait_for_number("SELECT count(*) FROM users WHERE city IN ('Bern', 'Rome')", DEADLINE, 2).await;
    in_sync(&daemon).await;

    // A new type of the same column.
    alter(&migration, "ALTER TABLE users ALTER COLUMN age TYPE text").await;
    write(&migration, "users", doc! { "_id": 3, "name": "carl", "age": 9 }).await;
    migration.wait_for_number("SELECT count(*) FROM users WHERE age = '9'", DEADLINE, 1).await;
    in_sync(&daemon).await;

    // A value that was too long is retried right after the column was widened.
    write(&migration, "users", doc! { "_id": 4, "name": "bartholomew" }).await;
    migration.wait_for_number("SELECT count(*) FROM driftless.dead_letter WHERE state = 'open'", DEADLINE, 1).await;
    alter(&migration, "ALTER TABLE users ALTER COLUMN name TYPE varchar(20)").await;
    migration.succeed(&["dlq", "retry"]).await;
    migration.wait_for_number("SELECT count(*) FROM users WHERE name = 'bartholomew'", DEADLINE, 1).await;

    // A new label of an enumerated type, used at once.
    alter(&migration, "ALTER TYPE mood ADD VALUE 'fine'").await;
    write(&migration, "users", doc! { "_id": 5, "name": "eve", "mood": "fine" }).await;
    migration.wait_for_number("SELECT count(*) FROM users WHERE mood::text = 'fine'", DEADLINE, 1).await;
    assert_eq!(migration.number("SELECT count(*) FROM driftless.dead_letter WHERE state = 'open'").await, 0);
    in_sync(&daemon).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// A part that no longer fits halts the sink and is named. The sink recovers when the schema is restored, and then applies the
/// changes written meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_no_longer_fits_halts_by_name_and_heals() {
    let (migration, daemon) = begin("schema_breaks").await;
    let cases: [(&str, &str, &[&str]); 5] = [
        (
            "ALTER TABLE users DROP COLUMN comment",
            "ALTER TABLE users ADD COLUMN comment text",
            &["\"users\" has no column \"comment\"", "id, name, age, mood"],
        ),
        (
            "ALTER TABLE users RENAME COLUMN comment TO comments",
            "ALTER TABLE users RENAME COLUMN comments TO comment",
            &["\"users\" has no column \"comment\"", "did you mean `comments`?"],
        ),
        // The column is filled because a field has its name.
        (
            "ALTER TABLE users RENAME COLUMN name TO full_name",
            "ALTER TABLE users RENAME COLUMN full_name TO name",
            &["column \"name\" of \"public\".\"users\", which `users` filled, is gone", "full_name = \"name\""],
        ),
        (
            "ALTER TABLE users RENAME TO userz",
            "ALTER TABLE userz RENAME TO users",
            &["table \"public\".\"users\" does not exist", "userz"],
        ),
        (
            "CREATE TABLE kept AS SELECT * FROM users; DROP TABLE users",
            "CREATE TABLE users (id uuid PRIMARY KEY, name varchar(8), age integer, mood mood, comment text);
             INSERT INTO users (id, name, age, mood, comment) SELECT id, name, age, mood, comment FROM kept; DROP TABLE kept",
            &["table \"public\".\"users\" does not exist"],
        ),
    ];
    for (at, (broken, mended, told)) in (2..).zip(cases) {
        alter(&migration, broken).await;
        write(&migration, "users", doc! { "_id": at, "name": format!("n{at}"), "age": 1, "remark": "r" }).await;
        let said = halted(&daemon).await;
        for part in told {
            assert!(said.contains(part), "{broken}: {part}: {said}");
        }
        alter(&migration, mended).await;
        migration.wait_for_number(&format!("SELECT count(*) FROM users WHERE name = 'n{at}'"), DEADLINE, 1).await;
        daemon.wait_for("the sink runs", DEADLINE, |status| status.phase("sink") == "running").await;
    }
    assert_eq!(migration.number("SELECT count(*) FROM driftless.dead_letter WHERE state = 'open'").await, 0);
    migration.replay("users").await;
    migration.quiesce(&daemon, DEADLINE).await;
    in_sync(&daemon).await;
    daemon.stop(0).await;
    migration.finish().await;
}

/// A privilege is revoked and granted again.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_heals_when_it_is_granted() {
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), "schema_rights", SCHEMA, MAPPING).await;
    let role = format!("{}_role", migration.name);
    let (name, url) = (migration.name.clone(), stack.postgres_url(&migration.name));
    alter(
        &migration,
        &format!(
            "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {name} TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON users, pets TO {role};
             ALTER ROLE {role} SET default_transaction_read_only = on"
        ),
    )
    .await;
    let (_, host) = url.rsplit_once('@').expect("a role in the address");
    migration.set("sink", "url", format!("postgresql://{role}@{host}"));
    migration.set("sink", "catalog_interval", "500ms");
    write(&migration, "users", doc! { "_id": 1, "name": "ann" }).await;
    let checked = migration.command(&["check"]).await;
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.code() == Some(2) && told.contains("default_transaction_read_only is on"), "{told}");

    let daemon = migration.daemon();
    let said = halted(&daemon).await;
    assert!(said.contains("default_transaction_read_only is on for role") && said.contains("RESET"), "{said}");
    alter(&migration, &format!("ALTER ROLE {role} RESET default_transaction_read_only")).await;
    migration.quiesce(&daemon, DEADLINE).await;

    alter(&migration, &format!("REVOKE INSERT ON users FROM {role}")).await;
    write(&migration, "users", doc! { "_id": 2, "name": "bob" }).await;
    let said = halted(&daemon).await;
    assert!(said.contains("42501") || said.contains("lacks INSERT"), "{said}");
    alter(&migration, &format!("GRANT INSERT ON users TO {role}")).await;
    migration.wait_for_number("SELECT count(*) FROM users", DEADLINE, 2).await;
    // The same plan gives the document up, although this role's sessions have a search path of their own.
    write(&migration, "users", doc! { "_id": 3, "name": "too long for it" }).await;
    migration.wait_for_number("SELECT count(*) FROM driftless.dead_letter WHERE state = 'open'", DEADLINE, 1).await;
    daemon.stop(0).await;
    // The same holds for a command, which checks the documents against the types of the tables.
    let checked = migration.command(&["check"]).await;
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(told.contains("TOO_LONG") && told.contains("1 fault "), "{told}");

    // Another role has privileges on the tables, but none on the schema that the first one created.
    let other = format!("{role}_other");
    let rights = format!(
        "DROP ROLE IF EXISTS {other}; CREATE ROLE {other} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON users, pets TO {other}"
    );
    alter(&migration, &rights).await;
    migration.set("sink", "url", format!("postgresql://{other}@{host}"));
    let checked = migration.command(&["check"]).await;
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(2), "{told}");
    assert!(told.contains(&format!("GRANT USAGE ON SCHEMA driftless TO {other};")), "{told}");
    assert!(told.contains("driftless.ledger"), "{told}");
    alter(&migration, &format!("DROP OWNED BY {other}; DROP ROLE {other}")).await;
    alter(&migration, &format!("REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}")).await;
    migration.finish().await;
}

//! Law 9: a row is nobody's only if the source has no document of it. Somebody removes records of the sink after a pass has looked
//! at the documents: the pass names the documents, and a repair keeps their rows.

use mongodb::bson::{Document, doc};
use rstest::rstest;

use crate::support::{DEADLINE, migration::Migration, stack::Stack};

/// The tables have a column that only the application writes.
const SCHEMA: &str = "
    CREATE SCHEMA a;
    CREATE TABLE a.things (id uuid PRIMARY KEY, n integer, note text);
    CREATE TABLE a.parts (thing_id uuid REFERENCES a.things, place integer, sku text, note text, PRIMARY KEY (thing_id, place));
    CREATE TABLE a.words (word text PRIMARY KEY, size integer, note text);";

const THINGS: &str = r#"
    namespace = "dns"
    [collections.things]
    table = "a.things"
    id = "uuid5"
    ignore = ["note"]
    [collections.things.children.parts]
    table = "a.parts"
    parent = "thing_id"
    order = "place"
    ignore = ["note"]
"#;
const WORDS: &str = r#"
    [collections.words]
    table = "a.words"
    key = ["word"]
    columns.word = "word"
    ignore = ["note"]
"#;

const ENTRIES: &str = "DELETE FROM driftless.ledger";
const OWNERS: &str = "DELETE FROM driftless.owner";

/// All rows, with the number of rows that each of the sink's records has.
const STATE: &str = "SELECT 'thing ' || t::text FROM a.things AS t UNION ALL SELECT 'part ' || t::text FROM a.parts AS t \
    UNION ALL SELECT 'word ' || t::text FROM a.words AS t \
    UNION ALL SELECT 'entries ' || count(*) FROM driftless.ledger UNION ALL SELECT 'owners ' || count(*) FROM driftless.owner \
    ORDER BY 1";

fn documents(collection: &str) -> Vec<Document> {
    let parts = || vec![doc! { "sku": "a" }, doc! { "sku": "b" }];
    match collection {
        // The key of the last one is a hash.
        "things" => vec![
            doc! { "_id": 1, "n": 1, "parts": parts() },
            doc! { "_id": "two", "n": 2, "parts": parts() },
            doc! { "_id": "x".repeat(2_000), "n": 3, "parts": parts() },
        ],
        _ => ["one", "two"].iter().zip(1..).map(|(word, n)| doc! { "_id": n, "word": word, "size": n }).collect(),
    }
}

#[rstest]
#[case::by_id("lost_by_id", THINGS, ("things", "id"), ENTRIES, ("missing {}", 3))]
#[case::remembered("lost_remembered", WORDS, ("words", "word"), ENTRIES, ("missing {}", 2))]
#[case::unowned("lost_owner", WORDS, ("words", "word"), OWNERS, ("different {a.words}", 2))]
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_documents_without_records_are_not_extra(
    #[case] name: &str,
    #[case] mapping: &str,
    #[case] (table, key): (&str, &str),
    #[case] loss: &str,
    #[case] (says, named): (&str, usize),
) {
    let stack = Stack::shared().await;
    let mut migration = Migration::new(stack, stack.mongo_uri(), name, SCHEMA, mapping).await;
    migration.set("reconcile", "baseline_every", "1h");
    migration.collection(table).insert_many(documents(table)).await.expect("insert documents");
    let pipeline = migration.daemon_with(&["source", "sink"]);
    migration.quiesce(&pipeline, DEADLINE).await;
    for table in ["things", "parts", "words"] {
        run(&migration, &format!("SET session_replication_role = replica; UPDATE a.{table} SET note = 'kept'")).await;
    }
    let before = migration.texts(STATE).await;

    // The documents are judged, and the pass is held behind them.
    let goes_on = migration.mapping().with_file_name("goes_on");
    migration.set_failpoints(format!("baseline.chunk=1*off->1*pause({})", goes_on.display()));
    let reconciler = migration.daemon_with(&["reconciler"]);
    migration.set_failpoints("");
    let judged = "SELECT count(*) FROM driftless.proof WHERE phase = 'ledger'";
    migration.wait_for_number(judged, DEADLINE, 1).await;
    run(&migration, loss).await;
    std::fs::write(&goes_on, "").expect("let the pass go on");
    let incomplete = "SELECT count(*) FROM driftless.proof WHERE complete_pass IS NULL";
    migration.wait_for_number(incomplete, DEADLINE, 0).await;
    let found = "SELECT kind || ' ' || columns::text FROM driftless.finding";
    assert_eq!(migration.texts(found).await, vec![Some(says.to_owned()); named]);
    let rows = "SELECT count(*) FROM driftless.finding WHERE key IS NULL";
    assert_eq!(migration.number(rows).await, 0, "no row is extra");

    // A repair does not believe that a row is nobody's.
    let wrong = format!(
        "INSERT INTO driftless.finding (collection, relation, row_key, kind, as_of_t, as_of_i, plan, found_by)
         SELECT (SELECT id FROM driftless.collection), 'a.{table}', jsonb_build_object('{key}', t.{key}::text), 'extra', 1, 1, '\\x00', 'baseline'
           FROM a.{table} AS t"
    );
    run(&migration, &wrong).await;
    assert!(migration.number(rows).await > 0);
    migration.succeed(&["repair", "--force", "--why", "test"]).await;
    assert_eq!(migration.texts(STATE).await, before, "records are restored, and rows are as they were");
    assert_eq!(migration.number("SELECT count(*) FROM driftless.finding WHERE ended_at IS NULL").await, 0);
    let removed = "SELECT count(*) FROM driftless.repair WHERE row_key IS NOT NULL";
    assert_eq!(migration.number(removed).await, 0, "nobody asked for the removal of a row");
    migration.succeed(&["reconcile", "--full"]).await;
    reconciler.stop(0).await;
    pipeline.stop(0).await;
    migration.finish().await;
}

async fn run(migration: &Migration, sql: &str) {
    migration.target.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

//! Ownership of the schema's state: two migrations in one database share nothing, and foreign state is refused.

use std::sync::Arc;

use super::world::{TOPIC, World, change, sink_config, user};
use bson::rawdoc;
use driftless::{
    control::{
        dead_letters,
        snapshots::{self, SnapshotCommand},
        status,
    },
    log::Topic,
    mapping::{MappingFile, Plan},
    model::{Mismatch, Namespace, SourceIdentity},
    postgres::{Error, Postgres, Purpose, Session, identity, migrate, read_catalog},
    retry::chain,
    sink::{Prepared, checkpoint},
};
use driftless_testing::postgres::Database;

const OTHER_TABLES: &str = "CREATE SCHEMA other; CREATE TABLE other.users (id uuid PRIMARY KEY, email text, name text)";
const OTHER_MAPPING: &str = r#"
namespace = "dns"
[collections.users]
table = "other.users"
id = "uuid5"
"#;

async fn session(database: &Database, prefix: &str) -> Session {
    let target = Postgres::new(&sink_config(database), prefix).expect("a target");
    target.open(Purpose::Control).await.expect("connects")
}

async fn prepare(session: &Session, mapping: &str) -> Result<Prepared, Error> {
    let catalog = read_catalog(session).await.expect("reads the catalog");
    let file = MappingFile::parse(mapping, "test.mapping.toml").expect("a mapping file");
    let plan = Plan::compile(&file, &catalog).expect("a plan");
    Prepared::new(session, Arc::new(plan), &catalog).await
}

fn source(database: &str) -> SourceIdentity {
    SourceIdentity { database: database.to_owned(), ..SourceIdentity::default() }
}

#[tokio::test]
async fn two_migrations_with_a_collection_of_one_name_share_nothing() {
    let mut world = World::new().await;
    world.execute(OTHER_TABLES).await;
    let other = session(&world.database, "other").await;
    let prepared = prepare(&other, OTHER_MAPPING).await.expect("prepares");
    // The same key in both migrations, newer in the first: the change of the second must not lose against it.
    world.apply(&[user(1, 9, "first")]).await;
    let mut second = World { prepared: Arc::new(prepared), ..world_of(&world, "other").await };
    second.apply(&[user(1, 5, "second"), change("users", 2, 5, Some(rawdoc! { "_id": 2, "email": "a\0b" }))]).await;
    assert_eq!(world.rows("SELECT email FROM app.users").await, ["first"]);
    assert_eq!(second.rows("SELECT email FROM other.users").await, ["second"], "one document is a dead letter");
    for (session, letters) in [(&world.session, 0), (&second.session, 1)] {
        let listed = dead_letters::list(session, &dead_letters::Filter::default(), 10).await.expect("lists");
        assert_eq!(listed.len(), letters);
        let counted = status::read(session, 10).await.expect("reads").dead_letters;
        assert_eq!(counted.len(), letters);
    }
    let letter = dead_letters::list(&second.session, &dead_letters::Filter::default(), 10).await.expect("lists")[0].id;
    assert!(dead_letters::show(&world.session, letter).await.expect("looks").is_none(), "it is not the first's letter");
    let discarded = dead_letters::discard(&world.session, &dead_letters::Filter::default(), "test", "test").await;
    assert_eq!(discarded.expect("discards"), [0_i64; 0]);

    snapshots::ask(&other, SnapshotCommand::Pause, &["users".to_owned()], "test", None).await.expect("asks");
    assert!(snapshots::requests(&world.session).await.expect("reads").is_empty());
    assert_eq!(snapshots::requests(&other).await.expect("reads").len(), 1);
    let actions = async |session: &Session| {
        let actions = status::read(session, 10).await.expect("reads").actions;
        actions.into_iter().map(|action| action.command).collect::<Vec<_>>()
    };
    assert_eq!(actions(&world.session).await, ["dlq discard"]);
    assert_eq!(actions(&other).await, ["snapshot pause"]);
    drop(second.session);
    world.end().await;
}

/// Opens a world over the same database, whose log begins at the first offset of a topic of its own name.
async fn world_of(world: &World, prefix: &str) -> World {
    let database = world.database.again().await;
    let target = Postgres::new(&sink_config(&database), prefix).expect("a target");
    let session = target.open(Purpose::Apply).await.expect("connects");
    let (prepared, limits) = (world.prepared.clone(), world.limits.clone());
    World { database, target, session, prepared, offset: 1_000, applied: None, limits }
}

#[tokio::test]
async fn a_table_that_another_migration_writes_is_refused_until_that_one_is_forgotten() {
    let world = World::new().await;
    world.execute(OTHER_TABLES).await;
    let other = session(&world.database, "other").await;
    prepare(&other, OTHER_MAPPING).await.expect("its table is free");
    let mapping = OTHER_MAPPING.replace("other.users", "app.users");
    let taken = prepare(&other, &mapping).await.expect_err("the table is another's");
    let text = chain(&taken);
    assert!(text.contains("\"app\".\"users\"") && text.contains("log.prefix = \"t\""), "{text}");
    world.execute("DELETE FROM driftless.identity WHERE prefix = 't'").await;
    for table in ["ledger", "owner", "relation", "position", "dead_letter"] {
        let left = format!("SELECT count(*) FROM driftless.{table}");
        let expected = if table == "relation" { "1" } else { "0" };
        assert_eq!(world.rows(&left).await, [expected], "{table}");
    }
    prepare(&other, &mapping).await.expect("the table is free");
    // A table that the mapping no longer names is free, too.
    prepare(&session(&world.database, "third").await, OTHER_MAPPING).await.expect("its table is free");
    world.end().await;
}

#[tokio::test]
async fn another_source_under_the_same_prefix_is_refused_by_name() {
    let world = World::new().await;
    let control = session(&world.database, "t").await;
    identity::compare(&control, &source("anything")).await.expect("nothing is recorded");
    identity::claim(&control, &source("shop")).await.expect("the first one");
    identity::claim(&control, &source("shop")).await.expect("the same one");
    for refused in
        [identity::claim(&control, &source("store")).await, identity::compare(&control, &source("store")).await]
    {
        let refused = refused.expect_err("another one");
        assert!(matches!(&refused, Error::Mismatch(Mismatch::Database { recorded, configured, .. })
            if recorded == "shop" && configured == "store"));
        assert!(refused.hint().is_some_and(|hint| hint.contains("log.prefix")));
    }
    let replica = |name: &str| SourceIdentity { replica_set: Some(name.to_owned()), ..source("shop") };
    identity::claim(&control, &replica("rs0")).await.expect("now it is known");
    assert!(identity::claim(&control, &replica("rs1")).await.is_err());
    identity::claim(&control, &source("shop")).await.expect("who cannot ask the source compares what it knows");
    identity::claim(&session(&world.database, "u").await, &source("store")).await.expect("another migration");
    world.end().await;
}

#[tokio::test]
async fn another_topic_of_the_same_name_is_read_anew_and_its_letters_are_its_own() {
    let mut world = World::new().await;
    let topic = |id: &str| Topic {
        namespace: Namespace::new("shop", "users"),
        name: TOPIC.into(),
        partitions: 1,
        id: Some(id.to_owned()),
    };
    let unfit = |id: i32, t: u32| change("users", id, t, Some(rawdoc! { "_id": id, "email": "a\0b" }));
    let control = session(&world.database, "t").await;
    world.apply(&[unfit(1, 1)]).await;
    let all = dead_letters::Filter::default();
    dead_letters::discard(&control, &all, "test", "test").await.expect("discards");
    for id in ["one", "one"] {
        checkpoint::bind(&control, &[topic(id)]).await.expect("ties");
    }
    let positions = "SELECT next_offset, complete, topic_id FROM driftless.position";
    assert_eq!(world.rows(positions).await, ["1|f|one"], "it is the topic that was read");
    checkpoint::bind(&control, &[topic("two")]).await.expect("ties");
    assert_eq!(world.rows(positions).await, ["NULL|f|two"]);
    // The record at the first offset of the new topic is not the one whose letter was discarded.
    (world.offset, world.applied) = (0, None);
    world.apply(&[unfit(2, 2)]).await;
    let letters = "SELECT log_offset, state, topic_id FROM driftless.dead_letter ORDER BY id";
    assert_eq!(world.rows(letters).await, ["0|discarded|one", "0|open|"]);
    // A record that fails again keeps a letter, which supersedes the open letter of the old topic.
    (world.offset, world.applied) = (0, Some(1));
    checkpoint::bind(&control, &[topic("three")]).await.expect("ties");
    world.applied = None;
    world.apply(&[unfit(2, 3)]).await;
    assert_eq!(world.rows(letters).await, ["0|discarded|one", "0|superseded|two", "0|open|"]);
    world.end().await;
}

/// Creates the schema as it was before identities existed, in use by the migrations `p.q` and `z`.
async fn old_schema(database: &Database, rows: &str) {
    let client = database.client().await;
    client
        .batch_execute(
            "CREATE SCHEMA driftless; \
             CREATE TABLE driftless.migration (id integer PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL DEFAULT now())",
        )
        .await
        .expect("creates");
    for (id, sql) in [
        (1, include_str!("../../../src/postgres/migrations/0001_tables.sql")),
        (2, include_str!("../../../src/postgres/migrations/0002_snapshots.sql")),
        (3, include_str!("../../../src/postgres/migrations/0003_deferred.sql")),
    ] {
        client.batch_execute(sql).await.expect("migrates");
        let record = format!("INSERT INTO driftless.migration VALUES ({id}, 'x')");
        client.batch_execute(&record).await.expect("records");
    }
    client.batch_execute(rows).await.expect("fills");
}

#[tokio::test]
async fn an_old_schema_belongs_to_the_migration_whose_topics_it_names() {
    let database = Database::create().await;
    let rows = "INSERT INTO driftless.collection (name) VALUES ('users'); \
        INSERT INTO driftless.relation (name) VALUES ('app.users'); \
        INSERT INTO driftless.ledger (collection, key, version, deleted, upper_t, upper_i) VALUES (1, 'k', 'v', false, 1, 1); \
        INSERT INTO driftless.position (topic, partition, next_offset, complete) \
             VALUES ('p.q.shop-2d.users', 0, 7, true), ('z.shop.users', 0, 3, true); \
        INSERT INTO driftless.dead_letter (topic, partition, log_offset, collection, reason, headers, timestamp_ms, state) \
             VALUES ('p.q.shop-2d.users', 0, 1, 1, 'r', '[]', 1, 'open'), ('z.shop.users', 0, 1, 1, 'r', '[]', 1, 'open'); \
        INSERT INTO driftless.snapshot (collection, run) VALUES ('users', 4); \
        INSERT INTO driftless.action (who, command, detail) VALUES ('a', 'replay', '{}')";
    old_schema(&database, rows).await;
    let ours = session(&database, "p.q").await;
    assert!(identity::compare(&ours, &source("other")).await.is_err(), "also before it is brought up to date");
    migrate(&ours).await.expect("migrates");
    assert!(matches!(
        identity::claim(&ours, &source("other")).await,
        Err(Error::Mismatch(Mismatch::Database { recorded, .. })) if recorded == "shop-"
    ));
    identity::claim(&ours, &source("shop-")).await.expect("it is the one");
    let all = async |prefix| {
        let session = session(&database, prefix).await;
        let status = status::read(&session, 10).await.expect("reads");
        let offsets = status.positions.iter().map(|position| position.next_offset).collect::<Vec<_>>();
        (
            offsets,
            status.dead_letters.len(),
            status.actions.len(),
            snapshots::requests(&session).await.expect("reads").len(),
        )
    };
    assert_eq!(all("p.q").await, (vec![Some(7)], 1, 1, 1));
    assert_eq!(all("z").await, (vec![None], 0, 0, 0), "it had no ledger of its own, so it reads its log again");
    database.drop().await;
}

#[tokio::test]
async fn an_old_schema_that_names_no_topic_belongs_to_the_first_that_starts() {
    let database = Database::create().await;
    old_schema(&database, "INSERT INTO driftless.snapshot (collection, run) VALUES ('users', 4)").await;
    let ours = session(&database, "p").await;
    migrate(&ours).await.expect("migrates");
    for _ in 0..2 {
        identity::claim(&ours, &source("shop")).await.expect("takes it");
    }
    identity::claim(&session(&database, "q").await, &source("shop")).await.expect("a new one");
    assert_eq!(snapshots::requests(&ours).await.expect("reads")["users"].run, 4);
    database.drop().await;
}

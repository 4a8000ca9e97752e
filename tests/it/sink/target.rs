//! Unusual targets: settings, privileges, and tables that cannot be written as they are.

use bson::{RawDocumentBuf, rawdoc};
use driftless::{
    config::{Constraints, SinkConfig},
    control::load_indexes,
    mapping::{MappingFile, Plan},
    postgres::{self, Error, Postgres, Purpose, Session},
    retry::{Class, Classify},
    sink::{self, Limits, Prepared},
};
use driftless_testing::{postgres::Database, unique};
use rstest::rstest;

use super::world::{TABLES, World, change, plan, sink_config, user};

/// Defaults of a database that every new connection would begin with.
const HOSTILE: &[(&str, &str)] = &[
    ("array_nulls", "off"),
    ("bytea_output", "escape"),
    ("datestyle", "'SQL, DMY'"),
    ("default_transaction_deferrable", "on"),
    ("default_transaction_isolation", "serializable"),
    ("extra_float_digits", "-15"),
    ("intervalstyle", "sql_standard"),
    ("quote_all_identifiers", "on"),
    ("search_path", "nowhere"),
    ("standard_conforming_strings", "off"),
    ("timezone", "'Asia/Kathmandu'"),
    ("transform_null_equals", "on"),
    ("xmlbinary", "hex"),
    ("xmloption", "document"),
];

fn hostile(name: &str, value: &str) -> String {
    format!(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {name} = {}', current_database()); END $$;",
        value.replace('\'', "''")
    )
}

#[tokio::test]
async fn settings_of_the_database_change_nothing() {
    let tables = format!(
        "{TABLES}\nCREATE TABLE app.odd (id uuid PRIMARY KEY, tags text[], spans interval[], days date[], at timestamptz[], x xml, \
         f double precision, b bytea, s text);\n{}",
        HOSTILE.iter().map(|(name, value)| hostile(name, value)).collect::<String>()
    );
    let mapping = "namespace = \"dns\"\n[collections.odd]\ntable = \"app.odd\"\nid = \"uuid5\"\n";
    let mut world = World::of(Constraints::Replica, &tables, mapping).await;
    let document = rawdoc! {
        "_id": 1, "tags": [bson::RawBson::Null, "n", "NULL"], "spans": ["-1 days 02:00:00"], "days": [bson::DateTime::from_millis(1_706_745_600_000)],
        "at": [bson::DateTime::from_millis(1_706_745_600_000)], "x": "a<b/>", "f": 0.1 + 0.2, "b": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![0, 92, 255] },
        "s": "o'clock \\",
    };
    let documents = [change("odd", 1, 1, Some(document))];
    world.apply(&documents).await;
    assert_eq!(world.rows("SELECT reason, detail FROM driftless.dead_letter").await, [""; 0]);
    let found = world
        .rows(
            "SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET bytea_output = 'hex'; \
             SET extra_float_digits = 1; SELECT tags, spans, days, at, x, f, b, s FROM app.odd",
        )
        .await;
    let expected = "{NULL,n,\"NULL\"}|{\"-1 days +02:00:00\"}|{2024-02-01}|{\"2024-02-01 00:00:00+00\"}|a<b/>|\
                    0.30000000000000004|\\x005cff|o'clock \\";
    assert_eq!(found, [expected]);
    assert!(world.differences(&documents).await.is_empty());
    world.execute("UPDATE app.odd SET tags = ARRAY['NULL', 'n', 'NULL']").await;
    assert_eq!(world.differences(&documents).await.into_iter().collect::<Vec<_>>(), ["app.odd.tags"]);
    world.end().await;
}

/// The index takes longer to build than the database's settings allow a statement to take.
#[tokio::test]
async fn an_index_is_built_however_long_it_takes_and_one_left_behind_is_built_again() {
    let world = World::new().await;
    let client = world.database.client().await;
    client
        .batch_execute(
            "CREATE FUNCTION app.slow(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_sleep(0.4); RETURN $1; END';
             CREATE INDEX users_slow ON app.users (app.slow(name));",
        )
        .await
        .expect("ok");
    let control = world.target.open(Purpose::Control).await.expect("connects");
    load_indexes::drop_before_load(&control, &["app.users".to_owned()], "test", false).await.expect("drops it");
    drop(control);
    let id = uuid::Uuid::new_v4();
    client.execute("INSERT INTO app.users (id, email, name) VALUES ($1, 'a', 'a')", &[&id]).await.expect("ok");
    // An earlier attempt was interrupted, and has left this index.
    let broken = "SET statement_timeout = '100ms'; CREATE INDEX CONCURRENTLY users_slow ON app.users (app.slow(name))";
    for sql in broken.split("; ") {
        let _timed_out = client.batch_execute(sql).await;
    }
    client.batch_execute("RESET statement_timeout").await.expect("ok");
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'app.users_slow'::regclass";
    assert_eq!(world.rows(valid).await, ["f"]);
    let faults = postgres::faults_of_target(&world.session, world.prepared.all()).await.expect("answers");
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].what.contains("app.users_slow") && faults[0].what.contains("not valid"), "{faults:?}");

    for (name, value) in [("statement_timeout", "'100ms'"), ("lock_timeout", "'1ms'")] {
        client.batch_execute(&hostile(name, value)).await.expect("ok");
    }
    let control = world.target.open(Purpose::Control).await.expect("connects");
    let built = load_indexes::build_after_load(&control, "test", false).await.expect("builds it");
    assert_eq!(built.iter().map(|built| &built.problem).collect::<Vec<_>>(), [&None]);
    let row = client.query_one(valid, &[]).await.expect("ok");
    assert!(row.get::<_, bool>(0));
    drop((control, client));
    world.end().await;
}

const FOLDING: &str = "
CREATE SCHEMA app;
CREATE COLLATION app.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN app.name AS text COLLATE app.ci;
CREATE TABLE app.words (word text COLLATE app.ci PRIMARY KEY, size integer);
CREATE TABLE app.names (id uuid PRIMARY KEY, name app.name NOT NULL UNIQUE);
";

#[tokio::test]
async fn a_key_follows_the_collation_that_takes_different_texts_for_one() {
    let mapping = "namespace = \"dns\"\n[collections.words]\ntable = \"app.words\"\ncolumns.word = \"word\"\n\
                   [collections.names]\ntable = \"app.names\"\nid = \"uuid5\"\n";
    let mut world = World::of(Constraints::Replica, FOLDING, mapping).await;
    let word =
        |id, t, word: &str, size: i32| change("words", id, t, Some(rawdoc! { "_id": id, "word": word, "size": size }));
    world.apply(&[word(1, 1, "abc", 1)]).await;
    // Another document with the same key is refused, and the row remains that of the first one.
    world.apply(&[word(2, 2, "ABC", 2)]).await;
    assert_eq!(world.rows("SELECT word, size FROM app.words").await, ["abc|1"]);
    assert_eq!(world.letters().await, ["UNIQUE_CONFLICT|parked|1"]);
    world.apply(&[change("words", 2, 3, None)]).await;
    assert_eq!(world.rows("SELECT word, size FROM app.words").await, ["abc|1"]);
    // The same document in another case: the comparison sees the difference, and the row follows.
    let renamed = [word(1, 4, "ABc", 1)];
    assert_eq!(world.differences(&renamed).await.into_iter().collect::<Vec<_>>(), ["app.words.word"]);
    world.apply(&renamed).await;
    assert_eq!(world.rows("SELECT word, size FROM app.words").await, ["ABc|1"]);
    // Both documents in one batch.
    world.apply(&[word(3, 5, "x", 3), word(4, 5, "X", 4)]).await;
    assert_eq!(world.rows("SELECT count(*) FROM app.words WHERE word = 'x'").await, ["1"]);

    let name = |id, t, name: &str| change("names", id, t, Some(rawdoc! { "_id": id, "name": name }));
    world.apply(&[name(1, 6, "ann"), name(2, 6, "ANN")]).await;
    assert_eq!(world.rows("SELECT count(*) FROM app.names").await, ["1"]);
    // Two documents trade their values in one batch.
    world.apply(&[name(3, 7, "bob"), name(4, 7, "carl")]).await;
    world.apply(&[name(3, 8, "CARL"), name(4, 8, "BOB")]).await;
    assert_eq!(
        world.rows("SELECT name FROM app.names WHERE name IN ('bob', 'carl') ORDER BY 1").await,
        ["BOB", "CARL"]
    );
    world.end().await;
}

#[tokio::test]
async fn ids_are_not_kept_in_a_column_that_folds_them() {
    let database = Database::create().await;
    let tables = format!(
        "{FOLDING}CREATE TABLE app.notes (word text COLLATE app.ci NOT NULL, place integer, PRIMARY KEY (word, place));
         CREATE TABLE app.plain (id text PRIMARY KEY);
         CREATE TABLE app.entries (old app.name PRIMARY KEY, id integer NOT NULL);
         CREATE TABLE app.found (id integer PRIMARY KEY);"
    );
    database.client().await.batch_execute(&tables).await.expect("ok");
    let session =
        Postgres::new(&sink_config(&database), "t").expect("a target").open(Purpose::Control).await.expect("connects");
    let catalog = postgres::read_catalog(&session).await.expect("reads");
    let mapping = "namespace = \"dns\"\n[collections.words]\ntable = \"app.words\"\nid = \"text\"\n[collections.plain]\n\
                   table = \"app.plain\"\nid = \"text\"\n[collections.plain.children.notes]\ntable = \"app.notes\"\n\
                   parent = \"word\"\norder = \"place\"\n[collections.found]\ntable = \"app.found\"\n\
                   id = { rule = \"lookup\", table = \"app.entries\", from = \"old\", to = \"id\" }\n";
    let file = MappingFile::parse(mapping, "m.toml").expect("a file");
    let faults = Plan::compile(&file, &catalog).expect_err("faults");
    let told = faults.iter().map(|fault| fault.what.as_str()).collect::<Vec<_>>().join("\n");
    assert_eq!(faults.len(), 3, "{told}");
    for column in ["primary key \"word\"", "parent column \"word\"", "lookup column \"old\""] {
        assert!(told.contains(&format!("the {column}")) && told.contains("not deterministic"), "{column}: {told}");
    }
    drop(session);
    database.drop().await;
}

/// A table, a change of it, and a part of the fault.
#[rstest]
#[case::row_security(
    "ALTER TABLE app.users ENABLE ROW LEVEL SECURITY",
    "row-level security of \"app\".\"users\"",
    true
)]
#[case::deferrable(
    "ALTER TABLE app.users DROP CONSTRAINT users_pkey CASCADE, ADD PRIMARY KEY (id) DEFERRABLE",
    "the key of \"app\".\"users\" is DEFERRABLE",
    true
)]
#[case::unlogged("ALTER TABLE app.milestones SET UNLOGGED", "\"app\".\"milestones\" is unlogged", true)]
#[case::inherited("CREATE TABLE app.more () INHERITS (app.plans)", "other tables inherit from \"app\".\"plans\"", true)]
#[case::rule(
    "CREATE RULE r AS ON INSERT TO app.plans DO ALSO NOTHING",
    "a rule rewrites writes to \"app\".\"plans\"",
    true
)]
#[case::index_left_behind(
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.milestones_plan_id_idx'::regclass",
    "the index app.milestones_plan_id_idx of \"app\".\"milestones\" is not valid",
    false
)]
#[tokio::test]
async fn what_would_lose_rows_is_a_fault(#[case] done: &str, #[case] told: &str, #[case] stops: bool) {
    let world = World::new().await;
    let (role, session) = role(&world.database, "BYPASSRLS").await;
    let client = world.database.client().await;
    client
        .batch_execute(&format!(
            "ALTER ROLE {role} NOBYPASSRLS; GRANT USAGE ON SCHEMA app TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA app, driftless TO {role}; GRANT USAGE ON SCHEMA driftless TO {role}; {done}"
        ))
        .await
        .expect("ok");
    let faults = postgres::faults_of_target(&session, world.prepared.all()).await.expect("answers");
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].what.starts_with(told), "{faults:?}");
    assert_eq!(faults[0].stops, stops);
    drop(session);
    forget(&client, &role).await;
    world.end().await;
}

#[tokio::test]
async fn a_role_that_may_only_read_is_told_so() {
    let world = World::new().await;
    world.execute(&hostile("default_transaction_read_only", "on")).await;
    let session = world.target.open(Purpose::Control).await.expect("connects");
    let error = postgres::suited::writable(&session).await.expect_err("it is read-only");
    assert!(matches!(&error, Error::ReadOnly { role, .. } if role == "postgres"), "{error}");
    assert_eq!(error.class(), Class::Halt);
    assert!(error.hint().is_some_and(|hint| hint.contains("RESET")));
    drop(session);
    world.end().await;
}

pub(super) const SERIAL: &str = "ALTER TABLE app.users ADD COLUMN number serial;";

/// The privileges that are printed for a role are enough to run everything, and none is superfluous.
#[rstest]
#[tokio::test]
async fn the_rights_that_are_printed_are_enough(#[values(false, true)] ours: bool) {
    let database = Database::create().await;
    let client = database.client().await;
    client.batch_execute(TABLES).await.expect("ok");
    client.batch_execute(SERIAL).await.expect("ok");
    let mapping = super::world::MAPPING.replace("[\"updated_at\"]", "[\"updated_at\", \"number\"]");
    let file = MappingFile::parse(&mapping, "m.toml").expect("a file");
    if !ours {
        // Another role made the schema, with or without an older version's tables in it.
        let control = Postgres::new(&sink_config(&database), "t")
            .expect("a target")
            .open(Purpose::Control)
            .await
            .expect("connects");
        postgres::migrate(&control).await.expect("migrates");
        client.batch_execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA driftless FROM PUBLIC").await.expect("ok");
    }
    let (role, session) = role(&database, "").await;
    let grants = lacking(&session, &file).await;
    let number = grants.lines().count();
    for line in grants.lines() {
        let before = lacking(&session, &file).await.lines().count();
        client.batch_execute(line).await.unwrap_or_else(|error| panic!("{line}: {error:?}"));
        assert!(lacking(&session, &file).await.lines().count() < before, "{line} changes nothing");
    }
    assert!(number >= 4, "{grants}");
    assert_eq!(lacking(&session, &file).await, "");
    drop(session);

    let mut config = sink_config(&database);
    config.url = Some(database.url_as(Some(&role)).into());
    run(&config, &file).await;
    assert_eq!(client.query_one("SELECT count(*) FROM app.milestones", &[]).await.expect("ok").get::<_, i64>(0), 1);
    client.batch_execute(&format!("REASSIGN OWNED BY {role} TO postgres")).await.expect("ok");
    forget(&client, &role).await;
    drop(client);
    database.drop().await;
}

pub(super) async fn lacking(session: &Session, file: &MappingFile) -> String {
    let catalog = postgres::read_catalog(session).await.expect("reads the catalog");
    let plan = Plan::compile(file, &catalog).expect("a plan");
    let faults = postgres::faults_of_target(session, &plan).await.expect("answers");
    let hint = faults.first().map_or("", |fault| &fault.hint);
    hint.split_once(":\n").map_or("", |(_, block)| block).to_owned()
}

/// Runs everything that the sink does, as it does it.
async fn run(config: &SinkConfig, file: &MappingFile) {
    let target = Postgres::new(config, "t").expect("a target");
    let control = target.open(Purpose::Control).await.expect("connects");
    postgres::migrate(&control).await.expect("migrates");
    let catalog = postgres::read_catalog(&control).await.expect("reads the catalog");
    let prepared = Prepared::new(&control, Plan::compile(file, &catalog).expect("a plan").into(), &catalog)
        .await
        .expect("prepares");
    let session = target.open(Purpose::Apply).await.expect("connects");
    let limits = Limits {
        dead_letters_left: 10,
        dead_letters: 10,
        window: std::time::Duration::from_secs(60),
        share: 0.9,
        recent: Default::default(),
        parked_attempts: 3,
    };
    let bad: RawDocumentBuf = rawdoc! { "_id": 9, "email": "x", "age": -1 };
    let mut expected = None;
    for changes in [
        vec![user(1, 1, "a"), user(2, 1, "b"), plan(1, 1, Some(1), &[(1, "m"), (2, "n")])],
        vec![user(1, 2, "b"), user(2, 2, "a"), plan(1, 2, Some(1), &[(1, "m")]), change("users", 9, 2, Some(bad))],
        vec![change("users", 2, 3, None)],
    ] {
        let records = super::world::records(&changes, expected.unwrap_or(0));
        let batch = sink::plan::plan(records, Vec::new(), prepared.all()).expect("a batch");
        let outcome = sink::apply(&session, &prepared, &batch, &[expected], &limits).await.expect("applies");
        expected = outcome.positions.first().and_then(|(_, position)| position.next_offset);
    }
    let read = target.open(Purpose::Read).await.expect("connects");
    assert_eq!(super::world::extra_rows(&read, &prepared, 0).await, [""; 0]);
    let told = load_indexes::drop_before_load(&control, &[], "test", true).await.expect("looks");
    assert_eq!(told, []);
}

/// Creates a role, and opens a session as that role.
pub(super) async fn role(database: &Database, options: &str) -> (String, Session) {
    let role = unique("it");
    database.client().await.batch_execute(&format!("CREATE ROLE {role} LOGIN {options}")).await.expect("ok");
    let mut config = sink_config(database);
    config.url = Some(database.url_as(Some(&role)).into());
    let session = Postgres::new(&config, "t").expect("a target").open(Purpose::Apply).await.expect("connects");
    (role, session)
}

pub(super) async fn forget(client: &tokio_postgres::Client, role: &str) {
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.expect("ok");
}

/// Another rule or namespace would make other rows of the same documents, and nothing would find the old ones.
#[tokio::test]
async fn another_rule_for_keys_is_refused_while_there_are_documents() {
    let mut world = World::new().await;
    let control = world.target.open(Purpose::Control).await.expect("connects");
    let catalog = postgres::read_catalog(&control).await.expect("reads the catalog");
    let plan = |mapping: &str| {
        let file = MappingFile::parse(mapping, "m.toml").expect("a file");
        std::sync::Arc::new(Plan::compile(&file, &catalog).expect("a plan"))
    };
    let url = plan(&super::world::MAPPING.replace("\"dns\"", "\"url\""));
    let padded = plan(&super::world::MAPPING.replace("\"uuid5\"", "\"pad_left\""));
    let dns = plan(super::world::MAPPING);
    // Nothing has been written yet, so any rule may be chosen.
    for plan in [&url, &dns] {
        Prepared::new(&control, plan.clone(), &catalog).await.expect("prepares");
    }
    world.apply(&[user(1, 1, "a")]).await;
    for (other, named) in [(&url, "6ba7b811"), (&padded, "pad_left")] {
        let error = Prepared::new(&control, other.clone(), &catalog).await.expect_err("refused");
        let told = driftless::retry::chain(&error);
        assert!(matches!(&error, Error::KeyRuleChanged { collection, .. } if collection == "users"), "{told}");
        assert!(told.contains("uuid5 in namespace 6ba7b810") && told.contains(named), "{told}");
        assert_eq!(error.class(), Class::Halt);
        assert!(sink::key_rule::compare(&control, other).await.is_err(), "`check` says so, too");
    }
    Prepared::new(&control, dns.clone(), &catalog).await.expect("the same rule goes on");
    // The remedy that the hint names.
    world.execute("DELETE FROM app.users; DELETE FROM driftless.ledger; DELETE FROM driftless.owner").await;
    Prepared::new(&control, url.clone(), &catalog).await.expect("prepares");
    drop(control);
    world.end().await;
}

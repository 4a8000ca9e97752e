//! The guard against a real PostgreSQL: writes of others are recorded or refused, those of the sink never.

use driftless::{
    config::Constraints,
    control::guard::{self, GuardState, Guarded, Mode},
    mapping::{MappingFile, Plan},
    model::{Control, ControlKind, Namespace, Version},
    postgres::{Purpose, Session, read_catalog, triggers},
};
use driftless_testing::{postgres::connect, stack::setting, unique};
use futures_util::SinkExt;
use rstest::rstest;

use crate::{
    cli::{Said, driftless},
    sink::world::{MAPPING, TABLES, World, change, plan, user},
};

const WRITES: &str = "SELECT relation, operation, rows, keys, application FROM driftless.foreign_write ORDER BY id";

/// Tables whose rows are in partitions, one of them partitioned again.
const PARTITIONED: &str = "
CREATE SCHEMA app;
CREATE TABLE app.events (id integer PRIMARY KEY, title text) PARTITION BY RANGE (id);
CREATE TABLE app.events_1 PARTITION OF app.events FOR VALUES FROM (0) TO (10);
CREATE TABLE app.events_2 PARTITION OF app.events FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (id);
CREATE TABLE app.events_2a PARTITION OF app.events_2 FOR VALUES FROM (10) TO (20);";
const EVENTS: &str = "[collections.events]\ntable = \"app.events\"\nid = \"integer\"\n";

/// A guarded target, and a role of the application that has rights on its tables only.
struct Target {
    world: World,
    control: Session,
    guarded: Vec<Guarded>,
    role: String,
}

impl Target {
    async fn new(constraints: Constraints, tables: &str, mapping: &str, mode: Mode) -> Self {
        let world = World::of(constraints, tables, mapping).await;
        let role = unique("shop");
        let rights = format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA app TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA app TO {role}"
        );
        world.execute(&rights).await;
        let control = world.target.open(Purpose::Control).await.expect("connects");
        let catalog = read_catalog(&control).await.expect("reads the catalog");
        let file = MappingFile::parse(mapping, "m.toml").expect("a mapping file");
        let guarded = Guarded::all(&Plan::compile(&file, &catalog).expect("a plan"), &catalog);
        let target = Self { world, control, guarded, role };
        target.install(mode).await;
        target
    }

    async fn install(&self, mode: Mode) {
        let changed = guard::install(&self.control, &self.guarded, mode, "a test").await.expect("installs");
        assert!(changed.iter().all(|changed| changed.problem.is_none()), "{changed:?}");
    }

    /// Opens a session of the application.
    async fn application(&self) -> tokio_postgres::Client {
        let url = self.world.database.url_as(Some(&self.role));
        let client = connect(&url).await;
        client.batch_execute("SET application_name = 'shop'").await.expect("names itself");
        client
    }

    /// Runs statements as the application, and returns what the guard has recorded of them.
    async fn writes(&self, sql: &str) -> Vec<String> {
        self.application().await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        self.recorded().await
    }

    /// Returns what the guard has recorded since the last call.
    async fn recorded(&self) -> Vec<String> {
        let rows = self.world.rows(WRITES).await;
        self.world.execute("DELETE FROM driftless.foreign_write").await;
        rows
    }

    async fn look(&self) -> Vec<GuardState> {
        guard::look(&self.control, &self.guarded).await.expect("looks")
    }

    async fn end(self) {
        drop(self.control);
        self.world.execute(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.role)).await;
        self.world.end().await;
    }
}

#[rstest]
#[case::replica(Constraints::Replica)]
#[case::enforce(Constraints::Enforce)]
#[tokio::test]
async fn writes_of_others_are_recorded_and_those_of_the_sink_are_not(#[case] constraints: Constraints) {
    let mut target = Target::new(constraints, TABLES, MAPPING, Mode::Record).await;
    // Enough new documents for a COPY, then updates, moves of a unique value, deletes, and a truncation.
    let users: Vec<_> = (0..150).map(|id| user(id, 1, &format!("{id}@x"))).collect();
    let plans: Vec<_> = (0..150).map(|id| plan(id, 2, Some(id), &[(10 * id, "a"), (10 * id + 1, "b")])).collect();
    let world = &mut target.world;
    let copied = world.apply(&users).await;
    assert_eq!(copied.touched["app.users"], (150, 0));
    world.apply(&plans).await;
    world
        .apply(&[user(1, 3, "2@x"), user(2, 3, "1@x"), plan(3, 3, None, &[(30, "c")]), change("plans", 4, 3, None)])
        .await;
    let control = Control {
        namespace: Namespace::new("shop", "plans"),
        kind: ControlKind::Drop,
        version: Version { epoch: 1, time: driftless::model::ClusterTime { t: 5, i: 1 }, op: 0 },
        truncate: true,
    };
    let record = world.append_control(&control);
    world.apply_records(record).await.expect("applies");
    assert_eq!(world.counts(&["users", "plans", "milestones"]).await, [150, 0, 0]);
    assert!(target.recorded().await.is_empty(), "the sink's writes are its own");

    let id = "00000000-0000-0000-0000-00000000000";
    let seen = target
        .writes(&format!("INSERT INTO app.users (id, email) VALUES ('{id}1', 'rogue'), ('{id}2', 'other')"))
        .await;
    assert_eq!(seen, [format!("app.users|INSERT|2|[{{\"id\": \"{id}1\"}}, {{\"id\": \"{id}2\"}}]|shop")]);
    let seen = target.writes(&format!("UPDATE app.users SET id = '{id}3' WHERE id = '{id}1'")).await;
    assert_eq!(seen, [format!("app.users|UPDATE|1|[{{\"id\": \"{id}1\"}}, {{\"id\": \"{id}3\"}}]|shop")]);
    let seen = target.writes("UPDATE app.users SET name = 'x'").await;
    assert_eq!(seen, ["app.users|UPDATE|152|NULL|shop"], "too many keys are not kept");
    let seen = target.writes("UPDATE app.users SET name = 'x' WHERE email = 'nobody'").await;
    assert!(seen.is_empty(), "a statement that finds no row has written none: {seen:?}");
    let upsert = format!(
        "INSERT INTO app.users (id, email) VALUES ('{id}3', 'a'), ('{id}4', 'b') ON CONFLICT (id) DO UPDATE SET name = 'y'"
    );
    let seen = target.writes(&upsert).await;
    assert_eq!(
        seen,
        [
            format!("app.users|UPDATE|1|[{{\"id\": \"{id}3\"}}]|shop"),
            format!("app.users|INSERT|1|[{{\"id\": \"{id}4\"}}]|shop"),
        ]
    );
    // The parent of a child row is recorded with it.
    let seen = target
        .writes(&format!(
            "INSERT INTO app.plans (id) VALUES ('{id}5'); INSERT INTO app.milestones VALUES ('{id}6', '{id}5', 1, 't')"
        ))
        .await;
    assert_eq!(seen[1], format!("app.milestones|INSERT|1|[{{\"id\": \"{id}6\", \"plan_id\": \"{id}5\"}}]|shop"));
    let seen = target.writes("TRUNCATE app.plans CASCADE").await;
    assert_eq!(seen, ["app.plans|TRUNCATE|NULL|NULL|shop", "app.milestones|TRUNCATE|NULL|NULL|shop"]);
    let client = target.application().await;
    let mut copy = std::pin::pin!(client.copy_in("COPY app.users (id, email) FROM STDIN").await.expect("copies"));
    copy.send(bytes::Bytes::from(format!("{id}7\tcopied\n"))).await.expect("sends");
    copy.close().await.expect("ends");
    assert_eq!(target.recorded().await, [format!("app.users|INSERT|1|[{{\"id\": \"{id}7\"}}]|shop")]);
    assert_eq!(target.writes(&format!("DELETE FROM app.users WHERE id = '{id}7'")).await.len(), 1);
    target.end().await;
}

#[tokio::test]
async fn a_statement_that_is_rolled_back_leaves_no_record() {
    let target = Target::new(Constraints::Replica, TABLES, MAPPING, Mode::Record).await;
    let sql = "BEGIN; INSERT INTO app.plans (id) VALUES (gen_random_uuid()); SAVEPOINT s;
               INSERT INTO app.plans (id) SELECT gen_random_uuid() FROM generate_series(1, 3);
               ROLLBACK TO s; DELETE FROM app.plans; COMMIT";
    let seen = target.writes(sql).await;
    let counted: Vec<_> = seen.iter().map(|row| row.splitn(4, '|').take(3).collect::<Vec<_>>().join("|")).collect();
    assert_eq!(counted, ["app.plans|INSERT|1", "app.plans|DELETE|1"]);
    target.end().await;
}

#[tokio::test]
async fn partitions_are_guarded_whichever_table_is_named() {
    let target = Target::new(Constraints::Replica, PARTITIONED, EVENTS, Mode::Record).await;
    let insert = |table: &str, id: i32| format!("INSERT INTO app.{table} VALUES ({id}, 't')");
    for (table, id) in [("events", 1), ("events_1", 2), ("events_2", 11), ("events_2a", 12)] {
        let seen = target.writes(&insert(table, id)).await;
        assert_eq!(seen, [format!("app.events|INSERT|1|[{{\"id\": \"{id}\"}}]|shop")], "into {table}");
    }
    let seen = target.writes("UPDATE app.events SET id = 13 WHERE id = 1").await;
    assert_eq!(seen, [r#"app.events|DELETE|1|[{"id": "1"}]|shop"#, r#"app.events|INSERT|1|[{"id": "13"}]|shop"#]);
    assert_eq!(target.writes("TRUNCATE app.events_2a").await, ["app.events|TRUNCATE|NULL|NULL|shop"]);
    assert!(target.look().await.iter().all(GuardState::holds));

    // A new partition has the row trigger only. Rows written into it are recorded without their keys; TRUNCATE is not seen.
    target.world.execute("CREATE TABLE app.events_2b PARTITION OF app.events_2 FOR VALUES FROM (20) TO (30)").await;
    target.world.execute(&format!("GRANT ALL ON ALL TABLES IN SCHEMA app TO {}", target.role)).await;
    assert_eq!(target.writes(&insert("events_2b", 21)).await, ["app.events|INSERT|NULL|NULL|shop"]);
    let broken = target.look().await[0].broken.clone().unwrap_or_default();
    assert_eq!(
        broken,
        "driftless_guard_end of app.events_2b is missing; driftless_guard_truncate of app.events_2b is missing"
    );
    target.install(Mode::Record).await;
    assert!(target.look().await.iter().all(GuardState::holds));
    assert_eq!(target.writes("TRUNCATE app.events_2b").await, ["app.events|TRUNCATE|NULL|NULL|shop"]);
    target.end().await;
}

#[tokio::test]
async fn a_refusal_says_what_who_and_how_to_allow_it() {
    let mut target = Target::new(Constraints::Enforce, TABLES, MAPPING, Mode::Refuse).await;
    target.world.apply(&[user(1, 1, "a@x")]).await;
    for sql in ["UPDATE app.users SET name = 'x'", "DELETE FROM app.users", "TRUNCATE app.users CASCADE"] {
        let error = target.application().await.batch_execute(sql).await.expect_err("is refused");
        let error = error.as_db_error().expect("by the server");
        let operation = sql.split(' ').next().expect("a word");
        assert_eq!(error.code().code(), "25006");
        assert_eq!(
            error.message(),
            format!(
                "{operation} of app.users by {}: driftless replicates this table, and its guard refuses every other writer",
                target.role
            )
        );
        assert!(error.hint().unwrap_or_default().contains("driftless guard install --mode record"));
    }
    target.writes("UPDATE app.users SET name = 'x' WHERE email = 'nobody'").await;
    target.world.apply(&[user(1, 2, "b@x"), user(2, 2, "c@x")]).await;
    assert_eq!(target.world.letters().await, [""; 0]);
    target.install(Mode::Record).await;
    assert_eq!(target.writes("UPDATE app.users SET name = 'x'").await.len(), 1);
    target.end().await;
}

/// In enforce mode the target's triggers and cascades fire for the sink. What they write is not what the sink has written.
#[tokio::test]
async fn what_the_targets_own_triggers_and_cascades_write_is_recorded() {
    let tables = "CREATE SCHEMA app;
        CREATE TABLE app.users (id integer PRIMARY KEY, seen integer NOT NULL DEFAULT 0);
        CREATE TABLE app.notes (id integer PRIMARY KEY, user_id integer REFERENCES app.users (id) ON DELETE CASCADE);
        CREATE FUNCTION app.count() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN UPDATE app.users SET seen = seen + 1 WHERE id = NEW.user_id; RETURN NULL; END';
        CREATE TRIGGER count AFTER INSERT ON app.notes FOR EACH ROW EXECUTE FUNCTION app.count();";
    let mapping = "[collections.users]\ntable = \"app.users\"\nid = \"integer\"\nignore = [\"seen\"]\n\
                   [collections.notes]\ntable = \"app.notes\"\nid = \"integer\"\n[collections.notes.columns]\nuser_id = \"user\"\n";
    let mut target = Target::new(Constraints::Enforce, tables, mapping, Mode::Refuse).await;
    let document = |id: i32| Some(bson::rawdoc! { "_id": id });
    target.world.apply(&[change("users", 1, 1, document(1))]).await;
    assert!(target.recorded().await.is_empty());
    let note = bson::rawdoc! { "_id": 7, "user": 1 };
    target.world.apply(&[change("notes", 7, 2, Some(note))]).await;
    let all = |rows: &[String]| {
        rows.iter().map(|row| row.rsplit_once('|').expect("columns").0.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(all(&target.recorded().await), [r#"app.users|UPDATE|1|[{"id": "1"}]"#]);
    target.world.apply(&[change("users", 1, 3, None)]).await;
    assert_eq!(all(&target.recorded().await), [r#"app.notes|DELETE|1|[{"id": "7"}]"#]);
    assert_eq!(target.world.letters().await, [""; 0]);
    target.end().await;
}

#[tokio::test]
async fn a_write_passes_when_it_cannot_be_recorded_and_is_counted() {
    let target = Target::new(Constraints::Replica, TABLES, MAPPING, Mode::Record).await;
    let lost = "SELECT CASE WHEN is_called THEN last_value + 1 ELSE 0 END FROM driftless.foreign_write_lost";
    assert_eq!(target.world.rows(lost).await, ["0"]);
    let insert = "INSERT INTO app.plans (id) VALUES (gen_random_uuid())";
    let held = target.world.hold("LOCK TABLE driftless.foreign_write").await;
    let client = target.application().await;
    client.batch_execute(insert).await.expect("passes");
    held.batch_execute("ROLLBACK").await.expect("ends");
    let after_lock: i64 = target.world.rows(lost).await[0].parse().expect("a number");
    assert!(after_lock > 0);
    target.world.execute("ALTER TABLE driftless.foreign_write RENAME TO away").await;
    client.batch_execute(insert).await.expect("passes");
    client.batch_execute("TRUNCATE app.plans CASCADE").await.expect("passes");
    target.world.execute("ALTER TABLE driftless.away RENAME TO foreign_write").await;
    let after_loss: i64 = target.world.rows(lost).await[0].parse().expect("a number");
    assert!(after_loss > after_lock);
    assert_eq!(target.world.rows("SELECT FROM app.plans").await.len(), 0);
    // Without the sequence, too; and the schema cannot be dropped without its triggers.
    target
        .world
        .execute("DROP SEQUENCE driftless.foreign_write_lost; ALTER TABLE driftless.foreign_write RENAME TO away")
        .await;
    client.batch_execute(insert).await.expect("passes");
    target.world.execute("DROP SCHEMA driftless CASCADE").await;
    client.batch_execute(insert).await.expect("passes");
    target.end().await;
}

#[rstest]
#[case::disabled("ALTER TABLE app.users DISABLE TRIGGER driftless_guard_rows", true)]
#[case::all_disabled("ALTER TABLE app.users DISABLE TRIGGER ALL", true)]
#[case::dropped("DROP TRIGGER driftless_guard_truncate ON app.users", true)]
#[case::never_fires("ALTER TABLE app.users ENABLE REPLICA TRIGGER driftless_guard_end", true)]
#[case::between_two_looks(
    "ALTER TABLE app.users DISABLE TRIGGER ALL; UPDATE app.users SET name = 'x'; ALTER TABLE app.users ENABLE TRIGGER ALL",
    false
)]
#[case::rewritten("ALTER TABLE app.users ALTER email TYPE text USING upper(email)", false)]
#[case::truncated_unseen("SET session_replication_role = replica; TRUNCATE app.users CASCADE", false)]
#[tokio::test]
async fn a_break_of_the_guard_is_noticed(#[case] sql: &str, #[case] lasting: bool) {
    let target = Target::new(Constraints::Replica, TABLES, MAPPING, Mode::Record).await;
    let of_users =
        |states: Vec<GuardState>| states.into_iter().find(|state| state.relation == "app.users").expect("users");
    let before = of_users(target.look().await);
    assert_eq!(before, of_users(target.look().await), "nothing breaks by looking");
    target.world.execute(sql).await;
    let status = of_users(guard::status(&target.control, &target.guarded).await.expect("reads"));
    assert!(!status.holds() && status.since.is_none(), "{status:?}");
    let after = of_users(target.look().await);
    assert_eq!(after.holds(), !lasting, "{after:?}");
    if lasting {
        target.install(Mode::Record).await;
    }
    let restored = of_users(target.look().await);
    assert!(restored.holds() && restored.since > before.since, "{restored:?}");
    assert!(target.writes("UPDATE app.users SET name = 'y'; TRUNCATE app.users CASCADE").await.len() >= 2);
    target.end().await;
}

fn run(world: &World, arguments: &[&str]) -> Said {
    run_as(world, None, arguments)
}

/// Runs a command as this role; `None` is the owner of the tables.
fn run_as(world: &World, role: Option<&str>, arguments: &[&str]) -> Said {
    let config = format!(
        "mapping = \"m.toml\"\n[source]\nuri = \"{}\"\ndatabase = \"shop\"\n[log]\nbrokers = \"{}\"\nprefix = \"t\"\n\
         replication = 1\n[sink]\nurl = \"{}\"\n",
        setting("MONGO_URI"),
        setting("KAFKA_BROKERS"),
        world.database.url_as(role)
    );
    driftless(&[("driftless.toml", &config), ("m.toml", MAPPING)], arguments)
}

/// Commands that read or preview.
const READERS: [&[&str]; 19] = [
    &["guard", "install", "--dry-run"],
    &["guard", "remove", "--dry-run"],
    &["guard", "status"],
    &["schema", "apply", "--dry-run"],
    &["schema", "apply", "--missing", "--dry-run"],
    &["schema", "apply", "--before-load", "--dry-run"],
    &["schema", "apply", "--after-load", "--dry-run"],
    &["schema", "diff"],
    &["check", "--sample", "0"],
    &["status"],
    &["diff", "--collection", "users", "--id", "1"],
    &["dlq", "list"],
    &["repair", "--dry-run"],
    &["integrity"],
    &["cutover", "check"],
    &["replay", "--all-topics", "--to-earliest"],
    &["reset", "--collection", "users"],
    &["uninstall"],
    &["snapshot", "status"],
];

#[tokio::test]
async fn the_commands_install_show_and_remove_the_guard() {
    let world = World::new().await;
    world.execute("DROP SCHEMA driftless CASCADE").await;
    for reader in READERS {
        let said = run(&world, reader);
        let made = world.rows("SELECT FROM pg_namespace WHERE nspname = 'driftless'").await;
        assert!(made.is_empty(), "{reader:?} makes the schema: {}{}", said.stdout, said.stderr);
    }
    let said = run(&world, &["guard", "status"]);
    assert!(said.code == 5 && said.stdout.contains("not guarded"), "{} {}", said.stdout, said.stderr);
    let preview = run(&world, &["guard", "install", "--dry-run"]);
    assert!(preview.code == 0 && preview.stdout.contains("CREATE OR REPLACE TRIGGER"), "{}", preview.stderr);
    let client = connect(&world.database.url()).await;
    let refused = client.batch_execute(&preview.stdout).await.expect_err("its number is a guess");
    assert!(refused.as_db_error().is_some_and(|error| error.message().contains("start it, then print")), "{refused:?}");
    assert!(preview.stderr.contains("start it, then print"), "{}", preview.stderr);

    // What the dry run prints is a script for psql, notes and all.
    run(&world, &["guard", "install"]);
    for (printed, of_guard) in [(&["guard", "remove", "--dry-run"][..], 0), (&["guard", "install", "--dry-run"], 9)] {
        let said = run(&world, printed);
        client.batch_execute(&said.stdout).await.unwrap_or_else(|error| panic!("{error:?}: {}", said.stdout));
        let triggers = world.rows("SELECT FROM pg_trigger WHERE tgname LIKE 'driftless%'").await;
        assert_eq!(triggers.len(), of_guard, "{}", said.stdout);
    }
    run(&world, &["guard", "install"]);
    assert_eq!(run(&world, &["guard", "status"]).code, 0);
    world.execute("DELETE FROM driftless.action").await;

    let said = run(&world, &["guard", "install", "--mode", "refuse"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "3 tables guarded.\n"), "{}", said.stderr);
    let said = run(&world, &["guard", "status", "--json"]);
    let states: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(
        (said.code, &states[0]["relation"], &states[0]["mode"]),
        (0, &"app.milestones".into(), &"refuse".into())
    );
    assert!(states[0]["since"].is_string() && states[0]["broken"].is_null());
    // `check` does not warn of our own triggers.
    let session = world.target.open(Purpose::Apply).await.expect("connects");
    let own = triggers(&session, world.prepared.all()).await.expect("lists");
    assert_eq!(own.iter().map(|trigger| trigger.name.as_str()).collect::<Vec<_>>(), ["touch"]);
    let said = run(&world, &["guard", "remove"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "The guard is removed from 3 tables.\n"), "{}", said.stderr);
    assert_eq!(world.rows("SELECT FROM pg_trigger WHERE tgname LIKE 'driftless%'").await.len(), 0);
    let actions = world.rows("SELECT command FROM driftless.action ORDER BY id").await;
    assert_eq!(actions, ["guard install", "guard remove"]);
    world.end().await;
}

#[tokio::test]
async fn a_table_in_use_or_of_another_owner_is_named_and_left_as_it_is() {
    let target = Target::new(Constraints::Replica, TABLES, MAPPING, Mode::Record).await;
    assert_eq!(guard::remove(&target.control, "a test", false).await.expect("removes").len(), 3);
    let held = target.world.hold("INSERT INTO app.plans (id) VALUES (gen_random_uuid())").await;
    let changed = guard::install(&target.control, &target.guarded, Mode::Record, "a test").await.expect("installs");
    let failed: Vec<_> = changed.iter().filter(|changed| changed.problem.is_some()).collect();
    assert_eq!(failed.len(), 1, "{changed:?}");
    assert!(
        failed[0].relation == "app.plans" && failed[0].problem.as_deref().unwrap_or_default().contains("lock"),
        "{failed:?}"
    );
    held.batch_execute("ROLLBACK").await.expect("ends");
    let holds: Vec<_> = target.look().await.iter().map(GuardState::holds).collect();
    assert_eq!(holds, [true, false, true]);

    // A role that may not make triggers hears it once, with what its owner can do.
    let role = target.role.clone();
    let rights = format!(
        "REVOKE TRIGGER ON ALL TABLES IN SCHEMA app FROM {role}; GRANT USAGE ON SCHEMA driftless TO {role}; \
         GRANT ALL ON ALL TABLES IN SCHEMA driftless TO {role}"
    );
    target.world.execute(&rights).await;
    let said = run_as(&target.world, Some(&role), &["guard", "install", "--mode", "refuse"]);
    assert!(
        said.code == 1 && said.stdout.contains("app.milestones, app.plans, app.users: "),
        "{}{}",
        said.stdout,
        said.stderr
    );
    assert!(
        said.stdout.matches("42501").count() == 1 && said.stdout.contains("DRIFTLESS__SINK__URL="),
        "{}",
        said.stdout
    );

    // The same tables in the mapping of another migration: one fault, however many they are.
    target.world.execute("UPDATE driftless.identity SET prefix = 'old' WHERE prefix = 't'").await;
    let said = run(&target.world, &["check", "--sample", "0"]).stdout;
    assert!(said.contains("`log.prefix = \"old\"` also writes 3 tables: "), "{said}");
    assert_eq!(said.matches("DELETE FROM driftless.identity WHERE prefix = 'old'").count(), 1, "{said}");
    target.end().await;
}

//! `driftless integrity` against a real PostgreSQL: rows without their parent, which replica mode lets in.

use driftless::{control::mapping, mapping::MappingFile};
use driftless_testing::stack::setting;
use serde_json::Value;

use crate::{
    cli::{Said, driftless},
    sink::world::{MAPPING, TABLES, World, plan, user},
};

/// Further tables around the mapped ones: composite keys, both kinds of NULLs, a self reference, a type with its own operators, and a
/// table without a key.
const MORE: &str = "
CREATE EXTENSION citext;
ALTER TABLE app.users ADD UNIQUE (id, email);
ALTER TABLE app.plans ADD parent uuid REFERENCES app.plans (id);
CREATE TABLE app.full_seats (code citext PRIMARY KEY, user_id uuid, email text,
    CONSTRAINT full_seat FOREIGN KEY (user_id, email) REFERENCES app.users (id, email) MATCH FULL);
CREATE TABLE app.seats (a integer, b text, user_id uuid, email text, PRIMARY KEY (a, b),
    CONSTRAINT seat FOREIGN KEY (user_id, email) REFERENCES app.users (id, email));
CREATE TABLE app.keyless (user_id uuid CONSTRAINT keyless REFERENCES app.users (id));";

const ROWS: &str = "
SET session_replication_role = replica;
INSERT INTO app.full_seats SELECT 'A', id, email FROM app.users;
INSERT INTO app.full_seats VALUES ('b', NULL, NULL), ('C', NULL, 'x'), ('d', '00000000-0000-0000-0000-000000000001', 'x');
INSERT INTO app.seats SELECT 1, 'a', id, email FROM app.users;
INSERT INTO app.seats VALUES (1, 'b', NULL, 'x'), (2, 'a', '00000000-0000-0000-0000-000000000001', 'x');
INSERT INTO app.seats SELECT n, 'z', NULL, NULL FROM generate_series(10, 12000) AS n;
INSERT INTO app.seats VALUES (20000, 'last', '00000000-0000-0000-0000-000000000002', 'x');
INSERT INTO app.keyless SELECT id FROM app.users;
INSERT INTO app.keyless VALUES ('00000000-0000-0000-0000-000000000001'), (NULL);
UPDATE app.plans SET parent = id;
INSERT INTO app.plans (id, parent) VALUES ('00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000004');";

/// Runs `driftless integrity` while the sink goes on, as far as a watermark shows.
async fn integrity(world: &World, arguments: &'static [&'static str]) -> Said {
    let config = format!(
        "mapping = \"m.toml\"\n[source]\nuri = \"{}\"\ndatabase = \"shop\"\n[log]\nbrokers = \"{}\"\nprefix = \"t\"\n\
         replication = 1\n[sink]\nurl = \"{}\"\n[reconcile]\nwait = \"5s\"\n",
        setting("MONGO_URI"),
        setting("KAFKA_BROKERS"),
        world.database.url()
    );
    let files =
        move || driftless(&[("driftless.toml", &config), ("m.toml", MAPPING)], &[&["integrity"], arguments].concat());
    let mut running = tokio::task::spawn_blocking(files);
    let client = world.database.client().await;
    client.batch_execute("SET synchronous_commit = off").await.expect("ok");
    loop {
        tokio::select! {
            biased;
            said = &mut running => return said.expect("it runs"),
            moved = client.batch_execute("UPDATE driftless.position SET watermark_t = watermark_t + 1 WHERE complete") => moved.expect("moves"),
        }
    }
}

#[tokio::test]
async fn rows_without_their_parent_are_named_with_their_document() {
    let mut world = World::of(driftless::config::Constraints::Replica, TABLES, MAPPING).await;
    world.apply(&[user(1, 1, "a@x"), plan(1, 2, Some(1), &[(1, "m")]), plan(7, 2, Some(99), &[])]).await;
    world.execute(MORE).await;
    world.execute(ROWS).await;
    let positions = "DELETE FROM driftless.position;
        INSERT INTO driftless.position (migration, topic, partition, watermark_t, watermark_i, complete)
        SELECT i.id, e.* FROM driftless.identity AS i, (VALUES ('t.shop.users', 0, 1, 0, true), ('t.shop.users', 1, 5, 0, true), ('t.shop.plans', 0, 3, 0, false)) AS e";
    world.execute(positions).await;
    let file = MappingFile::parse(MAPPING, "m.toml").expect("a mapping file");
    mapping::claim(&world.session, &file).await.expect("records the mapping");
    // Parents of an unfinished snapshot may still come.
    let said = integrity(&world, &["--json"]).await;
    assert_eq!(said.code, 5, "{} {}", said.stdout, said.stderr);
    let report: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert!(report.to_string().contains("the snapshot behind topic t.shop.plans is not applied"), "{report}");
    assert_eq!(report["orphans"], Value::Array(Vec::new()));

    world.execute("UPDATE driftless.position SET complete = true, watermark_t = 1000000 + partition").await;
    let said = integrity(&world, &["--json"]).await;
    assert_eq!(said.code, 4, "{} {}", said.stdout, said.stderr);
    let report: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let keys = report["foreign_keys"].as_array().expect("a list");
    let counts: Vec<_> = keys
        .iter()
        .map(|key| {
            format!(
                "{} {} {} {}",
                key["constraint"].as_str().unwrap_or_default(),
                key["rows"],
                key["orphans"],
                key["waits_for"]
            )
        })
        .collect();
    assert_eq!(
        counts,
        [
            "full_seat 4 2 null",
            "keyless 3 1 null",
            "milestones_plan_id_fkey 1 0 null",
            "plans_owner_id_fkey 3 1 null",
            "plans_parent_fkey 3 1 null",
            "seat 11995 2 null",
        ]
    );
    let named: Vec<_> =
        report["orphans"].as_array().expect("a list").iter().map(|orphan| orphan["row"].to_string()).collect();
    for row in [r#"{"code":"C"}"#, r#"{"code":"d"}"#, r#"{"a":"2","b":"a"}"#, r#"{"a":"20000","b":"last"}"#] {
        assert!(named.iter().any(|name| name == row), "{row} in {named:?}");
    }
    let dangling = report["orphans"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|orphan| orphan["constraint"] == "plans_owner_id_fkey");
    let dangling = dangling.expect("the plan's owner");
    assert_eq!((&dangling["collection"], &dangling["id"]), (&"plans".into(), &"7".into()));
    assert_eq!(
        (&dangling["paths"], &dangling["columns"]),
        (&serde_json::json!(["owner"]), &serde_json::json!(["owner_id"]))
    );
    let said = integrity(&world, &[]).await;
    assert!(
        said.stdout.contains("owner_id refers to no row of app.users; the reference is in plans 7 at owner"),
        "{}",
        said.stdout
    );

    // The parent came: nothing is left of the orphan.
    world.execute("SET session_replication_role = replica; DELETE FROM app.plans; DELETE FROM app.seats; DELETE FROM app.full_seats; DELETE FROM app.keyless; DELETE FROM app.milestones").await;
    let said = integrity(&world, &[]).await;
    assert_eq!(said.code, 0, "{} {}", said.stdout, said.stderr);
    assert_eq!(world.rows("SELECT FROM driftless.orphan").await.len(), 0);
    world.end().await;
}

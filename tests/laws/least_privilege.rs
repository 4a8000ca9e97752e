//! The roles that the scripts of `deploy/roles` make are enough for everything that the daemon does, and have nothing that it does
//! not need.

use mongodb::bson::{Bson, Document, doc};
use rdkafka::types::RDKafkaErrorCode;

use crate::support::{
    DEADLINE,
    authority::{Authority, secret},
    closed_broker::{ClosedBroker, Listener},
    load::{Load, fill},
    migration::Migration,
    oracle, random, roles,
    small_server::{ADMINISTRATOR, PASSWORD, SmallServer},
    stack::Stack,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_of_the_scripts_are_enough() {
    let (seed, _) = random("least_privilege");
    let stack = Stack::shared().await;
    let authority = Authority::new("ours");
    let server = SmallServer::start_closed(stack, &authority).await;
    let administrator = server.uri_of(ADMINISTRATOR);
    let mut migration = Migration::demo_from(stack, &administrator, "least").await;
    fill(&migration, seed, 300).await;

    let command = roles::mongodb(&migration.name);
    let admin = migration.mongo.database("admin");
    admin.run_command(command.clone()).await.expect("make the role");
    let user = doc! { "createUser": "driftless", "pwd": PASSWORD, "roles": ["driftless"] };
    admin.run_command(user).await.expect("make the user");
    let name = migration.name.clone();
    let role = format!("{name}_sink");
    let variables = [("role", &*role), ("schema", "app"), ("DBNAME", &*name)];
    let script = roles::postgresql("sink.sql", &variables);
    let statements = format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN; {script}");
    migration.target.batch_execute(&statements).await.expect("make the role");
    let url = stack.postgres_url(&migration.name);
    let (_, host) = url.rsplit_once('@').expect("a role in the address");
    let url = format!("postgresql://{role}@{host}");
    migration.set("source", "uri", server.uri_of("driftless"));
    migration.set("sink", "url", url);

    let broker = ClosedBroker::start(stack, &authority).await;
    let file = |name: &str| migration.mapping().with_file_name(name);
    let authorities = secret(file("ca.pem"), &authority.pem);
    let settings = broker.settings(Listener::Users, &authorities, &file("kafka.properties"));
    for (key, value) in settings {
        migration.set("log", key, value);
    }
    assert_eq!(broker.refuses(&format!("{name}.x")).await, Some(RDKafkaErrorCode::TopicAuthorizationFailed));
    broker.grant(&name).await;
    let other = format!("other_{name}.x");
    assert_eq!(broker.refuses(&other).await, Some(RDKafkaErrorCode::TopicAuthorizationFailed), "another prefix");

    let told = migration.succeed(&["check"]).await;
    assert!(told.contains("source: the oplog spans "), "{told}");
    migration.succeed(&["schema", "apply"]).await;
    let refused = migration.command(&["guard", "install"]).await;
    assert_ne!(refused.status.code(), Some(0), "it may make no triggers");
    migration.target.batch_execute(&roles::postgresql("guard.sql", &variables)).await.expect("let it");
    migration.succeed(&["guard", "install"]).await;
    let daemon = migration.daemon();
    let load = Load::start(&migration, seed, 80.0);
    daemon.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    load.end().await;
    migration.quiesce(&daemon, DEADLINE).await;
    oracle::assert_equal(&migration).await;
    daemon.wait_for("the verdict is in sync", DEADLINE, |status| status.verdict == "in_sync").await;
    daemon.stop(0).await;

    every_action_is_needed(&migration, &admin, &command).await;
    migration
        .target
        .batch_execute(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"))
        .await
        .expect("drop the role");
    migration.finish().await;
    server.end().await;
    broker.end().await;
}

/// Takes each action from the role of MongoDB in turn: `check` notices each, or `analyze` does.
async fn every_action_is_needed(migration: &Migration, admin: &mongodb::Database, command: &Document) {
    let privileges = command.get_array("privileges").expect("privileges");
    let [database, oplog, analysis] =
        [0, 1, 2].map(|place: usize| privileges[place].as_document().expect("a privilege").clone());
    let change = async |privileges: Vec<Document>| {
        let update = doc! { "updateRole": "driftless", "privileges": privileges };
        admin.run_command(update).await.expect("change the role");
    };
    let grant = async |privileges: Vec<Document>| {
        change(privileges).await;
        let checked = migration.command(&["check", "--sample", "0"]).await;
        (checked.status.code(), String::from_utf8_lossy(&checked.stdout).into_owned())
    };
    for (action, without) in each_without_one(&database) {
        let (code, told) = grant(vec![without, oplog.clone()]).await;
        assert_eq!(code, Some(2), "without {action}: {told}");
    }
    for (action, without) in each_without_one(&analysis) {
        change(vec![database.clone(), without]).await;
        let analyzed = migration.command(&["analyze", "--sample", "10"]).await;
        let logged = String::from_utf8_lossy(&analyzed.stderr);
        assert!(analyzed.status.success() && logged.contains("cannot be read"), "without {action}: {logged}");
    }
    change(vec![database.clone(), analysis]).await;
    let analyzed = migration.command(&["analyze", "--sample", "10"]).await;
    let logged = String::from_utf8_lossy(&analyzed.stderr);
    assert!(analyzed.status.success() && !logged.contains("cannot be read"), "{logged}");
    let (code, told) = grant(vec![database.clone()]).await;
    assert_eq!((code, told.contains("the oplog spans")), (Some(0), false), "{told}");
    let (code, told) = grant(vec![database, oplog]).await;
    assert_eq!((code, told.contains("the oplog spans")), (Some(0), true), "{told}");
}

/// Returns each action of the privilege, with the privilege that lacks it.
fn each_without_one(privilege: &Document) -> Vec<(Bson, Document)> {
    let actions = privilege.get_array("actions").expect("actions");
    let without = |action: &Bson| {
        let mut without = privilege.clone();
        without.insert("actions", actions.iter().filter(|other| *other != action).cloned().collect::<Vec<_>>());
        without
    };
    actions.iter().map(|action| (action.clone(), without(action))).collect()
}

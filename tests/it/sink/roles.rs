//! The scripts of `deploy/roles/postgresql`: each right that they grant is needed, and all together are enough.

use driftless::{
    control::guard::{self, Guarded, Mode},
    mapping::{MappingFile, Plan},
    postgres::{self, Postgres, Purpose},
};
use driftless_testing::{postgres::Database, roles::postgresql};

use super::{
    target::{SERIAL, forget, lacking, role},
    world::{MAPPING, TABLES, sink_config},
};

#[tokio::test]
async fn every_right_of_the_script_for_the_sink_is_needed() {
    let database = Database::create().await;
    let client = database.client().await;
    client.batch_execute(TABLES).await.expect("ok");
    client.batch_execute(SERIAL).await.expect("ok");
    let mapping = MAPPING.replace("[\"updated_at\"]", "[\"updated_at\", \"number\"]");
    let file = MappingFile::parse(&mapping, "m.toml").expect("a file");
    let (role, session) = role(&database, "").await;
    let name: String = client.query_one("SELECT current_database()", &[]).await.expect("ok").get(0);
    let variables = [("role", &*role), ("schema", "app"), ("DBNAME", &*name)];

    let script = postgresql("sink.sql", &variables);
    let grants: Vec<&str> = script.split(';').filter(|statement| statement.contains("GRANT")).collect();
    assert_eq!(grants.len(), 5, "{script}");
    for _again in 0..2 {
        client.batch_execute(&script).await.expect("the script runs");
        assert_eq!(lacking(&session, &file).await, "");
    }
    // Without the right to set the parameter the sink works in another mode.
    for grant in grants.iter().filter(|grant| !grant.contains("PARAMETER")) {
        client.batch_execute(&grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM ")).await.expect("revoked");
        assert_ne!(lacking(&session, &file).await, "", "{grant} is not needed");
        client.batch_execute(grant).await.expect("granted");
    }

    // The guard needs one right more.
    let mut config = sink_config(&database);
    config.url = Some(database.url_as(Some(&role)).into());
    let control = Postgres::new(&config, "t").expect("a target").open(Purpose::Control).await.expect("connects");
    postgres::migrate(&control).await.expect("migrates");
    let catalog = postgres::read_catalog(&control).await.expect("reads the catalog");
    let guarded = Guarded::all(&Plan::compile(&file, &catalog).expect("a plan"), &catalog);
    let problems = async || {
        let changed = guard::install(&control, &guarded, Mode::Record, "a test").await.expect("tries");
        changed.iter().filter(|changed| changed.problem.is_some()).count()
    };
    assert_eq!(problems().await, guarded.len());
    client.batch_execute(&postgresql("guard.sql", &variables)).await.expect("the script runs");
    assert_eq!(problems().await, 0);

    drop((session, control));
    client.batch_execute(&format!("REASSIGN OWNED BY {role} TO postgres")).await.expect("ok");
    forget(&client, &role).await;
    drop(client);
    database.drop().await;
}

//! The compose files. No Docker engine runs here, so no container is started.

use std::collections::BTreeMap;

use driftless_testing::stack::root;
use serde_json::{Value, json};

use crate::{
    settings::{check, is_command, texts},
    tools::{Copy, Said, Tools, run, text},
};

const FILES: [&str; 2] = ["deploy/compose.yaml", "deploy/compose.demo.yaml"];

fn schema(tools: &Tools, file: &std::path::Path) -> Said {
    run(tools.module("check_jsonschema").args(["--builtin-schema", "vendor.compose-spec"]).arg(file), "")
}

async fn services(file: &str) -> BTreeMap<String, Value> {
    let mut document = Tools::get().await.yaml(&text(file)).remove(0);
    serde_json::from_value(document["services"].take()).expect("services")
}

#[tokio::test]
async fn the_files_follow_the_schema_of_compose() {
    let tools = Tools::get().await;
    for file in FILES {
        let said = schema(tools, &root().join(file));
        assert!(said.ok, "{file}: {}", said.text());
    }
    let copy = Copy::of(&["deploy/compose.yaml"]);
    copy.edit("deploy/compose.yaml", "read_only: true", "readonly: true");
    assert!(!schema(tools, &copy.path("deploy/compose.yaml")).ok, "a key that compose does not know");
}

/// Returns the version in the name of an image, if it has one; `${NAME:-default}` stands for its default.
pub(crate) fn version(image: &str) -> Option<&str> {
    let image = image
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .map_or(image, |variable| variable.split_once(":-").map_or("", |(_, default)| default));
    let (_, tag) = image.rsplit_once('/').map_or(image, |(_, name)| name).rsplit_once(':')?;
    tag.bytes().any(|byte| byte.is_ascii_digit()).then_some(tag)
}

#[tokio::test]
async fn images_have_the_versions_that_the_tests_run_on() {
    for (image, expected) in [
        ("mongo", None),
        ("registry:5000/mongo", None),
        ("mongo:latest", None),
        ("mongo:6.0.5", Some("6.0.5")),
        ("${IMAGE:-a/b:1.2}", Some("1.2")),
        ("${IMAGE}", None),
    ] {
        assert_eq!(version(image), expected, "{image}");
    }
    for file in FILES {
        for (name, service) in services(file).await {
            let image = service["image"].as_str().expect("an image");
            assert!(version(image).is_some(), "{file}: the image of {name} is not pinned: {image}");
        }
    }
    let fetched = text("deploy/local/fetch.sh");
    let demo = services("deploy/compose.demo.yaml").await;
    for (name, image, line) in [
        ("mongo", "mongo", "MONGO_VERSION="),
        ("kafka", "apache/kafka", "KAFKA_VERSION="),
        ("postgres", "postgres", "[17]="),
    ] {
        let rest = fetched.split(line).nth(1).expect("a version");
        let tested = rest.split([' ', ')', '\n']).next().expect("a version");
        let expected = format!("{image}:{}", if name == "postgres" { tested.trim_end_matches(".0") } else { tested });
        assert_eq!(demo[name]["image"], *expected, "the version of {name}");
    }
}

/// Returns what a service refers to and is not there.
fn dangling(services: &BTreeMap<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, service) in services {
        for volume in texts(&service["volumes"]).iter().filter(|volume| volume.starts_with('.')) {
            let file = volume.split(':').next().expect("a path");
            if !root().join("deploy").join(file).exists() {
                found.push(format!("{name}: there is no {file}"));
            }
        }
        let Some(waits) = service["depends_on"].as_object() else { continue };
        for (other, how) in waits {
            let healthy = how["condition"] == "service_healthy";
            match services.get(other) {
                None => found.push(format!("{name}: there is no service {other}")),
                Some(service) if healthy && service["healthcheck"].is_null() => {
                    found.push(format!("{name}: {other} has no health check"));
                }
                Some(_) => {}
            }
        }
    }
    found
}

#[tokio::test]
async fn everything_that_a_service_refers_to_is_there() {
    for file in FILES {
        let mut services = services(file).await;
        assert_eq!(dangling(&services), [""; 0], "{file}");
        let service = services.values_mut().next().expect("a service");
        service["volumes"] = json!(["./nothing:/etc/nothing:ro"]);
        service["depends_on"] = json!({ "nobody": { "condition": "service_healthy" } });
        assert_eq!(dangling(&services).len(), 2, "{file}");
    }
    let grafana = &services("deploy/compose.demo.yaml").await["grafana"];
    let home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].as_str().expect("a path");
    let (_, name) = home.rsplit_once('/').expect("a file in a folder");
    assert!(root().join("dashboards").join(name).exists(), "{name} is no dashboard");
}

#[tokio::test]
async fn the_daemon_knows_its_commands_and_variables() {
    let (config, mapping) = (text("deploy/compose/driftless.toml"), text("config/demo/mapping.toml"));
    for file in FILES {
        let all = services(file).await;
        let ours = |service: &&Value| service["image"].as_str().is_some_and(|image| image.contains("driftless:"));
        assert!(all.values().any(|service| ours(&service)), "{file}");
        for service in all.values().filter(ours) {
            let variables: BTreeMap<String, String> = match &service["environment"] {
                Value::Null => BTreeMap::new(),
                variables => serde_json::from_value(variables.clone()).expect("texts"),
            };
            let said = check(&config, &mapping, &variables.into_iter().collect::<Vec<_>>());
            assert!(said.ok, "{file}: {}", said.text());
            assert!(is_command(&texts(&service["command"])), "{file}: {}", service["command"]);
            let closed = json!([service["read_only"], service["cap_drop"], service["security_opt"]]);
            assert_eq!(closed, json!([true, ["ALL"], ["no-new-privileges:true"]]), "{file}");
        }
    }
}

/// The tables of the mapping are in the schema that the demo's PostgreSQL starts with. The tests of `driftless-demo` run the commands that
/// load documents and write.
#[tokio::test]
async fn the_demo_brings_its_tables() {
    let services = services("deploy/compose.demo.yaml").await;
    let mounts = texts(&services["postgres"]["volumes"]);
    assert!(
        mounts.iter().any(|mount| mount == "../config/demo/schema.sql:/docker-entrypoint-initdb.d/schema.sql:ro"),
        "{mounts:?}"
    );
    assert!(text("deploy/compose/driftless.toml").contains("/plans\""), "the database that POSTGRES_DB makes");
    assert_eq!(services["postgres"]["environment"]["POSTGRES_DB"], "plans");
}

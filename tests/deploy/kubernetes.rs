//! The manifests for Kubernetes, as kustomize builds them. No cluster runs here.

use std::{path::Path, process::Command};

use driftless_testing::stack::root;
use serde_json::{Value, json};

use crate::{
    compose::version,
    settings::{check, is_command, texts},
    tools::{Copy, Tools, run, text},
};

const FOLDER: &str = "deploy/kubernetes";
const EXAMPLES: [&str; 2] = ["example", "example-sidecar"];
const MONITORING: &str = "deploy/kubernetes/components/monitoring";

/// The one resource of a kind and name.
pub(crate) fn resource<'r>(resources: &'r [Value], kind: &str, name: &str) -> &'r Value {
    let named =
        |one: &&Value| one["kind"] == kind && one["metadata"]["name"].as_str().is_some_and(|of| of.starts_with(name));
    resources.iter().find(named).unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// The container of the daemon in a Pod: its own, or a sidecar.
fn container(pod: &Value) -> &Value {
    let mut all = ["containers", "initContainers"].into_iter().filter_map(|kind| pod[kind].as_array()).flatten();
    all.find(|one| one["name"] == "driftless").expect("a container of the daemon")
}

fn pod<'r>(resources: &'r [Value], deployment: &str) -> &'r Value {
    &resource(resources, "Deployment", deployment)["spec"]["template"]["spec"]
}

#[tokio::test]
async fn the_manifests_follow_the_schemas() {
    let tools = Tools::get().await;
    for example in EXAMPLES {
        let resources = tools.kustomize(&root().join(FOLDER).join(example));
        assert!(resources.len() >= 5, "{example}");
        assert_eq!(tools.schema_faults(&resources), [""; 0], "{example}");
    }
    let copy = Copy::of(&[FOLDER, "dashboards"]);
    copy.edit(&format!("{FOLDER}/base/deployment.yaml"), "replicas: 2", "replica: 2");
    let faults = tools.schema_faults(&tools.kustomize(&copy.path(FOLDER).join("example")));
    // In both versions.
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("Deployment driftless in ") && faults[0].contains("'replica'"), "{faults:?}");
}

/// Returns what a Pod with the daemon must not be like.
pub(crate) fn open(pod: &Value) -> Vec<&'static str> {
    let daemon = container(pod);
    let (own, shared) = (&daemon["securityContext"], &pod["securityContext"]);
    let has = |key: &str, value: Value| own[key] == value || shared[key] == value;
    let rules = [
        (has("runAsNonRoot", true.into()) && has("runAsUser", 65_532.into()), "may run as root"),
        (own["readOnlyRootFilesystem"] == true, "may write to its image"),
        (own["allowPrivilegeEscalation"] == false, "may get privileges"),
        (own["capabilities"] == json!({ "drop": ["ALL"] }), "has capabilities"),
        (has("seccompProfile", json!({ "type": "RuntimeDefault" })), "may call everything"),
        (daemon["resources"]["limits"]["memory"].is_string(), "may take all memory"),
        (daemon["resources"]["limits"]["cpu"].is_null(), "is throttled, which makes lag"),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, fault)| fault).collect()
}

#[tokio::test]
async fn the_daemon_has_no_right_that_it_does_not_need() {
    let tools = Tools::get().await;
    for (example, deployment) in EXAMPLES.into_iter().zip(["driftless", "shop"]) {
        let resources = tools.kustomize(&root().join(FOLDER).join(example));
        let pod = pod(&resources, deployment);
        assert_eq!(open(pod), [""; 0], "{example}");
        assert!(
            version(container(pod)["image"].as_str().expect("an image")).is_some(),
            "{example}: the image is not pinned"
        );
        // The user of the container can read what is mounted.
        let volumes = pod["volumes"].as_array().expect("volumes");
        let config = volumes.iter().find(|volume| !volume["projected"].is_null()).expect("the configuration");
        let mode = config["projected"]["defaultMode"].as_u64().expect("a mode");
        assert!(if pod["securityContext"]["fsGroup"] == 65_532 { mode == 0o440 } else { mode == 0o444 }, "{mode:o}");
    }
    let resources = tools.kustomize(&root().join(FOLDER).join("example"));
    let alone = pod(&resources, "driftless");
    assert_eq!(alone["automountServiceAccountToken"], false);
    let mut pod = alone.clone();
    pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = false.into();
    assert_eq!(open(&pod), ["may write to its image"]);
}

#[tokio::test]
async fn probes_never_depend_on_lag() {
    let tools = Tools::get().await;
    let resources = tools.kustomize(&root().join(FOLDER).join("example"));
    let daemon = container(pod(&resources, "driftless"));
    for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(daemon[probe]["httpGet"]["path"], path, "{probe}");
    }
    // An application asks a process that is not ready, too: it knows that reads belong to MongoDB.
    assert_eq!(resource(&resources, "Service", "driftless")["spec"]["publishNotReadyAddresses"], true);
}

/// The mount of the file of reads in a container.
fn mount(container: &Value) -> &Value {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    mounts.into_iter().find(|one| one["name"] == "driftless-reads").expect("the volume is mounted")
}

#[tokio::test]
async fn a_sidecar_never_keeps_its_application_from_working() {
    let tools = Tools::get().await;
    let copy = Copy::of(&[FOLDER, "dashboards"]);
    let file = format!("{FOLDER}/example-sidecar/kustomization.yaml");
    let every = tools.kustomize(&copy.path(FOLDER).join("example-sidecar"));
    copy.edit(&file, "../components/sidecar\n", "../components/sidecar-reads\n");
    let reads = tools.kustomize(&copy.path(FOLDER).join("example-sidecar"));
    for (resources, arguments) in [(&every, json!(["run"])), (&reads, json!(["run", "--role", "reads"]))] {
        let pod = pod(resources, "shop");
        let sidecar = container(pod);
        assert_eq!((&sidecar["restartPolicy"], &sidecar["args"]), (&"Always".into(), &arguments));
        // The Pod would not be ready, or not even start, while the daemon waits for a server.
        assert!(sidecar["startupProbe"].is_null() && sidecar["readinessProbe"].is_null(), "{sidecar}");
        assert_eq!(sidecar["livenessProbe"]["httpGet"]["path"], "/livez");
        assert_eq!(open(pod), [""; 0]);
        assert_eq!(tools.schema_faults(resources), [""; 0]);
        let (writes, reads) = (mount(sidecar), mount(&pod["containers"][0]));
        assert_eq!((&writes["mountPath"], &writes["readOnly"]), (&reads["mountPath"], &Value::Null));
        assert_eq!(reads["readOnly"], true);
    }
    // The component also serves a StatefulSet.
    let application = format!("{FOLDER}/example-sidecar/application.yaml");
    copy.edit(&application, "kind: Deployment", "kind: StatefulSet");
    copy.edit(&application, "  replicas: 2", "  serviceName: shop\n  replicas: 2");
    let resources = tools.kustomize(&copy.path(FOLDER).join("example-sidecar"));
    let pod = &resource(&resources, "StatefulSet", "shop")["spec"]["template"]["spec"];
    assert_eq!(container(pod)["restartPolicy"], "Always");
    assert_eq!(tools.schema_faults(&resources), [""; 0]);
}

/// Checks the configuration, the variables and the command of a Pod, and that each file it reads is mounted.
pub(crate) fn knows(resources: &[Value], pod: &Value, config: &str) {
    let daemon = container(pod);
    let data = &resource(resources, "ConfigMap", config)["data"];
    let file = |name: &str| data[name].as_str().unwrap_or_else(|| panic!("no {name} in {config}")).to_owned();
    let variables: Vec<(String, String)> = daemon["env"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| [&one["name"], &one["value"]].map(|text| text.as_str().expect("a text").to_owned()).into())
        .collect();
    let said = check(&file("driftless.toml"), &file("mapping.toml"), &variables);
    assert!(said.ok, "{}", said.text());
    assert!(is_command(&texts(&daemon["args"])), "{}", daemon["args"]);
    let mounted = pod["volumes"].to_string();
    for path in file("driftless.toml").split('"').filter(|text| text.starts_with("secrets/")) {
        assert!(mounted.contains(&format!("\"path\":\"{path}\"")), "{path} is not mounted: {mounted}");
    }
}

#[tokio::test]
async fn the_daemon_knows_its_configuration_and_commands() {
    let tools = Tools::get().await;
    for (example, deployment) in EXAMPLES.into_iter().zip(["driftless", "shop"]) {
        let resources = tools.kustomize(&root().join(FOLDER).join(example));
        knows(&resources, pod(&resources, deployment), "driftless-config");
        // The rules allow, and the monitor scrapes, a port that is there.
        let ports = container(pod(&resources, deployment))["ports"].to_string();
        let monitor = &resource(&resources, "PodMonitor", "driftless")["spec"];
        let wanted = monitor["podMetricsEndpoints"][0]["port"].as_str().expect("a port");
        assert!(ports.contains(&format!("\"name\":\"{wanted}\"")), "{ports}");
        let labels = &resource(&resources, "Deployment", deployment)["spec"]["template"]["metadata"]["labels"];
        for (name, value) in monitor["selector"]["matchLabels"].as_object().expect("labels") {
            assert_eq!(&labels[name], value, "{example}: {name}");
        }
    }
}

/// The alerts and dashboards as resources are those of `dashboards/`, by whichever way they are made.
pub(crate) fn shows_what_dashboards_holds(tools: &Tools, resources: &[Value]) {
    let rules = tools.yaml(&text("dashboards/driftless.rules.yml")).remove(0);
    // kustomize adds blank lines to folded texts.
    let words = |rules: &Value| rules.to_string().replace("\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words(&resource(resources, "PrometheusRule", "")["spec"]) == words(&rules),
        "other alerts than in dashboards/"
    );
    let shown = resources.iter().find(|one| one["metadata"]["labels"]["grafana_dashboard"] == "1").expect("dashboards");
    let files =
        std::fs::read_dir(root().join("dashboards")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut dashboards = serde_json::Map::new();
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "json")) {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        dashboards.insert(name, std::fs::read_to_string(&file).expect("read the dashboard").into());
    }
    assert!(!dashboards.is_empty());
    assert!(shown["data"] == Value::Object(dashboards), "dashboards/kustomization.yaml does not list every dashboard");
}

#[tokio::test]
async fn alerts_and_dashboards_are_those_of_the_folder() {
    let tools = Tools::get().await;
    let generate = |folder: &Path| {
        let said = run(&mut Command::new(folder.join(MONITORING).join("generate")), "");
        assert!(said.ok, "{}", said.text());
        said.stdout
    };
    let generated = generate(root());
    assert!(
        generated == text(&format!("{MONITORING}/prometheusrule.yaml")),
        "the alerts have changed; run {MONITORING}/generate > {MONITORING}/prometheusrule.yaml"
    );
    for example in EXAMPLES {
        shows_what_dashboards_holds(tools, &tools.kustomize(&root().join(FOLDER).join(example)));
    }
    let copy = Copy::of(&[FOLDER, "dashboards"]);
    copy.edit("dashboards/driftless.rules.yml", "severity: critical", "severity: page");
    assert!(generate(&copy.path("")) != generated, "the alert is another one");
}

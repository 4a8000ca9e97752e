//! The chart, rendered by Helm's own library. It is thin: what it makes is what the kustomize base makes.

use driftless_testing::stack::root;
use serde_json::{Value, json};

use crate::{
    kubernetes::{knows, open, resource, shows_what_dashboards_holds},
    tools::{Copy, Tools},
};

const CHART: &str = "deploy/helm/driftless";

fn everything() -> Value {
    json!({
        "image": { "digest": format!("sha256:{}", "0".repeat(64)), "pullSecrets": ["registry"] },
        "replicas": 1,
        "roles": ["source", "sink"],
        "podAnnotations": { "a": "b" },
        "nodeSelector": { "disk": "fast" },
        "tolerations": [{ "key": "k", "operator": "Exists" }],
        "monitoring": { "podMonitor": true, "rules": true, "dashboards": true },
    })
}

#[tokio::test]
async fn the_chart_is_without_faults_and_its_resources_follow_the_schemas() {
    let tools = Tools::get().await;
    for values in [json!({}), everything()] {
        let (faults, resources) = tools.chart(&root().join(CHART), &values);
        assert_eq!(faults, [""; 0]);
        assert_eq!(tools.schema_faults(&resources), [""; 0]);
        let pod = &resource(&resources, "Deployment", "shop")["spec"]["template"]["spec"];
        assert_eq!(open(pod), [""; 0]);
        knows(&resources, pod, "shop-config");
    }
    let (_, resources) = tools.chart(&root().join(CHART), &everything());
    shows_what_dashboards_holds(tools, &resources);
    let pod = &resource(&resources, "Deployment", "shop")["spec"]["template"]["spec"];
    assert!(pod["containers"][0]["image"].as_str().is_some_and(|image| image.starts_with("driftless@sha256:0000")));

    let copy = Copy::of(&[CHART, "dashboards"]);
    copy.edit(&format!("{CHART}/templates/service.yaml"), "{{- include", "{{- includes");
    let (faults, _) = tools.chart(&copy.path(CHART), &json!({}));
    assert!(faults.iter().any(|fault| fault.contains("includes")), "{faults:?}");
}

#[tokio::test]
async fn wrong_values_are_refused() {
    let tools = Tools::get().await;
    for wrong in [
        json!({ "image": { "tag": "latest" } }),
        json!({ "image": { "digest": "sha256:12" } }),
        json!({ "replicas": 0 }),
        json!({ "roles": ["writer"] }),
        json!({ "rolls": ["sink"] }),
        json!({ "config": "" }),
        json!({ "secret": { "keys": [] } }),
        json!({ "networkPolicy": { "ports": [70_000] } }),
    ] {
        let (faults, resources) = tools.chart(&root().join(CHART), &wrong);
        assert!(!faults.is_empty() && resources.is_empty(), "{wrong} is accepted");
    }
}

/// Removes names, which differ.
fn plain(mut pod: Value) -> Value {
    pod["serviceAccountName"].take();
    pod["topologySpreadConstraints"][0]["labelSelector"].take();
    for source in pod["volumes"][0]["projected"]["sources"].as_array_mut().expect("sources") {
        source["configMap"].take();
    }
    // The chart names every key of its Secret; the base has another one for optional keys.
    pod["volumes"][0]["projected"]["sources"].as_array_mut().expect("sources").truncate(2);
    pod
}

#[tokio::test]
async fn the_chart_runs_the_daemon_as_kustomize_does() {
    let tools = Tools::get().await;
    let (_, chart) = tools.chart(&root().join(CHART), &json!({}));
    let base = tools.kustomize(&root().join("deploy/kubernetes/example"));
    let deployment = |resources: &[Value], name: &str| resource(resources, "Deployment", name)["spec"].clone();
    let (chart_of, base_of) = (deployment(&chart, "shop"), deployment(&base, "driftless"));
    assert_eq!((&chart_of["replicas"], &chart_of["strategy"]), (&base_of["replicas"], &base_of["strategy"]));
    assert_eq!(plain(chart_of["template"]["spec"].clone()), plain(base_of["template"]["spec"].clone()));
    for (kind, part) in [
        ("Service", "ports"),
        ("NetworkPolicy", "ingress"),
        ("NetworkPolicy", "egress"),
        ("PodDisruptionBudget", "minAvailable"),
    ] {
        assert_eq!(
            resource(&chart, kind, "shop")["spec"][part],
            resource(&base, kind, "driftless")["spec"][part],
            "{kind}"
        );
    }
}

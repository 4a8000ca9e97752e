"""Does for the tests of deploy/ what only Python packages can: YAML, the schemas of Kubernetes, Helm.

Reads standard input and prints JSON.
"""

import json
import sys

import yaml


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document is not None]


def schema_faults(resources, versions):
    """Yields the faults of resources by the schemas of Kubernetes; those of other groups have no schema."""
    import kubernetes_validate

    for resource in resources:
        if "monitoring.coreos.com" in resource["apiVersion"]:
            continue
        for version in versions:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as fault:
                yield f"{resource['kind']} {resource['metadata']['name']} in {version}: {getattr(fault, 'message', fault)}"


def chart(folder, values):
    """Lints and renders a chart; a chart that refuses its values has a fault and no resources."""
    from helm_python import HelmError
    from helm_python.chart import Chart, lint

    # An icon is only recommended.
    faults = [line["error"] for line in lint(folder, values)["messages"] if line["severity"] > 1]
    try:
        with Chart.load(folder) as loaded:
            files = loaded.render(values, name="shop", namespace="shop")
    except HelmError as fault:
        return {"faults": [*faults, str(fault)], "resources": []}
    rendered = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
    return {"faults": faults, "resources": [one for text in rendered for one in documents(text)]}


match sys.argv[1:]:
    case ["yaml"]:
        answer = documents(sys.stdin.read())
    case ["kubernetes", *versions]:
        answer = list(schema_faults(json.load(sys.stdin), versions))
    case ["chart", folder]:
        answer = chart(folder, json.load(sys.stdin))
json.dump(answer, sys.stdout)

"""Evaluates flags with the OpenFeature SDK and its OFREP provider: cases as JSON on stdin, results on stdout."""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

url, token = sys.argv[1:]
api.set_provider(OFREPProvider(url, headers_factory=lambda: {"Authorization": f"Bearer {token}"}))
client = api.get_client()

results = []
for case in json.load(sys.stdin):
    context = EvaluationContext(case.get("key"), case.get("attributes", {}))
    if case.get("type") == "boolean":
        details = client.get_boolean_details(case["flag"], False, context)
    else:
        details = client.get_string_details(case["flag"], "default", context)
    error = details.error_code and details.error_code.value
    results.append(
        {
            "value": details.value,
            "variant": details.variant,
            "reason": str(details.reason),
            "error": error,
            "metadata": dict(details.flag_metadata),
        }
    )
json.dump(results, sys.stdout)

"""Additions to the OpenAPI schema for all endpoints: common problems, examples, samples of code and deprecations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from access.versions import DEPRECATIONS
from recsys_project.code_samples import build_code_samples

EXAMPLES = Path(__file__).with_name("openapi-examples.json")
"""Requests and responses by operation, and problems by status. `make examples` writes the file from a test run."""
PROBLEM_CONTENT_TYPE = "application/problem+json"
STATUS_DESCRIPTIONS = {
    400: "A value or the JSON is invalid",
    401: "No key, token or session, or an invalid one",
    403: "A scope, a role or the CSRF token is missing, or the token is for a different member",
    404: "Nothing with this id exists for this caller",
    409: "The current state does not allow this",
    412: "The resource has changed since you read it",
    413: "The body is larger than 5 MB",
    415: "The body is not JSON in UTF-8",
    428: "If-Match is missing",
    429: "Too many requests; see Retry-After",
    503: "The service is unavailable; try again after Retry-After",
}


def add_problems_and_examples(result: dict[str, Any], **_: object) -> dict[str, Any]:
    """Add to every operation the problems of middleware and permissions, an example of each body, and code samples."""
    examples = (
        json.loads(EXAMPLES.read_text(encoding="utf-8")) if EXAMPLES.exists() else {"operations": {}, "problems": {}}
    )
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    operations = [(path, *item) for path, methods in result["paths"].items() for item in methods.items()]
    for path, method, operation in operations:
        if deprecation := DEPRECATIONS.get(f"{method.upper()} {path}"):
            operation["deprecated"] = True
            operation["description"] += (
                f"\n\nRemoved after {deprecation.sunset_at:%Y-%m-%d}. Use {deprecation.successor} instead."
            )
        example = examples["operations"].get(operation["operationId"], {})
        operation["x-codeSamples"] = build_code_samples(path, method, operation, example.get("request"))
        responses = operation["responses"]
        body_statuses = (413, 415) if "requestBody" in operation else ()
        path_statuses = (404,) if "{" in path else ()  # no view matches a path parameter of another form
        for status in (401, 403, 429, *path_statuses, *body_statuses):
            responses.setdefault(str(status), {"content": {PROBLEM_CONTENT_TYPE: dict(problem)}})
        for content in operation.get("requestBody", {}).get("content", {}).values():
            add_example(content, example.get("request"))
        for status, response in responses.items():
            for media_type, content in response.get("content", {}).items():
                if media_type == PROBLEM_CONTENT_TYPE:
                    response["description"] = STATUS_DESCRIPTIONS[int(status)]
                    add_example(content, examples["problems"].get(status))
                elif media_type != "text/csv":
                    add_example(content, example.get("responses", {}).get(status))
        operation["responses"] = dict(sorted(responses.items()))
    return result


def add_example(content: dict[str, Any], example: Any) -> None:
    """Add *example* to *content* unless it is None."""
    if example is not None:
        content["examples"] = {"Example": {"value": example}}

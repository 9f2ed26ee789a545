"""What the page of the API says of every address alike: problems that any may answer with, examples, and what ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from access.versions import DEPRECATIONS

EXAMPLES = Path(__file__).with_name("openapi-examples.json")
"""Requests and answers by operation, and problems by status; `make examples` writes it from a run."""
PROBLEM_CONTENT_TYPE = "application/problem+json"
STATUS_DESCRIPTIONS = {
    400: "A value or the JSON cannot be used",
    401: "No key, token or session, or one that does not let you in",
    403: "A scope or a role is missing, it is another member's data, or the CSRF token is missing",
    404: "There is nothing of that id for this caller",
    409: "It is in a state that does not allow this",
    412: "It was changed since you read it",
    413: "The body is above 5 MB",
    415: "The body is not application/json",
    428: "If-Match is missing",
    429: "Too many requests; see Retry-After",
    503: "The facts cannot be read, so nothing is shown; try again",
}


def add_problems_and_examples(result: dict[str, Any], **_: object) -> dict[str, Any]:
    """Add to every operation what the doors in front of its view may answer, and one example of each body."""
    known = (
        json.loads(EXAMPLES.read_text(encoding="utf-8")) if EXAMPLES.exists() else {"operations": {}, "problems": {}}
    )
    form = {"schema": {"$ref": "#/components/schemas/Problem"}}
    everything = [(path, *one) for path, methods in result["paths"].items() for one in methods.items()]
    for path, method, operation in everything:
        if ending := DEPRECATIONS.get(f"{method.upper()} {path}"):
            operation["deprecated"] = True
            operation["description"] += f"\n\nGone after {ending.sunset_at:%Y-%m-%d}: ask {ending.successor} instead."
        mine, answers = known["operations"].get(operation["operationId"], {}), operation["responses"]
        for status in (401, 403, 429, *((413, 415) if "requestBody" in operation else ())):
            answers.setdefault(str(status), {"content": {PROBLEM_CONTENT_TYPE: dict(form)}})
        for content in operation.get("requestBody", {}).get("content", {}).values():
            add_example(content, mine.get("request"))
        for status, answer in answers.items():
            for kind, content in answer.get("content", {}).items():
                if kind == PROBLEM_CONTENT_TYPE:
                    answer["description"] = STATUS_DESCRIPTIONS[int(status)]
                    add_example(content, known["problems"].get(status))
                else:
                    add_example(content, mine.get("answers", {}).get(status))
        operation["responses"] = dict(sorted(answers.items()))
    return result


def add_example(content: dict[str, Any], example: Any) -> None:
    """Show the example with the content, if there is one."""
    if example is not None:
        content["examples"] = {"Example": {"value": example}}

"""Each operation of the REST API as a call in curl, Python and TypeScript, for the API's documentation."""

from __future__ import annotations

import json
import re
from pprint import pformat
from typing import Any

EXAMPLE_VALUES = {"member_id": "42", "viewer_id": "42", "target_id": "43", "post_id": "7", "kind": "block"}
"""Values of required parameters, as in the examples of responses. For another parameter, a sample has its name."""


def build_code_samples(path: str, method: str, operation: dict[str, Any], body: Any) -> list[dict[str, str]]:
    """
    Return the call in each language, in the form of the schema extension `x-codeSamples`.

    The service's URL and the API key are variables. *body* is an example of the request's body, or None.
    """
    names = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query" and p.get("required")]
    query = "&".join(f"{name}={EXAMPLE_VALUES.get(name, name.upper())}" for name in names)
    url = re.sub(r"\{(\w+)\}", lambda part: EXAMPLE_VALUES.get(part[1], part[1].upper()), path) + (
        query and f"?{query}"
    )
    writers = {"curl": write_curl, "Python": write_python, "TypeScript": write_typescript}
    return [{"lang": language, "source": write(method.upper(), url, body)} for language, write in writers.items()]


def write_curl(method: str, url: str, body: Any) -> str:
    """Return the call as a shell command."""
    options = ["" if method == "GET" else f"-X {method} ", '-H "Authorization: Bearer $RECSYS_KEY"']
    if body is not None:
        quoted = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
        options += ['-H "Content-Type: application/json"', f"-d '{quoted}'"]
    return f'curl {options[0]}"$RECSYS_URL{url}" \\\n  ' + " \\\n  ".join(options[1:])


def write_python(method: str, url: str, body: Any) -> str:
    """Return the call in Python, with httpx."""
    arguments = [f'"{method}"', f'f"{{RECSYS_URL}}{url}"', 'headers={"Authorization": f"Bearer {RECSYS_KEY}"}']
    if body is not None:
        arguments.append("json=" + pformat(body, width=88, sort_dicts=False).replace("\n", "\n    "))
    return "import httpx\n\nresponse = httpx.request(\n    " + ",\n    ".join(arguments) + ",\n)"


def write_typescript(method: str, url: str, body: Any) -> str:
    """Return the call in TypeScript, with fetch."""
    options = [f'method: "{method}"', "headers: { Authorization: `Bearer ${RECSYS_KEY}` }"]
    if body is not None:
        options[1] = options[1].replace(" }", ', "Content-Type": "application/json" }')
        options.append(f"body: JSON.stringify({json.dumps(body, indent=2, ensure_ascii=False)})".replace("\n", "\n  "))
    return f"const response = await fetch(`${{RECSYS_URL}}{url}`, {{\n  " + ",\n  ".join(options) + ",\n});"

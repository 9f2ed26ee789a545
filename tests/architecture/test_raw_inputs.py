"""Only one module of the API reads the query string and the body of a request, so that two readers cannot disagree."""

import ast
from pathlib import Path

import pytest
from django.urls import get_resolver
from drf_spectacular.generators import SchemaGenerator
from rest_framework import views as drf_views

from access.inputs import RAW_INPUTS
from access.views import APIView

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("recsys_project", "recommendations", "flags", "access", "monitoring", "values")
READERS = {
    "access/inputs.py",
    "access/sign_in/lockout.py",  # reads the sign-in form of staff
    "recsys_project/rsgi.py",  # builds the request
    "monitoring/alertmanager.py",  # a webhook with one token, for no member
}
RAW_ATTRIBUTES = {*RAW_INPUTS, "POST", "query_params", "environ", "_request", "META"}
RAW_NAMES = {"QUERY_STRING", "wsgi.input", "QueryDict"}
META_KEYS = {"HTTP_AUTHORIZATION", "request_id"}
"""The keys of META that modules use. They are not part of the query string or the body."""


def is_form_page(file):
    """Return whether the file is part of the admin, whose forms Django parses. Its requests have no member token."""
    return "admin" in file.parts or file.name == "admin.py"


def sources():
    paths = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return [path for path in paths if str(path) not in READERS and not is_form_page(path)]


def find_raw_inputs(code):
    """Return the lines that read the query string or the body of a request."""
    tree, found = ast.parse(code), []
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in RAW_ATTRIBUTES and names_request(node.value):
            if not (node.attr == "META" and reads_allowed_key(node, parents)):
                found.append(node.lineno)
        elif (isinstance(node, ast.Constant) and node.value in RAW_NAMES) or (
            isinstance(node, ast.Name) and node.id in RAW_NAMES
        ):
            found.append(node.lineno)
    return found


def names_request(node):
    """Return whether the expression is a request by its name."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name.lower().endswith("request")


def reads_allowed_key(node, parents):
    """Return whether META is only asked for one of `META_KEYS`."""
    parent = parents[node]
    if isinstance(parent, ast.Subscript):
        key = parent.slice
    elif isinstance(parent, ast.Compare):
        key = parent.left
    else:
        call = parents[parent]
        key = call.args[0] if isinstance(call, ast.Call) else None
    return isinstance(key, ast.Constant) and key.value in META_KEYS


def test_no_module_reads_raw_inputs():
    found = {str(path): lines for path in sources() if (lines := find_raw_inputs((ROOT / path).read_text()))}
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "request.query_params['viewer_id']",
        "request.GET.get('viewer_id')",
        "self.request.POST",
        "request.data",
        "json.loads(request.body)",
        "request.read()",
        "request._request.body",
        "django_request.FILES",
        "request.META['QUERY_STRING']",
        "request.META.get('CONTENT_TYPE')",
        "dict(request.META)",
        "scope['QUERY_STRING']",
        "QueryDict(text)",
    ],
)
def test_a_raw_input_is_found(line):
    assert find_raw_inputs(line)


def test_a_header_and_a_method_are_no_raw_inputs():
    code = (
        "request.META['request_id']\n'HTTP_AUTHORIZATION' in request.META\nrequest.META.get('HTTP_AUTHORIZATION', '')"
    )
    assert find_raw_inputs(f"{code}\nrequest.headers\nrequest.inputs.body\nkind.POST") == []


def api_views():
    def walk(patterns):
        for pattern in patterns:
            if hasattr(pattern, "url_patterns"):
                yield from walk(pattern.url_patterns)
            elif isinstance(view := getattr(pattern.callback, "view_class", None), type):
                yield view

    return [view for view in walk(get_resolver().url_patterns) if issubclass(view, drf_views.APIView)]


def test_every_api_view_has_parsed_inputs():
    """Except the views of the schema, which are the same for everybody."""
    others = {view.__module__ for view in api_views() if not issubclass(view, APIView)}
    assert len(api_views()) > 30 and others == {"recsys_project.schema_view"}


def test_every_operation_with_a_query_or_a_body_documents_a_bad_request():
    schema = SchemaGenerator().get_schema(request=None, public=True)
    undocumented = [
        operation["operationId"]
        for methods in schema["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
        or any(parameter["in"] == "query" for parameter in operation.get("parameters", ()))
        if "400" not in operation["responses"]
    ]
    assert undocumented == []

"""Every field of every operation, as the OpenAPI and GraphQL schemas state them: no value is a server error."""

import json
from urllib.parse import quote

import pytest
from graphql import GraphQLInputObjectType, GraphQLList, GraphQLNonNull, GraphQLScalarType, get_named_type, is_leaf_type

from recommendations.graphql_api.schema import build_schema
from tests.inputs.test_raw_bodies import fill

HUGE = f"1{'0' * 400}"
VALUES = ["1e400", f"-1{'0' * 5000}", "9223372036854775808", "true", '{"a": 1}', "null", "-0.0"]
TEXTS = ["", " ", "NaN", "1_0", "\u0661", "\ufeff", "a" * 5000, "2026-05-31T24:00:00Z", "\udfff\ud800"]
FEW = [HUGE, "[1]", json.dumps("\0"), json.dumps("\ud800")]
WRITTEN = [
    pytest.param(FEW, id="few"),
    pytest.param([*VALUES, *map(json.dumps, TEXTS)], id="many", marks=[pytest.mark.nightly, pytest.mark.timeout(0)]),
]
PARAMETERS = [
    pytest.param(["%00", HUGE, "1_0"], id="few"),
    pytest.param(
        ["%ED%A0%80", "%FF", "-1", "1e400", "1.5", *(quote(text) for text in TEXTS if text.isprintable())],
        id="many",
        marks=[pytest.mark.nightly, pytest.mark.timeout(0)],
    ),
]
ARGUMENTS = ["\0", "\ud800", "", 2**63, *(pytest.param(text, marks=pytest.mark.nightly) for text in TEXTS)]


@pytest.fixture(scope="module")
def schema(server):
    """Return the OpenAPI schema that the server serves. What the addresses of `fill` name exists."""
    server.add_members("x")
    server.add_posts("x", author_id="x")
    for kind in ("flags", "segments"):
        response = server.send("POST", f"/api/v1/{kind}", {"key": "x", "why": "x"}, credential=server.key)
        assert response.status == 201, response.body
    return server.send("GET", "/api/schema/", headers={"Accept": "application/json"}).json()


def resolve(schema, part):
    """Return a part of the schema without references."""
    if "$ref" in part:
        return resolve(schema, schema["components"]["schemas"][part["$ref"].rpartition("/")[2]])
    merged = dict(part)
    for inner in part.get("allOf", ()):
        merged |= resolve(schema, inner)
    return merged


def operations_with_fields(schema):
    """Yield the method, the address, the query parameters and the names of the fields of each operation."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parameters = [row["name"] for row in operation.get("parameters", []) if row["in"] == "query"]
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            names = list(resolve(schema, content.get("schema", {})).get("properties", {}))
            yield method.upper(), fill(path), parameters, names


def send(server, method, path, body=None):
    """Return the status of a request."""
    headers = {"If-Match": "*", "Content-Type": "application/json"} if body else {}
    return server.send(method, path, body and body.encode(), credential=server.key, headers=headers).status


def build_body(names, written):
    """Return a body that has the value in all fields, but a reason, without which some changes stop early."""
    fields = {name: '"x"' if name == "why" else written for name in names}
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


@pytest.mark.parametrize("values", WRITTEN)
def test_no_value_in_all_fields_is_a_server_error(server, schema, values):
    statuses = {
        (method, path, written[:20]): send(server, method, path, build_body(names, written))
        for method, path, _, names in operations_with_fields(schema)
        for written in values
        if names
    }
    assert len(statuses) > 100
    assert {key: status for key, status in statuses.items() if status >= 500} == {}


@pytest.mark.parametrize("values", PARAMETERS)
def test_no_query_parameter_is_a_server_error(server, schema, values):
    statuses = {
        (method, path, name, written[:20]): send(server, method, f"{path}?{name}={written}")
        for method, path, parameters, _ in operations_with_fields(schema)
        for name in parameters
        for written in values
    }
    assert len(statuses) > 100
    assert {key: status for key, status in statuses.items() if status >= 500} == {}


@pytest.mark.nightly
@pytest.mark.timeout(0)
def test_no_value_in_one_field_is_a_server_error(server, schema):
    statuses = {
        (method, path, name, written[:20]): send(server, method, path, build_body({name, "why"}, written))
        for method, path, _, names in operations_with_fields(schema)
        for name in names
        for written in [*FEW, *VALUES, *map(json.dumps, TEXTS)]
    }
    assert {key: status for key, status in statuses.items() if status >= 500} == {}


def example(kind, value):
    """Return *value* as a value of a GraphQL type, or another one if the type has no such value."""
    if isinstance(kind, GraphQLNonNull):
        return example(kind.of_type, value)
    if isinstance(kind, GraphQLList):
        return [example(kind.of_type, value)]
    if isinstance(kind, GraphQLInputObjectType):
        return {name: example(field.type, value) for name, field in kind.fields.items()}
    if not isinstance(kind, GraphQLScalarType):
        return next(iter(kind.values))
    numbers = {"Int": 2**31 - 1, "Float": 1e308, "Boolean": True}
    return numbers.get(kind.name, value)


@pytest.mark.parametrize("text", ARGUMENTS, ids=ascii)
def test_no_argument_of_graphql_is_an_internal_error(server, text):
    graphql_schema = build_schema(True)._schema
    fields = graphql_schema.query_type.fields | graphql_schema.mutation_type.fields
    assert len(fields) > 15
    failed = {}
    for name, field in fields.items():
        given = {key: example(argument.type, text) for key, argument in field.args.items()}
        declared = ", ".join(f"${key}: {argument.type}" for key, argument in field.args.items())
        passed = ", ".join(f"{key}: ${key}" for key in given)
        selection = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
        operation = "mutation" if name in graphql_schema.mutation_type.fields else "query"
        head, call = (f"({declared})", f"({passed})") if given else ("", "")
        body = {"query": f"{operation}{head} {{ {name}{call}{selection} }}", "variables": given}
        response = server.send("POST", "/graphql", body, credential=server.key)
        codes = [error["extensions"]["code"] for error in response.json().get("errors", ())]
        if response.status >= 500 or "internal-error" in codes:
            failed[name] = response.body[:300]
    assert failed == {}

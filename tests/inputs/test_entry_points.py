"""
The same value gets the same verdict at every entry point, and what was accepted reads back in its stored form.

The fields of the entry points are read from the serializers of the API, from the layouts of files and from the schema
of the profile file. The servers are real ones, on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from recommendations.services.content.importing.fields import file_layouts
from tests.inputs.awkward_values import CASES, REFUSED, Case
from tests.servers import run_manage
from values import types as t

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
BATCH = 200
TYPES = {
    "id": t.Id,
    "word": t.Word,
    "language": t.Language,
    "kind": t.Slug,
    "region": t.Region,
    "time": t.Time,
    "number": t.MeasuredValue,
    "boolean": t.Boolean,
}
LISTS = {"languages": "language", "tags": "word", "muted_words": "word", "muted_tags": "word", "interest_tags": "word"}
"""The fields that are lists, with the type of their items."""
SINGLE = {
    "members": {"id": "id", "region": "region", "is_adult": "boolean", "is_active": "boolean", "created_at": "time"},
    "posts": {"id": "id", "kind": "kind", "language": "language", "created_at": "time", "removed_at": "time"},
}


class Bench:
    """Sends items of one kind through an entry point. Returns which of them were accepted."""

    def __init__(self, server) -> None:
        self.server = server
        self.number = 0

    def item(self, kind: str, field: str, value: object) -> dict[str, Any]:
        """Return an item of *kind* that has *value* in *field*."""
        self.number += 1
        base: dict[str, Any] = {"id": f"item-{id(self)}-{self.number}"}
        if kind == "members":
            base |= {"is_private": False}
        else:
            base |= {"author_id": "author", "visibility": "public", "created_at": "2026-05-31T12:00:00Z"}
        return base | {field: [value] if field in LISTS else value}

    def send(self, method: str, path: str, body: object = None):
        """Return the response to a request. None is a server error."""
        response = self.server.send(method, path, body, credential=self.server.key)
        assert response.status < 500, (method, path, body, response.body[:500])
        return response


@pytest.fixture(scope="module")
def bench(server) -> Bench:
    """Return a bench on a server that knows a member and a post."""
    bench = Bench(server)
    members = [{"id": name, "is_private": False} for name in ("author", "reader")]
    assert upserted(bench, "members", members) == [True, True]
    assert upserted(bench, "posts", [bench.item("posts", "id", "post")]) == [True]
    return bench


def upserted(bench: Bench, kind: str, items: list[dict[str, Any]]) -> list[bool]:
    """Send the items in bulk. Return which were accepted."""
    accepted: list[bool] = []
    for start in range(0, len(items), BATCH):
        response = bench.send("POST", f"/api/v1/{kind}", {kind: items[start : start + BATCH]})
        accepted += [result["status"] != "rejected" for result in response.json()["results"]]
    return accepted


def imported(bench: Bench, kind: str, items: list[dict[str, Any]], folder, suffix: str) -> list[bool]:
    """Import the items from a file. Return which rows were accepted."""
    file, errors = folder / f"items{suffix}", folder / f"errors{suffix}"
    if suffix == ".csv":
        names = sorted({name for item in items for name in item})
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, names, quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows({name: to_cell(value) for name, value in item.items()} for item in items)
    else:
        file.write_text("".join(json.dumps(item) + "\n" for item in items))
    run_manage(bench.server.env, "import_data", kind, str(file), "--errors", str(errors))
    if not errors.exists():
        return [True] * len(items)
    text = errors.read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines()) if suffix == ".csv" else map(json.loads, text.splitlines())
    lines = {int(row["line"]) for row in rows}
    return [line not in lines for line in first_lines(items, suffix)]


def first_lines(items: list[dict[str, Any]], suffix: str) -> Iterator[int]:
    """Yield the first line of each item in the file."""
    line = 2 if suffix == ".csv" else 1
    for item in items:
        yield line
        breaks = sum(str(to_cell(value)).count("\n") for value in item.values()) if suffix == ".csv" else 0
        line += 1 + breaks


def to_cell(value: object) -> object:
    """Return a value as a cell: lists are JSON."""
    return json.dumps(value) if isinstance(value, list) else value


def has_cell(field: str, case: Case) -> bool:
    """Return whether a cell of a UTF-8 file can state the value: it has texts only, and an empty one is none."""
    value = case[0]
    if isinstance(value, str):
        return bool(value) and is_utf8(value) and "\r" not in value
    return isinstance(value, int) and not isinstance(value, bool) and field not in ("region", "kind")


def is_utf8(text: str) -> bool:
    """Return whether UTF-8 can represent the text."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def fields(kind: str) -> list[tuple[str, str]]:
    """Return the fields of *kind* whose type has cases, with the name of the type."""
    single = SINGLE[kind]
    return [*single.items(), *((name, LISTS[name]) for name in LISTS if name in file_layouts(NOW.year)[kind].types)]


def check(verdicts: list[tuple[str, Case, bool]]) -> None:
    """Fail with the cases whose verdict is not the expected one."""
    wrong = [
        (name, ascii(value), "accepted" if is_accepted else "refused")
        for name, (value, expected), is_accepted in verdicts
        if is_accepted != (expected is not REFUSED)
    ]
    assert not wrong, wrong


def is_clearing(field: str, value: object) -> bool:
    """Return whether an empty text in this field is a value of its own."""
    return field == "region" and value == ""


@pytest.mark.parametrize("kind", ["members", "posts"])
@pytest.mark.parametrize("way", ["api", ".csv", ".jsonl"])
def test_items_and_rows(bench, tmp_path, kind, way):
    """In bulk through the API and in files: each value in each field, and a bad one costs its own item only."""
    rows = [(field, case) for field, name in fields(kind) for case in CASES[name] if not is_clearing(field, case[0])]
    if way == ".csv":
        rows = [row for row in rows if has_cell(*row) or (row[0] in LISTS and is_text(row[1][0]))]
    items = [bench.item(kind, field, value) for field, (value, _) in rows]
    accepted = upserted(bench, kind, items) if way == "api" else imported(bench, kind, items, tmp_path, way)
    check([(f"{kind} {field}", case, ok) for (field, case), ok in zip(rows, accepted, strict=True)])
    if kind == "posts" and way == "api":
        stored = [(field, case, item) for (field, case), item, ok in zip(rows, items, accepted, strict=True) if ok]
        check_posts_read_back(bench, stored)


def is_text(value: object) -> bool:
    """Return whether the value is a text that a JSON array in a cell can state."""
    return isinstance(value, str) and is_utf8(value)


def check_posts_read_back(bench: Bench, stored: list[tuple[str, Case, dict[str, Any]]]) -> None:
    """Read each post, and compare the field with the stored form of its value."""
    for field, (_, expected), item in stored:
        post_id = expected if field == "id" else item["id"]
        response = bench.send("GET", f"/api/v1/posts/{quote(post_id, safe='')}")
        assert response.status == 200, (ascii(post_id), response.body)
        value = response.json()[field]
        if isinstance(expected, datetime):
            value = datetime.fromisoformat(value)
        assert value == ([expected] if field in LISTS else expected), (field, ascii(value))


@pytest.mark.parametrize("way", ["rest", "graphql"])
@pytest.mark.parametrize(
    ("field", "name"), [("event_id", "id"), ("post_id", "id"), ("occurred_at", "time"), ("value", "number")]
)
def test_events(bench, way, field, name):
    """A bad event costs itself only, over REST and GraphQL."""
    cases = [case for case in CASES[name] if way == "rest" or is_graphql(case[0], name)]
    events = []
    for number, (value, _) in enumerate(cases):
        event = {"event_id": f"{way}-{field}-{number}", "member_id": "reader", "post_id": "post", "kind": "dwell"}
        events.append(event | {field: value})
    if way == "rest":
        results = bench.send("POST", "/api/v1/interactions", {"events": events}).json()["results"]
        problems = [result["problem"]["detail"] if result["problem"] else "" for result in results]
    else:
        names = {"event_id": "eventId", "member_id": "memberId", "post_id": "postId", "occurred_at": "occurredAt"}
        renamed = [{names.get(key, key): value for key, value in event.items()} for event in events]
        document = "mutation($e: [EventInput!]!) { recordInteractions(events: $e) { status problem } }"
        answer = bench.send("POST", "/graphql", {"query": document, "variables": {"e": renamed}}).json()
        problems = [result["problem"] for result in answer["data"]["recordInteractions"]]
    # Of a usable id, no post is known; a usable time may be too old to be recorded as an event.
    is_refused = [
        bool(problem) and "there is no post" not in problem and "too long ago" not in problem for problem in problems
    ]
    check([(f"{way} {field}", case, not refused) for case, refused in zip(cases, is_refused, strict=True)])


def is_graphql(value: object, name: str) -> bool:
    """Return whether the type of the GraphQL schema can state the value: it refuses the whole request for another."""
    if name == "id":
        return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    if name == "number":
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e308
    return True


@pytest.mark.parametrize("way", ["rest", "graphql", "profile"])
@pytest.mark.parametrize(
    ("field", "name"),
    [("muted_words", "word"), ("languages", "language"), ("region", "region"), ("is_personalized", "boolean")],
)
def test_preferences(bench, way, field, name):
    """Preferences through REST, GraphQL and a profile file are read alike, and read back as they are stored."""
    verdicts = []
    for value, expected in CASES[name]:
        given = [value] if field in LISTS else value
        if way == "graphql" and not isinstance(value, bool if name == "boolean" else str):
            continue
        accepted = set_preference(bench, way, field, given)
        verdicts.append((f"{way} {field}", (value, expected), accepted))
        if accepted and expected is not REFUSED:
            stored = bench.send("GET", "/api/v1/members/reader/preferences").json()[field]
            if field == "muted_words" and way == "profile":
                assert expected in stored
            else:
                assert stored == ([expected] if field in LISTS else expected), ascii(value)
        if way == "profile":
            bench.send("PATCH", "/api/v1/members/reader/preferences", {"muted_words": []})
    check([verdict for verdict in verdicts if not is_clearing(field, verdict[1][0])])


def set_preference(bench: Bench, way: str, field: str, value: object) -> bool:
    """Set one preference of the reader. Return whether it was accepted."""
    if way == "rest":
        return bench.send("PATCH", "/api/v1/members/reader/preferences", {field: value}).status == 200
    if way == "profile":
        file = {"format": "recsys-profile", "version": 1, "preferences": {field: value}}
        return bench.send("PUT", "/api/v1/members/reader/profile", file).status == 200
    name = {"muted_words": "mutedWords", "is_personalized": "isPersonalized"}.get(field, field)
    document = 'mutation($c: PreferencesInput!) { updatePreferences(memberId: "reader", changes: $c) { region } }'
    answer = bench.send("POST", "/graphql", {"query": document, "variables": {"c": {name: value}}}).json()
    return "errors" not in answer


@pytest.mark.parametrize(
    ("parameter", "name"),
    [("tag", "word"), ("language", "language"), ("kind", "kind"), ("exclude_post_id", "id"), ("explain", "boolean")],
)
def test_query_parameters(bench, parameter, name):
    """A query states texts: each is read as in a body."""
    cases = [case for case in CASES[name] if isinstance(case[0], str) and is_utf8(case[0])]
    verdicts = []
    for value, expected in cases:
        response = bench.send("GET", f"/api/v1/members/reader/feed?limit=1&{parameter}={quote(value, safe='')}")
        verdicts.append((f"query {parameter}", (value, expected), response.status == 200))
    check(verdicts)


def test_ids_in_paths(bench):
    """An id in a path is read as in a body: what is no id is not found, and makes no member."""
    cases = [case for case in CASES["id"] if isinstance(case[0], str) and case[0] and is_utf8(case[0])]
    verdicts = []
    for value, expected in cases:
        response = bench.send("PUT", f"/api/v1/members/{quote(value, safe='')}", {"is_private": True})
        verdicts.append(("path", (value, expected), response.status in (200, 201)))
        if response.status in (200, 201):
            assert response.json()["id"] == expected
    check(verdicts)


def test_flags(bench):
    """OFREP and the documents of flags read ids, times and versions alike."""
    verdicts = []
    for case in CASES["id"]:
        if isinstance(case[0], str):
            body = {"context": {"targetingKey": case[0]}}
            verdicts.append(("targetingKey", case, bench.send("POST", "/ofrep/v1/evaluate/flags", body).status == 200))
    for number, case in enumerate(CASES["version"]):
        condition = {"attribute": "app", "operator": "version_at_least", "values": [case[0]]}
        body = {"key": f"version-{number}", "conditions": [condition], "why": "test"}
        response = bench.send("POST", "/api/v1/segments", body)
        verdicts.append(("version", case, response.status == 201))
    for number, case in enumerate(CASES["id"]):
        body = {"key": f"ids-{number}", "allowed_ids": [case[0]], "why": "test"}
        response = bench.send("POST", "/api/v1/segments", body)
        verdicts.append(("allowed_ids", case, response.status == 201))
    check(verdicts)


def test_the_table_is_large_and_every_type_of_the_api_has_cases():
    assert sum(map(len, CASES.values())) >= 300
    assert set(CASES) - {"version"} == set(TYPES)

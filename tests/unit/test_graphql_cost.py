"""The limits of a GraphQL document and the cost of its operation, computed in time that is linear in its length."""

import json
from contextlib import suppress

import pytest
from graphql import GraphQLError
from hypothesis import given
from hypothesis import strategies as st

from access.request_costs import ITEMS_PER_UNIT, WHOLE_TABLE_COST, count_items
from recommendations.graphql_api.cost import (
    DEFAULT_PAGE_LENGTHS,
    PAGE_LENGTH_ARGUMENT,
    SelectionMeter,
    read_operation,
)
from recommendations.graphql_api.schema import build_schema
from recommendations.services.work import MAX_JOB_ITEMS


def read(query, name=None, **variables):
    return read_operation(query, variables, name)


def problem(query, name=None, **variables):
    with pytest.raises(GraphQLError) as caught:
        read(query, name, **variables)
    return caught.value.message


def count_visits(monkeypatch):
    """Return a list that gets an entry for each selection that is measured."""
    visits = []
    measure = SelectionMeter.measure_selection

    def count(self, node, nesting):
        visits.append(node)
        return measure(self, node, nesting)

    monkeypatch.setattr(SelectionMeter, "measure_selection", count)
    return visits


def test_every_field_with_pages_is_charged_for_its_default_page():
    """A new field that is missing here would cost as much as a field without a page."""
    schema = build_schema(True)._schema
    declared = {
        name: field.args[PAGE_LENGTH_ARGUMENT].default_value
        for root in (schema.query_type, schema.mutation_type)
        for name, field in root.fields.items()
        if PAGE_LENGTH_ARGUMENT in field.args
    }
    assert declared == DEFAULT_PAGE_LENGTHS


# The work of computing costs


@st.composite
def documents(draw):
    """Return a document whose fragments spread any later fragments any number of times, within fields and alone."""
    count = draw(st.integers(1, 12))
    definitions = []
    for number in range(-1, count):
        spreads = draw(st.lists(st.integers(number + 1, count - 1), max_size=6)) if number + 1 < count else []
        selections = ["__typename"]
        for position, target in enumerate(spreads):
            spread = f"...f{target}"
            kind = draw(st.sampled_from(["{}", "... on Query {{ {} }}", f"x{position} {{{{ {{}} }}}}"]))
            selections.append(kind.format(spread))
        start = f"fragment f{number} on Query" if number >= 0 else "query"
        definitions.append(f"{start} {{ {' '.join(selections)} }}")
    return " ".join(definitions)


@given(document=documents())
def test_each_selection_of_any_document_is_visited_at_most_once(document):
    """For every way of spreading fragments, also where the document asks for more fields than could be counted."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        visits = count_visits(monkeypatch)
        with suppress(GraphQLError):
            read(document)
        assert len(visits) == len({id(node) for node in visits})


def doubled(levels):
    """Return a document of a hundred bytes per level that asks for 2 ** levels fields."""
    fragments = [f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(levels)]
    return f"{{ ...f0 }} {' '.join(fragments)} fragment f{levels} on Query {{ __typename }}"


def test_the_visited_selections_grow_with_the_length_of_the_document(monkeypatch):
    counts = []
    for levels in (10, 20, 40):
        visits = count_visits(monkeypatch)
        assert "costs more than" in problem(doubled(levels)) if levels > 13 else read(doubled(levels))
        counts.append(len(visits))
        monkeypatch.undo()
    assert counts == [2 * levels + 2 for levels in (10, 20, 40)]


def test_an_alias_in_a_fragment_counts_each_time_the_fragment_is_spread():
    fragments = " fragment f on Query { a: __typename }"
    assert read("{" + "...f " * 10 + "}" + fragments)
    assert "11 aliases" in problem("{" + "...f " * 11 + "}" + fragments)


@pytest.mark.parametrize(
    "query",
    [
        "{ ...f } fragment f on Query { ...f }",
        "{ ...f } fragment f on Query { ...g } fragment g on Query { feed { ...f } }",
        "{ ...f } fragment f on Query { ... on Query { ...g } } fragment g on Query { ...h } "
        "fragment h on Query { ...g }",
    ],
)
def test_fragments_that_form_a_cycle_are_rejected(query):
    assert "contains itself" in problem(query)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("#" * 20_001, "20,001 characters"),
        ("{" + " a" * 2_001 + "}", "2000 tokens"),
        ("{ a" * 12 + "}" * 12, "deeper than 10"),
        (
            "{ ...f0 } " + " ".join(f"fragment f{n} on Q {{ ...f{n + 1} }}" for n in range(60)),
            "more than 50 fields and fragments",
        ),
        ("{ f(x: " + "[" * 500 + "]" * 500 + ") }", "nested too deeply"),
        ("{ a" * 400 + "}" * 400, "nested too deeply"),
        ("{ discoveryFeed(first: " + "9" * 5_000 + ") {" + " a b" * 60 + "} }", "costs more than"),
        ("query A { a } query B { b }", "operationName"),
        ("fragment f on Query { a }", "no operation"),
        ("subscription { a }", "not supported"),
        ("{", "Syntax Error"),
    ],
)
def test_a_document_above_a_limit_is_rejected(query, message):
    assert message in problem(query)


def test_every_operation_is_within_the_limits_whichever_is_executed():
    query = f"query small {{ a }} query large {{ {' '.join(f'a{n}: a' for n in range(11))} }}"
    assert "11 aliases" in problem(query, "small")
    assert "no operation 'B'" in problem("query A { a }", "B")


# The units that count against the rate limit


@pytest.mark.parametrize(
    ("query", "units"),
    [
        ('{ feed(memberId: "a") { requestId } }', 1),
        ("{ a { x } b { x } }", 2),
        ("{" + " ".join(f"a{n}: feed {{ x }}" for n in range(10)) + "}", 10),
        ("{ ...f ... on Query { c } } fragment f on Query { a b }", 3),
        ("{ a { x } ...f } fragment f on Query { a { y } }", 1),  # one field with two selections
        ("{ ...f ...f } fragment f on Query { a }", 1),
        ("{ ...unknown a }", 1),
        ("{ __typename __schema { queryType { name } } }", 1),
        ("query A { a b } query B { c }", None),
    ],
)
def test_each_field_of_the_response_counts_as_one_request(query, units):
    assert read(query, None if units else "A").units == (units or 2)


def item_list(count):
    return json.dumps([f"p{n}" for n in range(count)])


def test_lists_count_whether_they_are_literals_variables_defaults_or_in_objects():
    assert read(f"mutation {{ markSeen(postIds: {item_list(100)}) }}").units == 1 + 100 // ITEMS_PER_UNIT
    variable = "mutation($ids: [ID!]!) { a: markSeen(postIds: $ids) b: markSeen(postIds: $ids) }"
    assert read(variable, ids=["p"] * 1_000).units == 2 * (1 + 1_000 // ITEMS_PER_UNIT), "each use counts"
    default = f"mutation($ids: [ID!] = {item_list(50)}) {{ markSeen(postIds: $ids) }}"
    assert (read(default).units, read(default, ids=[]).units) == (1 + 50 // ITEMS_PER_UNIT, 1)
    nested = f"{{ feed(filters: {{excludePostIds: {item_list(40)}}}) {{ x }} }}"
    assert read(nested).units == 1 + 40 // ITEMS_PER_UNIT
    in_variable = "query($f: Filter) { feed(filters: $f) { x } }"
    assert read(in_variable, f={"excludePostIds": ["p"] * 40}).units == 1 + 40 // ITEMS_PER_UNIT
    assert read("{ crossModalSearch(vector: [1, 2.5, 3]) { score } }").units == 1, "a vector is one item"


def test_a_job_for_all_members_costs_as_much_as_over_rest():
    assert read("mutation { batchDiscoveryFeeds { id } }").units == 1 + WHOLE_TABLE_COST
    assert read(f"mutation {{ batchDiscoveryFeeds(memberIds: {item_list(20)}) {{ id }} }}").units == 3


class Uncountable(list):
    """A list whose items must not be read."""

    def __iter__(self):
        raise AssertionError("the items were read")

    def __getitem__(self, key):
        raise AssertionError("the items were read")


@pytest.mark.parametrize(
    ("argument", "limit"), [("events", 1_000), ("postIds", 1_000), ("vector", 4_096), ("memberIds", MAX_JOB_ITEMS)]
)
def test_a_long_list_is_rejected_by_its_length_before_its_items_are_read(argument, limit):
    query = f"query($v: [X]) {{ a({argument}: $v) }}"
    assert "items" in problem(query, v=Uncountable(["x"] * (limit + 1)))
    assert read(query, v=["x"] * limit)
    assert "items" in problem("query($v: X) { a(input: $v) }", v={argument: Uncountable(["x"] * (limit + 1))})


# The items of a REST body


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (None, 0),
        ({"limit": 5, "text": "abc"}, 0),
        ({"events": [{"tags": ["a", "b"]}] * 30}, 30),
        ({"params": {"member_ids": ["a"] * 7}, "kind": "x"}, 7),
        ([{"a": 1}] * 4, 4),
        ({"follow": ["a"] * 3, "block": ["b"] * 2}, 5),
        ({"vector": [0.5] * 4_096}, 0),
        ({"vector": [0.5] * 4_097}, 4_097),
        ({"events": [1, "a", "b"]}, 3),
    ],
)
def test_the_items_of_the_outermost_lists_of_a_body_are_counted(body, items):
    assert count_items(body) == items

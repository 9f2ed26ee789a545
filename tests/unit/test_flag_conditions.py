"""Conditions of segments: on lists, texts and versions, and those that no unit can meet."""

import json
from types import SimpleNamespace

import pytest
from growthbook.core import evalCondition
from rest_framework.exceptions import ValidationError

from flags.admin.values import format_condition_value, parse_condition_value
from flags.documents import ConditionDocument, SegmentDocument
from flags.payload import build_attribute_condition
from flags.versions import build_at_least, is_version


def is_met(operator, values, given):
    row = SimpleNamespace(attribute="x", operator=operator, values=values)
    return evalCondition({} if given is None else {"x": given}, build_attribute_condition(row), {})


@pytest.mark.parametrize(
    ("operator", "values", "given", "expected"),
    [
        ("contains", ["en"], ["en", "de"], True),
        ("contains", ["en"], ["english"], False),
        ("contains", ["ng"], "english", True),
        ("contains", ["a.c"], "abc", False),
        ("contains", ["en"], None, False),
        ("starts_with", ["en"], ["de", "english"], True),
        ("starts_with", ["en"], "english", True),
        ("starts_with", ["gl"], "english", False),
        ("starts_with", ["en"], None, False),
        ("version_at_least", ["not a version"], "1", False),
        ("version_below", ["not a version"], "1", False),
    ],
)
def test_texts_and_lists(operator, values, given, expected):
    assert is_met(operator, values, given) is expected


AT_LEAST = [
    ("2", "2.0.0", True),
    ("2.0", "2", True),
    ("1.10", "1.9", True),
    ("1.9", "1.10", False),
    ("1.2.3.5", "1.2.3", True),
    ("1.2.3", "1.2.3.5", False),
    ("1.2.3.0.0.0", "1.2.3", True),
    ("2.0.0-rc.1", "2.0.0", False),
    ("2.0-rc.1", "2", False),
    ("2.1-rc.1", "2", True),
    ("2.0.1-rc.1", "2.0.0", True),
    ("2.0.0", "2.0.0-rc.1", True),
    ("2.0.0-rc.2", "2.0.0-rc.1", True),
    ("2.0.0-alpha", "2.0.0-rc.1", False),
    ("v2.0.0", "2", True),
    ("2.0.0+build.7", "2.0.0", True),
    ("0", "0.0.1", False),
    ("0", "0", True),
]


@pytest.mark.parametrize(("given", "bound", "expected"), AT_LEAST)
def test_versions_are_compared_by_their_numbers(given, bound, expected):
    assert is_met("version_at_least", [bound], given) is expected
    assert is_met("version_below", [bound], given) is not expected


@pytest.mark.parametrize("given", ["", "abc", "1.x", None, ["2"], 5])
def test_what_is_no_version_is_neither_above_nor_below(given):
    assert not is_met("version_at_least", ["1"], given) and not is_met("version_below", ["9"], given)
    assert not is_version(given)


def test_a_bound_must_be_a_version():
    with pytest.raises(ValueError, match="abc"):
        build_at_least("x", "abc")


@pytest.mark.parametrize("operator", ["in", "version_at_least", "contains"])
@pytest.mark.parametrize("value", ["1.10", "276", "true", " x ", "", '"', "a\nb", "null", "é", "[1]"])
def test_a_text_is_the_same_after_it_was_edited_as_text(operator, value):
    assert parse_condition_value(format_condition_value(value, operator), operator) == value
    assert "\n" not in format_condition_value(value, operator)


@pytest.mark.parametrize("value", [276, 1.5, True, False, 0])
def test_a_number_is_the_same_after_it_was_edited_as_text(value):
    assert json.dumps(parse_condition_value(format_condition_value(value, "in"), "in")) == json.dumps(value)


def test_a_version_that_is_typed_stays_a_text():
    assert parse_condition_value("1.10", "version_at_least") == "1.10"
    assert parse_condition_value("18", "in") == 18


@pytest.mark.parametrize(
    ("operator", "values"),
    [
        ("version_at_least", [1.10]),
        ("version_below", ["soon"]),
        ("contains", [""]),
        ("contains", [5]),
        ("above", [True]),
        ("in", [None]),
    ],
)
def test_a_condition_that_can_never_be_true_is_refused(operator, values):
    with pytest.raises(ValidationError):
        ConditionDocument().run_validation({"attribute": "x", "operator": operator, "values": values})


@pytest.mark.parametrize(
    ("conditions", "is_possible"),
    [
        ([("unknown", []), ("in", ["a"])], False),
        ([("above", [5]), ("below", [3])], False),
        ([("at_least", [5]), ("at_most", [5])], True),
        ([("known", []), ("in", ["a"])], True),
        ([("above", ["2026-01-01"]), ("below", [3])], True),
    ],
)
def test_conditions_that_no_unit_can_meet_are_refused(conditions, is_possible):
    rows = [{"attribute": "x", "operator": operator, "values": values} for operator, values in conditions]
    document = {"key": "k", "conditions": rows}
    if is_possible:
        assert SegmentDocument().run_validation(document)
    else:
        with pytest.raises(ValidationError, match="No unit can meet"):
            SegmentDocument().run_validation(document)
    assert SegmentDocument().run_validation(document | {"match": "any"})

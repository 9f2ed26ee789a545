"""Conditions of segments: on lists, texts and versions, and those that no unit can meet."""

import json
from datetime import date
from types import SimpleNamespace

import pytest
from growthbook.core import evalCondition
from rest_framework.exceptions import ValidationError

from flags.payload import build_attribute_condition
from flags.serializers import ConditionDocument, SegmentDocument
from flags.versions import build_at_least, is_version
from flags.written_values import parse_written, write_value
from values.problems import InvalidValueError

TEXTS = ("1.10", "276", "true", "True", "no", " x ", "", '"', "a\nb", "a\u2028b", "a\x85b", "null", "é", "[1]", "1e5")


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


@pytest.mark.parametrize("is_text", [False, True])
@pytest.mark.parametrize("value", [*TEXTS, 276, 1.5, 1.0, 1e20, -0.0, 2**62, True, False, 0])
def test_a_value_is_the_same_after_it_was_written_and_read(is_text, value):
    line = write_value(value, is_text=is_text)
    if isinstance(value, str) or not is_text:
        assert json.dumps(parse_written(line, is_text=is_text)) == json.dumps(value)
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("1.10", "Write 1.1 for the number"),
        ("007", "Write 7 for the number"),
        ("1e5", "Write 100000 for the number"),
        ("+1", "Write 1 for the number"),
        (".5", "Write 0.5 for the number"),
        ("1e400", "Write it in quotes"),
        ("True", "Write true for the boolean"),
        ("FALSE", "Write false for the boolean"),
    ],
)
def test_a_word_that_could_be_a_text_or_another_value_is_refused(word, advice):
    with pytest.raises(InvalidValueError, match="two meanings") as caught:
        parse_written(word)
    assert caught.value.advice.startswith(advice)
    assert parse_written(word, is_text=True) == parse_written(f'"{word}"') == word


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (("region", "in", [276]), 'Write "276".'),
        (("region", "in", ["276"]), ""),
        (("languages", "contains", ["en"]), ""),
        (("languages", "above", ["en"]), "list of texts"),
        (("is_active", "in", ["true"]), "without quotes"),
        (("is_active", "in", [True]), ""),
        (("is_active", "contains", ["true"]), "never true"),
        (("joined_on", "above", ["2026-01-31"]), ""),
        (("app", "in", [276, "276", True]), ""),
    ],
)
def test_a_condition_on_a_registered_attribute_has_values_of_its_type(condition, message):
    document = dict(zip(("attribute", "operator", "values"), condition, strict=True))
    if message:
        with pytest.raises(ValidationError, match=message):
            ConditionDocument().run_validation(document)
    else:
        assert ConditionDocument().run_validation(document) == document


@pytest.mark.parametrize(
    ("operator", "values"),
    [
        ("version_at_least", [1.10]),
        ("version_below", ["soon"]),
        ("contains", [""]),
        ("contains", [5]),
        ("above", [True]),
        ("in", [None]),
        ("above", ["1.10"]),
        ("in", [10**400]),
        ("above", [2**63]),
        ("in", [float("inf")]),
        ("in", [date(2026, 1, 31)]),
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
        ([("above", [5]), ("at_most", [5])], False),
        ([("above", ["2026-02-01"]), ("below", ["2026-01-01"])], False),
        ([("above", ["2026-02-01"]), ("at_most", ["2026-02-01"])], False),
        ([("above", ["2026-01-01"]), ("below", ["2026-02-01"])], True),
        ([("in", ["a", "b"]), ("not_in", ["b", "a", "c"])], False),
        ([("in", ["a", "b"]), ("not_in", ["a"])], True),
        ([("version_at_least", ["1.10"]), ("version_below", ["1.9"])], False),
        ([("version_at_least", ["1.10"]), ("version_below", ["1.10.0"])], False),
        ([("version_at_least", ["1.9"]), ("version_below", ["1.10"])], True),
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

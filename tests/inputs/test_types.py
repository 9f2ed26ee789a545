"""The types of values, read directly: the table of awkward values, messages, and how texts and languages compare."""

import pytest

from flags.versions import is_version
from tests.inputs.awkward_values import CASES, REFUSED
from tests.inputs.test_entry_points import TYPES
from values.json_text import parse_json
from values.languages import is_in_range
from values.names import describe_unknown_name, find_unknown_name
from values.problems import InvalidValueError, quote_value
from values.text import contains_word, excerpt, fold
from values.types import (
    Language,
    Media,
    SafetyLabels,
    VectorNumbers,
    Word,
    list_of,
    read,
    read_cell,
    whole_number_from,
)


@pytest.mark.parametrize("name", TYPES)
def test_every_case_has_its_stored_form(name):
    for value, expected in CASES[name]:
        if expected is REFUSED:
            with pytest.raises(InvalidValueError) as caught:
                read(TYPES[name], value)
            assert caught.value.problem and caught.value.advice.endswith(".")
            str(caught.value).encode()
        else:
            assert read(TYPES[name], value) == expected, ascii(value)


def test_every_case_of_a_version_has_its_verdict():
    assert [case for case in CASES["version"] if is_version(case[0]) != (case[1] is not REFUSED)] == []


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("a|b|a", ["a", "b"]),
        ('["a|b", "c"]', ["a|b", "c"]),
        ("5", ["5"]),
        ("true|null", ["true", "null"]),
    ],
)
def test_a_cell_states_a_list_as_json_or_with_bars(cell, value):
    assert read(list_of(Word), read_cell(list_of(Word), cell)) == value


@pytest.mark.parametrize(
    ("cell", "value"), [("violence:0.4|nudity:1", {"violence": 0.4, "nudity": 1}), ('{"a": 0}', {"a": 0})]
)
def test_a_cell_states_scores(cell, value):
    assert read(SafetyLabels, read_cell(SafetyLabels, cell)) == value


@pytest.mark.parametrize(
    ("value_type", "cell"), [(SafetyLabels, "violence"), (SafetyLabels, "a:1|" * 101), (Media, "[1"), (Media, "x")]
)
def test_a_cell_that_is_no_list_is_refused(value_type, cell):
    with pytest.raises(InvalidValueError):
        read(value_type, read_cell(value_type, cell))


@pytest.mark.parametrize("value", [[1.0] * 7, [1.0] * 4097, ["1"] * 8, [True] * 8, [1e999] * 8, [10**400] * 8, "x"])
def test_what_is_no_vector_is_refused(value):
    with pytest.raises(InvalidValueError, match="not a vector"):
        read(VectorNumbers, value)
    assert read(VectorNumbers, [1] * 8) == [1.0] * 8


def test_an_unknown_name_is_answered_with_the_nearest_one():
    known = ("occurred_at", "event_id")
    assert find_unknown_name(["event_id", "occured_at"], known) == "occured_at"
    assert find_unknown_name(["event_id"], known) is None
    assert str(describe_unknown_name("occured_at", known)[1]).startswith("Did you mean occurred_at?")
    assert str(describe_unknown_name("x" * 10_000, known)[1]) == "The names are occurred_at, event_id."


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"\\ud800": 1, "\\ud800": 2}}]', "[NaN]", "[-Infinity]"])
def test_ambiguous_json_is_refused(text):
    with pytest.raises(ValueError, match=r"twice|compliant") as caught:
        parse_json(text)
    str(caught.value).encode()


def test_a_quoted_value_can_be_printed():
    assert quote_value("\ud800").encode()
    assert len(quote_value("x" * 1000)) == 58


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Café", "CAFE\u0301"),
        ("ﬁne", "fine"),
        ("Ａｒｔ", "art"),
        ("STRASSE", "straße"),
        ("Σίσυφος", "σίσυφοσ"),
        ("spi\u00adder", "spider"),
        ("می\u200cخواهم", "میخواهم"),
        ("❤\ufe0f", "❤"),
        ("ice \n\t cream", "ice cream"),
        ("ｶﾞ", "ガ"),
    ],
)
def test_texts_that_differ_in_form_only_are_compared_as_equal(left, right):
    assert fold(left) == fold(right)


@pytest.mark.parametrize(
    ("text", "word", "is_contained"),
    [
        ("a party", "art", False),
        ("party art", "art", True),
        ("art", "art", True),
        ("#art!", "art", True),
        ("art_deco", "art", True),
        ("spider's web", "spider", True),
        ("spiders", "spider", False),
        ("cafe\u0301s", "café", False),
        ("un cafe\u0301.", "CAFÉ", True),
        ("e\u0301a", "a", False),
        ("art2", "art", False),
        ("ice\ncream", "ice cream", True),
        ("私はartが", "art", True),
        ("東京都", "京都", True),
        ("ฉันกลัวแมงมุม", "แมงมุม", True),
        ("거미가", "거미", True),
        ("C++ is", "c++", True),
        ("a 🕷️ here", "🕷", True),
        ("anything", "\u200b", False),
        ("क्या", "क", False),
    ],
)
def test_a_word_is_found_where_it_stands_as_a_word(text, word, is_contained):
    assert contains_word(fold(text), fold(word)) is is_contained


@pytest.mark.parametrize(
    ("language_range", "inside", "outside"),
    [
        ("pt", ["pt", "pt-BR", "pt-PT"], ["es", "pta"]),
        ("pt-BR", ["pt", "pt-BR"], ["pt-PT", "pt-AO"]),
        ("zh", ["zh", "zh-Hant", "zh-CN"], ["yue"]),
        ("zh-Hant", ["zh-Hant", "zh-Hant-HK", "zh-TW", "zh-HK"], ["zh", "zh-CN", "zh-Hans-TW"]),
        ("zh-TW", ["zh-TW", "zh-Hant", "zh-Hant-TW"], ["zh", "zh-HK", "zh-Hans-TW"]),
        ("sr-Latn", ["sr-Latn", "sr-Latn-RS"], ["sr", "sr-Cyrl", "sr-RS"]),
        ("sr", ["sr", "sr-Latn", "sr-Cyrl-RS"], ["hr"]),
        ("es-419", ["es-419", "es"], ["es-ES"]),
        ("de-CH-1901", ["de", "de-CH", "de-CH-1901"], ["de-AT", "de-CH-1996"]),
        ("old words", ["old words"], ["en"]),
    ],
)
def test_a_range_contains_its_languages(language_range, inside, outside):
    assert [tag for tag in inside if not is_in_range(tag, language_range)] == []
    assert [tag for tag in outside if is_in_range(tag, language_range)] == []


def test_a_language_has_one_canonical_form():
    assert read(list_of(Language), ["pt-br", "PT-BR", "pt-BR"]) == ["pt-BR"]


@pytest.mark.parametrize(
    ("value", "whole"),
    [(2**63 - 1, 2**63 - 1), (0, 0), ("42", 42), ("1e3", 1000), (5.0, 5)]
    + [(value, REFUSED) for value in (2**63, -1, 10**400, 1e400, float("nan"), 1.5, True, "x", "1_0", None, [1])],
)
def test_a_whole_number_keeps_every_digit(value, whole):
    if whole is REFUSED:
        with pytest.raises(InvalidValueError):
            read(whole_number_from(0, 2**63 - 1), value)
    else:
        assert read(whole_number_from(0, 2**63 - 1), value) == whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \n ", ""),
        ("\n  Bread\nand butter", "Bread"),
        ("Exactly 12 c", "Exactly 12 c"),
        ("Exactly 13 ch", "Exactly 13…"),
        ("One, two, three", "One, two, t…"),
        ("مرحبا بالعالم الكبير", "مرحبا بالعا…"),
    ],
)
def test_an_excerpt_is_the_beginning_of_the_first_line(text, expected):
    assert excerpt(text, 12) == expected

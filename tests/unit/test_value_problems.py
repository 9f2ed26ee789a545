"""Problems of values are English texts for programs, and are in the language of the page in a form."""

import pickle

import pytest
from django.core.exceptions import ValidationError
from django.utils.translation import gettext, override

from flags.written_values import parse_written
from monitoring.models import AlertRule
from monitoring.row_forms import check_storable
from recommendations.contracts import Policy
from recommendations.services.serving.policy_preview import preview_member
from tests.factories import NOW
from values.problems import InvalidValueError, quote
from values.translation import Phrase, phrase
from values.types import Id, Score, Word, list_of, read


def refusal(value_type, value):
    with pytest.raises(InvalidValueError) as caught:
        read(value_type, value)
    return caught.value


@pytest.mark.parametrize(
    ("value_type", "value", "english", "german"),
    [
        (
            *(Id, ""),
            "'' is not an id. Give 1 to 128 characters, without control characters.",
            "'' ist keine ID. Geben Sie 1 bis 128 Zeichen ohne Steuerzeichen an.",
        ),
        (
            *(Score, 2),
            "2 cannot be used. Give a number from 0 to 1.",
            "2 kann nicht verwendet werden. Geben Sie eine Zahl von 0 bis 1 an.",
        ),
        (
            *(list_of(Word, 60), ["w"] * 1061),
            'a list of 1,061 items is not a list of up to 60. Write ["a", "b"] in JSON and a|b in a cell.',
            "eine Liste mit 1,061 Elementen ist keine Liste mit bis zu 60 Elementen. "
            'Schreiben Sie ["a", "b"] in JSON und a|b in einer Zelle.',
        ),
        (
            *(Id, "{n} "),
            "'{n} ' has spaces at its ends. Remove them.",
            "'{n} ' hat Leerzeichen am Anfang oder Ende. Entfernen Sie sie.",
        ),
    ],
)
def test_a_problem_is_translated_and_a_value_in_it_is_not(value_type, value, english, german):
    error = refusal(value_type, value)
    with override("de"):
        assert str(error) == f"{error.problem}. {error.advice}" == english
        assert error.translate(gettext) == german
    assert str(pickle.loads(pickle.dumps(error))) == english


@pytest.mark.parametrize(
    ("word", "german"),
    [
        ("1.10", "für die Zahl, oder"),
        ("True", "für den Wahrheitswert, oder"),
        ("1e999", "Schreiben Sie den Text in Anführungszeichen."),
    ],
)
def test_a_word_with_two_meanings_is_refused_in_german(word, german):
    with pytest.raises(InvalidValueError) as caught:
        parse_written(word)
    with override("de"):
        text = caught.value.translate(gettext)
    assert text.startswith(f"{word!r} hat zwei Bedeutungen. ") and german in text


def test_a_json_value_that_no_database_stores_is_refused_in_german():
    with override("de"), pytest.raises(Exception, match="Der Wert enthält ein NUL-Zeichen"):
        check_storable({"name": "\0"})


def test_a_phrase_leaves_braces_that_are_no_value():
    assert str(phrase('Write {"a": {n}} or {m}.', n=3)) == 'Write {"a": 3} or {m}.'
    assert str(Phrase("has {n}", {"n": quote({})})) == "has {}"


@pytest.mark.parametrize(
    ("comparison", "clears_at", "german"),
    [("above", 2_000_001.0, "2.000.001 liegt über dem"), ("below", 0.25, "0,25 liegt unter dem")],
)
def test_an_alert_that_would_never_resolve_is_refused_in_german(comparison, clears_at, german):
    rule = AlertRule(name="r", comparison=comparison, threshold=1.5, clears_at=clears_at)
    with override("de"), pytest.raises(ValidationError, match=german):
        rule.clean()


def test_a_preview_for_no_id_says_why_in_german():
    with override("de"):
        preview = preview_member(Policy(), "control", " ", NOW)
    assert preview.problem == "' ' ist keine ID. Geben Sie 1 bis 128 Zeichen ohne Steuerzeichen an."

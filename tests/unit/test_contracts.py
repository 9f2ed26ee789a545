"""The shared words: policies refuse what they don't know, cursors and numbers for words hold what they say."""

import base64
from dataclasses import asdict, fields, replace
from enum import IntEnum
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import (
    CANDIDATE_COLUMNS,
    UNKNOWN,
    Affinity,
    Candidates,
    Origin,
    Policy,
    PolicyError,
    Reason,
    bit_set,
    is_in_sorted,
    origins_of,
    ranged_field,
    reasons_of,
)
from recommendations.services.errors import InvalidRequest
from recommendations.services.serving.cursors import MAX_STEPS, CursorPosition, read_cursor, write_cursor
from recommendations.stores.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"tastes": 1}, "tastes: no such setting"),
        ({"taste": -0.1}, "taste: give a number from 0 to 10"),
        ({"diversity": 1.01}, "diversity: give a number from 0 to 1"),
        ({"taste": "1"}, "taste: give a number"),
        ({"taste": True}, "taste: give a number"),
        ({"taste": None}, "taste: give a number"),
        ({"taste": float("nan")}, "taste: give a number"),
        ({"nearest_candidates": 5001}, "nearest_candidates: give a number from 0 to 5000"),
        ({"nearest_candidates": 1.5}, "nearest_candidates: give a whole number"),
        ({"author_cap": 0}, "author_cap: give a number from 1"),
    ],
)
def test_a_policy_refuses_a_wrong_setting_by_its_name(settings, named):
    with pytest.raises(PolicyError, match=named):
        Policy.from_settings(settings)


def test_a_policy_takes_the_rest_from_its_defaults():
    policy = Policy.from_settings({"taste": 2, "nearest_candidates": 10.0})
    assert (policy.taste, policy.nearest_candidates, policy.recency) == (2.0, 10, Policy().recency)
    assert isinstance(policy.nearest_candidates, int)
    assert Policy.from_settings({}) == Policy()


def test_every_default_is_within_its_own_range():
    assert Policy.from_settings({f.name: getattr(Policy(), f.name) for f in fields(Policy)}) == Policy()


def test_a_stored_policy_takes_neutral_values_for_what_it_lacks_and_never_defaults():
    """No part of the score, no candidates, no limit: a feed is ranked as if the setting did not exist."""
    found = Policy.from_stored({"taste": 2})
    assert found.taste == 2.0
    assert (found.recency, found.nearest_candidates, found.diversity, found.weight_like) == (0, 0, 0, 0)
    assert (found.author_cap, found.max_topic_run, found.max_interests) == (1000, 100, 16)
    neutral = asdict(Policy.from_stored({}))
    assert asdict(Policy.from_settings(neutral)) == neutral, "each lies within its own range"


def test_a_stored_policy_holds_whatever_was_allowed_when_it_was_written():
    """A setting that was removed is left out; a value beyond a range that was narrowed since stands."""
    stored = asdict(Policy()) | {"sparkle": 3, "taste": 11.0, "nearest_candidates": 6000}
    assert Policy.from_stored(stored) == replace(Policy(), taste=11.0, nearest_candidates=6000)


@pytest.mark.parametrize("value", ["1", None, True])
def test_a_stored_policy_refuses_what_is_no_number(value):
    with pytest.raises(PolicyError, match="taste: the stored value .* is not a number"):
        Policy.from_stored({"taste": value})


def test_a_setting_whose_neutral_value_is_out_of_its_range_cannot_be_declared():
    with pytest.raises(ValueError, match="neutral value from 1 to 9"):
        ranged_field(3, 1, 9, "A limit.")


steps = st.tuples(st.uuids(), st.integers(0, 2**16 - 1))


@given(steps, st.lists(steps, max_size=30))
def test_a_cursor_holds_the_latest_slates_of_a_reading(step, before):
    cursor = write_cursor(*step, tuple(before))
    assert read_cursor(cursor).steps == (*before, step)[-MAX_STEPS:]
    assert len(cursor) <= 500  # what the API takes


@given(st.uuids(), st.integers(0, 2**16 - 1))
def test_a_cursor_holds_the_request_and_the_place(request_id, offset):
    cursor = write_cursor(request_id, offset)
    assert read_cursor(cursor) == CursorPosition(request_id, offset)
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_a_clear_refusal(text):
    """Never another error: a cursor comes from outside."""
    try:
        place = read_cursor(text)
    except InvalidRequest as error:
        assert error.pointer == "/cursor"
    else:
        assert all(isinstance(request_id, UUID) and 0 <= offset < 2**16 for request_id, offset in place.steps)


@pytest.mark.parametrize("cursor", ["", "a", "💥", "A" * 25, base64.urlsafe_b64encode(b"x" * 17).decode()])
def test_a_cursor_of_the_wrong_length_is_refused(cursor):
    with pytest.raises(InvalidRequest, match="Invalid cursor"):
        read_cursor(cursor)


def test_bits_name_reasons_and_origins():
    assert reasons_of(0b101) == (Reason.TASTE, Reason.POPULAR)
    assert origins_of(0b1010) == (Origin.FOLLOWED, Origin.FRESH)
    assert reasons_of(0) == () == origins_of(0)


@pytest.mark.parametrize("value", [16, -1])
def test_an_enum_whose_members_do_not_fit_a_bit_set_is_refused(value):
    """A seventeenth member fails where it is written; stored as 16 bits it would vanish without an error."""
    assert len(bit_set(IntEnum("Full", {f"M{i}": i for i in range(16)}))) == 16
    with pytest.raises(TypeError, match=r"BEYOND does not fit\. Give values from 0 to 15\."):
        bit_set(IntEnum("Wrong", {"FIRST": 0, "BEYOND": value}))


def test_two_members_of_a_bit_set_never_share_a_bit():
    with pytest.raises(ValueError, match="SECOND -> FIRST"):
        bit_set(IntEnum("Shared", {"FIRST": 0, "SECOND": 0}))


def test_candidates_of_which_nothing_is_known_keep_their_columns_when_taken():
    found = Candidates.unknown(np.array([5, 6, 7]), np.array([1, 2, 3], np.uint16))
    taken = found.take(np.array([2, 0]))
    assert taken.post_ids.tolist() == [7, 5] and taken.origins.tolist() == [3, 1]
    assert {len(getattr(taken, f.name)) for f in fields(taken)} == {2}
    assert found.is_removed.all() and (found.author_ids == UNKNOWN).all()


def test_words_have_one_number_each():
    words = Vocabulary()
    assert words.intern("en") == words.intern("en") != words.intern("de")
    assert words.intern_all(["de", "en"]).tolist() == [0, 1]


def test_a_word_asked_for_first_is_the_same_word_when_a_post_has_it():
    """A muted tag holds for a post that came after the viewer was read; a missing tag equals none."""
    words = Vocabulary()
    muted = words.intern_all(["c"])
    table = words.intern_table([["a", "b", "c"], []], width=3)
    assert (table == muted).tolist() == [[False, False, True], [False] * 3]
    assert (table[1] == UNKNOWN).all()


@given(st.lists(st.lists(st.text(max_size=5), max_size=6), max_size=10))
def test_a_table_gives_equal_numbers_to_equal_words_only(lists):
    words = Vocabulary()
    table = words.intern_table(lists, width=6)
    for row, tags in zip(table, lists, strict=True):
        assert [words.intern(tag) for tag in tags] == row[: len(tags)].tolist()
        assert (row[len(tags) :] == UNKNOWN).all()


@given(st.dictionaries(st.integers(0, 30), st.floats(-1, 1, width=32)), st.lists(st.integers(-1, 31), max_size=12))
def test_an_affinity_is_a_table_that_says_nothing_of_the_others(weights, asked):
    """For any table and any ids, in the shape they are asked in."""
    ids = sorted(weights)
    affinity = Affinity(np.array(ids, np.int64), np.array([weights[id] for id in ids], np.float32))
    found = affinity.weights_of(np.array([asked, asked], np.int32).reshape(2, -1))
    assert found.dtype == np.float32
    assert found.tolist() == [[weights.get(id, 0.0) for id in asked]] * 2


@given(st.lists(st.integers(-1, 20), max_size=12), st.sets(st.integers(-1, 20)))
def test_among_is_membership_however_many_there_are(values, ids):
    found = is_in_sorted(np.array(values, np.int64), np.array(sorted(ids), np.int64))
    assert found.tolist() == [value in ids for value in values]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("spread", [1, 3, 10_000], ids=["close", "apart", "far apart"])
def test_among_is_membership_for_as_many_as_a_catalogue_has(spread, dtype):
    """Whether the ids lie close enough for a table or not; what is outside of their span is none of them."""
    rng = np.random.default_rng(spread)
    values = (rng.integers(-1, 9_000, (5_000, 2)) * spread).astype(dtype)
    ids = np.unique(rng.integers(500, 8_000, 300)).astype(dtype) * spread
    np.testing.assert_array_equal(is_in_sorted(values, ids), np.isin(values, ids))


def numbered_candidates(n):
    """Return candidates whose every column says its position."""
    found = Candidates.unknown(np.arange(n), np.arange(n, dtype=np.uint16))
    return replace(found, author_ids=np.arange(n) * 10, tag_ids=np.arange(8 * n, dtype=np.int32).reshape(n, 8))


@pytest.mark.parametrize("which", [np.array([2, 0, 3]), np.array([True, False, True, True]), slice(1, 3)])
def test_candidates_that_are_taken_have_every_column_of_those_they_were(which):
    """Taken once, taken from what was taken, and replaced: the columns that nobody asked for so far, too."""
    posts = numbered_candidates(4)
    taken = posts.take(which)
    again = taken.take(slice(1, None))
    for name in CANDIDATE_COLUMNS:
        np.testing.assert_array_equal(getattr(again, name), getattr(posts, name)[which][1:])
        np.testing.assert_array_equal(getattr(replace(taken), name), getattr(posts, name)[which])
    assert len(taken) == len(posts.post_ids[which]) and len(again) == len(taken) - 1


def test_a_column_that_is_given_stands_in_place_of_the_one_taken():
    taken = numbered_candidates(4).take(np.array([3, 1]), origins=np.array([7, 8], np.uint16))
    assert taken.take(np.array([1, 0])).origins.tolist() == [8, 7]
    assert taken.author_ids.tolist() == [30, 10]


def test_candidates_have_no_other_columns():
    with pytest.raises(AttributeError, match="no 'colour'"):
        _ = numbered_candidates(2).take(slice(1)).colour

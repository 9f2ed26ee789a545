"""The shared types: policies validate their settings, and cursors, vocabularies and columns keep their values."""

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
from recommendations.services.serving.cursors import CursorPosition, read_cursor, write_cursor
from recommendations.stores.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("settings", "message"),
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
def test_a_policy_rejects_an_invalid_setting_by_name(settings, message):
    with pytest.raises(PolicyError, match=message):
        Policy.from_settings(settings)


def test_missing_settings_get_their_defaults():
    policy = Policy.from_settings({"taste": 2, "nearest_candidates": 10.0})
    assert (policy.taste, policy.nearest_candidates, policy.recency) == (2.0, 10, Policy().recency)
    assert isinstance(policy.nearest_candidates, int)
    assert Policy.from_settings({}) == Policy()


def test_every_default_is_within_its_own_range():
    assert Policy.from_settings({f.name: getattr(Policy(), f.name) for f in fields(Policy)}) == Policy()


def test_a_stored_policy_gets_neutral_values_for_missing_settings():
    """No score part, no candidates, no limit: a feed is ranked as if the setting did not exist."""
    result = Policy.from_stored({"taste": 2})
    assert result.taste == 2.0
    assert (result.recency, result.nearest_candidates, result.diversity, result.weight_like) == (0, 0, 0, 0)
    assert (result.author_cap, result.max_topic_run, result.max_interests) == (1000, 100, 16)
    neutral = asdict(Policy.from_stored({}))
    assert asdict(Policy.from_settings(neutral)) == neutral, "each neutral value is within its own range"


def test_a_stored_policy_keeps_values_that_were_valid_when_it_was_written():
    """A setting that no longer exists is ignored. A value outside a range that was narrowed later is kept."""
    stored = asdict(Policy()) | {"sparkle": 3, "taste": 11.0, "nearest_candidates": 6000}
    assert Policy.from_stored(stored) == replace(Policy(), taste=11.0, nearest_candidates=6000)


@pytest.mark.parametrize("value", ["1", None, True])
def test_a_stored_policy_rejects_a_value_that_is_not_a_number(value):
    with pytest.raises(PolicyError, match=f"taste: the stored value {value!r} is not a number"):
        Policy.from_stored({"taste": value})


def test_a_neutral_value_outside_the_range_is_rejected():
    with pytest.raises(ValueError, match="neutral value from 1 to 9"):
        ranged_field(3, 1, 9, "A limit.")


steps = st.tuples(st.uuids(), st.integers(0, 2**16 - 1))


@given(steps, st.lists(steps, max_size=30))
def test_a_cursor_holds_the_latest_slates_of_a_reader(step, before):
    cursor = write_cursor(*step, tuple(before))
    assert read_cursor(cursor).steps == (*before, step)[-20:]
    assert len(cursor) <= 500  # the limit of the API


@given(st.uuids(), st.integers(0, 2**16 - 1))
def test_a_cursor_holds_the_request_and_the_offset(request_id, offset):
    cursor = write_cursor(request_id, offset)
    assert read_cursor(cursor) == CursorPosition(request_id, offset)
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_an_invalid_request(text):
    """No other error is raised: a cursor comes from a client."""
    try:
        position = read_cursor(text)
    except InvalidRequest as error:
        assert error.pointer == "/cursor"
    else:
        assert all(isinstance(request_id, UUID) and 0 <= offset < 2**16 for request_id, offset in position.steps)


@pytest.mark.parametrize("cursor", ["", "a", "💥", "A" * 25, base64.urlsafe_b64encode(b"x" * 17).decode()])
def test_a_cursor_of_the_wrong_length_is_rejected(cursor):
    with pytest.raises(InvalidRequest, match="Invalid cursor"):
        read_cursor(cursor)


def test_bit_sets_decode_to_reasons_and_origins():
    assert reasons_of(0b101) == (Reason.TASTE, Reason.POPULAR)
    assert origins_of(0b1010) == (Origin.FOLLOWED, Origin.FRESH)
    assert reasons_of(0) == () == origins_of(0)


@pytest.mark.parametrize("value", [16, -1])
def test_an_enum_value_outside_the_bit_set_is_rejected(value):
    """A seventeenth member fails when it is defined. Stored in 16 bits, it would be lost without an error."""
    assert len(bit_set(IntEnum("Full", {f"M{i}": i for i in range(16)}))) == 16
    with pytest.raises(TypeError, match=r"BEYOND does not fit\. Give values from 0 to 15\."):
        bit_set(IntEnum("Wrong", {"FIRST": 0, "BEYOND": value}))


def test_two_members_of_a_bit_set_cannot_share_a_bit():
    with pytest.raises(ValueError, match="SECOND -> FIRST"):
        bit_set(IntEnum("Shared", {"FIRST": 0, "SECOND": 0}))


def test_unknown_candidates_can_be_taken():
    result = Candidates.unknown(np.array([5, 6, 7]), np.array([1, 2, 3], np.uint16))
    taken = result.take(np.array([2, 0]))
    assert taken.post_ids.tolist() == [7, 5] and taken.origins.tolist() == [3, 1]
    assert {len(getattr(taken, f.name)) for f in fields(taken)} == {2}
    assert result.is_removed.all() and (result.author_ids == UNKNOWN).all()


def test_each_word_has_one_number():
    words = Vocabulary()
    assert words.intern("en") == words.intern("en") != words.intern("de")
    assert words.intern_all(["de", "en"]).tolist() == [0, 1]


def test_a_word_gets_the_same_number_from_a_viewer_and_a_post():
    """A muted tag applies to a post that was loaded after the viewer. A missing tag equals no muted tag."""
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
def test_an_affinity_is_zero_for_every_other_id(weights, requested):
    """For any affinity and ids, in the shape of the ids."""
    ids = sorted(weights)
    affinity = Affinity(np.array(ids, np.int64), np.array([weights[id] for id in ids], np.float32))
    result = affinity.weights_of(np.array([requested, requested], np.int32).reshape(2, -1))
    assert result.dtype == np.float32
    assert result.tolist() == [[weights.get(id, 0.0) for id in requested]] * 2


@given(st.lists(st.integers(-1, 20), max_size=12), st.sets(st.integers(-1, 20)))
def test_is_in_sorted_is_membership_for_few_values(values, ids):
    result = is_in_sorted(np.array(values, np.int64), np.array(sorted(ids), np.int64))
    assert result.tolist() == [value in ids for value in values]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("spread", [1, 3, 10_000], ids=["close", "apart", "far apart"])
def test_is_in_sorted_is_membership_for_as_many_values_as_a_catalogue_has(spread, dtype):
    """Whether the ids are close enough for a table or not, and also for values outside their span."""
    rng = np.random.default_rng(spread)
    values = (rng.integers(-1, 9_000, (5_000, 2)) * spread).astype(dtype)
    ids = np.unique(rng.integers(500, 8_000, 300)).astype(dtype) * spread
    np.testing.assert_array_equal(is_in_sorted(values, ids), np.isin(values, ids))


def numbered_candidates(n):
    """Return *n* candidates whose columns are computed from their position."""
    result = Candidates.unknown(np.arange(n), np.arange(n, dtype=np.uint16))
    return replace(result, author_ids=np.arange(n) * 10, tag_ids=np.arange(8 * n, dtype=np.int32).reshape(n, 8))


@pytest.mark.parametrize("selector", [np.array([2, 0, 3]), np.array([True, False, True, True]), slice(1, 3)])
def test_taken_candidates_have_every_column(selector):
    """After one `take`, after two, and after `replace`, including columns that were not read before."""
    posts = numbered_candidates(4)
    taken = posts.take(selector)
    taken_twice = taken.take(slice(1, None))
    for name in CANDIDATE_COLUMNS:
        np.testing.assert_array_equal(getattr(taken_twice, name), getattr(posts, name)[selector][1:])
        np.testing.assert_array_equal(getattr(replace(taken), name), getattr(posts, name)[selector])
    assert len(taken) == len(posts.post_ids[selector]) and len(taken_twice) == len(taken) - 1


def test_a_given_column_replaces_the_taken_one():
    taken = numbered_candidates(4).take(np.array([3, 1]), origins=np.array([7, 8], np.uint16))
    assert taken.take(np.array([1, 0])).origins.tolist() == [8, 7]
    assert taken.author_ids.tolist() == [30, 10]


def test_an_unknown_column_raises_an_error():
    with pytest.raises(AttributeError, match="no column 'color'"):
        _ = numbered_candidates(2).take(slice(1)).color

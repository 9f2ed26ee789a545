"""Packed inputs of ranking: later releases read them, even if columns and fields were added or removed."""

from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from types import SimpleNamespace
from uuid import UUID

import numpy as np
import pytest

from recommendations.contracts import CANDIDATE_COLUMNS, Affinity, Candidates, Interests, Policy, Query, ranged_field
from recommendations.services.errors import InputsUnavailable
from recommendations.services.serving import inputs
from recommendations.services.serving.inputs import UNPACKED_FIELDS, pack_inputs, unpack_inputs
from tests.factories import other_release

ID = UUID(int=1)
PACKED_SEPARATELY = ("policy", "interests")
QUERY = Query(
    request_id=ID,
    viewer_id=1,
    feed="discovery",
    size=10,
    now=1e9,
    policy=Policy(taste=2.0),
    variant="control",
    policy_version=3,
    interests=Interests(np.eye(2, 8, dtype="f4"), np.ones(2, "f4"), np.eye(1, 8, dtype="f4"), np.ones(1, "f4")),
    followed_author_ids=np.array([7, 9]),
    region_id=4,
    topic_affinity=Affinity(np.array([5]), np.array([0.5], "f4")),
    post_fatigue=Affinity(np.array([2]), np.array([0.25], "f4")),
)
CANDIDATES = replace(
    Candidates.unknown(np.array([1, 2, 3]), np.array([1, 2, 1 << 15], np.uint16)),
    quality=np.array([0.25, 0.5, 0.75], np.float32),
    author_ids=np.array([7, 8, 9]),
)


@pytest.fixture(autouse=True)
def embedder(monkeypatch):
    monkeypatch.setattr(inputs.wiring, "embedder", lambda: SimpleNamespace(name="tiny-1"))


def assert_same(actual, expected, *, ignore=()):
    for one in fields(expected):
        if one.name not in (*UNPACKED_FIELDS, *ignore):
            np.testing.assert_equal(getattr(actual, one.name), getattr(expected, one.name), one.name)


def assert_same_affinity(actual, expected):
    np.testing.assert_array_equal(actual.ids, expected.ids)
    np.testing.assert_array_equal(actual.weights, expected.weights)


def test_packed_inputs_unpack_to_the_same_values():
    query, candidates, model = unpack_inputs(ID, pack_inputs(QUERY, CANDIDATES))
    affinities = [f.name for f in fields(Query) if isinstance(getattr(QUERY, f.name), Affinity)]
    assert_same(query, QUERY, ignore=affinities)
    for name in affinities:
        assert_same_affinity(getattr(query, name), getattr(QUERY, name))
    assert_same(query.interests, QUERY.interests)
    assert (query.policy, query.request_id, model) == (QUERY.policy, ID, "tiny-1")
    for name in CANDIDATE_COLUMNS:
        column = getattr(candidates, name)
        np.testing.assert_array_equal(column, getattr(CANDIDATES, name))
        assert column.dtype == getattr(CANDIDATES, name).dtype


def test_fields_that_only_filters_read_are_not_stored():
    """Members that the viewer blocked, and posts that they saw, hid or muted: ranking starts after the filters."""
    private_fields = {"blocked_author_ids", "muted_author_ids", "muted_tag_ids", "seen_post_ids", "hidden_post_ids"}
    secret = replace(QUERY, muted_words=("secret",), **{name: np.array([404]) for name in private_fields})
    assert pack_inputs(secret, CANDIDATES) == pack_inputs(QUERY, CANDIDATES)
    assert {f.name for f in fields(Query)} >= UNPACKED_FIELDS


@pytest.mark.parametrize("name", [name for name in CANDIDATE_COLUMNS if name not in ("post_ids", "origins")])
def test_a_column_that_was_added_later_is_unknown(name):
    packed = other_release(pack_inputs(QUERY, CANDIDATES), without=(f"c.{name}",))
    column = getattr(unpack_inputs(ID, packed)[1], name)
    unknown = getattr(Candidates.unknown(CANDIDATES.post_ids, CANDIDATES.origins), name)
    np.testing.assert_array_equal(column, unknown)
    assert column.dtype == unknown.dtype


PACKED = [f for f in fields(Query) if f.name not in UNPACKED_FIELDS]
REQUIRED = [f.name for f in PACKED if f.default is f.default_factory is MISSING]
OPTIONAL = [f.name for f in PACKED if f.name not in REQUIRED]


def without_field(name):
    """Return the inputs as packed by a release whose query has no field *name*."""
    columns = (f"q.{name}", f"a.{name}.ids", f"a.{name}.weights")
    return other_release(pack_inputs(QUERY, CANDIDATES), without=(name, *columns))


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_query_field_that_was_added_later_has_its_default(name):
    value = getattr(unpack_inputs(ID, without_field(name))[0], name)
    given = {required: getattr(QUERY, required) for required in (*REQUIRED, *PACKED_SEPARATELY)}
    default = getattr(Query(ID, **given), name)
    if isinstance(default, Affinity):
        assert_same_affinity(value, default)
    else:
        np.testing.assert_array_equal(value, default)


@pytest.mark.parametrize("name", REQUIRED)
def test_inputs_without_a_required_field_are_rejected(name):
    with pytest.raises(InputsUnavailable, match=f"fields that were not stored: {name}"):
        unpack_inputs(ID, without_field(name))


def test_interests_that_were_added_later_are_empty():
    without = ("i.negative", "i.negative_weights")
    interests = unpack_inputs(ID, other_release(pack_inputs(QUERY, CANDIDATES), without=without))[0].interests
    assert (interests.negative.shape, interests.negative_weights.shape) == ((0, 8), (0,))
    np.testing.assert_array_equal(interests.positive, QUERY.interests.positive)


def test_fields_that_no_longer_exist_are_ignored():
    """Columns, fields, affinities, interests and settings that an earlier release packed."""
    ones = np.ones(3, np.float32)
    removed = {"c.gone": ones, "q.gone": ones, "i.gone": ones, "a.gone.ids": ones, "a.post_fatigue.gone": ones}
    packed = other_release(pack_inputs(QUERY, CANDIDATES), **removed)
    query, candidates, _ = unpack_inputs(ID, packed)
    assert pack_inputs(query, candidates) == pack_inputs(QUERY, CANDIDATES)


def test_the_engagement_that_an_earlier_release_packed_is_ranked_as_popularity():
    engagement = np.array([0, 9, 5000], np.float32)
    packed = other_release(pack_inputs(QUERY, CANDIDATES), without=("c.popularity",), **{"c.engagement": engagement})
    candidates = unpack_inputs(ID, packed)[1]
    np.testing.assert_allclose(candidates.popularity, [0, 0.33329, 1], atol=1e-5)
    assert candidates.popularity.dtype == np.float32 and not candidates.trend.any()


def test_a_setting_that_was_added_later_is_neutral():
    packed = other_release(pack_inputs(QUERY, CANDIDATES), without=("recency", "author_cap"))
    assert unpack_inputs(ID, packed)[0].policy == replace(QUERY.policy, recency=0.0, author_cap=1000)


@dataclass(frozen=True)
class LaterQuery(Query):
    """The query of a later release, with an additional field of each kind."""

    mood_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    mood: str = ""
    mood_affinity: Affinity = field(default_factory=Affinity)


@dataclass(frozen=True)
class WrongQuery(Query):
    """A query with a field that packing does not know how to store."""

    moods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LaterPolicy(Policy):
    """The settings of a later release: another default, and an additional setting."""

    recency: float = ranged_field(3.0, 0, 10, "Weight of how new the post is.")
    sparkle: float = ranged_field(5.0, 0, 10, "Weight of a new part.")


def values(query):
    return {f.name: getattr(query, f.name) for f in fields(query)}


def test_releases_with_different_fields_read_each_others_inputs(monkeypatch):
    """A new field of the query needs no other change, because fields are packed by their type."""
    packed_before = pack_inputs(QUERY, CANDIDATES)
    monkeypatch.setattr(inputs, "Query", LaterQuery)
    monkeypatch.setattr(inputs, "Policy", LaterPolicy)
    query = unpack_inputs(ID, packed_before)[0]
    assert (query.mood, len(query.mood_ids), len(query.mood_affinity.ids)) == ("", 0, 0)
    assert asdict(query.policy) == asdict(QUERY.policy) | {"sparkle": 0.0}
    mood_affinity = Affinity(np.array([6]), np.ones(1, "f4"))
    later = LaterQuery(**values(QUERY), mood_ids=np.array([3]), mood="calm", mood_affinity=mood_affinity)
    packed_later = pack_inputs(later, CANDIDATES)
    query = unpack_inputs(ID, packed_later)[0]
    assert (query.mood, query.mood_ids.tolist()) == ("calm", [3])
    assert_same_affinity(query.mood_affinity, mood_affinity)
    monkeypatch.undo()
    monkeypatch.setattr(inputs.wiring, "embedder", lambda: SimpleNamespace(name="tiny-1"))
    assert pack_inputs(*unpack_inputs(ID, packed_later)[:2]) == packed_before, (
        "the earlier release reads the later inputs"
    )


def test_a_field_that_cannot_be_packed_is_named_in_the_error(monkeypatch):
    monkeypatch.setattr(inputs, "Query", WrongQuery)
    with pytest.raises(TypeError, match=r"Query\.moods: tuple cannot be packed"):
        pack_inputs(WrongQuery(**values(QUERY)), CANDIDATES)

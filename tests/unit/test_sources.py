"""Sources: the calls of each to the catalogue or engine, and what it returns."""

from dataclasses import dataclass, field, replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import UNKNOWN, Affinity, Candidates, Interests, Policy, Query
from recommendations.pipeline.sources.exploration import Exploration
from recommendations.pipeline.sources.nearest import Nearest
from recommendations.pipeline.sources.popular import Fresh, Trending
from recommendations.pipeline.sources.topics import MAX_TOPICS, Topics
from recommendations.pipeline.sources.vector_index import VectorIndexSource

QUERY = Query(
    request_id=UUID(int=1),
    viewer_id=1,
    feed="discovery",
    size=10,
    now=1e9,
    policy=Policy(trending_candidates=8, topic_candidates=20, exploration_candidates=5, fresh_candidates=4),
    variant="control",
    policy_version=1,
    interests=Interests.empty(8),
)
ALL = np.ones(100, np.bool_)


@dataclass
class FakeCatalogue:
    """A catalogue of posts 1 to 100 that returns the first posts of a list, and records its calls."""

    trending_ids: tuple[int, ...] = tuple(range(1, 101))
    popular_ids: tuple[int, ...] = ()
    regional: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    """Popular and trending posts."""
    success_count: tuple[int, ...] = ()
    seen_count: tuple[int, ...] = ()
    calls: list[tuple] = field(default_factory=list)

    def trending(self, k, eligible):
        return np.array(self.trending_ids[:k], np.int64)

    def popular(self, k, eligible):
        return np.array(self.popular_ids[:k], np.int64)

    def posts_in_region(self, region_id, k, eligible):
        self.calls.append((region_id, k))
        return tuple(np.array(ids[:k], np.int64) for ids in self.regional)

    def newest(self, k, eligible):
        return np.arange(100, 100 - k, -1)

    def newest_by_topics(self, topic_ids, k, eligible):
        self.calls.append((topic_ids.tolist(), k))
        return np.arange(1, 4)

    def exploration_posts(self, max_served, k, eligible, rng):
        ids = np.arange(1, len(self.success_count) + 1)
        return ids, np.array(self.success_count, np.float32), np.array(self.seen_count, np.float32)


def affinities(**weights):
    ids = sorted(int(name[1:]) for name in weights)
    return Affinity(np.array(ids, np.int64), np.array([weights[f"t{id}"] for id in ids], np.float32))


def test_topics_returns_posts_of_the_topics_with_the_highest_affinity():
    catalogue, likes = FakeCatalogue(), {f"t{i}": i / 10 for i in range(1, 8)}
    posts = Topics(catalogue)(replace(QUERY, topic_affinity=affinities(**likes)), ALL)
    assert catalogue.calls == [([3, 4, 5, 6, 7], 20)] and MAX_TOPICS == 5
    assert posts.tolist() == [1, 2, 3]


def test_topics_without_positive_affinity_return_no_posts():
    catalogue = FakeCatalogue()
    assert Topics(catalogue)(replace(QUERY, topic_affinity=affinities(t1=-1.0, t2=0.0)), ALL).tolist() == []
    assert Topics(catalogue)(QUERY, ALL).tolist() == []
    Topics(catalogue)(replace(QUERY, topic_affinity=affinities(t1=-1.0, t2=0.5)), ALL)
    assert catalogue.calls == [([2], 20)]


def test_trending_takes_trending_popular_and_regional_posts_in_turn_without_duplicates():
    catalogue = FakeCatalogue(popular_ids=(70, 1, 71), regional=((3, 50, 51), (52, 70)))
    posts = Trending(catalogue)(replace(QUERY, region_id=9), ALL).tolist()
    assert posts == [1, 70, 3, 52, 2, 50, 71, 51]
    assert catalogue.calls == [(9, 8)]


def test_without_a_region_trending_takes_trending_and_popular_posts_in_turn():
    catalogue = FakeCatalogue(popular_ids=(70, 1, 71))
    assert Trending(catalogue)(QUERY, ALL).tolist() == [1, 70, 2, 3, 71, 4, 5, 6]
    assert QUERY.region_id == UNKNOWN and not catalogue.calls


def test_a_list_that_ends_leaves_its_turns_to_the_others():
    assert Trending(FakeCatalogue())(replace(QUERY, region_id=9), ALL).tolist() == list(range(1, 9))


IDS = st.lists(st.integers(1, 100), unique=True)


@given(IDS, IDS, IDS, st.integers(0, 40))
def test_trending_returns_its_number_whatever_is_regional(popular, regional, regional_trend, count):
    query = replace(QUERY, region_id=9, policy=Policy(trending_candidates=count))
    catalogue = FakeCatalogue(popular_ids=tuple(popular), regional=(tuple(regional), tuple(regional_trend)))
    posts = Trending(catalogue)(query, ALL).tolist()
    assert len(posts) == len(set(posts)) == count


def test_fresh_returns_at_least_a_full_slate():
    assert len(Fresh(FakeCatalogue())(QUERY, ALL)) == QUERY.size
    assert len(Fresh(FakeCatalogue())(replace(QUERY, policy=Policy(fresh_candidates=30)), ALL)) == 30


COUNTS = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 100)), max_size=30)
"""Successes and further looks. Looks on served pages are estimates, so they are not whole numbers."""


@given(COUNTS, st.uuids())
def test_the_same_request_draws_the_same_exploration_posts(counts, request_id):
    """As many as the policy allows or as exist, each once."""
    catalogue = FakeCatalogue(success_count=tuple(p for p, _ in counts), seen_count=tuple(p + i for p, i in counts))
    query = replace(QUERY, request_id=request_id)
    first, second = Exploration(catalogue)(query, ALL).tolist(), Exploration(catalogue)(query, ALL).tolist()
    assert first == second
    assert len(set(first)) == len(first) == min(5, len(counts))


def test_exploration_differs_between_requests_and_favors_liked_posts():
    """Ten posts are liked each fifth time they are served, ninety never: the ten get far more than a tenth."""
    catalogue = FakeCatalogue(success_count=(10,) * 10 + (0,) * 90, seen_count=(50,) * 100)
    draws = [Exploration(catalogue)(replace(QUERY, request_id=UUID(int=i)), ALL).tolist() for i in range(40)]
    assert len({tuple(draw) for draw in draws}) > 20
    assert np.mean([post <= 10 for draw in draws for post in draw]) > 0.9


def test_posts_that_were_never_served_have_equal_chances():
    catalogue = FakeCatalogue(success_count=(0,) * 20, seen_count=(0,) * 20)
    drawn = [
        p for i in range(400) for p in Exploration(catalogue)(replace(QUERY, request_id=UUID(int=i)), ALL).tolist()
    ]
    shares = np.bincount(drawn, minlength=21)[1:] / len(drawn)
    assert shares == pytest.approx(np.full(20, 1 / 20), abs=0.02)


@dataclass
class FakeEngine:
    """An engine that returns the rows and cosines listed for each interest, and records its calls."""

    hits: dict[int, list[tuple[int, float]]]
    """The nearest rows and their cosines, by the axis of the interest."""
    calls: list[tuple] = field(default_factory=list)

    def nearest(self, queries, k, eligible):
        axes = queries.argmax(axis=1).tolist()
        self.calls.append((axes, k))
        hits = [self.hits[axis][:k] for axis in axes]
        rows = [[row for row, _ in axis_hits] for axis_hits in hits]
        return np.array(rows), np.array([[cosine for _, cosine in axis_hits] for axis_hits in hits], np.float32)


@dataclass
class RowCatalogue:
    """A catalogue with post 1000 + r in row r."""

    def all_posts(self):
        return Candidates.unknown(np.arange(1000, 1100), np.zeros(100, np.uint16))


def nearest_posts(engine, *, weights, count, interests=6):
    """Return the posts of `Nearest`, at most *count*, for interests of these weights along the axes 0, 1, 2 …"""
    taste = replace(
        Interests.empty(8), positive=np.eye(8, dtype=np.float32)[: len(weights)], positive_weights=np.float32(weights)
    )
    query = replace(QUERY, interests=taste, policy=Policy(nearest_candidates=count, max_interests=interests))
    return Nearest(engine, RowCatalogue())(query, ALL).tolist()


def nearest_rows(start, *cosines):
    return [(start + i, cosine) for i, cosine in enumerate(cosines)]


def test_a_heavier_interest_contributes_more_posts():
    """Of eight posts, an interest of weight 3 gives six, and one of weight 1 gives two, though its posts are nearer."""
    light, heavy = [0.95] * 8, [0.4] * 8
    engine = FakeEngine({0: nearest_rows(20, *light), 1: nearest_rows(10, *heavy)})
    assert nearest_posts(engine, weights=[1, 3], count=8) == [*range(1010, 1016), 1020, 1021]
    assert engine.calls == [([1, 0], 6)]


def test_nearest_posts_are_ordered_by_similarity_times_weight():
    """With weights of 2 and 1: 0.4 · 2 = 0.8, then 0.6 · 1, then 0.1 · 2 = 0.2."""
    engine = FakeEngine({0: nearest_rows(10, 0.4, 0.1, 0.09), 1: nearest_rows(20, 0.6, 0.5, 0.5)})
    assert nearest_posts(engine, weights=[2, 1], count=3) == [1010, 1020, 1011]


def test_a_post_near_two_interests_is_returned_once_at_its_best_rank():
    engine = FakeEngine({0: [(5, 0.3), (6, 0.2)], 1: [(7, 0.9), (5, 0.8)]})
    assert nearest_posts(engine, weights=[1, 1], count=4) == [1007, 1005, 1006]


def test_rounded_shares_do_not_exceed_the_limit_of_the_policy():
    engine = FakeEngine({axis: nearest_rows(10 * axis, 0.9, 0.8, 0.7, 0.6) for axis in range(3)})
    assert nearest_posts(engine, weights=[1, 1, 1], count=4) == [1000, 1010, 1020, 1001]


def test_only_the_heaviest_interests_are_scanned():
    engine = FakeEngine({axis: nearest_rows(10 * axis, 0.9, 0.8) for axis in range(3)})
    assert nearest_posts(engine, weights=[1, 3, 2], count=2, interests=1) == [1010, 1011]
    assert engine.calls == [([1], 2)]
    assert nearest_posts(engine, weights=[1, 3, 2], count=0) == nearest_posts(engine, weights=[], count=2) == []
    assert len(engine.calls) == 1


@pytest.mark.parametrize(
    ("successes", "looks", "chance"), [(1, 1, 2 / 3), (0, 4, 1 / 6), (3, 4, 2 / 3), (0, 1, 1 / 3), (5, 5, 6 / 7)]
)
def test_exploration_ranks_a_post_first_with_the_probability_of_its_rate(successes, looks, chance):
    """A rate of Beta(1 + successes, 1 + others) beats a uniform one with the probability (1 + s) / (2 + looks)."""
    catalogue = FakeCatalogue(success_count=(0, successes), seen_count=(0, looks))
    query = replace(QUERY, policy=Policy(exploration_candidates=1))
    first = [Exploration(catalogue)(replace(query, request_id=UUID(int=i)), ALL).item() for i in range(3_000)]
    assert first.count(2) / 3_000 == pytest.approx(chance, abs=0.03)


def test_exploration_draws_from_a_pool_of_1000_posts():
    calls = []

    class RecordingCatalogue(FakeCatalogue):
        def exploration_posts(self, max_served, k, eligible, rng):
            calls.append((max_served, k))
            return super().exploration_posts(max_served, k, eligible, rng)

    Exploration(RecordingCatalogue())(replace(QUERY, policy=Policy(exploration_max_served=70)), ALL)
    assert calls == [(70, 1_000)]


@dataclass
class FakeIndex:
    """A vector index that returns the ids listed for the axis of each interest, and records its calls."""

    hits: dict[int, list[int]]
    calls: list[tuple] = field(default_factory=list)

    def nearest(self, vectors, k, index_filter):
        axes = vectors.argmax(axis=1).tolist()
        self.calls.append((axes, k, index_filter.author_cap))
        ids = [(self.hits[axis] + [UNKNOWN] * k)[:k] for axis in axes]
        return np.array(ids, np.int64), np.zeros((len(axes), k), np.float32)


def posts_from_index(index, *, weights, count, interests=6):
    taste = replace(
        Interests.empty(8), positive=np.eye(8, dtype=np.float32)[: len(weights)], positive_weights=np.float32(weights)
    )
    query = replace(
        QUERY, interests=taste, policy=Policy(nearest_candidates=count, max_interests=interests, author_cap=2)
    )
    return VectorIndexSource(index)(query, ALL).tolist()


def test_interests_take_turns_in_the_vector_index_starting_with_the_heaviest():
    """For five posts and two interests, the index returns three posts each. A post near both is returned once."""
    index = FakeIndex({0: [10, 11, 12, 13], 1: [20, 11, 22, 23]})
    assert posts_from_index(index, weights=[1, 3], count=5) == [20, 10, 11, 22, 12]
    assert index.calls == [([1, 0], 3, 2)]


def test_the_vector_index_may_return_fewer_posts_than_the_limit():
    assert posts_from_index(FakeIndex({0: [10], 1: []}), weights=[1, 1], count=6) == [10]


def test_the_vector_index_returns_at_most_100_posts_for_the_heaviest_interests():
    index = FakeIndex({axis: list(range(1000 * axis, 1000 * axis + 300)) for axis in range(3)})
    assert len(posts_from_index(index, weights=[1, 2, 3], count=400, interests=2)) == 100
    assert index.calls == [([2, 1], 50, 2)]


def test_the_vector_index_is_not_called_without_interests_or_with_a_limit_of_zero():
    index = FakeIndex({0: [10]})
    assert posts_from_index(index, weights=[], count=5) == posts_from_index(index, weights=[1], count=0) == []
    assert index.calls == []

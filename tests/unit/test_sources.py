"""Sources: what each asks the catalogue for, and what it makes of the answer."""

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
    """A catalogue of posts 1 to 100 that answers with the first of a list, and remembers what it was asked."""

    hottest: tuple[int, ...] = tuple(range(1, 101))
    hottest_here: tuple[int, ...] = ()
    positive_count: tuple[int, ...] = ()
    served_count: tuple[int, ...] = ()
    asked: list[tuple] = field(default_factory=list)

    def trending(self, k, eligible):
        return np.array(self.hottest[:k], np.int64)

    def trending_in_region(self, region_id, k, eligible):
        self.asked.append((region_id, k))
        return np.array(self.hottest_here[:k], np.int64)

    def newest(self, k, eligible):
        return np.arange(100, 100 - k, -1)

    def newest_by_topics(self, topic_ids, k, eligible):
        self.asked.append((topic_ids.tolist(), k))
        return np.arange(1, 4)

    def exploration_posts(self, enough, k, eligible):
        ids = np.arange(1, len(self.positive_count) + 1)
        return ids, np.array(self.positive_count, np.float32), np.array(self.served_count, np.float32)


def affinities(**weights):
    ids = sorted(int(name[1:]) for name in weights)
    return Affinity(np.array(ids, np.int64), np.array([weights[f"t{id}"] for id in ids], np.float32))


def test_posts_are_sought_for_the_topics_liked_best_only():
    shelf, likes = FakeCatalogue(), {f"t{i}": i / 10 for i in range(1, 8)}
    found = Topics(shelf)(replace(QUERY, topic_affinity=affinities(**likes)), ALL)
    assert shelf.asked == [([3, 4, 5, 6, 7], 20)] and MAX_TOPICS == 5
    assert found.tolist() == [1, 2, 3]


def test_a_topic_turned_down_brings_nothing():
    shelf = FakeCatalogue()
    assert Topics(shelf)(replace(QUERY, topic_affinity=affinities(t1=-1.0, t2=0.0)), ALL).tolist() == []
    assert Topics(shelf)(QUERY, ALL).tolist() == []
    Topics(shelf)(replace(QUERY, topic_affinity=affinities(t1=-1.0, t2=0.5)), ALL)
    assert shelf.asked == [([2], 20)]


def test_what_trends_is_half_from_here_and_no_post_twice():
    shelf = FakeCatalogue(hottest_here=(3, 50, 51, 52, 53, 54))
    found = Trending(shelf)(replace(QUERY, region_id=9), ALL).tolist()
    assert found == [3, 50, 51, 52, 1, 2, 4, 5]
    assert shelf.asked == [(9, 4)]


def test_without_a_region_or_with_a_silent_one_what_trends_is_from_anywhere():
    shelf = FakeCatalogue()
    assert Trending(shelf)(QUERY, ALL).tolist() == list(range(1, 9))
    assert QUERY.region_id == UNKNOWN and not shelf.asked
    assert Trending(shelf)(replace(QUERY, region_id=9), ALL).tolist() == list(range(1, 9))


@given(st.lists(st.integers(1, 100), unique=True), st.integers(0, 40))
def test_trending_brings_its_number_whatever_trends_here(here, count):
    query = replace(QUERY, region_id=9, policy=Policy(trending_candidates=count))
    found = Trending(FakeCatalogue(hottest_here=tuple(here)))(query, ALL).tolist()
    assert len(found) == len(set(found)) == count


def test_the_newest_fill_a_slate_at_least():
    assert len(Fresh(FakeCatalogue())(QUERY, ALL)) == QUERY.size
    assert len(Fresh(FakeCatalogue())(replace(QUERY, policy=Policy(fresh_candidates=30)), ALL)) == 30


COUNTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 100)), max_size=30)


@given(COUNTS, st.uuids())
def test_a_request_made_again_draws_the_same_auditions(met, request_id):
    """As many as the policy says or as there are, each once, also where more liked a post than met it."""
    shelf = FakeCatalogue(positive_count=tuple(p for p, _ in met), served_count=tuple(i for _, i in met))
    query = replace(QUERY, request_id=request_id)
    first, again = Exploration(shelf)(query, ALL).tolist(), Exploration(shelf)(query, ALL).tolist()
    assert first == again
    assert len(set(first)) == len(first) == min(5, len(met))


def test_auditions_differ_from_request_to_request_and_favour_what_is_liked():
    """Ten are liked at every fifth sight, ninety at none of fifty: the ten get far more than their tenth."""
    shelf = FakeCatalogue(positive_count=(10,) * 10 + (0,) * 90, served_count=(50,) * 100)
    draws = [Exploration(shelf)(replace(QUERY, request_id=UUID(int=i)), ALL).tolist() for i in range(40)]
    assert len({tuple(draw) for draw in draws}) > 20
    assert np.mean([post <= 10 for draw in draws for post in draw]) > 0.9


def test_every_post_that_nobody_met_has_the_same_chance():
    shelf = FakeCatalogue(positive_count=(0,) * 20, served_count=(0,) * 20)
    drawn = [p for i in range(400) for p in Exploration(shelf)(replace(QUERY, request_id=UUID(int=i)), ALL).tolist()]
    shares = np.bincount(drawn, minlength=21)[1:] / len(drawn)
    assert shares == pytest.approx(np.full(20, 1 / 20), abs=0.02)


@dataclass
class Scan:
    """An engine that answers each interest with the rows and cosines listed for it, and remembers what it was asked."""

    answers: dict[int, list[tuple[int, float]]]
    """By the axis that the interest points to: the nearest rows, and their cosines."""
    asked: list[tuple] = field(default_factory=list)

    def nearest(self, queries, k, eligible):
        axes = queries.argmax(axis=1).tolist()
        self.asked.append((axes, k))
        found = [self.answers[axis][:k] for axis in axes]
        rows = [[row for row, _ in some] for some in found]
        return np.array(rows), np.array([[cosine for _, cosine in some] for some in found], np.float32)


@dataclass
class Rows:
    """A catalogue whose row r holds post 1000 + r."""

    def all_posts(self):
        return Candidates.unknown(np.arange(1000, 1100), np.zeros(100, np.uint16))


def near(scan, *, weights, count, interests=6):
    """Return what `Nearest` brings, at most *count*, for interests of these weights along the axes 0, 1, 2 …"""
    taste = replace(
        Interests.empty(8), positive=np.eye(8, dtype=np.float32)[: len(weights)], positive_weights=np.float32(weights)
    )
    query = replace(QUERY, interests=taste, policy=Policy(nearest_candidates=count, max_interests=interests))
    return Nearest(scan, Rows())(query, ALL).tolist()


def nearest_rows(start, *cosines):
    return [(start + i, cosine) for i, cosine in enumerate(cosines)]


def test_a_heavier_interest_brings_more_of_the_posts_near_it():
    """Of eight posts, an interest of weight 3 brings six, and one of weight 1 two, though its posts are nearer."""
    light, heavy = [0.95] * 8, [0.4] * 8
    scan = Scan({0: nearest_rows(20, *light), 1: nearest_rows(10, *heavy)})
    assert near(scan, weights=[1, 3], count=8) == [*range(1010, 1016), 1020, 1021]
    assert scan.asked == [([1, 0], 6)]


def test_posts_near_an_interest_come_in_the_order_of_similarity_times_weight():
    """With weights of 2 and 1: 0.4 · 2 = 0.8, then 0.6 · 1, then 0.1 · 2 = 0.2."""
    scan = Scan({0: nearest_rows(10, 0.4, 0.1, 0.09), 1: nearest_rows(20, 0.6, 0.5, 0.5)})
    assert near(scan, weights=[2, 1], count=3) == [1010, 1020, 1011]


def test_a_post_near_two_interests_comes_once_where_it_counts_most():
    scan = Scan({0: [(5, 0.3), (6, 0.2)], 1: [(7, 0.9), (5, 0.8)]})
    assert near(scan, weights=[1, 1], count=4) == [1007, 1005, 1006]


def test_no_more_posts_come_than_the_policy_says_though_shares_are_rounded_up():
    scan = Scan({axis: nearest_rows(10 * axis, 0.9, 0.8, 0.7, 0.6) for axis in range(3)})
    assert near(scan, weights=[1, 1, 1], count=4) == [1000, 1010, 1020, 1001]


def test_only_the_heaviest_interests_are_asked_about_and_none_if_no_post_is_wanted():
    scan = Scan({axis: nearest_rows(10 * axis, 0.9, 0.8) for axis in range(3)})
    assert near(scan, weights=[1, 3, 2], count=2, interests=1) == [1010, 1011]
    assert scan.asked == [([1], 2)]
    assert near(scan, weights=[1, 3, 2], count=0) == near(scan, weights=[], count=2) == []
    assert len(scan.asked) == 1

"""Scorers: the value of each part. `tests/spec/test_scorers.py` tests that parts are finite and in range."""

from dataclasses import fields, replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations import feeds
from recommendations.contracts import Affinity, Candidates, Interests, Policy, Query
from recommendations.pipeline.run import TASTE_PARTS
from recommendations.pipeline.scorers.score_parts import (
    AuthorAffinity,
    ExplorationBonus,
    Fatigue,
    FewLikesPopularity,
    FollowedAuthor,
    Popularity,
    Quality,
    Recency,
    ShowLess,
    TopicAffinity,
    Trend,
    YearPopularity,
)

NOW = 1_780_000_000.0
QUERY = Query(
    request_id=UUID(int=1),
    viewer_id=1,
    feed="discovery",
    size=10,
    now=NOW,
    policy=Policy(recency_half_life_hours=24),
    variant="control",
    policy_version=1,
    interests=Interests.empty(8),
    followed_author_ids=np.array([7]),
)


def candidates(**columns):
    n = len(next(iter(columns.values())))
    return replace(Candidates.unknown(np.arange(n), np.zeros(n, np.uint16)), **columns)


def test_recency_halves_with_every_half_life():
    """A post from the future counts as new, and a post without a date as very old."""
    ages = np.array([0, 24, 48, -5]) * 3600
    assert Recency()(QUERY, candidates(created_at=NOW - ages)).tolist() == [1, 0.5, 0.25, 1]
    assert Recency()(QUERY, candidates(created_at=np.array([np.nan]))).item() == 0


def test_popularity_and_trend_are_those_of_the_catalogue():
    columns = {"popularity": [0, 0.5, 1], "year_popularity": [0, 1, 0], "trend": [0.25, 0, 1]}
    posts = candidates(**{name: np.array(values, np.float32) for name, values in columns.items()})
    assert Popularity()(QUERY, posts).tolist() == [0, 0.5, 1]
    assert YearPopularity()(QUERY, posts).tolist() == [0, 1, 0]
    assert Trend()(QUERY, posts).tolist() == [0.25, 0, 1]


@pytest.mark.parametrize(("likes", "expected"), [(0, [0, 0.5, 1]), (1, [0, 0.125, 0.25]), (9, [0, 0.005, 0.01])])
def test_popularity_counts_more_while_the_viewer_has_liked_little(likes, expected):
    posts = candidates(popularity=np.array([0, 0.5, 1], np.float32))
    assert FewLikesPopularity()(replace(QUERY, like_count=likes), posts).tolist() == pytest.approx(expected)


def test_follow_is_1_for_authors_whom_the_viewer_follows():
    assert FollowedAuthor()(QUERY, candidates(author_ids=np.array([7, 8, -1]))).tolist() == [1, 0, 0]


def affinity(**weights):
    """Return an affinity: the keyword a7=0.5 gives id 7 (of an author, tag, kind or post) the weight 0.5."""
    ids = sorted(weights, key=lambda name: int(name[1:]))
    return Affinity(np.array([int(name[1:]) for name in ids]), np.array([weights[name] for name in ids], np.float32))


def tags(*rows):
    return np.array(rows, np.int32)


def test_author_affinity_is_cut_at_the_learned_floor():
    query = replace(QUERY, author_affinity=affinity(a7=0.5, a8=-1))
    assert AuthorAffinity()(query, candidates(author_ids=np.array([7, 8, 9, -1]))).tolist() == [0.5, -0.5, 0, 0]


def test_topic_affinity_adds_the_best_and_the_worst_tag():
    query = replace(QUERY, topic_affinity=affinity(a1=0.25, a2=0.5, a3=-1))
    posts = candidates(tag_ids=tags([1, 2, 3], [1, -1, -1], [3, -1, -1], [3, 3, 3], [-1, -1, -1]))
    assert TopicAffinity()(query, posts).tolist() == [0, 0.25, -0.5, -0.5, 0]


def test_show_less_adds_up_over_author_topic_and_kind():
    query = replace(
        QUERY,
        author_affinity=affinity(a7=-1, a8=0.5),
        topic_affinity=affinity(a1=-0.75, a2=0.5),
        kind_affinity=affinity(a0=-0.625),
    )
    posts = candidates(
        author_ids=np.array([7, 8, 7, -1]),
        tag_ids=tags([2, 1], [2, -1], [1, -1], [-1, -1]),
        kind_ids=np.array([0, 1, 0, -1], np.int32),
    )
    assert ShowLess()(query, posts).tolist() == [-1.75, 0, -1.75, 0]


def test_learned_affinities_do_not_count_as_show_less():
    """Down to the learned floor, and also if there is negative feedback on another target."""
    learned = affinity(a7=-0.5, a8=0.5)
    posts = candidates(author_ids=np.array([7, 8, 9]), kind_ids=np.array([0, 0, 1], np.int32))
    assert ShowLess()(replace(QUERY, author_affinity=learned), posts).tolist() == [0, 0, 0]
    with_feedback = replace(QUERY, author_affinity=learned, kind_affinity=affinity(a0=-1))
    assert ShowLess()(with_feedback, posts).tolist() == [-1, -1, 0]


def test_quality_comes_from_the_catalogue():
    assert Quality()(QUERY, candidates(quality=np.array([0.25, 0.5], np.float32))).tolist() == [0.25, 0.5]


def test_the_exploration_bonus_ends_with_the_exploration():
    query = replace(QUERY, policy=Policy(exploration_max_served=100))
    posts = candidates(served_count=np.array([0, 25, 100, 500], np.float32))
    assert ExplorationBonus()(query, posts).tolist() == [1, 0.75, 0, 0]


def test_fatigue_lowers_the_score_of_served_posts():
    query = replace(QUERY, post_fatigue=affinity(a1=0.5))
    assert Fatigue()(query, candidates(author_ids=np.array([7, 7, 7]))).tolist() == [0, -0.5, 0]


WEIGHTS = st.dictionaries(st.integers(0, 9), st.floats(-1, 1, width=32), max_size=6)


@given(WEIGHTS, WEIGHTS, WEIGHTS, st.lists(st.integers(-1, 9), min_size=3, max_size=3))
def test_affinity_parts_and_show_less_stay_in_their_ranges(authors, topics, kinds, tag_ids):
    """For any affinities: affinity parts are from -0.5 to 1, show_less from -3 to 0, and unknown facts give 0."""
    drawn = [
        Affinity(np.array(sorted(w), np.int64), np.array([w[k] for k in sorted(w)], "f4"))
        for w in (authors, topics, kinds)
    ]
    query = replace(QUERY, author_affinity=drawn[0], topic_affinity=drawn[1], kind_affinity=drawn[2])
    posts = candidates(author_ids=np.array([3, -1]), tag_ids=tags(tag_ids, [-1] * 3), kind_ids=tags(2, -1))
    for scorer, low, high in ((AuthorAffinity(), -0.5, 1), (TopicAffinity(), -0.5, 1), (ShowLess(), -3, 0)):
        part = scorer(query, posts)
        assert part.dtype == np.float32 and part.shape == (2,)
        assert low <= part[0] <= high and part[1] == 0


def test_every_score_part_of_every_feed_has_one_weight_in_the_policy():
    """A part without a weight would always be 0, and two parts of one name would be one in explanations."""
    engine, catalogue, non_resident = object(), object(), feeds.NonResidentPosts(object(), object())
    for pipeline in (
        feeds.discovery(engine=engine, catalogue=catalogue, non_resident_posts=non_resident),
        feeds.following(catalogue=catalogue),
        feeds.trending(catalogue=catalogue),
        feeds.non_personalized(catalogue=catalogue),
        feeds.similar(engine=engine, catalogue=catalogue),
    ):
        names = [*TASTE_PARTS, *(scorer.name for scorer in pipeline.scorers)]
        assert len(set(names)) == len(names)
        assert set(names) <= {setting.name for setting in fields(Policy)}

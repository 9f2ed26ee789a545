"""Scorers: each part by hand, finite whatever the facts."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import Candidates, Interests, Policy, Query
from recommendations.pipeline.scorers.columns import Follow, Popularity, Recency

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
    interests=Interests.none(8),
    followed_author_ids=np.array([7]),
)


def candidates(**columns):
    n = len(next(iter(columns.values())))
    return replace(Candidates.unknown(np.arange(n), np.zeros(n, np.uint16)), **columns)


def test_recency_halves_with_every_half_life():
    """A post from the future counts as new, one without a date as ancient."""
    ages = np.array([0, 24, 48, -5]) * 3600
    assert Recency()(QUERY, candidates(created_at=NOW - ages)).tolist() == [1, 0.5, 0.25, 1]
    assert Recency()(QUERY, candidates(created_at=np.array([np.nan]))).item() == 0


def test_popularity_grows_from_zero_to_one_at_a_thousand_acts():
    found = candidates(engagement=np.array([0, 10, 1000, 1e9], np.float32))
    parts = Popularity()(QUERY, found)
    assert parts[0] == 0 and parts[2] == pytest.approx(1) and parts[3] == 1
    assert parts[1] == pytest.approx(np.log(11) / np.log(1001))


def test_follow_is_one_for_those_whom_the_viewer_follows():
    assert Follow()(QUERY, candidates(author_ids=np.array([7, 8, -1]))).tolist() == [1, 0, 0]


@given(st.floats(0, 1e10), st.floats(0, 2.0**100, width=32))
def test_every_part_lies_between_zero_and_one(created_at, engagement):
    found = candidates(created_at=np.array([created_at]), engagement=np.array([engagement], np.float32))
    for scorer in (Recency(), Popularity(), Follow()):
        part = scorer(QUERY, found)
        assert part.dtype == np.float32
        assert 0 <= part.item() <= 1

"""The contract of `stages.Scorer`, for every scorer. Add a new scorer to the list."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import LEARNED_FLOOR, Policy
from recommendations.pipeline.scorers.score_parts import (
    AuthorAffinity,
    ColdTaste,
    Collaborative,
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
from tests.feed_parts import component_name, feed_components
from tests.strategies import candidates, positions, queries, read_only


@dataclass(frozen=True)
class Case:
    """A scorer, and the range of its unweighted part."""

    scorer: Any
    low: float
    high: float


SCORERS = (
    Case(ExplorationBonus(), 0, 1),
    Case(AuthorAffinity(), LEARNED_FLOOR, 1),
    Case(ColdTaste(), -1, 1),
    Case(Collaborative("item_weights"), -1, 1),
    Case(Collaborative("co_liked"), -1, 1),
    Case(Collaborative("liked_next"), -1, 1),
    Case(Fatigue(), -1, 0),
    Case(FollowedAuthor(), 0, 1),
    Case(ShowLess(), -3, 0),
    Case(Popularity(), 0, 1),
    Case(Quality(), 0, 1),
    Case(Recency(), 0, 1),
    Case(TopicAffinity(), LEARNED_FLOOR, 1),
    Case(Trend(), 0, 1),
    Case(Popularity("trending_popularity"), 0, 1),
    Case(YearPopularity(), 0, 1),
    Case(FewLikesPopularity(), 0, 1),
)
every_scorer = pytest.mark.parametrize("case", SCORERS, ids=lambda case: component_name(case.scorer))


def test_every_scorer_of_a_feed_is_in_the_list():
    known = {type(case.scorer) for case in SCORERS}
    assert {type(scorer) for scorer in feed_components("scorers")} - known == set()


@every_scorer
def test_the_policy_has_a_weight_with_the_scorers_name(case):
    assert case.scorer.name in {field.name for field in fields(Policy)}


@every_scorer
@given(posts=candidates(), query=queries(), data=st.data())
def test_a_part_is_finite_in_its_range_and_depends_on_its_post_only(case, posts, query, data):
    """
    For any facts, known or unknown, the parts of a selection are the selection of the parts.

    They are equal bit for bit, because explanations compute them again. The scorer does not write to posts or query
    (they are read-only here).
    """
    part = case.scorer(query, posts)
    assert part.dtype == np.float32 and part.shape == (len(posts),)
    assert np.isfinite(part).all()
    assert ((case.low <= part) & (part <= case.high)).all()
    selection = data.draw(positions(len(posts)))
    np.testing.assert_array_equal(case.scorer(query, posts.take(selection)), part[selection])
    np.testing.assert_array_equal(case.scorer(query, read_only(replace(posts))), part)

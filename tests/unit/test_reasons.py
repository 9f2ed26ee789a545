"""The reasons of a post in a slate: which score parts give a reason, and above which value."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from recommendations.contracts import (
    REASON_SENTENCES,
    Candidates,
    Interests,
    Origin,
    Policy,
    Query,
    Reason,
    ScoredCandidates,
    reasons_of,
)
from recommendations.services.serving.ranking import build_reasons

QUERY = Query(
    request_id=UUID(int=1),
    viewer_id=1,
    feed="discovery",
    size=10,
    now=1e9,
    policy=Policy(author=0.5, topic=0.25),
    variant="control",
    policy_version=1,
    interests=Interests.empty(8),
)


def reasons(query=QUERY, *, origins=(), author_id=1, **parts):
    """Return the reasons of one post with these score parts."""
    bits = np.array([sum(1 << origin for origin in origins)], np.uint16)
    candidates = replace(Candidates.unknown(np.array([1]), bits), author_ids=np.array([author_id]))
    columns = np.array([list(parts.values())], np.float32)
    scored = ScoredCandidates(candidates, columns.sum(axis=1), tuple(parts), columns)
    return set(reasons_of(int(build_reasons(query, scored)[0])))


def test_every_reason_has_a_sentence():
    assert set(REASON_SENTENCES) == set(Reason)


@pytest.mark.parametrize(("taste", "is_named"), [(0.29, False), (0.31, True), (1.0, True), (0.0, False)])
def test_taste_is_a_reason_above_three_tenths_of_the_score(taste, is_named):
    assert reasons(taste=taste, recency=1 - taste) == ({Reason.TASTE} if is_named else set())


def test_negative_parts_do_not_raise_the_share_of_taste():
    """0.25 of 1.0 is too little for a reason, even if a dislike lowers the score to 0.3."""
    assert reasons(taste=0.25, recency=0.75, dislike=-0.7) == set()
    assert reasons(taste=0.35, recency=0.65, dislike=-0.7) == {Reason.TASTE}
    assert reasons(taste=0.0, dislike=-0.7) == set()


def test_the_similar_feed_has_its_own_reason():
    assert reasons(replace(QUERY, feed="similar"), taste=0.9, recency=0.1) == {Reason.SIMILAR}


@pytest.mark.parametrize(
    ("part", "below", "above", "reason"), [("author", 0.14, 0.16, Reason.AUTHOR), ("topic", 0.07, 0.08, Reason.TOPIC)]
)
def test_author_and_topic_are_reasons_above_three_tenths_of_their_weight(part, below, above, reason):
    """The weight of author is 0.5 and of topic 0.25, so an affinity of 0.3 gives a part of 0.15 or 0.075."""
    assert reasons(**{part: below}) == set()
    assert reasons(**{part: above}) == {reason}


def test_a_followed_author_is_a_reason():
    query = replace(QUERY, followed_author_ids=np.array([7]))
    assert reasons(query, author_id=7, recency=1.0) == {Reason.FOLLOWED}
    assert reasons(query, author_id=8, recency=1.0) == set()


def test_the_source_is_a_reason_and_newness_only_without_another():
    assert reasons(origins=[Origin.TRENDING, Origin.FRESH, Origin.EXPLORATION], recency=1.0) == {Reason.POPULAR}
    assert reasons(origins=[Origin.FRESH, Origin.EXPLORATION], recency=1.0) == {Reason.EXPLORATION}
    assert reasons(origins=[Origin.FRESH], recency=1.0) == {Reason.FRESH}
    assert reasons(origins=[Origin.FRESH, Origin.EXPLORATION], taste=1.0) == {Reason.TASTE}

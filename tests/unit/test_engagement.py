"""Engagement halves in 14 days, wherever it is added up or read; expectations are written out, not computed."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from recommendations.contracts import Candidates
from recommendations.models import Interaction, PostStats
from recommendations.services.learning.interests import InterestSums, SessionVector
from recommendations.services.learning.learn import add_engagement
from recommendations.stores.resident_catalogue import CatalogueState, PostCounts, RowOrders, with_counts

START = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = 86_400.0


def days(number):
    return timedelta(days=number)


def add(row, *, at, weight):
    """Add an interaction that is counted 60 days after the start; return the engagement and the moment it is of."""
    add_engagement(row, Interaction(occurred_at=at), START + days(60), weight)
    return row.engagement, row.engagement_at


@pytest.mark.parametrize(("after", "left"), [(0, 8.0), (14, 4.0), (28, 2.0), (42, 1.0), (7, 5.656854249)])
def test_a_posts_engagement_halves_every_14_days(after, left):
    row = PostStats(engagement=8.0, engagement_at=START)
    assert add(row, at=START + days(after), weight=1.0) == (pytest.approx(left + 1), START + days(after))
    assert row.changed_at == START + days(60)


def test_an_interaction_that_comes_late_has_faded_as_if_it_had_come_in_time():
    row = PostStats(engagement=8.0, engagement_at=START)
    assert add(row, at=START - days(14), weight=2.0) == (pytest.approx(9.0), START)
    assert add(row, at=START - days(28), weight=4.0) == (pytest.approx(10.0), START)


def test_an_interaction_that_is_taken_out_leaves_what_was_there_and_never_less_than_nothing():
    row = PostStats(engagement=8.0, engagement_at=START)
    add(row, at=START + days(14), weight=3.0)
    assert add(row, at=START + days(14), weight=-3.0) == (pytest.approx(4.0), START + days(14))
    assert add(row, at=START + days(14), weight=-5.0)[0] == 0.0


@pytest.mark.parametrize(("after", "left"), [(0, 8.0), (14, 4.0), (28, 2.0), (140, 0.0078125)])
def test_the_catalogue_reads_engagement_as_it_stands_at_the_moment(after, left):
    posts = Candidates.unknown(np.array([7]), np.zeros(1, np.uint16))
    columns = with_counts(CatalogueState(posts, RowOrders(posts), PostCounts.zeros(1)), [(7, 8.0, START, 0, 0)])
    facts = columns.counts.candidate_columns(np.array([0], np.int32), (START + days(after)).timestamp())
    assert facts["engagement"].tolist() == pytest.approx([left], rel=1e-5)


def test_an_old_and_large_engagement_gives_way_to_a_newer_one_after_its_half_lives():
    """8 of 28 days ago are 2, 3 of 14 days ago are 1.5, and 1.75 of now are 1.75."""
    posts = Candidates.unknown(np.array([1, 2, 3]), np.zeros(3, np.uint16))
    stats = [(1, 8.0, START, 0, 0), (2, 3.0, START + days(14), 0, 0), (3, 1.75, START + days(28), 0, 0)]
    columns = with_counts(CatalogueState(posts, RowOrders(posts), PostCounts.zeros(3)), stats)
    assert posts.post_ids[columns.hottest].tolist() == [1, 3, 2]


def test_an_interest_halves_every_56_days():
    """Tastes outlast trends four times."""
    sums = InterestSums(np.array([[4.0, 0.0]], np.float32), np.array([4.0], np.float32), 0.0)
    sums.add(np.array([1.0, 0.0], np.float32), 1.0, 56 * DAY)
    np.testing.assert_allclose(sums.vectors, [[3.0, 0.0]])
    np.testing.assert_allclose(sums.mass, [3.0])


def test_the_session_halves_every_quarter_of_an_hour():
    session = SessionVector(np.array([4.0, 0.0], np.float32), 0.0)
    session.add(np.array([0.0, 1.0], np.float32), 1.0, 900.0)
    np.testing.assert_allclose(session.vector, [2.0, 1.0])
    session.add(np.array([0.0, 1.0], np.float32), 2.0, 0.0)
    np.testing.assert_allclose(session.vector, [2.0, 2.0])
    assert session.moment == 900.0

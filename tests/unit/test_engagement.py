"""Engagement halves every 14 days, in sums and in the catalogue. Expected values are constants, not computed."""

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
    """Add an interaction that is counted 60 days after the start. Return the engagement and its reference time."""
    add_engagement(row, Interaction(occurred_at=at), START + days(60), weight)
    return row.engagement, row.engagement_at


@pytest.mark.parametrize(("age", "decayed"), [(0, 8.0), (14, 4.0), (28, 2.0), (42, 1.0), (7, 5.656854249)])
def test_a_posts_engagement_halves_every_14_days(age, decayed):
    row = PostStats(engagement=8.0, engagement_at=START)
    assert add(row, at=START + days(age), weight=1.0) == (pytest.approx(decayed + 1), START + days(age))
    assert row.changed_at == START + days(60)


def test_a_late_interaction_is_decayed_as_if_it_had_arrived_on_time():
    row = PostStats(engagement=8.0, engagement_at=START)
    assert add(row, at=START - days(14), weight=2.0) == (pytest.approx(9.0), START)
    assert add(row, at=START - days(28), weight=4.0) == (pytest.approx(10.0), START)


def test_removing_an_interaction_restores_the_engagement_which_is_never_negative():
    row = PostStats(engagement=8.0, engagement_at=START)
    add(row, at=START + days(14), weight=3.0)
    assert add(row, at=START + days(14), weight=-3.0) == (pytest.approx(4.0), START + days(14))
    assert add(row, at=START + days(14), weight=-5.0)[0] == 0.0


@pytest.mark.parametrize(("age", "decayed"), [(0, 8.0), (14, 4.0), (28, 2.0), (140, 0.0078125)])
def test_the_catalogue_decays_engagement_to_the_time_of_the_request(age, decayed):
    posts = Candidates.unknown(np.array([7]), np.zeros(1, np.uint16))
    columns = with_counts(CatalogueState(posts, RowOrders(posts), PostCounts.zeros(1)), [(7, 8.0, START, 0, 0)])
    facts = columns.counts.candidate_columns(np.array([0], np.int32), (START + days(age)).timestamp())
    assert facts["engagement"].tolist() == pytest.approx([decayed], rel=1e-5)


def test_posts_are_ordered_by_decayed_engagement():
    """8 from 28 days ago decay to 2, 3 from 14 days ago decay to 1.5, and 1.75 from now stay 1.75."""
    posts = Candidates.unknown(np.array([1, 2, 3]), np.zeros(3, np.uint16))
    stats = [(1, 8.0, START, 0, 0), (2, 3.0, START + days(14), 0, 0), (3, 1.75, START + days(28), 0, 0)]
    columns = with_counts(CatalogueState(posts, RowOrders(posts), PostCounts.zeros(3)), stats)
    assert posts.post_ids[columns.hottest].tolist() == [1, 3, 2]


def test_an_interest_halves_every_56_days():
    """The half-life of interests is four times that of engagement."""
    sums = InterestSums(np.array([[4.0, 0.0]], np.float32), np.array([4.0], np.float32), 0.0)
    sums.add(np.array([1.0, 0.0], np.float32), 1.0, 56 * DAY)
    np.testing.assert_allclose(sums.vectors, [[3.0, 0.0]])
    np.testing.assert_allclose(sums.mass, [3.0])


def test_the_session_vector_halves_every_15_minutes():
    session = SessionVector(np.array([4.0, 0.0], np.float32), 0.0)
    session.add(np.array([0.0, 1.0], np.float32), 1.0, 900.0)
    np.testing.assert_allclose(session.vector, [2.0, 1.0])
    session.add(np.array([0.0, 1.0], np.float32), 2.0, 0.0)
    np.testing.assert_allclose(session.vector, [2.0, 2.0])
    assert session.moment == 900.0

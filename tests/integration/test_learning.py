"""Learning act by act and a rebuild give the same profile, and an act costs the same whatever came before it."""

from datetime import timedelta

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.contracts import FeedbackTarget, InteractionKind
from recommendations.models import Interaction, InterestProfile, Post
from recommendations.services import wiring
from recommendations.services.learning import learn
from recommendations.stores.bulk import insert_columns
from recommendations.stores.profiles import build_taste
from recommendations.stores.resident_facts import ResidentFacts
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

VECTOR_TOLERANCE = 1e-5
"""Of the unit of an act's weight and of what float32 rounds; a sum of weights here is 60 at most."""
AFFINITY_TOLERANCE = 2e-3
"""Affinities are kept with four decimals, rounded once for each batch that is learned."""


@pytest.fixture
def ann():
    return factories.member("ann", region="DE")


@pytest.fixture
def posts(ann):
    """Make twelve posts by three authors in four directions, and one without a vector."""
    authors = [factories.member() for _ in range(3)]
    made = [factories.post(authors[i % 3], tags=[f"topic-{i % 4}", "all"]) for i in range(13)]
    for i, post in enumerate(made[:12]):
        direction = np.zeros(4)
        direction[i % 4], direction[(i + 1) % 4] = 1.0, 0.1 * (i // 4)
        factories.embedding(post, direction / np.linalg.norm(direction))
    return made


def profile(member):
    """Return what was learned, as arrays and a flat table of affinities."""
    row = InterestProfile.objects.get(member=member)
    arrays = {
        name: np.frombuffer(bytes(getattr(row, name)), "<f4")
        for name in ("positive", "positive_mass", "negative", "negative_mass", "session")
    }
    sums = {(subject, key): value for subject, of in row.affinities.items() for key, value in of.items()}
    return arrays, sums, (row.interaction_count, row.reference_at)


def assert_same(one, other):
    for name, values in one[0].items():
        np.testing.assert_allclose(values, other[0][name], rtol=VECTOR_TOLERANCE, atol=VECTOR_TOLERANCE, err_msg=name)
    for key in {*one[1], *other[1]}:
        assert one[1].get(key, 0) == pytest.approx(other[1].get(key, 0), abs=AFFINITY_TOLERANCE), key
    assert one[2] == other[2]


ACTS = st.lists(
    st.tuples(
        st.sampled_from(list(InteractionKind)),
        st.integers(0, 12),  # the post
        st.integers(1, 200_000),  # seconds since the act before
        st.booleans(),  # whether a worker comes by after it
        st.sampled_from(["", FeedbackTarget.AUTHOR]),
    ),
    min_size=1,
    max_size=30,
)


@given(acts=ACTS)
@settings(max_examples=25)
def test_act_by_act_or_all_at_once_gives_the_same(ann, posts, acts):
    """For any acts in the order they happened, learned in any batches, also on a post without a vector."""
    Interaction.objects.all().delete()
    InterestProfile.objects.all().delete()
    at = NOW - timedelta(days=90)
    for kind, post, seconds, is_learned_now, reason in acts:
        at += timedelta(seconds=seconds)
        reason = reason if kind is InteractionKind.NOT_INTERESTED else ""
        factories.interaction(ann, posts[post], kind, at=at, reason=reason)
        if is_learned_now:
            learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    step_by_step = profile(ann)
    assert learn.rebuild_interests(member_id=ann.pk, now=NOW) == len(acts)
    assert_same(profile(ann), step_by_step)


def test_an_act_costs_the_same_after_ten_and_after_three_thousand(ann, posts):
    """In queries and in rows read: what came before is in the profile, and is not looked at again."""
    costs = []
    for length in (10, 3_000):
        who = factories.member(f"after-{length}", region="DE")
        names = [f"{length}-{i}" for i in range(length)]
        chosen = [posts[i % 12].pk for i in range(length)]
        when = {"occurred_at": NOW, "received_at": NOW, "kind": "like", "member_id": who.pk}
        insert_columns(Interaction, {"event_id": names, "post_id": chosen}, when)
        assert learn.learn_interactions(member_ids=[who.pk], now=NOW) == length
        factories.interaction(who, posts[0], "share", at=NOW + timedelta(hours=1))
        with CaptureQueriesContext(connection) as queries:
            assert learn.learn_interactions(member_ids=[who.pk], now=NOW + timedelta(hours=1)) == 1
        row = InterestProfile.objects.get(member=who)
        size = sum(len(bytes(getattr(row, name))) for name in ("positive", "positive_mass", "negative", "session"))
        costs.append((len(queries), size, {subject: len(sums) for subject, sums in row.affinities.items()}))
    assert costs[0] == costs[1]
    assert costs[0][0] <= 20


def test_a_profile_is_bounded_whatever_was_done(ann):
    """A thousand authors and tags, and a hundred directions: what is kept is the strongest of them."""
    rng = np.random.default_rng(4)
    for i in range(250):
        post = factories.post(factories.member(), tags=[f"a{i}", f"b{i}"])
        vector = rng.normal(size=wiring.embedder().dimension)
        factories.embedding(post, vector / np.linalg.norm(vector))
        factories.interaction(ann, post, "save" if i < 5 else "view", at=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    row = InterestProfile.objects.get(member=ann)
    assert len(bytes(row.positive_mass)) <= 4 * 6
    assert {subject: len(sums) for subject, sums in row.affinities.items()} == {
        "author": 200,
        "topic": 100,
        "kind": 1,
    }
    saved = Post.objects.filter(interactions__kind="save").values_list("author_id", flat=True)
    assert {str(author) for author in saved} <= set(row.affinities["author"])


def test_a_cook_who_climbs_is_no_cook_climber(ann):
    """Two unlike likings stay two vectors; the last half hour is one more, and is gone after an hour."""
    for name, vector in (("cooking", [1.0]), ("climbing", [0.0, 1.0])):
        post = factories.post(factories.member(), name)
        factories.embedding(post, vector)
        factories.interaction(ann, post, at=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    assert len(learned_taste(ann, NOW).interests.positive) == 3
    later = learned_taste(ann, NOW + timedelta(hours=1)).interests.positive
    assert sorted(np.abs(later[:, :2]).round(3).tolist()) == [[0, 1], [1, 0]]


def test_a_liking_grows_towards_one_and_a_wish_for_less_outweighs_it(ann, posts):
    author = str(posts[0].author_id)
    for _ in range(12):
        factories.interaction(ann, posts[0], "share", at=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    liked = learned_taste(ann, NOW).author_affinity.weights_of(np.array([int(author)])).item()
    assert liked == pytest.approx(24 / 28)
    ann.negative_feedback.create(subject="author", key=author, post=posts[0], event_id="e", created_at=NOW)
    assert learned_taste(ann, NOW).author_affinity.weights_of(np.array([int(author)])).item() == -1
    half = learned_taste(ann, NOW + timedelta(days=90)).author_affinity.weights_of(np.array([int(author)])).item()
    assert half == pytest.approx(-0.5)


def learned_taste(member, now):
    embedder = wiring.embedder()
    _, profile, wishes = ResidentFacts(wiring.vocabularies()).get_history(member.pk, wiring.resident_profiles())
    return build_taste(profile, wishes, now, embedder.dimension, wiring.vocabularies(), 0.8)

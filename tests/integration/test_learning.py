"""Learning one by one and a rebuild give the same profile. An interaction costs the same for any history."""

from datetime import timedelta

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.contracts import FeedbackTarget, InteractionKind
from recommendations.models import Interaction, InterestProfile, Post, ReactionHistory
from recommendations.services import wiring
from recommendations.services.learning import learn
from recommendations.stores.bulk import insert_columns
from recommendations.stores.profiles import build_taste
from recommendations.stores.resident_facts import ResidentFacts
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

VECTOR_TOLERANCE = 1e-5
"""Tolerance of float32 rounding, in units of an interaction's weight. A sum of weights here is at most 60."""
AFFINITY_TOLERANCE = 2e-3
"""Affinities are stored with four decimals and rounded once per learned batch."""


@pytest.fixture
def ann():
    return factories.member("ann", region="DE", is_adult=True)


@pytest.fixture
def posts(ann):
    """Create twelve posts by three authors in four directions, and one post without a vector."""
    authors = [factories.member() for _ in range(3)]
    posts = [factories.post(authors[i % 3], tags=[f"topic-{i % 4}", "all"]) for i in range(13)]
    for i, post in enumerate(posts[:12]):
        direction = np.zeros(4)
        direction[i % 4], direction[(i + 1) % 4] = 1.0, 0.1 * (i // 4)
        factories.embedding(post, direction / np.linalg.norm(direction))
    return posts


def profile(member):
    """Return the member's profile as arrays, affinities by (target, key), and (interaction count, reference time)."""
    row = InterestProfile.objects.get(member=member)
    arrays = {
        name: np.frombuffer(bytes(getattr(row, name)), "<f4")
        for name in ("positive", "positive_mass", "negative", "negative_mass", "session")
    }
    sums = {(target, key): value for target, values in row.affinities.items() for key, value in values.items()}
    return arrays, sums, (row.interaction_count, row.reference_at)


def assert_same_profile(actual, expected):
    for name, values in actual[0].items():
        np.testing.assert_allclose(
            values, expected[0][name], rtol=VECTOR_TOLERANCE, atol=VECTOR_TOLERANCE, err_msg=name
        )
    for key in {*actual[1], *expected[1]}:
        assert actual[1].get(key, 0) == pytest.approx(expected[1].get(key, 0), abs=AFFINITY_TOLERANCE), key
    assert actual[2] == expected[2]


INTERACTIONS = st.lists(
    st.tuples(
        st.sampled_from(list(InteractionKind)),
        st.integers(0, 12),  # the post
        st.integers(1, 200_000),  # seconds since the interaction before
        st.booleans(),  # whether a worker learns it at once
        st.sampled_from(["", FeedbackTarget.AUTHOR]),
    ),
    min_size=1,
    max_size=30,
)


@given(interactions=INTERACTIONS)
@settings(max_examples=25)
def test_any_batches_and_a_rebuild_give_the_same_profile(ann, posts, interactions):
    """For any interactions in the order of their times, also with a post without a vector."""
    Interaction.objects.all().delete()
    InterestProfile.objects.all().delete()
    at = NOW - timedelta(days=90)
    for kind, post, seconds, is_learned_now, target in interactions:
        at += timedelta(seconds=seconds)
        target = target if kind is InteractionKind.NOT_INTERESTED else ""
        factories.interaction(ann, posts[post], kind, at=at, target=target)
        if is_learned_now:
            learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    step_by_step = profile(ann)
    assert learn.rebuild_interests(member_id=ann.pk, now=NOW) == len(interactions)
    assert_same_profile(profile(ann), step_by_step)


def test_members_are_learned_together_with_the_bits_of_each_alone(posts):
    """Also a member who has a profile already, and interactions that are older than the profile."""
    members = [factories.member(f"m{number}", is_adult=True) for number in range(4)]
    rng = np.random.default_rng(3)
    kinds = list(InteractionKind)
    for _ in range(90):
        member, post = members[min(rng.integers(6), 3)], posts[rng.integers(13)]
        at = NOW - timedelta(seconds=int(rng.integers(40 * 86_400)))
        factories.interaction(member, post, kinds[rng.integers(len(kinds))], at=at)
    learn.learn_interactions(member_ids=[members[0].pk], now=NOW)
    factories.interaction(members[0], posts[0], at=NOW - timedelta(days=50))
    before = InterestProfile.objects.get(), ReactionHistory.objects.get()
    pending = Interaction.objects.filter(is_learned=False)
    ids = list(pending.values_list("pk", flat=True))
    learn.learn_interactions(member_ids=[member.pk for member in members], now=NOW)
    together = [stored_bits(member) for member in members]
    for model in (InterestProfile, ReactionHistory):
        model.objects.all().delete()
    for row in before:
        row.save(force_insert=True)
    Interaction.objects.filter(pk__in=ids).update(is_learned=False)
    for member in members:
        learn.learn_interactions(member_ids=[member.pk], now=NOW)
    assert [stored_bits(member) for member in members] == together


def stored_bits(member):
    """Return everything that is stored about the member's profile and history."""
    profiles, histories = (model.objects.filter(pk=member.pk) for model in (InterestProfile, ReactionHistory))
    rows = [*profiles.values_list(), *histories.values_list()]
    return [bytes(value) if isinstance(value, memoryview) else value for row in rows for value in row]


def test_an_interaction_costs_the_same_after_ten_and_after_three_thousand(ann, posts):
    """
    In queries and in rows: the profile holds the history, and earlier interactions with other posts are not read again.
    """
    costs = []
    first = factories.member("first", region="DE", is_adult=True)
    factories.interaction(first, posts[0], at=NOW)  # so that the post has stats before the queries are counted
    learn.learn_interactions(member_ids=[first.pk], now=NOW)
    for length in (10, 3_000):
        member = factories.member(f"after-{length}", region="DE", is_adult=True)
        names = [f"{length}-{i}" for i in range(length)]
        chosen = [posts[1 + i % 11].pk for i in range(length)]
        constants = {"occurred_at": NOW, "received_at": NOW, "kind": "like", "member_id": member.pk}
        insert_columns(Interaction, {"event_id": names, "post_id": chosen}, constants)
        assert learn.learn_interactions(member_ids=[member.pk], now=NOW) == length
        factories.interaction(member, posts[0], "share", at=NOW + timedelta(hours=1))
        with CaptureQueriesContext(connection) as queries:
            assert learn.learn_interactions(member_ids=[member.pk], now=NOW + timedelta(hours=1)) == 1
        row = InterestProfile.objects.get(member=member)
        size = sum(len(bytes(getattr(row, name))) for name in ("positive", "positive_mass", "negative", "session"))
        costs.append((len(queries), size, {target: len(sums) for target, sums in row.affinities.items()}))
    assert costs[0] == costs[1]
    assert costs[0][0] <= 22


def test_the_size_of_a_profile_is_bounded(ann):
    """Of hundreds of authors, tags and directions, the profile holds the strongest."""
    rng = np.random.default_rng(4)
    for i in range(250):
        post = factories.post(factories.member(), tags=[f"a{i}", f"b{i}"])
        vector = rng.normal(size=wiring.embedder().dimension)
        factories.embedding(post, vector / np.linalg.norm(vector))
        factories.interaction(ann, post, "save" if i < 5 else "view", at=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    row = InterestProfile.objects.get(member=ann)
    assert len(bytes(row.positive_mass)) <= 4 * 6
    assert {target: len(sums) for target, sums in row.affinities.items()} == {
        "author": 200,
        "topic": 100,
        "kind": 1,
    }
    saved = Post.objects.filter(interactions__kind="save").values_list("author_id", flat=True)
    assert {str(author) for author in saved} <= set(row.affinities["author"])


def test_dissimilar_interests_stay_separate_vectors(ann):
    """Two dissimilar interests are two vectors. The session vector is a third and is gone after an hour."""
    for name, vector in (("cooking", [1.0]), ("climbing", [0.0, 1.0])):
        post = factories.post(factories.member(), name)
        factories.embedding(post, vector)
        factories.interaction(ann, post, at=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    assert len(learned_taste(ann, NOW).interests.positive) == 3
    later = learned_taste(ann, NOW + timedelta(hours=1)).interests.positive
    assert sorted(np.abs(later[:, :2]).round(3).tolist()) == [[0, 1], [1, 0]]


def test_an_affinity_approaches_one_and_negative_feedback_outweighs_it(ann, posts):
    author = str(posts[0].author_id)
    for _ in range(12):
        factories.interaction(ann, posts[0], "share", at=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    affinity = learned_taste(ann, NOW).author_affinity.weights_of(np.array([int(author)])).item()
    assert affinity == pytest.approx(24 / 28)
    ann.negative_feedback.create(target="author", target_key=author, post=posts[0], event_id="e", created_at=NOW)
    assert learned_taste(ann, NOW).author_affinity.weights_of(np.array([int(author)])).item() == -1
    later_affinity = (
        learned_taste(ann, NOW + timedelta(days=90)).author_affinity.weights_of(np.array([int(author)])).item()
    )
    assert later_affinity == pytest.approx(-0.5)


def learned_taste(member, now):
    embedder = wiring.embedder()
    _, profile, feedback, _ = ResidentFacts(wiring.vocabularies()).get_history(member.pk, wiring.resident_profiles())
    return build_taste(profile, feedback, now, embedder.dimension, wiring.vocabularies(), 0.8)


def test_a_member_whose_undos_another_worker_has_unlearned_keeps_the_profile(ann, posts):
    factories.interaction(ann, posts[0])
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    learned = InterestProfile.objects.get(member=ann)
    learn.unlearn_undone(member_ids=[ann.pk], now=NOW + timedelta(minutes=1))
    assert InterestProfile.objects.get(member=ann).pk == learned.pk
    assert InterestProfile.objects.get(member=ann).changed_at == learned.changed_at

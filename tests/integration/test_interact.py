"""Each interaction is recorded once and learned once, even with repeated events and failing workers."""

from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest
from django.conf import settings

from recommendations.models import (
    Interaction,
    InterestProfile,
    Post,
    PostEmbedding,
    PostStats,
    Relationship,
    SeenPost,
    SeenReport,
)
from recommendations.services.errors import UnknownMember
from recommendations.services.learning import interact, learn, seen_counts
from recommendations.services.learning.interact import Event, mark_seen
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture
def ann():
    return factories.member("ann")


@pytest.fixture
def post(ann):
    post = factories.post(factories.member("bob"), "p1", text="a film about war")
    factories.embed_all_posts()
    return post


def event(event_id="e1", **fields):
    return Event(**{"event_id": event_id, "member_id": "ann", "post_id": "p1", "kind": "like", **fields})


def record(*events, now=NOW):
    return [result.status for result in interact.record_events(events=events, now=now)]


# recording


def test_an_event_that_is_sent_twice_counts_once(ann, post):
    assert record(event()) == ["recorded"]
    assert record(event()) == ["duplicate"]
    assert record(event(kind="hide")) == ["rejected"]
    assert Interaction.objects.get().kind == "like"


def test_an_event_that_is_twice_in_a_request_counts_once(ann, post):
    assert record(event(), event("e2"), event()) == ["recorded", "recorded", "duplicate"]
    assert Interaction.objects.count() == 2
    assert SeenPost.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"member_id": "nobody"}, "member_id: there is no member 'nobody'"),
        ({"post_id": "nothing"}, "post_id: there is no post 'nothing'"),
        (
            {"kind": "loves"},
            "kind: give one of view, click, dwell, like, comment, share, save, follow, hide, not_interested, report, "
            "not 'loves'.",
        ),
        ({"event_id": ""}, "event_id: give 1 to 128 characters, not 0"),
        ({"event_id": "x" * 129}, "event_id: give 1 to 128 characters, not 129"),
        ({"value": float("nan")}, "value: give a finite number"),
        ({"value": float("inf")}, "value: give a finite number"),
        ({"occurred_at": NOW.replace(tzinfo=None)}, "occurred_at: give a time with its offset"),
        ({"occurred_at": NOW + timedelta(minutes=6)}, "is in the future"),
        ({"occurred_at": NOW + timedelta(minutes=5, seconds=1)}, "is in the future"),
        ({"target": "author"}, "target: only a not_interested event has a target; this event is a like"),
        (
            {"kind": "hide", "target": "author"},
            "target: only a not_interested event has a target; this event is a hide",
        ),
        ({"kind": "not_interested", "target": "weather"}, "target: give one of author, topic, kind, not 'weather'"),
        ({"kind": "not_interested", "target": "post"}, "target: give one of author, topic, kind, not 'post'"),
    ],
)
def test_a_bad_event_is_rejected_with_the_reason_and_affects_no_other(ann, post, fields, problem):
    bad, good = interact.record_events(events=[event(**fields), event("good")], now=NOW)
    assert bad.status == "rejected" and problem in bad.problem
    assert good.status == "recorded"
    assert Interaction.objects.get().event_id == "good"


def test_a_rejected_event_can_be_sent_again_after_its_post_is_added(ann, post):
    assert record(event(post_id="later")) == ["rejected"]
    factories.post(factories.member(), "later")
    assert record(event(post_id="later")) == ["recorded"]


def test_a_time_slightly_in_the_future_is_stored_as_now(ann, post):
    record(event(occurred_at=NOW + timedelta(minutes=4)))
    assert Interaction.objects.get().occurred_at == NOW


def test_a_late_event_keeps_its_time(ann, post):
    record(event(occurred_at=NOW - timedelta(days=80)))
    row = Interaction.objects.get()
    assert (row.occurred_at, row.received_at) == (NOW - timedelta(days=80), NOW)


def test_a_too_old_event_is_rejected_with_advice(ann, post):
    (result,) = interact.record_events(events=[event(occurred_at=NOW - timedelta(days=91))], now=NOW)
    assert result.status == "rejected"
    assert "manage.py import_data" in result.problem
    assert not Interaction.objects.exists()


def test_an_event_without_a_time_is_stored_with_the_current_time(ann, post):
    request_id = uuid4()
    record(event(value=3.5, request_id=request_id))
    row = Interaction.objects.get()
    assert (row.occurred_at, row.value, row.request_id) == (NOW, 3.5, request_id)


@pytest.mark.parametrize("name", ["🎬🍿", "مستخدم‏", "a" * 128, "'; drop table", "line\nbreak"])
def test_an_id_can_be_any_text(name, post):
    factories.member(name)
    factories.post(factories.member(), f"{name[:120]}-post")
    fields = {"event_id": name, "member_id": name, "post_id": f"{name[:120]}-post"}
    assert record(event(**fields)) == ["recorded"]
    assert record(event(**fields)) == ["duplicate"]


def test_no_events_record_nothing():
    assert record() == []


def test_a_post_with_an_interaction_is_seen(ann, post):
    """The next page does not have it, even from a cached slate."""
    assert [p.post.id for p in recommend(member_id="ann", now=NOW).picks] == ["p1"]
    record(event())
    assert recommend(member_id="ann", now=NOW).picks == ()


def test_seen_posts_are_stored_once_and_unknown_posts_are_skipped(ann, post):
    assert mark_seen(member_id="ann", post_ids=["p1", "nothing", "p1"], now=NOW) == 1
    assert mark_seen(member_id="ann", post_ids=["p1"], now=NOW) == 1
    assert SeenPost.objects.count() == 1
    with pytest.raises(UnknownMember):
        mark_seen(member_id="nobody", post_ids=["p1"], now=NOW)


def seen_counts_of_posts():
    return dict(PostStats.objects.values_list("post__external_id", "seen_count"))


def test_reports_of_seen_posts_count_once_per_member_if_the_platform_reports_them(ann, post, monkeypatch):
    """A report that is repeated does not count, nor does one of a post that an interaction shows to be seen."""
    factories.member("eve")
    factories.post(post.author, "p2", created_at=NOW)
    mark_seen(member_id="ann", post_ids=["p1"], now=NOW)
    assert not SeenReport.objects.exists(), "served posts count instead"
    monkeypatch.setattr(settings.ENV, "seen_posts", "reported")
    record(event(post_id="p2"))
    for _ in range(2):
        mark_seen(member_id="ann", post_ids=["p1", "p2"], now=NOW)
        mark_seen(member_id="eve", post_ids=["p1", "p2"], now=NOW)
    assert seen_counts.count_seen(now=NOW) == 2
    assert seen_counts.count_seen(now=NOW) == 0 and not SeenReport.objects.exists()
    assert seen_counts_of_posts() == {"p1": 1, "p2": 1}


def test_reports_are_counted_in_batches_and_those_of_erased_posts_are_dropped(ann, post, monkeypatch):
    monkeypatch.setattr(settings.ENV, "seen_posts", "reported")
    monkeypatch.setattr(seen_counts, "REPORTS_PER_TRANSACTION", 2)
    factories.post(post.author, "p2", created_at=NOW)
    for number in range(3):
        factories.member(f"m{number}")
        mark_seen(member_id=f"m{number}", post_ids=["p1", "p2"], now=NOW)
    Post.objects.get(external_id="p2").delete()
    assert seen_counts.count_seen(now=NOW) == 6
    assert seen_counts_of_posts() == {"p1": 3}


# learning


def learned_taste(member):
    """Return the member's positive interests (k, d), their masses (k,) and the number of learned interactions."""
    profile = InterestProfile.objects.get(member=member)
    vectors = np.frombuffer(profile.positive, "<f4").reshape(-1, profile.dimension)
    return vectors, np.frombuffer(profile.positive_mass, "<f4"), profile.interaction_count


def test_learning_twice_counts_once(ann, post):
    record(event(), event("e2", kind="share"))
    assert learn.learn_interactions(member_ids=[ann.pk], now=NOW) == 2
    vectors, mass, count = learned_taste(ann)
    stats = PostStats.objects.get(post=post)
    assert learn.learn_interactions(member_ids=[ann.pk], now=NOW + timedelta(seconds=1)) == 0
    np.testing.assert_array_equal(learned_taste(ann)[0], vectors)
    assert (learned_taste(ann)[1].tolist(), learned_taste(ann)[2], count) == (mass.tolist(), 2, 2)
    stats_after = PostStats.objects.get(post=post)
    assert (stats_after.total_sum, stats_after.interaction_count) == (stats.total_sum, 2) == (3.0, 2)


def test_a_learning_that_fails_changes_nothing_and_can_be_repeated(ann, post, monkeypatch):
    """The learned values and the `is_learned` mark are written in one transaction."""
    record(event())

    def fail(interactions, now):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learn, "count_interactions", fail)
        with pytest.raises(KeyboardInterrupt):
            learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    assert not InterestProfile.objects.exists()
    assert learn.learn_interactions(member_ids=[ann.pk], now=NOW) == 1
    assert learned_taste(ann)[2] == 1


def test_events_in_any_order_give_the_same_interests(post):
    """A late event counts as much as if it had arrived on time."""
    days = [0, 30, 10, 20]
    for name, order in (("cat", days), ("dan", sorted(days, reverse=True))):
        member = factories.member(name)
        for age in order:
            record(event(f"{name}-{age}", member_id=name, occurred_at=NOW - timedelta(days=age)))
            learn.learn_interactions(member_ids=[member.pk], now=NOW)
    (a, mass_a, _), (b, mass_b, _) = (learned_taste(m) for m in (Interaction.objects.earliest("id").member, member))
    np.testing.assert_allclose(a, b, rtol=1e-4)
    np.testing.assert_allclose(mass_a, mass_b, rtol=1e-4)


def test_a_rebuild_gives_the_same_interests_as_learning_step_by_step(ann):
    author = factories.member()
    posts = [
        factories.post(author, f"p{i}", text=text) for i, text in enumerate(["war film", "war", "bread", "yeast bread"])
    ]
    factories.embed_all_posts()
    for i, post in enumerate(posts):
        record(event(f"e{i}", post_id=post.external_id, occurred_at=NOW - timedelta(days=9 - i)))
        learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    vectors, mass, count = learned_taste(ann)
    assert learn.rebuild_interests(member_id=ann.pk, now=NOW) == count == 4
    np.testing.assert_allclose(learned_taste(ann)[0], vectors, atol=1e-4)
    np.testing.assert_allclose(learned_taste(ann)[1], mass, atol=1e-4)
    assert PostStats.objects.get(post=posts[0]).interaction_count == 1


def test_a_disliked_post_is_a_negative_interest(ann, post):
    record(event(kind="not_interested"))
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    profile = InterestProfile.objects.get(member=ann)
    assert bytes(profile.positive) == b"" and len(bytes(profile.negative)) == 4 * profile.dimension
    assert PostStats.objects.get(post=post).total_sum == 0


def test_without_consent_popularity_is_counted_but_no_interests_are_learned(post):
    member = factories.member("shy", is_personalized=False)
    record(event(member_id="shy"))
    learn.learn_interactions(member_ids=[member.pk], now=NOW)
    assert not InterestProfile.objects.exists()
    assert PostStats.objects.get(post=post).total_sum == 1
    assert Interaction.objects.get().is_learned


def test_an_interaction_waits_for_the_vector_of_its_post(ann):
    factories.post(factories.member(), "p1")
    record(event())
    assert learn.learn_interactions(member_ids=[ann.pk], now=NOW) == 0
    factories.embed_all_posts()
    assert learn.learn_interactions(member_ids=[ann.pk], now=NOW) == 1
    assert learned_taste(ann)[2] == 1


def test_an_interaction_stops_waiting_for_a_vector_after_an_hour(ann):
    factories.post(factories.member(), "p1")
    record(event())
    assert learn.learn_interactions(member_ids=[ann.pk], now=NOW + timedelta(hours=2)) == 1
    assert not bytes(InterestProfile.objects.get().positive)


def test_unlearned_interactions_are_enqueued_again(ann, post, django_capture_on_commit_callbacks):
    """A message can be lost, but the `is_learned` mark in the database cannot."""
    record(event())
    with django_capture_on_commit_callbacks() as callbacks:
        assert learn.enqueue_pending_learning(now=NOW) == 1
    assert len(callbacks) == 1
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    assert learn.enqueue_pending_learning(now=NOW) == 0


def test_all_pending_interactions_are_learned_with_progress(ann, post, monkeypatch):
    monkeypatch.setattr(learn, "MEMBERS_PER_TRANSACTION", 20)
    record(event(), *[event(f"m{factories.member(f'm{i}').pk}", member_id=f"m{i}") for i in range(30)])
    calls = []
    assert learn.learn_all(now=NOW, progress=lambda done, total: calls.append((done, total))) == 31
    assert calls == [(20, 31), (31, 31)]
    assert not Interaction.objects.filter(is_learned=False).exists()


def test_a_follow_from_ones_own_post_is_rejected(ann, post):
    factories.post(ann, "own")
    own, other = interact.record_events(
        events=[event("e1", post_id="own", kind="follow"), event("e2", kind="follow")], now=NOW
    )
    assert (own.status, own.problem) == (
        "rejected",
        "post_id: the member wrote this post and cannot follow themselves.",
    )
    assert other.status == "recorded"
    assert [(row.source, row.target.external_id) for row in Relationship.objects.all()] == [(ann, "bob")]


def test_a_rebuild_leaves_pending_interactions_to_be_learned_once(ann, post):
    record(event())
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    record(event("e2", kind="share"))
    assert learn.rebuild_interests(member_id=ann.pk, now=NOW) == 1
    assert learned_taste(ann)[1].tolist() == [1.0]
    assert learn.learn_interactions(member_ids=[ann.pk], now=NOW) == 1
    assert learned_taste(ann)[1].tolist() == [3.0]


def test_interests_are_learned_from_vectors_of_the_content_space(ann, post):
    """Another space may have vectors of an embedding model with the same name."""
    embedding = PostEmbedding.objects.get(post=post)
    for space, at in (("another", 0), ("zoo", 1)):
        other = np.eye(1, embedding.dimension, at, dtype="<f4").tobytes()
        fields = {"embedding_model": embedding.embedding_model, "dimension": embedding.dimension, "changed_at": NOW}
        PostEmbedding.objects.create(post=post, space=space, vector=other, **fields)
    _, (found,) = learn.load_post_vectors({post.pk}, NOW)
    assert found.tobytes() == bytes(embedding.vector)

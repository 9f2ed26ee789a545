"""An undo removes all effects of an interaction, in whatever order the two arrive."""

from datetime import timedelta
from itertools import count

import numpy as np
import pytest
from django.db import DatabaseError

from recommendations.contracts import InteractionKind
from recommendations.models import (
    Interaction,
    InterestProfile,
    NegativeFeedback,
    PostStats,
    RegionStats,
    Relationship,
    SeenPost,
    Undo,
)
from recommendations.services.learning import interact, learn
from recommendations.services.learning.interact import NEGATIVE_KINDS, Event
from recommendations.services.serving.recommend import FEEDS, recommend
from recommendations.services.serving.similar import find_similar
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

HOUR = timedelta(hours=1)
numbers = count()


@pytest.fixture
def ann():
    return factories.member("ann", region="DE", is_adult=True)


@pytest.fixture
def posts(ann):
    """Create three posts by Bob and one by Cat."""
    bob, cat = factories.member("bob"), factories.member("cat", is_adult=True)
    texts = ["a film about war", "war and soldiers", "bread and yeast"]
    posts = [factories.post(bob, f"p{i}", text=text, tags=[text.split()[0]]) for i, text in enumerate(texts)]
    posts.append(factories.post(cat, "p3", text="a song of summer"))
    factories.embed_all_posts()
    return posts


@pytest.fixture(autouse=True)
def run_on_commit(django_capture_on_commit_callbacks):
    return lambda: django_capture_on_commit_callbacks(execute=True)


def event(event_id, post_id="p0", kind="like", member_id="ann", **fields):
    return Event(event_id=event_id, member_id=member_id, post_id=post_id, kind=kind, **fields)


def undo(undone_id, member_id="ann"):
    return Event(event_id=f"undo-{next(numbers)}", member_id=member_id, undoes_event_id=undone_id)


def record(*events, now=NOW):
    return [result.status for result in interact.record_events(events=events, now=now)]


def learned_profile(member, now=NOW):
    learn.learn_interactions(member_ids=[member.pk], now=now)
    return InterestProfile.objects.filter(member=member).first()


def is_same_profile(first, second):
    """Return whether two profiles are equal, with vectors within 1e-5."""
    for name in ("positive", "positive_mass", "negative", "negative_mass", "session"):
        a, b = (np.frombuffer(bytes(getattr(profile, name)), "<f4") for profile in (first, second))
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=name)
    assert first.affinities == second.affinities
    return (first.interaction_count, first.reference_at, first.session_at) == (
        second.interaction_count,
        second.reference_at,
        second.session_at,
    )


def stats(moment=NOW + 2 * HOUR):
    """Return the nonzero counts and sums of all posts, in total and by region, decayed to *moment*."""
    total = {
        row.post_id: (row.interaction_count, row.positive_count, *decayed_sums(row, moment))
        for row in PostStats.objects.all()
    }
    by_region = {(row.post_id, row.region): decayed_sums(row, moment) for row in RegionStats.objects.all()}
    return {key: numbers for key, numbers in (total | by_region).items() if any(numbers)}


def decayed_sums(row, moment):
    """Return the sums decayed to *moment*: they halve after an hour, a day, a week, a year, and never."""
    ages = [(moment - row.summed_at) / timedelta(days=days) for days in (1 / 24, 1, 7, 365)]
    values = (row.hour_sum, row.day_sum, row.week_sum, row.year_sum)
    decayed = [value * 0.5**age for value, age in zip(values, ages, strict=True)]
    return tuple(round(value, 9) for value in (*decayed, row.total_sum))


def served_posts(now=NOW, feed="discovery"):
    return {pick.post.id for pick in recommend(member_id="ann", now=now, feed=feed, limit=100).picks}


# Learning and counts


@pytest.mark.parametrize("kind", InteractionKind)
def test_an_undo_restores_the_profile_and_the_counts(ann, posts, kind, run_on_commit):
    """For each kind: the profile equals that of a member without the interaction, and all counts are as before."""
    twin = factories.member("twin", region="FR", is_adult=True)
    for name in ("ann", "twin"):
        record(event(f"{name}-1", "p0", "share", name, occurred_at=NOW - 3 * HOUR))
        record(event(f"{name}-2", "p2", "not_interested", name, occurred_at=NOW - 2 * HOUR))
    learn.learn_interactions(member_ids=[ann.pk, twin.pk], now=NOW)
    before = stats()
    record(event("e", "p1", kind, occurred_at=NOW - HOUR))
    profile = learned_profile(ann)
    assert profile.interaction_count == 3 and stats() != before
    with run_on_commit():
        assert record(undo("e"), now=NOW + HOUR) == ["recorded"]
    assert is_same_profile(learned_profile(ann, NOW + HOUR), InterestProfile.objects.get(member=twin))
    assert stats() == before


def test_an_undo_gives_the_same_profile_as_a_rebuild(ann, posts):
    record(event("e1", "p0"), event("e2", "p1", "share"), event("e3", "p2", "save"), event("e4", "p3", "hide"))
    learned_profile(ann)
    record(undo("e2"))
    profile = learned_profile(ann)
    assert learn.rebuild_interests(member_id=ann.pk, now=NOW) == 3
    assert is_same_profile(profile, InterestProfile.objects.get(member=ann))


def test_undoing_the_only_interaction_deletes_the_profile(ann, posts):
    record(event("e"))
    assert learned_profile(ann) is not None
    record(undo("e"))
    assert learned_profile(ann) is None
    assert stats() == {}


def test_an_interaction_that_is_undone_before_learning_is_never_learned(ann, posts):
    record(event("e"))
    record(undo("e"))
    assert learned_profile(ann) is None
    assert not PostStats.objects.exists()


def test_an_undo_may_arrive_before_its_interaction(ann, posts):
    """Even of a hidden post: the post is neither hidden nor seen, and nothing is learned."""
    assert record(undo("e")) == ["recorded"]
    assert record(event("e", "p0", "hide"), now=NOW + HOUR) == ["recorded"]
    assert learned_profile(ann, NOW + HOUR) is None
    assert not NegativeFeedback.objects.exists() and not SeenPost.objects.exists() and not PostStats.objects.exists()
    assert "p0" in served_posts(NOW + HOUR)


def test_an_interaction_and_its_undo_may_be_in_one_request_in_either_order(ann, posts):
    assert record(event("e1", "p0", "hide"), undo("e1"), undo("e2"), event("e2", "p1", "follow")) == ["recorded"] * 4
    assert Interaction.objects.exclude(undone_at=None).count() == 2
    assert not NegativeFeedback.objects.exists() and not Relationship.objects.exists()
    assert learned_profile(ann) is None


def test_repeated_undos_count_once(ann, posts):
    record(event("e"), event("kept", "p1"))
    learned_profile(ann)
    undo_event = undo("e")
    assert record(undo_event) == ["recorded"]
    counts = (learned_profile(ann).interaction_count, stats())
    assert record(undo_event) == ["duplicate"]
    assert record(undo("e"), undo("e")) == ["recorded", "recorded"]
    assert record(event("e")) == ["duplicate"]
    assert (learned_profile(ann).interaction_count, stats()) == counts
    assert counts[0] == 1


def test_a_member_cannot_undo_the_interaction_of_another(ann, posts):
    """Neither after it nor before it. The owner's undo works in spite of the other member's."""
    factories.member("eve")
    record(undo("late", "eve"))
    record(event("e"), event("late", "p1"))
    record(undo("e", "eve"))
    assert learned_profile(ann).interaction_count == 2
    assert not Interaction.objects.exclude(undone_at=None).exists()
    record(undo("e"), undo("e", "eve"))
    assert Interaction.objects.get(event_id="e").undone_at == NOW
    record(undo("late", "eve"), undo("late"))
    assert Interaction.objects.get(event_id="late").undone_at == NOW


def test_an_event_cannot_undo_itself_and_an_undo_cannot_be_undone(ann, posts):
    result = interact.record_events(events=[Event("e", "ann", undoes_event_id="e")], now=NOW)[0]
    assert (result.status, result.problem) == ("rejected", "undoes_event_id: an event cannot undo itself.")
    record(event("a"))
    undo_event = undo("a")
    record(undo_event)
    record(undo(undo_event.event_id))
    assert Interaction.objects.get().undone_at == NOW
    assert Undo.objects.count() == 2


def test_an_undo_that_fails_can_be_repeated(ann, posts, monkeypatch):
    """The counts, the mark and the profile are written in one transaction: nothing is removed twice or left behind."""
    record(event("e"), event("kept", "p1"))
    learned_profile(ann)
    before = stats()
    record(undo("e"))

    def fail(*_):
        raise DatabaseError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(learn, "rebuild_profile", fail)
        with pytest.raises(DatabaseError):
            learned_profile(ann)
    assert stats() == before
    assert learn.enqueue_pending_learning(now=NOW) == 1
    assert learned_profile(ann).interaction_count == 1


# Immediate effects


def follows():
    return set(Relationship.objects.filter(kind="follow").values_list("source__external_id", "target__external_id"))


def test_a_follow_from_a_post_follows_its_author_until_it_is_undone(ann, posts, run_on_commit):
    with run_on_commit():
        record(event("e", "p0", "follow"))
    assert follows() == {("ann", "bob")}
    assert recommend(member_id="ann", feed="following", now=NOW).picks
    with run_on_commit():
        record(undo("e"))
    assert follows() == set()
    assert not recommend(member_id="ann", feed="following", now=NOW).picks


def test_a_follow_ends_after_all_its_interactions_are_undone(ann, posts):
    record(event("e1", "p0", "follow"))
    record(event("e2", "p1", "follow"), now=NOW + HOUR)
    record(undo("e1"), now=NOW + HOUR)
    assert follows() == {("ann", "bob")}
    record(undo("e2"), now=NOW + HOUR)
    assert follows() == set()


def test_an_undo_does_not_end_an_older_follow(ann, posts):
    factories.follow(ann, posts[0].author)
    record(event("e", "p0", "follow"), now=NOW + HOUR)
    record(undo("e"), now=NOW + HOUR)
    assert follows() == {("ann", "bob")}


@pytest.mark.parametrize("kind", sorted(NEGATIVE_KINDS))
def test_a_rejected_post_is_in_no_feed_until_the_undo(ann, posts, kind, run_on_commit):
    """It is not among similar posts either. The author's other posts stay."""
    factories.follow(ann, posts[0].author)
    factories.popularity(posts[0], 5)

    def posts_by_feed():
        similar = find_similar(post_id="p1", viewer_id="ann", limit=10, now=NOW)
        return {feed: served_posts(feed=feed) for feed in FEEDS} | {"similar": {p.post.id for p in similar.picks}}

    assert all("p0" in posts for posts in posts_by_feed().values())
    with run_on_commit():
        record(event("e", "p0", kind))
    for feed, posts in posts_by_feed().items():
        assert "p0" not in posts and posts, feed
    with run_on_commit():
        record(undo("e"))
    learned_profile(ann)
    assert all("p0" in posts for posts in posts_by_feed().values())


def test_a_post_hidden_twice_stays_hidden_until_both_are_undone(ann, posts, run_on_commit):
    record(event("e1", "p0", "hide"), event("e2", "p0", "report"))
    with run_on_commit():
        record(undo("e1"))
    assert "p0" not in served_posts()
    with run_on_commit():
        record(undo("e2"))
    assert "p0" in served_posts()


def test_the_api_accepts_an_undo_without_a_post_or_a_kind(ann, posts, client, settings, monkeypatch):
    monkeypatch.setattr(settings.ENV, "api_open", True)
    record(event("e", "p0", "hide"))
    body = {"event_id": "u", "member_id": "ann", "undoes_event_id": "e"}
    response = client.post("/api/v1/interactions", {"events": [body]}, content_type="application/json")
    assert (response.status_code, response.json()["recorded"]) == (200, 1)
    assert not NegativeFeedback.objects.exists()
    invalid = client.post(
        "/api/v1/interactions", {"events": [{**body, "undoes_event_id": ""}]}, content_type="application/json"
    )
    assert invalid.status_code == 207 and invalid.json()["rejected"] == 1


def test_a_post_stays_seen_after_the_undo_of_a_positive_interaction(ann, posts):
    """Only the undo of a negative interaction lets the post be served again."""
    record(event("e"))
    record(undo("e"))
    assert SeenPost.objects.filter(member=ann, post=posts[0]).exists()


def test_an_undo_restores_the_post_for_that_member_only(ann, posts):
    factories.member("eve")
    record(event("e1", "p0", "hide"), event("e2", "p0", "hide", "eve"), event("e3", "p1", "report"))
    record(undo("e1"))
    expected = {("eve", "p0"), ("ann", "p1")}
    assert set(SeenPost.objects.values_list("member__external_id", "post__external_id")) == expected
    assert set(NegativeFeedback.objects.values_list("member__external_id", "post__external_id")) == expected

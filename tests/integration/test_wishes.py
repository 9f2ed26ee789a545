"""What a member says holds from the next request on: preferences, ties, consent, a fresh start, wishes for less."""

import itertools
from datetime import timedelta

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from recommendations.contracts import InteractionKind
from recommendations.models import (
    InterestProfile,
    LessOf,
    Member,
    Post,
    PostStats,
    RegionStats,
    Relationship,
    Seen,
    ServedPage,
)
from recommendations.services import feedback, learn, preferences, recording, wiring
from recommendations.services.errors import InvalidRequest, UnknownMember
from recommendations.services.interact import Event, record
from recommendations.services.recommend import recommend
from recommendations.services.similar import similar
from recommendations.stores.profiles import read_taste
from recommendations.stores.relational_viewers import taste_version
from tests import making
from tests.making import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("parts")]
numbers = itertools.count()


@pytest.fixture
def ann():
    return making.member("ann", region="DE")


@pytest.fixture
def crowd(ann):
    """Make ten authors with five posts each: two topics, two formats."""
    for i in range(10):
        making.posts(
            making.member(f"author-{i}"), 5, tags=["bread" if i % 2 else "ships"], kind="film" if i < 3 else "text"
        )
    making.embed()
    return list(Post.objects.order_by("pk"))


@pytest.fixture
def act(django_capture_on_commit_callbacks):
    """Return a function that records an event of ann's, with all that follows from its commit but the learning."""

    def acted(kind="", post=None, **options):
        event = Event(
            options.pop("event_id", f"e{next(numbers)}"), "ann", post.external_id if post else "", kind, **options
        )
        with django_capture_on_commit_callbacks(execute=True):
            (result,) = record(events=[event], now=NOW)
        return event, result

    return acted


def learned(now=NOW):
    learn.learn(member_ids=[Member.objects.get(external_id="ann").pk], now=now)


def shown(feed="discovery", limit=50, now=NOW):
    return [pick.post for pick in recommend(member_id="ann", feed=feed, limit=limit, now=now).picks]


def profile():
    row = InterestProfile.objects.filter(member__external_id="ann").first()
    return row and {
        "positive": np.frombuffer(bytes(row.positive), "<f4"),
        "negative": np.frombuffer(bytes(row.negative), "<f4"),
        "session": np.frombuffer(bytes(row.session), "<f4"),
        "author": row.affinities["author"],
        "topic": row.affinities["topic"],
        "format": row.affinities["format"],
    }


def assert_alike(one, other):
    """Hold two profiles to be the same, up to what rounding float32 and four decimals may do."""
    for name in ("positive", "negative", "session"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)
    for name in ("author", "topic", "format"):
        assert one[name] == pytest.approx(other[name], abs=2e-3)


# Preferences


def test_preferences_are_read_and_changed_in_part(ann):
    before = preferences.read_preferences(member_id="ann")
    after = preferences.set_preferences(
        member_id="ann", changes={"languages": ["de"], "sensitivity": "sensitive", "muted_tags": ["war"]}, now=NOW
    )
    assert (after.languages, after.sensitivity, after.muted_tags) == (["de"], "sensitive", ["war"])
    assert (after.region, after.is_personalised) == (before.region, before.is_personalised)
    assert preferences.read_preferences(member_id="ann") == after


def test_a_member_without_settings_is_read_as_the_strictest_says():
    making.member("bob", privacy=False)
    found = preferences.read_preferences(member_id="bob")
    assert (found.is_private, found.is_personalised, found.sensitivity) == (True, False, "safe")


def test_what_does_not_exist_is_refused(ann):
    with pytest.raises(UnknownMember):
        preferences.read_preferences(member_id="nobody")
    with pytest.raises(InvalidRequest, match="wings"):
        preferences.set_preferences(member_id="ann", changes={"wings": 2}, now=NOW)
    with pytest.raises(InvalidRequest, match="themselves"):
        preferences.relate(member_id="ann", kind="block", other_id="ann", is_on=True, now=NOW)
    with pytest.raises(InvalidRequest, match="marry"):
        preferences.relate(member_id="ann", kind="marry", other_id="ann", is_on=True, now=NOW)


def test_without_consent_nothing_is_kept_and_nothing_is_learned(crowd, act):
    act("like", crowd[0])
    learned()
    assert profile()
    preferences.set_preferences(member_id="ann", changes={"is_personalised": False}, now=NOW)
    assert not profile()
    act("like", crowd[1])
    learned()
    assert not profile()
    later = NOW + timedelta(hours=1)
    preferences.set_preferences(member_id="ann", changes={"is_personalised": True}, now=later)
    learn.rebuild(member_id=Member.objects.get(external_id="ann").pk, now=later)
    assert not profile(), "consent starts from nothing: what was done before is never learned"


def test_a_reset_forgets_the_taste_for_good_and_keeps_the_guards(crowd, act):
    act("like", crowd[0])
    act("not_interested", crowd[10], reason="author")
    act("hide", crowd[20])
    preferences.relate(member_id="ann", kind="mute", other_id="author-9", is_on=True, now=NOW)
    learned()
    later = NOW + timedelta(minutes=1)
    preferences.reset(member_id="ann", now=later)
    learn.rebuild(member_id=Member.objects.get(external_id="ann").pk, now=later)
    assert not profile()
    assert list(LessOf.objects.values_list("subject", flat=True).distinct()) == ["post"]
    assert Relationship.objects.filter(kind="mute").exists()
    assert crowd[20].external_id not in {post.id for post in shown(now=later)}


# Ties


@pytest.mark.parametrize("kind", ["block", "mute"])
def test_a_tie_holds_on_the_next_page_and_ends(crowd, kind):
    author = crowd[0].author.external_id
    assert author in {post.author_id for post in shown()}
    preferences.relate(member_id="ann", kind=kind, other_id=author, is_on=True, now=NOW)
    preferences.relate(member_id="ann", kind=kind, other_id=author, is_on=True, now=NOW)
    assert author not in {post.author_id for post in shown()}
    preferences.relate(member_id="ann", kind=kind, other_id=author, is_on=False, now=NOW)
    wiring.slates().purge([Member.objects.get(external_id="ann").pk])
    assert author in {post.author_id for post in shown()}


def test_a_block_ends_the_follows_between_the_two(ann):
    bob = making.member("bob")
    making.follow(ann, bob)
    making.follow(bob, ann)
    preferences.relate(member_id="bob", kind="block", other_id="ann", is_on=True, now=NOW)
    assert list(Relationship.objects.values_list("kind", flat=True)) == ["block"]


# Undo


@pytest.mark.parametrize("kind", list(InteractionKind))
def test_every_act_can_be_taken_back(crowd, act, kind):
    """Afterwards the profile and the counts are as if it had never been; an undo sent twice is one."""
    act("like", crowd[1])
    act("save", crowd[7])
    learned()
    before = profile()
    counts = list(PostStats.objects.filter(post=crowd[1]).values_list("engagement", "interactions", "positives"))
    event, _ = act(kind, crowd[1])
    learned()
    undo, result = act(undoes=event.event_id)
    assert result.status == "recorded"
    assert act(undoes=event.event_id, event_id=undo.event_id)[1].status == "duplicate"
    learned()
    assert_alike(profile(), before)
    after = PostStats.objects.filter(post=crowd[1]).values_list("engagement", "interactions", "positives")
    assert after[0] == pytest.approx(counts[0])
    assert not LessOf.objects.exists()
    assert not Relationship.objects.exists()
    assert RegionStats.objects.get(post=crowd[1], region="DE").engagement == pytest.approx(counts[0][0])


def test_an_undo_may_come_first(crowd, act):
    act(undoes="late")
    assert act("not_interested", crowd[0], event_id="late", reason="topic")[1].status == "recorded"
    learned()
    assert not profile()
    assert not LessOf.objects.exists()


def test_nobody_undoes_what_another_did(crowd, act, ann):
    making.member("bob")
    event, _ = act("like", crowd[0])
    record(events=[Event("u1", "bob", undoes=event.event_id), Event("u2", "bob", undoes="to come")], now=NOW)
    act("like", crowd[1], event_id="to come")
    learned()
    assert PostStats.objects.get(post=crowd[0]).interactions == 1
    assert PostStats.objects.get(post=crowd[1]).interactions == 1


def test_following_from_a_post_follows_its_author(crowd, act):
    event, _ = act("follow", crowd[0])
    assert {post.author_id for post in shown("following")} == {crowd[0].author.external_id}
    act(undoes=event.event_id)
    assert shown("following") == []


@pytest.mark.parametrize("kind", ["hide", "not_interested", "report"])
def test_what_was_turned_down_never_comes_back_unless_that_is_undone(crowd, act, kind):
    event, _ = act(kind, crowd[0])
    for feed in ("discovery", "trending", "non_personalized"):
        assert crowd[0].external_id not in {post.id for post in shown(feed)}
    near = similar(post_id=crowd[1].external_id, viewer_id="ann", limit=50, now=NOW)
    assert crowd[0].external_id not in {pick.post.id for pick in near.picks}
    act(undoes=event.event_id)
    assert crowd[0].external_id in {post.id for post in shown()}


# Showing less


def is_about(post, reason, of):
    return {
        "author": post.author_id == of.author.external_id,
        "topic": of.tags[0] in post.tags,
        "format": post.kind == of.kind,
    }[reason]


@pytest.mark.parametrize("reason", ["author", "topic", "format"])
def test_less_of_something_is_less_on_the_next_page_is_measured_and_can_be_undone(crowd, act, reason):
    of = crowd[0]
    earlier = NOW - timedelta(seconds=1)
    before = sum(is_about(post, reason, of) for post in shown(limit=10, now=earlier))
    recording.record_served(now=earlier)
    assert before
    event, _ = act("not_interested", of, reason=reason, occurred_at=NOW)
    later = NOW + timedelta(seconds=1)
    after = shown(limit=10, now=later)
    assert not any(is_about(post, reason, of) for post in after)
    recording.record_served(now=later)
    (effect,) = feedback.effects(member_id="ann")
    assert (effect.subject, effect.share_before, effect.share_after) == (reason, before / 10, 0.0)
    assert (effect.shown_before, effect.shown_after) == (10, 10)
    act(undoes=event.event_id)
    assert feedback.effects(member_id="ann") == []
    wiring.served().forget([Member.objects.get(external_id="ann").pk])
    assert any(is_about(post, reason, of) for post in shown(limit=10, now=later))


def test_a_page_by_cursor_shows_less_as_well(crowd, act):
    first = recommend(member_id="ann", limit=5, now=NOW)
    recording.record_served(now=NOW)
    act("not_interested", crowd[0], reason="topic")
    second = recommend(member_id="ann", limit=5, cursor=first.next_cursor, now=NOW)
    assert second.picks
    assert not any("ships" in pick.post.tags for pick in second.picks)
    assert not {pick.post.id for pick in first.picks} & {pick.post.id for pick in second.picks}


# What was served


def test_pages_are_recorded_counted_and_tired_of(crowd, ann):
    first = recommend(member_id="ann", limit=10, now=NOW)
    recording.record_served(now=NOW)
    page = ServedPage.objects.get()
    top = np.frombuffer(bytes(page.post_ids), "<i8").tolist()
    assert [Post.objects.get(pk=pk).external_id for pk in top] == [pick.post.id for pick in first.picks]
    assert set(PostStats.objects.filter(pk__in=top).values_list("impressions", flat=True)) == {1}
    wiring.slates().purge([ann.pk])
    later = NOW + timedelta(hours=1)
    second = recommend(member_id="ann", limit=50, explain=True, now=later)
    tired = {pick.post.id: pick.parts["fatigue"] for pick in second.picks}
    assert all(tired[pick.post.id] < 0 for pick in first.picks)
    assert sum(part < 0 for part in tired.values()) == 10
    wiring.slates().purge([ann.pk])
    wiring.served().forget([ann.pk])
    fresh = recommend(member_id="ann", limit=50, explain=True, now=later)
    assert not any(pick.parts["fatigue"] for pick in fresh.picks)


def test_records_of_the_erased_are_dropped(crowd, ann):
    recommend(member_id="ann", limit=10, now=NOW)
    ann.delete()
    recording.record_served(now=NOW)
    assert not ServedPage.objects.exists()


# The feed that uses nothing of its viewer


def test_a_non_personalized_feed_reads_no_profile_and_is_the_same_for_all(crowd, act):
    act("like", crowd[0])
    act("save", crowd[3])
    learned()
    making.member("bob", region="DE")
    with CaptureQueriesContext(connection) as asked:
        mine = recommend(member_id="ann", feed="non_personalized", limit=50, now=NOW)
    tables = ("interestprofile", "feedrequest", "servedpage", 'recommendations_interaction"')
    touched = [q["sql"] for q in asked if any(table in q["sql"] for table in tables)]
    assert touched == []
    assert not any("lessof" in q["sql"] and "subject = 'post'" not in q["sql"] for q in asked)
    theirs = recommend(member_id="bob", feed="non_personalized", limit=50, now=NOW)
    assert [pick.post.id for pick in mine.picks] == [pick.post.id for pick in theirs.picks]
    assert len(mine.picks) == 50


# Learning


def test_a_rebuild_gives_what_was_learned_act_by_act(crowd, act):
    rng = np.random.default_rng(5)
    kinds = ["like", "view", "hide", "share", "not_interested", "click"]
    for i in range(60):
        at = NOW - timedelta(hours=60 - i)
        act(str(rng.choice(kinds)), crowd[int(rng.integers(len(crowd)))], occurred_at=at)
        if i % 7 == 0:
            learned()
    learned()
    before = profile()
    learn.rebuild(member_id=Member.objects.get(external_id="ann").pk, now=NOW)
    assert_alike(profile(), before)


def test_a_cook_who_climbs_is_no_cook_climber(crowd, act):
    """Two unlike likings stay two vectors; what was done in the last half hour is one more, and goes after an hour."""
    for name, vector in (("cooking", [1.0]), ("climbing", [0.0, 1.0])):
        post = making.post(crowd[0].author, name)
        making.vector(post, vector)
        act("like", post)
    learned()
    assert len(profile()["positive"].reshape(-1, wiring.embedder().dimension)) == 2
    member = Member.objects.get(external_id="ann").pk
    taste = taste_of(member, NOW)
    assert len(taste.interests.positive) == 3
    assert len(taste_of(member, NOW + timedelta(hours=1)).interests.positive) == 2


def taste_of(member_pk, now):
    kept = wiring.tastes().of(member_pk, taste_version(member_pk))
    return read_taste(member_pk, kept, now, wiring.embedder().dimension, wiring.words(), 0.8)


def test_seen_is_not_undone_by_a_like(crowd, act):
    event, _ = act("like", crowd[0])
    act(undoes=event.event_id)
    assert Seen.objects.filter(post=crowd[0]).exists()

"""Preferences, relationships and resets apply from the next request on, and deleted interests stay deleted."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import DatabaseError
from django.db.models import QuerySet

from recommendations.contracts import Sensitivity
from recommendations.models import (
    FeedInputs,
    Interaction,
    InterestProfile,
    Member,
    NegativeFeedback,
    PostStats,
    PrivacySettings,
    Relationship,
)
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable, InvalidRequest, UnknownMember
from recommendations.services.learning import interact, learn
from recommendations.services.learning.interact import Event
from recommendations.services.members import preferences
from recommendations.services.serving import records
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

LATER = NOW + timedelta(minutes=1)


@pytest.fixture
def ann():
    """Create Ann, posts about films by Bob and posts about bread by Cat."""
    ann = factories.member("ann")
    for name, text in (("bob", "a film about war"), ("cat", "bread and yeast")):
        author = factories.member(name)
        for i in range(4):
            factories.post(author, f"{name}-{i}", text=f"{text} {i}", tags=[text.split()[-1]])
    factories.embed_all_posts()
    return ann


@pytest.fixture(autouse=True)
def run_on_commit(django_capture_on_commit_callbacks):
    """Return a context that runs the on-commit callbacks."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


def record_event(post_id, kind="like", now=NOW, **fields):
    """Record an event of Ann and return its id."""
    event = Event(**{"event_id": uuid4().hex, "member_id": "ann", "post_id": post_id, "kind": kind, **fields})
    assert [r.status for r in interact.record_events(events=[event], now=now)] == ["recorded"]
    return event.event_id


def served_posts(member_id="ann", now=NOW, **options):
    return {pick.post.id for pick in recommend(member_id=member_id, now=now, limit=100, **options).picks}


def set_preferences(now=LATER, **changes):
    return preferences.set_preferences(member_id="ann", changes=changes, now=now)


def set_relationship(member_id, kind, target_id, is_on=True, now=LATER):
    preferences.set_relationship(
        member_id=member_id, kind=kind, target_id=target_id, is_on=is_on, is_sent_by_member=False, now=now
    )


def relationships():
    return set(Relationship.objects.values_list("source__external_id", "kind", "target__external_id"))


# Preferences


def test_a_member_that_cannot_be_read_is_not_reported_as_unknown(ann, monkeypatch):
    def fail(*args, **kwargs):
        raise DatabaseError("gone")

    monkeypatch.setattr(QuerySet, "get", fail)
    with pytest.raises(FactsUnavailable, match="Try again later"):
        preferences.read_preferences(member_id="ann")


def test_set_preferences_are_read_back_and_the_others_stay(ann):
    before = preferences.read_preferences(member_id="ann")
    after = set_preferences(languages=["de", "en"], sensitivity="sensitive", muted_words=["spoiler"])
    assert after == preferences.read_preferences(member_id="ann")
    assert (after.languages, after.sensitivity, after.muted_words) == (["de", "en"], "sensitive", ["spoiler"])
    assert (after.region, after.is_private, after.muted_tags) == (before.region, before.is_private, before.muted_tags)


@pytest.mark.parametrize("change", [{"muted_words": ["WAR"]}, {"muted_tags": ["war"]}])
def test_muted_posts_disappear_from_the_next_page(ann, run_on_commit, change):
    assert any(post.startswith("bob") for post in served_posts())
    with run_on_commit():
        set_preferences(**change)
    assert {post[:3] for post in served_posts(now=LATER)} == {"cat"}


def test_posts_of_a_newly_private_member_disappear_from_other_feeds(ann):
    assert any(post.startswith("bob") for post in served_posts())
    preferences.set_preferences(member_id="bob", changes={"is_private": True}, now=LATER)
    assert {post[:3] for post in served_posts(now=LATER)} == {"cat"}


def test_an_unknown_preference_is_rejected_and_changes_nothing(ann):
    with pytest.raises(InvalidRequest, match="'is_admin'"):
        set_preferences(languages=["de"], is_admin=True)
    assert Member.objects.get(pk=ann.pk).languages == []
    with pytest.raises(UnknownMember):
        preferences.set_preferences(member_id="nobody", changes={}, now=NOW)


def test_a_member_without_settings_stays_private_after_setting_a_language(settings):
    """The strictest settings stay in force: setting a language is no consent to learning."""
    settings.ENV = settings.ENV.model_copy(update={"personalization_consent": "opt_in"})
    factories.member("ann", privacy=False)
    strictest = preferences.read_preferences(member_id="ann")
    assert (strictest.is_private, strictest.is_personalized, strictest.sensitivity) == (True, False, "safe")
    after = set_preferences(languages=["de"])
    assert (after.is_private, after.is_personalized, after.languages) == (True, False, ["de"])
    assert PrivacySettings.objects.get().sensitivity == Sensitivity.SAFE


# Stated interests


def first_author(now=LATER, **options):
    """Return who wrote the first pick of Ann's feed: bob or cat."""
    return recommend(member_id="ann", now=now, limit=5, **options).picks[0].post.author_id


@pytest.mark.parametrize(("tag", "author"), [("war", "bob"), ("yeast", "cat")])
def test_a_stated_interest_ranks_its_posts_first_before_the_first_event(ann, run_on_commit, tag, author):
    with run_on_commit():
        set_preferences(interest_tags=[tag])
    picks = recommend(member_id="ann", now=LATER, limit=8, explain=True).picks
    assert picks[0].post.author_id == author
    assert {pick.post.author_id: pick.parts["topic"] > 0 for pick in picks} == {
        "bob": tag == "war",
        "cat": tag == "yeast",
    }


def test_an_ended_interest_no_longer_counts(ann, run_on_commit):
    orders = []
    for tags in (["war"], [], ["yeast"], []):
        with run_on_commit():
            set_preferences(interest_tags=tags)
        orders.append(first_author())
    assert orders[0] == "bob" and orders[2] == "cat"
    assert orders[1] == orders[3]


def test_a_stated_interest_adds_to_what_is_learned(ann, run_on_commit):
    record_event("cat-0", "like")
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    with run_on_commit():
        set_preferences(interest_tags=["war"])
    picks = recommend(member_id="ann", now=LATER, limit=8, explain=True).picks
    topics = {pick.post.author_id: pick.parts["topic"] for pick in picks}
    assert topics["bob"] > topics["cat"] > 0


def test_negative_feedback_on_a_topic_replaces_the_stated_interest(ann, run_on_commit):
    with run_on_commit():
        set_preferences(now=NOW, interest_tags=["war"])
        record_event("bob-0", "not_interested", target="topic")
    assert first_author() == "cat"


@pytest.mark.parametrize("feed", ["non_personalized", "trending"])
def test_feeds_without_a_profile_use_no_stated_interest(ann, run_on_commit, feed):
    before = [pick.post.id for pick in recommend(member_id="ann", now=LATER, limit=8, feed=feed).picks]
    for tag in ("war", "yeast"):
        with run_on_commit():
            set_preferences(interest_tags=[tag])
        assert [pick.post.id for pick in recommend(member_id="ann", now=LATER, limit=8, feed=feed).picks] == before


def test_a_member_without_personalization_is_not_ranked_by_stated_interests(ann, run_on_commit):
    orders = []
    for tag in ("war", "yeast"):
        with run_on_commit():
            set_preferences(interest_tags=[tag], is_personalized=False)
        orders.append(first_author())
    assert orders[0] == orders[1]


# Relationships


def test_creating_and_deleting_a_relationship_is_idempotent(ann):
    for is_on, expected in ((True, {("ann", "mute", "bob")}), (False, set())):
        for _ in range(2):
            set_relationship("ann", "mute", "bob", is_on)
            assert relationships() == expected


def test_a_block_deletes_follows_and_applies_to_both_feeds_at_once(ann, run_on_commit):
    """Both members had cached pages. The end of the block does not restore the follows."""
    factories.post(ann, "by-ann")
    factories.embed_all_posts()
    set_relationship("ann", "follow", "bob")
    set_relationship("bob", "follow", "ann")
    assert "bob-0" in served_posts(now=LATER) and "bob-0" in served_posts(now=LATER, feed="following")
    assert served_posts("bob", now=LATER, feed="following") == {"by-ann"}
    with run_on_commit():
        set_relationship("ann", "block", "bob")
    assert relationships() == {("ann", "block", "bob")}
    for feed in ("discovery", "following", "trending", "non_personalized"):
        assert not [post for post in served_posts(now=LATER, feed=feed) if post.startswith("bob")]
        assert "by-ann" not in served_posts("bob", now=LATER, feed=feed)
    with run_on_commit():
        set_relationship("ann", "block", "bob", is_on=False)
    assert relationships() == set()
    assert "bob-0" in served_posts(now=LATER) and "by-ann" in served_posts("bob", now=LATER)


@pytest.mark.parametrize(("source", "target"), [("ann", "bob"), ("bob", "ann")])
def test_a_follow_across_a_block_has_no_effect_and_raises_no_error(ann, source, target):
    set_relationship("ann", "block", "bob")
    set_relationship(source, "follow", target)
    assert relationships() == {("ann", "block", "bob")}


def test_a_follow_interaction_across_a_block_has_no_effect(ann):
    set_relationship("bob", "block", "ann")
    events = [interact.Event(post_id, "ann", post_id, "follow") for post_id in ("bob-0", "cat-0")]
    assert [result.status for result in interact.record_events(events=events, now=NOW)] == ["rejected", "recorded"]
    assert relationships() == {("bob", "block", "ann"), ("ann", "follow", "cat")}


def test_an_invalid_relationship_is_rejected(ann):
    with pytest.raises(InvalidRequest, match="'marry'"):
        set_relationship("ann", "marry", "bob")
    with pytest.raises(InvalidRequest, match="themselves"):
        set_relationship("ann", "follow", "ann")
    with pytest.raises(UnknownMember):
        set_relationship("ann", "follow", "nobody")


# Consent and reset


def learn_and_count(now=NOW):
    """Learn Ann's interactions. Return the interaction count of her profile, or None without a profile."""
    ann = Member.objects.get(external_id="ann")
    learn.learn_interactions(member_ids=[ann.pk], now=now)
    return InterestProfile.objects.filter(member=ann).values_list("interaction_count", flat=True).first()


def test_without_consent_the_profile_is_deleted_and_nothing_is_learned_later(ann):
    """Interactions before and during the time without consent are not learned after a new consent."""
    record_event("bob-0")
    assert learn_and_count() == 1
    record_event("bob-1")
    set_preferences(is_personalized=False)
    assert not InterestProfile.objects.exists()
    without_consent_at = LATER + timedelta(minutes=1)
    record_event("bob-2", now=without_consent_at)
    assert learn_and_count(without_consent_at) is None
    consent_at = without_consent_at + timedelta(minutes=1)
    set_preferences(is_personalized=True, now=consent_at)
    assert learn_and_count(consent_at) is None
    learn.rebuild_interests(member_id=ann.pk, now=consent_at)
    assert not InterestProfile.objects.exists()
    assert not Interaction.objects.filter(is_learned=False).exists()
    record_event("cat-0", now=consent_at + timedelta(minutes=1))
    assert learn_and_count(consent_at + timedelta(minutes=1)) == 1
    assert PostStats.objects.get(post__external_id="bob-2").interaction_count == 1


def test_repeating_a_consent_deletes_nothing(ann):
    record_event("bob-0")
    assert learn_and_count() == 1
    set_preferences(is_personalized=True)
    assert learn_and_count(LATER) == 1


def test_a_reset_keeps_relationships_and_hidden_posts(ann, run_on_commit):
    record_event("bob-0")
    record_event("bob-1", "not_interested", target="author")
    record_event("cat-0", "hide")
    set_relationship("ann", "mute", "cat")
    learn_and_count()
    recommend(member_id="ann", now=NOW)
    records.record_served(now=NOW)
    assert len(wiring.served_history().fatigue(ann.pk, NOW.timestamp(), 3600).ids)
    with run_on_commit():
        preferences.reset_interests(member_id="ann", now=LATER)
    assert not InterestProfile.objects.exists()
    assert set(NegativeFeedback.objects.values_list("target", "post__external_id")) == {
        ("post", "bob-1"),
        ("post", "cat-0"),
    }
    assert relationships() == {("ann", "mute", "cat")}
    assert not len(wiring.served_history().fatigue(ann.pk, NOW.timestamp(), 3600).ids)
    assert not recommend(member_id="ann", now=LATER).is_cached


def test_interactions_before_a_reset_are_never_learned_again(ann):
    """Neither learned, pending nor late interactions, neither by a rebuild nor by an undo."""
    undone = record_event("bob-0")
    learn_and_count()
    record_event("bob-1")
    preferences.reset_interests(member_id="ann", now=LATER)
    after = LATER + timedelta(minutes=1)
    record_event("bob-2", now=after, occurred_at=NOW)
    assert learn_and_count(after) is None
    record_event("cat-0", now=after)
    assert learn_and_count(after) == 1
    learn.rebuild_interests(member_id=ann.pk, now=after)
    assert InterestProfile.objects.get().interaction_count == 1
    interact.record_events(events=[Event("undo", "ann", undoes_event_id=undone)], now=after)
    assert learn_and_count(after) == 1


def test_a_reset_deletes_the_stored_inputs_of_earlier_slates(ann, settings, monkeypatch):
    """Inputs hold interests: a reset deletes stored inputs and drops queued inputs."""
    monkeypatch.setattr(settings.ENV, "replay_share", 1.0)
    record_event("bob-0")
    learn_and_count()
    recommend(member_id="ann", now=NOW)
    records.record_served(now=NOW)
    assert FeedInputs.objects.count() == 1
    wiring.slate_cache().purge([ann.pk])
    recommend(member_id="ann", now=NOW)
    preferences.reset_interests(member_id="ann", now=LATER)
    assert not FeedInputs.objects.exists()
    records.record_served(now=LATER)
    assert not FeedInputs.objects.exists()
    wiring.slate_cache().purge([ann.pk])
    recommend(member_id="ann", now=LATER + timedelta(minutes=1))
    records.record_served(now=LATER + timedelta(minutes=1))
    assert FeedInputs.objects.count() == 1


def test_setting_preferences_does_not_overwrite_a_concurrent_reset(ann, monkeypatch):
    """Another request resets the member after the row is read. Only the changed columns are saved."""
    get_member = preferences.get_member

    def get_then_reset(member_id):
        row = get_member(member_id)
        Member.objects.filter(pk=row.pk).update(interests_reset_at=NOW, is_active=False)
        return row

    with monkeypatch.context() as patch:
        patch.setattr(preferences, "get_member", get_then_reset)
        set_preferences(region="DE")
    row = Member.objects.get(pk=ann.pk)
    assert (row.region, row.interests_reset_at, row.is_active) == ("DE", NOW, False)


# Through the API


@pytest.fixture
def api(client, settings, monkeypatch):
    monkeypatch.setattr(settings.ENV, "api_open", True)
    return client


def test_the_api_sets_and_reads_preferences(ann, api):
    url = "/api/v1/members/ann/preferences"
    changes = {"muted_tags": ["war"], "interest_tags": ["bread"], "region": "DE"}
    changed = api.patch(url, changes, content_type="application/json")
    assert changed.status_code == 200, changed.content
    assert changed.json() == api.get(url).json()
    assert {name: changed.json()[name] for name in changes} == changes
    invalid = api.patch(url, {"sensitivity": "wild"}, content_type="application/json")
    assert (invalid.status_code, invalid.json()["errors"][0]["pointer"]) == (400, "/sensitivity")
    assert api.get("/api/v1/members/nobody/preferences").status_code == 404


def test_the_api_changes_relationships_and_resets_interests(ann, api):
    assert api.put("/api/v1/members/ann/relationships/block/bob").status_code == 204
    assert relationships() == {("ann", "block", "bob")}
    assert api.delete("/api/v1/members/ann/relationships/block/bob").status_code == 204
    assert relationships() == set()
    assert api.put("/api/v1/members/ann/relationships/marry/bob").status_code == 400
    assert api.put("/api/v1/members/ann/relationships/follow/nobody").status_code == 404
    record_event("bob-0")
    assert learn_and_count() == 1
    assert api.post("/api/v1/members/ann/reset", content_type="application/json").status_code == 204
    assert not InterestProfile.objects.exists()
    assert api.post("/api/v1/members/nobody/reset", content_type="application/json").status_code == 404


def test_a_reset_of_one_member_changes_nothing_of_the_others(ann, settings, monkeypatch):
    monkeypatch.setattr(settings.ENV, "replay_share", 1.0)
    record_event("cat-0", member_id="bob")
    record_event("cat-1", "not_interested", member_id="bob", target="author")
    bob = Member.objects.get(external_id="bob")
    learn.learn_interactions(member_ids=[bob.pk], now=NOW)
    recommend(member_id="bob", now=NOW)
    records.record_served(now=NOW)

    def stored_rows():
        rows = (InterestProfile, NegativeFeedback, Member)
        return [list(row.objects.filter(**{"pk" if row is Member else "member": bob.pk}).values()) for row in rows]

    before = stored_rows()
    assert all(before) and FeedInputs.objects.filter(request__member=bob).exists()
    preferences.reset_interests(member_id="ann", now=LATER)
    assert stored_rows() == before and FeedInputs.objects.filter(request__member=bob).exists()

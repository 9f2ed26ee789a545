"""What members want and allow, and their ties: each holds on the next request, and what is forgotten stays so."""

from datetime import timedelta
from uuid import uuid4

import pytest

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
from recommendations.services.errors import InvalidRequest, UnknownMember
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
    """Make Ann; Bob writes of films, Cat of bread."""
    ann = factories.member("ann")
    for name, text in (("bob", "a film about war"), ("cat", "bread and yeast")):
        author = factories.member(name)
        for i in range(4):
            factories.post(author, f"{name}-{i}", text=f"{text} {i}", tags=[text.split()[-1]])
    factories.embed_all_posts()
    return ann


@pytest.fixture(autouse=True)
def run_on_commit(django_capture_on_commit_callbacks):
    """Return a context in which what is asked for on commit is done."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


def record_event(post_id, kind="like", now=NOW, **fields):
    """Have Ann do something, and return the event's id."""
    event = Event(**{"event_id": uuid4().hex, "member_id": "ann", "post_id": post_id, "kind": kind, **fields})
    assert [r.status for r in interact.record_events(events=[event], now=now)] == ["recorded"]
    return event.event_id


def shown_posts(who="ann", now=NOW, **asked):
    return {pick.post.id for pick in recommend(member_id=who, now=now, limit=100, **asked).picks}


def set_preferences(now=LATER, **changes):
    return preferences.set_preferences(member_id="ann", changes=changes, now=now)


def set_relationship(member_id, kind, other_id, is_on=True, now=LATER):
    preferences.set_relationship(member_id=member_id, kind=kind, other_id=other_id, is_on=is_on, now=now)


def relationships():
    return set(Relationship.objects.values_list("source__external_id", "kind", "target__external_id"))


# Preferences


def test_what_is_set_is_what_is_read_and_the_rest_stays(ann):
    before = preferences.read_preferences(member_id="ann")
    after = set_preferences(languages=["de", "en"], sensitivity="sensitive", muted_words=["spoiler"])
    assert after == preferences.read_preferences(member_id="ann")
    assert (after.languages, after.sensitivity, after.muted_words) == (["de", "en"], "sensitive", ["spoiler"])
    assert (after.region, after.is_private, after.muted_tags) == (before.region, before.is_private, before.muted_tags)


@pytest.mark.parametrize("change", [{"muted_words": ["WAR"]}, {"muted_tags": ["war"]}])
def test_what_is_muted_is_gone_from_the_next_page(ann, run_on_commit, change):
    assert any(post.startswith("bob") for post in shown_posts())
    with run_on_commit():
        set_preferences(**change)
    assert {post[:3] for post in shown_posts(now=LATER)} == {"cat"}


def test_a_member_who_becomes_private_is_gone_from_strangers_feeds(ann):
    assert any(post.startswith("bob") for post in shown_posts())
    preferences.set_preferences(member_id="bob", changes={"is_private": True}, now=LATER)
    assert {post[:3] for post in shown_posts(now=LATER)} == {"cat"}


def test_what_is_no_preference_is_refused_by_name_and_changes_nothing(ann):
    with pytest.raises(InvalidRequest, match="'is_admin'"):
        set_preferences(languages=["de"], is_admin=True)
    assert Member.objects.get(pk=ann.pk).languages == []
    with pytest.raises(UnknownMember):
        preferences.set_preferences(member_id="nobody", changes={}, now=NOW)


def test_who_has_no_settings_stays_private_and_unlearned_when_they_set_one():
    """Ignorance is a no before and after: asking for a language is no consent."""
    factories.member("ann", privacy=False)
    strictest = preferences.read_preferences(member_id="ann")
    assert (strictest.is_private, strictest.is_personalized, strictest.sensitivity) == (True, False, "safe")
    after = set_preferences(languages=["de"])
    assert (after.is_private, after.is_personalized, after.languages) == (True, False, ["de"])
    assert PrivacySettings.objects.get().sensitivity == Sensitivity.SAFE


# Ties


def test_a_tie_made_twice_is_one_and_ended_twice_is_none(ann):
    for is_on, expected in ((True, {("ann", "mute", "bob")}), (False, set())):
        for _ in range(2):
            set_relationship("ann", "mute", "bob", is_on)
            assert relationships() == expected


def test_a_block_ends_the_follows_and_holds_in_both_feeds_at_once(ann, run_on_commit):
    """Both had pages kept for them; the follows do not come back when the block ends."""
    factories.post(ann, "by-ann")
    factories.embed_all_posts()
    set_relationship("ann", "follow", "bob")
    set_relationship("bob", "follow", "ann")
    assert "bob-0" in shown_posts(now=LATER) and "bob-0" in shown_posts(now=LATER, feed="following")
    assert shown_posts("bob", now=LATER, feed="following") == {"by-ann"}
    with run_on_commit():
        set_relationship("ann", "block", "bob")
    assert relationships() == {("ann", "block", "bob")}
    for feed in ("discovery", "following", "trending", "non_personalized"):
        assert not [post for post in shown_posts(now=LATER, feed=feed) if post.startswith("bob")]
        assert "by-ann" not in shown_posts("bob", now=LATER, feed=feed)
    with run_on_commit():
        set_relationship("ann", "block", "bob", is_on=False)
    assert relationships() == set()
    assert "bob-0" in shown_posts(now=LATER) and "by-ann" in shown_posts("bob", now=LATER)


@pytest.mark.parametrize(("who", "whom"), [("ann", "bob"), ("bob", "ann")])
def test_nobody_follows_across_a_block_and_the_blocked_one_is_not_told(ann, who, whom):
    set_relationship("ann", "block", "bob")
    set_relationship(who, "follow", whom)
    assert relationships() == {("ann", "block", "bob")}


def test_a_follow_from_a_post_does_not_cross_a_block_either(ann):
    set_relationship("bob", "block", "ann")
    record_event("bob-0", "follow")
    record_event("cat-0", "follow")
    assert relationships() == {("bob", "block", "ann"), ("ann", "follow", "cat")}


def test_an_impossible_tie_is_refused(ann):
    with pytest.raises(InvalidRequest, match="'marry'"):
        set_relationship("ann", "marry", "bob")
    with pytest.raises(InvalidRequest, match="themselves"):
        set_relationship("ann", "follow", "ann")
    with pytest.raises(UnknownMember):
        set_relationship("ann", "follow", "nobody")


# Consent and a fresh start


def learn_and_count(now=NOW):
    """Learn what Ann did, and return how many acts her profile holds; None without a profile."""
    ann = Member.objects.get(external_id="ann")
    learn.learn_interactions(member_ids=[ann.pk], now=now)
    return InterestProfile.objects.filter(member=ann).values_list("interaction_count", flat=True).first()


def test_without_consent_the_profile_is_gone_and_nothing_is_learned_nor_caught_up_on(ann):
    """Neither what was done before nor what was done meanwhile is learned after consent is given again."""
    record_event("bob-0")
    assert learn_and_count() == 1
    record_event("bob-1")
    set_preferences(is_personalized=False)
    assert not InterestProfile.objects.exists()
    meanwhile = LATER + timedelta(minutes=1)
    record_event("bob-2", now=meanwhile)
    assert learn_and_count(meanwhile) is None
    again = meanwhile + timedelta(minutes=1)
    set_preferences(is_personalized=True, now=again)
    assert learn_and_count(again) is None
    learn.rebuild_interests(member_id=ann.pk, now=again)
    assert not InterestProfile.objects.exists()
    assert not Interaction.objects.filter(is_learned=False).exists()
    record_event("cat-0", now=again + timedelta(minutes=1))
    assert learn_and_count(again + timedelta(minutes=1)) == 1
    assert PostStats.objects.get(post__external_id="bob-2").interaction_count == 1


def test_the_same_consent_given_again_forgets_nothing(ann):
    record_event("bob-0")
    assert learn_and_count() == 1
    set_preferences(is_personalized=True)
    assert learn_and_count(LATER) == 1


def test_a_fresh_start_forgets_taste_wishes_and_what_was_served_but_no_tie_and_no_hidden_post(ann, run_on_commit):
    record_event("bob-0")
    record_event("bob-1", "not_interested", reason="author")
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
    assert not recommend(member_id="ann", now=LATER).cached


def test_a_fresh_start_of_one_member_leaves_what_is_known_of_the_others(ann, settings, monkeypatch):
    monkeypatch.setattr(settings.ENV, "replay_share", 1.0)
    record_event("cat-0", member_id="bob")
    record_event("cat-1", "not_interested", member_id="bob", reason="author")
    bob = Member.objects.get(external_id="bob")
    learn.learn_interactions(member_ids=[bob.pk], now=NOW)
    recommend(member_id="bob", now=NOW)
    records.record_served(now=NOW)

    def known():
        rows = (InterestProfile, NegativeFeedback, Member)
        return [list(row.objects.filter(**{"pk" if row is Member else "member": bob.pk}).values()) for row in rows]

    before = known()
    assert all(before) and FeedInputs.objects.filter(request__member=bob).exists()
    preferences.reset_interests(member_id="ann", now=LATER)
    assert known() == before and FeedInputs.objects.filter(request__member=bob).exists()


def test_acts_before_a_fresh_start_are_never_learned_again(ann):
    """Not those learned, not those waiting, not those that arrive late, not by a rebuild nor for an undo's sake."""
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


def test_what_an_earlier_slate_was_ranked_from_is_forgotten_too(ann, settings, monkeypatch):
    """Its inputs hold interests: neither those written nor those still queued outlive a fresh start."""
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


def test_preferences_do_not_write_over_a_fresh_start_made_meanwhile(ann, monkeypatch):
    """The member's row is read, then another request resets: only what is asked for is written."""
    read = preferences.get_member

    def interrupted(member_id):
        row = read(member_id)
        Member.objects.filter(pk=row.pk).update(interests_reset_at=NOW, is_active=False)
        return row

    with monkeypatch.context() as patch:
        patch.setattr(preferences, "get_member", interrupted)
        set_preferences(region="DE")
    row = Member.objects.get(pk=ann.pk)
    assert (row.region, row.interests_reset_at, row.is_active) == ("DE", NOW, False)


# Through the API


@pytest.fixture
def api(client, settings, monkeypatch):
    monkeypatch.setattr(settings.ENV, "api_open", True)
    return client


def test_the_api_sets_and_reads_preferences(ann, api):
    address = "/api/v1/members/ann/preferences"
    changed = api.patch(address, {"muted_tags": ["war"], "region": "DE"}, content_type="application/json")
    assert changed.status_code == 200, changed.content
    assert changed.json() == api.get(address).json()
    assert (changed.json()["muted_tags"], changed.json()["region"]) == (["war"], "DE")
    wrong = api.patch(address, {"sensitivity": "wild"}, content_type="application/json")
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (400, "/sensitivity")
    assert api.get("/api/v1/members/nobody/preferences").status_code == 404


def test_the_api_makes_and_ends_ties_and_gives_a_fresh_start(ann, api):
    assert api.put("/api/v1/members/ann/ties/block/bob").status_code == 204
    assert relationships() == {("ann", "block", "bob")}
    assert api.delete("/api/v1/members/ann/ties/block/bob").status_code == 204
    assert relationships() == set()
    assert api.put("/api/v1/members/ann/ties/marry/bob").status_code == 400
    assert api.put("/api/v1/members/ann/ties/follow/nobody").status_code == 404
    record_event("bob-0")
    assert learn_and_count() == 1
    assert api.post("/api/v1/members/ann/reset").status_code == 204
    assert not InterestProfile.objects.exists()
    assert api.post("/api/v1/members/nobody/reset").status_code == 404

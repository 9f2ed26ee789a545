"""Which posts a member may see decides what they may write about, and what their lists name."""

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from recommendations import feeds
from recommendations.contracts import Sensitivity, Visibility
from recommendations.models import Interaction, InterestProfile, Member, NegativeFeedback, Post, SeenPost
from recommendations.pipeline.stages import mandatory_filter
from recommendations.services.errors import FactsUnavailable
from recommendations.services.learning import interact, learn
from recommendations.services.learning.interact import Event
from recommendations.services.measuring.show_less_effect import show_less_effects
from recommendations.services.members.profile_file.export_profile import export_profile
from recommendations.services.serving import visibility
from recommendations.services.serving.similar import find_similar
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture
def ann():
    """Create Ann, and Bob with two posts."""
    ann, bob = factories.member("ann"), factories.member("bob")
    factories.post(bob, "b1", tags=["war", "food"], kind="essay")
    factories.post(bob, "b2", tags=["food"], kind="text")
    factories.embed_all_posts()
    return ann


def record(post_id, kind="like", member_id="ann", event_id="", **fields):
    event = Event(event_id or f"{member_id}-{post_id}-{kind}", member_id, post_id, kind, **fields)
    return interact.record_events(events=[event], now=NOW)[0].status


def hide(post_id):
    Post.objects.filter(external_id=post_id).update(visibility=Visibility.PRIVATE)


@pytest.mark.parametrize(
    "fields",
    [{"visibility": Visibility.PRIVATE}, {"visibility": Visibility.UNLISTED}, {"sensitivity": Sensitivity.FORBIDDEN}],
)
def test_members_see_their_own_posts_until_they_are_taken_down(ann, fields):
    post = factories.post(ann, "own", **fields)
    assert record("own", "view") == "recorded" and interact.mark_seen(member_id="ann", post_ids=["own"], now=NOW) == 1
    assert record("own", "view", member_id="bob") == "rejected"
    Post.objects.filter(pk=post.pk).update(removed_at=NOW)
    assert record("own", "like") == "rejected"
    assert interact.mark_seen(member_id="ann", post_ids=["own"], now=NOW) == 0


def test_a_follower_may_write_about_what_only_followers_see(ann):
    Post.objects.filter(external_id="b1").update(visibility=Visibility.FOLLOWERS)
    assert record("b1") == "rejected"
    factories.follow(ann, Member.objects.get(external_id="bob"))
    assert record("b1") == "recorded"


def test_adult_content_needs_a_known_adult_who_accepts_it(ann):
    Post.objects.filter(external_id="b1").update(sensitivity=Sensitivity.ADULT)
    factories.member("adult", is_adult=True, sensitivity=Sensitivity.ADULT)
    factories.member("unknown", sensitivity=Sensitivity.ADULT)
    factories.member("by-birth", birth_year=1980, sensitivity=Sensitivity.ADULT)
    statuses = {name: record("b1", member_id=name) for name in ("ann", "adult", "unknown", "by-birth")}
    assert statuses == {"ann": "rejected", "adult": "recorded", "unknown": "rejected", "by-birth": "recorded"}


def test_a_rejected_event_leaves_nothing_and_an_undo_of_an_earlier_one_is_accepted(ann):
    assert record("b1", "hide", event_id="e1") == "recorded"
    hide("b1")
    assert record("b1", "not_interested", target="topic") == "rejected"
    assert Interaction.objects.count() == NegativeFeedback.objects.count() == SeenPost.objects.count() == 1
    (undone,) = interact.record_events(events=[Event("e2", "ann", undoes_event_id="e1")], now=NOW)
    assert undone.status == "recorded"
    assert not NegativeFeedback.objects.exists()


def test_each_member_of_a_batch_is_checked_in_as_many_queries_as_one(ann):
    bob = Member.objects.get(external_id="bob")
    others = [factories.member(f"m{n}") for n in range(20)]
    for other in others[:10]:
        factories.block(other, bob) if other.pk % 2 else factories.block(bob, other)
    wanted = {other.pk: {"b1", "b2", "none"} for other in others}
    for part in ({ann.pk: {"none"}}, {ann.pk: {"b1"}}, wanted):
        with CaptureQueriesContext(connection) as queries:
            visible = visibility.find_visible_posts(part, NOW)
        assert len(queries) == 3
    assert set(visible) == {(other.pk, post_id) for other in others[10:] for post_id in ("b1", "b2")}


@pytest.mark.parametrize(
    "ask",
    [
        lambda: record("b1"),
        lambda: interact.mark_seen(member_id="ann", post_ids=["b1"], now=NOW),
        lambda: find_similar(post_id="b1", viewer_id="ann", now=NOW),
        lambda: export_profile(member_id="ann", now=NOW),
    ],
)
def test_without_facts_nothing_is_answered_or_written(ann, monkeypatch, ask):
    assert record("b2") == "recorded"

    def fail(**_):
        raise DatabaseError("gone")

    @mandatory_filter
    def failing(query, candidates):
        raise RuntimeError("a bug")

    for patch in ((visibility, "read_post_facts", fail), (feeds, "MANDATORY_FILTERS", (failing,))):
        with monkeypatch.context() as context:
            context.setattr(*patch)
            with pytest.raises(FactsUnavailable):
                ask()
    assert Interaction.objects.count() == SeenPost.objects.count() == 1


# Lists


def affinities():
    found = export_profile(member_id="ann", now=NOW)["interests"]["affinities"]
    return {target: set(sums) for target, sums in found.items()}


def test_names_that_only_a_hidden_post_explains_are_left_out_of_the_profile_file(ann):
    record("b1"), record("b2")
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    profile = InterestProfile.objects.get()
    profile.affinities["topic"]["from-a-file"] = 1.0
    profile.save()
    assert affinities() == {"author": {"bob"}, "topic": {"war", "food", "from-a-file"}, "kind": {"essay", "text"}}
    hide("b1")
    assert affinities() == {"author": {"bob"}, "topic": {"food", "from-a-file"}, "kind": {"text"}}
    hide("b2")
    assert affinities() == {"author": set(), "topic": {"from-a-file"}, "kind": set()}
    Post.objects.update(visibility=Visibility.PUBLIC)
    assert affinities()["topic"] == {"war", "food", "from-a-file"}, "what was learned is still there"


def test_feedback_on_a_hidden_post_is_left_out_of_the_lists_but_stays_in_force(ann):
    for target in ("author", "topic", "kind"):
        record("b1", "not_interested", target=target, event_id=target)
    keys = {("author", "bob"), ("topic", "war"), ("kind", "essay")}
    assert {(e.target, e.target_key) for e in show_less_effects(member_id="ann", now=NOW)} == keys
    hide("b1")
    assert show_less_effects(member_id="ann", now=NOW) == []
    file = export_profile(member_id="ann", now=NOW)
    assert file["negative_feedback"] == file["seen"] == []
    assert NegativeFeedback.objects.filter(member=ann).count() == 6

"""Consent: its default, what a missing choice means, implicit signals of minors, and feeds that read no history."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.forms.models import model_to_dict
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.contracts import IMPLICIT_KINDS, InteractionKind
from recommendations.models import (
    CoLikes,
    Interaction,
    InterestProfile,
    Member,
    NegativeFeedback,
    PostStats,
    PrivacySettings,
    ReactionHistory,
    RegionStats,
    Relationship,
    SeenPost,
    Undo,
)
from recommendations.services import wiring
from recommendations.services.content import import_movielens
from recommendations.services.evaluating import live
from recommendations.services.learning import co_likes, interact, learn
from recommendations.services.members import preferences
from recommendations.services.serving import recommend as serving
from recommendations.services.serving.recommend import recommend
from recommendations.services.training.train import read_likes
from recommendations.stores import relational_viewers, resident_facts
from recsys_project.environment import Environment
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
BEFORE = NOW - timedelta(hours=3)
HISTORY_TABLES = tuple(model._meta.db_table for model in (SeenPost, InterestProfile, ReactionHistory, Interaction))


@pytest.fixture
def consent(settings):
    """Return a function that sets PERSONALIZATION_CONSENT."""

    def set_consent(value):
        settings.ENV = settings.ENV.model_copy(update={"personalization_consent": value})
        wiring.reset_parts()

    return set_consent


def liked_posts(count=3):
    author = factories.member("author", is_personalized=True)
    posts = factories.posts(author, count)
    factories.embed_all_posts()
    return posts


def learn_all(*members):
    learn.learn_interactions(member_ids=[member.pk for member in members], now=NOW)


def test_the_default_is_opt_out():
    assert Environment.model_fields["personalization_consent"].default == "opt_out"


@pytest.mark.parametrize(("value", "is_personalized"), [("opt_in", False), ("opt_out", True)])
@pytest.mark.parametrize("has_settings", [True, False], ids=["new settings", "no settings"])
def test_a_member_without_a_choice_is_treated_alike_by_every_reader(consent, value, is_personalized, has_settings):
    consent(value)
    posts = liked_posts()
    ann = factories.member("ann", privacy=has_settings)
    for post in posts:
        factories.interaction(ann, post, at=BEFORE)
    learn_all(ann)
    assert preferences.read_preferences(member_id="ann").is_personalized is is_personalized
    assert wiring.resident_facts().get_viewer(NOW, external_id="ann").is_personalized is is_personalized
    assert InterestProfile.objects.filter(member=ann).exists() is is_personalized
    assert ReactionHistory.objects.filter(member=ann).exists() is is_personalized
    learn.rebuild_interests(member_id=ann.pk, now=NOW)
    assert InterestProfile.objects.filter(member=ann).exists() is is_personalized
    assert ReactionHistory.objects.filter(member=ann).exists() is is_personalized
    likes, _ = read_likes(lambda *_: None)
    assert (ann.pk in likes.member_ids.tolist()) is is_personalized
    assert live.evaluated_interactions(NOW).exists() is is_personalized
    preferences.set_preferences(member_id="ann", changes={"languages": ["de"]}, now=NOW)
    assert PrivacySettings.objects.get(member=ann).is_personalized is is_personalized, "other changes keep it"
    assert has_settings or PrivacySettings.objects.get(member=ann).is_private, "without settings, strictest otherwise"


def test_a_stored_choice_does_not_depend_on_the_setting(consent):
    consent("opt_in")
    factories.member("ann", is_personalized=True)
    factories.member("bob", is_personalized=False)
    for value in ("opt_in", "opt_out"):
        consent(value)
        assert [preferences.read_preferences(member_id=name).is_personalized for name in ("ann", "bob")] == [
            True,
            False,
        ]


@pytest.mark.parametrize("change", ["insert", "update", "delete"])
def test_triggers_delete_the_history_of_a_member_whose_choice_ends_it(consent, change):
    consent("opt_out")
    ann = factories.member("ann", privacy=change != "insert")
    for post in liked_posts():
        factories.interaction(ann, post, at=BEFORE)
    learn_all(ann)
    assert ReactionHistory.objects.filter(member=ann).exists()
    if change == "insert":
        PrivacySettings.objects.create(member=ann, is_personalized=False, changed_at=NOW)
    elif change == "update":
        PrivacySettings.objects.filter(member=ann).update(is_personalized=False)
    else:
        PrivacySettings.objects.filter(member=ann)._raw_delete("default")
    assert not ReactionHistory.objects.filter(member=ann).exists()
    co_likes.count_changes(now=NOW)
    assert not CoLikes.objects.filter(like_count__gt=0).exists()


def test_the_sample_members_agree(consent):
    consent("opt_in")
    import_movielens.add_members({"movielens:1": NOW}, NOW)
    assert PrivacySettings.objects.get().is_personalized


# Implicit signals


LEARNED = (InterestProfile, ReactionHistory, CoLikes, PostStats, RegionStats, NegativeFeedback, Relationship)
UNKNOWN_ADULTS = [
    pytest.param({}, id="age unknown"),
    pytest.param({"is_adult": False}, id="not an adult"),
    pytest.param({"birth_year": NOW.year - 18}, id="perhaps 17"),
    pytest.param({"is_adult": False, "birth_year": 1980}, id="the platform's statement decides"),
]
events = st.lists(
    st.tuples(
        st.integers(0, 1),  # member
        st.integers(0, 4),  # post
        st.sampled_from(list(InteractionKind)),
        st.integers(1, 10_000),  # seconds before
        st.booleans(),  # undone later
    ),
    min_size=1,
    max_size=14,
)


def learned_state():
    """Return every row that learning writes, by platform ids that do not depend on the order of rows."""
    state = {}
    for model in LEARNED:
        rows = [model_to_dict(row) | {"pk": None, "id": None} for row in model.objects.all()]
        for row in rows:
            for name in ("changed_at", "event_id"):
                row.pop(name, None)
        state[model.__name__] = sorted(
            json.dumps({key: bytes(v).hex() if isinstance(v, bytes | memoryview) else str(v) for key, v in row.items()})
            for row in rows
        )
    return state


def clear_learned():
    """Delete everything that was learned and sent. Co-likes follow the histories first."""
    Interaction.objects.all().delete()
    Undo.objects.all().delete()
    ReactionHistory.objects.all().delete()
    co_likes.count_changes(now=NOW)
    for model in (*LEARNED, SeenPost):
        model.objects.all().delete()


def play(members, posts, history):
    """Send and learn a history in two parts, undo what is undone, and return what was learned."""
    rows = [
        interact.Event(
            f"e{i}", members[m].external_id, posts[p].external_id, kind.value,
            occurred_at=NOW - timedelta(seconds=10_000 + seconds),
        )
        for i, (m, p, kind, seconds, _) in history
    ]  # fmt: skip
    for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        interact.record_events(events=part, now=NOW)
        learn_all(*members)
    undone = [(i, members[m].external_id) for i, (m, *_, is_undone) in history if is_undone]
    undos = [interact.Event(f"u{i}", name, undoes_event_id=f"e{i}") for i, name in undone]
    interact.record_events(events=undos, now=NOW)
    learn_all(*members)
    co_likes.count_changes(now=NOW)
    return learned_state()


def test_implicit_signals_of_members_not_known_to_be_adults_weigh_nothing():
    """Over generated histories: all that is learned equals what is learned without the implicit events."""
    author = factories.member("author")
    posts = factories.posts(author, 5, tags=["a", "b"])
    factories.embed_all_posts()
    members = [factories.member(f"m{i}", region="DE") for i in range(2)]

    @settings(max_examples=8)
    @given(events)
    def check(generated):
        history = list(enumerate(generated))
        explicit = [item for item in history if item[1][2] not in IMPLICIT_KINDS]
        clear_learned()
        with_implicit = play(members, posts, history)
        clear_learned()
        assert with_implicit == play(members, posts, explicit)

    check()


@pytest.mark.parametrize("age", UNKNOWN_ADULTS)
@pytest.mark.parametrize("kind", IMPLICIT_KINDS)
def test_nothing_is_learned_from_an_implicit_signal_of_a_member_not_known_to_be_an_adult(age, kind):
    (post, *_) = liked_posts()
    ann = factories.member("ann", region="DE", **age)
    factories.interaction(ann, post, kind.value, at=BEFORE)
    learn_all(ann)
    assert not any(model.objects.exists() for model in (InterestProfile, ReactionHistory, PostStats, RegionStats))
    assert not learn.pending_interactions(NOW).exists(), "it is not tried again"


def test_implicit_signals_of_adults_count():
    (post, *_) = liked_posts()
    for name, age in {"adult": {"is_adult": True}, "old": {"birth_year": 1980}}.items():
        member = factories.member(name, **age)
        factories.interaction(member, post, "click", at=BEFORE)
        learn_all(member)
        assert InterestProfile.objects.filter(member=member).exists()
    assert PostStats.objects.get(post=post).interaction_count == 2


def test_an_ignored_interaction_stays_ignored_and_counts_no_more_after_a_change_of_the_age():
    (post, *_) = liked_posts()
    ann = factories.member("ann", is_adult=False)
    factories.interaction(ann, post, "click", at=BEFORE, event_id="c")
    learn_all(ann)
    assert Interaction.objects.get().is_ignored and not PostStats.objects.exists()
    Member.objects.filter(pk=ann.pk).update(is_adult=True)
    learn.rebuild_interests(member_id=ann.pk, now=NOW)
    assert not InterestProfile.objects.filter(member=ann).exists()
    interact.record_events(events=[interact.Event("u", "ann", undoes_event_id="c")], now=NOW)
    learn_all(ann)
    assert not PostStats.objects.exists(), "nothing is taken back that was not counted"


def test_a_rebuild_drops_implicit_signals_of_a_member_who_turns_out_to_be_no_adult():
    (post, *_) = liked_posts()
    ann = factories.member("ann", is_adult=True)
    factories.interaction(ann, post, "click", at=BEFORE)
    learn_all(ann)
    assert ReactionHistory.objects.filter(member=ann).exists()
    Member.objects.filter(pk=ann.pk).update(is_adult=False)
    learn.rebuild_interests(member_id=ann.pk, now=NOW)
    assert not ReactionHistory.objects.filter(member=ann).exists()
    assert not InterestProfile.objects.filter(member=ann).exists()


# Feeds without history


GRAPHQL = {
    "feed": '{ feed(name: "%s", memberId: "ann", first: 3) { edges { node { post { id } } } } }',
    "similar": '{ similarPosts(postId: "%s", viewerId: "ann", first: 3) { post { id } } }',
    "search": '{ crossModalSearch(postId: "%s", viewerId: "ann", space: "content") { post { id } } }',
}


@pytest.fixture
def platform(settings):
    settings.ENV = settings.ENV.model_copy(update={"api_open": True})
    posts = liked_posts(6)
    ann = factories.member("ann", is_adult=True, is_personalized=True)
    factories.follow(ann, posts[0].author)
    for post in posts[:2]:
        factories.interaction(ann, post, at=BEFORE)
        SeenPost.objects.create(member=ann, post=post, seen_at=BEFORE)
    learn_all(ann)
    preferences.set_preferences(member_id="ann", changes={"is_personalized": False}, now=NOW)
    return posts


def requests(posts):
    """Return each way to ask for a page as ann: a name, and a function of a client."""
    by_name = {
        f"REST {feed}": lambda client, feed=feed: client.get(f"/api/v1/members/ann/feed?limit=3&feed={feed}")
        for feed in serving.FEEDS
    }
    by_name["REST similar"] = lambda client: client.get(f"/api/v1/posts/{posts[0].external_id}/similar?viewer_id=ann")
    by_name["REST search"] = lambda client: client.get(
        f"/api/v1/search?viewer_id=ann&space=content&post_id={posts[0].external_id}"
    )
    for feed in serving.FEEDS:
        by_name[f"GraphQL {feed}"] = lambda client, feed=feed: ask(client, GRAPHQL["feed"] % feed)
    for name in ("similar", "search"):
        query = GRAPHQL[name] % posts[0].external_id
        by_name[f"GraphQL {name}"] = lambda client, query=query: ask(client, query)
    return by_name


def ask(client, query):
    return client.post("/graphql", json.dumps({"query": query}), content_type="application/json")


def test_no_page_reads_the_history_of_a_member_who_is_not_personalized(platform, client, monkeypatch):
    """In every feed, similar posts and search, over REST and GraphQL, fresh and cached."""

    def refuse(*_args, **_options):
        raise AssertionError("The history is read.")

    for name in ("get_seen_posts", "get_history"):
        monkeypatch.setattr(resident_facts.ResidentFacts, name, refuse)
    monkeypatch.setattr(relational_viewers, "find_seen", refuse)
    monkeypatch.setattr(wiring.served_history(), "fatigue", refuse)
    for name, request in requests(platform).items():
        for attempt in ("fresh", "cached"):
            with CaptureQueriesContext(connection) as queries:
                response = request(client)
            assert response.status_code == 200, (name, response.content)
            assert b'"errors"' not in response.content, (name, response.content)
            assert b'"post"' in response.content, name
            read = [sql for sql in (query["sql"] for query in queries) if "SELECT" in sql and names_history(sql)]
            assert not read, (name, attempt)


def names_history(sql):
    """Return whether a statement names a table with what members did."""
    return any(table in sql for table in HISTORY_TABLES) and not sql.startswith(("INSERT", "DELETE", "UPDATE"))


def test_seen_posts_are_no_reason_to_drop_a_post_without_personalization(platform):
    ids = {pick.post.id for pick in recommend(member_id="ann", now=NOW).picks}
    assert {post.external_id for post in platform[:2]} <= ids
    preferences.set_preferences(member_id="ann", changes={"is_personalized": True}, now=NOW)
    ids = {pick.post.id for pick in recommend(member_id="ann", now=NOW).picks}
    assert ids.isdisjoint({post.external_id for post in platform[:2]})

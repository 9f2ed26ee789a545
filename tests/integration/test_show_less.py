"""Show less of an author, topic or kind applies to the next page, is measured and can be undone."""

from datetime import timedelta

import pytest

from recommendations.models import NegativeFeedback, Post
from recommendations.services.learning import interact, learn
from recommendations.services.learning.interact import Event
from recommendations.services.serving import records
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

SECOND = timedelta(seconds=1)
LIMIT = 12


@pytest.fixture
def ann():
    """Create Ann and 48 posts. Of every four posts, one is by Bob, another is about war and a third is a video."""
    ann, bob = factories.member("ann"), factories.member("bob")
    others = [factories.member(f"author-{i}") for i in range(6)]
    for i in range(48):
        author = bob if i % 4 == 0 else others[i % 6]
        kind, tag = "video" if i % 4 == 2 else "text", "war" if i % 4 == 1 else f"topic-{i % 5}"
        factories.post(author, f"p{i}", tags=[tag], kind=kind, at=NOW, created_at=NOW - timedelta(minutes=60 + i))
    factories.embed_all_posts()
    return ann


@pytest.fixture(autouse=True)
def run_on_commit(django_capture_on_commit_callbacks):
    return lambda: django_capture_on_commit_callbacks(execute=True)


MATCHES_TARGET = {
    "author": lambda post: post.author_id == "bob",
    "topic": lambda post: "war" in post.tags,
    "kind": lambda post: post.kind == "video",
}
TARGET_KEYS = {"author": "bob", "topic": "war", "kind": "video"}


def serve_page(now, **options):
    page = recommend(member_id="ann", now=now, limit=LIMIT, **options)
    records.record_served(now=now)
    return page


def target_share(page, target):
    return sum(MATCHES_TARGET[target](pick.post) for pick in page.picks) / len(page.picks)


def give_negative_feedback(page, target, now):
    """Send a not_interested on the first post of the page that matches the target. Return the event's id."""
    post = next(pick.post for pick in page.picks if MATCHES_TARGET[target](pick.post))
    event = Event("e", "ann", post.id, "not_interested", target=target)
    assert interact.record_events(events=[event], now=now)[0].status == "recorded"
    return event.event_id


@pytest.mark.parametrize("target", sorted(MATCHES_TARGET))
def test_the_next_page_has_no_post_of_the_target(ann, run_on_commit, target):
    """Before a worker learns the interaction. The cursor of the previous page neither repeats nor skips posts."""
    first = serve_page(NOW)
    assert target_share(first, target) > 0
    with run_on_commit():
        give_negative_feedback(first, target, NOW + SECOND)
    second = serve_page(NOW + 2 * SECOND, cursor=first.next_cursor)
    assert target_share(second, target) == 0
    assert len(second.picks) == LIMIT
    assert not {pick.post.id for pick in second.picks} & {pick.post.id for pick in first.picks}
    fresh = serve_page(NOW + 3 * SECOND)
    assert target_share(fresh, target) == 0 and len(fresh.picks) == LIMIT


@pytest.mark.parametrize("target", sorted(MATCHES_TARGET))
def test_posts_of_the_target_come_last_and_are_not_dropped(ann, run_on_commit, target):
    with run_on_commit():
        give_negative_feedback(serve_page(NOW), target, NOW + SECOND)
    picks = recommend(member_id="ann", now=NOW + 2 * SECOND, limit=100).picks
    assert len(picks) == 47
    is_other = [not MATCHES_TARGET[target](pick.post) for pick in picks]
    assert is_other == sorted(is_other, reverse=True)
    assert is_other.count(False) == 11


@pytest.mark.parametrize("target", sorted(MATCHES_TARGET))
def test_an_undo_restores_the_posts_of_the_target(ann, run_on_commit, target):
    """The post itself returns, too: nothing was learned from the interaction."""
    first = serve_page(NOW)
    with run_on_commit():
        event_id = give_negative_feedback(first, target, NOW + SECOND)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW + SECOND)
    assert target_share(serve_page(NOW + 2 * SECOND), target) == 0
    with run_on_commit():
        interact.record_events(events=[Event("u", "ann", undoes_event_id=event_id)], now=NOW + 3 * SECOND)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW + 3 * SECOND)
    assert not NegativeFeedback.objects.exists()
    picks = recommend(member_id="ann", now=NOW + 4 * SECOND, limit=100).picks
    assert len(picks) == 48
    assert sum(MATCHES_TARGET[target](pick.post) for pick in picks[: 2 * LIMIT]) > 0


def test_without_a_target_only_the_post_is_dropped(ann, run_on_commit):
    first = serve_page(NOW)
    post = first.picks[0].post.id
    with run_on_commit():
        interact.record_events(events=[Event("e", "ann", post, "not_interested")], now=NOW + SECOND)
    assert set(NegativeFeedback.objects.values_list("target", "post__external_id")) == {("post", post)}
    picks = recommend(member_id="ann", now=NOW + 2 * SECOND, limit=100).picks
    assert len(picks) == 47 and post not in {pick.post.id for pick in picks}


def test_feedback_on_a_target_does_not_rate_the_rest_of_the_post(ann):
    """A member who rejects an author may like the topic: neither interests nor affinities change."""
    post = Post.objects.get(external_id="p0")
    interact.record_events(events=[Event("e", "ann", "p0", "not_interested", target="author")], now=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    ann.refresh_from_db()
    assert not bytes(ann.interests.negative)
    assert not any(ann.interests.affinities.values())
    assert set(NegativeFeedback.objects.values_list("target", "target_key")) == {
        ("post", str(post.pk)),
        ("author", str(post.author_id)),
    }


@pytest.mark.parametrize("target", sorted(MATCHES_TARGET))
def test_the_api_returns_the_effect_of_negative_feedback(ann, run_on_commit, target, client, settings, monkeypatch):
    """The shares of the target in the posts served before and after; None until a page is served."""
    monkeypatch.setattr(settings.ENV, "api_open", True)

    def read_effect():
        (effect,) = client.get("/api/v1/members/ann/show-less-effects").json()["effects"]
        return effect

    first = serve_page(NOW)
    share_before = target_share(first, target)
    with run_on_commit():
        event_id = give_negative_feedback(first, target, NOW + SECOND)
    assert read_effect() | {"created_at": ""} == {
        "target": target,
        "target_key": TARGET_KEYS[target],
        "created_at": "",
        "share_before": share_before,
        "share_after": None,
        "served_before": LIMIT,
        "served_after": 0,
    }
    for _ in range(2):
        serve_page(NOW + 2 * SECOND)
    serve_page(NOW + 3 * SECOND)
    effect = read_effect()
    assert (effect["share_before"], effect["share_after"]) == (share_before, 0)
    assert (effect["served_before"], effect["served_after"]) == (LIMIT, 2 * LIMIT)
    with run_on_commit():
        interact.record_events(events=[Event("u", "ann", undoes_event_id=event_id)], now=NOW + 4 * SECOND)
    assert client.get("/api/v1/members/ann/show-less-effects").json() == {"effects": []}
    assert client.get("/api/v1/members/nobody/show-less-effects").status_code == 404

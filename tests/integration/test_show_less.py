"""Showing less of an author, a topic or a format: it works on the very next page, is measured, and can be undone."""

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
    """Make Ann, and 48 posts: of every four one is by Bob, one about war and one a film, and no two of these alike."""
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


ABOUT = {
    "author": lambda post: post.author_id == "bob",
    "topic": lambda post: "war" in post.tags,
    "kind": lambda post: post.kind == "video",
}
KEYS = {"author": "bob", "topic": "war", "kind": "video"}


def page(now, **asked):
    found = recommend(member_id="ann", now=now, limit=LIMIT, **asked)
    records.record_served(now=now)
    return found


def share(found, reason):
    return sum(ABOUT[reason](pick.post) for pick in found.picks) / len(found.picks)


def give_negative_feedback(found, reason, now):
    """Turn down the first post on the page that the reason is about; return the event's id."""
    post = next(pick.post for pick in found.picks if ABOUT[reason](pick.post))
    event = Event("e", "ann", post.id, "not_interested", reason=reason)
    assert interact.record_events(events=[event], now=now)[0].status == "recorded"
    return event.event_id


@pytest.mark.parametrize("reason", sorted(ABOUT))
def test_the_very_next_page_has_less_of_it(ann, run_on_commit, reason):
    """Before a worker learns anything; by the cursor of the page before it, which neither repeats nor skips."""
    first = page(NOW)
    assert share(first, reason) > 0
    with run_on_commit():
        give_negative_feedback(first, reason, NOW + SECOND)
    second = page(NOW + 2 * SECOND, cursor=first.next_cursor)
    assert share(second, reason) == 0
    assert len(second.picks) == LIMIT
    assert not {pick.post.id for pick in second.picks} & {pick.post.id for pick in first.picks}
    anew = page(NOW + 3 * SECOND)
    assert share(anew, reason) == 0 and len(anew.picks) == LIMIT


@pytest.mark.parametrize("reason", sorted(ABOUT))
def test_what_is_wanted_less_comes_last_and_is_not_lost(ann, run_on_commit, reason):
    with run_on_commit():
        give_negative_feedback(page(NOW), reason, NOW + SECOND)
    whole = recommend(member_id="ann", now=NOW + 2 * SECOND, limit=100).picks
    assert len(whole) == 47
    wanted = [not ABOUT[reason](pick.post) for pick in whole]
    assert wanted == sorted(wanted, reverse=True)
    assert wanted.count(False) == 11


@pytest.mark.parametrize("reason", sorted(ABOUT))
def test_an_undo_brings_it_back(ann, run_on_commit, reason):
    """The post itself included, to the order before: nothing of it was learned."""
    first = page(NOW)
    with run_on_commit():
        target = give_negative_feedback(first, reason, NOW + SECOND)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW + SECOND)
    assert share(page(NOW + 2 * SECOND), reason) == 0
    with run_on_commit():
        interact.record_events(events=[Event("u", "ann", undoes_event_id=target)], now=NOW + 3 * SECOND)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW + 3 * SECOND)
    assert not NegativeFeedback.objects.exists()
    whole = recommend(member_id="ann", now=NOW + 4 * SECOND, limit=100).picks
    assert len(whole) == 48
    assert sum(ABOUT[reason](pick.post) for pick in whole[: 2 * LIMIT]) > 0


def test_without_a_reason_it_is_the_post_alone(ann, run_on_commit):
    first = page(NOW)
    post = first.picks[0].post.id
    with run_on_commit():
        interact.record_events(events=[Event("e", "ann", post, "not_interested")], now=NOW + SECOND)
    assert set(NegativeFeedback.objects.values_list("target", "post__external_id")) == {("post", post)}
    whole = recommend(member_id="ann", now=NOW + 2 * SECOND, limit=100).picks
    assert len(whole) == 47 and post not in {pick.post.id for pick in whole}


def test_a_reason_says_nothing_of_the_rest_of_the_post(ann):
    """Who wants less of an author may like the topic: neither vectors nor likings change."""
    post = Post.objects.get(external_id="p0")
    interact.record_events(events=[Event("e", "ann", "p0", "not_interested", reason="author")], now=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    ann.refresh_from_db()
    assert not bytes(ann.interests.negative)
    assert not any(ann.interests.affinities.values())
    assert set(NegativeFeedback.objects.values_list("target", "target_key")) == {
        ("post", str(post.pk)),
        ("author", str(post.author_id)),
    }


@pytest.mark.parametrize("reason", sorted(ABOUT))
def test_the_effect_is_measured(ann, run_on_commit, reason, client, settings, monkeypatch):
    """Through the API: the share among the posts shown before and after; until a page came after it, no share."""
    monkeypatch.setattr(settings.ENV, "api_open", True)

    def effect():
        (found,) = client.get("/api/v1/members/ann/less").json()["effects"]
        return found

    first = page(NOW)
    before = share(first, reason)
    with run_on_commit():
        target = give_negative_feedback(first, reason, NOW + SECOND)
    assert effect() | {"since": ""} == {
        "subject": reason,
        "key": KEYS[reason],
        "since": "",
        "share_before": before,
        "share_after": None,
        "served_before": LIMIT,
        "served_after": 0,
    }
    for _ in range(2):
        page(NOW + 2 * SECOND)
    page(NOW + 3 * SECOND)
    found = effect()
    assert (found["share_before"], found["share_after"]) == (before, 0)
    assert (found["served_before"], found["served_after"]) == (LIMIT, 2 * LIMIT)
    with run_on_commit():
        interact.record_events(events=[Event("u", "ann", undoes_event_id=target)], now=NOW + 4 * SECOND)
    assert client.get("/api/v1/members/ann/less").json() == {"effects": []}
    assert client.get("/api/v1/members/nobody/less").status_code == 404

"""Showing less of an author, a topic or a format: it works on the very next page, is measured, and can be undone."""

from datetime import timedelta

import pytest

from recommendations.models import LessOf, Post
from recommendations.services.learning import interact, learn
from recommendations.services.learning.interact import Event
from recommendations.services.serving import records
from recommendations.services.serving.recommend import recommend
from tests import making
from tests.making import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("parts")]

SECOND = timedelta(seconds=1)
LIMIT = 12


@pytest.fixture
def ann():
    """Make Ann, and 48 posts: of every four one is by Bob, one about war and one a film, and no two of these alike."""
    ann, bob = making.member("ann"), making.member("bob")
    others = [making.member(f"author-{i}") for i in range(6)]
    for i in range(48):
        author = bob if i % 4 == 0 else others[i % 6]
        kind, tag = "video" if i % 4 == 2 else "text", "war" if i % 4 == 1 else f"topic-{i % 5}"
        making.post(author, f"p{i}", tags=[tag], kind=kind, at=NOW, created_at=NOW - timedelta(minutes=60 + i))
    making.embed()
    return ann


@pytest.fixture(autouse=True)
def committed(django_capture_on_commit_callbacks):
    return lambda: django_capture_on_commit_callbacks(execute=True)


ABOUT = {
    "author": lambda post: post.author_id == "bob",
    "topic": lambda post: "war" in post.tags,
    "format": lambda post: post.kind == "video",
}
KEYS = {"author": "bob", "topic": "war", "format": "video"}


def page(now, **asked):
    found = recommend(member_id="ann", now=now, limit=LIMIT, **asked)
    records.record_served(now=now)
    return found


def share(found, reason):
    return sum(ABOUT[reason](pick.post) for pick in found.picks) / len(found.picks)


def turn_down(found, reason, now):
    """Turn down the first post on the page that the reason is about; return the event's id."""
    post = next(pick.post for pick in found.picks if ABOUT[reason](pick.post))
    event = Event("e", "ann", post.id, "not_interested", reason=reason)
    assert interact.record(events=[event], now=now)[0].status == "recorded"
    return event.event_id


@pytest.mark.parametrize("reason", sorted(ABOUT))
def test_the_very_next_page_has_less_of_it(ann, committed, reason):
    """Before a worker learns anything; by the cursor of the page before it, which neither repeats nor skips."""
    first = page(NOW)
    assert share(first, reason) > 0
    with committed():
        turn_down(first, reason, NOW + SECOND)
    second = page(NOW + 2 * SECOND, cursor=first.next_cursor)
    assert share(second, reason) == 0
    assert len(second.picks) == LIMIT
    assert not {pick.post.id for pick in second.picks} & {pick.post.id for pick in first.picks}
    anew = page(NOW + 3 * SECOND)
    assert share(anew, reason) == 0 and len(anew.picks) == LIMIT


@pytest.mark.parametrize("reason", sorted(ABOUT))
def test_what_is_wanted_less_comes_last_and_is_not_lost(ann, committed, reason):
    with committed():
        turn_down(page(NOW), reason, NOW + SECOND)
    whole = recommend(member_id="ann", now=NOW + 2 * SECOND, limit=100).picks
    assert len(whole) == 47
    wanted = [not ABOUT[reason](pick.post) for pick in whole]
    assert wanted == sorted(wanted, reverse=True)
    assert wanted.count(False) == 11


@pytest.mark.parametrize("reason", sorted(ABOUT))
def test_an_undo_brings_it_back(ann, committed, reason):
    """The post itself included, to the order before: nothing of it was learned."""
    first = page(NOW)
    with committed():
        target = turn_down(first, reason, NOW + SECOND)
    learn.learn(member_ids=[ann.pk], now=NOW + SECOND)
    assert share(page(NOW + 2 * SECOND), reason) == 0
    with committed():
        interact.record(events=[Event("u", "ann", undoes=target)], now=NOW + 3 * SECOND)
    learn.learn(member_ids=[ann.pk], now=NOW + 3 * SECOND)
    assert not LessOf.objects.exists()
    whole = recommend(member_id="ann", now=NOW + 4 * SECOND, limit=100).picks
    assert len(whole) == 48
    assert sum(ABOUT[reason](pick.post) for pick in whole[: 2 * LIMIT]) > 0


def test_without_a_reason_it_is_the_post_alone(ann, committed):
    first = page(NOW)
    post = first.picks[0].post.id
    with committed():
        interact.record(events=[Event("e", "ann", post, "not_interested")], now=NOW + SECOND)
    assert set(LessOf.objects.values_list("subject", "post__external_id")) == {("post", post)}
    whole = recommend(member_id="ann", now=NOW + 2 * SECOND, limit=100).picks
    assert len(whole) == 47 and post not in {pick.post.id for pick in whole}


def test_a_reason_says_nothing_of_the_rest_of_the_post(ann):
    """Who wants less of an author may like the topic: neither vectors nor likings change."""
    post = Post.objects.get(external_id="p0")
    interact.record(events=[Event("e", "ann", "p0", "not_interested", reason="author")], now=NOW)
    learn.learn(member_ids=[ann.pk], now=NOW)
    ann.refresh_from_db()
    assert not bytes(ann.interests.negative)
    assert not any(ann.interests.affinities.values())
    assert set(LessOf.objects.values_list("subject", "key")) == {
        ("post", str(post.pk)),
        ("author", str(post.author_id)),
    }


@pytest.mark.parametrize("reason", sorted(ABOUT))
def test_the_effect_is_measured(ann, committed, reason, client, settings, monkeypatch):
    """Through the API: the share among the posts shown before and after; until a page came after it, no share."""
    monkeypatch.setattr(settings.ENV, "api_open", True)

    def effect():
        (found,) = client.get("/api/v1/members/ann/less").json()["effects"]
        return found

    first = page(NOW)
    before = share(first, reason)
    with committed():
        target = turn_down(first, reason, NOW + SECOND)
    assert effect() | {"since": ""} == {
        "subject": reason,
        "key": KEYS[reason],
        "since": "",
        "share_before": before,
        "share_after": None,
        "shown_before": LIMIT,
        "shown_after": 0,
    }
    for _ in range(2):
        page(NOW + 2 * SECOND)
    page(NOW + 3 * SECOND)
    found = effect()
    assert (found["share_before"], found["share_after"]) == (before, 0)
    assert (found["shown_before"], found["shown_after"]) == (LIMIT, 2 * LIMIT)
    with committed():
        interact.record(events=[Event("u", "ann", undoes=target)], now=NOW + 4 * SECOND)
    assert client.get("/api/v1/members/ann/less").json() == {"effects": []}
    assert client.get("/api/v1/members/nobody/less").status_code == 404

"""Pages up to the last one repeat no post and skip none, however late a worker records what was served."""

import json
from datetime import timedelta

import pytest
import redis
from django.conf import settings as django_settings
from django.db import DatabaseError
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.models import FeedRequest, Post, PrivacySettings, ServedPage
from recommendations.services import invalidate, policies, wiring
from recommendations.services.serving import recommend as serving
from recommendations.services.serving import records, refresh
from recommendations.services.serving.pages import page_cache
from recommendations.services.serving.query import NO_FILTERS, EngineAssignment, FeedFilters
from recommendations.services.serving.recommend import FEEDS, recommend
from recommendations.services.serving.search import search
from recommendations.services.serving.similar import find_similar
from recommendations.stores.redis_slates import RedisSlates
from tests import factories
from tests.factories import NOW
from tests.servers import free_port

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

POST_COUNT = 300
"""More than two slates."""
VIDEOS = FeedFilters(kinds=("video",))


@pytest.fixture
def ann():
    """Create Ann, who follows 20 authors of 300 posts, half of which are videos."""
    ann = factories.member("ann")
    for number in range(20):
        author = factories.member(f"author-{number}")
        for half in ("text", "video"):
            factories.posts(author, POST_COUNT // 40 + (number % 2), kind=half)
        factories.follow(ann, author)
    factories.embed_all_posts()
    return ann


def expected_ids(filters):
    posts = Post.objects.exclude(author__external_id="ann")
    return sorted(posts.filter(**({"kind": "video"} if filters.kinds else {})).values_list("external_id", flat=True))


def forget_everything(member):
    """Start an example with nothing cached and nothing recorded."""
    records.record_served(now=NOW)
    FeedRequest.objects.all().delete()
    ServedPage.objects.all().delete()
    wiring.slate_cache().purge([member.pk])
    page_cache().clear()


EVENTS = {
    "record": lambda member: records.record_served(now=NOW),
    "purge": lambda member: wiring.slate_cache().purge([member.pk]),
    "retire": lambda member: invalidate.retire_slates([member.pk]),
    "rebuild": lambda member: refresh.rebuild_slate(member.pk, "discovery", NOW),
    "another reader": lambda member: recommend(member_id="ann", limit=30, now=NOW),
    "nothing": lambda member: None,
}
STEPS = st.lists(
    st.tuples(st.sampled_from([7, 40, 100]), st.booleans(), st.lists(st.sampled_from(sorted(EVENTS)), max_size=2)),
    min_size=1,
    max_size=6,
)
"""The limit of a page, whether it is explained, and what happens after it. The steps are repeated."""


def read_to_the_end(member, steps, **options):
    """Return the post ids of all pages."""
    shown, cursor = [], None
    for number in range(2 * POST_COUNT):
        limit, explain, events = steps[number % len(steps)]
        page = recommend(member_id="ann", limit=limit, cursor=cursor, explain=explain, now=NOW, **options)
        shown += [pick.post.id for pick in page.picks]
        cursor = page.next_cursor
        if cursor is None:
            return shown
        assert page.picks, "a page with a cursor has posts"
        assert len(cursor) <= 500, "the limit of the API"
        for event in events:
            EVENTS[event](member)
    raise AssertionError("the pages never end")


@pytest.mark.parametrize("engine", ["plain", "wasm_simd"])
@pytest.mark.parametrize(
    ("feed", "filters"), [*((feed, NO_FILTERS) for feed in FEEDS), ("discovery", VIDEOS), ("trending", VIDEOS)]
)
@given(steps=STEPS)
@settings(max_examples=4)
def test_pages_repeat_no_post_and_skip_none(ann, engine, feed, filters, steps):
    forget_everything(ann)
    shown = read_to_the_end(ann, steps, feed=feed, filters=filters, assignment=EngineAssignment(engine, "control"))
    assert sorted(shown) == expected_ids(filters)


@pytest.mark.parametrize("is_followed_feed_short", [False, True])
def test_a_reader_of_more_slates_than_a_cursor_names_sees_no_post_twice(ann, monkeypatch, is_followed_feed_short):
    """The posts of all earlier slates are kept with the newest one. A feed with fewer candidates goes on, too."""
    monkeypatch.setattr(serving.build_query, "__kwdefaults__", serving.build_query.__kwdefaults__ | {"size": 10})
    if is_followed_feed_short:
        policies.put_policy(variant="control", settings={"followed_candidates": 6}, note="", version=None)
        wiring.policies.reset()
    feed = "following" if is_followed_feed_short else "discovery"
    shown = read_to_the_end(ann, [(7, False, ["purge"])], feed=feed)
    assert sorted(shown) == expected_ids(NO_FILTERS)


@pytest.fixture
def unreachable_cache(monkeypatch):
    """Replace the slate cache by one whose Redis cannot be reached."""
    with redis.Redis.from_url(f"redis://127.0.0.1:{free_port()}/0", socket_connect_timeout=0.2) as client:
        cache = RedisSlates(client, wiring.seal(), ttl_seconds=100)
        monkeypatch.setattr(wiring, "slate_cache", lambda: cache)
        yield


@pytest.mark.usefixtures("unreachable_cache")
def test_without_redis_pages_repeat_no_post(ann):
    """Then a slate is recorded in the database at once."""
    shown = read_to_the_end(ann, [(100, False, [])])
    assert sorted(shown) == expected_ids(NO_FILTERS)


@pytest.mark.usefixtures("unreachable_cache")
def test_a_slate_that_can_be_kept_nowhere_is_served(ann, monkeypatch, caplog):
    def fail(*args):
        raise DatabaseError("read-only")

    monkeypatch.setattr(records, "write_rows", fail)
    assert len(recommend(member_id="ann", now=NOW).picks) == 20
    assert "served_slate_not_stored" in [line.message for line in caplog.records]


def test_a_reader_whose_muted_words_hide_most_posts_gets_no_empty_page_with_a_cursor(ann):
    """Muted words are checked on the page only, so whole slates may be dropped."""
    kept = set(Post.objects.order_by("pk").values_list("pk", flat=True)[: POST_COUNT // 2])
    Post.objects.exclude(pk__in=kept).update(text="spoiler", changed_at=NOW + timedelta(seconds=1))
    PrivacySettings.objects.filter(member=ann).update(muted_words=["spoiler"])
    wiring.reset_parts()
    shown = read_to_the_end(ann, [(40, False, ["purge"])])
    assert sorted(shown) == sorted(Post.objects.filter(pk__in=kept).values_list("external_id", flat=True))


def test_similar_posts_and_searches_have_one_page(ann):
    post = Post.objects.first()
    pages = [
        find_similar(post_id=post.external_id, viewer_id="ann", now=NOW),
        search(viewer_id="ann", space="content", post_id=post.external_id, now=NOW),
    ]
    assert [page.next_cursor for page in pages] == [None, None]


def read_rest(client, cursor):
    response = client.get("/api/v1/members/ann/feed", {"limit": 50} | ({"cursor": cursor} if cursor else {}))
    body = response.json()
    return [pick["post"]["id"] for pick in body["picks"]], body["next_cursor"]


def read_graphql(client, cursor):
    query = (
        'query($after: String) { discoveryFeed(memberId: "ann", first: 50, after: $after) '
        "{ edges { node { post { id } } } pageInfo { hasNextPage endCursor } } }"
    )
    body = json.dumps({"query": query, "variables": {"after": cursor}})
    feed = client.post("/graphql", body, content_type="application/json").json()["data"]["discoveryFeed"]
    info = feed["pageInfo"]
    return [edge["node"]["post"]["id"] for edge in feed["edges"]], info["endCursor"] if info["hasNextPage"] else None


@pytest.mark.parametrize("read_page", [read_rest, read_graphql])
def test_an_api_client_reaches_the_last_page_although_nothing_is_recorded(ann, client, monkeypatch, read_page):
    monkeypatch.setattr(django_settings, "ENV", django_settings.ENV.model_copy(update={"api_open": True}))
    shown, cursor = [], None
    for _ in range(20):
        ids, cursor = read_page(client, cursor)
        shown += ids
        if cursor is None:
            break
    assert cursor is None and sorted(shown) == expected_ids(NO_FILTERS)
    assert not FeedRequest.objects.exists()


def test_the_slates_of_a_reader_are_removed_with_their_data(ann, django_capture_on_commit_callbacks):
    page = recommend(member_id="ann", now=NOW)
    assert wiring.slate_cache().get_served(ann.pk, [page.request_id])
    with django_capture_on_commit_callbacks(execute=True):
        invalidate.evict_members(ann.pk)
    assert not wiring.slate_cache().get_served(ann.pk, [page.request_id])

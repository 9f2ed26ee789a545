"""Feeds that are filtered to some posts, limited to some fields, and small in transfer."""

import gzip
import json
from datetime import timedelta

import pytest
from django.conf import settings

from recommendations.models import Member, Post
from recommendations.services import wiring
from recommendations.services.serving.query import FeedFilters
from recommendations.services.serving.recommend import recommend
from recommendations.services.vectors.embedding import embed_posts
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture
def world():
    factories.member("ann")
    bob = factories.member("bob")
    for n in range(60):
        factories.post(
            bob if n % 2 else factories.member(),
            f"p{n}",
            text=f"{n}: a long text about bread, films and the weather of the day" * 3,
            language=("en", "de", "")[n % 3],
            kind=("text", "image")[n % 2],
            tags=[f"tag{n % 5}", "all"],
            created_at=NOW - timedelta(hours=n + 1),
        )
    embed_posts(embedder=wiring.embedder(), now=NOW)


def ids(page):
    return {int(pick.post.id[1:]) for pick in page.picks}


def test_a_filtered_page_shows_what_became_popular_within_half_a_minute(world):
    filters = FeedFilters(tags=("tag2",))

    def serve(seconds):
        page = recommend(
            member_id="ann", feed="trending", limit=5, filters=filters, now=NOW + timedelta(seconds=seconds)
        )
        return page.is_cached, page.picks[0].post.id

    first = serve(0)[1]
    factories.popularity(Post.objects.get(external_id="p57"), 1_000.0)
    assert (serve(29), serve(30)) == ((True, first), (False, "p57"))


@pytest.mark.parametrize("feed", ["discovery", "trending", "non_personalized"])
@pytest.mark.parametrize(
    "filters, is_accepted",
    [
        (FeedFilters(languages=("de",)), lambda n: n % 3 == 1),
        (FeedFilters(languages=("de", "en")), lambda n: n % 3 < 2),
        (FeedFilters(kinds=("image",)), lambda n: n % 2 == 1),
        (FeedFilters(tags=("tag2", "tag4")), lambda n: n % 5 in (2, 4)),
        (FeedFilters(max_age_hours=10.5), lambda n: n < 10),
        (FeedFilters(exclude=("p0", "p7", "nothing")), lambda n: n not in (0, 7)),
        (FeedFilters(languages=("en",), kinds=("image",), max_age_hours=30), lambda n: n % 3 == 0 and n % 2 and n < 30),
        (FeedFilters(tags=("unused-tag",)), lambda n: False),
    ],
)
def test_only_posts_that_the_filters_accept_are_served(world, feed, filters, is_accepted):
    fresh = ids(recommend(member_id="ann", feed=feed, limit=100, filters=filters, now=NOW))
    assert fresh == {n for n in range(60) if is_accepted(n)}
    cached = recommend(member_id="ann", feed=feed, limit=100, filters=filters, now=NOW)
    assert ids(cached) == fresh
    assert cached.is_cached is bool(fresh)


def test_the_filters_of_one_request_do_not_change_another(world):
    recommend(member_id="ann", limit=20, filters=FeedFilters(kinds=("image",)), now=NOW)
    page = recommend(member_id="ann", limit=100, now=NOW)
    assert not page.is_cached
    assert len(page.picks) == 60


def test_pages_of_a_filtered_feed_neither_repeat_nor_skip(world):
    filters, served, cursor = FeedFilters(kinds=("image",), exclude=("p1",)), [], None
    for _ in range(10):
        page = recommend(member_id="ann", limit=8, cursor=cursor, filters=filters, now=NOW)
        served += [pick.post.id for pick in page.picks]
        wiring.slate_cache().purge([1, 2, 3]) if len(served) == 16 else None
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(served) == sorted(f"p{n}" for n in range(3, 60, 2))


@pytest.fixture
def api(world, client, monkeypatch):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True}))
    return client


def test_the_api_filters_a_feed(api):
    page = api.get("/api/v1/members/ann/feed?limit=50&kind=image&tag=tag1&tag=tag3&exclude_post_id=p1").json()
    assert page["picks"]
    assert all(pick["post"]["kind"] == "image" for pick in page["picks"])
    assert {pick["post"]["tags"][0] for pick in page["picks"]} == {"tag1", "tag3"}
    assert "p1" not in [pick["post"]["id"] for pick in page["picks"]]


def test_only_the_requested_fields_are_sent(api):
    page = api.get("/api/v1/members/ann/feed?fields=post.id&fields=score").json()
    assert all(set(pick) == {"post", "score"} and set(pick["post"]) == {"id"} for pick in page["picks"])
    rejected = api.get("/api/v1/members/ann/feed?fields=secret")
    assert rejected.status_code == 400
    assert "post.text" in rejected.json()["detail"]


def test_a_page_of_twenty_is_small(api):
    response = api.get("/api/v1/members/ann/feed?limit=20", headers={"Accept-Encoding": "gzip"})
    assert response["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(response.content))["picks"]) == 20
    assert len(response.content) <= 6 * 1024


def test_a_problem_has_its_request_id(api):
    assert api.get("/api/v1/members/nobody/feed").json()["request_id"]


@pytest.fixture
def languages():
    """Posts in several languages, the one named "late" with eight tags before the tag that is asked for."""
    factories.member("ann")
    bob = factories.member("bob")
    for tag in ("pt-BR", "pt-PT", "pt", "zh-TW", "zh-CN", "es", ""):
        factories.post(bob, f"in {tag}", language=tag, created_at=NOW - timedelta(hours=1))
    factories.post(bob, "late", tags=[*(f"t{n}" for n in range(8)), "Ninth"], created_at=NOW - timedelta(hours=1))
    embed_posts(embedder=wiring.embedder(), now=NOW)


@pytest.mark.parametrize(
    ("languages_read", "shown"),
    [
        (["pt"], {"pt", "pt-BR", "pt-PT"}),
        (["pt-BR"], {"pt", "pt-BR"}),
        (["zh-Hant"], {"zh-TW"}),
        (["PT-br", "es"], {"pt", "pt-BR", "es"}),
    ],
)
def test_a_member_is_shown_the_languages_in_the_ranges_that_they_read(languages, languages_read, shown):
    Member.objects.filter(external_id="ann").update(languages=languages_read)
    page = recommend(member_id="ann", limit=100, now=NOW)
    assert {pick.post.language for pick in page.picks} == shown | {""}
    filtered = recommend(member_id="bob", filters=FeedFilters(languages=tuple(languages_read)), limit=100, now=NOW)
    assert {pick.post.language for pick in filtered.picks} <= shown


@pytest.mark.parametrize("tag", ["Ninth", "ninth", "t0"])
def test_the_filter_of_tags_finds_every_tag_of_a_post(languages, tag):
    filters = FeedFilters(tags=(tag,))
    page = recommend(member_id="ann", limit=100, filters=filters, now=NOW)
    assert [pick.post.id for pick in page.picks] == ["late"]


def test_a_post_that_lost_a_late_tag_is_not_found_by_it(languages):
    tags = wiring.vocabularies().tags
    wiring.catalogue().refresh(NOW)
    post = Post.objects.get(external_id="late")
    assert wiring.catalogue().find_late_tagged(tags.intern_all(["ninth", "none"])).tolist() == [post.pk]
    later = NOW + timedelta(minutes=5)
    Post.objects.filter(pk=post.pk).update(tags=["t0"], changed_at=later)
    wiring.catalogue().refresh(later)
    assert wiring.catalogue().find_late_tagged(tags.intern_all(["ninth"])).tolist() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", "un CAFE\u0301 noir"),
        ("tags", ["Café"]),
        ("media", [{"kind": "image", "url": "https://x.example/a.jpg", "alt": "a café"}]),
    ],
)
def test_a_muted_word_hides_a_post_whose_text_tags_or_pictures_contain_it(field, value):
    ann, bob = factories.member("ann"), factories.member("bob")
    ann.privacy.muted_words = ["café"]
    ann.privacy.save()
    factories.post(bob, "hidden", **{field: value}, created_at=NOW - timedelta(hours=1))
    factories.post(bob, "cafeteria", text="cafés", created_at=NOW - timedelta(hours=1))
    embed_posts(embedder=wiring.embedder(), now=NOW)
    assert [pick.post.id for pick in recommend(member_id="ann", limit=100, now=NOW).picks] == ["cafeteria"]

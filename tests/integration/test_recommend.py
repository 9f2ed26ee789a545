"""The pipeline on a real database and Redis: visibility, order, paging, and the cost of each failure."""

from datetime import timedelta

import numpy as np
import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from recommendations import feeds
from recommendations.contracts import Reason, Sensitivity, Visibility
from recommendations.engines.plain import PlainEngine
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import Interaction, Member, Post, PostEmbedding, PrivacySettings, Relationship, SeenPost
from recommendations.pipeline.scorers.score_parts import Quality
from recommendations.pipeline.stages import mandatory_filter
from recommendations.ports import EngineError
from recommendations.services import wiring
from recommendations.services.content.publish import remove_posts, restore_posts, set_members_active
from recommendations.services.errors import (
    FactsUnavailable,
    InactiveMember,
    InvalidRequest,
    PostNotVisible,
    UnknownMember,
)
from recommendations.services.learning import learn
from recommendations.services.serving import records
from recommendations.services.serving.pages import page_cache
from recommendations.services.serving.recommend import FEEDS, recommend
from recommendations.services.serving.similar import find_similar
from recommendations.stores import resident_facts
from recommendations.stores.active_policies import ActivePolicies
from recommendations.stores.bulk import insert_columns
from recommendations.stores.redis_slates import RedisSlates, slates_key
from recommendations.stores.resident_facts import ResidentFacts
from tests import factories
from tests.factories import NOW
from tests.servers import free_port

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


def page(member, *, now=NOW, **arguments):
    return recommend(member_id=member.external_id, now=now, **arguments)


def served_ids(member, **arguments):
    return [pick.post.id for pick in page(member, **arguments).picks]


def change(row, **fields):
    type(row).objects.filter(pk=row.pk).update(changed_at=NOW, **fields)


# Visibility: each case hides one post from the viewer, who follows its author before.


def unfollow(viewer, author):
    Relationship.objects.filter(source=viewer, target=author).delete()


def followers_only(viewer, author, post):
    unfollow(viewer, author)
    change(post, visibility=Visibility.FOLLOWERS)


def private_account(viewer, author, post):
    unfollow(viewer, author)
    change(author.privacy, is_private=True)


def adult_for_a_minor(viewer, author, post):
    change(viewer, birth_year=NOW.year - 16)
    change(viewer.privacy, sensitivity=Sensitivity.ADULT)
    change(post, sensitivity=Sensitivity.ADULT)


def adult_for_unknown_age(viewer, author, post):
    change(viewer, birth_year=NOW.year - 18, is_adult=None)
    change(viewer.privacy, sensitivity=Sensitivity.ADULT)
    change(post, sensitivity=Sensitivity.ADULT)


def adult_for_unwilling_adult(viewer, author, post):
    change(viewer, is_adult=True)
    change(post, sensitivity=Sensitivity.ADULT)


def muted_word(viewer, author, post):
    change(post, text="Die STRASSE 🛣 am Abend")
    change(viewer.privacy, muted_words=["straße"])


def muted_ninth_tag(viewer, author, post):
    change(post, tags=[f"tag{i}" for i in range(9)])
    change(viewer.privacy, muted_tags=["tag8"])


HIDING_CASES = {
    "the viewer blocks the author": lambda v, a, p: factories.block(v, a),
    "the author blocks the viewer": lambda v, a, p: factories.block(a, v),
    "a private post": lambda v, a, p: change(p, visibility=Visibility.PRIVATE),
    "an unlisted post": lambda v, a, p: change(p, visibility=Visibility.UNLISTED),
    "for followers only": followers_only,
    "a private account": private_account,
    "an author without privacy settings": lambda v, a, p: PrivacySettings.objects.filter(member=a).delete(),
    "a deactivated author": lambda v, a, p: set_members_active(member_ids=[a.pk], is_active=False, now=NOW),
    "a removed post": lambda v, a, p: remove_posts(post_ids=[p.pk], now=NOW),
    "a deleted post": lambda v, a, p: Post.objects.filter(pk=p.pk).delete(),
    "adult, for a minor": adult_for_a_minor,
    "adult, for a viewer of unknown age": adult_for_unknown_age,
    "adult, for an adult who did not allow it": adult_for_unwilling_adult,
    "sensitive, for a viewer without settings": lambda v, a, p: change(p, sensitivity=Sensitivity.SENSITIVE),
    "forbidden": lambda v, a, p: change(p, sensitivity=Sensitivity.FORBIDDEN),
    "a muted author": lambda v, a, p: factories.mute(v, a),
    "a muted word": muted_word,
    "a muted tag": muted_ninth_tag,
    "seen": lambda v, a, p: SeenPost.objects.create(member=v, post=p, seen_at=NOW),
}
# Seen posts are part of the viewer's history, which the non-personalized feed does not use.
HIDDEN_FROM = [(case, feed) for case in HIDING_CASES for feed in FEEDS if (case, feed) != ("seen", "non_personalized")]


@pytest.fixture
def scene():
    """Return a viewer who follows two authors, the first author, and one post of each author."""
    viewer, author = factories.member("viewer"), factories.member("author")
    other_author = factories.member("other")
    post, visible = factories.post(author, "hidden"), factories.post(other_author, "visible")
    factories.follow(viewer, author)
    factories.follow(viewer, other_author)
    factories.embed_all_posts()
    return viewer, author, post, visible


@pytest.mark.parametrize(("case", "feed"), HIDDEN_FROM)
def test_a_fresh_slate_has_no_post_that_the_viewer_may_not_see(scene, case, feed):
    viewer, author, post, _visible = scene
    HIDING_CASES[case](viewer, author, post)
    assert served_ids(viewer, feed=feed) == ["visible"]


@pytest.mark.parametrize(("case", "feed"), HIDDEN_FROM)
def test_a_change_applies_to_the_next_read_of_a_cached_slate(scene, case, feed):
    """The slate was built and cached before the change, and the resident catalogue is not refreshed."""
    viewer, author, post, _visible = scene
    assert set(served_ids(viewer, feed=feed)) == {"hidden", "visible"}
    HIDING_CASES[case](viewer, author, post)
    after = page(viewer, feed=feed)
    assert after.is_cached
    assert [pick.post.id for pick in after.picks] == ["visible"]


@pytest.mark.parametrize("case", HIDING_CASES)
def test_a_change_applies_even_if_the_catalogue_is_not_up_to_date(scene, case):
    """The final check also covers a fresh slate from a catalogue that is not up to date."""
    viewer, author, post, _visible = scene
    served_ids(viewer)
    HIDING_CASES[case](viewer, author, post)
    wiring.slate_cache().purge([viewer.pk])
    after = page(viewer)
    assert not after.is_cached
    assert [pick.post.id for pick in after.picks] == ["visible"]


def test_restored_posts_are_served_again():
    """After a post is restored and its author reactivated, the next fresh slate has the post."""
    viewer, author = factories.member(), factories.member()
    post = factories.post(author, "p")
    remove_posts(post_ids=[post.pk], now=NOW)
    set_members_active(member_ids=[author.pk], is_active=False, now=NOW)
    assert served_ids(viewer) == []
    wiring.slate_cache().purge([viewer.pk])
    soon = NOW + timedelta(seconds=5)
    restore_posts(post_ids=[post.pk], now=soon)
    set_members_active(member_ids=[author.pk], is_active=True, now=soon)
    assert served_ids(viewer, now=soon) == ["p"]


def test_followers_see_posts_for_followers(scene):
    viewer, author, post, _visible = scene
    change(author.privacy, is_private=True)
    change(post, visibility=Visibility.FOLLOWERS)
    assert set(served_ids(viewer)) == {"hidden", "visible"}


def test_adults_who_allow_it_see_adult_content(scene):
    viewer, _author, post, _visible = scene
    change(viewer, is_adult=True)
    change(viewer.privacy, sensitivity=Sensitivity.ADULT)
    change(post, sensitivity=Sensitivity.ADULT)
    assert set(served_ids(viewer)) == {"hidden", "visible"}


def test_a_viewer_without_privacy_settings_sees_only_safe_posts(scene):
    viewer, _author, post, _visible = scene
    viewer.privacy.delete()
    change(post, sensitivity=Sensitivity.SENSITIVE)
    assert served_ids(viewer) == ["visible"]


@pytest.mark.parametrize("feed", FEEDS)
def test_the_viewers_own_posts_are_not_recommended(feed):
    viewer = factories.member()
    factories.post(viewer)
    assert served_ids(viewer, feed=feed) == []


def test_only_posts_in_languages_that_the_viewer_reads_are_served():
    viewer, author = factories.member(languages=["de", "en"]), factories.member()
    for language in ("de", "fr", ""):
        factories.post(author, f"in-{language}", language=language)
    assert set(served_ids(viewer)) == {"in-de", "in-"}


# Order and paging


@pytest.fixture
def crowd():
    """Return a viewer. There are 60 posts by 20 authors."""
    viewer = factories.member("viewer")
    for _ in range(20):
        factories.posts(factories.member(), 3)
    factories.embed_all_posts()
    return viewer


def read_through(viewer, feed="discovery", limit=7, between=lambda: None):
    """Return the post ids of all pages. *between* is called after each page."""
    ids, cursor = [], None
    for _ in range(50):
        next_page = page(viewer, feed=feed, limit=limit, cursor=cursor)
        ids += [pick.post.id for pick in next_page.picks]
        cursor = next_page.next_cursor
        if cursor is None:
            return ids
        between()
    raise AssertionError("the pages never end")


@pytest.mark.parametrize("feed", ["discovery", "trending"])
def test_pages_neither_repeat_nor_skip(crowd, feed):
    ids = read_through(crowd, feed)
    assert len(ids) == 60 and len(set(ids)) == 60
    assert ids == served_ids(crowd, feed=feed, limit=100)


def test_pages_continue_after_the_slate_is_lost(crowd):
    """The posts of earlier pages are read from the database. The others still follow."""
    first = page(crowd, limit=20)
    records.record_served(now=NOW)
    wiring.slate_cache().purge([crowd.pk])
    remaining = served_ids(crowd, cursor=first.next_cursor, limit=100)
    assert len(remaining) == 40
    assert not set(remaining) & {pick.post.id for pick in first.picks}


def test_posts_removed_between_two_pages_do_not_move_the_others(crowd):
    all_ids = served_ids(crowd, limit=100)
    first = page(crowd, limit=20)
    remove_posts(post_ids=Post.objects.filter(external_id__in=all_ids[5:25]).values_list("pk", flat=True), now=NOW)
    assert served_ids(crowd, cursor=first.next_cursor, limit=100) == all_ids[25:]


def test_a_slate_is_cached_until_it_is_old(crowd):
    first = page(crowd)
    second = page(crowd, now=NOW + timedelta(seconds=60))
    late = page(crowd, now=NOW + timedelta(seconds=1000))
    assert (second.is_cached, second.request_id) == (True, first.request_id)
    assert (late.is_cached, late.request_id == first.request_id) == (False, False)


def test_score_parts_add_up_to_the_score(crowd):
    """The parts in an explanation are the exact addends of the score."""
    for post in Post.objects.order_by("pk")[:30]:
        factories.interaction(crowd, post, at=NOW - timedelta(hours=2))
    learn.learn_interactions(member_ids=[crowd.pk], now=NOW)
    picks = page(crowd, explain=True, limit=50).picks
    assert len(picks) == 50
    for pick in picks:
        assert set(pick.parts) >= {"taste", "dislike", "recency", "popularity", "follow", "fatigue"}
        assert sum(pick.parts.values()) == pytest.approx(pick.score, abs=1e-5)
    assert any(pick.parts["taste"] > 0 for pick in picks)
    assert any(pick.parts["popularity"] > 0 for pick in picks)


def test_a_cached_slate_has_the_scores_of_the_fresh_one(crowd):
    fresh, cached = page(crowd, limit=60), page(crowd, limit=60)
    assert [p.post.id for p in fresh.picks] == [p.post.id for p in cached.picks]
    assert [p.score for p in cached.picks] == pytest.approx([p.score for p in fresh.picks], rel=1e-3)
    assert [p.reasons for p in cached.picks] == [p.reasons for p in fresh.picks]


def test_posts_similar_to_a_liked_post_come_first():
    viewer, author = factories.member(), factories.member()
    for i in range(40):
        factories.embedding(factories.post(factories.member(), f"p{i}"), [1.0] if i % 2 else [0, 1.0])
    liked = factories.post(author, "p99")
    factories.embedding(liked, [1.0])
    factories.interaction(viewer, liked)
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW)
    first = page(viewer, limit=5).picks[0]
    assert int(first.post.id[1:]) % 2
    assert Reason.TASTE in first.reasons and "nearest" in first.sources


def test_a_member_without_personalization_gets_no_taste_part():
    """Their interests are neither learned nor used."""
    viewer = factories.member(is_personalized=False)
    liked = factories.post(factories.member())
    factories.embed_all_posts()
    factories.interaction(viewer, liked)
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW)
    factories.post(factories.member())
    assert page(viewer, explain=True).picks[0].parts["taste"] == 0


def test_interests_learned_at_the_start_of_a_request_are_in_its_cached_slate(crowd, monkeypatch):
    """The viewer is read before the epoch of the slate, so learning in between does not purge the slate."""
    liked, original = Post.objects.order_by("pk")[0], RedisSlates.get_many_with_epoch

    def learn_first(slates, member_id, feeds):
        monkeypatch.setattr(RedisSlates, "get_many_with_epoch", original)
        factories.interaction(crowd, liked, kind="share")
        learn.learn_interactions(member_ids=[crowd.pk], now=NOW)
        slates.purge([crowd.pk])
        return original(slates, member_id, feeds)

    wiring.resident_facts().get_viewer(NOW, external_id="viewer")
    wiring.resident_facts().get_history(crowd.pk, wiring.resident_profiles())
    monkeypatch.setattr(RedisSlates, "get_many_with_epoch", learn_first)
    assert not page(crowd).is_cached and page(crowd).is_cached
    (slate,), _ = wiring.slate_cache().get_many_with_epoch(crowd.pk, ("discovery",))
    assert (slate.reasons & (1 << Reason.TASTE)).any()


# Cost


def history(viewer, count):
    """Give the viewer *count* interactions and seen posts, without enqueueing tasks."""
    author = factories.member()
    names = [f"h{viewer.pk}-{i}" for i in range(count)]
    times = {"created_at": NOW, "changed_at": NOW}
    insert_columns(Post, {"external_id": names, "text": names}, {"author_id": author.pk, **times})
    ids = list(Post.objects.filter(author=author).values_list("pk", flat=True))
    columns = {"occurred_at": NOW, "received_at": NOW, "kind": "like", "member_id": viewer.pk}
    insert_columns(Interaction, {"event_id": names, "post_id": ids}, columns)
    insert_columns(SeenPost, {"post_id": ids}, {"member_id": viewer.pk, "seen_at": NOW})
    return ids


def test_the_number_of_queries_does_not_grow_with_the_history(crowd, monkeypatch):
    page(crowd)  # reads the flags once per process, and checks that the change log has its triggers
    monkeypatch.setattr(resident_facts, "TRIGGER_CHECK_SECONDS", 1e9)
    counts = []
    for length in (10, 5_000, 12_000):
        viewer = factories.member()
        history(viewer, length)
        learn.learn_interactions(member_ids=[viewer.pk], now=NOW)
        wiring.catalogue().refresh(NOW + timedelta(seconds=length))
        factories.clear_change_log()
        for is_cached in (False, True):
            if not is_cached:
                wiring.resident_facts().clear()
            wiring.slate_cache().purge([viewer.pk])
            page_cache().clear()
            with CaptureQueriesContext(connection) as queries:
                assert len(page(viewer, now=NOW + timedelta(seconds=length)).picks) == 20
            counts.append(len(queries))
    uncached, cached = counts[::2], counts[1::2]
    # If more posts were seen than are cached, the final check also queries whether these posts were seen.
    assert uncached[1] == uncached[2] == uncached[0] + 1 <= 12
    # Exploration posts are drawn at random, and may not be cached yet.
    assert max(cached) <= 5


def test_the_final_check_excludes_seen_posts_beyond_the_newest(monkeypatch):
    """Only the newest seen posts are excluded before ranking. The final check excludes the others."""
    monkeypatch.setattr("recommendations.stores.relational_viewers.SEEN_LIMIT", 1)
    viewer, author = factories.member(), factories.member()
    for i, post in enumerate(factories.posts(author, 3)):
        SeenPost.objects.create(member=viewer, post=post, seen_at=NOW - timedelta(days=i))
    new = factories.post(factories.member())
    assert served_ids(viewer) == [new.external_id]


@pytest.mark.one_database("postgresql")
def test_a_member_with_fifty_thousand_interactions_gets_a_feed(crowd):
    """The whole history is learned, and the feed is like any other."""
    posts = list(Post.objects.values_list("pk", flat=True))
    count = 50_000
    chosen = np.random.default_rng(5).choice(posts[:30], count)
    columns = {"event_id": [f"e{i}" for i in range(count)], "post_id": chosen}
    constants = {"member_id": crowd.pk, "kind": "like", "occurred_at": NOW, "received_at": NOW}
    insert_columns(Interaction, columns, constants)
    assert learn.learn_interactions(member_ids=[crowd.pk], now=NOW) == count
    result = page(crowd, explain=True)
    assert len(result.picks) == 20
    assert result.fallback == ""
    assert all(np.isfinite(pick.score) for pick in result.picks)


# Little data


@pytest.mark.parametrize("feed", FEEDS)
def test_an_empty_database_gives_an_empty_feed(feed):
    viewer = factories.member()
    result = page(viewer, feed=feed)
    assert (result.picks, result.next_cursor) == ((), None)


def test_a_member_without_history_gets_popular_and_new_posts(crowd):
    hot = Post.objects.order_by("pk").last()
    factories.popularity(hot, 500)
    result = page(crowd)
    assert len(result.picks) == 20
    assert result.picks[0].post.id == hot.external_id
    assert Reason.POPULAR in result.picks[0].reasons


def test_a_database_without_embeddings_gives_a_feed():
    viewer = factories.member()
    posts = factories.posts(factories.member(), 5)
    factories.interaction(viewer, posts[0])
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW + timedelta(hours=2))
    result = page(viewer)
    assert len(result.picks) == 5 and result.fallback == ""


def test_posts_without_a_vector_do_not_cause_a_fallback(crowd):
    """The post has a row in the catalogue but no vector in the engine yet."""
    factories.interaction(crowd, Post.objects.first())
    learn.learn_interactions(member_ids=[crowd.pk], now=NOW)
    new = factories.posts(factories.member(), 20)
    result = page(crowd, limit=100)
    assert (result.engine, result.fallback) == ("wasm_simd", "")
    assert all("nearest" in pick.sources for pick in result.picks if pick.post.id not in {p.external_id for p in new})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_invalid_vector_costs_only_its_taste_part(crowd, bad):
    invalid = factories.post(factories.member(), "invalid")
    factories.embedding(invalid, [bad])
    short = factories.post(factories.member(), "short")
    factories.embedding(short, [1.0])
    PostEmbedding.objects.filter(post=short).update(vector=b"\0" * 12)
    factories.interaction(crowd, Post.objects.first())
    factories.interaction(crowd, invalid)
    learn.learn_interactions(member_ids=[crowd.pk], now=NOW)
    result = page(crowd, limit=100)
    assert result.fallback == "" and len(result.picks) == 62
    assert all(np.isfinite(pick.score) for pick in result.picks)


# Invalid requests


def test_unknown_and_inactive_members_are_rejected():
    with pytest.raises(UnknownMember, match="no member 'nobody'"):
        recommend(member_id="nobody", now=NOW)
    inactive = factories.member(is_active=False)
    with pytest.raises(InactiveMember):
        page(inactive)


def test_a_viewer_who_is_deactivated_after_the_slate_was_cached_is_rejected(crowd):
    page(crowd)
    change(crowd, is_active=False)
    with pytest.raises(InactiveMember):
        page(crowd)


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        ({"feed": "similar"}, "/feed"),
        ({"limit": 0}, "/limit"),
        ({"limit": 101}, "/limit"),
        ({"cursor": "x"}, "/cursor"),
    ],
)
def test_invalid_arguments_are_rejected_with_their_name(arguments, pointer):
    viewer = factories.member()
    with pytest.raises(InvalidRequest) as error:
        page(viewer, **arguments)
    assert error.value.pointer == pointer


def test_the_cursor_of_another_member_gives_the_members_own_feed(crowd):
    """A cursor grants no access, neither to the slate nor to the served posts."""
    cursor = page(crowd, limit=5).next_cursor
    records.record_served(now=NOW)
    other = factories.member()
    result = page(other, cursor=cursor, limit=5)
    assert not result.is_cached
    assert [pick.post.id for pick in result.picks] == served_ids(other, limit=10)[5:]


# Failures


def fail(error):
    def raise_error(*args, **kwargs):
        raise error

    return raise_error


def test_an_engine_that_fails_is_replaced_by_the_control(crowd, monkeypatch):
    monkeypatch.setattr(WasmEngine, "score", fail(EngineError("out of memory")))
    result = page(crowd)
    assert (result.engine, result.fallback, len(result.picks)) == ("plain", "plain", 20)


def test_the_assigned_engine_is_tried_again_soon(crowd, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(WasmEngine, "score", fail(EngineError("out of memory")))
        page(crowd)
    assert page(crowd, now=NOW + timedelta(seconds=5)).fallback == "plain"
    assert page(crowd, now=NOW + timedelta(seconds=15)).fallback == ""


def test_if_every_engine_fails_the_trending_feed_is_served(crowd, monkeypatch):
    for engine in (WasmEngine, PlainEngine):
        monkeypatch.setattr(engine, "score", fail(EngineError("out of memory")))
    result = page(crowd)
    assert (result.engine, result.fallback, len(result.picks)) == ("none", "trending", 20)


def test_an_engine_that_cannot_store_a_vector_does_not_fail_the_feed(crowd, monkeypatch):
    """If one engine reaches its memory limit, the other engine and the catalogue still work."""
    monkeypatch.setattr(WasmEngine, "put", fail(EngineError("memory limit")))
    assert len(page(crowd).picks) == 20


def test_a_source_that_fails_costs_only_its_candidates(crowd, monkeypatch):
    factories.interaction(crowd, Post.objects.first())
    learn.learn_interactions(member_ids=[crowd.pk], now=NOW)
    monkeypatch.setattr(WasmEngine, "nearest", fail(RuntimeError("no")))
    result = page(crowd)
    assert (result.engine, len(result.picks)) == ("wasm_simd", 20)
    assert not any("nearest" in pick.sources for pick in result.picks)


@pytest.mark.parametrize("feed", ["discovery", "trending", "non_personalized"])
@pytest.mark.parametrize("length", [None, 1, 60])
def test_a_scorer_that_fails_costs_only_its_part(crowd, monkeypatch, feed, length):
    """The engine's breaker stays closed, and the feed is served however often the scorer fails."""

    def failing_scorer(scorer, query, candidates):
        if length is None:
            raise RuntimeError("a bug")
        return np.full(length, np.nan, np.float32)

    def count(stage, component):
        return (
            REGISTRY.get_sample_value("recsys_component_failures_total", {"stage": stage, "component": component}) or 0
        )

    counts_before = count("score", "quality"), count("engine", "wasm_simd"), count("engine", "plain")
    monkeypatch.setattr(Quality, "__call__", failing_scorer)
    for second in range(6):
        wiring.slate_cache().purge([crowd.pk])
        page_cache().clear()
        result = page(crowd, feed=feed, explain=True, now=NOW + timedelta(seconds=second))
        assert (result.fallback, len(result.picks)) == ("", 20)
        assert {pick.parts["quality"] for pick in result.picks} == {0.0}
        assert all(pick.parts["recency"] > 0 for pick in result.picks)
    assert (count("score", "quality"), count("engine", "wasm_simd"), count("engine", "plain")) == (
        counts_before[0] + 6,
        *counts_before[1:],
    )
    assert {breaker.state(NOW.timestamp()) for breaker in wiring.breakers().values()} == {0}


@mandatory_filter
def broken_filter(query, candidates):
    raise RuntimeError("a bug in a filter")


@pytest.mark.parametrize("has_cached_slate", [False, True])
@pytest.mark.parametrize("feed", FEEDS)
def test_nothing_is_served_if_a_filter_fails(crowd, monkeypatch, feed, has_cached_slate):
    """No fallback is used: neither the control engine, nor the trending feed, nor the cached slate."""
    author = factories.member()
    factories.posts(author, 1)
    factories.follow(crowd, author)
    if has_cached_slate:
        assert page(crowd, feed=feed).picks
        page_cache().clear()  # a cached page is not checked again while its facts are unchanged
    monkeypatch.setattr(feeds, "MANDATORY_FILTERS", (*feeds.MANDATORY_FILTERS, broken_filter))
    with pytest.raises(FactsUnavailable):
        page(crowd, feed=feed)


def test_nothing_is_served_if_the_posts_cannot_be_read(crowd, monkeypatch):
    page(crowd)
    page_cache().clear()
    monkeypatch.setattr(ResidentFacts, "read", fail(DatabaseError("gone")))
    with pytest.raises(FactsUnavailable):
        page(crowd)


@pytest.mark.parametrize(
    "function", ["change_log.decode_changes", "resident_facts.history_queries", "resident_facts.decode_seen_posts"]
)
def test_nothing_is_served_if_the_viewers_facts_cannot_be_read(crowd, monkeypatch, function):
    monkeypatch.setattr(f"recommendations.stores.{function}", fail(DatabaseError("gone")))
    with pytest.raises(FactsUnavailable):
        page(crowd)


def test_nothing_is_served_if_the_policy_cannot_be_read(crowd, monkeypatch):
    page(crowd)
    page_cache().clear()
    monkeypatch.setattr(ActivePolicies, "get", fail(DatabaseError("gone")))
    with pytest.raises(FactsUnavailable, match="The ranking policy cannot be read"):
        page(crowd)


def test_nothing_is_served_if_a_filter_of_the_trending_fallback_fails(crowd, monkeypatch, caplog):
    """With both breakers open, trending is the only step: its failed filter is not taken for a failed step."""
    for breaker in wiring.breakers().values():
        for _ in range(5):
            breaker.record_failure(NOW.timestamp())
    assert page(crowd).fallback == "trending"
    wiring.slate_cache().purge([crowd.pk])
    page_cache().clear()
    monkeypatch.setattr(feeds, "MANDATORY_FILTERS", (*feeds.MANDATORY_FILTERS, broken_filter))
    with pytest.raises(FactsUnavailable, match="cannot be checked now"):
        page(crowd)
    assert "fallback_failed" not in [record.message for record in caplog.records]


def test_nothing_is_served_if_the_viewers_row_cannot_be_read(crowd, monkeypatch):
    monkeypatch.setattr("recommendations.stores.sql.PendingQueries.rows", fail(DatabaseError("gone")))
    with pytest.raises(FactsUnavailable):
        page(crowd)


def test_without_redis_the_feed_is_served(crowd, monkeypatch):
    """An unreachable cache costs only the caching."""
    original = wiring.redis_client
    monkeypatch.setattr(wiring, "redis_client", lambda url: original(f"redis://127.0.0.1:{free_port()}/0"))
    wiring.reset_parts()
    for _ in range(2):
        result = page(crowd)
        assert (len(result.picks), result.is_cached) == (20, False)
        page_cache().clear()
    assert len(set(read_through(crowd))) == 60


def test_an_invalid_cached_slate_is_rebuilt(crowd):
    page(crowd)
    cache = wiring.slate_cache()
    cache._client.hset(slates_key(crowd.pk), "discovery", b"invalid")
    assert len(page(crowd).picks) == 20


# Similar posts


@pytest.fixture
def similar_posts(scene):
    """Return the scene and a third post, to which the other two are similar."""
    anchor = factories.post(factories.member("third"), "anchor", text="about hidden visible anchor")
    factories.embed_all_posts()
    return *scene, anchor


def similar_ids(anchor, viewer):
    return [p.post.id for p in find_similar(post_id=anchor.external_id, viewer_id=viewer.external_id, now=NOW).picks]


@pytest.mark.parametrize("case", [case for case in HIDING_CASES if case != "seen"])
def test_similar_posts_exclude_posts_that_the_viewer_may_not_see(similar_posts, case):
    viewer, author, post, _visible, anchor = similar_posts
    assert set(similar_ids(anchor, viewer)) == {"hidden", "visible"}
    HIDING_CASES[case](viewer, author, post)
    assert similar_ids(anchor, viewer) == ["visible"]


@pytest.mark.parametrize("case", [c for c in HIDING_CASES if c != "seen" and not c.startswith("a muted")])
def test_a_post_that_the_viewer_may_not_see_gives_the_same_error_as_none(similar_posts, case):
    viewer, author, post, _visible, _anchor = similar_posts
    HIDING_CASES[case](viewer, author, post)
    with pytest.raises(PostNotVisible) as hidden:
        similar_ids(post, viewer)
    with pytest.raises(PostNotVisible) as missing:
        find_similar(post_id="nothing", viewer_id=viewer.external_id, now=NOW)
    assert str(hidden.value).replace("hidden", "nothing") == str(missing.value)


def test_a_post_without_a_vector_has_no_similar_posts(scene):
    assert similar_ids(factories.post(factories.member(), "bare"), Member.objects.get(external_id="viewer")) == []

"""The road on a real database and a real Redis: who sees what, in which order, and what each failure costs."""

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
from recommendations.stores.bulk import insert_columns
from recommendations.stores.redis_slates import RedisSlates
from recommendations.stores.redis_slates import slates_key as slates_key
from recommendations.stores.resident_facts import ResidentFacts
from tests import factories
from tests.factories import NOW
from tests.servers import free_port

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


def page(who, *, now=NOW, **asked):
    return recommend(member_id=who.external_id, now=now, **asked)


def shown_posts(who, **asked):
    return [pick.post.id for pick in page(who, **asked).picks]


def change(row, **fields):
    type(row).objects.filter(pk=row.pk).update(changed_at=NOW, **fields)


# Who may see what: each case hides one post from the viewer, who follows its author until then.


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
    "adult, for who may be a minor": adult_for_unknown_age,
    "adult, for an adult who wants none": adult_for_unwilling_adult,
    "sensitive, for a viewer without settings": lambda v, a, p: change(p, sensitivity=Sensitivity.SENSITIVE),
    "forbidden": lambda v, a, p: change(p, sensitivity=Sensitivity.FORBIDDEN),
    "a muted author": lambda v, a, p: factories.mute(v, a),
    "a muted word": muted_word,
    "a muted tag": muted_ninth_tag,
    "seen": lambda v, a, p: SeenPost.objects.create(member=v, post=p, seen_at=NOW),
}
# That something was seen is what the viewer did, which the non-personalized feed does not look at.
HIDDEN_FROM = [(case, feed) for case in HIDING_CASES for feed in FEEDS if (case, feed) != ("seen", "non_personalized")]


@pytest.fixture
def scene():
    """A viewer who follows two authors, each with one post."""
    viewer, author, other = factories.member("viewer"), factories.member("author"), factories.member("other")
    post, kept = factories.post(author, "hidden"), factories.post(other, "kept")
    factories.follow(viewer, author)
    factories.follow(viewer, other)
    factories.embed_all_posts()
    return viewer, author, post, kept


@pytest.mark.parametrize(("case", "feed"), HIDDEN_FROM)
def test_what_a_viewer_may_not_see_is_not_in_a_fresh_slate(scene, case, feed):
    viewer, author, post, _kept = scene
    HIDING_CASES[case](viewer, author, post)
    assert shown_posts(viewer, feed=feed) == ["kept"]


@pytest.mark.parametrize(("case", "feed"), HIDDEN_FROM)
def test_a_change_holds_on_the_next_read_of_a_kept_slate(scene, case, feed):
    """The slate was made and kept before the change; neither it nor the resident catalogue knows."""
    viewer, author, post, _kept = scene
    assert set(shown_posts(viewer, feed=feed)) == {"hidden", "kept"}
    HIDING_CASES[case](viewer, author, post)
    after = page(viewer, feed=feed)
    assert after.cached
    assert [pick.post.id for pick in after.picks] == ["kept"]


@pytest.mark.parametrize("case", HIDING_CASES)
def test_a_change_holds_though_the_catalogue_lags_behind(scene, case):
    """A fresh slate from a catalogue that has not followed yet is looked at again as well."""
    viewer, author, post, _kept = scene
    shown_posts(viewer)
    HIDING_CASES[case](viewer, author, post)
    wiring.slate_cache().purge([viewer.pk])
    after = page(viewer)
    assert not after.cached
    assert [pick.post.id for pick in after.picks] == ["kept"]


def test_what_may_be_seen_again_comes_back():
    """Restoring a post or reactivating its author shows it on the next fresh slate."""
    viewer, author = factories.member(), factories.member()
    post = factories.post(author, "p")
    remove_posts(post_ids=[post.pk], now=NOW)
    set_members_active(member_ids=[author.pk], is_active=False, now=NOW)
    assert shown_posts(viewer) == []
    wiring.slate_cache().purge([viewer.pk])
    soon = NOW + timedelta(seconds=5)
    restore_posts(post_ids=[post.pk], now=soon)
    set_members_active(member_ids=[author.pk], is_active=True, now=soon)
    assert shown_posts(viewer, now=soon) == ["p"]


def test_followers_see_what_is_for_them(scene):
    viewer, author, post, _kept = scene
    change(author.privacy, is_private=True)
    change(post, visibility=Visibility.FOLLOWERS)
    assert set(shown_posts(viewer)) == {"hidden", "kept"}


def test_adults_who_want_it_see_adult_content(scene):
    viewer, _author, post, _kept = scene
    change(viewer, is_adult=True)
    change(viewer.privacy, sensitivity=Sensitivity.ADULT)
    change(post, sensitivity=Sensitivity.ADULT)
    assert set(shown_posts(viewer)) == {"hidden", "kept"}


def test_a_viewer_without_privacy_settings_sees_only_the_safest(scene):
    viewer, _author, post, _kept = scene
    viewer.privacy.delete()
    change(post, sensitivity=Sensitivity.SENSITIVE)
    assert shown_posts(viewer) == ["kept"]


@pytest.mark.parametrize("feed", FEEDS)
def test_ones_own_posts_are_not_recommended(feed):
    viewer = factories.member()
    factories.post(viewer)
    assert shown_posts(viewer, feed=feed) == []


def test_only_languages_that_the_viewer_reads():
    viewer, author = factories.member(languages=["de", "en"]), factories.member()
    for language in ("de", "fr", ""):
        factories.post(author, f"in-{language}", language=language)
    assert set(shown_posts(viewer)) == {"in-de", "in-"}


# Order and paging


@pytest.fixture
def crowd():
    """A viewer, and 60 posts by 20 authors."""
    viewer = factories.member("viewer")
    for _ in range(20):
        factories.posts(factories.member(), 3)
    factories.embed_all_posts()
    return viewer


def read_through(viewer, feed="discovery", limit=7, between=lambda: None):
    """Return every id of every page."""
    found, cursor = [], None
    for _ in range(50):
        part = page(viewer, feed=feed, limit=limit, cursor=cursor)
        found += [pick.post.id for pick in part.picks]
        cursor = part.next_cursor
        if cursor is None:
            return found
        between()
    raise AssertionError("the pages never end")


@pytest.mark.parametrize("feed", ["discovery", "trending"])
def test_pages_neither_repeat_nor_skip(crowd, feed):
    found = read_through(crowd, feed)
    assert len(found) == 60 and len(set(found)) == 60
    assert found == shown_posts(crowd, feed=feed, limit=100)


def test_pages_go_on_when_the_slate_is_lost(crowd):
    """What an earlier page showed is known from the database; what it did not show still comes."""
    first = page(crowd, limit=20)
    records.record_served(now=NOW)
    wiring.slate_cache().purge([crowd.pk])
    rest = shown_posts(crowd, cursor=first.next_cursor, limit=100)
    assert len(rest) == 40
    assert not set(rest) & {pick.post.id for pick in first.picks}


def test_a_post_hidden_between_two_pages_moves_none_of_the_others(crowd):
    whole = shown_posts(crowd, limit=100)
    first = page(crowd, limit=20)
    remove_posts(post_ids=Post.objects.filter(external_id__in=whole[5:25]).values_list("pk", flat=True), now=NOW)
    assert shown_posts(crowd, cursor=first.next_cursor, limit=100) == whole[25:]


def test_a_slate_is_kept_until_it_is_old(crowd):
    built = page(crowd)
    again = page(crowd, now=NOW + timedelta(seconds=60))
    late = page(crowd, now=NOW + timedelta(seconds=1000))
    assert (again.cached, again.request_id) == (True, built.request_id)
    assert (late.cached, late.request_id == built.request_id) == (False, False)


def test_parts_add_up_to_the_score(crowd):
    """An explanation is the sum itself, not a story about it."""
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


def test_the_kept_slate_has_the_scores_of_the_fresh_one(crowd):
    fresh, kept = page(crowd, limit=60), page(crowd, limit=60)
    assert [p.post.id for p in fresh.picks] == [p.post.id for p in kept.picks]
    assert [p.score for p in kept.picks] == pytest.approx([p.score for p in fresh.picks], rel=1e-3)
    assert [p.reasons for p in kept.picks] == [p.reasons for p in fresh.picks]


def test_what_was_liked_brings_more_of_its_kind():
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


def test_who_wants_no_personal_feed_gets_none():
    """Their interests are neither learned nor used."""
    viewer = factories.member(is_personalized=False)
    liked = factories.post(factories.member())
    factories.embed_all_posts()
    factories.interaction(viewer, liked)
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW)
    factories.post(factories.member())
    assert page(viewer, explain=True).picks[0].parts["taste"] == 0


def test_what_is_learned_while_a_request_begins_is_in_the_slate_that_is_kept(crowd, monkeypatch):
    """The viewer was read before, the slate's epoch after: no purge will come for what was learned in between."""
    liked, real = Post.objects.order_by("pk")[0], RedisSlates.get_many_with_epoch

    def learned_first(slates, member_id, feeds):
        monkeypatch.setattr(RedisSlates, "get_many_with_epoch", real)
        factories.interaction(crowd, liked, kind="share")
        learn.learn_interactions(member_ids=[crowd.pk], now=NOW)
        slates.purge([crowd.pk])
        return real(slates, member_id, feeds)

    wiring.resident_facts().get_viewer(NOW, external_id="viewer")
    wiring.resident_facts().get_history(crowd.pk, wiring.resident_profiles())
    monkeypatch.setattr(RedisSlates, "get_many_with_epoch", learned_first)
    assert not page(crowd).cached and page(crowd).cached
    (slate,), _ = wiring.slate_cache().get_many_with_epoch(crowd.pk, ("discovery",))
    assert (slate.reasons & (1 << Reason.TASTE)).any()


# Cost


def history(viewer, count):
    """Give the viewer *count* acts and posts seen, without a message for any."""
    author = factories.member()
    names = [f"h{viewer.pk}-{i}" for i in range(count)]
    times = {"created_at": NOW, "changed_at": NOW}
    insert_columns(Post, {"external_id": names, "text": names}, {"author_id": author.pk, **times})
    ids = list(Post.objects.filter(author=author).values_list("pk", flat=True))
    when = {"occurred_at": NOW, "received_at": NOW, "kind": "like", "member_id": viewer.pk}
    insert_columns(Interaction, {"event_id": names, "post_id": ids}, when)
    insert_columns(SeenPost, {"post_id": ids}, {"member_id": viewer.pk, "seen_at": NOW})
    return ids


def test_the_number_of_queries_does_not_grow_with_the_history(crowd, monkeypatch):
    page(crowd)  # reads the flags, once a process, and looks whether the change log is kept
    monkeypatch.setattr(resident_facts, "TRIGGER_CHECK_SECONDS", 1e9)
    counts = []
    for length in (10, 5_000, 12_000):
        viewer = factories.member()
        history(viewer, length)
        learn.learn_interactions(member_ids=[viewer.pk], now=NOW)
        wiring.catalogue().refresh(NOW + timedelta(seconds=length))
        factories.clear_change_log()
        for is_known in (False, True):
            if not is_known:
                wiring.resident_facts().clear()
            wiring.slate_cache().purge([viewer.pk])
            page_cache().clear()
            with CaptureQueriesContext(connection) as queries:
                assert len(page(viewer, now=NOW + timedelta(seconds=length)).picks) == 20
            counts.append(len(queries))
    unknown, known = counts[::2], counts[1::2]
    # Of who saw more than is remembered, the last look asks whether they saw these posts.
    assert unknown[1] == unknown[2] == unknown[0] + 1 <= 10
    # A post on exploration is drawn by lot, and perhaps not one that is known.
    assert max(known) <= 5


def test_the_last_look_asks_about_posts_seen_beyond_the_newest_thousands(monkeypatch):
    """Only the newest are excluded before ranking; the others are not shown all the same."""
    monkeypatch.setattr("recommendations.stores.relational_viewers.SEEN_LIMIT", 1)
    viewer, author = factories.member(), factories.member()
    for i, post in enumerate(factories.posts(author, 3)):
        SeenPost.objects.create(member=viewer, post=post, seen_at=NOW - timedelta(days=i))
    new = factories.post(factories.member())
    assert shown_posts(viewer) == [new.external_id]


def test_a_member_with_fifty_thousand_interactions(crowd):
    """A long history is learned whole and gives a feed like any other."""
    posts = list(Post.objects.values_list("pk", flat=True))
    count = 50_000
    chosen = np.random.default_rng(5).choice(posts[:30], count)
    columns = {"event_id": [f"e{i}" for i in range(count)], "post_id": chosen}
    same = {"member_id": crowd.pk, "kind": "like", "occurred_at": NOW, "received_at": NOW}
    insert_columns(Interaction, columns, same)
    assert learn.learn_interactions(member_ids=[crowd.pk], now=NOW) == count
    found = page(crowd, explain=True)
    assert len(found.picks) == 20
    assert found.fallback == ""
    assert all(np.isfinite(pick.score) for pick in found.picks)


# Little to go on


@pytest.mark.parametrize("feed", FEEDS)
def test_an_empty_database_gives_an_empty_feed(feed):
    viewer = factories.member()
    found = page(viewer, feed=feed)
    assert (found.picks, found.next_cursor) == ((), None)


def test_a_member_without_history_gets_what_is_popular_and_new(crowd):
    hot = Post.objects.order_by("pk").last()
    factories.engagement(hot, 500)
    found = page(crowd)
    assert len(found.picks) == 20
    assert found.picks[0].post.id == hot.external_id
    assert Reason.POPULAR in found.picks[0].reasons


def test_a_database_without_embeddings_gives_a_feed():
    viewer = factories.member()
    posts = factories.posts(factories.member(), 5)
    factories.interaction(viewer, posts[0])
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW + timedelta(hours=2))
    found = page(viewer)
    assert len(found.picks) == 5 and found.fallback == ""


def test_a_post_too_new_for_a_vector_costs_nobody_the_engine(crowd):
    """It has a row in the catalogue and none in the engine yet."""
    factories.interaction(crowd, Post.objects.first())
    learn.learn_interactions(member_ids=[crowd.pk], now=NOW)
    new = factories.posts(factories.member(), 20)
    found = page(crowd, limit=100)
    assert (found.engine, found.fallback) == ("wasm_simd", "")
    assert all("nearest" in pick.sources for pick in found.picks if pick.post.id not in {p.external_id for p in new})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_cannot_be_used_costs_its_taste_part_only(crowd, bad):
    spoiled = factories.post(factories.member(), "spoiled")
    factories.embedding(spoiled, [bad])
    short = factories.post(factories.member(), "short")
    factories.embedding(short, [1.0])
    PostEmbedding.objects.filter(post=short).update(vector=b"\0" * 12)
    factories.interaction(crowd, Post.objects.first())
    factories.interaction(crowd, spoiled)
    learn.learn_interactions(member_ids=[crowd.pk], now=NOW)
    found = page(crowd, limit=100)
    assert found.fallback == "" and len(found.picks) == 62
    assert all(np.isfinite(pick.score) for pick in found.picks)


# Refusals


def test_an_unknown_member_and_a_deactivated_one_are_refused():
    with pytest.raises(UnknownMember, match="no member 'nobody'"):
        recommend(member_id="nobody", now=NOW)
    gone = factories.member(is_active=False)
    with pytest.raises(InactiveMember):
        page(gone)


def test_a_viewer_deactivated_after_the_slate_was_kept_gets_nothing(crowd):
    page(crowd)
    change(crowd, is_active=False)
    with pytest.raises(InactiveMember):
        page(crowd)


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"feed": "similar"}, "/feed"),
        ({"limit": 0}, "/limit"),
        ({"limit": 101}, "/limit"),
        ({"cursor": "x"}, "/cursor"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_name(asked, pointer):
    viewer = factories.member()
    with pytest.raises(InvalidRequest) as refused:
        page(viewer, **asked)
    assert refused.value.pointer == pointer


def test_anothers_cursor_shows_ones_own_feed(crowd):
    """A cursor gives no access: neither to the slate nor to what was served."""
    cursor = page(crowd, limit=5).next_cursor
    records.record_served(now=NOW)
    other = factories.member()
    found = page(other, cursor=cursor, limit=5)
    assert not found.cached
    assert [pick.post.id for pick in found.picks] == shown_posts(other, limit=10)[5:]


# Failures


def fail(error):
    def failing(*args, **kwargs):
        raise error

    return failing


def test_an_engine_that_fails_is_replaced_by_the_control(crowd, monkeypatch):
    monkeypatch.setattr(WasmEngine, "score", fail(EngineError("out of memory")))
    found = page(crowd)
    assert (found.engine, found.fallback, len(found.picks)) == ("plain", "plain", 20)


def test_the_chosen_engine_is_tried_again_soon(crowd, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(WasmEngine, "score", fail(EngineError("out of memory")))
        page(crowd)
    assert page(crowd, now=NOW + timedelta(seconds=5)).fallback == "plain"
    assert page(crowd, now=NOW + timedelta(seconds=15)).fallback == ""


def test_when_every_engine_fails_the_trending_feed_is_shown(crowd, monkeypatch):
    for engine in (WasmEngine, PlainEngine):
        monkeypatch.setattr(engine, "score", fail(EngineError("out of memory")))
    found = page(crowd)
    assert (found.engine, found.fallback, len(found.picks)) == ("none", "trending", 20)


def test_an_engine_that_cannot_take_a_vector_costs_nobody_the_feed(crowd, monkeypatch):
    """A memory limit reached in the one engine leaves the other, and the catalogue, whole."""
    monkeypatch.setattr(WasmEngine, "put", fail(EngineError("memory limit")))
    assert len(page(crowd).picks) == 20


def test_a_source_that_fails_costs_its_candidates_only(crowd, monkeypatch):
    factories.interaction(crowd, Post.objects.first())
    learn.learn_interactions(member_ids=[crowd.pk], now=NOW)
    monkeypatch.setattr(WasmEngine, "nearest", fail(RuntimeError("no")))
    found = page(crowd)
    assert (found.engine, len(found.picks)) == ("wasm_simd", 20)
    assert not any("nearest" in pick.sources for pick in found.picks)


@pytest.mark.parametrize("feed", ["discovery", "trending", "non_personalized"])
@pytest.mark.parametrize("length", [None, 1, 60])
def test_a_scorer_that_fails_costs_its_part_only(crowd, monkeypatch, feed, length):
    """Not the engine, which is not blamed and goes on being asked; not the feed, however often it fails."""

    def fails(scorer, query, candidates):
        if length is None:
            raise RuntimeError("a bug")
        return np.full(length, np.nan, np.float32)

    def count(stage, part):
        return REGISTRY.get_sample_value("recsys_component_failures_total", {"stage": stage, "part": part}) or 0

    counted = count("score", "quality"), count("engine", "wasm_simd"), count("engine", "plain")
    monkeypatch.setattr(Quality, "__call__", fails)
    for second in range(6):
        wiring.slate_cache().purge([crowd.pk])
        page_cache().clear()
        found = page(crowd, feed=feed, explain=True, now=NOW + timedelta(seconds=second))
        assert (found.fallback, len(found.picks)) == ("", 20)
        assert {pick.parts["quality"] for pick in found.picks} == {0.0}
        assert all(pick.parts["recency"] > 0 for pick in found.picks)
    assert (count("score", "quality"), count("engine", "wasm_simd"), count("engine", "plain")) == (
        counted[0] + 6,
        *counted[1:],
    )
    assert {breaker.state(NOW.timestamp()) for breaker in wiring.breakers().values()} == {0}


@mandatory_filter
def broken_filter(query, candidates):
    raise RuntimeError("no facts today")


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("feed", FEEDS)
def test_a_filter_that_fails_shows_nothing(crowd, monkeypatch, feed, kept):
    """Not the slate of the control, not the trending feed, not the kept slate: nothing that could not be checked."""
    author = factories.member()
    factories.posts(author, 1)
    factories.follow(crowd, author)
    if kept:
        assert page(crowd, feed=feed).picks
        page_cache().clear()  # in the cache's Redis; what has been judged and has not changed is not judged again
    monkeypatch.setattr(feeds, "MANDATORY_FILTERS", (*feeds.MANDATORY_FILTERS, broken_filter))
    with pytest.raises(FactsUnavailable):
        page(crowd, feed=feed)


def test_posts_that_cannot_be_read_are_not_shown(crowd, monkeypatch):
    page(crowd)
    page_cache().clear()
    monkeypatch.setattr(ResidentFacts, "read", fail(DatabaseError("gone")))
    with pytest.raises(FactsUnavailable):
        page(crowd)


@pytest.mark.parametrize("lost", ["change_log.told", "resident_facts.history_questions", "resident_facts.seen_by"])
def test_without_the_viewers_facts_nothing_is_shown(crowd, monkeypatch, lost):
    monkeypatch.setattr(f"recommendations.stores.{lost}", fail(DatabaseError("gone")))
    with pytest.raises(FactsUnavailable):
        page(crowd)


def test_without_the_viewers_row_nothing_is_shown(crowd, monkeypatch):
    monkeypatch.setattr("recommendations.stores.sql.PendingQueries.rows", fail(DatabaseError("gone")))
    with pytest.raises(FactsUnavailable):
        page(crowd)


def test_without_redis_the_feed_is_served(crowd, monkeypatch):
    """A cache that cannot be reached costs the cache."""
    make = wiring.redis_client
    monkeypatch.setattr(wiring, "redis_client", lambda url: make(f"redis://127.0.0.1:{free_port()}/0"))
    wiring.reset_parts()
    for _ in range(2):
        found = page(crowd)
        assert (len(found.picks), found.cached) == (20, False)
        page_cache().clear()
    assert len(set(read_through(crowd))) == 60


def test_a_spoiled_kept_slate_is_made_anew(crowd):
    page(crowd)
    cache = wiring.slate_cache()
    cache._client.hset(slates_key(crowd.pk), "discovery", b"spoiled")
    assert len(page(crowd).picks) == 20


# Posts like one post


@pytest.fixture
def similar_posts(scene):
    """The scene, with a third post that the other two are alike to."""
    anchor = factories.post(factories.member("third"), "anchor", text="about hidden kept anchor")
    factories.embed_all_posts()
    return *scene, anchor


def like(anchor, viewer):
    return [p.post.id for p in find_similar(post_id=anchor.external_id, viewer_id=viewer.external_id, now=NOW).picks]


@pytest.mark.parametrize("case", [case for case in HIDING_CASES if case != "seen"])
def test_similar_posts_are_those_the_viewer_may_see(similar_posts, case):
    viewer, author, post, _kept, anchor = similar_posts
    assert set(like(anchor, viewer)) == {"hidden", "kept"}
    HIDING_CASES[case](viewer, author, post)
    assert like(anchor, viewer) == ["kept"]


@pytest.mark.parametrize("case", [c for c in HIDING_CASES if c != "seen" and not c.startswith("a muted")])
def test_a_post_that_may_not_be_seen_is_as_unknown_as_none(similar_posts, case):
    viewer, author, post, _kept, _anchor = similar_posts
    HIDING_CASES[case](viewer, author, post)
    with pytest.raises(PostNotVisible) as hidden:
        like(post, viewer)
    with pytest.raises(PostNotVisible) as missing:
        find_similar(post_id="nothing", viewer_id=viewer.external_id, now=NOW)
    assert str(hidden.value).replace("hidden", "nothing") == str(missing.value)


def test_a_post_without_a_vector_has_none_like_it(scene):
    assert like(factories.post(factories.member(), "bare"), Member.objects.get(external_id="viewer")) == []

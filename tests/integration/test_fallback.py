"""A feed is not empty while there are posts to show: the fallback of each failure, and the refresh of stale slates."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import DatabaseError

from recommendations import task_queue
from recommendations.engines.plain import PlainEngine
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import Member, Post, SeenPost
from recommendations.pipeline.sources.followed import FollowedAuthors
from recommendations.ports import EngineError, VectorError
from recommendations.services import invalidate, wiring
from recommendations.services.content.publish import remove_posts
from recommendations.services.errors import FactsUnavailable
from recommendations.services.learning import learn
from recommendations.services.serving import records, refresh
from recommendations.services.serving.cursors import write_cursor
from recommendations.services.serving.pages import page_cache
from recommendations.services.serving.query import EngineAssignment, assign_engine, build_query, get_viewer
from recommendations.services.serving.recommend import FEEDS, recommend
from recommendations.services.serving.slates import CachedSlate, find_slate
from recommendations.stores import resident_profiles
from recommendations.stores.resident_catalogue import ResidentCatalogue
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture
def viewer():
    viewer = factories.member("viewer")
    for _ in range(20):
        factories.posts(factories.member(), 10)
    factories.embed_all_posts()
    return viewer


def page(**options):
    return recommend(member_id="viewer", **{"now": NOW, **options})


def ids(page):
    return [pick.post.id for pick in page.picks]


def raise_always(error):
    def fail(*args, **kwargs):
        raise error

    return fail


def test_an_engine_that_fails_repeatedly_is_not_called_for_a_while(viewer, monkeypatch):
    calls = []

    def score(*args):
        calls.append(1)
        raise EngineError("no")

    def build_page(seconds):
        wiring.slate_cache().purge([viewer.pk])
        page_cache().clear()
        return page(now=NOW + timedelta(seconds=seconds))

    with monkeypatch.context() as patch:
        patch.setattr(WasmEngine, "score", score)
        for second in range(8):
            built_page = build_page(second)
            assert (built_page.engine, built_page.fallback, len(built_page.picks)) == ("plain", "plain", 20)
        assert len(calls) == 5
    assert build_page(10).fallback == "plain"
    assert build_page(30).fallback == ""


def test_a_process_that_cannot_create_the_kernel_serves_with_the_control_engine(viewer, monkeypatch, settings, caplog):
    settings.ENV = settings.ENV.model_copy(update={"wasm_memory_limit": 1})
    wiring.reset_parts()
    assert set(wiring.engines()) == {"plain"}
    assert "engine_not_created" in [record.message for record in caplog.records]
    with pytest.raises(EngineError, match="has no engine wasm_simd"):
        wiring.engine("wasm_simd")
    found = page()
    assert (found.engine, found.fallback, len(found.picks)) == ("plain", "plain", 20)


def test_a_stale_slate_is_served_while_a_worker_builds_a_new_one(viewer, monkeypatch):
    enqueued = []
    monkeypatch.setattr(task_queue, "enqueue", lambda name, kwargs=None, **_: enqueued.append((name, kwargs)))
    first, later = page(), NOW + timedelta(seconds=400)
    assert [page(now=later).request_id for _ in range(3)] == [first.request_id] * 3
    refreshes = [(name, kwargs) for name, kwargs in enqueued if name == task_queue.REFRESH_SLATE]
    assert refreshes == [(task_queue.REFRESH_SLATE, {"member_id": viewer.pk, "feed": "discovery"})]
    refresh.refresh_slate(**refreshes[0][1], now=later)
    after = page(now=later)
    assert after.is_cached and after.request_id != first.request_id


@pytest.mark.parametrize("change", ["erased", "deactivated"])
def test_the_slates_of_a_member_who_is_gone_are_deleted_instead_of_rebuilt(viewer, change):
    page()
    pk = viewer.pk
    if change == "erased":
        viewer.delete()
    else:
        Member.objects.filter(pk=pk).update(is_active=False)
    wiring.resident_facts().clear()
    assert wiring.slate_cache().claim(pk, "discovery", seconds=30)
    refresh.refresh_slate(member_id=pk, feed="discovery", now=NOW)
    assert wiring.slate_cache().get(pk, "discovery") is None
    assert wiring.slate_cache().claim(pk, "discovery", seconds=30), "the claim was released"


def test_the_last_good_slate_is_served_if_the_catalogue_cannot_be_read(viewer, monkeypatch):
    good_page = page()
    invalidate.retire_slates([viewer.pk])
    wiring.reset_parts()
    monkeypatch.setattr(ResidentCatalogue, "refresh", raise_always(DatabaseError("gone")))
    fallback_page = page()
    assert (fallback_page.fallback, ids(fallback_page)) == ("last_good", ids(good_page))
    remove_posts(post_ids=Post.objects.filter(external_id=ids(good_page)[0]).values_list("pk", flat=True), now=NOW)
    assert ids(page())[:19] == ids(good_page)[1:]  # the final check applies to it, too
    wiring.slate_cache().purge([viewer.pk])
    page_cache().clear()
    with pytest.raises(FactsUnavailable, match="no earlier one is cached"):
        page()


def test_a_cached_slate_whose_posts_were_all_seen_is_rebuilt(viewer):
    first = page(limit=100)
    second = page(limit=100, cursor=first.next_cursor)
    seen = Post.objects.filter(external_id__in=ids(first) + ids(second)[:50])
    SeenPost.objects.bulk_create([SeenPost(member=viewer, post=post, seen_at=NOW) for post in seen])
    assert len(page().picks) == 20


def test_posts_dropped_by_the_final_check_are_left_out_of_the_rebuilt_slate(viewer):
    """The catalogue is not up to date yet. Otherwise the new slate would be the same and the page empty."""
    page()
    slate_ids = wiring.slate_cache().get(viewer.pk, "discovery").post_ids.tolist()
    assert len(slate_ids) == 120
    removed = set(Post.objects.filter(pk__in=slate_ids).values_list("external_id", flat=True))
    remove_posts(post_ids=slate_ids, now=NOW)
    found = page()
    assert len(found.picks) == 20 and not removed & set(ids(found))
    assert (found.positions, found.earlier_steps) == (tuple(range(20)), ())
    rest = page(cursor=found.next_cursor, limit=100)
    assert len(set(ids(found)) | set(ids(rest))) == 80


def test_an_empty_feed_is_served_only_if_every_source_succeeded(viewer, monkeypatch):
    """Without a last good slate the feed is an error and not an empty page."""
    author = factories.member("author")
    factories.posts(author, 3)
    factories.follow(viewer, author)
    wiring.resident_facts().clear()
    later = NOW + timedelta(seconds=60)
    assert len(page(feed="following", now=later).picks) == 3
    monkeypatch.setattr(FollowedAuthors, "__call__", raise_always(RuntimeError("no")))
    wiring.slate_cache().retire([viewer.pk])
    page_cache().clear()
    again = page(feed="following", now=later)
    assert (again.fallback, len(again.picks)) == ("last_good", 3)
    wiring.slate_cache().purge([viewer.pk])
    page_cache().clear()
    with pytest.raises(FactsUnavailable):
        page(feed="following", now=later)


def test_a_cached_slate_is_fresh_then_stale_then_not_served(viewer, settings):
    settings.ENV = settings.ENV.model_copy(update={"slate_fresh_seconds": 100, "slate_stale_seconds": 200})

    def cached_slate_state(seconds):
        """Return whether the cached slate is served after *seconds*, and whether it is stale."""
        page_cache().clear()
        (slate,), _ = wiring.slate_cache().get_many_with_epoch(viewer.pk, ("discovery",))
        at = NOW + timedelta(seconds=seconds)
        assignment = assign_engine("viewer")
        query = build_query(get_viewer(at, pk=viewer.pk), assignment, feed="discovery", now=at)
        position = find_slate(query, assignment, get_viewer(at, pk=viewer.pk), None)
        source = position.slate_source
        return position.slate.request_id == slate.request_id, isinstance(source, CachedSlate) and source.is_stale

    page()
    assert [cached_slate_state(age) for age in (0, 99, 100, 199)] == [
        (True, False),
        (True, False),
        (True, True),
        (True, True),
    ]
    assert cached_slate_state(200) == (False, False) and cached_slate_state(-1) == (False, False)


@pytest.mark.parametrize("recorded", [True, False])
def test_pages_neither_repeat_nor_skip_posts_although_every_slate_is_lost(viewer, recorded):
    shown, cursor = [], None
    for _ in range(30):
        next_page = page(limit=25, cursor=cursor)
        shown += ids(next_page)
        if recorded:
            records.record_served(now=NOW)
            wiring.slate_cache().purge([viewer.pk])
        if (cursor := next_page.next_cursor) is None:
            break
    assert len(shown) == len(set(shown)) == 200


def test_a_cursor_beyond_the_slate_gives_the_end_of_a_new_slate(viewer):
    """For any number of posts read in lost slates: an offset too large for a cursor or a record is no server error."""
    cursor = write_cursor(uuid4(), 2**16 - 1, ((uuid4(), 2**16 - 1),))
    last_page = page(cursor=cursor)
    assert last_page.picks == () and last_page.next_cursor
    assert page(cursor=last_page.next_cursor).picks


def test_a_profile_learned_by_another_process_is_used_at_once(viewer, monkeypatch):
    """A profile is cached with its version, and the version is among the viewer's facts."""
    factories.interaction(viewer, Post.objects.first())
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW)
    decoded = []
    real_decode = resident_profiles.decode_profile
    monkeypatch.setattr(resident_profiles, "decode_profile", lambda *args: decoded.append(1) or real_decode(*args))
    for _ in range(3):
        page(explain=True)
    assert len(decoded) == 1
    factories.interaction(viewer, Post.objects.last())
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW + timedelta(seconds=1))
    page(explain=True)
    assert len(decoded) == 2


def test_the_plain_engine_is_not_called_twice_when_it_fails(viewer, monkeypatch):
    calls = []

    def score(*args):
        calls.append(1)
        raise EngineError("no")

    monkeypatch.setattr(PlainEngine, "score", score)
    found = page(assignment=EngineAssignment("plain", "control"))
    assert (found.engine, found.fallback, len(calls)) == ("none", "trending", 1)


def test_an_unusable_vector_is_not_counted_as_a_failure_of_the_engine(viewer, monkeypatch):
    """The error belongs to one query: the engine is called again for the next one."""
    calls = []

    def score(*args):
        calls.append(1)
        raise VectorError("not a number")

    monkeypatch.setattr(WasmEngine, "score", score)
    for second in range(8):
        wiring.slate_cache().purge([viewer.pk])
        page_cache().clear()
        assert page(now=NOW + timedelta(seconds=second)).fallback == "plain"
    assert len(calls) == 8


@pytest.mark.parametrize("feed", FEEDS)
def test_if_nothing_can_be_ranked_the_last_good_slate_or_an_error_is_returned(viewer, monkeypatch, feed):
    factories.follow(viewer, Post.objects.first().author)
    good = page(feed=feed)
    assert good.picks
    wiring.slate_cache().retire([viewer.pk])
    page_cache().clear()
    monkeypatch.setattr(ResidentCatalogue, "load_facts", raise_always(RuntimeError("no")))
    found = page(feed=feed)
    assert (found.fallback, ids(found)) == ("last_good", ids(good))
    wiring.slate_cache().purge([viewer.pk])
    page_cache().clear()
    with pytest.raises(FactsUnavailable, match="no earlier one is cached"):
        page(feed=feed)

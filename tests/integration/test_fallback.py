"""A feed is never empty while there is something to show: what stands behind each failure, and who makes the next."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import DatabaseError

from recommendations import task_queue
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import Post, SeenPost
from recommendations.ports import EngineError
from recommendations.services import invalidate, wiring
from recommendations.services.content.publish import remove_posts
from recommendations.services.errors import FactsUnavailable
from recommendations.services.learning import learn
from recommendations.services.serving import records, refresh
from recommendations.services.serving.cursors import write_cursor
from recommendations.services.serving.pages import page_cache
from recommendations.services.serving.recommend import recommend
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


def page(**asked):
    return recommend(member_id="viewer", **{"now": NOW, **asked})


def ids(found):
    return [pick.post.id for pick in found.picks]


def fail(error):
    def failing(*args, **kwargs):
        raise error

    return failing


def test_an_engine_that_fails_again_and_again_is_not_asked_for_a_while(viewer, monkeypatch):
    asked = []

    def score(*args):
        asked.append(1)
        raise EngineError("no")

    def fresh(seconds):
        wiring.slate_cache().purge([viewer.pk])
        page_cache().clear()
        return page(now=NOW + timedelta(seconds=seconds))

    with monkeypatch.context() as patch:
        patch.setattr(WasmEngine, "score", score)
        for second in range(8):
            found = fresh(second)
            assert (found.engine, found.fallback, len(found.picks)) == ("plain", "plain", 20)
        assert len(asked) == 5
    assert fresh(10).fallback == "plain"
    assert fresh(30).fallback == ""


def test_a_stale_slate_is_served_while_a_worker_makes_the_next(viewer, monkeypatch):
    asked = []
    monkeypatch.setattr(task_queue, "enqueue", lambda name, kwargs=None, **_: asked.append((name, kwargs)))
    first, later = page(), NOW + timedelta(seconds=400)
    assert [page(now=later).request_id for _ in range(3)] == [first.request_id] * 3
    wanted = [(name, kwargs) for name, kwargs in asked if name == task_queue.REFRESH_SLATE]
    assert wanted == [(task_queue.REFRESH_SLATE, {"member_id": viewer.pk, "feed": "discovery"})]
    refresh.refresh_slate(**wanted[0][1], now=later)
    after = page(now=later)
    assert after.cached and after.request_id != first.request_id


def test_when_the_catalogue_cannot_be_read_the_last_good_slate_is_served(viewer, monkeypatch):
    good = page()
    invalidate.retire_slates([viewer.pk])
    wiring.reset_parts()
    monkeypatch.setattr(ResidentCatalogue, "refresh", fail(DatabaseError("gone")))
    found = page()
    assert (found.fallback, ids(found)) == ("last_good", ids(good))
    remove_posts(post_ids=Post.objects.filter(external_id=ids(good)[0]).values_list("pk", flat=True), now=NOW)
    assert ids(page())[:19] == ids(good)[1:]  # the last look holds for it too
    wiring.slate_cache().purge([viewer.pk])
    page_cache().clear()
    with pytest.raises(FactsUnavailable, match="none is kept"):
        page()


def test_a_kept_slate_of_which_all_was_seen_is_made_anew(viewer):
    first = page(limit=100)
    second = page(limit=100, cursor=first.next_cursor)
    seen = Post.objects.filter(external_id__in=ids(first) + ids(second)[:50])
    SeenPost.objects.bulk_create([SeenPost(member=viewer, post=post, seen_at=NOW) for post in seen])
    assert len(page().picks) == 20


@pytest.mark.parametrize("recorded", [True, False])
def test_pages_neither_repeat_nor_skip_though_every_slate_is_lost(viewer, recorded):
    found, cursor = [], None
    for _ in range(30):
        part = page(limit=25, cursor=cursor)
        found += ids(part)
        if recorded:
            records.record_served(now=NOW)
            wiring.slate_cache().purge([viewer.pk])
        if (cursor := part.next_cursor) is None:
            break
    assert len(found) == len(set(found)) == 200


def test_a_cursor_further_than_a_slate_reaches_is_the_end_of_a_fresh_slate(viewer):
    """However far the lost slates were read: an offset that no cursor or record can hold is no error of the server."""
    far = write_cursor(uuid4(), 2**16 - 1, ((uuid4(), 2**16 - 1),))
    found = page(cursor=far)
    assert found.picks == () and found.next_cursor
    assert page(cursor=found.next_cursor).picks


def test_what_another_process_learned_is_used_at_once(viewer, monkeypatch):
    """A profile is kept by its version, which the viewer's own facts name."""
    factories.interaction(viewer, Post.objects.first())
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW)
    read = []
    real = resident_profiles.decode_profile
    monkeypatch.setattr(resident_profiles, "decode_profile", lambda *of: read.append(1) or real(*of))
    for _ in range(3):
        page(explain=True)
    assert len(read) == 1
    factories.interaction(viewer, Post.objects.last())
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW + timedelta(seconds=1))
    page(explain=True)
    assert len(read) == 2

"""Cached nearest neighbors are shared by viewers and equal the engine's results: never stale, never a leak."""

import numpy as np
import pytest
import redis
from django.conf import settings
from django.db import transaction
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from recommendations.contracts import Visibility
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import Post, PostEmbedding, RankingPolicy
from recommendations.services import invalidate, wiring
from recommendations.services.content import publish
from recommendations.services.serving.search import search
from recommendations.services.serving.similar import find_similar
from recommendations.services.upkeep import sweep
from recommendations.stores import redis_neighbors
from recommendations.stores.redis_neighbors import PREFIX, RedisNeighbors
from recommendations.stores.seal import Seal
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture(autouse=True)
def run_on_commit_now(monkeypatch):
    """Run on-commit callbacks at once: a test's transaction is never committed."""
    monkeypatch.setattr(transaction, "on_commit", lambda callback, **_: callback())


@pytest.fixture
def author():
    """Return the author of 60 posts on a half circle, and create two viewers."""
    factories.member("ann"), factories.member("bob")
    author = factories.member("author")
    for n in range(60):
        factories.embedding(factories.post(author, f"p{n:02}"), [np.cos(n / 20), np.sin(n / 20)])
    wiring.catalogue().refresh(NOW)
    return author


def similar_ids(viewer="ann", limit=5, at=0.0, now=NOW):
    vector = [0.0] * 64
    vector[0], vector[1] = np.cos(at), np.sin(at)
    page = search(viewer_id=viewer, space="content", vector=vector, limit=limit, now=now)
    return [pick.post.id for pick in page.picks]


@pytest.fixture
def scan_sizes(monkeypatch):
    """Return a list that gets the k of every scan by the kernel."""
    sizes = []
    real_nearest = WasmEngine.nearest
    monkeypatch.setattr(
        WasmEngine, "nearest", lambda self, q, k, mask: sizes.append(k) or real_nearest(self, q, k, mask)
    )
    return sizes


def test_viewers_share_cached_results(author, scan_sizes):
    assert similar_ids("ann") == similar_ids("bob") == ["p00", "p01", "p02", "p03", "p04"]
    assert len(scan_sizes) == 1
    hits = REGISTRY.get_sample_value("recsys_cache_requests_total", {"cache": "neighbors", "outcome": "hit"})
    similar_ids("bob")
    assert (
        REGISTRY.get_sample_value("recsys_cache_requests_total", {"cache": "neighbors", "outcome": "hit"}) == hits + 1
    )


def test_viewers_share_cached_similar_posts(author, scan_sizes):
    for policy in RankingPolicy.objects.filter(is_active=True):
        policy.settings["nearest_candidates"] = 10
        policy.save()
    pages = [find_similar(post_id="p10", viewer_id=name, limit=4, now=NOW) for name in ("ann", "bob")]
    assert [{pick.post.id for pick in page.picks} for page in pages] == [{"p08", "p09", "p11", "p12"}] * 2
    assert len(scan_sizes) == 1


def test_a_shared_result_shows_no_viewer_a_post_that_is_hidden_from_them(author, scan_sizes):
    secret = Post.objects.get(external_id="p00")
    Post.objects.filter(pk=secret.pk).update(visibility=Visibility.FOLLOWERS, changed_at=NOW)
    wiring.reset_parts()
    factories.follow(factories.member("fan"), author)
    assert similar_ids("fan")[0] == "p00"
    assert similar_ids("ann")[0] == "p01" and similar_ids("fan")[0] == "p00"
    assert len(scan_sizes) == 1
    factories.block(author, factories.member("blocked"))
    assert similar_ids("blocked") == []


def test_a_viewer_who_may_see_too_few_cached_posts_gets_a_scan(author, scan_sizes, monkeypatch):
    monkeypatch.setattr("recommendations.stores.caching_engine.POOL_EXTRA", -10)
    far_post = factories.post(factories.member(), "far")
    factories.embedding(far_post, [-1])
    wiring.reset_parts()
    factories.mute(factories.member("picky"), author)
    assert similar_ids("ann")[0] == "p00"
    assert similar_ids("picky") == ["far"]


def later(seconds):
    return NOW + factories.timedelta(seconds=seconds)


def test_a_change_is_visible_at_once_in_a_cached_result(author, scan_sizes):
    assert similar_ids(limit=3) == ["p00", "p01", "p02"]
    publish.remove_posts(post_ids=[Post.objects.get(external_id="p00").pk], now=later(2))
    assert similar_ids(limit=3, now=later(4)) == ["p01", "p02", "p03"]
    publish.restore_posts(post_ids=[Post.objects.get(external_id="p00").pk], now=later(6))
    assert similar_ids(limit=3, now=later(8)) == ["p00", "p01", "p02"]
    new_post = factories.post(author, "new", at=later(8))
    factories.embedding(new_post, [np.cos(0.01), np.sin(0.01)], at=later(8))
    PostEmbedding.objects.filter(post__external_id="p01").update(
        vector=np.eye(64, dtype="<f4")[9].tobytes(), changed_at=later(8)
    )
    invalidate.invalidate_posts([new_post.pk, Post.objects.get(external_id="p01").pk])
    assert similar_ids(limit=3, now=later(10)) == ["p00", "new", "p02"]
    assert len(scan_sizes) == 1, "one scan for all of these searches"


def test_a_lost_invalidation_leaks_nothing(author, scan_sizes, monkeypatch):
    similar_ids(limit=3)
    monkeypatch.setattr(RedisNeighbors, "mark_changed", lambda *_: None)
    publish.remove_posts(post_ids=[Post.objects.get(external_id="p00").pk], now=NOW)
    assert similar_ids(limit=3) == ["p01", "p02", "p03"]


def test_after_many_changes_the_engine_scans_again(author, scan_sizes, monkeypatch):
    monkeypatch.setattr(redis_neighbors, "MAX_CHANGED_POSTS", 5)
    similar_ids()
    monkeypatch.setattr(wiring.neighbor_cache(), "_grace_seconds", 0)
    with redis.Redis.from_url(settings.ENV.cache_redis_url) as caches:
        caches.delete(*caches.keys(f"{PREFIX}*"))
    similar_ids()
    invalidate.invalidate_posts([1, 2, 3])
    similar_ids()
    assert len(scan_sizes) == 2
    invalidate.invalidate_posts([4, 5, 6, 7, 8])
    similar_ids()
    assert len(scan_sizes) == 3


def test_without_redis_results_are_the_same(author, scan_sizes, monkeypatch):
    with wiring.redis_client("redis://127.0.0.1:1/0") as unreachable:
        monkeypatch.setattr(
            wiring, "neighbor_cache", lambda: RedisNeighbors(unreachable, Seal(["x" * 32]), grace_seconds=1)
        )
        assert similar_ids() == similar_ids() == ["p00", "p01", "p02", "p03", "p04"]
        invalidate.invalidate_posts([1])
    assert len(scan_sizes) == 2


def test_values_are_sealed_and_keys_are_hashes(author):
    similar_ids()
    with redis.Redis.from_url(settings.ENV.cache_redis_url) as caches:
        (key,) = caches.keys(f"{PREFIX}?" + "[0-9a-f]" * 63)
        value = caches.hget(key, "value")
        ids = Post.objects.order_by("external_id").values_list("pk", flat=True)
        assert np.array(ids[:5], "<i8").tobytes() not in value
        assert 0 < caches.ttl(key) <= 300
        caches.hset(key, "value", value[:-1] + bytes([value[-1] ^ 1]))
    assert similar_ids() == ["p00", "p01", "p02", "p03", "p04"], "a changed value is a miss"


def test_a_sweep_evicts_the_least_recently_used_results(author, scan_sizes, monkeypatch):
    for at in (0.0, 0.5, 1.0):
        similar_ids(at=at)
    similar_ids(at=0.0)
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"query_cache_size": 2}))
    with redis.Redis.from_url(settings.ENV.cache_redis_url) as caches:
        moment = caches.time()[0]
    swept = sweep.sweep_caches(now=factories.datetime.fromtimestamp(moment, factories.UTC))["neighbors"]
    assert (swept.evicted, swept.entries) == (1, 2) and swept.size_bytes > 0
    scan_sizes.clear()
    similar_ids(at=0.0), similar_ids(at=1.0)
    assert scan_sizes == []
    similar_ids(at=0.5)
    assert len(scan_sizes) == 1


@rules(max_examples=40)
@given(data=st.data())
def test_the_caching_engine_returns_what_the_engine_returns(author, data):
    """For any mask and any changes since, in the same order and bit for bit."""
    engine, catalogue = wiring.engines()["wasm_simd"], wiring.catalogue()
    caching_engine = wiring.with_neighbor_cache(engine, "content")
    n = len(catalogue.all_posts().post_ids)
    query = np.eye(1, 64, dtype=np.float32) + np.float32(data.draw(st.floats(0, 1))) * np.eye(
        1, 64, 1, dtype=np.float32
    )
    for _ in range(2):
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
        k = data.draw(st.sampled_from([1, 3, 40]))
        wiring.neighbor_cache().mark_changed(
            data.draw(st.lists(st.sampled_from(catalogue.all_posts().post_ids.tolist()), max_size=5))
        )
        for cached_column, engine_column in zip(
            caching_engine.nearest(query, k, mask), engine.nearest(query, k, mask), strict=True
        ):
            np.testing.assert_array_equal(cached_column, engine_column)

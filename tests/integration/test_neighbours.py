"""Answers of vector queries are shared by viewers, and are what the engine would say: never stale, never a leak."""

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
from recommendations.stores import redis_neighbours
from recommendations.stores.redis_neighbours import PREFIX, RedisNeighbours
from recommendations.stores.sealing import Seal
from tests import making
from tests.making import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("parts")]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Let what waits for the commit happen at once: a test's transaction has none."""
    monkeypatch.setattr(transaction, "on_commit", lambda act, **_: act())


@pytest.fixture
def author():
    """Return the author of 60 posts on a half circle, and make two viewers."""
    making.member("ann"), making.member("bob")
    author = making.member("author")
    for n in range(60):
        making.vector(making.post(author, f"p{n:02}"), [np.cos(n / 20), np.sin(n / 20)])
    wiring.catalogue().refresh(NOW)
    return author


def found(viewer="ann", limit=5, at=0.0, now=NOW):
    vector = [0.0] * 64
    vector[0], vector[1] = np.cos(at), np.sin(at)
    page = search(viewer_id=viewer, space="content", vector=vector, limit=limit, now=now)
    return [pick.post.id for pick in page.picks]


@pytest.fixture
def scans(monkeypatch):
    """Return the k of every scan that the kernel was asked for."""
    asked = []
    real = WasmEngine.nearest
    monkeypatch.setattr(WasmEngine, "nearest", lambda self, q, k, mask: asked.append(k) or real(self, q, k, mask))
    return asked


def test_one_viewer_s_question_answers_another_s(author, scans):
    assert found("ann") == found("bob") == ["p00", "p01", "p02", "p03", "p04"]
    assert len(scans) == 1
    hits = REGISTRY.get_sample_value("recsys_cache_requests_total", {"cache": "neighbours", "outcome": "hit"})
    found("bob")
    assert (
        REGISTRY.get_sample_value("recsys_cache_requests_total", {"cache": "neighbours", "outcome": "hit"}) == hits + 1
    )


def test_similar_posts_are_shared_too(author, scans):
    for policy in RankingPolicy.objects.filter(is_active=True):
        policy.settings["nearest"] = 10
        policy.save()
    pages = [find_similar(post_id="p10", viewer_id=name, limit=4, now=NOW) for name in ("ann", "bob")]
    assert [{pick.post.id for pick in page.picks} for page in pages] == [{"p08", "p09", "p11", "p12"}] * 2
    assert len(scans) == 1


def test_what_one_may_see_is_not_shown_to_another(author, scans):
    secret = Post.objects.get(external_id="p00")
    Post.objects.filter(pk=secret.pk).update(visibility=Visibility.FOLLOWERS, changed_at=NOW)
    wiring.forget_parts()
    making.follow(making.member("fan"), author)
    assert found("fan")[0] == "p00"
    assert found("ann")[0] == "p01" and found("fan")[0] == "p00"
    assert len(scans) == 1
    making.block(author, making.member("blocked"))
    assert found("blocked") == []


def test_a_viewer_who_may_see_little_is_scanned_for(author, scans, monkeypatch):
    monkeypatch.setattr("recommendations.stores.remembering.POOL", -10)
    other = making.post(making.member(), "far")
    making.vector(other, [-1])
    wiring.forget_parts()
    making.mute(making.member("picky"), author)
    assert found("ann")[0] == "p00"
    assert found("picky") == ["far"]


def later(seconds):
    return NOW + making.timedelta(seconds=seconds)


def test_a_change_is_seen_at_once_in_what_is_kept(author, scans):
    assert found(limit=3) == ["p00", "p01", "p02"]
    publish.remove_posts(post_ids=[Post.objects.get(external_id="p00").pk], now=later(2))
    assert found(limit=3, now=later(4)) == ["p01", "p02", "p03"]
    publish.restore_posts(post_ids=[Post.objects.get(external_id="p00").pk], now=later(6))
    assert found(limit=3, now=later(8)) == ["p00", "p01", "p02"]
    new = making.post(author, "new", at=later(8))
    making.vector(new, [np.cos(0.01), np.sin(0.01)], at=later(8))
    PostEmbedding.objects.filter(post__external_id="p01").update(
        vector=np.eye(64, dtype="<f4")[9].tobytes(), changed_at=later(8)
    )
    invalidate.posts([new.pk, Post.objects.get(external_id="p01").pk])
    assert found(limit=3, now=later(10)) == ["p00", "new", "p02"]
    assert len(scans) == 1, "all of this from one scan"


def test_a_purge_that_is_lost_leaks_nothing(author, scans, monkeypatch):
    found(limit=3)
    monkeypatch.setattr(RedisNeighbours, "changed", lambda *of: None)
    publish.remove_posts(post_ids=[Post.objects.get(external_id="p00").pk], now=NOW)
    assert found(limit=3) == ["p01", "p02", "p03"]


def test_after_many_changes_the_answer_is_made_anew(author, scans, monkeypatch):
    monkeypatch.setattr(redis_neighbours, "CHANGES_KEPT", 5)
    found()
    monkeypatch.setattr(wiring.neighbours(), "_grace_seconds", 0)
    with redis.Redis.from_url(settings.ENV.cache_redis_url) as caches:
        caches.delete(*caches.keys(f"{PREFIX}*"))
    found()
    invalidate.posts([1, 2, 3])
    found()
    assert len(scans) == 2
    invalidate.posts([4, 5, 6, 7, 8])
    found()
    assert len(scans) == 3


def test_redis_out_of_reach_costs_the_speed_only(author, scans, monkeypatch):
    with wiring.redis_client("redis://127.0.0.1:1/0") as nowhere:
        monkeypatch.setattr(wiring, "neighbours", lambda: RedisNeighbours(nowhere, Seal(["x" * 32]), grace_seconds=1))
        assert found() == found() == ["p00", "p01", "p02", "p03", "p04"]
        invalidate.posts([1])
    assert len(scans) == 2


def test_values_are_sealed_and_keys_tell_nothing(author):
    found()
    with redis.Redis.from_url(settings.ENV.cache_redis_url) as caches:
        (key,) = caches.keys(f"{PREFIX}?" + "[0-9a-f]" * 63)
        value = caches.hget(key, "value")
        ids = Post.objects.order_by("external_id").values_list("pk", flat=True)
        assert np.array(ids[:5], "<i8").tobytes() not in value
        assert 0 < caches.ttl(key) <= 300
        caches.hset(key, "value", value[:-1] + bytes([value[-1] ^ 1]))
    assert found() == ["p00", "p01", "p02", "p03", "p04"], "a changed value is a miss"


def test_over_budget_the_ones_used_longest_ago_go(author, scans, monkeypatch):
    for at in (0.0, 0.5, 1.0):
        found(at=at)
    found(at=0.0)
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"query_cache_size": 2}))
    with redis.Redis.from_url(settings.ENV.cache_redis_url) as caches:
        moment = caches.time()[0]
    swept = sweep.sweep_caches(now=making.datetime.fromtimestamp(moment, making.UTC))["neighbours"]
    assert (swept.evicted, swept.entries) == (1, 2) and swept.size_bytes > 0
    scans.clear()
    found(at=0.0), found(at=1.0)
    assert scans == []
    found(at=0.5)
    assert len(scans) == 1


@rules(max_examples=40)
@given(data=st.data())
def test_what_is_kept_answers_as_the_engine_does(author, data):
    """For any mask and any changes since, in order and to the bit."""
    engine, catalogue = wiring.engines()["wasm_simd"], wiring.catalogue()
    kept = wiring.remembering(engine, "content")
    n = len(catalogue.everything().post_ids)
    query = np.eye(1, 64, dtype=np.float32) + np.float32(data.draw(st.floats(0, 1))) * np.eye(
        1, 64, 1, dtype=np.float32
    )
    for _ in range(2):
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
        k = data.draw(st.sampled_from([1, 3, 40]))
        wiring.neighbours().changed(
            data.draw(st.lists(st.sampled_from(catalogue.everything().post_ids.tolist()), max_size=5))
        )
        for one, other in zip(kept.nearest(query, k, mask), engine.nearest(query, k, mask), strict=True):
            np.testing.assert_array_equal(one, other)

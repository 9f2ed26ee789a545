"""The contract of `ports.VectorCache`, tested on Redis and on its in-memory twin, and tests that need a real Redis."""

import numpy as np
import pytest

from recommendations.ports import StoreError
from recommendations.stores.memory_vectors import MemoryVectors
from recommendations.stores.redis_vectors import BATCH, TTL_SECONDS, RedisVectors
from recommendations.stores.seal import Seal

SEAL = Seal(["a secret of at least thirty-two characters"])
NOW = 1_780_000_000.0
FACTORIES = {
    "redis": lambda request, clock: RedisVectors(request.getfixturevalue("client"), SEAL, space="content", model="m"),
    "memory": lambda request, clock: MemoryVectors(clock=clock),
}


@pytest.fixture(params=FACTORIES)
def cache(request, clock):
    return FACTORIES[request.param](request, clock)


def vectors(*post_ids):
    """Return for each post a vector whose numbers have no short decimal form."""
    return {post_id: np.array([post_id / 3, -1 / 7, 1e-30], np.float32) for post_id in post_ids}


# All caches


def test_get_returns_the_vectors_bit_for_bit(cache):
    """Learning must give the same result from the cache and from the database."""
    cache.put(vectors(1, 2), NOW)
    cached = cache.get([2, 1], NOW)
    assert set(cached) == {1, 2}
    for post_id, vector in vectors(1, 2).items():
        assert cached[post_id].dtype == np.float32
        np.testing.assert_array_equal(cached[post_id], vector)


def test_a_post_without_a_vector_is_left_out(cache):
    cache.put(vectors(1), NOW)
    assert set(cache.get({1, 2}, NOW)) == {1}
    assert cache.get([], NOW) == {}


def test_empty_arguments_are_no_error(cache):
    cache.put({}, NOW)
    cache.remove([])
    assert cache.get([1], NOW) == {}


def test_put_replaces_an_earlier_vector(cache):
    cache.put(vectors(1), NOW)
    cache.put({1: np.ones(3, np.float32)}, NOW)
    np.testing.assert_array_equal(cache.get([1], NOW)[1], np.ones(3))


def test_more_vectors_than_fit_into_one_command_are_put_got_and_removed(cache):
    many = vectors(*range(1, 2 * BATCH + 2))
    cache.put(many, NOW)
    assert set(cache.get(many, NOW)) == set(many)
    cache.remove(list(many)[1:])
    assert set(cache.get(many, NOW)) == {1}


def test_removing_a_vector_keeps_the_others(cache):
    cache.put(vectors(1, 2), NOW)
    cache.remove([1, 99])
    assert set(cache.get([1, 2], NOW)) == {2}


def test_a_vector_expires_an_hour_after_it_was_put(cache, clock):
    """Reading does not renew it; putting it again does."""
    cache.put(vectors(1, 2), NOW)
    clock.advance(TTL_SECONDS - 1)
    assert set(cache.get([1, 2], NOW + TTL_SECONDS - 1)) == {1, 2}
    cache.put(vectors(2), NOW + TTL_SECONDS - 1)
    clock.advance(2)
    assert set(cache.get([1, 2], NOW + TTL_SECONDS + 1)) == {2}


def test_a_sweep_evicts_the_least_recently_used_vectors(cache):
    """Putting and reading both count as uses."""
    for post_id in range(1, 6):
        cache.put(vectors(post_id), NOW + post_id)
    cache.get([1, 77], NOW + 10)
    swept = cache.sweep(NOW + 20, max_entries=3)
    assert (swept.expired, swept.evicted, swept.entries) == (0, 2, 3) and swept.size_bytes > 0
    assert set(cache.get(range(1, 6), NOW + 20)) == {1, 4, 5}
    assert cache.sweep(NOW + 20, max_entries=3).evicted == 0


def test_an_earlier_use_does_not_replace_a_later_one(cache):
    """The clocks of two processes may differ."""
    cache.put(vectors(1), NOW + 10)
    cache.put(vectors(2), NOW + 5)
    cache.get([1], NOW)
    cache.sweep(NOW + 20, max_entries=1)
    assert set(cache.get([1, 2], NOW + 20)) == {1}


def test_a_sweep_counts_expired_vectors(cache):
    cache.put(vectors(1, 2), NOW)
    cache.put(vectors(3), NOW + 60)
    swept = cache.sweep(NOW + TTL_SECONDS, max_entries=10)
    assert (swept.expired, swept.evicted, swept.entries) == (2, 0, 1)


def test_sweeping_an_empty_cache_removes_nothing(cache):
    swept = cache.sweep(NOW, max_entries=0)
    assert (swept.expired, swept.evicted, swept.entries, swept.size_bytes) == (0, 0, 0, 0)


# Redis only


def test_models_and_spaces_have_separate_vectors(client):
    RedisVectors(client, SEAL, space="content", model="m").put(vectors(1), NOW)
    assert RedisVectors(client, SEAL, space="content", model="other").get([1], NOW) == {}
    assert RedisVectors(client, SEAL, space="pictures", model="m").get([1], NOW) == {}


def test_the_layout_of_a_vector_is_pinned(client):
    """A change must also change the context of the seal, so that another version does not misread it."""
    RedisVectors(client, SEAL, space="content", model="m").put(vectors(1), NOW)
    key = "recsys:vectors:content:m:1"
    assert SEAL.open(client.get(key), key) == vectors(1)[1].astype("<f4").tobytes()


def test_every_vector_has_a_time_to_live(client):
    """No entry may stay in a cache forever."""
    RedisVectors(client, SEAL, space="content", model="m").put(vectors(1), NOW)
    assert 0 < client.ttl("recsys:vectors:content:m:1") <= TTL_SECONDS


def test_an_unsealed_vector_or_that_of_another_post_is_a_miss(client):
    cache = RedisVectors(client, SEAL, space="content", model="m")
    cache.put(vectors(1, 2, 3), NOW)
    client.set("recsys:vectors:content:m:2", vectors(2)[2].tobytes())
    client.set("recsys:vectors:content:m:3", client.get("recsys:vectors:content:m:1"))
    assert set(cache.get([1, 2, 3], NOW)) == {1}


def test_an_unreachable_cache_is_a_miss_and_no_error(unreachable):
    cache = RedisVectors(unreachable, SEAL, space="content", model="m")
    cache.put(vectors(1), NOW)
    cache.remove([1])
    assert cache.get([1], NOW) == {}
    with pytest.raises(StoreError, match="ConnectionError"):
        cache.sweep(NOW, max_entries=1)

"""The contract of `ports.NeighborCache`, tested on Redis and its in-memory twin, and tests that need a real Redis."""

import numpy as np
import pytest

from recommendations.ports import StoreError
from recommendations.stores.memory_neighbors import MemoryNeighbors
from recommendations.stores.redis_neighbors import (
    CHANGED_KEY,
    INDEX_KEY,
    MAX_CHANGED_POSTS,
    TTL_SECONDS,
    RedisNeighbors,
    neighbors_key,
)
from recommendations.stores.seal import Seal

SEAL = Seal(["a secret that is only for these tests"])
GRACE_SECONDS = 15
LONG_AGO = 0.0
"""A time before which nothing has expired, for any clock of the store."""
KEY, OTHER_KEY = (neighbors_key("content", "m", k, np.ones(4, np.float32)) for k in (10, 20))


def create_redis_neighbors(request, clock, grace_seconds):
    """Return a cache on Redis whose times follow *clock*: the clock of Redis itself cannot be moved."""
    client = request.getfixturevalue("client")
    clock.on_advance(lambda seconds: move_back(client, seconds))
    return RedisNeighbors(client, SEAL, grace_seconds=grace_seconds)


def move_back(client, seconds):
    """Move every time that the cache has stored back by *seconds*."""
    for index in (CHANGED_KEY, INDEX_KEY):
        for name in client.zrange(index, 0, -1):
            client.zincrby(index, -seconds, name)
    for key in client.zrange(INDEX_KEY, 0, -1):
        if client.exists(key):
            client.hincrby(key, "since", -int(seconds))


FACTORIES = {
    "redis": create_redis_neighbors,
    "memory": lambda request, clock, grace_seconds: MemoryNeighbors(clock=clock, grace_seconds=grace_seconds),
}


@pytest.fixture(params=FACTORIES)
def cache(request, clock):
    return FACTORIES[request.param](request, clock, GRACE_SECONDS)


@pytest.fixture(params=FACTORIES)
def cache_without_grace(request, clock):
    return FACTORIES[request.param](request, clock, 0)


def put(cache, key=KEY, post_ids=(2**40, 3, 7), cosines=(0.9, 0.5, -1 / 3)):
    cache.put(key, np.array(post_ids, np.int64), np.array(cosines, np.float32))


# All caches


def test_get_returns_the_entry_that_was_put(cache):
    put(cache)
    cached = cache.get(KEY)
    assert cached.post_ids.tolist() == [2**40, 3, 7] and cached.post_ids.dtype == np.int64
    np.testing.assert_array_equal(cached.cosines, np.array([0.9, 0.5, -1 / 3], np.float32))
    assert cached.cosines.dtype == np.float32
    assert cached.changed_post_ids.tolist() == [] and cached.changed_post_ids.dtype == np.int64


def test_another_key_is_a_miss(cache):
    put(cache)
    assert cache.get(OTHER_KEY) is None


def test_an_entry_without_posts_is_a_hit(cache):
    put(cache, post_ids=(), cosines=())
    assert len(cache.get(KEY).post_ids) == len(cache.get(KEY).cosines) == 0


def test_put_replaces_an_earlier_entry(cache):
    put(cache)
    put(cache, post_ids=[5], cosines=[1.0])
    assert cache.get(KEY).post_ids.tolist() == [5]


def test_an_entry_expires_five_minutes_after_it_was_put(cache, clock):
    """Reading does not renew it."""
    put(cache)
    clock.advance(TTL_SECONDS - 1)
    assert cache.get(KEY) is not None
    clock.advance(2)
    assert cache.get(KEY) is None


def test_get_returns_the_posts_that_changed_since_in_order(cache, clock):
    """Whether or not they are in the entry."""
    put(cache)
    clock.advance(10)
    cache.mark_changed([99, 3])
    cache.mark_changed([3])
    cache.mark_changed([])
    assert cache.get(KEY).changed_post_ids.tolist() == [3, 99]


def test_a_change_within_the_grace_period_before_the_entry_counts(cache, clock):
    """The catalogue that the entry came from may have been that far behind the database."""
    cache.mark_changed([1])
    clock.advance(GRACE_SECONDS)
    cache.mark_changed([2])
    clock.advance(2)
    put(cache)
    assert cache.get(KEY).changed_post_ids.tolist() == [2]


def test_a_change_in_the_same_second_as_the_entry_counts(cache_without_grace):
    put(cache_without_grace)
    cache_without_grace.mark_changed([3])
    assert cache_without_grace.get(KEY).changed_post_ids.tolist() == [3]


def test_an_entry_older_than_all_recorded_changes_is_a_miss(cache, clock):
    put(cache)
    clock.advance(GRACE_SECONDS + 10)
    cache.mark_changed(range(MAX_CHANGED_POSTS - 1))
    assert len(cache.get(KEY).changed_post_ids) == MAX_CHANGED_POSTS - 1
    cache.mark_changed([10**6])
    assert cache.get(KEY) is None, "changes may have been dropped"
    clock.advance(GRACE_SECONDS + 10)
    put(cache)
    assert cache.get(KEY).changed_post_ids.tolist() == [], "an entry cached after the changes is valid"


def test_the_newest_changes_are_recorded(cache, clock):
    cache.mark_changed(range(MAX_CHANGED_POSTS))
    clock.advance(GRACE_SECONDS + 10)
    put(cache)
    cache.mark_changed([10**6])
    assert cache.get(KEY).changed_post_ids.tolist() == [10**6]


def test_a_sweep_evicts_the_least_recently_used_entries(cache, clock):
    """Putting and reading both count as uses."""
    keys = [neighbors_key("content", "m", k, np.ones(4, np.float32)) for k in range(5)]
    for key in keys:
        put(cache, key)
        clock.advance(10)
    assert cache.get(keys[0])
    swept = cache.sweep(LONG_AGO, max_entries=3)
    assert (swept.expired, swept.evicted, swept.entries) == (0, 2, 3) and swept.size_bytes > 0
    assert [cache.get(key) is not None for key in keys] == [True, False, False, True, True]


# Redis only


def test_an_entry_whose_bytes_were_changed_or_moved_is_a_miss(client):
    cache = RedisNeighbors(client, SEAL, grace_seconds=GRACE_SECONDS)
    put(cache)
    client.hset(OTHER_KEY, mapping=client.hgetall(KEY))
    assert cache.get(OTHER_KEY) is None, "the entry of another key"
    client.hset(KEY, "value", b"\xff" * 99)
    assert cache.get(KEY) is None


def test_the_layout_of_an_entry_is_pinned(client):
    """A change must also change the context of the seal, so that another version does not misread it."""
    put(RedisNeighbors(client, SEAL, grace_seconds=GRACE_SECONDS))
    cached = RedisNeighbors(client, SEAL, grace_seconds=GRACE_SECONDS).get(KEY)
    packed = SEAL.open(client.hget(KEY, "value"), KEY)
    assert packed == cached.post_ids.astype("<i8").tobytes() + cached.cosines.astype("<f4").tobytes() != b""


def test_every_key_has_a_time_to_live(client):
    """No entry may stay in a cache forever."""
    cache = RedisNeighbors(client, SEAL, grace_seconds=GRACE_SECONDS)
    put(cache)
    cache.mark_changed([1])
    assert 0 < client.ttl(KEY) <= TTL_SECONDS and client.ttl(CHANGED_KEY) > TTL_SECONDS


def test_an_unreachable_cache_is_a_miss_and_no_error(unreachable):
    unreachable_cache = RedisNeighbors(unreachable, SEAL, grace_seconds=GRACE_SECONDS)
    put(unreachable_cache)
    unreachable_cache.mark_changed([1])
    assert unreachable_cache.get(KEY) is None
    with pytest.raises(StoreError, match="ConnectionError"):
        unreachable_cache.sweep(0, max_entries=1)

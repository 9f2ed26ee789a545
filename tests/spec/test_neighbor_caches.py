"""The law of `ports.NeighbourCache`, held by Redis and by its in-memory twin; and what only a real Redis can show."""

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
"""A moment by which nothing has expired yet, whatever the time of the store is."""
KEY, OTHER_KEY = (neighbors_key("content", "m", k, np.ones(4, np.float32)) for k in (10, 20))


def redis_neighbours(request, clock, grace_seconds):
    """Return a cache on Redis that hears of the time that passes on *clock*: Redis's own cannot be moved."""
    client = request.getfixturevalue("client")
    clock.on_advance(lambda seconds: move_back(client, seconds))
    return RedisNeighbors(client, SEAL, grace_seconds=grace_seconds)


def move_back(client, seconds):
    """Move every moment that the cache has noted back by *seconds*."""
    for index in (CHANGED_KEY, INDEX_KEY):
        for name in client.zrange(index, 0, -1):
            client.zincrby(index, -seconds, name)
    for key in client.zrange(INDEX_KEY, 0, -1):
        if client.exists(key):
            client.hincrby(key, "since", -int(seconds))


MAKERS = {
    "redis": redis_neighbours,
    "memory": lambda request, clock, grace_seconds: MemoryNeighbors(clock=clock, grace_seconds=grace_seconds),
}


@pytest.fixture(params=MAKERS)
def cache(request, clock):
    return MAKERS[request.param](request, clock, GRACE_SECONDS)


@pytest.fixture(params=MAKERS)
def cache_without_grace(request, clock):
    return MAKERS[request.param](request, clock, 0)


def put(cache, key=KEY, post_ids=(2**40, 3, 7), cosines=(0.9, 0.5, -1 / 3)):
    cache.put(key, np.array(post_ids, np.int64), np.array(cosines, np.float32))


# every cache


def test_an_answer_comes_back_as_it_was(cache):
    put(cache)
    found = cache.get(KEY)
    assert found.post_ids.tolist() == [2**40, 3, 7] and found.post_ids.dtype == np.int64
    np.testing.assert_array_equal(found.cosines, np.array([0.9, 0.5, -1 / 3], np.float32))
    assert found.cosines.dtype == np.float32
    assert found.changed_post_ids.tolist() == [] and found.changed_post_ids.dtype == np.int64


def test_what_was_not_cached_is_a_miss(cache):
    put(cache)
    assert cache.get(OTHER_KEY) is None


def test_an_answer_of_no_posts_is_an_answer(cache):
    put(cache, post_ids=(), cosines=())
    assert len(cache.get(KEY).post_ids) == len(cache.get(KEY).cosines) == 0


def test_a_later_answer_takes_the_place_of_an_earlier(cache):
    put(cache)
    put(cache, post_ids=[5], cosines=[1.0])
    assert cache.get(KEY).post_ids.tolist() == [5]


def test_an_answer_expires_five_minutes_after_it_was_put(cache, clock):
    """Reading it does not prolong that."""
    put(cache)
    clock.advance(TTL_SECONDS - 1)
    assert cache.get(KEY) is not None
    clock.advance(2)
    assert cache.get(KEY) is None


def test_posts_that_changed_since_are_named_in_order(cache, clock):
    """Whether they were in the answer or not."""
    put(cache)
    clock.advance(10)
    cache.mark_changed([99, 3])
    cache.mark_changed([3])
    cache.mark_changed([])
    assert cache.get(KEY).changed_post_ids.tolist() == [3, 99]


def test_a_change_within_the_grace_before_counts_as_a_change_since(cache, clock):
    """The posts that the answer came from may have been that far behind the database."""
    cache.mark_changed([1])
    clock.advance(GRACE_SECONDS)
    cache.mark_changed([2])
    clock.advance(2)
    put(cache)
    assert cache.get(KEY).changed_post_ids.tolist() == [2]


def test_a_change_right_after_the_answer_counts_in_the_same_second_too(cache_without_grace):
    put(cache_without_grace)
    cache_without_grace.mark_changed([3])
    assert cache_without_grace.get(KEY).changed_post_ids.tolist() == [3]


def test_after_more_changes_than_are_remembered_an_answer_is_a_miss(cache, clock):
    put(cache)
    clock.advance(GRACE_SECONDS + 10)
    cache.mark_changed(range(MAX_CHANGED_POSTS - 1))
    assert len(cache.get(KEY).changed_post_ids) == MAX_CHANGED_POSTS - 1
    cache.mark_changed([10**6])
    assert cache.get(KEY) is None, "an older change may be one that is no longer remembered"
    clock.advance(GRACE_SECONDS + 10)
    put(cache)
    assert cache.get(KEY).changed_post_ids.tolist() == [], "what is cached after them is known to be good"


def test_the_changes_remembered_are_the_newest(cache, clock):
    cache.mark_changed(range(MAX_CHANGED_POSTS))
    clock.advance(GRACE_SECONDS + 10)
    put(cache)
    cache.mark_changed([10**6])
    assert cache.get(KEY).changed_post_ids.tolist() == [10**6]


def test_a_sweep_evicts_what_was_used_longest_ago(cache, clock):
    """Putting is a use, and so is reading."""
    keys = [neighbors_key("content", "m", k, np.ones(4, np.float32)) for k in range(5)]
    for key in keys:
        put(cache, key)
        clock.advance(10)
    assert cache.get(keys[0])
    swept = cache.sweep(LONG_AGO, max_entries=3)
    assert (swept.expired, swept.evicted, swept.entries) == (0, 2, 3) and swept.size_bytes > 0
    assert [cache.get(key) is not None for key in keys] == [True, False, False, True, True]


# what only Redis can show


def test_an_answer_whose_bytes_changed_or_moved_is_a_miss(client):
    cache = RedisNeighbors(client, SEAL, grace_seconds=GRACE_SECONDS)
    put(cache)
    client.hset(OTHER_KEY, mapping=client.hgetall(KEY))
    assert cache.get(OTHER_KEY) is None, "another vector's answer"
    client.hset(KEY, "value", b"\xff" * 99)
    assert cache.get(KEY) is None


def test_everything_has_a_time_to_live(client):
    """Nothing may stay in a cache for ever."""
    cache = RedisNeighbors(client, SEAL, grace_seconds=GRACE_SECONDS)
    put(cache)
    cache.mark_changed([1])
    assert 0 < client.ttl(KEY) <= TTL_SECONDS and client.ttl(CHANGED_KEY) > TTL_SECONDS


def test_a_cache_that_cannot_be_reached_is_a_miss_and_no_error(unreachable):
    gone = RedisNeighbors(unreachable, SEAL, grace_seconds=GRACE_SECONDS)
    put(gone)
    gone.mark_changed([1])
    assert gone.get(KEY) is None
    with pytest.raises(StoreError, match="ConnectionError"):
        gone.sweep(0, max_entries=1)

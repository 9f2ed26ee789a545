"""The arena keeps its contract: so many vectors, so many bytes, for so long, and nothing pinned is moved."""

import numpy as np
import pytest

from tests.kernel.conftest import clustered
from wasm import Arena, KernelMemoryError, VectorError


class Clock:
    """Time that the test moves."""

    now = 0.0

    def __call__(self):
        return self.now


def keys(*numbers):
    return np.array(numbers, np.int64)


def cached(arena, wanted):
    with arena.lease(wanted) as lease:
        return [key for key, row in zip(wanted.tolist(), lease.rows, strict=True) if row >= 0]


@pytest.fixture
def vectors():
    return clustered(3000, 16, seed=20)


def test_what_is_put_is_found_and_scored(vectors):
    arena = Arena(16)
    arena.put(keys(7, 8, 7), vectors[:3])
    with arena.lease(keys(8, 9, 7)) as lease:
        assert lease.rows[1] == -1
        scores = lease.space.rescore(lease.rows, vectors[2:3])[:, 0]
    assert scores[2] == pytest.approx(1, abs=1e-6)
    assert scores[1] == 0
    assert arena.statistics().vectors == 2
    assert arena.statistics().hit_rate == pytest.approx(2 / 3)


def test_the_least_recently_used_make_room(vectors):
    arena = Arena(16, capacity=3)
    arena.put(keys(1, 2, 3), vectors[:3])
    cached(arena, keys(1))
    arena.put(keys(4), vectors[3:4])
    assert cached(arena, keys(1, 2, 3, 4)) == [1, 3, 4]
    assert arena.statistics().evictions == 1


def test_a_pinned_vector_is_not_evicted(vectors):
    arena = Arena(16, capacity=2)
    arena.put(keys(1, 2), vectors[:2])
    with arena.lease(keys(1)) as lease:
        arena.put(keys(3), vectors[2:3])
        arena.put(keys(4), vectors[3:4])
        assert lease.space.vectors(lease.rows).any()
        assert not arena.recycle()
        with arena.lease(keys(4)), pytest.raises(KernelMemoryError, match="pinned"):
            arena.put(keys(5), vectors[4:5])
    assert cached(arena, keys(1, 4)) == [1, 4]
    assert arena.statistics().pinned == 0


def test_a_vector_expires(vectors):
    clock = Clock()
    arena = Arena(16, ttl_seconds=60, clock=clock)
    arena.put(keys(1), vectors[:1])
    clock.now = 59
    assert cached(arena, keys(1)) == [1]
    clock.now = 60
    assert cached(arena, keys(1)) == []
    assert arena.statistics().expirations == 1


def test_recycling_keeps_the_vectors_and_returns_the_memory(vectors):
    clock = Clock()
    arena = Arena(16, ttl_seconds=60, clock=clock)
    numbers = np.arange(3000, dtype=np.int64)
    arena.put(numbers, vectors)
    before = arena.statistics().resident_bytes
    arena.drop(numbers[:2900])
    clock.now = 10
    assert arena.recycle()
    after = arena.statistics()
    assert after.resident_bytes < before
    assert (after.vectors, after.recycles) == (100, 1)
    with arena.lease(numbers[2900:]) as lease:
        scores = lease.space.rescore(lease.rows, vectors[2999:])[:, 0]
    assert scores[-1] == pytest.approx(1, abs=1e-6)
    clock.now = 60
    assert cached(arena, numbers[2999:]) == []


def test_beyond_the_threshold_the_arena_cleans_up(vectors):
    arena = Arena(16, clean_up_bytes=300_000)
    for at in range(0, 3000, 100):
        arena.put(np.arange(at, at + 100), vectors[at : at + 100])
    statistics = arena.statistics()
    assert statistics.evictions > 0
    assert statistics.used_bytes <= 300_000
    assert cached(arena, keys(2999)) == [2999]


def test_near_the_limit_half_of_the_vectors_go(vectors):
    arena = Arena(16, memory_limit_bytes=1500 << 10, clean_up_bytes=1 << 30)
    for round_ in range(12):
        arena.put(np.arange(1000, dtype=np.int64) + 1000 * round_, vectors[:1000])
    statistics = arena.statistics()
    assert statistics.resident_bytes <= statistics.memory_limit_bytes
    assert statistics.recycles > 0
    assert cached(arena, keys(11_999)) == [11_999]


def test_more_than_the_arena_holds_is_refused(vectors):
    arena = Arena(16, capacity=2)
    arena.put(keys(1), vectors[:1])
    with pytest.raises(VectorError, match="use fewer"):
        arena.put(keys(1, 2, 3), vectors[:3])
    assert cached(arena, keys(1)) == [1]


def test_drop_forgets(vectors):
    arena = Arena(16)
    arena.put(keys(1, 2), vectors[:2])
    arena.drop(keys(1, 1, 5))
    assert cached(arena, keys(1, 2)) == [2]

"""The contract of `ports.ServedHistory`, tested on Redis and its in-memory twin, and tests that need a real Redis."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.stores.memory_served_history import MemoryServedHistory
from recommendations.stores.redis_served_history import (
    FATIGUE_PER_SERVE,
    MAX_PAGES,
    TIMESTAMP,
    TTL_SECONDS,
    RedisServedHistory,
    served_pages_key,
)
from recommendations.stores.seal import Seal

SEAL = Seal(["a secret of at least thirty-two characters"])
NOW = 1_780_000_000.0
HOUR = 3600.0
FACTORIES = {
    "redis": lambda request, clock: RedisServedHistory(request.getfixturevalue("client"), SEAL),
    "memory": lambda request, clock: MemoryServedHistory(clock=clock),
}


@pytest.fixture(params=FACTORIES)
def history(request, clock):
    return FACTORIES[request.param](request, clock)


def fatigue(history, member_id=7, now=NOW, half_life_seconds=HOUR):
    affinity = history.fatigue(member_id, now, half_life_seconds)
    assert affinity.ids.dtype == np.int64 and affinity.weights.dtype == np.float32
    return dict(zip(affinity.ids.tolist(), affinity.weights.tolist(), strict=True))


# All histories


def test_fatigue_is_one_half_at_first_and_halves_with_every_half_life(history):
    history.add([(7, NOW - 2 * HOUR, [30]), (7, NOW - HOUR, [20]), (7, NOW, [10])])
    assert fatigue(history) == {10: FATIGUE_PER_SERVE, 20: FATIGUE_PER_SERVE / 2, 30: FATIGUE_PER_SERVE / 4}


def test_fatigue_adds_up_to_at_most_one(history):
    history.add((7, NOW, [1] if n else [1, 2]) for n in range(4))
    assert fatigue(history) == {1: 1.0, 2: FATIGUE_PER_SERVE}


def test_a_page_that_is_too_young_has_no_fatigue(history):
    """Also for a post that is on an older page: only the older one counts."""
    history.add([(7, NOW - HOUR, [1, 2]), (7, NOW - 179, [2, 3])])
    affinity = history.fatigue(7, NOW, HOUR, 180)
    assert dict(zip(affinity.ids.tolist(), affinity.weights.tolist(), strict=True)) == {1: 0.25, 2: 0.25}
    assert history.fatigue(7, NOW, HOUR, 179).ids.tolist() == [1, 2, 3]


def test_post_ids_are_sorted(history):
    """`Affinity` requires sorted ids."""
    history.add([(7, NOW, [5, 2**40, 3]), (7, NOW, [4, 3])])
    assert history.fatigue(7, NOW, HOUR).ids.tolist() == [3, 4, 5, 2**40]


def test_a_page_from_the_future_counts_as_served_now(history):
    """The clocks of two processes may differ."""
    history.add([(7, NOW + 60, [1])])
    assert fatigue(history) == {1: FATIGUE_PER_SERVE}


def test_a_member_without_pages_has_no_fatigue(history):
    history.add([(8, NOW, [1])])
    history.add([])
    assert fatigue(history) == {}


def test_a_page_without_posts_causes_no_fatigue(history):
    history.add([(7, NOW, [])])
    assert fatigue(history) == {}
    history.add([(7, NOW, [1])])
    assert fatigue(history) == {1: FATIGUE_PER_SERVE}


def test_only_the_last_pages_are_stored(history):
    history.add((7, NOW, [number]) for number in range(1, MAX_PAGES + 6))
    assert set(fatigue(history)) == set(range(6, MAX_PAGES + 6))


def test_the_pages_of_a_member_expire_two_days_after_the_last_one(history, clock):
    history.add([(7, NOW, [1]), (8, NOW, [1])])
    clock.advance(TTL_SECONDS - 1)
    history.add([(7, NOW, [2])])
    clock.advance(2)
    assert set(fatigue(history)) == {1, 2}
    assert fatigue(history, 8) == {}
    clock.advance(TTL_SECONDS)
    assert fatigue(history) == {}


def test_removing_a_member_keeps_the_others(history):
    history.add([(7, NOW, [1]), (8, NOW, [1])])
    history.remove([])
    history.remove([7, 1000])
    assert fatigue(history) == {} and fatigue(history, 8) == {1: FATIGUE_PER_SERVE}
    history.add([(7, NOW, [2])])
    assert fatigue(history) == {2: FATIGUE_PER_SERVE}


PAGE = st.tuples(st.floats(0, 30 * HOUR), st.lists(st.integers(1, 9), max_size=6))


@settings(max_examples=40)
@given(served=st.lists(PAGE, max_size=MAX_PAGES), half_life=st.floats(360, 3.6e6))
def test_fatigue_is_the_sum_over_each_time_that_a_post_was_served(history, served, half_life):
    """For any pages. A post that is on a page twice was served twice."""
    history.remove([7])
    history.add((7, NOW - age, post_ids) for age, post_ids in served)
    expected = Counter()
    for age, post_ids in served:
        for post_id in post_ids:
            expected[post_id] += FATIGUE_PER_SERVE * 0.5 ** (age / half_life)
    expected = {post_id: min(value, 1) for post_id, value in expected.items()}
    assert fatigue(history, half_life_seconds=half_life) == pytest.approx(expected, rel=1e-4)


# Redis only


def test_every_page_has_a_time_to_live(client):
    """No entry may stay in a cache forever."""
    RedisServedHistory(client, SEAL).add([(7, NOW, [1])])
    (key,) = client.keys()
    assert 0 < client.ttl(key) <= TTL_SECONDS


def test_the_layout_of_a_page_is_pinned(client):
    """A change must also change the context of the seal, so that another version does not misread it."""
    RedisServedHistory(client, SEAL).add([(7, 1.5, [1, 2])])
    key = served_pages_key(7)
    opened = SEAL.open(client.lindex(key, 0), key)
    assert opened.hex() == "000000000000f83f" + "0100000000000000" + "0200000000000000"


def test_a_page_that_does_not_open_is_deleted_and_the_others_count(client):
    """A page of an older version is not sealed, and one of a removed key or of another member does not open."""
    history = RedisServedHistory(client, SEAL)
    history.add([(7, NOW, [1]), (8, NOW, [2])])
    (of_another_member,) = client.lrange(served_pages_key(8), 0, -1)
    unsealed = TIMESTAMP.pack(NOW) + np.array([3], "<i8").tobytes()
    client.lpush(served_pages_key(7), unsealed, of_another_member, unsealed)
    assert fatigue(history) == {1: FATIGUE_PER_SERVE}
    assert client.llen(served_pages_key(7)) == 1


def test_an_unreachable_history_is_empty_and_no_error(unreachable):
    history = RedisServedHistory(unreachable, SEAL)
    history.add([(7, NOW, [1])])
    history.remove([7])
    assert fatigue(history) == {}

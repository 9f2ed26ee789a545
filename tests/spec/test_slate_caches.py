"""The contract of `ports.SlateCache`, tested on Redis and on its in-memory twin, and tests that need a real Redis."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recommendations.contracts import ServedSlate, Slate
from recommendations.ports import StoreError
from recommendations.stores.memory_slates import MemorySlates
from recommendations.stores.redis_slates import (
    EPOCH_SECONDS,
    MAX_SERVED,
    REMOVED_SECONDS,
    SERVED_SECONDS,
    RedisSlates,
    SlateFormatError,
    pack,
    seal_context,
    served_slates_key,
    slates_key,
    unpack,
)
from recommendations.stores.seal import Seal

TTL_SECONDS = 500
SEAL = Seal(["a secret that is only for these tests"])
FACTORIES = {
    "redis": lambda request, clock: RedisSlates(request.getfixturevalue("client"), SEAL, ttl_seconds=TTL_SECONDS),
    "memory": lambda request, clock: MemorySlates(clock=clock, ttl_seconds=TTL_SECONDS),
}


def slate(n=3, **fields):
    return Slate(
        **{
            "request_id": UUID(int=5),
            "engine": "plain",
            "variant": "control",
            "policy_version": 3,
            "fallback": "",
            "built_at": 1_780_000_000.25,
            "candidate_count": 70,
            "post_ids": np.arange(1, n + 1, dtype=np.int64) << 40,
            "scores": np.linspace(2, 1, n, dtype=np.float32),
            "origins": np.full(n, 5, np.uint16),
            "reasons": np.full(n, 17, np.uint16),
            **fields,
        }
    )


@pytest.fixture(params=FACTORIES)
def cache(request, clock):
    return FACTORIES[request.param](request, clock)


@pytest.fixture
def unreachable_cache(unreachable):
    """A cache whose Redis cannot be reached."""
    return RedisSlates(unreachable, SEAL, ttl_seconds=TTL_SECONDS)


def assert_same(a, b):
    """Assert that two slates are equal except for the parts, which are not cached, and the scores' last digits."""
    for name in ("request_id", "engine", "variant", "policy_version", "fallback", "built_at", "candidate_count"):
        assert getattr(a, name) == getattr(b, name)
    for name in ("post_ids", "origins", "reasons"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype
    np.testing.assert_allclose(a.scores, b.scores, rtol=1e-3, atol=1e-3)


# All caches


def test_get_returns_the_slate_that_was_put(cache):
    cache.put(7, "discovery", slate(), b"")
    assert_same(cache.get(7, "discovery"), slate())


def test_another_feed_or_member_is_a_miss(cache):
    cache.put(7, "discovery", slate(), b"")
    assert cache.get(7, "trending") is None
    assert cache.get(8, "discovery") is None


def test_put_replaces_an_earlier_slate(cache):
    cache.put(7, "discovery", slate(3), b"")
    cache.put(7, "discovery", slate(1), b"")
    assert len(cache.get(7, "discovery")) == 1


def test_purge_deletes_every_feed_of_these_members_only(cache):
    for member_id in (7, 8, 9):
        cache.put(member_id, "discovery", slate(), b"")
        cache.put(member_id, "trending", slate(), b"")
    cache.purge([7, 8, 1000])
    cache.purge([])
    assert [cache.get(7, "discovery"), cache.get(7, "trending"), cache.get(8, "discovery")] == [None] * 3
    assert cache.get(9, "trending") is not None


def test_purge_all_deletes_all_slates(cache):
    """Last good slates too. A slate whose build began before the purge is not cached."""
    for member_id in (7, 8):
        cache.put(member_id, "discovery", slate(), b"")
    cache.retire([8])
    epoch_before = cache.epoch(7)
    cache.purge_all()
    cache.put(7, "discovery", slate(), epoch_before)
    assert [cache.get(7, "discovery"), cache.get_last_good(7, "discovery"), cache.get_last_good(8, "discovery")] == [
        None
    ] * 3


def test_the_parts_of_the_scores_are_not_cached(cache):
    cache.put(7, "discovery", slate(2, part_names=("taste",), parts=np.ones((2, 1), np.float32)), b"")
    assert not cache.get(7, "discovery").has_parts


def test_a_slate_whose_build_began_before_a_purge_is_not_cached(cache):
    """It was built on facts that have changed since."""
    for end_epoch in (cache.purge, cache.retire):
        epoch = cache.epoch(7)
        end_epoch([7])
        cache.put(7, "discovery", slate(), epoch)
        assert cache.get(7, "discovery") is None
        cache.put(7, "discovery", slate(), cache.epoch(7))
        assert cache.get(7, "discovery") is not None


def test_a_retired_slate_is_a_last_good_slate_and_a_purged_slate_is_not(cache):
    cache.put(7, "discovery", slate(), cache.epoch(7))
    cache.retire([7])
    cache.retire([7])
    assert cache.get(7, "discovery") is None
    assert_same(cache.get_last_good(7, "discovery"), slate())
    cache.purge([7])
    assert cache.get_last_good(7, "discovery") is None


def test_a_slate_that_is_still_cached_is_also_the_last_good_slate(cache):
    cache.put(7, "discovery", slate(2), cache.epoch(7))
    cache.retire([7])
    cache.put(7, "discovery", slate(3), cache.epoch(7))
    assert_same(cache.get_last_good(7, "discovery"), slate(3))
    assert cache.get_last_good(7, "trending") is None


def test_one_claim_at_a_time_is_granted_per_slate(cache):
    assert cache.claim(7, "discovery", seconds=9)
    assert not cache.claim(7, "discovery", seconds=9)
    assert cache.claim(7, "trending", seconds=9) and cache.claim(8, "discovery", seconds=9)
    cache.release(7, "discovery")
    cache.release(7, "discovery")
    assert cache.claim(7, "discovery", seconds=9)


def test_a_claim_that_is_not_released_expires(cache, clock):
    """The process that held the claim may have died."""
    assert cache.claim(7, "discovery", seconds=9)
    clock.advance(8)
    assert not cache.claim(7, "discovery", seconds=9)
    clock.advance(2)
    assert cache.claim(7, "discovery", seconds=9)


def test_one_call_returns_the_slates_of_several_feeds_and_the_epoch(cache):
    cache.put(7, "discovery", slate(), b"")
    cache.purge([8])
    (found, missing), epoch = cache.get_many_with_epoch(7, ("discovery", "trending"))
    assert_same(found, slate())
    assert (missing, epoch) == (None, cache.epoch(7))
    assert cache.get_many_with_epoch(8, ()) == ([], cache.epoch(8)) and cache.epoch(8)


def test_a_slate_and_a_last_good_slate_expire(cache, clock):
    """Both after the cache's time to live."""
    cache.put(7, "discovery", slate(), b"")
    clock.advance(TTL_SECONDS - 1)
    assert cache.get(7, "discovery") is not None
    cache.retire([7])
    clock.advance(TTL_SECONDS - 1)
    assert cache.get_last_good(7, "discovery") is not None
    clock.advance(2)
    assert cache.get_last_good(7, "discovery") is None


def test_the_slates_of_a_member_expire_together(cache, clock):
    """Each `put` for the member renews all of them."""
    cache.put(7, "discovery", slate(), b"")
    clock.advance(TTL_SECONDS - 1)
    cache.put(7, "trending", slate(), b"")
    clock.advance(TTL_SECONDS - 1)
    assert cache.get(7, "discovery") is not None
    clock.advance(2)
    assert [cache.get(7, "discovery"), cache.get(7, "trending")] == [None, None]


def test_an_epoch_lives_longer_than_building_a_slate_takes(cache, clock):
    epoch_before = cache.epoch(7)
    cache.purge([7])
    clock.advance(EPOCH_SECONDS - 1)
    cache.put(7, "discovery", slate(), epoch_before)
    assert cache.get(7, "discovery") is None


def test_a_sweep_evicts_the_members_served_least_recently(cache):
    for member_id in range(10):
        cache.put(member_id, "discovery", slate(built_at=1000.0 + member_id), b"")
    swept = cache.sweep(1010, max_entries=4)
    assert (swept.expired, swept.evicted, swept.entries) == (0, 6, 4) and swept.size_bytes > 0
    assert [cache.get(i, "discovery") is not None for i in range(10)] == [False] * 6 + [True] * 4
    assert cache.sweep(1010, max_entries=4).evicted == 0, "a sweep within the budget evicts nothing"
    swept = cache.sweep(1010 + TTL_SECONDS, max_entries=4)
    assert (swept.expired, swept.evicted, swept.entries, swept.size_bytes) == (4, 0, 0, 0)


def test_a_sweep_keeps_the_last_good_slates(cache):
    cache.put(7, "discovery", slate(built_at=1000.0), b"")
    cache.retire([7])
    cache.put(7, "discovery", slate(2, built_at=1001.0), cache.epoch(7))
    cache.sweep(1002, max_entries=0)
    assert cache.get(7, "discovery") is None
    assert_same(cache.get_last_good(7, "discovery"), slate(built_at=1000.0))


# The packed format

names = st.from_regex(r"[a-z_]{0,40}", fullmatch=True)


@st.composite
def slates(draw):
    n = draw(st.integers(0, 200))
    column = {"shape": n, "fill": st.nothing()}
    return slate(
        0,
        request_id=draw(st.uuids()),
        engine=draw(names),
        variant=draw(names),
        fallback=draw(names),
        policy_version=draw(st.integers(0, 2**32 - 1)),
        candidate_count=draw(st.integers(0, 2**32 - 1)),
        built_at=draw(st.floats(0, 4e9)),
        post_ids=draw(
            arrays.arrays(np.int64, **column, elements=st.integers(1, draw(st.sampled_from([2**32 - 1, 2**63 - 1]))))
        ),
        scores=draw(arrays.arrays(np.float32, **column, elements=st.floats(-30, 30, width=32))),
        origins=draw(arrays.arrays(np.uint16, **column, elements=st.integers(0, 2**16 - 1))),
        reasons=draw(arrays.arrays(np.uint16, **column, elements=st.integers(0, 2**16 - 1))),
    )


@given(slates())
def test_unpack_undoes_pack(original):
    """For any slate. Scores are rounded to a thousandth."""
    unpacked = unpack(pack(original))
    assert_same(replace(unpacked, scores=original.scores), original)
    np.testing.assert_allclose(unpacked.scores, original.scores, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "fields",
    [
        {"origins": np.array([1, 2**16, 1])},
        {"reasons": np.array([1, -1, 1])},
        {"reasons": np.array([1, 1], np.uint16)},
        {"scores": np.array([1, 65_520, 1], np.float32)},
        {"scores": np.array([1, np.nan, 1], np.float32)},
        {"policy_version": 2**32},
        {"candidate_count": -1},
        {"variant": "v" * 250},
        {"engine": "one\x1ftwo"},
    ],
)
def test_a_value_that_does_not_fit_is_rejected_and_not_truncated(cache, fields):
    """Packing raises an error. A cache does not store the slate and raises none."""
    with pytest.raises(SlateFormatError):
        pack(slate(**fields))
    with pytest.raises(SlateFormatError):
        pack(slate(2**16))
    cache.put(7, "discovery", slate(**fields), b"")
    assert cache.get(7, "discovery") is None


@given(st.binary(max_size=300))
def test_bytes_that_are_not_a_slate_raise_slate_format_error(noise):
    """For any bytes: the result is a slate or `SlateFormatError`, never another error."""
    try:
        unpack(noise)
    except SlateFormatError:
        return
    assert pack(unpack(noise))


@given(slates(), st.data())
def test_a_truncated_slate_raises_slate_format_error(original, data):
    packed = pack(original)
    with pytest.raises(SlateFormatError):
        unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_a_packed_score_that_is_not_finite_raises_slate_format_error(score):
    """The columns of scores, origins and reasons have two bytes per post, and are last."""
    packed, n = bytearray(pack(slate(3))), 3
    packed[-6 * n : -6 * n + 2] = np.array(score, "<f2").tobytes()
    with pytest.raises(SlateFormatError, match="not finite"):
        unpack(bytes(packed))


@pytest.mark.parametrize(("first_id", "max_bytes"), [(1, 1152), (2**40, 1536)])
def test_a_sealed_slate_of_a_hundred_posts_stays_within_its_size(first_id, max_bytes):
    ids = np.arange(first_id, first_id + 100)
    packed = pack(replace(slate(100, engine="wasm_simd", variant="wasm_conservative"), post_ids=ids))
    assert len(SEAL.seal(packed, "slate:7:discovery")) <= max_bytes


# Redis only


def test_a_slate_of_a_hundred_posts_takes_at_most_1536_bytes_of_redis(client):
    """As measured by Redis: with the key, the epoch and the allocator's rounding."""
    packed_slate = replace(slate(100, variant="wasm_conservative"), post_ids=np.arange(1, 101))
    RedisSlates(client, SEAL, ttl_seconds=TTL_SECONDS).put(1_000_000, "discovery", packed_slate, b"")
    assert client.memory_usage(slates_key(1_000_000)) <= 1536


@pytest.mark.parametrize("noise", [b"\xff" * 99, b"short", pack(slate())[:-1], b"\x09" + pack(slate())[1:]])
def test_corrupt_bytes_are_a_miss(client, noise):
    """The format of another release is a miss, too."""
    client.hset(slates_key(7), "discovery", noise)
    assert RedisSlates(client, SEAL, ttl_seconds=TTL_SECONDS).get(7, "discovery") is None


def test_a_key_of_another_type_is_a_miss(client):
    client.set(slates_key(7), "something else")
    cache = RedisSlates(client, SEAL, ttl_seconds=TTL_SECONDS)
    cache.put(7, "discovery", slate(), b"")
    assert cache.get(7, "discovery") is None


def test_every_slate_has_a_time_to_live(client):
    """No entry may stay in a cache forever."""
    RedisSlates(client, SEAL, ttl_seconds=TTL_SECONDS).put(7, "discovery", slate(), b"")
    assert 0 < client.ttl(slates_key(7)) <= TTL_SECONDS


def test_an_unreachable_cache_is_a_miss_and_no_error(unreachable_cache):
    unreachable_cache.put(7, "discovery", slate(), b"")
    unreachable_cache.purge([7])
    unreachable_cache.purge_all()
    unreachable_cache.retire([7])
    unreachable_cache.release(7, "discovery")
    assert [unreachable_cache.get(7, "discovery"), unreachable_cache.get_last_good(7, "discovery")] == [None, None]
    assert unreachable_cache.get_many_with_epoch(7, ("discovery",)) == ([None], unreachable_cache.epoch(7))
    assert not unreachable_cache.claim(7, "discovery", seconds=9), "no slate is rebuilt that cannot be cached"
    with pytest.raises(StoreError, match="ConnectionError"):
        unreachable_cache.sweep(1000, max_entries=4)


def test_slates_in_redis_are_sealed_and_open_for_their_member_only(client):
    cache = RedisSlates(client, SEAL, ttl_seconds=TTL_SECONDS)
    cache.put(7, "discovery", slate(engine="readable"), b"")
    sealed = client.hget(slates_key(7), "discovery")
    assert b"readable" not in sealed
    client.hset(slates_key(8), "discovery", sealed)
    assert cache.get(8, "discovery") is None


def test_a_slate_sealed_with_an_older_key_opens_until_the_key_is_removed(client):
    """After that it is a miss."""
    new, old = "n" * 32, "o" * 32
    RedisSlates(client, Seal([old]), ttl_seconds=TTL_SECONDS).put(7, "discovery", slate(), b"")
    assert RedisSlates(client, Seal([new, old]), ttl_seconds=TTL_SECONDS).get(7, "discovery") is not None
    assert RedisSlates(client, Seal([new]), ttl_seconds=TTL_SECONDS).get(7, "discovery") is None


# Slates as they were served


def served(number=1, **fields):
    return ServedSlate(bytes([number]) * 50, **fields)


FIRST, SECOND = UUID(int=1), UUID(int=2)


def test_a_served_slate_is_returned_with_everything_although_the_slates_are_purged(cache):
    earlier, page = np.array([3, 2**40, 2**62], np.int64), np.array([9, 2**50, 1], np.int64)
    assert cache.add_served(7, FIRST, served(earlier_post_ids=earlier, page_post_ids=page))
    assert cache.add_served(7, SECOND, served(2))
    cache.purge([7])
    cache.retire([7])
    found = cache.get_served(7, [SECOND, UUID(int=3), FIRST])
    assert set(found) == {FIRST, SECOND}
    assert (found[FIRST].record, found[SECOND].record) == (served().record, served(2).record)
    assert found[FIRST].earlier_post_ids.tolist() == earlier.tolist()
    assert found[FIRST].page_post_ids.tolist() == page.tolist()
    assert len(found[SECOND].earlier_post_ids) == len(found[SECOND].page_post_ids) == 0
    assert cache.get_served(8, [FIRST]) == {}


def test_the_last_served_slates_of_a_member_are_stored(cache):
    ids = [UUID(int=number) for number in range(1, MAX_SERVED + 4)]
    for request_id in [*ids[:-1], ids[5], ids[-1]]:  # a slate that is added again keeps its place
        cache.add_served(7, request_id, served())
    assert set(cache.get_served(7, ids)) == set(ids[-MAX_SERVED:])


def test_served_slates_expire_together_and_are_removed_with_the_members_data(cache, clock):
    cache.add_served(7, FIRST, served())
    cache.add_served(8, FIRST, served())
    clock.advance(SERVED_SECONDS - 1)
    cache.add_served(7, SECOND, served())
    clock.advance(2)
    assert len(cache.get_served(7, [FIRST, SECOND])) == 2 and not cache.get_served(8, [FIRST])
    cache.remove_served([7, 1000])
    cache.remove_served([])
    assert cache.get_served(7, [FIRST, SECOND]) == {}


def test_a_request_that_began_before_the_removal_stores_no_slate_after_it(cache, clock):
    """The member may have been erased. Another member is not concerned."""
    cache.add_served(7, FIRST, served())
    cache.remove_served([7])
    clock.advance(REMOVED_SECONDS - 1)
    assert not cache.add_served(7, FIRST, served()) and cache.add_served(8, FIRST, served())
    assert cache.get_served(7, [FIRST]) == {}
    clock.advance(2)
    assert cache.add_served(7, FIRST, served()) and cache.get_served(7, [FIRST])


def test_an_unreachable_cache_says_that_a_served_slate_is_not_stored(unreachable_cache):
    assert not unreachable_cache.add_served(7, FIRST, served())
    assert unreachable_cache.get_served(7, [FIRST]) == {}
    unreachable_cache.remove_served([7])


def test_a_served_slate_is_sealed_and_one_that_does_not_open_is_a_miss(client, caplog):
    cache = RedisSlates(client, SEAL, ttl_seconds=TTL_SECONDS)
    cache.add_served(7, FIRST, served())
    sealed = client.hget(served_slates_key(7), FIRST.hex)
    assert served().record not in SEAL.open(sealed, seal_context(7, FIRST.hex)), "it is compressed"
    client.hset(served_slates_key(7), SECOND.hex, sealed)  # of another slate
    other_version = SEAL.seal(b"\x09" + bytes(8), seal_context(7, UUID(int=3).hex))
    truncated = SEAL.seal(b"\x01" + bytes(8) + b"no zlib", seal_context(7, UUID(int=4).hex))
    client.hset(served_slates_key(7), UUID(int=3).hex, other_version)
    client.hset(served_slates_key(7), UUID(int=4).hex, truncated)
    assert set(cache.get_served(7, [FIRST, SECOND, UUID(int=3), UUID(int=4)])) == {FIRST}
    assert [line.message for line in caplog.records] == ["slate_not_read"] * 3

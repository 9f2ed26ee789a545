"""The contract of `ports.RecordQueue`, tested on Redis and on its in-memory twin, and tests that need a real Redis."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.ports import StoreError
from recommendations.stores.memory_record_queue import MemoryRecordQueue
from recommendations.stores.redis_record_queue import (
    ASIDE_KEPT_SECONDS,
    ASIDE_SECONDS,
    BATCH_PREFIX,
    FORMER_BATCH_KEY,
    LEASE_PREFIX,
    LEASE_SECONDS,
    WAITING_KEY,
    RedisRecordQueue,
)
from recommendations.stores.seal import Seal

LIMIT = 20
SEAL = Seal(["a secret that is only for these tests"])
FACTORIES = {
    "redis": lambda request, clock: RedisRecordQueue(request.getfixturevalue("client"), SEAL, limit=LIMIT),
    "memory": lambda request, clock: MemoryRecordQueue(clock=clock, limit=LIMIT),
}


@pytest.fixture(params=FACTORIES)
def queue(request, clock):
    return FACTORIES[request.param](request, clock)


def number_records(count):
    return [str(number).encode() for number in range(count)]


def take(queue, count):
    """Return the records of the next batch."""
    batch = queue.take(count)
    return batch.records if batch else []


# All queues


def test_records_are_taken_in_the_order_in_which_they_were_pushed(queue):
    assert queue.push(b"first", b"second") == 2
    assert queue.push(b"third") == 3
    assert take(queue, 2) == [b"first", b"second"]
    assert take(queue, 2) == [b"third"]


def test_any_bytes_can_be_a_record(queue):
    """Empty bytes, too."""
    records = [b"", b"\x00\xff\n", b"x" * 100_000]
    queue.push(*records)
    assert take(queue, 3) == records


def test_take_returns_nothing_from_an_empty_queue(queue):
    assert queue.take(5) is None


def test_a_batch_that_one_worker_holds_is_given_to_no_other(queue):
    queue.push(*number_records(4))
    first, second = queue.take(3), queue.take(3)
    assert (first.records, second.records) == (number_records(4)[:3], [b"3"])
    assert first.id != second.id and queue.take(3) is None


def test_the_batch_of_a_lost_worker_is_given_to_one_other_after_its_lease(queue, clock):
    queue.push(*number_records(3))
    lost = queue.take(2)
    clock.advance(LEASE_SECONDS - 1)
    assert take(queue, 1) == [b"2"], "the lease still holds"
    clock.advance(2)
    assert queue.take(1) == lost, "the whole batch, before records that wait"
    assert queue.take(1) is None


def test_acknowledged_records_are_not_returned_again(queue, clock):
    queue.push(*number_records(3))
    queue.acknowledge(queue.take(3).id)
    clock.advance(LEASE_SECONDS + 1)
    assert queue.take(3) is None
    assert queue.push(b"more") == 1, "records that were taken do not count as waiting"


def test_a_worker_whose_lease_has_expired_may_still_acknowledge_what_it_has_written(queue, clock):
    queue.push(*number_records(2))
    late = queue.take(2)
    clock.advance(LEASE_SECONDS + 1)
    assert queue.take(2) == late
    queue.acknowledge(late.id)
    clock.advance(LEASE_SECONDS + 1)
    assert queue.take(2) is None


def test_an_unknown_batch_is_no_error(queue):
    queue.push(b"one")
    queue.acknowledge("unknown")
    assert take(queue, 1) == [b"one"]


def test_equal_records_are_separate_records(queue):
    queue.push(b"same", b"same", b"same")
    assert take(queue, 2) == [b"same"] * 2
    assert take(queue, 2) == [b"same"]


def test_beyond_the_limit_the_oldest_waiting_records_are_dropped(queue, clock):
    """This bounds the memory while no worker runs. Records that a worker has taken are not dropped."""
    queue.push(b"taken")
    queue.take(1)
    assert queue.push(*number_records(LIMIT - 1)) == LIMIT - 1
    assert queue.push(b"x", b"y", b"z") == LIMIT
    assert take(queue, LIMIT) == [*number_records(LIMIT - 1)[2:], b"x", b"y", b"z"]
    clock.advance(LEASE_SECONDS + 1)
    assert take(queue, LIMIT) == [b"taken"]


def test_records_that_were_set_aside_wait_again_every_five_minutes_once_no_others_wait(queue, clock):
    """So each version of the code finds its own, and a worker that cannot read them is not kept busy."""
    queue.set_aside(*number_records(2))
    assert queue.take(5) is None
    clock.advance(ASIDE_SECONDS + 1)
    assert queue.push(b"new") == 1
    new = queue.take(1)
    assert new.records == [b"new"]
    queue.acknowledge(new.id)
    again = queue.take(5)
    assert again.records == number_records(2)
    queue.set_aside(*again.records)
    queue.acknowledge(again.id)
    assert queue.take(5) is None
    clock.advance(ASIDE_SECONDS + 1)
    assert take(queue, 5) == number_records(2)


def test_records_that_no_version_has_read_for_a_week_are_deleted(queue, clock):
    queue.set_aside(b"old")
    clock.advance(ASIDE_KEPT_SECONDS + 1)
    assert queue.take(5) is None
    queue.set_aside(b"new")
    clock.advance(ASIDE_SECONDS + 1)
    assert take(queue, 5) == [b"new"]


def test_beyond_the_limit_the_oldest_records_that_were_set_aside_are_dropped(queue, clock):
    queue.set_aside(*number_records(LIMIT))
    queue.set_aside(b"newest")
    clock.advance(ASIDE_SECONDS + 1)
    assert take(queue, 2 * LIMIT) == [*number_records(LIMIT)[1:], b"newest"]


@settings(max_examples=30)
@given(data=st.data())
def test_no_record_is_lost_or_given_to_two_workers(queue, clock, data):
    """For any order of pushes, takes and acknowledgements, and wherever a worker is killed."""
    clock.advance(LEASE_SECONDS + 1)
    while batch := queue.take(LIMIT):
        queue.acknowledge(batch.id)
    pushed, written, held = [], [], []
    for number in range(data.draw(st.integers(0, LIMIT))):
        pushed.append(str(number).encode())
        queue.push(pushed[-1])
        if data.draw(st.booleans()) and (batch := queue.take(data.draw(st.integers(1, 3)))):
            held.append(batch)
        if held and data.draw(st.booleans()):
            done = held.pop(data.draw(st.integers(0, len(held) - 1)))
            queue.acknowledge(done.id)
            written += done.records
    assert not {record for batch in held for record in batch.records} & set(written)
    clock.advance(LEASE_SECONDS + 1)
    while batch := queue.take(LIMIT):
        queue.acknowledge(batch.id)
        written += batch.records
    assert sorted(written) == sorted(pushed)


# Redis only


def test_several_workers_at_once_share_the_records(client):
    """Each record goes to one of them."""
    pushed = number_records(200)
    RedisRecordQueue(client, SEAL).push(*pushed)

    def work(_):
        queue, taken = RedisRecordQueue(client, SEAL), []
        while batch := queue.take(7):
            taken += batch.records
        return taken

    with ThreadPoolExecutor(4) as threads:
        taken = [record for records in threads.map(work, range(4)) for record in records]
    assert sorted(taken) == sorted(pushed)


@pytest.mark.parametrize("idle_seconds", [LEASE_SECONDS - 5, LEASE_SECONDS])
def test_the_batch_that_a_killed_worker_of_an_earlier_version_left_is_taken_over(client, idle_seconds):
    """Not as long as a worker of that version may still be writing it."""
    queue, records = RedisRecordQueue(client, SEAL), number_records(700)
    client.rpush(FORMER_BATCH_KEY, *(SEAL.seal(record, "served") for record in records))
    former = client.dump(FORMER_BATCH_KEY)
    client.restore(FORMER_BATCH_KEY, 0, former, replace=True, idletime=idle_seconds)
    queue.push(b"new")
    if idle_seconds < LEASE_SECONDS:
        assert queue.take(10).records == [b"new"]
        return
    batch = queue.take(10)
    assert batch.records == records
    assert queue.take(10).records == [b"new"]
    queue.acknowledge(batch.id)
    assert not client.exists(FORMER_BATCH_KEY, BATCH_PREFIX + batch.id)


def test_records_in_redis_are_sealed(client):
    """They disclose who was shown which posts."""
    queue = RedisRecordQueue(client, SEAL)
    queue.push(b"readable")
    assert b"readable" not in client.lindex(WAITING_KEY, 0)
    batch = queue.take(1)
    assert b"readable" not in client.lindex(BATCH_PREFIX + batch.id, 0)


def test_an_acknowledged_batch_leaves_no_key(client):
    queue = RedisRecordQueue(client, SEAL)
    queue.push(b"one")
    batch = queue.take(1)
    assert client.ttl(LEASE_PREFIX + batch.id) > 0
    queue.acknowledge(batch.id)
    assert client.keys("*") == []


def test_a_record_whose_key_was_removed_is_empty_and_can_be_acknowledged(client):
    RedisRecordQueue(client, Seal(["o" * 32])).push(b"lost")
    queue = RedisRecordQueue(client, SEAL)
    queue.push(b"good")
    batch = queue.take(2)
    assert batch.records == [b"", b"good"]
    queue.acknowledge(batch.id)
    assert queue.take(1) is None


def test_an_unreachable_queue_takes_no_records(unreachable):
    queue = RedisRecordQueue(unreachable, SEAL)
    assert queue.push(b"kept by the caller") == 0
    with pytest.raises(StoreError, match="ConnectionError"):
        queue.take(1)
    with pytest.raises(StoreError, match="ConnectionError"):
        queue.acknowledge("batch")

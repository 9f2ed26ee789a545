"""The contract of `ports.RecordQueue`, tested on Redis and on its in-memory twin, and tests that need a real Redis."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.ports import StoreError
from recommendations.stores.memory_record_queue import MemoryRecordQueue
from recommendations.stores.redis_record_queue import WAITING_KEY, WRITING_KEY, RedisRecordQueue
from recommendations.stores.seal import Seal

LIMIT = 20
SEAL = Seal(["a secret that is only for these tests"])
FACTORIES = {
    "redis": lambda request: RedisRecordQueue(request.getfixturevalue("client"), SEAL, limit=LIMIT),
    "memory": lambda request: MemoryRecordQueue(limit=LIMIT),
}


@pytest.fixture(params=FACTORIES)
def queue(request):
    return FACTORIES[request.param](request)


def number_records(count):
    return [str(number).encode() for number in range(count)]


# All queues


def test_records_are_taken_in_the_order_in_which_they_were_pushed(queue):
    assert queue.push(b"first", b"second") == 2
    assert queue.push(b"third") == 3
    assert list(queue.take(2).values()) == [b"first", b"second"]
    assert list(queue.take(2).values()) == [b"first", b"second", b"third"]


def test_any_bytes_can_be_a_record(queue):
    """Empty bytes, too."""
    records = [b"", b"\x00\xff\n", b"x" * 100_000]
    queue.push(*records)
    assert list(queue.take(3).values()) == records


def test_take_returns_nothing_from_an_empty_queue(queue):
    assert queue.take(5) == {}
    queue.push(b"one")
    assert queue.take(0) == {}


def test_records_that_were_taken_and_not_acknowledged_are_returned_first(queue):
    """The worker that took them may have been killed."""
    queue.push(*number_records(4))
    taken = queue.take(3)
    queue.acknowledge(list(taken)[:1])
    assert list(queue.take(1).values()) == [b"1", b"2", b"3"]


def test_acknowledged_records_are_not_returned_again(queue):
    queue.push(*number_records(3))
    queue.acknowledge(queue.take(3))
    assert queue.take(3) == {}
    assert queue.push(b"more") == 1, "records that were taken do not count as waiting"


def test_an_unknown_receipt_is_no_error(queue):
    queue.push(b"one")
    taken = queue.take(1)
    queue.acknowledge([])
    queue.acknowledge(taken)
    queue.acknowledge([*taken, b"unknown receipt"])
    assert queue.take(1) == {}


def test_equal_records_are_separate_records(queue):
    queue.push(b"same", b"same", b"same")
    taken = queue.take(3)
    assert list(taken.values()) == [b"same"] * 3
    queue.acknowledge(list(taken)[:2])
    assert list(queue.take(0).values()) == [b"same"]


def test_beyond_the_limit_the_oldest_waiting_records_are_dropped(queue):
    """This bounds the memory while no worker runs. Records that a worker has taken are not dropped."""
    queue.push(b"taken")
    queue.take(1)
    assert queue.push(*number_records(LIMIT - 1)) == LIMIT - 1
    assert queue.push(b"x", b"y", b"z") == LIMIT
    assert list(queue.take(LIMIT).values()) == [b"taken", *number_records(LIMIT - 1)[2:], b"x", b"y", b"z"]


@settings(max_examples=30)
@given(data=st.data())
def test_no_record_is_lost_or_written_twice(queue, data):
    """For any order of pushes, takes and acknowledgements, and wherever a worker is killed."""
    queue.acknowledge(queue.take(LIMIT))
    pushed, written = [], []
    for number in range(data.draw(st.integers(0, LIMIT))):
        pushed.append(str(number).encode())
        queue.push(pushed[-1])
        taken = queue.take(data.draw(st.integers(0, 3)))
        if data.draw(st.booleans()):
            queue.acknowledge(taken)
            written += taken.values()
    assert [*written, *queue.take(LIMIT).values()] == pushed


# Redis only


def test_records_in_redis_are_sealed(client):
    """They disclose who was shown which posts."""
    queue = RedisRecordQueue(client, SEAL)
    queue.push(b"readable")
    assert b"readable" not in client.lindex(WAITING_KEY, 0)
    queue.take(1)
    assert b"readable" not in client.lindex(WRITING_KEY, 0)


def test_a_record_whose_key_was_removed_is_empty_and_can_be_acknowledged(client):
    RedisRecordQueue(client, Seal(["o" * 32])).push(b"lost")
    queue = RedisRecordQueue(client, SEAL)
    queue.push(b"good")
    taken = queue.take(2)
    assert list(taken.values()) == [b"", b"good"]
    queue.acknowledge(taken)
    assert queue.take(1) == {}


def test_two_processes_share_one_queue(client):
    RedisRecordQueue(client, SEAL).push(b"one")
    assert list(RedisRecordQueue(client, SEAL).take(1).values()) == [b"one"]


def test_an_unreachable_queue_drops_pushed_records_and_logs_it(unreachable, caplog):
    queue = RedisRecordQueue(unreachable, SEAL)
    assert queue.push(b"lost") == 0
    assert "served_records_lost" in caplog.text
    with pytest.raises(StoreError, match="ConnectionError"):
        queue.take(1)
    with pytest.raises(StoreError, match="ConnectionError"):
        queue.acknowledge([b"receipt"])

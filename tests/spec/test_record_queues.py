"""The law of `ports.RecordQueue`, held by Redis and by its in-memory twin; and what only a real Redis can show."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.ports import StoreError
from recommendations.stores.memory_record_queue import MemoryRecordQueue
from recommendations.stores.redis_record_queue import WAITING_KEY, WRITING_KEY, RedisRecordQueue
from recommendations.stores.seal import Seal

LIMIT = 20
SEAL = Seal(["a secret that is only for these tests"])
MAKERS = {
    "redis": lambda request: RedisRecordQueue(request.getfixturevalue("client"), SEAL, limit=LIMIT),
    "memory": lambda request: MemoryRecordQueue(limit=LIMIT),
}


@pytest.fixture(params=MAKERS)
def queue(request):
    return MAKERS[request.param](request)


def numbered(count):
    return [str(number).encode() for number in range(count)]


# every queue


def test_records_are_taken_in_the_order_that_they_came(queue):
    assert queue.push(b"first", b"second") == 2
    assert queue.push(b"third") == 3
    assert list(queue.take(2).values()) == [b"first", b"second"]
    assert list(queue.take(2).values()) == [b"first", b"second", b"third"]


def test_any_bytes_may_be_a_record(queue):
    """The empty one too."""
    records = [b"", b"\x00\xff\n", b"x" * 100_000]
    queue.push(*records)
    assert list(queue.take(3).values()) == records


def test_an_empty_queue_hands_out_nothing(queue):
    assert queue.take(5) == {}
    queue.push(b"one")
    assert queue.take(0) == {}


def test_what_was_taken_and_not_written_is_handed_out_again_first(queue):
    """The worker that took it may have been killed."""
    queue.push(*numbered(4))
    taken = queue.take(3)
    queue.acknowledge(list(taken)[:1])
    assert list(queue.take(1).values()) == [b"1", b"2", b"3"]


def test_what_is_written_does_not_come_again(queue):
    queue.push(*numbered(3))
    queue.acknowledge(queue.take(3))
    assert queue.take(3) == {}
    assert queue.push(b"more") == 1, "what was taken does not wait"


def test_a_receipt_of_nothing_is_no_error(queue):
    queue.push(b"one")
    taken = queue.take(1)
    queue.acknowledge([])
    queue.acknowledge(taken)
    queue.acknowledge([*taken, b"never handed out"])
    assert queue.take(1) == {}


def test_equal_records_are_as_many_records(queue):
    queue.push(b"same", b"same", b"same")
    taken = queue.take(3)
    assert list(taken.values()) == [b"same"] * 3
    queue.acknowledge(list(taken)[:2])
    assert list(queue.take(0).values()) == [b"same"]


def test_over_the_limit_the_oldest_that_wait_are_lost(queue):
    """It bounds the memory while no worker runs; what a worker has taken is safe."""
    queue.push(b"taken")
    queue.take(1)
    assert queue.push(*numbered(LIMIT - 1)) == LIMIT - 1
    assert queue.push(b"x", b"y", b"z") == LIMIT
    assert list(queue.take(LIMIT).values()) == [b"taken", *numbered(LIMIT - 1)[2:], b"x", b"y", b"z"]


@settings(max_examples=30)
@given(data=st.data())
def test_no_record_is_lost_or_written_twice(queue, data):
    """Whatever the order of pushes, takes and writes, and wherever a worker is killed."""
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


# what only Redis can show


def test_what_lies_in_redis_is_sealed(client):
    """It tells who was shown what."""
    queue = RedisRecordQueue(client, SEAL)
    queue.push(b"readable")
    assert b"readable" not in client.lindex(WAITING_KEY, 0)
    queue.take(1)
    assert b"readable" not in client.lindex(WRITING_KEY, 0)


def test_a_record_whose_key_is_gone_is_empty_and_can_be_removed(client):
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


def test_a_queue_that_cannot_be_reached_loses_what_is_pushed_and_says_so(unreachable, caplog):
    gone = RedisRecordQueue(unreachable, SEAL)
    assert gone.push(b"lost") == 0
    assert "served_record_lost" in caplog.text
    with pytest.raises(StoreError, match="ConnectionError"):
        gone.take(1)
    with pytest.raises(StoreError, match="ConnectionError"):
        gone.acknowledge([b"receipt"])

"""The behavior of every `UsageCounts`, and of `RedisUsageCounts` alone."""

import pytest

from access.usage_counts import HISTORY_MINUTES, MemoryUsageCounts, RedisUsageCounts, redis_key

MINUTE = 30_000_000
FACTORIES = {
    "redis": lambda request: RedisUsageCounts(request.getfixturevalue("client")),
    "memory": lambda request: MemoryUsageCounts(),
}


@pytest.fixture(params=FACTORIES)
def counts(request):
    return FACTORIES[request.param](request)


# Every implementation


def test_counts_of_a_caller_add_up(counts):
    """The counts of several processes are summed."""
    assert counts.add({"ann": {(MINUTE, "r"): 2, (MINUTE, "m"): 1}}, MINUTE) == {
        "ann": {(MINUTE, "r"): 2, (MINUTE, "m"): 1}
    }
    assert counts.add({"ann": {(MINUTE, "r"): 3, (MINUTE + 1, "r"): 4}}, MINUTE + 1) == {
        "ann": {(MINUTE, "r"): 5, (MINUTE, "m"): 1, (MINUTE + 1, "r"): 4}
    }


def test_each_caller_has_separate_counts(counts):
    counts.add({"ann": {(MINUTE, "r"): 1}}, MINUTE)
    result = counts.add({"bob": {(MINUTE, "r"): 2}, "cem": {(MINUTE, "f"): 3}}, MINUTE)
    assert result == {"bob": {(MINUTE, "r"): 2}, "cem": {(MINUTE, "f"): 3}}


def test_adding_no_counts_changes_nothing(counts):
    assert counts.add({}, MINUTE) == {}
    counts.add({"ann": {(MINUTE, "r"): 1}}, MINUTE)
    assert counts.add({"ann": {}}, MINUTE) == {"ann": {(MINUTE, "r"): 1}}


def test_counts_older_than_an_hour_are_removed(counts):
    counts.add({"ann": {(MINUTE, "r"): 1, (MINUTE + 1, "r"): 1}}, MINUTE + 1)
    later = MINUTE + 1 + HISTORY_MINUTES
    assert counts.add({"ann": {(later, "r"): 7}}, later) == {"ann": {(MINUTE + 1, "r"): 1, (later, "r"): 7}}
    assert counts.add({"ann": {}}, MINUTE + 1) == {"ann": {(MINUTE + 1, "r"): 1, (later, "r"): 7}}, (
        "removed counts do not return"
    )


# Only Redis


def test_counts_older_than_an_hour_are_removed_from_redis(client):
    counts = RedisUsageCounts(client)
    counts.add({"ann": {(MINUTE, "r"): 1}}, MINUTE)
    assert 0 < client.ttl(redis_key("ann")) <= 60 * (HISTORY_MINUTES + 2)
    counts.add({"ann": {(MINUTE + 100, "r"): 1}}, MINUTE + 100)
    assert list(client.hgetall(redis_key("ann"))) == [f"{MINUTE + 100}:r".encode()]


def test_counts_that_cannot_be_added_are_lost_and_logged(unreachable, caplog):
    assert RedisUsageCounts(unreachable).add({"ann": {(MINUTE, "r"): 1}}, MINUTE) == {}
    assert "usage_not_counted" in caplog.text
